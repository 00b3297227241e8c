//! The statements that a connection has prepared, so that a repeated one is not parsed again.

use std::{
    hash::{BuildHasher, Hash, Hasher, RandomState},
    sync::Arc,
};

use crate::{
    Column,
    exchange::{DateStyle, Form},
};

/// How many statements that were seen once are remembered, for each that may be prepared.
const SEEN_FOR_EACH: usize = 4;
/// How often a text must come before it is said to recur.
const OFTEN: u8 = 5;
/// The smallest capacity that is used: with fewer, an exchange could push out its own statements.
const LEAST: usize = 8;

/// The prepared statements of one connection, by their texts and the types of their parameters; the
/// least recently used one makes room for a new one.
///
/// A statement's name is a hash of its text and types, with a key that nobody knows. So a name
/// stands for one statement on every connection: a pooler may hand over another program's
/// connection, and there a name can be unknown, but can never mean another statement.
#[derive(Clone, Debug)]
pub(crate) struct Statements {
    names: RandomState,
    capacity: usize,
    /// Whether one process serves the connection all the time, so that what is known of a statement
    /// stays true of it.
    is_direct: bool,
    style: DateStyle,
    /// The most recently used one last.
    prepared: Vec<Prepared>,
    /// The hashes of texts that were run once, the last one last.
    seen: Vec<u64>,
    /// The hashes of texts that may recur, and how often each came, the last one last; `None` for a
    /// text that is to be avoided.
    came: Vec<(u64, Option<u8>)>,
    /// What PostgreSQL still has to be told to forget.
    evicted: Vec<Name>,
}

#[derive(Clone, Debug)]
struct Prepared {
    hash: u64,
    text: Box<str>,
    types: Box<[u32]>,
    columns: Columns,
    /// The hash of the statement that judged it, if PostgreSQL cannot have parsed it again since.
    vouched: Option<u64>,
}

/// What is known of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is not prepared, or what is known of it may be true of another connection only.
    Unknown,
    /// It is prepared.
    Prepared,
    /// It is prepared, and was vouched for after PostgreSQL last parsed it.
    Vouched,
}

impl Prepared {
    fn is(&self, hash: u64, text: &str) -> bool {
        self.hash == hash && *self.text == *text
    }
}

/// What is known of the columns of a prepared statement.
#[derive(Clone, Debug, Default)]
pub(crate) struct Columns {
    /// As PostgreSQL described them. It refuses to run the statement once they are others.
    pub(crate) described: Option<Arc<[Column]>>,
    /// How their values are to be sent, if not all as texts.
    pub(crate) forms: Option<Arc<[Form]>>,
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

impl Plan {
    pub(crate) fn is_prepared(self) -> bool {
        matches!(self, Plan::Prepared(_))
    }

    /// What becomes of it when PostgreSQL has parsed the statement.
    pub(crate) fn when_parsed(self) -> Plan {
        match self {
            Plan::Prepare(name) => Plan::Prepared(name),
            plan => plan,
        }
    }

    pub(crate) fn name(self) -> Option<Name> {
        match self {
            Plan::Prepared(name) | Plan::Prepare(name) => Some(name),
            Plan::Once => None,
        }
    }
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
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'q'; 17];
        for (two, byte) in text[1..].chunks_exact_mut(2).zip(self.0.to_be_bytes()) {
            two[0] = DIGITS[usize::from(byte >> 4)];
            two[1] = DIGITS[usize::from(byte & 0xf)];
        }
        str::from_utf8(&text).expect("digits are ASCII").to_owned()
    }
}

impl Statements {
    /// Starts with none; `names` is the key of all names. A capacity below [`LEAST`] means none.
    pub(crate) fn new(names: RandomState, capacity: usize, is_direct: bool) -> Self {
        Statements {
            names,
            capacity: if capacity < LEAST { 0 } else { capacity },
            is_direct,
            style: DateStyle::default(),
            prepared: Vec::new(),
            seen: Vec::new(),
            came: Vec::new(),
            evicted: Vec::new(),
        }
    }

    /// Says how to run a text with parameters of these types. A statement that it says to prepare
    /// counts as prepared from now on.
    pub(crate) fn plan(
        &mut self,
        text: &str,
        types: impl Iterator<Item = u32> + Clone,
        expected: Use,
    ) -> Plan {
        if self.capacity == 0 {
            return Plan::Once;
        }
        let hash = self.hash(text, types.clone());
        if let Some(at) = self.prepared.iter().rposition(|known| known.hash == hash) {
            let known = &self.prepared[at];
            if *known.text != *text || !known.types.iter().copied().eq(types) {
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
            types: types.collect(),
            columns: Columns::default(),
            vouched: None,
        });
        Plan::Prepare(Name(hash))
    }

    /// Remembers how PostgreSQL described the columns of a prepared statement.
    pub(crate) fn learn(&mut self, name: Name, columns: &Arc<[Column]>) {
        let mut known = self.prepared.iter_mut().rev();
        if let Some(known) = known.find(|known| known.hash == name.0) {
            known.columns = Columns {
                described: Some(Arc::clone(columns)),
                forms: Form::of(columns, self.style),
            };
        }
    }

    /// Heeds what PostgreSQL says of a setting.
    pub(crate) fn heed(&mut self, setting: &str, value: &str) {
        if self.style.heed(setting, value) {
            // The style changed, so how values are to be sent is decided anew.
            for known in &mut self.prepared {
                known.columns = Columns::default();
            }
        }
    }

    /// Gives what is known of the columns of a prepared statement and cannot have changed.
    pub(crate) fn columns(&self, name: Name) -> Columns {
        let mut known = self.prepared.iter().rev();
        let known = known.find(|known| self.is_direct && known.hash == name.0);
        known.map_or_else(Columns::default, |known| known.columns.clone())
    }

    /// Says what is known of a statement that is judged by another one.
    pub(crate) fn standing(
        &self,
        text: &str,
        types: impl Iterator<Item = u32> + Clone,
        judge: &str,
    ) -> Standing {
        let hash = self.hash(text, types);
        let mut known = self.prepared.iter().rev();
        match known.find(|known| self.may_vouch() && known.is(hash, text)) {
            None => Standing::Unknown,
            Some(known) if known.vouched == Some(self.names.hash_one(judge)) => Standing::Vouched,
            Some(_) => Standing::Prepared,
        }
    }

    /// Notes that a statement was judged by another one, as it is prepared now.
    pub(crate) fn vouch(
        &mut self,
        text: &str,
        types: impl Iterator<Item = u32> + Clone,
        judge: &str,
    ) {
        let (hash, judge) = (self.hash(text, types), self.names.hash_one(judge));
        if !self.may_vouch() {
            return;
        }
        let mut known = self.prepared.iter_mut().rev();
        if let Some(known) = known.find(|known| known.is(hash, text)) {
            known.vouched = Some(judge);
        }
    }

    /// Notes that PostgreSQL is free to parse a prepared statement anew.
    pub(crate) fn doubt(&mut self, name: Name) {
        let mut known = self.prepared.iter_mut().rev();
        if let Some(known) = known.find(|known| known.hash == name.0) {
            known.vouched = None;
        }
    }

    /// Says whether what is known of prepared statements stays true of them.
    pub(crate) fn may_vouch(&self) -> bool {
        self.is_direct && self.capacity > 0
    }

    /// Says whether the command tag that PostgreSQL sent fits the first word of the prepared statement.
    pub(crate) fn has_tag(&self, name: Name, tag: &[u8]) -> bool {
        let mut known = self.prepared.iter().rev();
        let known = known.find(|known| known.hash == name.0);
        known.is_some_and(|known| first_word(known.text.as_bytes()) == first_word(tag))
    }

    fn hash(&self, text: &str, types: impl Iterator<Item = u32>) -> u64 {
        let mut hasher = self.names.build_hasher();
        text.hash(&mut hasher);
        types.for_each(|type_oid| type_oid.hash(&mut hasher));
        hasher.finish()
    }

    /// Says whether a text was seen before, and remembers it.
    fn saw(&mut self, hash: u64) -> bool {
        if let Some(at) = self.seen.iter().rposition(|seen| *seen == hash) {
            self.seen.remove(at);
            return true;
        }
        if self.seen.len() >= self.capacity.saturating_mul(SEEN_FOR_EACH) {
            self.seen.remove(0);
        }
        self.seen.push(hash);
        false
    }

    /// Counts that a text came; says whether it has come often enough to be worth preparing.
    pub(crate) fn recurs(&mut self, text: &str) -> bool {
        let hash = self.names.hash_one(text);
        if let Some(at) = self.came.iter().rposition(|(known, _)| *known == hash) {
            let count = self.came[at].1.map(|count| count.saturating_add(1));
            self.came[at].1 = count;
            self.came[at..].rotate_left(1);
            return count.is_some_and(|count| count > OFTEN);
        }
        self.remember(hash, Some(1));
        false
    }

    /// Makes a text never recur, however often it comes.
    pub(crate) fn avoid(&mut self, text: &str) {
        let hash = self.names.hash_one(text);
        self.came.retain(|(known, _)| *known != hash);
        self.remember(hash, None);
    }

    fn remember(&mut self, hash: u64, count: Option<u8>) {
        if self.capacity == 0 {
            return;
        }
        if self.came.len() >= self.capacity.saturating_mul(SEEN_FOR_EACH) {
            self.came.remove(0);
        }
        self.came.push((hash, count));
    }

    /// Takes the names of the statements that PostgreSQL shall forget.
    pub(crate) fn evicted(&mut self) -> std::vec::Drain<'_, Name> {
        self.evicted.drain(..)
    }

    /// Notes that an exchange was not sent, so that PostgreSQL has forgotten and prepared nothing.
    pub(crate) fn unsent(&mut self, evicted: Vec<Name>, prepared: &[Name]) {
        for name in prepared {
            self.forget(*name);
        }
        self.evicted.extend(evicted);
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

    /// Has PostgreSQL forget all with the next exchange, and prepares nothing any more.
    pub(crate) fn retire(&mut self) {
        let mut evicted = std::mem::take(&mut self.evicted);
        evicted.extend(self.prepared.iter().map(|known| Name(known.hash)));
        self.give_up();
        self.evicted = evicted;
    }

    /// Prepares nothing from now on.
    pub(crate) fn give_up(&mut self) {
        *self = Statements::new(self.names.clone(), 0, self.is_direct);
    }
}

fn first_word(text: &[u8]) -> Option<&[u8]> {
    text.split(|byte| *byte == b' ').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(statements: &mut Statements, text: &str, expected: Use) -> Plan {
        statements.plan(text, std::iter::empty(), expected)
    }

    fn is_prepared(statements: &mut Statements, text: &str, expected: Use) -> bool {
        matches!(plan(statements, text, expected), Plan::Prepared(_))
    }

    #[test]
    fn a_text_is_prepared_when_it_comes_again() {
        let mut statements = Statements::new(RandomState::new(), LEAST, true);
        let prepared = [1, 2, 3].map(|_| is_prepared(&mut statements, "SELECT 1", Use::Maybe));
        assert_eq!(prepared, [false, false, true]);
        assert!(!is_prepared(&mut statements, "BEGIN", Use::Always));
        assert!(is_prepared(&mut statements, "BEGIN", Use::Always));
    }

    #[test]
    fn the_least_recently_used_one_makes_room() {
        let mut statements = Statements::new(RandomState::new(), LEAST, true);
        let texts: Vec<String> = (0..LEAST).map(|number| number.to_string()).collect();
        for text in texts.iter().chain([&texts[0]]) {
            plan(&mut statements, text, Use::Always);
        }
        assert_eq!(statements.evicted().count(), 0);
        let Plan::Prepared(second) = plan(&mut statements.clone(), &texts[1], Use::Always) else {
            panic!("it was prepared");
        };
        plan(&mut statements, "another", Use::Always);
        assert!(statements.evicted().eq([second]));
        assert!(is_prepared(&mut statements, &texts[0], Use::Always));
        assert!(!is_prepared(&mut statements, &texts[1], Use::Always));
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let mut statements = Statements::new(RandomState::new(), LEAST, true);
        for number in 0..1_000 {
            plan(&mut statements, &number.to_string(), Use::Maybe);
        }
        for number in 0..1_000 {
            statements.recurs(&number.to_string());
        }
        assert_eq!(statements.seen.len(), LEAST * SEEN_FOR_EACH);
        assert_eq!(statements.came.len(), LEAST * SEEN_FOR_EACH);
        assert_eq!(statements.prepared.len(), 0);
        statements.give_up();
        assert_eq!(plan(&mut statements, "a", Use::Always), Plan::Once);
    }

    #[test]
    fn what_retires_is_forgotten_by_postgresql_and_prepares_nothing_more() {
        let mut statements = Statements::new(RandomState::new(), LEAST, true);
        let Plan::Prepare(name) = plan(&mut statements, "BEGIN", Use::Always) else {
            panic!("it is prepared");
        };
        statements.retire();
        assert!(statements.evicted().eq([name]));
        assert_eq!(plan(&mut statements, "BEGIN", Use::Always), Plan::Once);
    }

    #[test]
    fn a_name_stands_for_one_text_on_every_connection() {
        let names = RandomState::new();
        let mut first = Statements::new(names.clone(), LEAST, true);
        let mut second = Statements::new(names, LEAST, true);
        let name = plan(&mut first, "SELECT 1", Use::Always);
        assert_eq!(name, plan(&mut second, "SELECT 1", Use::Always));
        assert_ne!(name, plan(&mut second, "SELECT 2", Use::Always));
    }
    #[test]
    fn a_text_with_other_types_is_another_statement() {
        let mut statements = Statements::new(RandomState::new(), LEAST, true);
        let mut plan =
            |types: &[u32]| statements.plan("SELECT $1", types.iter().copied(), Use::Always);
        let Plan::Prepare(number) = plan(&[23]) else {
            panic!("it is new");
        };
        assert_eq!(plan(&[23]), Plan::Prepared(number));
        for other in [&[][..], &[25], &[23, 23]] {
            assert!(matches!(plan(other), Plan::Prepare(name) if name != number));
        }
    }

    #[test]
    fn a_text_recurs_when_it_has_come_often_unless_it_is_to_be_avoided() {
        let mut statements = Statements::new(RandomState::new(), LEAST, true);
        let mut came = |text: &str| (0..7).map(|_| statements.recurs(text)).collect::<Vec<_>>();
        let expected = [false, false, false, false, false, true, true];
        assert_eq!(came("SELECT $1"), expected);
        assert_eq!(came("SELECT $1, $2"), expected);
        statements.avoid("SELECT $1");
        statements.avoid("never seen");
        assert!(
            (0..7).all(|_| !statements.recurs("SELECT $1") && !statements.recurs("never seen"))
        );
        assert!(statements.recurs("SELECT $1, $2"));
        let mut none = Statements::new(RandomState::new(), 0, true);
        assert!((0..7).all(|_| !none.recurs("SELECT $1")));
    }
}
