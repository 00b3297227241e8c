//! What a question asks for, before it is SQL. Only what this can hold can ever be asked.

use crate::dates::Span;

/// A column of the table that is asked about, or of one that it refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ColumnRef {
    /// Which of the table's foreign keys leads to the column's table; `None` for its own columns.
    pub(crate) via: Option<usize>,
    pub(crate) column: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Query {
    /// The table's place in the schema.
    pub(crate) table: usize,
    pub(crate) ask: Ask,
    pub(crate) filters: Vec<Filter>,
    pub(crate) groups: Vec<Group>,
    pub(crate) order: Vec<Order>,
    pub(crate) limit: Option<Limit>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ask {
    /// Whole rows.
    Rows,
    Columns(Vec<ColumnRef>),
    Distinct(ColumnRef),
    Count,
    CountDistinct(ColumnRef),
    /// One or more numbers of one column.
    Measure(Vec<Aggregate>, ColumnRef),
    /// One or more numbers of how many rows refer to each of these; where none do, that is zero.
    MeasureChildren(Vec<Aggregate>, Children),
    /// Of how many in a hundred this is so as well.
    Share(Vec<Filter>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Aggregate {
    Average,
    Median,
    Sum,
    Least,
    Greatest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Comparison {
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Literal {
    /// Digits, a sign and a point.
    Number(String),
    Text(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Filter {
    Compare(ColumnRef, Comparison, Literal),
    /// From the first to the second, both included.
    Between(ColumnRef, String, String),
    /// One of several texts, or none of them.
    OneOf(ColumnRef, Vec<String>, bool),
    /// A text is part of the value, or it is not, in any case.
    Holds(ColumnRef, Place, String, bool),
    /// A boolean is true, or it is not.
    Is(ColumnRef, bool),
    /// There is a value, or there is none.
    Present(ColumnRef, bool),
    Within(ColumnRef, Span),
    /// How many rows of a table refer to this one.
    Children(Children, Comparison, u64),
}

/// Where in a value a text is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Beginning,
    Anywhere,
    End,
}

/// The rows of another table that refer to a row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Children {
    pub(crate) table: usize,
    /// Which of that table's foreign keys refers.
    pub(crate) key: usize,
    /// What is said of them, by columns of their own.
    pub(crate) states: Vec<Filter>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Unit {
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Group {
    Column(ColumnRef),
    Period(ColumnRef, Unit),
    /// A row of the table that this foreign key refers to.
    Parent(usize),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Order {
    pub(crate) by: By,
    pub(crate) descending: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum By {
    Column(ColumnRef),
    Children(Children),
    /// How many rows a group has.
    Count,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Limit {
    Rows(u64),
    /// The first row, and all that are its equals; where there are groups, of each.
    First,
}

impl Filter {
    /// The column that is looked at, where it is one.
    pub(crate) fn column(&self) -> Option<ColumnRef> {
        match self {
            Filter::Compare(column, ..)
            | Filter::Between(column, ..)
            | Filter::OneOf(column, ..)
            | Filter::Holds(column, ..)
            | Filter::Is(column, _)
            | Filter::Present(column, _)
            | Filter::Within(column, _) => Some(*column),
            Filter::Children(..) => None,
        }
    }
}
