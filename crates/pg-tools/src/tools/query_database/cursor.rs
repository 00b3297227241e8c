//! Where the next page of a result begins, as a text that clients hand back.

use std::hash::{DefaultHasher, Hash, Hasher};

/// The place after a page. A client that changes it gets other rows of its own query, as with any
/// offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    /// How many rows of the result come before.
    pub(super) offset: u64,
    query: u32,
    last_row: u32,
}

impl Cursor {
    /// Makes the cursor that follows a page, of whose last row these are the values.
    pub(super) fn after(
        offset: u64,
        database: &str,
        query: &str,
        last_row: &[Option<&str>],
    ) -> Self {
        Cursor {
            offset,
            query: fingerprint(&(database, query)),
            last_row: fingerprint(last_row),
        }
    }

    /// Reads one; `None` when it is none.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (offset, rest) = text.split_once('-')?;
        let (query, last_row) = rest.split_at_checked(8)?;
        let cursor = Cursor {
            offset: u64::from_str_radix(offset, 16).ok()?,
            query: u32::from_str_radix(query, 16).ok()?,
            last_row: u32::from_str_radix(last_row, 16).ok()?,
        };
        // The first page has no cursor; PostgreSQL counts rows in 63 bits.
        let is_place = (1..=i64::MAX as u64).contains(&cursor.offset);
        (is_place && cursor.text() == text).then_some(cursor)
    }

    /// Writes it.
    pub(super) fn text(&self) -> String {
        let Cursor {
            offset,
            query,
            last_row,
        } = self;
        format!("{offset:x}-{query:08x}{last_row:08x}")
    }

    /// Says whether it was made for this query on this database.
    pub(super) fn is_of(&self, database: &str, query: &str) -> bool {
        self.query == fingerprint(&(database, query))
    }

    /// Says whether the row before it still has these values.
    pub(super) fn follows(&self, row: &[Option<&str>]) -> bool {
        self.last_row == fingerprint(row)
    }
}

/// A short number for a value. It finds mistakes and changes, and protects nothing.
fn fingerprint(value: &(impl Hash + ?Sized)) -> u32 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    let [_, _, _, _, low @ ..] = hasher.finish().to_be_bytes();
    u32::from_be_bytes(low)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_was_and_nothing_else_is_one() {
        let row = [Some("a"), None];
        let cursor = Cursor::after(100, "shop", "SELECT 1", &row);
        let text = cursor.text();
        assert_eq!(Cursor::read(&text), Some(cursor));
        assert!(cursor.is_of("shop", "SELECT 1") && cursor.follows(&row));
        assert!(!cursor.is_of("shop", "SELECT 2") && !cursor.is_of("sho", "pSELECT 1"));
        assert!(!cursor.follows(&row[..1]) && !cursor.follows(&[Some("a"), Some("NULL")]));
        for wrong in [
            "",
            "-",
            "100",
            "0-0000000000000000",
            "ffffffffffffffff-0000000000000000",
            "64-é00000000000000",
            &text.to_uppercase(),
            &format!("{text}0"),
            &format!("+{text}"),
        ] {
            assert_eq!(Cursor::read(wrong), None, "{wrong}");
        }
    }
}
