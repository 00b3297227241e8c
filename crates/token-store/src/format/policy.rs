//! The optional fields of an entry: what a token may do and how much it may use.

use std::{
    borrow::Cow,
    fmt::{self, Write},
};

use super::{
    Problem, instant,
    write::{hash, scalar, write_scalar},
};
use crate::{
    policy::{
        ACCESS, Access, Field, InvalidPolicy, KeptPolicy, LIMITS, Limits, Login, NAMES, NETWORKS,
        Names, Networks, PasswordSource, Policy, ROLE, ROLE_NAME, Role, RoleName, TWO_PASSWORDS,
        TWO_ROLES, invalid, no_networks,
    },
    secret::TokenHash,
    token::{Previous, Token},
};

/// The fields, in the order in which they are written.
pub(super) const FIELDS: [&str; 8] = [
    "previous",
    "role",
    "set_role",
    "access",
    "tools",
    "schemas",
    "limits",
    "allow_from",
];

const LIMITS_SHAPE: &str = "must be {NAME: LIMIT} with one or more of rows, bytes, statement_timeout, concurrent, calls_per_minute and connections, each once; delete the line for the server's defaults";
const PREVIOUS: &str = "must be {hash: 64 hexadecimal digits, until: \"2025-10-30T10:15:30Z\"}; delete the line to end the old secret";

/// A field's value, as far as these fields can use it.
pub(super) enum Given<'a> {
    /// Null, or a field without a value.
    Null,
    /// A text, or a number or boolean as it is spelled.
    Scalar(Cow<'a, str>),
    /// A list of scalars.
    List(Vec<Cow<'a, str>>),
    /// A mapping from scalars to scalars.
    Map(Vec<(Cow<'a, str>, Cow<'a, str>)>),
    /// Anything nested deeper.
    Other,
}

impl Given<'_> {
    fn scalar(&self) -> Option<&str> {
        match self {
            Self::Scalar(text) => Some(text),
            _ => None,
        }
    }

    fn list(&self) -> Option<impl Iterator<Item = &str>> {
        match self {
            Self::List(items) => Some(items.iter().map(|item| &**item)),
            _ => None,
        }
    }

    /// Iterates over a mapping; `None` if it is not one or has a duplicate key.
    fn pairs(&self) -> Option<impl Iterator<Item = (&str, &str)>> {
        let Self::Map(pairs) = self else {
            return None;
        };
        let is_new = |place: usize| pairs[..place].iter().all(|(key, _)| *key != pairs[place].0);
        let pairs_of = pairs.iter().map(|(key, value)| (&**key, &**value));
        (0..pairs.len()).all(is_new).then_some(pairs_of)
    }
}

/// Reads `database` or `databases`: one name or a list.
pub(super) fn databases(given: &Given<'_>) -> Result<Option<Names>, Problem> {
    let names = match given {
        Given::Null => return Ok(None),
        Given::Scalar(name) => Names::new([&**name]),
        other => other.list().and_then(Names::new),
    };
    names.map(Some).ok_or(Problem::Database)
}

/// Sets the field `name` of an entry in a policy. A field without a value is refused: its line was to restrict the
/// token, and without one the token may do everything.
pub(super) fn lay(policy: &mut Policy, name: &str, given: &Given<'_>) -> Result<(), InvalidPolicy> {
    match name {
        "role" | "set_role" if policy.role.is_some() => {
            return Err(invalid("set_role", TWO_ROLES));
        }
        "role" => policy.role = Some(Role::Login(login(given)?)),
        "set_role" => policy.role = Some(Role::Set(role_name("set_role", given)?)),
        "access" => {
            let access = given.scalar().and_then(Access::from_word);
            policy.access = access.ok_or(invalid("access", ACCESS))?;
        }
        "tools" => policy.tools = Some(names("tools", given)?),
        "schemas" => policy.schemas = Some(names("schemas", given)?),
        "limits" => policy.limits = limits(given)?,
        _ => policy.allow_from = Some(networks(given)?),
    }
    Ok(())
}

fn names(field: &'static str, given: &Given<'_>) -> Result<Names, InvalidPolicy> {
    let names = given.list().and_then(Names::new);
    names.ok_or(invalid(field, NAMES))
}

fn networks(given: &Given<'_>) -> Result<Networks, InvalidPolicy> {
    let list = given.list().ok_or(invalid("allow_from", NETWORKS))?;
    Networks::read(list).map_err(no_networks)
}

fn role_name(field: &'static str, given: &Given<'_>) -> Result<RoleName, InvalidPolicy> {
    let name = given.scalar().and_then(RoleName::new);
    name.ok_or(invalid(field, ROLE_NAME))
}

fn login(given: &Given<'_>) -> Result<Login, InvalidPolicy> {
    let (mut user, mut password) = (None, None);
    for (key, text) in given.pairs().ok_or(invalid("role", ROLE))? {
        let field = match key {
            "user" => {
                user = Some(RoleName::new(text).ok_or(invalid("role.user", ROLE_NAME))?);
                continue;
            }
            "password_env" => "role.password_env",
            "password_file" => "role.password_file",
            _ => return Err(invalid("role", ROLE)),
        };
        if password.is_some() {
            return Err(invalid("role", TWO_PASSWORDS));
        }
        password = Some(PasswordSource::read(field, text)?);
    }
    let user = user.ok_or(invalid("role", ROLE))?;
    Ok(Login { user, password })
}

fn limits(given: &Given<'_>) -> Result<Limits, InvalidPolicy> {
    let mut pairs = given.pairs().into_iter().flatten().peekable();
    if pairs.peek().is_none() {
        return Err(invalid("limits", LIMITS_SHAPE));
    }
    let mut limits = Limits::default();
    for (key, text) in pairs {
        let known = LIMITS.iter().find(|limit| limit.name == key);
        let known = known.ok_or(invalid("limits", LIMITS_SHAPE))?;
        known.set(&mut limits, Some(text))?;
    }
    Ok(limits)
}

/// Reads a token's previous secret.
pub(super) fn previous(given: &Given<'_>) -> Result<Option<Box<Previous>>, Problem> {
    if matches!(given, Given::Null) {
        return Ok(None);
    }
    let shape = || Problem::from(invalid("previous", PREVIOUS));
    let (mut hash, mut until) = (None, None);
    for (key, text) in given.pairs().ok_or_else(shape)? {
        match key {
            "hash" => hash = Some(TokenHash::from_hex(text).ok_or_else(shape)?),
            "until" => {
                let instant = instant::parse(text);
                until = Some(instant.map_err(|error| error.of("previous.until"))?);
            }
            _ => return Err(shape()),
        }
    }
    let previous = hash.zip(until);
    let previous = previous.map(|(hash, until)| Box::new(Previous { hash, until }));
    previous.map(Some).ok_or_else(shape)
}

/// Writes `database` or `databases`.
pub(super) fn write_databases(out: &mut String, databases: &Names) {
    if databases.iter().len() == 1 {
        line(out, "database", &scalar(databases.first()));
    } else {
        line(out, "databases", &list(databases.iter()));
    }
}

/// Writes the fields that are set, in the order of [`FIELDS`].
pub(super) fn write(out: &mut String, token: &Token) {
    if let Some(previous) = &token.previous {
        let (hash, until) = (
            hash(&previous.hash.to_hex()),
            instant::write(previous.until),
        );
        line(
            out,
            "previous",
            &format!("{{hash: {hash}, until: \"{until}\"}}"),
        );
    }
    // Writing to a String cannot fail.
    let _ = write_kept(out, &token.policy);
}

/// Writes the lines of a policy.
pub(super) fn write_kept(out: &mut impl Write, policy: &KeptPolicy) -> fmt::Result {
    for (name, field) in policy.fields() {
        write_all(out, ["    ", name, ": "])?;
        match field {
            Field::Text(text) => write_scalar(out, text)?,
            Field::List(items) => {
                write_flow(out, ['[', ']'], items, |out, item| write_scalar(out, item))?;
            }
            Field::Texts(parts) => write_flow(out, ['{', '}'], parts, |out, (name, text)| {
                write_all(out, [name, ": "])?;
                write_scalar(out, text)
            })?,
            Field::Quantities(parts) => write_flow(out, ['{', '}'], parts, |out, (name, text)| {
                write_all(out, [name, ": ", text])
            })?,
        }
        out.write_char('\n')?;
    }
    Ok(())
}

/// Writes a collection on one line.
fn write_flow<W: Write, T>(
    out: &mut W,
    [begin, end]: [char; 2],
    items: impl Iterator<Item = T>,
    mut write: impl FnMut(&mut W, T) -> fmt::Result,
) -> fmt::Result {
    out.write_char(begin)?;
    for (place, item) in items.enumerate() {
        if place > 0 {
            out.write_str(", ")?;
        }
        write(out, item)?;
    }
    out.write_char(end)
}

fn write_all<const COUNT: usize>(out: &mut impl Write, texts: [&str; COUNT]) -> fmt::Result {
    texts.into_iter().try_for_each(|text| out.write_str(text))
}

fn list<'a>(items: impl Iterator<Item = &'a str>) -> String {
    let items: Vec<String> = items.map(scalar).collect();
    format!("[{}]", items.join(", "))
}

fn line(out: &mut String, field: &str, value: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "    {field}: {value}");
}
