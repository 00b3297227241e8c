//! Turning one entry of a YAML file into a token.

use std::borrow::Cow;

use super::{
    FormatError, Problem, instant,
    policy::{self, Given},
    yaml::{Node, Placed, spelling},
};
use crate::{
    policy::Policy,
    secret::TokenHash,
    token::{InvalidId, Token, TokenId},
};

/// The fields of an entry other than those of its policy.
const OWN: [&str; 8] = [
    "id",
    "hash",
    "note",
    "annotation",
    "database",
    "databases",
    "created_at",
    "expires_at",
];

/// Lists the fields that an entry of a token file may have.
pub fn entry_fields() -> impl Iterator<Item = &'static str> {
    OWN.into_iter().chain(policy::FIELDS)
}

/// The raw fields of an entry.
#[derive(Default)]
struct Fields<'a> {
    id: Option<&'a Placed>,
    hash: Option<&'a Placed>,
    note: Option<&'a Placed>,
    annotation: Option<&'a Placed>,
    database: Option<&'a Placed>,
    databases: Option<&'a Placed>,
    created_at: Option<&'a Placed>,
    expires_at: Option<&'a Placed>,
    policy: Vec<(&'a str, &'a Placed)>,
    unknown: Vec<(&'a Placed, &'a Placed)>,
}

/// Reads an entry of the list form, or of the map form, where its `key` is its id.
pub(super) fn token(
    text: &str,
    key: Option<&Placed>,
    entry: &Placed,
) -> Result<Token, FormatError> {
    let line = key.unwrap_or(entry).referenced.line();
    let Node::Map(pairs) = &entry.value else {
        return Err(FormatError::at(line, Problem::EntryShape));
    };
    let fields = sort(pairs);
    let reader = Reader { text, line };
    let id = reader.id(key, &fields)?;
    let named = |error: FormatError| FormatError {
        token: Some(id.clone()),
        ..error
    };
    reader.rest(id.clone(), &fields).map_err(named)
}

fn sort(pairs: &[(Placed, Placed)]) -> Fields<'_> {
    let mut fields = Fields::default();
    for (key, value) in pairs {
        let Node::Text(name) = &key.value else {
            fields.unknown.push((key, value));
            continue;
        };
        match name.as_str() {
            "id" => fields.id = Some(value),
            "hash" => fields.hash = Some(value),
            "note" => fields.note = Some(value),
            "annotation" => fields.annotation = Some(value),
            "database" => fields.database = Some(value),
            "databases" => fields.databases = Some(value),
            "created_at" => fields.created_at = Some(value),
            "expires_at" => fields.expires_at = Some(value),
            name if policy::FIELDS.contains(&name) => fields.policy.push((name, value)),
            _ => fields.unknown.push((key, value)),
        }
    }
    fields
}

/// Reads fields, knowing the entry's line.
struct Reader<'a> {
    text: &'a str,
    line: u64,
}

impl Reader<'_> {
    fn id(&self, key: Option<&Placed>, fields: &Fields<'_>) -> Result<TokenId, FormatError> {
        let place = key
            .or(fields.id)
            .ok_or_else(|| self.here(Problem::Missing("id")))?;
        let id = self.required("id", Some(place))?;
        if key.is_some() && fields.id.is_some() && self.required("id", fields.id)? != id {
            return Err(at(place, Problem::TwoIds));
        }
        id.parse()
            .map_err(|error: InvalidId| at(place, error.into()))
    }

    fn rest(&self, id: TokenId, fields: &Fields<'_>) -> Result<Token, FormatError> {
        let hash = self.required("hash", fields.hash)?;
        let hash = TokenHash::from_hex(&hash).ok_or_else(|| self.at(fields.hash, Problem::Hash))?;
        let created_at = self
            .time("created_at", fields.created_at)?
            .ok_or_else(|| self.here(Problem::Missing("created_at")))?;
        if fields.note.is_some() && fields.annotation.is_some() {
            return Err(self.at(fields.annotation, Problem::TwoNotes));
        }
        let note = self.optional("note", fields.note.or(fields.annotation))?;
        if fields.database.is_some() && fields.databases.is_some() {
            return Err(self.at(fields.databases, Problem::TwoDatabases));
        }
        let mut token = Token::new(id, hash, created_at);
        token.note = note.unwrap_or_default().into();
        if let Some(placed) = fields.database.or(fields.databases) {
            token.databases =
                policy::databases(&self.given(placed)).map_err(|problem| at(placed, problem))?;
        }
        token.expires_at = self.time("expires_at", fields.expires_at)?;
        let mut own = Policy::default();
        for (name, placed) in &fields.policy {
            let given = self.given(placed);
            let laid = match *name {
                "previous" => policy::previous(&given).map(|previous| token.previous = previous),
                name => policy::lay(&mut own, name, &given).map_err(Problem::from),
            };
            laid.map_err(|problem| at(placed, problem))?;
        }
        token.policy = (&own).into();
        token.unknown = fields
            .unknown
            .iter()
            .map(|(key, value)| (Node::keep(key, self.text), Node::keep(value, self.text)))
            .collect();
        Ok(token)
    }

    fn given<'b>(&'b self, placed: &'b Placed) -> Given<'b> {
        let scalar = |placed: &'b Placed| match &placed.value {
            Node::Text(text) => Some(Cow::from(text)),
            Node::Plain => Some(Cow::from(spelling(placed, self.text))),
            Node::Null | Node::List(_) | Node::Map(_) => None,
        };
        let whole = match &placed.value {
            Node::Null => Some(Given::Null),
            Node::Plain | Node::Text(_) => scalar(placed).map(Given::Scalar),
            Node::List(items) => {
                let items: Option<_> = items.iter().map(scalar).collect();
                items.map(Given::List)
            }
            Node::Map(pairs) => {
                let pair = |(key, value): &'b (_, _)| scalar(key).zip(scalar(value));
                let pairs: Option<_> = pairs.iter().map(pair).collect();
                pairs.map(Given::Map)
            }
        };
        whole.unwrap_or(Given::Other)
    }

    fn time(
        &self,
        name: &'static str,
        field: Option<&Placed>,
    ) -> Result<Option<time::OffsetDateTime>, FormatError> {
        let Some(text) = self.optional(name, field)? else {
            return Ok(None);
        };
        instant::parse(&text)
            .map(Some)
            .map_err(|error| self.at(field, error.of(name)))
    }

    fn required(&self, name: &'static str, field: Option<&Placed>) -> Result<String, FormatError> {
        self.optional(name, field)?
            .ok_or_else(|| self.at(field, Problem::Missing(name)))
    }

    /// Reads a text. A number is taken as it is spelled; null and absence give `None`.
    fn optional(
        &self,
        name: &'static str,
        field: Option<&Placed>,
    ) -> Result<Option<String>, FormatError> {
        let Some(placed) = field else {
            return Ok(None);
        };
        match &placed.value {
            Node::Null => Ok(None),
            Node::Plain => Ok(Some(spelling(placed, self.text).to_owned())),
            Node::Text(text) => Ok(Some(text.clone())),
            Node::List(_) | Node::Map(_) => Err(at(placed, Problem::NotText(name))),
        }
    }

    fn at(&self, field: Option<&Placed>, problem: Problem) -> FormatError {
        match field {
            Some(placed) => at(placed, problem),
            None => self.here(problem),
        }
    }

    fn here(&self, problem: Problem) -> FormatError {
        FormatError::at(self.line, problem)
    }
}

fn at(placed: &Placed, problem: Problem) -> FormatError {
    FormatError::at(placed.referenced.line(), problem)
}
