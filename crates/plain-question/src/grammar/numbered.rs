//! Rows that are identified by a number: "user 7", "room number 101".

use super::filters::{is_number, number};
use crate::lexicon::Lexicon;
use crate::query::{ColumnRef, Comparison, Filter};
use crate::schema::Kind;

/// The names of columns with the numbers by which people know rows.
const NUMBERS: [&str; 3] = ["number", "no", "nr"];

/// The filters that a number at a place may mean, and where it ends: on the rows' key, or on a number of their own,
/// as rooms have.
pub(super) fn numbered(
    lexicon: &Lexicon<'_>,
    at: usize,
    via: Option<usize>,
    key: Option<ColumnRef>,
) -> Vec<(usize, Filter)> {
    let says_key = lexicon.any(at, &["with id", "id"]);
    let says_number = lexicon.any(at, &["number", "#"]);
    let at = says_key.or(says_number).unwrap_or(at);
    let Some(number) = number(lexicon, at) else {
        return Vec::new();
    };
    let own = own_number(lexicon, via).filter(|_| says_key.is_none());
    let key = key.filter(|_| own.is_none() || says_number.is_none());
    let key = key.filter(|column| is_number(lexicon, *column));
    let by_key = key.map(|column| Filter::Compare(column, Comparison::Equal, number));
    let by_own = own.and_then(|column| equal(lexicon, at, column, says_number.is_some()));
    by_key
        .into_iter()
        .chain(by_own)
        .map(|filter| (at + 1, filter))
        .collect()
}

/// The column, other than the key, with the numbers by which people know the rows.
fn own_number(lexicon: &Lexicon<'_>, via: Option<usize>) -> Option<ColumnRef> {
    let table = lexicon.scope_table(via);
    let is_it = |(at, name): (usize, &str)| NUMBERS.contains(&name) && table.key() != Some(at);
    let names = table.columns.iter().map(|column| column.name.as_str());
    let column = names.enumerate().position(is_it)?;
    Some(ColumnRef { via, column })
}

/// The filter for the number as the column's value, if the column may hold it.
fn equal(lexicon: &Lexicon<'_>, at: usize, column: ColumnRef, is_said: bool) -> Option<Filter> {
    let text = lexicon.words[at].text.clone();
    let it = lexicon.column(column);
    let may_be = is_said || it.values.is_empty() || it.values.contains(&text);
    match it.kind {
        Kind::Number => Some(Filter::Compare(
            column,
            Comparison::Equal,
            number(lexicon, at)?,
        )),
        Kind::Text if may_be => Some(Filter::OneOf(column, vec![text], true)),
        _ => None,
    }
}
