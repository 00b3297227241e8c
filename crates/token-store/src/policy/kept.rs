//! A policy as a token holds it: in few bytes, because each of very many tokens may have a
//! different one.

use std::{
    fmt::{self, Write},
    str::Split,
    sync::Arc,
};

use super::{
    Access, FilePath, LIMITS, Limits, Login, Names, Networks, PasswordSource, Policy, Role,
    RoleName, VariableName,
};

/// A policy encoded as one short text, which takes a third of the memory of its parts.
///
/// Two are equal if their policies are. Clones share the text.
///
/// ```
/// use token_store::{KeptPolicy, Policy};
///
/// let mut policy = Policy::default();
/// policy.set("limits.rows", Some("500"))?;
/// let kept = KeptPolicy::from(&policy);
/// assert_eq!(kept.read(), policy);
/// # Ok::<(), token_store::InvalidPolicy>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KeptPolicy(Arc<str>);

/// The terminator of each field and the separator of its parts: control characters, which no text of a policy contains.
const END: char = '\u{1e}';
const BETWEEN: char = '\n';

/// The mark that each field begins with.
const ROLE: char = 'r';
const SET_ROLE: char = 's';
const WRITE: char = 'w';
const TOOLS: char = 't';
const SCHEMAS: char = 'c';
const LIMITED: char = 'l';
const NETWORKS: char = 'n';

/// The marks that the parts of a role begin with. Those of limits begin with their index in [`LIMITS`].
const USER: char = 'u';
const VARIABLE: char = 'v';
const FILE: char = 'f';

impl KeptPolicy {
    /// Decodes the policy.
    #[must_use]
    pub fn read(&self) -> Policy {
        let mut policy = Policy::default();
        for (mark, text) in self.marked() {
            match mark {
                ROLE => policy.role = Some(Role::Login(login(text))),
                SET_ROLE => policy.role = Some(Role::Set(RoleName(text.into()))),
                WRITE => policy.access = Access::Write,
                TOOLS => policy.tools = Some(Names::from_joined(text)),
                SCHEMAS => policy.schemas = Some(Names::from_joined(text)),
                LIMITED => policy.limits = limits(text),
                _ => policy.allow_from = Some(networks(text)),
            }
        }
        policy
    }

    /// Says whether nothing is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Encodes a policy, building the text in the buffer `room`, whose content is discarded.
    pub(crate) fn made_in(room: &mut String, policy: &Policy) -> Self {
        room.clear();
        write(room, policy);
        match room.is_empty() {
            true => Self::default(),
            false => Self(room.as_str().into()),
        }
    }

    /// Says whether the two share one text in memory.
    #[must_use]
    pub fn is_shared_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Iterates over the fields that are set, with their names in an entry and in the order of writing.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&'static str, Field<'_>)> {
        self.marked().map(|(mark, text)| match mark {
            ROLE => ("role", Field::Texts(Parts::of(text, part_of_role))),
            SET_ROLE => ("set_role", Field::Text(text)),
            WRITE => ("access", Field::Text(Access::Write.word())),
            TOOLS => ("tools", Field::List(text.split(BETWEEN))),
            SCHEMAS => ("schemas", Field::List(text.split(BETWEEN))),
            LIMITED => ("limits", Field::Quantities(Parts::of(text, limit))),
            _ => ("allow_from", Field::List(text.split(BETWEEN))),
        })
    }

    fn marked(&self) -> impl Iterator<Item = (char, &str)> {
        self.0.split_terminator(END).filter_map(marked)
    }
}

impl From<&Policy> for KeptPolicy {
    fn from(policy: &Policy) -> Self {
        Self::made_in(&mut String::new(), policy)
    }
}

impl fmt::Debug for KeptPolicy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read().fmt(out)
    }
}

/// What a field of an entry holds.
pub(crate) enum Field<'a> {
    Text(&'a str),
    List(Split<'a, char>),
    /// A mapping from names to texts.
    Texts(Parts<'a>),
    /// A mapping from names to numbers, with or without units.
    Quantities(Parts<'a>),
}

/// Iterates over the parts of a field, with their names.
pub(crate) struct Parts<'a> {
    parts: Split<'a, char>,
    name: fn(char) -> &'static str,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str, name: fn(char) -> &'static str) -> Self {
        let parts = text.split(BETWEEN);
        Self { parts, name }
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = (&'static str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let (mark, text) = marked(self.parts.next()?)?;
        Some(((self.name)(mark), text))
    }
}

fn part_of_role(mark: char) -> &'static str {
    match mark {
        USER => "user",
        VARIABLE => "password_env",
        _ => "password_file",
    }
}

fn limit(mark: char) -> &'static str {
    limit_at(mark).name
}

fn limit_at(mark: char) -> &'static super::Limit {
    let place = mark.to_digit(10).map(|place| place as usize);
    let limit = place.and_then(|place| LIMITS.get(place));
    limit.expect("a limit is marked with its place")
}

/// Splits the mark off.
fn marked(text: &str) -> Option<(char, &str)> {
    let mut text = text.chars();
    Some((text.next()?, text.as_str()))
}

fn login(text: &str) -> Login {
    let mut parts = text.split(BETWEEN).filter_map(marked);
    // Ignoring a missing user would let the token log in as others do.
    let (_, user) = parts.next().expect("a login has a user");
    let password = parts.next().map(|(mark, text)| match mark {
        VARIABLE => PasswordSource::Environment(VariableName(text.into())),
        _ => PasswordSource::File(FilePath(text.into())),
    });
    let user = RoleName(user.into());
    Login { user, password }
}

fn networks(text: &str) -> Networks {
    // Ignoring unreadable networks would let the token be used from anywhere.
    Networks::read(text.split(BETWEEN)).expect("networks are read as they are written")
}

fn limits(text: &str) -> Limits {
    let mut limits = Limits::default();
    for (mark, text) in text.split(BETWEEN).filter_map(marked) {
        let set = limit_at(mark).set(&mut limits, Some(text));
        set.expect("a limit is read as it is written");
    }
    limits
}

/// Writes the fields that are set.
fn write(out: &mut String, policy: &Policy) {
    let Policy {
        role,
        access,
        tools,
        schemas,
        limits,
        allow_from,
    } = policy;
    match role {
        None => {}
        Some(Role::Set(name)) => write_field(out, SET_ROLE, [name]),
        Some(Role::Login(login)) => write_login(out, login),
    }
    if *access == Access::Write {
        write_field(out, WRITE, [""]);
    }
    for (mark, names) in [(TOOLS, tools), (SCHEMAS, schemas)] {
        if let Some(names) = names {
            write_field(out, mark, [names.joined()]);
        }
    }
    if *limits != Limits::default() {
        let set = ('0'..).zip(&LIMITS);
        let set = set.filter_map(|(mark, limit)| Some(Marked(mark, limit.value(limits)?)));
        write_field(out, LIMITED, set);
    }
    if let Some(networks) = allow_from {
        write_field(out, NETWORKS, networks.iter());
    }
}

fn write_login(out: &mut String, Login { user, password }: &Login) {
    let password = password.as_ref().map(|password| match password {
        PasswordSource::Environment(name) => Marked(VARIABLE, name.as_str()),
        PasswordSource::File(path) => Marked(FILE, path.as_str()),
    });
    let user = Marked(USER, user.as_str());
    write_field(out, ROLE, std::iter::once(user).chain(password));
}

fn write_field<T: fmt::Display>(out: &mut String, mark: char, parts: impl IntoIterator<Item = T>) {
    out.push(mark);
    for (place, part) in parts.into_iter().enumerate() {
        if place > 0 {
            out.push(BETWEEN);
        }
        // Writing to a String cannot fail.
        let _ = write!(out, "{part}");
    }
    out.push(END);
}

/// Writes a part of a field after its mark.
struct Marked<T>(char, T);

impl<T: fmt::Display> fmt::Display for Marked<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_char(self.0)?;
        self.1.fmt(out)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_takes_little_more_than_its_texts() {
        let mut policy = Policy::default();
        for (field, text) in [
            ("role.user", "orders_reader"),
            ("role.password_file", "/run/orders"),
            ("tools", "query_database, count_rows, tool_12345"),
            ("schemas", "public, sales"),
            ("limits.rows", "12345"),
            ("limits.statement_timeout", "90s"),
            ("limits.connections", "3"),
            ("allow_from", "10.123.45.0/24, 2001:db8::/32"),
        ] {
            policy.set(field, Some(text)).unwrap();
        }
        let kept = KeptPolicy::from(&policy);
        let texts = 13 + 11 + 34 + 11 + 5 + 5 + 1 + 27;
        assert!(kept.0.len() <= texts + 24, "{:?}", kept.0);
        assert_eq!(kept.read(), policy);
        assert!(Arc::ptr_eq(&kept.0, &kept.clone().0));
    }

    #[test]
    fn the_empty_policy_takes_nothing() {
        let kept = KeptPolicy::from(&Policy::default());
        assert!(kept.is_empty() && kept.is_shared_with(&KeptPolicy::default()));
        assert_eq!(kept.read(), Policy::default());
    }
}
