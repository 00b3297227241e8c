//! What a question asks for, before it becomes SQL. What these types cannot express cannot be asked.

use crate::dates::Span;

/// A column of the table that is asked about, or of one that it refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ColumnRef {
    /// The index of the foreign key that leads to the column's table; `None` for the table's own columns.
    pub(crate) via: Option<usize>,
    pub(crate) column: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Query {
    /// The table's index in the schema.
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
    /// One or more aggregates of one column.
    Measure(Vec<Aggregate>, ColumnRef),
    /// One or more aggregates of the number of rows that refer to each row, which may be zero.
    MeasureChildren(Vec<Aggregate>, Children),
    /// The percentage of the rows for which these filters hold as well.
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
    /// From the first number to the second, both included.
    Between(ColumnRef, String, String),
    /// The value is one of these texts (`true`), or none of them (`false`).
    OneOf(ColumnRef, Vec<String>, bool),
    /// The value has the text at that place (`true`), or not (`false`), ignoring case.
    Holds(ColumnRef, Place, String, bool),
    /// A boolean is true, or it is not.
    Is(ColumnRef, bool),
    /// The value is not NULL (`true`), or it is NULL (`false`).
    Present(ColumnRef, bool),
    Within(ColumnRef, Span),
    /// How the number of rows that refer to this one compares with a count.
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
    /// The index, in that table, of the foreign key that refers.
    pub(crate) key: usize,
    /// Conditions on them, which may use only columns of their own.
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
    /// Each row that this foreign key refers to.
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
    /// The number of rows in a group.
    Count,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Limit {
    Rows(u64),
    /// The first row and all tied with it; of each group, when grouped rows are asked for.
    First,
}

impl Filter {
    /// The column that the filter is on; `None` for [`Filter::Children`].
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
