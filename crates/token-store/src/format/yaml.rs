//! Reading with a full YAML parser: files written by people, by other programs, or as JSON.

use std::{collections::HashMap, fmt, sync::Arc};

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::{Error, Spanned, options};

use super::{FormatError, Problem, Value, entry, error::redact};
use crate::{
    secret::TokenHash,
    set::{TokenSet, Walk, shared},
    token::Token,
};

/// How deep a file may nest. Its own form needs three levels; the rest is for unknown fields.
const MAX_DEPTH: usize = 16;

/// The one known top-level key.
const TOKENS: &str = "tokens";
/// How many typos a key may have and still be taken for a misspelling of it.
const MAX_TYPOS: usize = 2;

/// Reads a text as YAML; unchanged tokens are shared with the older set.
pub(super) fn parse(text: &str, old: &TokenSet) -> Result<TokenSet, FormatError> {
    let mut reading = Reading {
        text,
        old: old.walk(),
        tokens: Vec::new(),
        unknown: Vec::new(),
        seen: Seen::default(),
        found: false,
        failure: None,
    };
    if !is_blank(text) {
        let outcome =
            serde_yaml::with_deserializer_from_str_with_options(text, limits(text), |yaml| {
                Top(&mut reading).deserialize(yaml)
            });
        if let Some(failure) = reading.failure.take() {
            return Err(failure);
        }
        outcome.map_err(|error| explain(&error, reading.found))?;
        if !reading.found {
            return Err(FormatError::at(1, Problem::NoTokens));
        }
    }
    TokenSet::with_unknown(reading.tokens, reading.unknown).map_err(|_| FormatError {
        line: None,
        token: None,
        problem: Problem::DuplicateId,
    })
}

/// Says whether there are only comments and blank lines: an empty file is an empty set.
fn is_blank(text: &str) -> bool {
    text.trim_start_matches('\u{feff}')
        .lines()
        .map(str::trim)
        .all(|line| line.is_empty() || line.starts_with('#'))
}

/// Limits the cost of parsing. A token takes 15 nodes and some 250 bytes, so real files stay far below the limits.
fn limits(text: &str) -> serde_yaml::Options {
    let nodes = (text.len() / 8).max(20_000);
    options! {
        budget: serde_yaml::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: nodes,
            max_events: 2 * nodes + 100,
            max_aliases: 0,
            max_anchors: 0,
            max_documents: 1,
            max_merge_keys: 0,
        },
        duplicate_keys: serde_yaml::options::DuplicateKeyPolicy::Error,
        merge_keys: serde_yaml::options::MergeKeyPolicy::Error,
        non_finite_float_policy: serde_yaml::options::NonFiniteFloatPolicy::PassThrough,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

/// Translates the parser's error. If it met a scalar instead of a collection, `found` says which collection: that of
/// `tokens`, or the top level.
fn explain(error: &Error, found: bool) -> FormatError {
    let error = error.without_snippet();
    let line = error.location().map_or(0, |location| location.line());
    let problem = match error {
        Error::Budget { breach, .. } => {
            Problem::Excess(format!("over the limit of {}", breached(breach)))
        }
        Error::AliasReplayLimitExceeded { .. }
        | Error::UnknownAnchor { .. }
        | Error::AliasError { .. } => Problem::Excess("an alias".into()),
        Error::UnsupportedTag { .. } => Problem::Excess("a tag".into()),
        Error::MergeKeyNotAllowed { .. } => Problem::Excess("a merge key".into()),
        Error::SerdeInvalidType { .. } if found => Problem::TokensShape,
        Error::SerdeInvalidType { .. } => Problem::NoTokens,
        Error::DuplicateMappingKey { .. } => Problem::DuplicateKey,
        Error::MultipleDocuments { .. } => Problem::Syntax("more than one document".into()),
        Error::Eof { .. } => Problem::Syntax("it ends too early".into()),
        // The parser's own messages are fixed texts; anything they may quote is redacted.
        Error::ExternalMessage { msg, .. } | Error::Message { msg, .. } => {
            Problem::Syntax(redact(msg))
        }
        _ => Problem::Syntax("unexpected structure".into()),
    };
    FormatError::at(line, problem)
}

fn breached(breach: &serde_yaml::budget::BudgetBreach) -> &'static str {
    use serde_yaml::budget::BudgetBreach as Breach;
    match breach {
        Breach::Depth { .. } => "nesting",
        Breach::Aliases { .. } | Breach::Anchors { .. } => "anchors and aliases: none",
        Breach::Nodes { .. } | Breach::Events { .. } => "values for its size",
        Breach::Documents { .. } => "documents: one",
        _ => "what a token file needs",
    }
}

/// A value with its position, as the parser gives it.
pub(super) type Placed = Spanned<Node>;

/// A YAML value.
pub(super) enum Node {
    Null,
    /// A number or boolean; its spelling is taken from the source text.
    Plain,
    Text(String),
    List(Vec<Placed>),
    Map(Vec<(Placed, Placed)>),
}

impl Node {
    /// Converts a value into the form that is kept for the next write.
    pub(super) fn keep(placed: &Placed, text: &str) -> Value {
        match &placed.value {
            Node::Null => Value::Null,
            Node::Plain => Value::Plain(spelling(placed, text).to_owned()),
            Node::Text(value) => Value::Text(value.clone()),
            Node::List(items) => {
                Value::List(items.iter().map(|item| Node::keep(item, text)).collect())
            }
            Node::Map(pairs) => Value::Map(
                pairs
                    .iter()
                    .map(|(key, value)| (Node::keep(key, text), Node::keep(value, text)))
                    .collect(),
            ),
        }
    }
}

/// Returns a plain scalar as spelled in the source text.
pub(super) fn spelling<'a>(placed: &Placed, text: &'a str) -> &'a str {
    let span = placed.referenced.span();
    let place = span
        .byte_offset()
        .zip(span.byte_len())
        .and_then(|(offset, length)| {
            let start = usize::try_from(offset).ok()?;
            let end = start.checked_add(usize::try_from(length).ok()?)?;
            text.get(start..end)
        });
    place.unwrap_or_default().trim()
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(yaml: D) -> Result<Self, D::Error> {
        yaml.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Plain)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Plain)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Plain)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Node, E> {
        Ok(Node::Plain)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Node, E> {
        Ok(Node::Plain)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Plain)
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, yaml: D) -> Result<Node, D::Error> {
        Node::deserialize(yaml)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some(pair) = pairs.next_entry()? {
            map.push(pair);
        }
        Ok(Node::Map(map))
    }
}

/// What has been read so far. Entries become tokens one by one, so a large file is never held as a tree.
struct Reading<'a> {
    text: &'a str,
    old: Walk<'a>,
    tokens: Vec<Arc<Token>>,
    unknown: Vec<(Value, Value)>,
    seen: Seen,
    found: bool,
    /// The failure in detail, which the parser's error type cannot carry.
    failure: Option<FormatError>,
}

#[derive(Default)]
struct Seen {
    ids: HashMap<Box<str>, ()>,
    hashes: HashMap<TokenHash, ()>,
}

impl Reading<'_> {
    fn fail<E: de::Error>(&mut self, failure: FormatError) -> E {
        self.failure = Some(failure);
        E::custom("refused")
    }

    fn add<E: de::Error>(&mut self, key: Option<&Placed>, entry: &Placed) -> Result<(), E> {
        let line = key.unwrap_or(entry).referenced.line();
        let token = entry::token(self.text, key, entry).map_err(|failure| self.fail(failure))?;
        let twice = if self.seen.ids.insert(token.id.as_str().into(), ()).is_some() {
            Some(Problem::DuplicateId)
        } else if token
            .hashes()
            .any(|hash| self.seen.hashes.insert(hash, ()).is_some())
        {
            Some(Problem::DuplicateHash)
        } else {
            None
        };
        if let Some(problem) = twice {
            return Err(self.fail(FormatError {
                token: Some(token.id),
                ..FormatError::at(line, problem)
            }));
        }
        let known = self.old.own(&token.hash);
        self.tokens.push(shared(known, token));
        Ok(())
    }
}

/// The whole document: a mapping with the key `tokens`.
struct Top<'r, 'a>(&'r mut Reading<'a>);

impl<'de> DeserializeSeed<'de> for Top<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, yaml: D) -> Result<(), D::Error> {
        yaml.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Top<'_, '_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a mapping with `tokens`")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.0.found = true;
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<(), A::Error> {
        while let Some(key) = pairs.next_key::<Placed>()? {
            match &key.value {
                Node::Text(name) if name == TOKENS => {
                    self.0.found = true;
                    pairs.next_value_seed(Entries(self.0))?;
                }
                Node::Text(name) if is_nearly_tokens(name) => {
                    let line = key.referenced.line();
                    return Err(self.0.fail(FormatError::at(line, Problem::NearlyTokens)));
                }
                _ => {
                    let value = pairs.next_value::<Placed>()?;
                    let text = self.0.text;
                    self.0
                        .unknown
                        .push((Node::keep(&key, text), Node::keep(&value, text)));
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(self.0.fail(FormatError::at(1, Problem::NoTokens)))
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        Err(self.0.fail(FormatError::at(1, Problem::NoTokens)))
    }
}

/// Says whether a key looks like a misspelling of `tokens`.
fn is_nearly_tokens(key: &str) -> bool {
    let most = TOKENS.len() + MAX_TYPOS;
    key.len() <= most && strsim::damerau_levenshtein(&key.to_ascii_lowercase(), TOKENS) <= MAX_TYPOS
}

/// What `tokens` holds: a list of entries, a mapping from ids to entries, or nothing.
struct Entries<'r, 'a>(&'r mut Reading<'a>);

impl<'de> DeserializeSeed<'de> for Entries<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, yaml: D) -> Result<(), D::Error> {
        yaml.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_, '_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a list of tokens")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(entry) = items.next_element::<Placed>()? {
            self.0.add(None, &entry)?;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<(), A::Error> {
        while let Some((key, entry)) = pairs.next_entry::<Placed, Placed>()? {
            self.0.add(Some(&key), &entry)?;
        }
        Ok(())
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        Err(self.0.fail(FormatError {
            line: None,
            token: None,
            problem: Problem::TokensShape,
        }))
    }
}
