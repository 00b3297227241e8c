//! Rules for the noun and what comes before it: what is asked, of which table, and of which of its rows.

use super::children::children;
use super::phrases::{
    AGGREGATES, AMOUNTS, ARTICLES, COUNT, COUNTING_RANKS, DISTINCT, LIST, PEOPLE, PER, QUANTITIES,
    RANKS, RECENCY, SHARE, SHOW, SUPERLATIVES,
};
use super::{Draft, Move, Number, Opening, Phase, Rank, Rule, filters, too_many};
use crate::lexicon::{Hit, Lexicon, State};
use crate::names::cost;
use crate::query::{Aggregate, Ask, By, ColumnRef, Comparison, Filter, Group, Literal, Order};
use crate::schema::Kind;
use crate::words;

/// What is asked.
pub(super) const ASKING: &[Rule] = &[
    opening,
    counting,
    sharing,
    measuring,
    measuring_children,
    projecting,
];

/// Of which table, and of which of its rows.
pub(super) const NAMING: &[Rule] = &[
    article,
    limiting,
    ranking,
    recency,
    distinct,
    describing,
    counted_state,
    naming,
    naming_by_value,
];

/// What leads from a column to its noun.
pub(super) const LINKING: &[Rule] = &[linking, largest_groups];

fn opening(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    if draft.is_begun || draft.opening != Opening::None {
        return;
    }
    for (phrases, opening) in [(SHOW, Opening::Show), (LIST, Opening::List)] {
        if let Some(end) = lexicon.any(at, phrases) {
            let mut next = draft.clone();
            next.opening = opening;
            moves.push((end, next));
        }
    }
}

fn article(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    for phrase in ARTICLES {
        moves.extend(lexicon.says(at, phrase).map(|end| (end, draft.clone())));
    }
}

/// "how many"
fn counting(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    if draft.ask.is_some() || draft.is_begun {
        return;
    }
    let mut count = |end: usize, cost: u32| {
        let mut next = draft.clone().begun().at(Phase::Noun).paying(cost);
        next.ask = Some(Ask::Count);
        moves.push((end, next));
    };
    if let Some(end) = lexicon.any(at, COUNT) {
        count(end, 0);
    }
    // "Total users" is a count, unless there is something to sum.
    let end = lexicon.says(at, "total");
    let is_summed = |words| !lexicon.columns_about(words).is_empty();
    if let Some(end) = end.filter(|_| !is_summed(AMOUNTS) && !is_summed(QUANTITIES)) {
        count(end, cost::IMPLIED_TABLE);
    }
}

/// "what percentage of"
fn sharing(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    if draft.ask.is_some() || draft.is_begun {
        return;
    }
    if let Some(end) = lexicon.any(at, SHARE) {
        let mut next = draft.clone().begun().at(Phase::Noun);
        next.ask = Some(Ask::Share(Vec::new()));
        moves.push((end, next));
    }
}

/// "average number of orders per user"
fn measuring_children(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    if draft.ask.is_some() || draft.is_begun {
        return;
    }
    for (end, aggregates) in aggregates(lexicon, at, Vec::new()) {
        // "The total number of orders per user" may be one for each user, or one for all.
        let is_clear = !aggregates.contains(&Aggregate::Sum);
        let end = lexicon.any(end, &["number of", "count of"]);
        let Some(end) = end.filter(|_| is_clear) else {
            continue;
        };
        for (end, them, cost) in children(lexicon, end) {
            if let Some(end) = lexicon.any(end, PER) {
                let mut next = draft.clone().begun().paying(cost).at(Phase::Noun);
                next.ask = Some(Ask::MeasureChildren(aggregates.clone(), them));
                moves.push((end, next));
            }
        }
    }
}

/// "average price", "the highest product price", "sum of quantities"
fn measuring(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    if draft.ask.is_some() || draft.is_begun {
        return;
    }
    for (end, aggregates) in aggregates(lexicon, at, Vec::new()) {
        let end = lexicon.any(end, &["the", "all"]).unwrap_or(end);
        measured(lexicon, end, draft, &aggregates, moves);
        for noun in lexicon.subjects(end) {
            let mut next = draft.clone().paying(noun.cost);
            next.subject = Some(Number::Many);
            measured(lexicon, end + noun.took, &next, &aggregates, moves);
        }
    }
}

/// "minimum and maximum": each place where the list may end, and what it holds up to there.
fn aggregates(
    lexicon: &Lexicon<'_>,
    at: usize,
    before: Vec<Aggregate>,
) -> Vec<(usize, Vec<Aggregate>)> {
    let mut found = Vec::new();
    for (phrase, aggregate) in AGGREGATES {
        let Some(end) = lexicon
            .says(at, phrase)
            .filter(|_| !before.contains(aggregate))
        else {
            continue;
        };
        let mut list = before.clone();
        list.push(*aggregate);
        if let Some(next) = lexicon.any(end, &[", and the", ", and", "and the", "and", ","]) {
            found.extend(aggregates(lexicon, next, list.clone()));
        }
        found.push((end, list));
    }
    found
}

fn measured(
    lexicon: &Lexicon<'_>,
    at: usize,
    draft: &Draft,
    aggregates: &[Aggregate],
    moves: &mut Vec<Move>,
) {
    // "The largest order" is a row, not a number in a column `order`. Only a view may have counts by such a name, which
    // can be summed.
    let is_view = lexicon.table.primary_key.is_empty();
    let columns = if is_view && *aggregates == [Aggregate::Sum] {
        lexicon.own_columns(at)
    } else {
        lexicon.sole_columns(at)
    };
    for column in columns {
        let mut all = aggregates.iter();
        if all.all(|aggregate| can_measure(lexicon, *aggregate, column.what)) {
            let mut next = draft.clone().begun().paying(column.cost).at(Phase::Link);
            next.ask = Some(Ask::Measure(aggregates.to_vec(), column.what));
            moves.push((at + column.took, next));
        }
    }
}

fn can_measure(lexicon: &Lexicon<'_>, aggregate: Aggregate, column: ColumnRef) -> bool {
    let is_extreme = matches!(aggregate, Aggregate::Least | Aggregate::Greatest);
    match lexicon.column(column).kind {
        Kind::Number => !lexicon.table.is_key(column.column),
        Kind::Date => is_extreme,
        _ => false,
    }
}

/// "names and emails of", "user emails", "top 3 countries"
fn projecting(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    let only_says_how_many =
        draft.limit.is_some() && draft.filters.is_empty() && draft.order.is_empty();
    if draft.ask.is_some() || (draft.is_begun && !only_says_how_many) {
        return;
    }
    project(lexicon, at, draft, moves);
    for noun in lexicon.subjects(at) {
        let end = at + noun.took;
        // "Alerts resolved" are alerts, not the times at which they were resolved.
        if lexicon.states(end, None).is_empty() {
            let mut next = draft.clone().paying(noun.cost);
            next.subject = Some(Number::Many);
            project(lexicon, end, &next, moves);
        }
    }
}

fn project(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    if too_many(moves) {
        return;
    }
    let at = lexicon.any(at, &["the"]).unwrap_or(at);
    // "Total of invoices" may be a column or a sum.
    if AGGREGATES
        .iter()
        .any(|(word, _)| lexicon.says(at, word).is_some())
    {
        return;
    }
    for column in lexicon.own_columns(at) {
        // Where there is a table of grades, "grades" are its rows, and "grade" is the column.
        let is_plural = lexicon.words[at + column.took - 1].is_plural();
        if is_plural && lexicon.is_a_table(column.what) {
            continue;
        }
        let mut next = draft.clone().paying(column.cost);
        match &mut next.ask {
            Some(Ask::Columns(columns)) => columns.push(column.what),
            ask => *ask = Some(Ask::Columns(vec![column.what])),
        }
        let end = at + column.took;
        if let Some(further) = lexicon.any(end, &[", and", "and", ","]) {
            project(lexicon, further, &next, moves);
        }
        moves.push((end, next.begun().at(Phase::Link)));
    }
}

/// "different categories"
fn distinct(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    let is_free = draft.subject.is_none() && draft.filters.is_empty() && draft.order.is_empty();
    if !matches!(draft.ask, None | Some(Ask::Count)) || !is_free {
        return;
    }
    let Some(end) = lexicon.any(at, DISTINCT) else {
        return;
    };
    for column in lexicon.own_columns(end) {
        let mut next = draft.clone().begun().paying(column.cost).at(Phase::Link);
        next.ask = Some(match draft.ask {
            Some(Ask::Count) => Ask::CountDistinct(column.what),
            _ => Ask::Distinct(column.what),
        });
        moves.push((end + column.took, next));
    }
}

fn linking(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    if draft.subject.is_some() {
        return;
    }
    for phrase in ["of", "for", "from", "in", "across", "among"] {
        if let Some(end) = lexicon.says(at, phrase) {
            moves.push((end, draft.clone().at(Phase::Noun)));
        }
    }
}

/// "country with the most" users, "countries by number of" users: what is counted follows
fn largest_groups(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    let Some(Ask::Columns(columns)) = &draft.ask else {
        return;
    };
    let is_free = draft.subject.is_none() && draft.order.is_empty() && draft.filters.is_empty();
    let &[column] = &columns[..] else { return };
    // "The most stock" is the largest quantity, not the most rows.
    let is_counted = lexicon.columns_about(QUANTITIES).is_empty();
    if !is_free || !is_counted || lexicon.column(column).kind == Kind::Other {
        return;
    }
    let mut divide = |end: usize, descending: bool| {
        let mut next = draft.clone().at(Phase::Noun);
        next.ask = Some(Ask::Count);
        next.groups.push(Group::Column(column));
        next.order.push(Order {
            by: By::Count,
            descending,
        });
        next.rank = Rank::Strict;
        moves.push((end, next));
    };
    let is_one = !lexicon.words[at - 1].is_plural();
    let most = lexicon.any(
        at,
        &["with the", "has the", "with", "has", "have the", "have"],
    );
    let counting = RANKS
        .iter()
        .filter(|(phrase, _)| COUNTING_RANKS.contains(phrase));
    for (phrase, descending) in counting {
        let end = most.and_then(|at| lexicon.says(at, phrase));
        // With a plural, the question must say how many.
        if let Some(end) = end.filter(|_| is_one || draft.limit.is_some()) {
            divide(end, *descending);
        }
    }
    let by = ["by the number of", "by number of"];
    if let Some(end) = lexicon.any(at, &by).filter(|_| draft.limit.is_some()) {
        divide(end, true);
    }
}

/// "top 5", "the first 10", "20"
fn limiting(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    if draft.limit.is_some() || draft.ask.is_some() {
        return;
    }
    let (start, rank) = match lexicon.says(at, "top") {
        Some(end) => (end, Rank::Wanted),
        None => (at, Rank::None),
    };
    let Some(number) = lexicon
        .words
        .get(start)
        .filter(|word| word.kind == words::Kind::Number)
    else {
        return;
    };
    if let Ok(limit) = number.lower.parse() {
        let mut next = draft.clone().begun();
        next.limit = Some(limit);
        if next.rank == Rank::None {
            next.rank = rank;
        }
        moves.push((start + 1, next));
    }
}

/// "cheapest", "most expensive"
fn ranking(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    for (end, by, descending) in superlatives(lexicon, at) {
        moves.extend(ranked(draft, by, descending, Rank::Loose).map(|next| (end, next.begun())));
    }
}

/// Superlatives at a place: where they end, the column that they mean, and the direction.
pub(super) fn superlatives(lexicon: &Lexicon<'_>, at: usize) -> Vec<(usize, ColumnRef, bool)> {
    let known = SUPERLATIVES
        .iter()
        .filter_map(|(phrase, about, descending)| {
            Some((
                lexicon.says(at, phrase)?,
                lexicon.columns_meant(about),
                *descending,
            ))
        });
    known
        .flat_map(|(end, columns, descending)| {
            columns
                .into_iter()
                .map(move |column| (end, column, descending))
        })
        .collect()
}

/// Ranks by a column; `None` when the draft has an order already, or asks for no rows.
pub(super) fn ranked(draft: &Draft, by: ColumnRef, descending: bool, rank: Rank) -> Option<Draft> {
    let is_free = draft.order.is_empty() && draft.asks_for_rows();
    is_free.then(|| {
        let mut next = draft.clone();
        next.order.push(Order {
            by: By::Column(by),
            descending,
        });
        next.rank = rank;
        next
    })
}

/// "latest", "most recently raised"
fn recency(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    for (end, by, descending, cost) in recencies(lexicon, at) {
        let Some(next) = ranked(draft, by, descending, Rank::Loose) else {
            continue;
        };
        // "The most recently closed accounts" leave out the open ones.
        let is_event = lexicon.column(by).is_nullable && lexicon.usual_time() != Some(by);
        let next = if is_event {
            next.filtered(Filter::Present(by, true))
        } else {
            next
        };
        moves.push((end, next.begun().paying(cost)));
    }
}

/// Words for the newest or oldest at a place: where they end, the time, the direction and the cost.
pub(super) fn recencies(lexicon: &Lexicon<'_>, at: usize) -> Vec<(usize, ColumnRef, bool, u32)> {
    let mut found = Vec::new();
    for (phrase, descending) in RECENCY {
        let Some(end) = lexicon.says(at, phrase) else {
            continue;
        };
        for time in times(lexicon, end) {
            found.push((end + time.took, time.what, *descending, time.cost));
        }
        // After "most recently" the question must say what happened.
        let is_of_age = *phrase == "oldest" && lexicon.is_called(PEOPLE);
        if !phrase.ends_with("ly") && !is_of_age {
            let usual = lexicon.usual_time();
            found.extend(usual.map(|time| (end, time, *descending, cost::IMPLIED)));
        }
    }
    found
}

/// The table's own times that are named at a place.
pub(super) fn times(lexicon: &Lexicon<'_>, at: usize) -> Vec<Hit<ColumnRef>> {
    let mut columns = lexicon.own_columns(at);
    columns.retain(|hit| lexicon.column(hit.what).kind == Kind::Date);
    for event in lexicon.times_of_events(at) {
        if !columns.iter().any(|hit| hit.what == event.what) {
            columns.push(event);
        }
    }
    columns
}

/// "active", "not active", "paid or shipped", "high severity"
fn describing(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    for (end, filter) in described(lexicon, at, None, true) {
        let next = draft.clone().begun();
        moves.push((end, next.clone().filtered(filter)));
    }
}

/// Conditions that words at a place state: where they end, and the filter. With `any`, "and" joins
/// values like "or", as it does before a noun: "paid and shipped orders".
pub(super) fn described(
    lexicon: &Lexicon<'_>,
    at: usize,
    via: Option<usize>,
    any: bool,
) -> Vec<(usize, Filter)> {
    let negated = lexicon.any(
        at,
        &["not yet been", "not been", "not yet", "not", "non", "never"],
    );
    let start = negated.unwrap_or(at);
    let mut found = Vec::new();
    for state in lexicon.states(start, via) {
        let end = start + state.took;
        let is = negated.is_none();
        match state.what {
            State::Boolean(column, so) => found.push((end, Filter::Is(column, so == is))),
            State::Happened(column, so) => found.push((end, Filter::Present(column, so == is))),
            State::Always => {}
            State::Value(column, value) => {
                let end = own_name(lexicon, end, column);
                found.push((end, Filter::OneOf(column, vec![value.clone()], is)));
                if is {
                    alternatives(lexicon, end, column, vec![value], any, &mut found);
                }
            }
        }
    }
    found
}

/// Further values of the same column.
fn alternatives(
    lexicon: &Lexicon<'_>,
    at: usize,
    column: ColumnRef,
    values: Vec<String>,
    any: bool,
    found: &mut Vec<(usize, Filter)>,
) {
    let joints: &[&str] = if any {
        &[", or", ", and", "or", "and", ","]
    } else {
        &[", or", "or", ","]
    };
    let Some(start) = lexicon.any(at, joints) else {
        return;
    };
    let start = lexicon.any(start, &["the"]).unwrap_or(start);
    let Some((took, value)) = lexicon.value_of(start, column) else {
        return;
    };
    let end = own_name(lexicon, start + took, column);
    let mut values = values;
    values.push(value.to_owned());
    found.push((end, Filter::OneOf(column, values.clone(), true)));
    alternatives(lexicon, end, column, values, any, found);
}

/// Skips the column's name after its value: "high severity", "the tent category".
fn own_name(lexicon: &Lexicon<'_>, at: usize, column: ColumnRef) -> usize {
    let named = lexicon.columns(at, &[]);
    let own = named.iter().filter(|hit| hit.what == column);
    at + own.map(|hit| hit.took).max().unwrap_or(0)
}

/// "5 star" reviews
fn counted_state(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    let Some(number) = lexicon
        .words
        .get(at)
        .filter(|word| word.kind == words::Kind::Number)
    else {
        return;
    };
    for column in lexicon.own_columns(at + 1) {
        let is_one = !lexicon.words[at + column.took].is_plural();
        if is_one && filters::is_quantity(lexicon, column.what) {
            let literal = Literal::Number(number.lower.clone());
            let filter = Filter::Compare(column.what, Comparison::Equal, literal);
            let next = draft.clone().begun().paying(column.cost);
            moves.push((at + 1 + column.took, next.filtered(filter)));
        }
    }
}

/// The table's own name.
fn naming(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    if draft.subject.is_some() {
        return;
    }
    for noun in lexicon.subjects(at) {
        let end = at + noun.took;
        let mut next = draft.clone().begun().paying(noun.cost).at(Phase::Tail);
        next.subject = Some(number(lexicon, end));
        moves.push((end, next));
    }
}

/// A value in the place of the noun: "nurses" where nurse is a job title.
fn naming_by_value(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    if draft.subject.is_some() {
        return;
    }
    for (end, filter) in described(lexicon, at, None, true) {
        let is_noun = lexicon.words[end - 1].is_plural() || draft.rank != Rank::None;
        let is_stated = match &filter {
            // "Sales" is a department, not a name for the people who work there.
            Filter::OneOf(_, values, true) => !values.iter().any(|value| words::is_plural(value)),
            Filter::Is(_, so) => *so,
            _ => false,
        };
        if is_noun && is_stated {
            let mut next = draft.clone().begun().paying(cost::IMPLIED).at(Phase::Tail);
            next.subject = Some(number(lexicon, end));
            moves.push((end, next.filtered(filter)));
        }
    }
}

fn number(lexicon: &Lexicon<'_>, end: usize) -> Number {
    if lexicon.words[end - 1].is_plural() {
        Number::Many
    } else {
        Number::One
    }
}
