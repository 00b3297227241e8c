//! Rules for conditions on the rows that refer to those asked for: users, by their orders.

use super::filters::{SAYING, add, before_having, quantity, usual_then};
use super::head::described;
use super::joined::is_both;
use super::parents::{after_prepositions, numbered_parents};
use super::phrases::{DEEDS, DENYING};
use super::{Draft, Move, Rule, follow};
use crate::lexicon::Lexicon;
use crate::names::cost;
use crate::query::{Ask, Children, Comparison, Filter, Literal};
use crate::words::{Kind, Word};

pub(super) const RULES: &[Rule] = &[related, doing, paired];

/// Rows that refer to these: where the words for them end, which they are, and the cost.
type They = (usize, Children, u32);

/// "without reviews", "with more than 5 orders"
fn related(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    for start in before_having(lexicon, at) {
        let none = [
            "without any",
            "without",
            "with no",
            "have no",
            "has no",
            "having no",
        ];
        if let Some(end) = lexicon.any(start, &none) {
            let end = lexicon.any(end, &["an", "a"]).unwrap_or(end);
            relate(children(lexicon, end), draft, (Comparison::Equal, 0), moves);
        }
        if let Some(end) = lexicon.any(start, &["with", "having", "have", "has"]) {
            if let Some(end) = lexicon.any(end, &["an", "a"]) {
                relate(
                    children(lexicon, end),
                    draft,
                    (Comparison::AtLeast, 1),
                    moves,
                );
            }
            let found = children(lexicon, end);
            let is_plural = |(end, ..): &They| lexicon.words[end - 1].is_plural();
            if found.iter().any(is_plural) {
                relate(found, draft, (Comparison::AtLeast, 1), moves);
            }
            relate_so_many(lexicon, end, draft, moves);
        }
    }
}

/// "who placed more than 5 orders", "who have never ordered anything"
fn doing(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    let start = lexicon.any(at, &[", and", "and", ",", "but"]).unwrap_or(at);
    let who = lexicon.any(start, &["who", "that", "which"]);
    // "How many users placed an order?"
    let Some(start) = who.or((draft.ask == Some(Ask::Count)).then_some(start)) else {
        return;
    };
    let denied = lexicon.any(start, DENYING);
    let end = denied
        .or_else(|| lexicon.any(start, &["have", "has", "had"]))
        .unwrap_or(start);
    let amount = match denied {
        Some(_) => (Comparison::Equal, 0),
        None => (Comparison::AtLeast, 1),
    };
    for done in lexicon.done(end) {
        let end = end + done.took;
        let end = lexicon.any(end, &["anything", "something"]).unwrap_or(end);
        let them = (end, done.what, done.cost);
        let then = said_of(lexicon, &them)
            .into_iter()
            .chain(done_then(lexicon, &them));
        let all: Vec<_> = then.chain([them]).collect();
        relate(all, draft, amount, moves);
    }
    if let Some(end) = lexicon.any(end, DEEDS) {
        let mut found = Vec::new();
        if denied.is_none() {
            relate_so_many(lexicon, end, draft, &mut found);
        }
        let end = lexicon.any(end, &["any", "an", "a"]).unwrap_or(end);
        relate(children(lexicon, end), draft, amount, &mut found);
        // Who wrote a review is not the one that it is about.
        let is_clear = |of: &Children| !lexicon.may_be_dealt_with(of);
        found.retain(|(_, next)| {
            matches!(next.filters.last(), Some(Filter::Children(of, ..)) if is_clear(of))
        });
        moves.append(&mut found);
    }
}

/// "tags of post 5": rows that the rows of a junction table link to another row
fn paired(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    for (preposition, end) in after_prepositions(lexicon, at) {
        for (pairs, own, _) in lexicon.all_children() {
            let mut parents = own.parents_after(preposition, end);
            parents.retain(|parent| own.table.is_junction() && parent.what != pairs.key);
            let mut numbered = numbered_parents(own, end, parents);
            // A pair holds keys; a number of the row itself stands in another table.
            numbered.retain(|(_, _, filter)| filter.column().is_some_and(|it| it.via.is_none()));
            for (end, cost, filter) in numbered {
                let states = vec![filter];
                let pairs = Children {
                    states,
                    ..pairs.clone()
                };
                let filter = Filter::Children(pairs, Comparison::AtLeast, 1);
                add(draft, end, cost + cost::OTHER_TABLE, filter, moves);
            }
        }
    }
}

/// "ordered in 2024": with the usual time of what was done
fn done_then(lexicon: &Lexicon<'_>, (end, children, cost): &They) -> Option<They> {
    let own = of_children(lexicon, children)?;
    let (end, then) = usual_then(own, *end)?;
    let mut children = children.clone();
    children.states.push(then);
    Some((end, children, *cost))
}

/// "more than 5 orders"
fn relate_so_many(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    for (end, comparison, number) in quantity(lexicon, at) {
        let is_money = |word: &Word| word.kind == Kind::Money;
        if let Literal::Number(digits) = number
            && !lexicon.words[at..end].iter().any(is_money)
            && let Ok(count) = digits.parse()
        {
            relate(children(lexicon, end), draft, (comparison, count), moves);
        }
    }
}

fn relate(
    them: Vec<They>,
    draft: &Draft,
    (comparison, count): (Comparison, u64),
    moves: &mut Vec<Move>,
) {
    for (end, children, cost) in them {
        let filter = Filter::Children(children, comparison, count);
        add(draft, end, cost, filter, moves);
    }
}

/// Rows that refer to these and are named at a place, perhaps with conditions: "returned orders", "orders
/// in 2024".
pub(super) fn children(lexicon: &Lexicon<'_>, at: usize) -> Vec<They> {
    let mut found: Vec<_> = lexicon
        .children(at)
        .into_iter()
        .map(|hit| (at + hit.took, hit.what, hit.cost))
        .collect();
    for (all, own, extra) in lexicon.all_children() {
        let mut described = described(own, at, None, true);
        described.retain(|(end, state)| !is_both(own, at, (*end, state)));
        for (end, state) in described {
            for noun in own.subjects(end) {
                let children = Children {
                    states: vec![state.clone()],
                    ..all.clone()
                };
                found.push((end + noun.took, children, noun.cost + extra));
            }
        }
    }
    let said = found.iter().flat_map(|them| said_of(lexicon, them));
    let said: Vec<_> = said.collect();
    found.extend(said);
    found
}

/// The same rows with one more condition, stated right after them.
fn said_of(lexicon: &Lexicon<'_>, (from, children, cost): &They) -> Vec<They> {
    let from = *from;
    // "With orders and from NO" goes back to the rows that are asked for.
    let is_over = lexicon.any(from, &[", and", "and", ",", "but"]).is_some();
    let Some(own) = of_children(lexicon, children).filter(|_| !is_over) else {
        return Vec::new();
    };
    let before = Draft {
        filters: children.states.clone(),
        ..Draft::default()
    };
    let moves = follow(own, SAYING, from, &before).into_iter();
    let found = moves.filter_map(|(end, said)| {
        let [.., state] = &said.filters[..] else {
            return None;
        };
        let is_own = state.column().is_some_and(|column| column.via.is_none());
        let is_one_more = said.filters.len() == before.filters.len() + 1;
        let is_clear = !is_both(own, from, (end, state));
        let states = said.filters.clone();
        let children = Children {
            states,
            ..children.clone()
        };
        (is_own && is_one_more && is_clear).then_some((end, children, cost + said.cost))
    });
    found.collect()
}

/// The lexicon of the same question about the rows that refer to these.
pub(super) fn of_children<'l, 'a>(
    lexicon: &'l Lexicon<'a>,
    children: &Children,
) -> Option<&'l Lexicon<'a>> {
    let is_them = |of: &Children| (of.table, of.key) == (children.table, children.key);
    let mut all = lexicon.all_children();
    all.find_map(|(of, own, _)| is_them(of).then_some(own))
}
