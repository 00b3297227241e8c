//! Rules for conditions that come after the noun.

use super::head::{described, times};
use super::joined::stands_alone;
use super::parents::{past_parent, referring_column};
use super::phrases::{AMOUNTS, BOUNDS, COMPARISONS, HOLDING, PEOPLE, PREPOSITIONS, TELLING};
use super::{Draft, Move, Rule};
use crate::dates;
use crate::lexicon::{Hit, Lexicon, State};
use crate::names::{cost, is_participle};
use crate::query::{Ask, ColumnRef, Comparison, Filter, Literal};
use crate::schema::Kind;
use crate::words::{self, Word, parts};

pub(super) const RULES: &[Rule] = &[
    stated, always, compared, counted, told, amounting, ranging, dated, valued, excepting, named,
    present, shared,
];

/// Conditions that can follow the noun of related rows directly, in a question about other rows.
pub(super) const SAYING: &[Rule] = &[stated, compared, counted, amounting, dated, valued];

/// The place itself, and those after words that may lead to a condition: "and", "who", "are".
pub(super) fn led(lexicon: &Lexicon<'_>, at: usize) -> Vec<usize> {
    let steps: [&[&str]; 3] = [
        &[", and", "and", ",", "but"],
        &["that", "which", "who", "where", "whose"],
        &[
            "have been",
            "has been",
            "had been",
            "are",
            "is",
            "were",
            "was",
            "have",
            "has",
            "had",
            "being",
            "do",
            "did",
        ],
    ];
    let mut places = vec![at];
    for phrases in steps {
        let last = places.last().copied().unwrap_or(at);
        places.extend(lexicon.any(last, phrases));
    }
    places
}

/// The same for a condition on a column, to which "with a" may lead as well.
fn led_to_column(lexicon: &Lexicon<'_>, at: usize) -> Vec<usize> {
    let mut places = Vec::new();
    for place in led(lexicon, at) {
        places.push(place);
        let with = lexicon.any(place, &["with", "having", "of", "in", "on", "at"]);
        places.extend(with);
        let start = with.unwrap_or(place);
        places.extend(lexicon.any(start, &["the", "their", "its", "an", "a"]));
    }
    places.sort_unstable();
    places.dedup();
    places
}

pub(super) fn add(draft: &Draft, end: usize, cost: u32, filter: Filter, moves: &mut Vec<Move>) {
    moves.push((end, draft.clone().paying(cost).filtered(filter)));
}

/// Adds a filter that was read after a preposition or a column's name.
fn add_led(draft: &Draft, end: usize, cost: u32, filter: Filter, moves: &mut Vec<Move>) {
    let mut draft = draft.clone();
    draft.led_value = matches!(filter, Filter::OneOf(..)).then_some(end);
    add(&draft, end, cost, filter, moves);
}

/// "who are not active", "returned", "that are paid or shipped"
fn stated(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    for start in led(lexicon, at) {
        for (end, filter) in described(lexicon, start, None, false) {
            if stands_alone(lexicon, at, draft, (end, &filter)) {
                add(draft, end, 0, filter, moves);
            }
        }
    }
}

/// "orders that were placed": what is true of every row is no condition
fn always(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    for start in led(lexicon, at) {
        for state in lexicon.states(start, None) {
            let end = start + state.took;
            // "Opened and closed today" also says when it was opened.
            let is_joined = lexicon.any(end, &["and", "or", "but", ","]).is_some();
            if state.what == State::Always && !is_joined {
                moves.push((end, draft.clone()));
            }
        }
    }
}

/// "with price above 100", "whose status is delivered", "price between 1 and 5"
fn compared(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    for start in led_to_column(lexicon, at) {
        for column in lexicon.columns(start, &draft.mentioned) {
            let end = start + column.took;
            for (end, filter) in conditions(lexicon, end, column.what) {
                add_led(draft, end, column.cost, filter, moves);
            }
        }
    }
}

/// Conditions on a column that follow its name.
fn conditions(lexicon: &Lexicon<'_>, at: usize, column: ColumnRef) -> Vec<(usize, Filter)> {
    let mut found = Vec::new();
    let comparisons = COMPARISONS
        .iter()
        .filter_map(|(phrase, comparison)| Some((lexicon.says(at, phrase)?, *comparison)));
    let implied = (at, Comparison::Equal);
    for (start, comparison) in comparisons.chain([implied]) {
        for (end, literal) in literals(lexicon, start, column) {
            let equality = matches!(comparison, Comparison::Equal | Comparison::Unequal);
            if equality || matches!(literal, Literal::Number(_)) {
                found.push((end, comparing(column, comparison, literal)));
            }
        }
        if comparison == Comparison::Equal {
            found.extend(several(lexicon, start, column));
            found.extend(either(lexicon, start, column));
            found.extend(bounded(lexicon, start, column));
        }
    }
    found.extend(between(lexicon, at, column));
    found.extend(holding(lexicon, at, column));
    found
}

/// "starts with A", "does not contain 'shell jacket'"
fn holding(lexicon: &Lexicon<'_>, at: usize, column: ColumnRef) -> Option<(usize, Filter)> {
    if lexicon.column(column).kind != Kind::Text {
        return None;
    }
    let at = lexicon.any(at, &["that", "which"]).unwrap_or(at);
    let found = HOLDING.iter();
    let mut found =
        found.filter_map(|(phrase, place, is)| Some((lexicon.says(at, phrase)?, *place, *is)));
    let (end, place, is) = found.next()?;
    let end = lexicon
        .any(end, &["the letter", "the word", "the text"])
        .unwrap_or(end);
    let word = lexicon.words.get(end)?;
    let is_last = lexicon.words.len() == end + 1 || lexicon.any(end + 1, &["and", ","]).is_some();
    let is_text = match word.kind {
        words::Kind::Quoted => !word.text.is_empty(),
        // An unquoted word may be the first of several.
        words::Kind::Plain | words::Kind::Number | words::Kind::Money | words::Kind::Code => {
            is_last
        }
        words::Kind::Day | words::Kind::Sign => false,
    };
    is_text.then(|| (end + 1, Filter::Holds(column, place, word.text.clone(), is)))
}

/// Compares a text as a list of one, so that texts have one form of filter.
fn comparing(column: ColumnRef, comparison: Comparison, literal: Literal) -> Filter {
    match literal {
        Literal::Text(text) => Filter::OneOf(column, vec![text], comparison == Comparison::Equal),
        number @ Literal::Number(_) => Filter::Compare(column, comparison, number),
    }
}

/// "paid or shipped", "gold and silver"
fn several(lexicon: &Lexicon<'_>, at: usize, column: ColumnRef) -> Vec<(usize, Filter)> {
    let found = described(lexicon, at, column.via, true).into_iter();
    found
        .filter(|(_, filter)| {
            matches!(filter, Filter::OneOf(other, values, true) if *other == column && values.len() > 1)
        })
        .collect()
}

/// "'OAK-1' or 'OAK-2'", "10 or 11": a list of values that the column is not known to hold.
fn either(lexicon: &Lexicon<'_>, at: usize, column: ColumnRef) -> Option<(usize, Filter)> {
    let is_quoted = |word: &&Word| word.kind == words::Kind::Quoted;
    let one = |at: usize| {
        let word = lexicon.words.get(at)?;
        let is_it = match lexicon.column(column).kind {
            Kind::Text => is_quoted(&word) || word.kind == words::Kind::Code,
            // It is written as a text literal, which PostgreSQL converts to the column's type.
            Kind::Number => word.kind == words::Kind::Number && !word.lower.contains('.'),
            _ => false,
        };
        is_it.then(|| word.text.clone())
    };
    let mut values = vec![one(at)?];
    let mut end = at + 1;
    while let Some(next) = lexicon.any(end, &[", or", "or"]) {
        values.push(one(next)?);
        end = next + 1;
    }
    (values.len() > 1).then_some((end, Filter::OneOf(column, values, true)))
}

/// "4 or more"
fn bounded(lexicon: &Lexicon<'_>, at: usize, column: ColumnRef) -> Option<(usize, Filter)> {
    let number = amount(lexicon, at).filter(|_| is_number(lexicon, column))?;
    let (end, comparison) = bound(lexicon, at + 1)?;
    Some((end, Filter::Compare(column, comparison, number)))
}

fn bound(lexicon: &Lexicon<'_>, at: usize) -> Option<(usize, Comparison)> {
    let found = BOUNDS.iter();
    let mut found =
        found.filter_map(|(phrase, comparison)| Some((lexicon.says(at, phrase)?, *comparison)));
    found.next()
}

/// "between 100 and 200"
fn between(lexicon: &Lexicon<'_>, at: usize, column: ColumnRef) -> Option<(usize, Filter)> {
    if !is_number(lexicon, column) {
        return None;
    }
    let (start, joint) = ["between", "is between", "of between", "from"]
        .iter()
        .find_map(|phrase| {
            let joint = if *phrase == "from" { "to" } else { "and" };
            Some((lexicon.says(at, phrase)?, joint))
        })?;
    let (least, end) = (amount(lexicon, start)?, lexicon.says(start + 1, joint)?);
    let greatest = amount(lexicon, end)?;
    match (least, greatest) {
        (Literal::Number(least), Literal::Number(greatest)) => {
            Some((end + 1, Filter::Between(column, least, greatest)))
        }
        _ => None,
    }
}

/// Values at a place that the column could hold.
fn literals(lexicon: &Lexicon<'_>, at: usize, column: ColumnRef) -> Vec<(usize, Literal)> {
    let it = lexicon.column(column);
    let mut found = Vec::new();
    if let Some((took, value)) = lexicon.value_of(at, column) {
        found.push((at + took, Literal::text(value)));
    }
    let Some(word) = lexicon.words.get(at) else {
        return found;
    };
    let is_code = matches!(word.kind, words::Kind::Quoted | words::Kind::Code);
    match (it.kind, word.kind) {
        (Kind::Number, words::Kind::Number | words::Kind::Money) => {
            let end = past_unit(lexicon, at + 1, column);
            found.push((end, Literal::Number(word.lower.clone())));
        }
        (Kind::Text, words::Kind::Number) => found.push((at + 1, Literal::text(&word.text))),
        (Kind::Text, _) if is_code && found.is_empty() => {
            found.push((at + 1, Literal::text(&word.text)));
        }
        _ => {}
    }
    found
}

pub(super) fn is_number(lexicon: &Lexicon<'_>, column: ColumnRef) -> bool {
    lexicon.column(column).kind == Kind::Number
}

/// Whether the column holds a quantity: a number that is no key.
pub(super) fn is_quantity(lexicon: &Lexicon<'_>, column: ColumnRef) -> bool {
    is_number(lexicon, column) && !lexicon.scope_table(column.via).is_key(column.column)
}

pub(super) fn number(lexicon: &Lexicon<'_>, at: usize) -> Option<Literal> {
    let is_number = |word: &&Word| word.kind == words::Kind::Number;
    let word = lexicon.words.get(at).filter(is_number)?;
    Some(Literal::Number(word.lower.clone()))
}

/// A number, perhaps with a currency sign.
fn amount(lexicon: &Lexicon<'_>, at: usize) -> Option<Literal> {
    let is_amount = |word: &&Word| matches!(word.kind, words::Kind::Number | words::Kind::Money);
    let word = lexicon.words.get(at).filter(is_amount)?;
    Some(Literal::Number(word.lower.clone()))
}

/// Skips the unit that the column's name gives: "45 minutes".
fn past_unit(lexicon: &Lexicon<'_>, at: usize, column: ColumnRef) -> usize {
    let is_unit = |word: &&Word| lexicon.is_unit(column, word);
    at + usize::from(lexicon.words.get(at).filter(is_unit).is_some())
}

/// Comparisons with a number at a place: where they end, the comparison, and the number.
pub(super) fn quantity(lexicon: &Lexicon<'_>, at: usize) -> Vec<(usize, Comparison, Literal)> {
    let mut found = Vec::new();
    let comparisons = COMPARISONS
        .iter()
        .filter(|(_, comparison)| *comparison != Comparison::Unequal)
        .filter_map(|(phrase, comparison)| Some((lexicon.says(at, phrase)?, *comparison)));
    for (start, comparison) in comparisons.chain([(at, Comparison::Equal)]) {
        if let Some(number) = amount(lexicon, start) {
            if let Some((end, bound)) = bound(lexicon, start + 1).filter(|_| start == at) {
                found.push((end, bound, number.clone()));
            }
            found.push((start + 1, comparison, number));
        }
    }
    found
}

/// "with at least 4 stars", "less than 20 battery"
fn counted(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    for start in led_to_column(lexicon, at) {
        for (place, comparison, number) in quantity(lexicon, start) {
            for column in lexicon.columns(place, &draft.mentioned) {
                if is_quantity(lexicon, column.what) {
                    let filter = Filter::Compare(column.what, comparison, number.clone());
                    add(draft, place + column.took, column.cost, filter, moves);
                }
            }
        }
    }
}

/// "that cost more than 300", "longer than 45 minutes"
fn told(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    let places = led(lexicon, at);
    for (phrase, comparison, about) in TELLING {
        // Where there is a column of that name, the word is its name, not a verb.
        let is_verb = |end: &usize| lexicon.own_columns(end - 1).is_empty();
        let ends = places.iter().filter_map(|at| lexicon.says(*at, phrase));
        for end in ends.filter(is_verb) {
            let quantities = match comparison {
                Some(comparison) => amount(lexicon, end)
                    .map(|number| (end + 1, *comparison, number))
                    .into_iter()
                    .collect(),
                None => quantity(lexicon, end),
            };
            for column in lexicon.columns_meant(about) {
                let between = between(lexicon, end, column).filter(|_| comparison.is_none());
                if let Some((end, filter)) = between {
                    add(draft, end, 0, filter, moves);
                }
            }
            for (end, comparison, number) in quantities {
                for column in lexicon.columns_meant(about) {
                    let end = past_unit(lexicon, end, column);
                    let filter = Filter::Compare(column, comparison, number.clone());
                    add(draft, end, 0, filter, moves);
                }
            }
        }
    }
}

/// "over 300", where the table has one amount
fn amounting(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    if draft.speaks_of_children() {
        return;
    }
    let mut amounts = lexicon.columns_about(AMOUNTS);
    amounts.retain(|column| is_number(lexicon, *column));
    for column in amounts {
        for start in led(lexicon, at) {
            for (end, comparison, number) in quantity(lexicon, start) {
                let is_clear = comparison != Comparison::Equal && !may_be_age(lexicon, &number);
                if is_clear {
                    let filter = Filter::Compare(column, comparison, number);
                    add(draft, end, cost::IMPLIED, filter, moves);
                }
            }
            if let Some((end, filter)) = between(lexicon, start, column)
                && !lexicon.is_called(PEOPLE)
            {
                add(draft, end, cost::IMPLIED, filter, moves);
            }
        }
    }
}

/// Whether the number may be an age: people "over 50" need not be those with a higher salary.
fn may_be_age(lexicon: &Lexicon<'_>, number: &Literal) -> bool {
    const OLDEST: f64 = 130.0;
    let is_low = match number {
        Literal::Number(digits) => digits.parse::<f64>().is_ok_and(|number| number < OLDEST),
        Literal::Text(_) => false,
    };
    is_low && lexicon.is_called(PEOPLE)
}

/// "between 100 and 200 points": the column comes after the range; `compared` takes one before it
fn ranging(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    for start in led_to_column(lexicon, at) {
        let column = |at| lexicon.columns(at, &draft.mentioned);
        // between A and B COLUMN
        for hit in column(start + 4) {
            if let Some((end, filter)) = between(lexicon, start, hit.what)
                && end == start + 4
            {
                add(draft, end + hit.took, hit.cost, filter, moves);
            }
        }
    }
}

/// "joined in 2024", "last week"
fn dated(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    let span = |at: usize| dates::span(lexicon.words.get(at..).unwrap_or_default());
    for start in led(lexicon, at) {
        if let Some((took, span)) = span(start) {
            let is_other = happened_then(lexicon, start)
                || tells_an_event(lexicon, draft)
                || tells_an_age(lexicon, start)
                || draft.speaks_of_children();
            if let Some(time) = lexicon.usual_time().filter(|_| !is_other) {
                let filter = Filter::Within(time, span);
                add(draft, start + took, cost::IMPLIED, filter, moves);
            }
        }
    }
    for start in led_to_column(lexicon, at) {
        for time in times(lexicon, start) {
            let end = start + time.took;
            let end = lexicon.any(end, &["is", "was"]).unwrap_or(end);
            if let Some((took, span)) = span(end) {
                let filter = Filter::Within(time.what, span);
                add(draft, end + took, time.cost, filter, moves);
            }
        }
    }
}

/// "in 2024": a condition on the usual time of rows
pub(super) fn usual_then(of: &Lexicon<'_>, at: usize) -> Option<(usize, Filter)> {
    let (took, span) = dates::span(of.words.get(at..)?)?;
    Some((at + took, Filter::Within(of.usual_time()?, span)))
}

/// Whether a time belongs to the word before it: "returned last week" does not say when the order was
/// placed, nor "inactive since 2024" or "waiting since May" when the row began. "Scheduled for" a time
/// is no such case.
fn happened_then(lexicon: &Lexicon<'_>, at: usize) -> bool {
    let Some(before) = at.checked_sub(1) else {
        return false;
    };
    let is_since = lexicon.says(at, "since").is_some();
    let is_one = |hit: &Hit<State>| match hit.what {
        State::Boolean(..) => hit.took == 1,
        State::Value(..) => hit.took == 1 && is_since,
        _ => false,
    };
    let is_state = lexicon.states(before, None).iter().any(is_one);
    (is_state || is_participle(&lexicon.words[before].lower)) && lexicon.says(at, "for").is_none()
}

/// Whether a condition is an event with a time of its own, which may be meant: "terminated employees in 2023" where
/// there is a `terminated_on` or a `termination_date`.
pub(super) fn tells_an_event(lexicon: &Lexicon<'_>, draft: &Draft) -> bool {
    draft.filters.iter().any(|filter| match filter {
        Filter::Present(column, true) => lexicon.column(*column).kind == Kind::Date,
        Filter::OneOf(_, values, true) => values.iter().any(|value| lexicon.has_time_of(value)),
        _ => false,
    })
}

/// Whether people are "older than" something, which is their age and no time of their rows.
fn tells_an_age(lexicon: &Lexicon<'_>, at: usize) -> bool {
    lexicon.is_called(PEOPLE) && lexicon.says(at, "older than").is_some()
}

/// "percentage of orders in 2024 that were returned": what follows defines the share
fn shared(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    const TELLING_OF_ALL: &[&str] = &[
        "that", "which", "who", "whose", "where", "are", "is", "were", "was", "have", "has", "had",
    ];
    let asks_for_share = matches!(draft.ask, Some(Ask::Share(_)));
    let is_told = lexicon.any(at, TELLING_OF_ALL).is_some();
    if asks_for_share && draft.share_from.is_none() && is_told {
        let mut next = draft.clone();
        next.share_from = Some(draft.filters.len());
        moves.push((at, next));
    }
}

/// "in Oslo", "not from SE", "on the pro plan"
fn valued(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    for start in led(lexicon, at) {
        let negated = lexicon.says(start, "not");
        for phrase in PREPOSITIONS {
            let Some(end) = lexicon.says(negated.unwrap_or(start), phrase) else {
                continue;
            };
            let end = lexicon.any(end, &["the"]).unwrap_or(end);
            let vias = lexicon.table.foreign_keys.iter().enumerate();
            let vias = vias.map(|(via, _)| Some(via)).chain([None]);
            for via in vias {
                let is_mentioned = via.is_none_or(|via| draft.mentioned.contains(&via));
                let extra = if is_mentioned { 0 } else { cost::OTHER_TABLE };
                for (end, filter) in described(lexicon, end, via, true) {
                    if let Filter::OneOf(column, values, true) = filter {
                        let past = past_parent(lexicon, end, via);
                        let is_said = is_mentioned || past > end;
                        let is_name = || values.iter().any(|value| lexicon.is_a_name(value, via));
                        let is_clear = is_said || !is_name();
                        let filter = Filter::OneOf(column, values, negated.is_none());
                        if is_clear && stands_alone(lexicon, at, draft, (end, &filter)) {
                            add_led(draft, past, extra, filter, moves);
                        }
                    }
                }
            }
        }
    }
}

/// "except admins", "neither low nor medium"
fn excepting(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    let mut negate = |found: Vec<(usize, Filter)>, least: usize| {
        for (end, filter) in found {
            match filter {
                Filter::OneOf(column, values, true) if values.len() >= least => {
                    add(draft, end, 0, Filter::OneOf(column, values, false), moves);
                }
                _ => {}
            }
        }
    };
    for phrase in ["except for", "except", "excluding", "other than"] {
        if let Some(end) = lexicon.says(at, phrase) {
            negate(described(lexicon, end, None, true), 1);
        }
    }
    for start in led(lexicon, at) {
        if let Some(end) = lexicon.any(start, &["not in the", "not in", "not of the", "not of"]) {
            negate(called(lexicon, end), 1);
        }
    }
    for start in led(lexicon, at) {
        if let Some(end) = lexicon.says(start, "neither") {
            negate(neither(lexicon, end), 2);
        }
    }
}

/// "category tents": a column's name and its value
fn called(lexicon: &Lexicon<'_>, at: usize) -> Vec<(usize, Filter)> {
    let columns = lexicon.own_columns(at).into_iter();
    let found = columns.filter_map(|column| {
        let end = at + column.took;
        let (took, value) = lexicon.value_of(end, column.what)?;
        let values = vec![value.to_owned()];
        Some((end + took, Filter::OneOf(column.what, values, true)))
    });
    found.collect()
}

/// "low nor medium", as the values of one column
fn neither(lexicon: &Lexicon<'_>, at: usize) -> Vec<(usize, Filter)> {
    let mut found = Vec::new();
    for (end, filter) in described(lexicon, at, None, false) {
        let (Filter::OneOf(column, mut values, true), Some(nor)) =
            (filter, lexicon.says(end, "nor"))
        else {
            continue;
        };
        if let Some((took, value)) = lexicon.value_of(nor, column) {
            values.push(value.to_owned());
            found.push((nor + took, Filter::OneOf(column, values, true)));
        }
    }
    found
}

/// "named 'Ana Berg'"
fn named(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    for start in led(lexicon, at) {
        let Some(end) = lexicon.any(start, &["named", "called"]) else {
            continue;
        };
        let is_quoted = |word: &&Word| word.kind == words::Kind::Quoted;
        let Some(word) = lexicon.words.get(end).filter(is_quoted) else {
            continue;
        };
        for column in lexicon.columns_about(&["name", "title"]) {
            if lexicon.column(column).kind == Kind::Text {
                let filter = Filter::OneOf(column, vec![word.text.clone()], true);
                add(draft, end + 1, 0, filter, moves);
                if let Some((end, filter)) = either(lexicon, end, column) {
                    add(draft, end, 0, filter, moves);
                }
            }
        }
    }
}

/// "without a phone", "with a phone"
fn present(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    const PHRASES: &[(&str, bool)] = &[
        ("without", false),
        ("with no", false),
        ("have no", false),
        ("has no", false),
        ("with missing", false),
        ("with", true),
        ("have", true),
        ("has", true),
    ];
    for start in before_having(lexicon, at) {
        for (phrase, is_present) in PHRASES {
            let Some(end) = lexicon.says(start, phrase) else {
                continue;
            };
            let end = lexicon.any(end, &["any", "an", "a"]).unwrap_or(end);
            for parent in lexicon.parents(end) {
                let column = referring_column(lexicon, parent.what);
                if let Some(column) = column.filter(|at| lexicon.column(*at).is_nullable) {
                    let filter = Filter::Present(column, *is_present);
                    add(draft, end + parent.took, parent.cost, filter, moves);
                }
            }
            for column in lexicon.own_columns(end) {
                let it = lexicon.column(column.what);
                if it.kind == Kind::Boolean
                    && parts(&it.name).first().is_some_and(|first| first == "has")
                {
                    let filter = Filter::Is(column.what, *is_present);
                    add(draft, end + column.took, column.cost, filter, moves);
                }
                // "Without" a quantity may mean NULL or zero.
                let is_clear = matches!(it.kind, Kind::Text | Kind::Enum | Kind::Date);
                if it.is_nullable && is_clear {
                    let filter = Filter::Present(column.what, *is_present);
                    add(draft, end + column.took, column.cost, filter, moves);
                }
            }
        }
    }
}

/// The places where "have" may stand, for rules that read it themselves.
pub(super) fn before_having(lexicon: &Lexicon<'_>, at: usize) -> Vec<usize> {
    let mut places = vec![at];
    for phrases in [&[", and", "and", ",", "but"][..], &["that", "which", "who"]] {
        let last = places.last().copied().unwrap_or(at);
        places.extend(lexicon.any(last, phrases));
    }
    places
}
