//! Rules for what arranges the rows, after the noun: groups, order and limits.

use super::children::children;
use super::filters::{before_having, is_quantity, led, tells_an_event};
use super::head::{ranked, recencies, superlatives, times};
use super::numbered::numbered;
use super::phrases::{COUNTING_RANKS, DIRECTIONS, ENDINGS, FIRST, LIMITS, PER, RANKS, SORTED};
use super::{Draft, Move, Opening, Phase, Rank, Rule, too_many};
use crate::dates;
use crate::lexicon::Lexicon;
use crate::names::cost;
use crate::query::{Ask, By, ColumnRef, Filter, Group, Order};
use crate::schema::Kind;
use crate::words;

/// The most words of a table's name.
const LONGEST_NOUN: usize = 4;

pub(super) const RULES: &[Rule] = &[
    ending,
    grouping,
    by,
    sorting,
    first,
    being_first,
    having_most,
    by_number,
    limited,
];

/// "are there"
fn ending(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    for phrase in ENDINGS {
        let end = lexicon.says(at, phrase);
        let next = existing(draft, phrase).unwrap_or_else(|| draft.clone());
        moves.extend(end.map(|end| (end, next.at(Phase::Tail))));
    }
}

/// "What plans are there": each value once.
fn existing(draft: &Draft, phrase: &str) -> Option<Draft> {
    let Some(Ask::Columns(columns)) = draft.ask.as_ref().filter(|_| draft.subject.is_none()) else {
        return None;
    };
    let [column] = columns[..] else { return None };
    let tells_of_existence = ["are there", "exist", "do we have", "do you have"];
    tells_of_existence
        .iter()
        .any(|tells| phrase.starts_with(tells))
        .then(|| {
            let mut next = draft.clone();
            next.ask = Some(Ask::Distinct(column));
            next
        })
}

/// "per country", "for each month", "placed per day"
fn grouping(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    if let Some(end) = lexicon.any(at, PER) {
        group(lexicon, end, draft, moves);
    }
    for start in led(lexicon, at) {
        for time in times(lexicon, start) {
            let end = lexicon.any(
                start + time.took,
                &["per", "by", "for each", "in each", "each", "every"],
            );
            if let Some(end) = end {
                let happened = happened(lexicon, draft, time.what);
                let next = happened.map(|next| next.paying(time.cost));
                if let Some(next) = next {
                    period(lexicon, end, &next, time.what, moves);
                }
            }
        }
    }
}

/// "Closed per year" leaves out what was not closed, so that it can be no share of all.
fn happened(lexicon: &Lexicon<'_>, draft: &Draft, time: ColumnRef) -> Option<Draft> {
    if !lexicon.column(time).is_nullable {
        return Some(draft.clone());
    }
    let is_share = matches!(draft.ask, Some(Ask::Share(_)));
    (!is_share).then(|| draft.clone().filtered(Filter::Present(time, true)))
}

/// "by country": groups, or the order of a list
fn by(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    let Some(end) = lexicon.says(at, "by") else {
        return;
    };
    let is_list = draft.ask.is_none() && draft.opening == Opening::List;
    let is_ranking = draft.rank == Rank::Wanted;
    if !is_list && !is_ranking {
        group(lexicon, end, draft, moves);
    }
    // "Show orders by status" may be either. Both are read, so that there is no answer.
    let is_shown = draft.ask.is_none() && draft.opening == Opening::Show;
    if is_list || is_ranking || is_shown {
        sort(lexicon, end, draft, moves);
    }
}

fn group(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    if draft.is_one_ranked() {
        // "The cheapest product of each category".
        first_of_each(lexicon, at, draft, moves);
        return;
    }
    let is_free = draft.order.is_empty() && draft.limit.is_none();
    let mut draft = draft.clone().at(Phase::Tail);
    let is_implied = draft.ask.is_none();
    if is_implied && is_free {
        // "Users per country" asks for their number.
        draft.ask = Some(Ask::Count);
    }
    if draft.asks_for_rows() || !is_free {
        return;
    }
    for column in lexicon.columns(at, &draft.mentioned) {
        // "Products by price" is more likely an order than a count for each price.
        let is_order = is_implied && is_quantity(lexicon, column.what);
        if is_divisor(lexicon, column.what) && !is_order {
            let next = grouped(
                &draft.clone().paying(column.cost),
                Group::Column(column.what),
            );
            further(lexicon, at + column.took, &next, moves);
        }
    }
    for parent in lexicon.parents(at) {
        let next = grouped(
            &draft.clone().paying(parent.cost),
            Group::Parent(parent.what),
        );
        further(lexicon, at + parent.took, &next, moves);
    }
    let is_other = draft.speaks_of_children() || tells_an_event(lexicon, &draft);
    if let Some(time) = lexicon.usual_time().filter(|_| !is_other) {
        period(
            lexicon,
            at,
            &draft.clone().paying(cost::IMPLIED),
            time,
            moves,
        );
    }
    for time in times(lexicon, at) {
        let draft = draft.clone().paying(time.cost);
        period(lexicon, at + time.took, &draft, time.what, moves);
    }
}

fn is_divisor(lexicon: &Lexicon<'_>, column: ColumnRef) -> bool {
    lexicon.column(column).kind != Kind::Other
}

/// Groups whose first rows are wanted.
fn first_of_each(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    for column in lexicon.columns(at, &draft.mentioned) {
        if is_divisor(lexicon, column.what) && !is_quantity(lexicon, column.what) {
            let draft = draft.clone().paying(column.cost).at(Phase::Tail);
            let next = grouped(&draft, Group::Column(column.what));
            moves.push((at + column.took, next));
        }
    }
    for parent in lexicon.parents(at) {
        let draft = draft.clone().paying(parent.cost).at(Phase::Tail);
        let next = grouped(&draft, Group::Parent(parent.what));
        moves.push((at + parent.took, next));
    }
}

/// "and by month"
fn further(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    moves.push((at, draft.clone()));
    if let Some(end) = lexicon.any(at, &["and by", "and per", "and"])
        && draft.groups.len() < 4
        && !too_many(moves)
    {
        group(lexicon, end, draft, moves);
    }
}

fn grouped(draft: &Draft, group: Group) -> Draft {
    let mut next = draft.clone();
    next.groups.push(group);
    next
}

fn period(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, time: ColumnRef, moves: &mut Vec<Move>) {
    let Some(unit) = lexicon.words.get(at).and_then(dates::unit) else {
        return;
    };
    let mut draft = draft.clone().at(Phase::Tail);
    draft.ask.get_or_insert(Ask::Count);
    if !draft.asks_for_rows() {
        let next = grouped(&draft, Group::Period(time, unit));
        further(lexicon, at + 1, &next, moves);
    }
}

/// "ordered by price descending"
fn sorting(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    for start in led(lexicon, at) {
        if let Some(end) = lexicon.any(start, SORTED) {
            sort(lexicon, end, draft, moves);
            first(lexicon, end, draft, moves);
        }
    }
}

fn sort(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    let is_wanted = draft.rank == Rank::Wanted;
    if !draft.order.is_empty() || !draft.asks_for_rows() {
        return;
    }
    let start = lexicon.any(at, &["the", "their"]).unwrap_or(at);
    let start = lexicon.any(start, &["alphabetically by"]).unwrap_or(start);
    for column in lexicon.own_columns(start) {
        let end = start + column.took;
        let told = direction(lexicon, end);
        let (end, descending) = told.unwrap_or((end, is_wanted));
        let mut next = draft.clone().paying(column.cost).at(Phase::Tail);
        next.order.push(Order {
            by: By::Column(column.what),
            descending,
        });
        if is_wanted {
            next.rank = Rank::Strict;
        }
        moves.push((end, next));
    }
    if is_wanted {
        let start = lexicon.any(start, &["number of"]).unwrap_or(start);
        for (end, child, cost) in children(lexicon, start) {
            let mut next = draft.clone().paying(cost).at(Phase::Tail);
            next.order.push(Order {
                by: By::Children(child),
                descending: true,
            });
            next.rank = Rank::Strict;
            let end = lexicon.any(end, &["count"]).unwrap_or(end);
            moves.push((end, next));
        }
    }
}

fn direction(lexicon: &Lexicon<'_>, at: usize) -> Option<(usize, bool)> {
    let at = lexicon.any(at, &[","]).unwrap_or(at);
    let found = DIRECTIONS.iter();
    let mut found =
        found.filter_map(|(phrase, descending)| Some((lexicon.says(at, phrase)?, *descending)));
    found.next()
}

/// "newest first"
fn first(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    let at = lexicon.any(at, &[",", "by", "with"]).unwrap_or(at);
    let Some(time) = lexicon.usual_time() else {
        return;
    };
    for (phrase, descending) in FIRST {
        let end = lexicon.says(at, phrase);
        let rank = draft.rank;
        let next = ranked(draft, time, *descending, rank).filter(|_| rank == Rank::None);
        moves.extend(
            end.zip(next)
                .map(|(end, next)| (end, next.paying(cost::IMPLIED))),
        );
    }
}

/// "which is the cheapest", "is the newest"
fn being_first(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    let Some(&start) = led(lexicon, at).last().filter(|start| **start > at) else {
        return;
    };
    let start = lexicon.any(start, &["the"]).unwrap_or(start);
    let known = superlatives(lexicon, start).into_iter();
    let known = known.map(|(end, by, descending)| (end, by, descending, 0));
    for (end, by, descending, cost) in known.chain(recencies(lexicon, start)) {
        let next = ranked(draft, by, descending, Rank::Strict);
        moves.extend(next.map(|next| (end, next.paying(cost))));
    }
}

/// "with the highest price", "has the most orders"
fn having_most(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    for start in before_having(lexicon, at) {
        let Some(end) = lexicon.any(start, &["with", "having", "have", "has"]) else {
            continue;
        };
        let end = lexicon.any(end, &["the"]).unwrap_or(end);
        for (phrase, descending) in RANKS {
            let Some(end) = lexicon.says(end, phrase) else {
                continue;
            };
            let is_counting = COUNTING_RANKS.contains(phrase);
            most(lexicon, end, draft, (*descending, is_counting), moves);
        }
    }
}

fn most(
    lexicon: &Lexicon<'_>,
    at: usize,
    draft: &Draft,
    (descending, is_counting): (bool, bool),
    moves: &mut Vec<Move>,
) {
    for column in lexicon.own_columns(at) {
        let is_ranked = matches!(lexicon.column(column.what).kind, Kind::Number | Kind::Date);
        let next = ranked(draft, column.what, descending, Rank::Strict);
        let next = next.filter(|_| is_ranked);
        moves.extend(next.map(|next| (at + column.took, next.paying(column.cost))));
    }
    let children = is_counting.then(|| children(lexicon, at));
    for (end, child, cost) in children.into_iter().flatten() {
        if draft.order.is_empty() && draft.asks_for_rows() {
            let mut next = draft.clone().paying(cost);
            next.order.push(Order {
                by: By::Children(child),
                descending,
            });
            next.rank = Rank::Strict;
            moves.push((end, next));
        }
    }
}

/// "user 7", "order #17"
fn by_number(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    let is_bare = draft.filters.is_empty() && draft.order.is_empty() && draft.groups.is_empty();
    // Right after the noun, and not after a plural.
    let is_noun = |back: usize| {
        lexicon
            .subjects(at - back)
            .iter()
            .any(|hit| hit.took == back)
    };
    let is_after_noun =
        (1..=at.min(LONGEST_NOUN)).any(is_noun) && !lexicon.words[at - 1].is_plural();
    if is_bare && is_after_noun {
        let key = lexicon.table.key();
        let key = key.map(|column| ColumnRef { via: None, column });
        let found = numbered(lexicon, at, None, key).into_iter();
        moves.extend(found.map(|(end, filter)| (end, draft.clone().filtered(filter))));
    }
}

/// "limit 3"
fn limited(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    let at = lexicon.any(at, &[","]).unwrap_or(at);
    let Some(end) = lexicon.any(at, LIMITS) else {
        return;
    };
    let is_number = |word: &&words::Word| word.kind == words::Kind::Number;
    let number = lexicon.words.get(end).filter(is_number);
    let is_free = draft.limit.is_none() && draft.groups.is_empty() && draft.asks_for_rows();
    if let Some(number) = number.filter(|_| is_free)
        && let Ok(limit) = number.lower.parse()
    {
        let mut next = draft.clone();
        next.limit = Some(limit);
        moves.push((end + 1, next));
    }
}
