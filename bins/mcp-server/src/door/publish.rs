//! Puts a new state of the token file, or other databases, in force.

use std::{
    path::Path,
    sync::{Arc, MutexGuard, PoisonError},
    time::Instant,
};

use time::OffsetDateTime;
use token_store::{Changes, Token, TokenId, TokenSet, watch::Update};

use super::{Door, State, deadline, reloads::Reloads};
use crate::{
    announce,
    changed::{counted, takes_something, told},
};

/// Up to how many tokens whose tools changed at once are announced one by one.
const MOST_TOLD: usize = 100;

impl Door {
    /// Puts a new state of the file in force. Whatever lost its rights has ended when this returns.
    pub(crate) fn publish(&self, update: Update, path: &Path, first: bool) {
        let path = path.display();
        match update {
            Update::Loaded {
                set,
                changes,
                warnings,
            } => {
                self.replace(set, &changes);
                self.loads.succeeded();
                // What was there before the start is not a change.
                if let Some(audit) = self.audit.as_ref().filter(|_| !first) {
                    audit.tokens_changed(&changes);
                }
                let has_line = self.reloads().succeed(&changes);
                for warning in warnings.iter().filter(|_| has_line) {
                    announce!("[AUTH] WARNING: {warning}");
                }
                if has_line && !first {
                    announce!("[AUTH] Reloaded {path} ({})", told(&changes));
                }
            }
            Update::Missing { changes } => {
                self.replace(Arc::default(), &changes);
                if let Some(audit) = &self.audit {
                    audit.tokens_changed(&changes);
                }
                announce!(
                    "[AUTH] {path} does not exist: no token is accepted until it does; `mcp-token add` makes one ({})",
                    told(&changes)
                );
            }
            Update::Failed(error) => {
                // Without the lock, so that nobody waits while the line is written.
                self.state
                    .write()
                    .unwrap_or_else(PoisonError::into_inner)
                    .failure = Some(error.to_string());
                self.loads.failed();
                let Some(untold) = self.reloads().fail(Instant::now()) else {
                    return;
                };
                let others = match untold {
                    0 => String::new(),
                    untold => format!(" (it failed {untold} times more since the last such line)"),
                };
                announce!(
                    "[AUTH] Failed to reload {path}: {error}; the tokens from before stay in force{others}"
                );
            }
        }
    }

    fn reloads(&self) -> MutexGuard<'_, Reloads> {
        self.reloads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn replace(&self, tokens: Arc<TokenSet>, changes: &Changes) {
        self.warn(changes);
        if let Some(guesses) = &self.guesses {
            let changed = changes.changed.iter().map(|(before, _)| before);
            let before = changes.removed.iter().chain(changed);
            guesses.remember_gone(before.flat_map(|token| token.hashes()));
        }
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = State {
            tokens,
            failure: None,
        };
        for token in &changes.removed {
            self.forget(&token.id, "removed");
        }
        let wall = OffsetDateTime::now_utc();
        for (before, now) in &changes.changed {
            self.holders.confine(now, wall);
            if before.id != now.id {
                self.forget(&before.id, "changed");
            } else if takes_something(before, now) {
                self.end(&before.id, "changed");
            } else {
                self.sessions.move_deadline(now.id.as_str(), deadline(now));
                // Under the lock, so that it does not use databases that are being replaced.
                let _state = self.state.read().unwrap_or_else(PoisonError::into_inner);
                let databases = self.holders.databases_of(now);
                self.sessions.confine(now.id.as_str(), databases);
            }
        }
        self.tell_of_tools(changes);
    }

    /// Tells clients whose tools may have changed.
    fn tell_of_tools(&self, changes: &Changes) {
        let Some(service) = self.service() else {
            return;
        };
        let clients = service.changes();
        let changed = changes.changed.iter().filter(|(before, now)| {
            before.policy != now.policy || before.databases != now.databases
        });
        let names: Vec<Arc<str>> = changed
            .filter_map(|(_, now)| self.holders.name_of(&now.id))
            .collect();
        // With more at once, a slow client would lose count and take everything that it follows for
        // changed.
        if names.len() > MOST_TOLD {
            return clients.tools();
        }
        for name in names {
            clients.tools_of(&name);
        }
    }

    /// Forgets a token that is gone: closes its session, and ends what its clients have begun.
    fn forget(&self, id: &TokenId, why: &str) {
        let name = self.holders.forget(id);
        self.end(id, why);
        if let (Some(name), Some(service)) = (name, self.service()) {
            service.forget(&name);
        }
    }

    /// Closes a token's session, with everything that runs in it.
    fn end(&self, id: &TokenId, why: &str) {
        let had_one = self.sessions.close(id.as_str());
        if let Some(audit) = self.audit.as_ref().filter(|_| had_one) {
            audit.session_ended(id.as_str(), why);
        }
    }

    /// Has `replace` put other databases in the place of the earlier ones, while nobody is
    /// admitted. What runs on a database that its token may use no longer, because it was only the
    /// default, is ended.
    pub(crate) fn reconfigure(&self, databases: Arc<[Arc<str>]>, replace: impl FnOnce()) {
        let state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        replace();
        for (id, databases) in self.holders.reconfigure(databases) {
            self.sessions.confine(id.as_str(), databases);
        }
        let tokens = Arc::clone(&state.tokens);
        drop(state);
        let lacking = |token: &&Arc<Token>| !self.holders.unconfigured(token).is_empty();
        let lacking: Vec<Arc<Token>> = tokens.iter().filter(lacking).cloned().collect();
        if !lacking.is_empty() {
            announce!(
                "[AUTH] WARNING: {}",
                counted(&lacking, "with a database that is not configured")
            );
        }
    }

    /// Reports entries that ask for something the server does not have: they are in force, and
    /// allow less.
    fn warn(&self, changes: &Changes) {
        let changed = changes.changed.iter().map(|(_, now)| now);
        for token in changes.added.iter().chain(changed) {
            for lacking in self.holders.lacking(token) {
                announce!("[AUTH] WARNING: {}: {lacking}", token.id);
            }
        }
    }
}
