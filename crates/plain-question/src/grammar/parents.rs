//! Rules for conditions on the rows that those asked for refer to: orders, by their user.

use super::filters::{add, led, usual_then};
use super::head::described;
use super::numbered::numbered;
use super::phrases::{DEEDS, PREPOSITIONS};
use super::{Draft, Move, Rule};
use crate::lexicon::{Hit, Lexicon};
use crate::names::{cost, is_participle};
use crate::query::{ColumnRef, Filter};

pub(super) const RULES: &[Rule] = &[referring, owned, mentioning];

/// "of user 7"
fn referring(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    for (preposition, end) in after_prepositions(lexicon, at) {
        let parents = lexicon.parents_after(preposition, end);
        for (end, cost, filter) in numbered_parents(lexicon, end, parents) {
            add(draft, end, cost, filter, moves);
        }
    }
}

/// The places after "of" or "of the", each with its preposition.
pub(super) fn after_prepositions<'a>(
    lexicon: &Lexicon<'a>,
    at: usize,
) -> impl Iterator<Item = (&'a str, usize)> {
    led(lexicon, at).into_iter().filter_map(|start| {
        let end = lexicon.any(start, PREPOSITIONS)?;
        let preposition = lexicon.words[end - 1].lower.as_str();
        Some((preposition, lexicon.any(end, &["the"]).unwrap_or(end)))
    })
}

/// "does user 7 have", "did the Radiology department make"
fn owned(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    let Some(start) = lexicon.any(at, &["does", "did", "do", "has", "have", "had"]) else {
        return;
    };
    let start = lexicon.any(start, &["the"]).unwrap_or(start);
    let having = |at| lexicon.any(at, &["have", "had"]);
    let past = |at| having(at).or_else(|| lexicon.any(at, DEEDS));
    let owners = numbered_parents(lexicon, start, lexicon.parents(start)).into_iter();
    let owners = owners.filter_map(|(end, cost, filter)| Some((having(end)?, cost, filter)));
    let doers = numbered_parents(lexicon, start, lexicon.parents_after("by", start)).into_iter();
    let doers = doers.filter_map(|(end, cost, filter)| Some((past(end)?, cost, filter)));
    for (end, cost, filter) in owners.chain(doers) {
        let owned = draft.clone().paying(cost).filtered(filter);
        // "Has user 7 placed in 2025": the row is made by placing it, so that its usual time is meant.
        let is_done = is_participle(&lexicon.words[end - 1].lower);
        if let Some((end, then)) = usual_then(lexicon, end).filter(|_| is_done) {
            add(&owned, end, cost::IMPLIED, then, moves);
        }
        moves.push((end, owned));
    }
    for via in 0..lexicon.table.foreign_keys.len() {
        for (end, filter) in described(lexicon, start, Some(via), false) {
            let is_one = matches!(&filter, Filter::OneOf(_, values, true) if values.len() == 1);
            if let Some(end) = past(past_parent(lexicon, end, Some(via))).filter(|_| is_one) {
                add(draft, end, cost::OTHER_TABLE, filter, moves);
            }
        }
    }
}

/// "user 7": where it ends, its cost, and the filter.
pub(super) fn numbered_parents(
    lexicon: &Lexicon<'_>,
    at: usize,
    parents: Vec<Hit<usize>>,
) -> Vec<(usize, u32, Filter)> {
    let mut found = Vec::new();
    for parent in parents {
        let key = referring_column(lexicon, parent.what);
        let said = numbered(lexicon, at + parent.took, Some(parent.what), key);
        found.extend(
            said.into_iter()
                .map(|(end, filter)| (end, parent.cost, filter)),
        );
    }
    found
}

/// The table's own column of a foreign key, if it has just one.
pub(super) fn referring_column(lexicon: &Lexicon<'_>, via: usize) -> Option<ColumnRef> {
    let [name] = &lexicon.table.foreign_keys[via].columns[..] else {
        return None;
    };
    let column = ColumnRef {
        via: None,
        column: lexicon.table.column(name)?,
    };
    Some(column)
}

/// "from active users": rows that are referred to, with conditions on them.
fn mentioning(lexicon: &Lexicon<'_>, at: usize, draft: &Draft, moves: &mut Vec<Move>) {
    for start in led(lexicon, at) {
        let Some(end) = lexicon.any(start, PREPOSITIONS) else {
            continue;
        };
        let preposition = &lexicon.words[end - 1].lower;
        let end = lexicon.any(end, &["all", "the"]).unwrap_or(end);
        mention(lexicon, end, preposition, draft, moves);
        for via in 0..lexicon.table.foreign_keys.len() {
            for (end, filter) in described(lexicon, end, Some(via), true) {
                let mut found = Vec::new();
                let next = draft.clone().filtered(filter);
                mention(lexicon, end, preposition, &next, &mut found);
                moves.extend(
                    found
                        .into_iter()
                        .filter(|(_, next)| next.mentioned.contains(&via)),
                );
            }
        }
    }
}

fn mention(
    lexicon: &Lexicon<'_>,
    at: usize,
    preposition: &str,
    draft: &Draft,
    moves: &mut Vec<Move>,
) {
    for parent in lexicon.parents_after(preposition, at) {
        let mut next = draft.clone().paying(parent.cost);
        next.mentioned.push(parent.what);
        let end = at + parent.took;
        // "The department Cardiology".
        for (end, filter) in described(lexicon, end, Some(parent.what), false) {
            moves.push((end, next.clone().filtered(filter)));
        }
        moves.push((end, next));
    }
}

/// Skips the noun after a value of the row that is referred to: "in the Radiology department".
pub(super) fn past_parent(lexicon: &Lexicon<'_>, at: usize, via: Option<usize>) -> usize {
    let nouns = lexicon.parents(at);
    let own = nouns.iter().filter(|hit| Some(hit.what) == via);
    at + own.map(|hit| hit.took).max().unwrap_or(0)
}
