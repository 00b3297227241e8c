//! What is in stock, by a column of the table or by rows that count it.

use super::filters::{add, is_quantity, led};
use super::{Draft, Move, Rule};
use crate::lexicon::Lexicon;
use crate::names::cost;
use crate::query::{Ask, Children, ColumnRef, Comparison, Filter, Literal};
use crate::schema::Kind;
use crate::words::parts;

pub(super) const RULES: &[Rule] = &[stocked];

const PHRASES: [(&str, bool); 3] = [
    ("in stock", true),
    ("not in stock", false),
    ("out of stock", false),
];

/// "in stock", "out of stock"
fn stocked(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    for start in led(lexicon, at) {
        for (phrase, is_there) in PHRASES {
            let filter = lexicon
                .says(start, phrase)
                .and_then(|end| Some((end, stock(lexicon, draft, is_there)?)));
            if let Some((end, filter)) = filter {
                add(draft, end, cost::IMPLIED, filter, moves);
            }
        }
    }
}

fn stock(lexicon: &Lexicon<'_>, draft: &Draft, is_there: bool) -> Option<Filter> {
    let own = columns(lexicon, &["stock", "inventory"]);
    if let [column] = own[..]
        && lexicon.column(column).kind == Kind::Boolean
    {
        return Some(Filter::Is(column, is_there));
    }
    // "How many tents are in stock" asks for pieces, not for kinds.
    if draft.ask == Some(Ask::Count) {
        return None;
    }
    match own[..] {
        [column] if is_quantity(lexicon, column) => Some(if is_there {
            positive(column)
        } else {
            Filter::Compare(column, Comparison::AtMost, Literal::Number("0".into()))
        }),
        [] => counted_elsewhere(lexicon).map(|children| {
            let (comparison, count) = if is_there {
                (Comparison::AtLeast, 1)
            } else {
                (Comparison::Equal, 0)
            };
            Filter::Children(children, comparison, count)
        }),
        _ => None,
    }
}

fn positive(column: ColumnRef) -> Filter {
    Filter::Compare(column, Comparison::More, Literal::Number("0".into()))
}

/// The rows with a quantity above zero in the table of stocks that refers to these; `None` unless there is just one.
fn counted_elsewhere(lexicon: &Lexicon<'_>) -> Option<Children> {
    let mut found = lexicon.all_children().filter_map(|(rows, own, _)| {
        let counts = columns(own, &["quantity", "qty", "stock", "unit"]);
        match counts[..] {
            [count] if own.is_called(&["stock", "inventory"]) && is_quantity(own, count) => {
                let states = vec![positive(count)];
                Some(Children {
                    states,
                    ..rows.clone()
                })
            }
            _ => None,
        }
    });
    let only = found.next()?;
    found.next().is_none().then_some(only)
}

/// The columns that tell how much there is, not how much there should be.
fn columns(lexicon: &Lexicon<'_>, about: &[&str]) -> Vec<ColumnRef> {
    const WANTED: [&str; 7] = [
        "min", "minimum", "max", "maximum", "reorder", "safety", "target",
    ];
    let mut columns = lexicon.columns_meant(about);
    columns.retain(|column| {
        let name = parts(&lexicon.column(*column).name);
        !name.iter().any(|part| WANTED.contains(&part.as_str()))
    });
    columns
}
