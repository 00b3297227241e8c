//! The holders: what the server keeps for each token that has been used.

mod holder;

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Instant,
};

use foldhash::HashMap;
use mcp_protocol::Refusal;
use pg_tools::{Leave, Standing, Totals};
use session_pool::Terms;
use time::OffsetDateTime;
use token_store::{Networks, Token, TokenId, UsageLog};

use self::holder::Deeds;
use crate::entry::{self, may_come_from};

pub(crate) use self::holder::Holder;

/// What tokens have whose entries say nothing else, and what there is to have.
pub(crate) struct Usual {
    /// The tools that are offered and never change.
    pub(crate) tools: Option<BTreeSet<String>>,
    /// Calls per minute; `None` is unlimited.
    pub(crate) calls_per_minute: Option<u32>,
    /// The addresses of proxies, which no client can have.
    pub(crate) proxies: Option<Networks>,
    /// How many tokens have counts of their own.
    pub(crate) most_told_apart: usize,
}

/// The holders of all tokens that have been used since the server's start.
pub(crate) struct Holders {
    usual: Usual,
    /// Held for reading by requests, for a look-up, so that they do not wait for each other; held
    /// for writing while the databases are replaced.
    known: RwLock<Known>,
}

struct Known {
    /// All configured databases, the default one first.
    databases: Arc<[Arc<str>]>,
    by_id: HashMap<TokenId, Arc<Holder>>,
    /// How often files with passwords were to be read again.
    readings: u64,
    /// How many of the tokens have counts of their own, and what the others had done before they
    /// were forgotten.
    told_apart: usize,
    forgotten: Totals,
}

impl Holders {
    pub(crate) fn new(usual: Usual, databases: Arc<[Arc<str>]>) -> Self {
        Holders {
            usual,
            known: RwLock::new(Known {
                databases,
                by_id: HashMap::default(),
                readings: 0,
                told_apart: 0,
                forgotten: Totals::default(),
            }),
        }
    }

    /// Finds the holder of a token, if it was made from this entry and is not outdated.
    pub(crate) fn of(&self, token: &Arc<Token>) -> Option<Arc<Holder>> {
        let known = self.read();
        let holder = known.by_id.get(&token.id)?;
        let is_present = Arc::ptr_eq(&holder.token, token) && !holder.is_outdated;
        is_present.then(|| Arc::clone(holder))
    }

    /// The name of a token's agents, if the token has been used.
    pub(crate) fn name_of(&self, id: &TokenId) -> Option<Arc<str>> {
        let known = self.read();
        let holder = known.by_id.get(id)?;
        Some(Arc::clone(&holder.standing.name))
    }

    /// Makes the holder of a token, with the password that its entry names.
    ///
    /// # Errors
    /// The password cannot be read. No other one is tried instead.
    pub(crate) async fn prepare(&self, token: Arc<Token>) -> Result<(), Refusal> {
        let readings = self.read().readings;
        let policy = token.policy.read();
        let login = entry::login(&token, &policy).await?;
        let mut known = self.lock();
        let same = |before: &&Arc<Holder>| {
            let previous = token.previous.as_ref();
            let rotated = previous.is_some_and(|old| old.hash == before.token.hash);
            rotated || token.hash == before.token.hash
        };
        // The name stays, so that what clients have begun goes on. An id may be given again after
        // its token was removed; a hash is never given again.
        let before = known.by_id.get(&token.id).filter(same);
        let name = before.map_or_else(
            || format!("{}.{}", token.id, token.hash.prefix()).into(),
            |before| Arc::clone(&before.standing.name),
        );
        let deeds = before.map(|before| Arc::clone(&before.deeds));
        let deeds = deeds.unwrap_or_else(|| known.new_deeds(&token.id, self.usual.most_told_apart));
        let databases = known.databases_of(&token);
        let standing = Standing {
            name,
            databases: databases.clone(),
            policy: Arc::new(entry::policy(&policy, self.usual.calls_per_minute)),
            meter: Arc::clone(&deeds.meter),
            bounds: deeds.bounds.clone(),
        };
        let has_password_file = entry::has_password_file(&policy);
        let holder = Holder {
            standing: Arc::new(standing),
            terms: Terms {
                databases: Some(databases),
                connections: policy
                    .limits
                    .connections
                    .map(|most| usize::try_from(most.get()).unwrap_or(usize::MAX)),
                login,
            },
            deeds,
            has_password_file,
            is_outdated: known.readings != readings && has_password_file,
            allow_from: policy.allow_from,
            token: Arc::clone(&token),
        };
        let deeds = Arc::clone(&holder.deeds);
        let before = known.by_id.insert(token.id.clone(), Arc::new(holder));
        if let Some(before) = before.filter(|before| !Arc::ptr_eq(&before.deeds, &deeds)) {
            known.retire(&before.deeds);
        }
        Ok(())
    }

    /// Replaces the configured databases, and names the databases of each token that has been used.
    pub(crate) fn reconfigure(
        &self,
        databases: Arc<[Arc<str>]>,
    ) -> Vec<(TokenId, Arc<[Arc<str>]>)> {
        let mut known = self.lock();
        known.databases = databases;
        let before: Vec<Arc<Holder>> = known.by_id.values().cloned().collect();
        let mut all = Vec::with_capacity(before.len());
        for holder in before {
            let (id, databases) = (holder.token.id.clone(), known.databases_of(&holder.token));
            if databases != holder.standing.databases {
                let mut changed = Holder::clone(&holder);
                Arc::make_mut(&mut changed.standing)
                    .databases
                    .clone_from(&databases);
                changed.terms.databases = Some(databases.clone());
                known.by_id.insert(id.clone(), Arc::new(changed));
            }
            all.push((id, databases));
        }
        all
    }

    /// Marks passwords from files to be read again, each when its token is next used.
    pub(crate) fn read_passwords_again(&self) {
        let mut known = self.lock();
        known.readings += 1;
        for holder in known.by_id.values_mut() {
            if holder.has_password_file {
                Arc::make_mut(holder).is_outdated = true;
            }
        }
    }

    /// Ends what runs with a token but is no longer allowed by its entry: by its tool, its address,
    /// or the old secret that it came with.
    pub(crate) fn confine(&self, now: &Arc<Token>, wall: OffsetDateTime) {
        let known = self.read();
        let Some(holder) = known.by_id.get(&now.id) else {
            return;
        };
        let policy = now.policy.read();
        let old = now.previous.as_ref().map(|old| {
            let left = std::time::Duration::try_from(old.until - wall).unwrap_or_default();
            (old.hash.number(), Instant::now() + left)
        });
        let present = now.hash.number();
        holder.deeds.bounds.draw(move |doing| {
            let tools = policy.tools.as_ref().zip(doing.tool);
            let may = (doing.peer)
                .is_none_or(|peer| may_come_from(policy.allow_from.as_ref(), peer))
                && tools.is_none_or(|(tools, tool)| tools.contains(tool));
            match (doing.secret, old) {
                _ if !may => Leave::Ends,
                (None, _) => Leave::Stays,
                (Some(secret), _) if secret == present => Leave::Stays,
                (Some(secret), Some((old, until))) if secret == old => Leave::Until(until),
                (Some(_), _) => Leave::Ends,
            }
        });
    }

    /// Forgets the holder of a token that is gone; gives the name of its agents, if the token was used.
    pub(crate) fn forget(&self, id: &TokenId) -> Option<Arc<str>> {
        let mut known = self.lock();
        let holder = known.by_id.remove(id)?;
        known.retire(&holder.deeds);
        Some(Arc::clone(&holder.standing.name))
    }

    /// What the tokens with counts of their own did, by their ids, and then all others together.
    /// Empty if no token has counts of its own.
    pub(crate) fn totals(&self) -> Vec<(String, Totals)> {
        if self.usual.most_told_apart == 0 {
            return Vec::new();
        }
        let known = self.read();
        let mut others = known.forgotten;
        let holders: Vec<Arc<Holder>> = known.by_id.values().cloned().collect();
        // Requests would wait for whoever waits for this.
        drop(known);
        let mut totals = Vec::new();
        for holder in holders {
            let done = holder.deeds.meter.totals();
            if holder.deeds.is_told_apart {
                totals.push((holder.token.id.to_string(), done));
            } else {
                add_totals(&mut others, done);
            }
        }
        totals.sort_by(|a, b| a.0.cmp(&b.0));
        totals.push((OTHERS.to_owned(), others));
        totals
    }

    /// Describes what an entry names that the server does not have, and fields that seem misspelt.
    pub(crate) fn lacking(&self, token: &Token) -> Vec<String> {
        let databases = self
            .unconfigured(token)
            .into_iter()
            .map(|name| format!("its database \"{}\" is not configured", name.escape_debug()));
        let offered = self.usual.tools.as_ref();
        let policy = token.policy.read();
        let tools = policy.tools.iter().flat_map(|names| names.iter());
        let tools = tools
            .filter(|name| offered.is_some_and(|offered| !offered.contains(*name)))
            .map(|name| format!("its tool \"{}\" is not offered", name.escape_debug()));
        let proxies = self.usual.proxies.as_ref();
        let addresses = policy
            .allow_from
            .as_ref()
            .filter(|networks| proxies.is_some_and(|proxies| proxies.covers(networks)));
        let addresses = addresses.map(|networks| {
            format!("its allow_from ({networks}) has trusted proxies only; it is asked of their clients, so that nobody can use the token")
        });
        let misspelt = mcp_token::unknown_fields(token)
            .filter(|field| field.is_misspelt)
            .map(|field| field.message);
        databases
            .chain(tools)
            .chain(addresses)
            .chain(misspelt)
            .collect()
    }

    /// Names a token's databases that are not configured.
    pub(crate) fn unconfigured<'a>(&self, token: &'a Token) -> Vec<&'a str> {
        let configured = self.read().databases.clone();
        let named = token.databases.iter().flat_map(|names| names.iter());
        named
            .filter(|name| !configured.iter().any(|known| **known == **name))
            .collect()
    }

    /// Names the databases that a token may use, its default first.
    pub(crate) fn databases_of(&self, token: &Token) -> Arc<[Arc<str>]> {
        self.read().databases_of(token)
    }

    /// Adds to the log what has happened since the last call.
    pub(crate) fn take_news(&self, to: &mut UsageLog) {
        let holders: Vec<Arc<Holder>> = self.read().by_id.values().cloned().collect();
        for (id, usage) in holders.iter().filter_map(|holder| holder.news()) {
            to.add(id, usage);
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name under which all other tokens are counted.
const OTHERS: &str = "other";

fn add_totals(sum: &mut Totals, more: Totals) {
    sum.calls += more.calls;
    sum.rows += more.rows;
    sum.bytes += more.bytes;
}

impl Known {
    fn new_deeds(&mut self, id: &TokenId, most_told_apart: usize) -> Arc<Deeds> {
        let is_told_apart = self.told_apart < most_told_apart && id.as_str() != OTHERS;
        self.told_apart += usize::from(is_told_apart);
        Arc::new(Deeds::new(is_told_apart))
    }

    /// Keeps what a holder did in the sum of the others, where it must not be missing.
    fn retire(&mut self, deeds: &Deeds) {
        if deeds.is_told_apart {
            self.told_apart -= 1;
        } else {
            add_totals(&mut self.forgotten, deeds.meter.totals());
        }
    }

    fn databases_of(&self, token: &Token) -> Arc<[Arc<str>]> {
        match &token.databases {
            Some(names) => names.iter().map(Arc::from).collect(),
            None => self.databases.iter().take(1).cloned().collect(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use mcp_protocol::{Service, stdio};
    use pg_tools::{Agent, Settings, Toolbox};
    use session_pool::{Limits, Sessions};
    use token_store::TokenHash;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

    /// Calls a tool and ignores its result.
    async fn call(agent: Agent) {
        let toolbox = Toolbox::new(Settings::default()).unwrap();
        let (client, server) = tokio::io::duplex(1 << 16);
        let (input, output) = tokio::io::split(server);
        let service = Arc::new(Service::new(toolbox));
        let serving = stdio::serve(
            input,
            output,
            service,
            agent,
            stdio::Options::default(),
            std::future::pending(),
        );
        let talking = async {
            let (input, mut output) = tokio::io::split(client);
            let mut answers = BufReader::new(input).lines();
            for (method, params) in [
                (
                    "initialize",
                    r#"{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}"#,
                ),
                (
                    "tools/call",
                    r#"{"name":"query_database","arguments":{"query":"SELECT 1"}}"#,
                ),
            ] {
                let line = format!(
                    "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{method}\",\"params\":{params}}}\n"
                );
                output.write_all(line.as_bytes()).await.unwrap();
                answers.next_line().await.unwrap().unwrap();
            }
        };
        tokio::select! {
            () = talking => {}
            served = serving => panic!("the server ended: {served:?}"),
        }
    }

    #[tokio::test]
    async fn what_a_call_does_after_a_record_was_taken_is_in_the_next_one() {
        let usual = Usual {
            tools: None,
            calls_per_minute: None,
            proxies: None,
            most_told_apart: 0,
        };
        let holders = Holders::new(usual, [Arc::from("shop")].into());
        let made = OffsetDateTime::UNIX_EPOCH;
        let token = Token::new(TokenId::numbered(1), TokenHash::of("x"), made);
        let token = Arc::new(token);
        holders.prepare(token.clone()).await.unwrap();
        let holder = holders.of(&token).unwrap();
        let sessions = Sessions::new([], Limits::default());
        let agent = holder.agent(sessions.open("token-1", None));
        let taken = || {
            let mut log = UsageLog::default();
            holders.take_news(&mut log);
            log.0.get(&token.id).map(|usage| (usage.at, usage.calls))
        };
        assert_eq!(taken(), None);
        holder.came(made, [127, 0, 0, 1].into());
        assert_eq!(taken(), Some((made, 0)));
        call(agent).await;
        assert_eq!(taken(), Some((made, 1)));
        assert_eq!(taken(), None);
    }
}
