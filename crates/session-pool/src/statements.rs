//! The statements that a connection has prepared, so that a repeated one is not parsed again.

use std::hash::{BuildHasher, RandomState};

/// How many texts seen once are remembered, for each that may be prepared.
const SEEN_FOR_EACH: usize = 4;
/// The smallest capacity, so that no exchange pushes out a statement of its own.
const LEAST: usize = 8;

/// The prepared statements of one connection, by their texts; the least recently used one makes room.
///
/// A statement's name is made of its text by a hash with a key that nobody knows. So a name stands
/// for one text, whichever connection it is used on: behind a connection pooler, which may hand over
/// another program's connection, a name can be unknown, but never mean another statement.
#[derive(Clone, Debug)]
pub(crate) struct Statements {
    names: RandomState,
    capacity: usize,
    /// The most recently used one last.
    prepared: Vec<Prepared>,
    /// The hashes of texts that were run once, the last one last.
    seen: Vec<u64>,
    /// What PostgreSQL is still to forget.
    evicted: Vec<Name>,
}

#[derive(Clone, Debug)]
struct Prepared {
    hash: u64,
    text: Box<str>,
}

/// How a text is to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// As the prepared statement of this name.
    Prepared(Name),
    /// Prepared under this name first.
    Prepare(Name),
    /// Without a name.
    Once,
}

/// How often a text is expected to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// With every exchange: it is prepared at once.
    Always,
    /// Perhaps once: it is prepared when it comes again.
    Maybe,
}

/// A prepared statement's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name(u64);

impl Name {
    pub(crate) fn text(self) -> String {
        format!("q{:016x}", self.0)
    }
}

impl Statements {
    /// Starts with none; `names` is the key of all names. A capacity below [`LEAST`] means none.
    pub(crate) fn new(names: RandomState, capacity: usize) -> Self {
        Statements {
            names,
            capacity: if capacity < LEAST { 0 } else { capacity },
            prepared: Vec::new(),
            seen: Vec::new(),
            evicted: Vec::new(),
        }
    }

    /// Says how to run a text. What it says to prepare counts as prepared from now on.
    pub(crate) fn plan(&mut self, text: &str, expected: Use) -> Plan {
        if self.capacity == 0 {
            return Plan::Once;
        }
        let hash = self.names.hash_one(text);
        if let Some(at) = self.prepared.iter().rposition(|known| known.hash == hash) {
            if *self.prepared[at].text != *text {
                return Plan::Once;
            }
            self.prepared[at..].rotate_left(1);
            return Plan::Prepared(Name(hash));
        }
        if expected == Use::Maybe && !self.saw(hash) {
            return Plan::Once;
        }
        if self.prepared.len() >= self.capacity {
            self.evicted.push(Name(self.prepared.remove(0).hash));
        }
        self.prepared.push(Prepared {
            hash,
            text: text.into(),
        });
        Plan::Prepare(Name(hash))
    }

    /// Says whether a text was seen before, and remembers it.
    fn saw(&mut self, hash: u64) -> bool {
        if let Some(at) = self.seen.iter().rposition(|seen| *seen == hash) {
            self.seen.remove(at);
            return true;
        }
        if self.seen.len() >= self.capacity * SEEN_FOR_EACH {
            self.seen.remove(0);
        }
        self.seen.push(hash);
        false
    }

    /// Takes the names of the statements that PostgreSQL shall forget.
    pub(crate) fn evicted(&mut self) -> std::vec::Drain<'_, Name> {
        self.evicted.drain(..)
    }

    /// Has PostgreSQL forget a statement with the next exchange.
    pub(crate) fn evict(&mut self, name: Name) {
        self.forget(name);
        self.evicted.push(name);
    }

    /// Forgets a statement that PostgreSQL does not have.
    pub(crate) fn forget(&mut self, name: Name) {
        self.prepared.retain(|known| known.hash != name.0);
    }

    /// Has PostgreSQL forget all with the next exchange, and prepares nothing from now on.
    pub(crate) fn retire(&mut self) {
        let mut evicted = std::mem::take(&mut self.evicted);
        evicted.extend(self.prepared.iter().map(|known| Name(known.hash)));
        self.give_up();
        self.evicted = evicted;
    }

    /// Prepares nothing from now on.
    pub(crate) fn give_up(&mut self) {
        *self = Statements::new(self.names.clone(), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_prepared(statements: &mut Statements, text: &str, expected: Use) -> bool {
        matches!(statements.plan(text, expected), Plan::Prepared(_))
    }

    #[test]
    fn a_text_is_prepared_when_it_comes_again() {
        let mut statements = Statements::new(RandomState::new(), LEAST);
        let prepared = [1, 2, 3].map(|_| is_prepared(&mut statements, "SELECT 1", Use::Maybe));
        assert_eq!(prepared, [false, false, true]);
        assert!(!is_prepared(&mut statements, "BEGIN", Use::Always));
        assert!(is_prepared(&mut statements, "BEGIN", Use::Always));
    }

    #[test]
    fn the_least_recently_used_one_makes_room() {
        let mut statements = Statements::new(RandomState::new(), LEAST);
        let texts: Vec<String> = (0..LEAST).map(|number| number.to_string()).collect();
        for text in texts.iter().chain([&texts[0]]) {
            statements.plan(text, Use::Always);
        }
        assert_eq!(statements.evicted().count(), 0);
        let Plan::Prepared(second) = statements.clone().plan(&texts[1], Use::Always) else {
            panic!("it was prepared");
        };
        statements.plan("another", Use::Always);
        assert!(statements.evicted().eq([second]));
        assert!(is_prepared(&mut statements, &texts[0], Use::Always));
        assert!(!is_prepared(&mut statements, &texts[1], Use::Always));
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let mut statements = Statements::new(RandomState::new(), LEAST);
        for number in 0..1_000 {
            statements.plan(&number.to_string(), Use::Maybe);
        }
        assert_eq!(statements.seen.len(), LEAST * SEEN_FOR_EACH);
        assert_eq!(statements.prepared.len(), 0);
        statements.give_up();
        assert_eq!(statements.plan("a", Use::Always), Plan::Once);
    }

    #[test]
    fn what_retires_is_forgotten_by_postgresql_and_prepares_nothing_more() {
        let mut statements = Statements::new(RandomState::new(), LEAST);
        let Plan::Prepare(name) = statements.plan("BEGIN", Use::Always) else {
            panic!("it is prepared");
        };
        statements.retire();
        assert!(statements.evicted().eq([name]));
        assert_eq!(statements.plan("BEGIN", Use::Always), Plan::Once);
    }

    #[test]
    fn a_name_stands_for_one_text_on_every_connection() {
        let names = RandomState::new();
        let mut first = Statements::new(names.clone(), LEAST);
        let mut second = Statements::new(names, LEAST);
        let name = first.plan("SELECT 1", Use::Always);
        assert_eq!(name, second.plan("SELECT 1", Use::Always));
        assert_ne!(name, second.plan("SELECT 2", Use::Always));
    }
}
