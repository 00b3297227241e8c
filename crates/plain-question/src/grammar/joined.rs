//! Which rows and columns a value may belong to that follows other values: "and" joins values of one column, but never
//! values of two columns where one column could hold both.

use super::Draft;
use super::children::of_children;
use crate::lexicon::Lexicon;
use crate::query::{By, Children, ColumnRef, Filter};

/// A value that a rule has read.
struct Value<'l, 'a> {
    lexicon: &'l Lexicon<'a>,
    place: usize,
    via: Option<usize>,
    /// Whether it continues a list of values.
    is_listed: bool,
    /// Whether nothing but "and", "but" or a comma separates it from what comes before.
    is_bare: bool,
}

/// Values that came before, and the table whose columns hold them.
struct Before<'l, 'a> {
    lexicon: &'l Lexicon<'a>,
    via: Option<usize>,
    values: Vec<&'l String>,
    /// Whether the question names the rows that have them.
    are_named: bool,
}

/// Whether the value of a filter, read from a place on, clearly does not continue what came before.
pub(super) fn stands_alone(
    lexicon: &Lexicon<'_>,
    at: usize,
    draft: &Draft,
    (end, filter): (usize, &Filter),
) -> bool {
    let Filter::OneOf(column, values, is) = filter else {
        return true;
    };
    let is_here = |place: &usize| {
        let mut found = lexicon.values(*place, column.via).into_iter();
        found.any(|hit| hit.what.0 == *column && values.iter().any(|value| value == hit.what.1))
    };
    let joint = lexicon.any(at, &[", and", "and", "but", ","]);
    let Some(place) = (at..end).find(is_here) else {
        return true;
    };
    // "In Norway from clients in France", "from Norway that are sent" begin another condition.
    if joint.is_none() && place > at {
        let may_be_theirs = |own: &Lexicon<'_>| !own.values(place, None).is_empty();
        let of_children = draft
            .last_children()
            .and_then(|last| of_children(lexicon, last));
        return !(is_both(lexicon, at, (end, filter)) && of_children.is_some_and(may_be_theirs));
    }
    // "In Washington, Georgia" may be a place within another.
    let is_after_and = joint.is_some() && lexicon.says(at, ",") != joint;
    let is_bare = joint == Some(place);
    // In "in Oslo and Norway" the preposition leads to both values.
    if is_after_and && is_bare && draft.led_value == Some(at) {
        return false;
    }
    let value = Value {
        lexicon,
        place,
        via: column.via,
        is_listed: *is && is_after_and,
        is_bare,
    };
    said_before(lexicon, draft).all(|before| value.is_apart_from(&before))
}

/// Whether "and" joins the values of a filter that was read from a place on. Said of related rows that is ambiguous:
/// users "with orders from NO and SE" may have some from both, or from one of them.
pub(super) fn is_both(lexicon: &Lexicon<'_>, at: usize, (end, filter): (usize, &Filter)) -> bool {
    matches!(filter, Filter::OneOf(_, values, _) if values.len() > 1)
        && (at + 1..end).any(|joint| lexicon.says(joint, "and").is_some())
}

fn said_before<'l, 'a>(
    lexicon: &'l Lexicon<'a>,
    draft: &'l Draft,
) -> impl Iterator<Item = Before<'l, 'a>> {
    let filters = draft.filters.iter().filter_map(move |filter| match filter {
        Filter::OneOf(ColumnRef { via, .. }, values, _) => Some(Before {
            lexicon,
            via: *via,
            values: values.iter().collect(),
            are_named: via.is_none_or(|via| draft.mentioned.contains(&via)),
        }),
        Filter::Children(children, ..) => said_of(lexicon, children),
        _ => None,
    });
    let order = draft.order.iter().filter_map(move |order| match &order.by {
        By::Children(children) => said_of(lexicon, children),
        By::Column(_) | By::Count => None,
    });
    filters.chain(order)
}

/// The values that were said of rows that refer to these.
fn said_of<'l, 'a>(lexicon: &'l Lexicon<'a>, children: &'l Children) -> Option<Before<'l, 'a>> {
    let states = children.states.iter().filter_map(|state| match state {
        Filter::OneOf(_, values, _) => Some(values),
        _ => None,
    });
    let values: Vec<_> = states.flatten().collect();
    let own = of_children(lexicon, children).filter(|_| !values.is_empty())?;
    Some(Before {
        lexicon: own,
        via: None,
        values,
        are_named: true,
    })
}

impl<'l, 'a> Value<'l, 'a> {
    fn is_apart_from(&self, before: &Before<'l, 'a>) -> bool {
        let is_of_the_same = std::ptr::eq(self.lexicon, before.lexicon) && self.via == before.via;
        // In "from clients in Oslo and from Norway" the clients may be from Norway, or the rows themselves.
        let may_be_another = if is_of_the_same {
            self.via.is_some() && self.may_be_of(self.lexicon, None)
        } else {
            self.may_be_of(before.lexicon, before.via) || (self.is_bare && !before.are_named)
        };
        // "Lyon and Oslo, Norway" may be three places, or two.
        let goes_on = self.is_bare && before.values.len() > 1;
        let is_of_one_column = || self.is_listed && self.has_a_column_with(&before.values);
        !may_be_another && !goes_on && !is_of_one_column()
    }

    fn may_be_of(&self, lexicon: &Lexicon<'_>, via: Option<usize>) -> bool {
        !lexicon.values(self.place, via).is_empty()
    }

    /// Whether one column can hold both this value and one of the others.
    fn has_a_column_with(&self, values: &[&String]) -> bool {
        let keys = 0..self.lexicon.table.foreign_keys.len();
        let mut vias = keys.map(Some).chain([None]);
        vias.any(|via| {
            let mut columns = self.lexicon.values(self.place, via).into_iter();
            columns.any(|hit| self.lexicon.holds_any(hit.what.0, values))
        })
    }
}
