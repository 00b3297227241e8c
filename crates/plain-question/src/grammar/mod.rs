//! The grammar: how words become a query.
//!
//! Rules read a question from left to right: each takes a few words and adds their meaning to a draft.
//! All ways to read the words are tried, for every table that the question may be about. A word that
//! no rule takes ends a reading: a question is answered only when it is explained to its last word. Nor
//! is it answered when different queries are equally natural (see [`cost`](crate::names::cost)).

mod children;
mod filters;
mod head;
mod joined;
mod numbered;
mod parents;
mod phrases;
mod stock;
mod tail;
mod units;

use std::collections::HashSet;

use crate::lexicon::{Asked, Lexicon};
use crate::names::cost;
use crate::query::{Ask, By, Children, Comparison, Filter, Group, Limit, Literal, Order, Query};
use crate::schema::{Column, Kind};
use crate::words::parts;

/// How many drafts are tried, for all tables together, before a question is given up as too tangled.
pub(crate) const MOST_DRAFTS: usize = 20_000;

/// The place of the first word that a draft does not explain, and the draft.
pub(crate) type Move = (usize, Draft);

/// A rule reads the words at a place, and adds a move for each way to read them. One that reads a list
/// must stop when there are [`too_many`]: the moves multiply with each item.
type Rule = fn(&Lexicon<'_>, usize, &Draft, &mut Vec<Move>);

/// What has been understood so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Draft {
    phase: Phase,
    opening: Opening,
    /// Whether anything but an opening has been read.
    is_begun: bool,
    subject: Option<Number>,
    ask: Option<Ask>,
    pub(crate) filters: Vec<Filter>,
    groups: Vec<Group>,
    order: Vec<Order>,
    rank: Rank,
    limit: Option<u64>,
    /// Foreign keys whose rows the question mentions.
    mentioned: Vec<usize>,
    /// The end of the value that was last read after a preposition or a column's name.
    led_value: Option<usize>,
    /// The index of the first filter that defines a share; those before it define the whole.
    share_from: Option<usize>,
    cost: u32,
}

/// The part of a question that is read next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Phase {
    /// Before the noun: what is asked.
    #[default]
    Head,
    /// After a column: "of" and the noun may follow, or whatever can follow a noun.
    Link,
    /// The noun, and the words that describe it, must follow.
    Noun,
    /// After the noun.
    Tail,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Opening {
    /// Neither "show" nor "list".
    #[default]
    None,
    Show,
    List,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Number {
    One,
    Many,
}

/// Whether rows are to be ranked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Rank {
    #[default]
    None,
    /// "Top 5": the question must still say by what.
    Wanted,
    /// "The newest users": in order, or only the first if the noun is singular.
    Loose,
    /// "With the highest price": only the first, so that a plural needs a number.
    Strict,
}

impl Draft {
    fn begun(mut self) -> Self {
        self.is_begun = true;
        self
    }

    fn paying(mut self, cost: u32) -> Self {
        self.cost += cost;
        self
    }

    fn filtered(mut self, filter: Filter) -> Self {
        self.filters.push(filter);
        self
    }

    fn at(mut self, phase: Phase) -> Self {
        self.phase = phase;
        self
    }

    /// Whether anything is known about the rows that are asked for.
    pub(crate) fn is_about_something(&self) -> bool {
        self.subject.is_some() || !self.filters.is_empty()
    }

    /// Whether the first rows are wanted, which may turn out to be the first of each group.
    fn is_one_ranked(&self) -> bool {
        let is_ranked = matches!(self.rank, Rank::Loose | Rank::Strict);
        let are_whole = matches!(self.ask, None | Some(Ask::Rows | Ask::Columns(_)));
        is_ranked && are_whole && self.limit.is_none() && self.groups.is_empty()
    }

    /// Whether rows that refer to these were mentioned last, so that a time or an amount may be theirs.
    fn speaks_of_children(&self) -> bool {
        self.last_children().is_some()
    }

    /// The rows that refer to these, if they were mentioned last.
    fn last_children(&self) -> Option<&Children> {
        match (self.filters.last(), &self.ask, self.order.last()) {
            (Some(Filter::Children(children, ..)), ..)
            | (_, Some(Ask::MeasureChildren(_, children)), _)
            | (
                ..,
                Some(Order {
                    by: By::Children(children),
                    ..
                }),
            ) => Some(children),
            _ => None,
        }
    }

    fn asks_for_rows(&self) -> bool {
        matches!(
            self.ask,
            None | Some(Ask::Rows | Ask::Columns(_) | Ask::Distinct(_))
        )
    }
}

/// A whole reading and what it costs.
pub(crate) struct Reading {
    pub(crate) cost: u32,
    pub(crate) query: Query,
}

/// The result of reading a question as one about a table.
pub(crate) struct Read {
    pub(crate) readings: Vec<Reading>,
    /// The draft that explains the most words, and how many.
    pub(crate) furthest: (usize, Draft),
    /// How many drafts were tried.
    pub(crate) drafts: usize,
    /// Whether it was given up, for too many drafts or too many comparisons.
    pub(crate) is_tangled: bool,
}

/// Reads the words as a question about one table, trying fewer than `most_drafts` drafts.
pub(crate) fn read(asked: Asked<'_>, table: usize, most_drafts: usize) -> Read {
    let lexicon = Lexicon::new(asked, table);
    let mut open: Vec<Move> = vec![(0, Draft::default())];
    let mut seen = HashSet::new();
    let mut read = Read {
        readings: Vec::new(),
        furthest: (0, Draft::default()),
        drafts: 0,
        is_tangled: false,
    };
    while let Some((at, draft)) = open.pop() {
        // Open drafts count, too: when there are too many, none of them needs to be tried.
        if read.drafts + open.len() >= most_drafts || asked.effort.is_used_up() {
            read.is_tangled = true;
            break;
        }
        read.drafts += 1;
        if !seen.insert((at, draft.clone())) {
            continue;
        }
        if at == asked.words.len() {
            read.readings.extend(draft.clone().finish(&lexicon));
        }
        for rules in rules(draft.phase) {
            open.extend(follow(&lexicon, rules, at, &draft));
        }
        let is_further =
            (at, draft.subject.is_some()) > (read.furthest.0, read.furthest.1.subject.is_some());
        if is_further {
            read.furthest = (at, draft);
        }
    }
    read
}

/// Applies the rules at a place, and keeps the moves that compare numbers only with columns in their unit.
fn follow(lexicon: &Lexicon<'_>, rules: &[Rule], at: usize, draft: &Draft) -> Vec<Move> {
    let mut moves = Vec::new();
    for rule in rules {
        rule(lexicon, at, draft, &mut moves);
    }
    moves.retain(|(end, next)| {
        let words = &lexicon.words[at..*end];
        let mut added = next.filters.iter().skip(draft.filters.len());
        added.all(|filter| units::is_comparable(lexicon, words, filter))
    });
    moves
}

/// Whether these are more moves than drafts may be tried.
fn too_many(moves: &[Move]) -> bool {
    moves.len() > MOST_DRAFTS
}

fn rules(phase: Phase) -> &'static [&'static [Rule]] {
    match phase {
        Phase::Head => &[head::ASKING, head::NAMING],
        Phase::Noun => &[head::NAMING],
        Phase::Link => &[
            head::LINKING,
            filters::RULES,
            parents::RULES,
            children::RULES,
            stock::RULES,
            tail::RULES,
        ],
        Phase::Tail => &[
            filters::RULES,
            parents::RULES,
            children::RULES,
            stock::RULES,
            tail::RULES,
        ],
    }
}

impl Draft {
    /// Makes a query of a draft that explains all words, if it makes sense as a whole.
    fn finish(mut self, lexicon: &Lexicon<'_>) -> Option<Reading> {
        let mut cost = self.cost;
        if self.subject.is_none() {
            // A column can stand for its table where it is measured, not where rows are wanted.
            let is_measured = matches!(
                self.ask,
                Some(Ask::Measure(..) | Ask::CountDistinct(_) | Ask::Distinct(_))
            );
            if !is_measured || self.is_of_a_mention(lexicon) {
                return None;
            }
            cost += cost::IMPLIED_TABLE;
        }
        if self.is_contradictory() || self.leaves_a_mention() || self.limit == Some(0) {
            return None;
        }
        let is_grouped = !self.groups.is_empty();
        let ranks_groups = matches!(self.order[..], [Order { by: By::Count, .. }]);
        let limit = if is_grouped && self.asks_for_rows() {
            Some(Limit::First)
        } else if ranks_groups {
            Some(self.limit.map_or(Limit::First, Limit::Rows))
        } else {
            self.rows()?
        };
        if matches!(self.ask, Some(Ask::Share(_))) {
            self.ask = Some(Ask::Share(self.shared()?));
        }
        // A single number has neither order nor limit.
        if !self.asks_for_rows() && !is_grouped && (limit.is_some() || !self.order.is_empty()) {
            return None;
        }
        Some(Reading {
            cost,
            query: Query {
                table: lexicon.index,
                ask: self.ask.unwrap_or(Ask::Rows),
                filters: self.filters,
                groups: self.groups,
                order: self.order,
                limit,
            },
        })
    }

    /// The limit on rows, if any; the outer `None` where the draft leaves open which rows come first, or how many.
    fn rows(&self) -> Option<Option<Limit>> {
        match (self.rank, self.limit, self.subject) {
            (Rank::Wanted, ..) => None,
            (_, Some(count), _) => Some(Some(Limit::Rows(count))),
            (Rank::None, None, _) => Some(None),
            (_, None, Some(Number::One)) => Some(Some(Limit::First)),
            (Rank::Loose, None, _) => Some(None),
            (Rank::Strict, None, _) => None,
        }
    }

    /// Takes the one filter that defines the share. With several there is no answer: "female nurses in Oslo" may be a
    /// share of the nurses, of the women, or of those in Oslo.
    fn shared(&mut self) -> Option<Vec<Filter>> {
        let shared = self.filters.split_off(self.share_from.unwrap_or(0));
        (shared.len() == 1).then_some(shared)
    }

    /// Whether a column is said to be two things at once.
    fn is_contradictory(&self) -> bool {
        let is_equality = |filter: &&Filter| {
            matches!(
                filter,
                Filter::Compare(_, Comparison::Equal, _)
                    | Filter::OneOf(_, _, true)
                    | Filter::Is(..)
                    | Filter::Present(..)
            )
        };
        let columns: Vec<_> = self
            .filters
            .iter()
            .filter(is_equality)
            .filter_map(Filter::column)
            .collect();
        (1..columns.len()).any(|at| columns[..at].contains(&columns[at]))
    }

    /// Whether rows that the question mentions have a number themselves whose name shares a word with what is measured:
    /// "the capacity of warehouses" is not that of their trucks.
    fn is_of_a_mention(&self, lexicon: &Lexicon<'_>) -> bool {
        let (Some(Ask::Measure(_, measured)), false) = (&self.ask, self.mentioned.is_empty())
        else {
            return false;
        };
        let measured = parts(&lexicon.column(*measured).name);
        let shares_a_word = |column: &Column| {
            column.kind == Kind::Number
                && parts(&column.name)
                    .iter()
                    .any(|part| measured.contains(part))
        };
        self.mentioned.iter().any(|via| {
            let mut columns = lexicon.scope_table(Some(*via)).columns.iter();
            columns.any(shares_a_word)
        })
    }

    /// Whether the question mentions rows that neither a filter nor a group uses.
    fn leaves_a_mention(&self) -> bool {
        let has_part = |via: &usize| {
            let filtered = self.filters.iter().filter_map(Filter::column);
            let grouped = self.groups.iter().filter_map(|group| match group {
                Group::Column(column) | Group::Period(column, _) => Some(*column),
                Group::Parent(_) => None,
            });
            filtered
                .chain(grouped)
                .any(|column| column.via == Some(*via))
        };
        !self.mentioned.iter().all(has_part)
    }
}

impl Literal {
    fn text(text: impl Into<String>) -> Self {
        Literal::Text(text.into())
    }
}
