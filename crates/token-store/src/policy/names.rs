//! A list of names that is never empty and has no name twice.

use std::fmt;

/// One or more distinct names, in the order written; none is blank or contains control characters.
#[derive(Clone, PartialEq, Eq)]
pub struct Names {
    /// All names in one text: there may be a list in each of very many policies.
    joined: Box<str>,
}

/// The separator: a control character, which no name contains.
const BETWEEN: char = '\n';

impl Names {
    /// The maximum number of names in a list.
    pub const MAX: usize = 1_000;

    /// Takes names; `None` when there are none or too many, when one occurs twice, or when one is
    /// not a name.
    #[must_use]
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut list: Vec<&str> = Vec::with_capacity(4);
        for name in names {
            if !is_name(name) || list.len() == Self::MAX || list.contains(&name) {
                return None;
            }
            list.push(name);
        }
        let joined = list.join(BETWEEN.encode_utf8(&mut [0; 1])).into();
        (!list.is_empty()).then_some(Self { joined })
    }

    /// Wraps a text that [`Names::joined`] returned.
    pub(super) fn from_joined(text: &str) -> Self {
        let joined = text.into();
        Self { joined }
    }

    /// Returns all names in one text, whose only control characters are the separators.
    pub(super) fn joined(&self) -> &str {
        &self.joined
    }

    /// Returns the first name.
    #[must_use]
    pub fn first(&self) -> &str {
        self.joined.split(BETWEEN).next().unwrap_or_default()
    }

    /// Iterates over the names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        Iter {
            left: self.joined.matches(BETWEEN).count() + 1,
            names: self.joined.split(BETWEEN),
        }
    }

    /// Says whether a name is in the list.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.joined.split(BETWEEN).any(|known| known == name)
    }

    /// Says whether every name of the other list is in this one.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.iter().all(|name| self.contains(name))
    }
}

/// An iterator over names that knows how many are left.
struct Iter<'a> {
    names: std::str::Split<'a, char>,
    left: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let name = self.names.next()?;
        self.left -= 1;
        Some(name)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Iter<'_> {}

fn is_name(text: &str) -> bool {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_plain || !text.trim().is_empty() && !text.contains(char::is_control)
}

impl fmt::Debug for Names {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.iter()).finish()
    }
}

/// Writes the names, separated by commas.
impl fmt::Display for Names {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.joined.replace(BETWEEN, ", "))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_as_they_were_given() {
        for list in [vec!["a"], vec!["b c", "\u{e9}", "a, b"]] {
            let names = Names::new(list.iter().copied()).unwrap();
            assert_eq!(names.iter().collect::<Vec<_>>(), list);
            assert_eq!(names.iter().len(), list.len());
            assert_eq!(names.first(), list[0]);
            assert_eq!(names.to_string(), list.join(", "));
            assert!(list.iter().all(|name| names.contains(name)));
            assert!(!names.contains("b") && !names.contains(""));
        }
    }

    #[test]
    fn what_is_no_list_of_different_names_is_refused() {
        for list in [
            vec![],
            vec![""],
            vec![" "],
            vec!["a", "a"],
            vec!["a\nb"],
            vec!["a", "\t"],
        ] {
            assert_eq!(Names::new(list.iter().copied()), None, "{list:?}");
        }
        let many: Vec<String> = (0..=Names::MAX).map(|number| number.to_string()).collect();
        let names = |count: usize| Names::new(many[..count].iter().map(String::as_str));
        assert!(names(Names::MAX).is_some() && names(Names::MAX + 1).is_none());
    }
}
