//! Where the next page of a result begins, as a text that clients send back.

use std::hash::{DefaultHasher, Hash, Hasher};

use base64ct::{Base64UrlUnpadded, Encoding};

use crate::read_only::{Edge, Given, Place};

/// The place after a page, for one query. A client that changes it gets other rows of its own query, as
/// with any offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) place: Place,
    query: u32,
}

/// The length that stands for a NULL; values are much shorter.
const NULL: u16 = u16::MAX;

impl Cursor {
    pub(super) fn new(place: Place, database: &str, query: &str) -> Self {
        Cursor {
            place,
            query: fingerprint(&(database, query)),
        }
    }

    /// Reads a cursor; `None` if the text is not one.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (head, edge) = match text.split_once('.') {
            Some((head, edge)) => (head, Some(edge)),
            None => (text, None),
        };
        let (offset, rest) = head.split_once('-')?;
        let (query, last_row) = rest.split_at_checked(8)?;
        let last_row = u32::from_str_radix(last_row, 16).ok()?;
        let edge = match edge {
            Some(text) => Some(read_edge(text, head, last_row)?),
            None => None,
        };
        let place = Place {
            offset: u64::from_str_radix(offset, 16).ok()?,
            last_row,
            edge,
        };
        let query = u32::from_str_radix(query, 16).ok()?;
        let cursor = Cursor { place, query };
        // The first page has no cursor; PostgreSQL counts rows in 63 bits.
        let is_place = (1..=i64::MAX as u64).contains(&cursor.place.offset);
        (is_place && cursor.text() == text).then_some(cursor)
    }

    /// Returns the cursor as text.
    pub(super) fn text(&self) -> String {
        let Place {
            offset,
            last_row,
            edge,
        } = &self.place;
        let head = format!("{offset:x}-{:08x}{last_row:08x}", self.query);
        match edge {
            Some(edge) => format!("{head}.{}", write_edge(edge, &head)),
            None => head,
        }
    }

    /// Returns whether the order does not determine which rows are next.
    pub(super) fn is_vague(&self) -> bool {
        self.place.edge.as_ref().is_some_and(Edge::is_vague)
    }

    /// Returns whether the cursor was made for this query on this database.
    pub(super) fn is_of(&self, database: &str, query: &str) -> bool {
        self.query == fingerprint(&(database, query))
    }
}

/// Writes an edge in few characters, none of which a reader could take for words of the database. It ends with a
/// fingerprint of the whole cursor, so that a mistake in copying it is noticed.
fn write_edge(edge: &Edge, head: &str) -> String {
    let mut bytes = Vec::new();
    edge.given.write(&mut bytes);
    for value in &edge.values {
        let length = value.as_ref().map(|value| u16::try_from(value.len()));
        let length = length.map_or(NULL, |length| length.expect("a key is short"));
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(value.as_deref().unwrap_or_default().as_bytes());
    }
    let check = fingerprint(&(head, &bytes));
    bytes.extend_from_slice(&check.to_be_bytes());
    Base64UrlUnpadded::encode_string(&bytes)
}

fn read_edge(text: &str, head: &str, last_row: u32) -> Option<Edge> {
    let bytes = Base64UrlUnpadded::decode_vec(text).ok()?;
    let (bytes, check) = bytes.split_last_chunk()?;
    if u32::from_be_bytes(*check) != fingerprint(&(head, bytes)) {
        return None;
    }
    let (given, mut rest) = Given::read(bytes, last_row)?;
    let mut values = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk() {
        rest = after;
        let value = match u16::from_be_bytes(*length) {
            NULL => None,
            length => {
                let (value, after) = rest.split_at_checked(usize::from(length))?;
                rest = after;
                // PostgreSQL's texts have no NUL.
                let value = str::from_utf8(value).ok().filter(|it| !it.contains('\0'))?;
                Some(value.to_owned())
            }
        };
        values.push(value);
    }
    (rest.is_empty() && !values.is_empty()).then_some(Edge { values, given })
}

/// Returns a short hash of a value. It serves to find mistakes and changes, not to protect anything.
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

    fn cursor(edge: Option<Edge>) -> Cursor {
        let place = Place {
            offset: 100,
            last_row: 7,
            edge,
        };
        Cursor::new(place, "shop", "SELECT 1")
    }

    fn edge(values: &[Option<&str>], count: u32) -> Edge {
        let mut given = Given::default();
        (1..count).for_each(|number| given.push(number));
        given.push(7);
        let values = values.iter().map(|value| value.map(str::to_owned));
        Edge {
            values: values.collect(),
            given,
        }
    }

    #[test]
    fn a_cursor_comes_back_as_it_was_and_nothing_else_is_one() {
        let plain = cursor(None);
        let text = plain.text();
        assert_eq!(Cursor::read(&text), Some(plain.clone()));
        assert!(plain.is_of("shop", "SELECT 1"));
        assert!(!plain.is_of("shop", "SELECT 2") && !plain.is_of("sho", "pSELECT 1"));
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
            &format!("{text}."),
            &format!("{text}.AAAA"),
        ] {
            assert_eq!(Cursor::read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_edge_comes_back_as_it_was_and_a_slip_is_found() {
        for (values, count) in [
            (&[Some("42")][..], 1),
            (&[Some(""), None, Some("é'\\\"\n")], 2),
            (&[None], 32),
            (&[Some("a")], 33),
            (&[Some("a")], 10_000),
        ] {
            let cursor = cursor(Some(edge(values, count)));
            let text = cursor.text();
            assert_eq!(Cursor::read(&text), Some(cursor), "{text}");
            assert!(text.is_ascii() && !text.contains(char::is_whitespace));
            for at in 0..text.len() {
                let mut other = text.clone().into_bytes();
                other[at] = if other[at] == b'3' { b'4' } else { b'3' };
                let other = String::from_utf8(other).unwrap();
                let read = Cursor::read(&other).filter(|read| read.is_of("shop", "SELECT 1"));
                assert_eq!(read, None, "{other}");
            }
        }
        assert!(cursor(Some(edge(&[Some("100000")], 1))).text().len() < 48);
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_the_reading(head in "[0-9a-f]{1,3}-[0-9a-f]{16}", bytes: Vec<u8>) {
            let check = fingerprint(&(&*head, &*bytes));
            let bytes = [&bytes[..], &check.to_be_bytes()].concat();
            let text = format!("{head}.{}", Base64UrlUnpadded::encode_string(&bytes));
            if let Some(cursor) = Cursor::read(&text) {
                proptest::prop_assert_eq!(cursor.text(), text);
            }
        }
    }
}
