//! The released revisions of the protocol, oldest first.

use std::fmt;

/// A released revision of the Model Context Protocol; later revisions compare as greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // The variants are the revisions' own names.
pub enum Revision {
    V2024_11_05,
    V2025_03_26,
    V2025_06_18,
    V2025_11_25,
    V2026_07_28,
}

impl Revision {
    /// Every revision that is served, oldest first.
    pub const ALL: [Self; 5] = [
        Self::V2024_11_05,
        Self::V2025_03_26,
        Self::V2025_06_18,
        Self::V2025_11_25,
        Self::V2026_07_28,
    ];

    /// The newest revision that opens with `initialize`.
    pub const LATEST_LEGACY: Self = Self::V2025_11_25;

    /// Reads a revision's name as headers and messages spell it.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|revision| revision.as_str() == name)
    }

    /// Returns the name that headers and messages use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// Says whether each request carries its own revision and capabilities (2026-07-28 and later),
    /// instead of an `initialize` handshake.
    pub fn is_modern(self) -> bool {
        self > Self::LATEST_LEGACY
    }

    /// Names the revisions that need no handshake. If older ones were listed as supported, a client
    /// might try them without `initialize` again and again.
    pub(crate) fn modern_names() -> Vec<&'static str> {
        Self::ALL
            .into_iter()
            .filter(|one| one.is_modern())
            .map(Self::as_str)
            .collect()
    }

    /// Chooses what `initialize` answers: the requested revision if it has that handshake, else the
    /// newest one that has.
    pub(crate) fn negotiate(asked: &str) -> Self {
        Self::parse(asked)
            .filter(|revision| !revision.is_modern())
            .unwrap_or(Self::LATEST_LEGACY)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initialize_never_negotiates_a_revision_without_that_handshake() {
        for (asked, answered) in [
            ("2024-11-05", Revision::V2024_11_05),
            ("2025-03-26", Revision::V2025_03_26),
            ("2025-06-18", Revision::V2025_06_18),
            ("2025-11-25", Revision::V2025_11_25),
            ("2026-07-28", Revision::V2025_11_25),
            ("1999-01-01", Revision::V2025_11_25),
            ("", Revision::V2025_11_25),
        ] {
            assert_eq!(Revision::negotiate(asked), answered, "asked for {asked:?}");
        }
    }
}
