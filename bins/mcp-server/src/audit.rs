//! The audit log: who called what, and with what outcome. Tokens and passwords are never written to it, and values of
//! statements only with their texts, if those are configured.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use anyhow::Context;
use audit_log::{AuditLog, Entry, Options, Position, Status};
use pg_tools::{Account, CallKind, Ledger, masked, session_of};
use server_config::{Audit as Terms, Config};
use session_pool::{End, Loss};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use token_store::{Changes, Token, TokenId};
use tokio::signal::unix::{SignalKind, signal};

use crate::{announce, databases::Differences, throttle::Throttle};

/// How many tokens one line names at most.
const MOST_IDS: usize = 100;

// The client's own name is cut to this many bytes.
const LONGEST_NAME: usize = 200;
const LONGEST_REQUEST: usize = 64;

/// How many digits of a client's session id are logged: enough to tell it from others, too few to
/// use it.
const SESSION_DIGITS: usize = 16;

/// The audit log, and what is written to it.
pub(crate) struct Audit {
    log: AuditLog,
    terms: Terms,
    /// Locked briefly, and only when a token is refused.
    refusals: Mutex<Throttle>,
}

/// Serves with the configured audit log, if there is one. When `serve` has ended, everything that
/// was queued is written.
pub(crate) async fn beside<T>(
    config: &Config,
    transport: &str,
    serve: impl AsyncFnOnce(Option<Arc<Audit>>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let Some(terms) = &config.audit else {
        announce!("[AUDIT] No audit log is kept; set audit.file to keep one");
        return serve(None).await;
    };
    let audit = Arc::new(Audit::open(terms)?);
    audit.write(
        entry("start")
            .text("version", env!("CARGO_PKG_VERSION"))
            .text("transport", transport)
            .number("process", std::process::id().into()),
    );
    let served = tokio::select! {
        served = serve(Some(audit.clone())) => served,
        failed = audit.follow() => Err(failed),
    };
    audit.stop().await;
    served
}

/// Says where a log goes on; a new log does not go on after a file that was moved away.
fn place(end: Position) -> String {
    match end.seq {
        0 => "which begins a new log".into(),
        seq => format!("after line {seq} with the hash {}", end.hash),
    }
}

fn entry(event: &str) -> Entry {
    Entry::new(event, OffsetDateTime::now_utc())
}

impl Audit {
    fn open(terms: &Terms) -> anyhow::Result<Self> {
        let options = Options {
            path: terms.file.clone(),
            most_queued: terms.queue_lines,
        };
        let log = AuditLog::open(options, |report| announce!("[AUDIT] {report}"));
        // Its message already includes its cause, so the chain would repeat it.
        let log = log.map_err(|error| anyhow::anyhow!("audit.file: {error}"))?;
        announce!(
            "[AUDIT] Calls are recorded in {}, {}",
            terms.file.display(),
            place(log.found())
        );
        Ok(Audit {
            log,
            terms: terms.clone(),
            refusals: Mutex::default(),
        })
    }

    /// Opens the file anew at each hang-up signal, as after a rotation. Ends only when it cannot.
    async fn follow(&self) -> anyhow::Error {
        let hangups = signal(SignalKind::hangup()).context("signals cannot be taken over");
        match hangups {
            Ok(mut hangups) => loop {
                hangups.recv().await;
                self.log.reopen();
            },
            Err(error) => error,
        }
    }

    async fn stop(&self) {
        let untold = self.refusals().untold();
        self.write(entry("stop").number("refused_tokens_untold", untold));
        let log = self.log.clone();
        // The log has already reported any failure.
        let _ended = tokio::task::spawn_blocking(move || log.finish()).await;
    }

    /// The state of the log.
    pub(crate) fn status(&self) -> Status {
        self.log.status()
    }

    /// Whether lines cannot be written at present.
    pub(crate) fn is_failing(&self) -> bool {
        self.log.is_failing()
    }

    /// Logs that a token was refused, and whose it is if that is known.
    pub(crate) fn token_refused(&self, why: &str, id: Option<&TokenId>, peer: IpAddr) {
        let per_minute = self.terms.refused_tokens_per_minute;
        let passed = self.refusals().pass(per_minute, Instant::now());
        let Some(untold) = passed else {
            return;
        };
        let refused = entry("token_refused")
            .text("reason", why)
            .optional("token", id.map(TokenId::as_str))
            .address("peer", peer.to_canonical());
        self.write(match untold {
            0 => refused,
            untold => refused.number("untold_before", untold),
        });
    }

    /// Records which tokens were added, removed or changed.
    pub(crate) fn tokens_changed(&self, changes: &Changes) {
        self.tell_ids("tokens_added", &changes.added);
        self.tell_ids("tokens_removed", &changes.removed);
        let changed: Vec<_> = changes.changed.iter().map(|(_, now)| now.clone()).collect();
        self.tell_ids("tokens_changed", &changed);
    }

    fn tell_ids(&self, event: &str, tokens: &[Arc<Token>]) {
        for some in tokens.chunks(MOST_IDS) {
            let ids = some.iter().map(|token| token.id.as_str());
            self.write(entry(event).list("tokens", ids));
        }
    }

    /// Records which databases were added, changed or removed.
    pub(crate) fn databases_changed(&self, differences: &Differences) {
        let Differences {
            added,
            changed,
            removed,
            ..
        } = differences;
        let mut line = entry("databases_changed");
        for (what, names) in [("added", added), ("changed", changed), ("removed", removed)] {
            if !names.is_empty() {
                line = line.list(what, names.iter().map(String::as_str));
            }
        }
        self.write(line);
    }

    /// Logs that what ran with a token was ended.
    pub(crate) fn session_ended(&self, id: &str, why: &str) {
        self.write(entry("session_ended").text("token", id).text("reason", why));
    }

    /// Logs what ended of a token's connections without anybody having closed it.
    pub(crate) fn ended_by_itself(&self, id: &str, end: End<'_>) {
        match end {
            End::Deadline => self.session_ended(id, "expired"),
            End::Login => self.session_ended(id, "credentials"),
            End::Line {
                name,
                database,
                loss,
            } => self.write(
                entry("state_lost")
                    .text("token", id)
                    .text("session", beginning(session_of(name)))
                    .text("database", database)
                    .text("reason", loss.map_or("session_over", cause)),
            ),
            _ => {}
        }
    }

    fn write(&self, entry: Entry) {
        self.log.write(entry);
    }

    fn refusals(&self) -> std::sync::MutexGuard<'_, Throttle> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, call: &Account<'_>) -> Entry {
        let (event, name) = match call.kind {
            CallKind::Tool => ("call", "tool"),
            CallKind::Resource => ("resource", "uri"),
            CallKind::Completion => ("completion", "uri"),
            CallKind::Follow => ("follow", "uri"),
            CallKind::Unfollow => ("unfollow", "uri"),
        };
        let mut line = entry(event).text("token", call.agent);
        if let Some(peer) = call.peer {
            line = line.address("peer", peer);
        }
        if let Some(client) = call.client {
            line = line.short("client", client, LONGEST_NAME);
        }
        line = line
            .short(name, call.name, LONGEST_NAME)
            .optional("database", call.database);
        if let Some(statement) = call.statement {
            line = line.text("statement", &fingerprint(statement));
            if self.terms.texts {
                line = line.short("text", statement, self.terms.statement_bytes);
            }
        }
        line = line
            .number("rows", call.rows)
            .number("bytes", call.bytes)
            .milliseconds("ms", call.took)
            .text("outcome", call.outcome.word())
            .optional("sqlstate", call.sqlstate);
        if let Some(session) = call.session {
            line = line.text("session", beginning(session));
        }
        match call.request {
            Some(request) => line.short("request", request, LONGEST_REQUEST),
            None => line,
        }
    }
}

/// Names, in one word, why a connection kept for a session was closed.
fn cause(loss: Loss) -> &'static str {
    match loss {
        Loss::Idle(_) => "idle",
        Loss::Broken => "broken",
        Loss::Crowded => "crowded",
        _ => "database_changed",
    }
}

/// The part of a session's id that is logged.
fn beginning(session: &str) -> &str {
    session.get(..SESSION_DIGITS).unwrap_or(session)
}

/// Gives a digest of 32 hexadecimal digits, by which statements can be told apart that differ in
/// more than their values.
fn fingerprint(statement: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digest = Sha256::digest(masked(statement));
    let mut digits = String::with_capacity(32);
    for byte in &digest[..16] {
        digits.push(DIGITS[usize::from(byte >> 4)].into());
        digits.push(DIGITS[usize::from(byte & 15)].into());
    }
    digits
}

impl Ledger for Audit {
    fn admit(&self) -> Result<(), &'static str> {
        if self.terms.refuses && (self.log.is_failing() || !self.log.take_place()) {
            return Err(
                "the server cannot write its audit log at present, and refuses calls until it can; its operator must make room for the log",
            );
        }
        Ok(())
    }

    fn ended(&self, call: &Account<'_>) {
        let line = self.line(call);
        if self.terms.refuses {
            self.log.write_in_place(line);
        } else {
            self.log.write(line);
        }
    }

    fn refused(&self, call: &Account<'_>) {
        self.write(self.line(call));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_of_the_statement_and_not_of_its_values() {
        let one = fingerprint("SELECT a FROM t WHERE b = 'x'");
        assert_eq!(one.len(), 32);
        assert!(one.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(one, fingerprint("select a\nfrom t where b = 'yy' -- z"));
        assert_ne!(one, fingerprint("SELECT a FROM u WHERE b = 'x'"));
    }
}
