//! A list of names that is never empty and has none twice.

use std::fmt;

/// One or more different names, in the order in which they were written; none is blank or has control characters.
#[derive(Clone, PartialEq, Eq)]
pub struct Names {
    /// All of them in one text, for there may be a list in each of very many policies.
    joined: Box<str>,
}

/// What stands between two names: a control character, which no name has.
const BETWEEN: &str = "\n";

impl Names {
    /// The most names that a list may have.
    pub const MAX: usize = 1_000;

    /// Takes names; nothing when there is none, too many, one twice, or one that is no name.
    #[must_use]
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut list: Vec<&str> = Vec::new();
        for name in names {
            if !is_name(name) || list.len() == Self::MAX || list.contains(&name) {
                return None;
            }
            list.push(name);
        }
        let joined = list.join(BETWEEN).into();
        (!list.is_empty()).then_some(Self { joined })
    }

    /// Returns the first name.
    #[must_use]
    pub fn first(&self) -> &str {
        self.iter().next().unwrap_or_default()
    }

    /// Goes through the names.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.joined.split(BETWEEN)
    }

    /// Says whether a name is in the list.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.iter().any(|known| known == name)
    }

    /// Says whether every name of the other list is in this one.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.iter().all(|name| self.contains(name))
    }
}

fn is_name(text: &str) -> bool {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_plain || !text.trim().is_empty() && !text.contains(char::is_control)
}

impl fmt::Debug for Names {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.iter()).finish()
    }
}

/// Writes the names with commas between them.
impl fmt::Display for Names {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.joined.replace(BETWEEN, ", "))
    }
}
