//! Numbers are compared only with columns in the same unit.

use super::filters::is_quantity;
use crate::lexicon::Lexicon;
use crate::names::UNIT_MARKS;
use crate::query::{ColumnRef, Filter};
use crate::words::{Kind, Word, parts};

/// Parts of the names of columns in a small unit. A number without a unit is never meant in one of these.
const SMALL_UNITS: [&str; 5] = ["cent", "pence", "penny", "minor", "micro"];

/// Parts of the names of columns that hold amounts of money.
#[rustfmt::skip]
const MONEY: [&str; 27] = [
    "price", "cost", "amount", "total", "subtotal", "salary", "wage", "pay", "fee", "balance", "budget", "revenue",
    "income", "profit", "spend", "payment", "refund", "principal", "value", "tax", "discount", "deposit", "credit",
    "debit", "rent", "bonus", "premium",
];

/// Currency signs, and their words.
const SIGNS: [(char, &str); 3] = [('$', "dollar"), ('€', "euro"), ('£', "pound")];

/// Parts of the names of columns that hold amounts in a currency without a sign of its own.
const CURRENCIES: [&str; 24] = [
    "aud", "brl", "cad", "chf", "cny", "czk", "dkk", "hkd", "huf", "ils", "inr", "isk", "jpy",
    "krw", "mxn", "nok", "nzd", "pln", "ron", "sek", "sgd", "thb", "uah", "zar",
];

/// Whether a filter that these words state compares numbers with a column in their unit.
pub(super) fn is_comparable(lexicon: &Lexicon<'_>, words: &[Word], filter: &Filter) -> bool {
    match filter {
        Filter::Compare(column, ..) | Filter::Between(column, ..) | Filter::OneOf(column, ..) => {
            let is_small = is_small_unit(lexicon, *column);
            (!is_small || is_said(lexicon, words, *column))
                && words
                    .iter()
                    .filter(|word| word.kind == Kind::Money)
                    .all(|amount| !is_small && is_money(lexicon, amount, *column))
        }
        _ => true,
    }
}

fn is_small_unit(lexicon: &Lexicon<'_>, column: ColumnRef) -> bool {
    let name = parts(&lexicon.column(column).name);
    is_quantity(lexicon, column) && name.iter().any(|part| SMALL_UNITS.contains(&part.as_str()))
}

/// Whether the words name the small unit of the column.
fn is_said(lexicon: &Lexicon<'_>, words: &[Word], column: ColumnRef) -> bool {
    let name = parts(&lexicon.column(column).name);
    let is_unit = |word: &Word| SMALL_UNITS.contains(&word.stem.as_str());
    words
        .iter()
        .any(|word| is_unit(word) && name.contains(&word.stem))
}

/// Whether the column may hold amounts in the currency of the amount's sign. Not where a column `currency` gives each
/// row its own.
fn is_money(lexicon: &Lexicon<'_>, amount: &Word, column: ColumnRef) -> bool {
    let name = parts(&lexicon.column(column).name);
    let has_one = |parts: &[&str]| name.iter().any(|part| parts.contains(&part.as_str()));
    let sign = SIGNS
        .iter()
        .find(|(sign, _)| amount.text.starts_with(*sign));
    let is_sign = |spoken: &str| sign.is_some_and(|(_, word)| *word == spoken);
    let mut units = UNIT_MARKS.iter().filter(|(mark, _)| has_one(&[*mark]));
    let mut others = lexicon.scope_table(column.via).columns.iter();
    is_quantity(lexicon, column)
        && has_one(&MONEY)
        && units.all(|(_, spoken)| is_sign(spoken))
        && !has_one(&CURRENCIES)
        && !others.any(|other| parts(&other.name).contains(&"currency".to_owned()))
}
