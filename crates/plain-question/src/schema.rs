//! The tables that questions are about.

/// The tables that can be asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    /// The tables, in any order.
    pub tables: Vec<Table>,
}

/// A table or a view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The schema that it is in.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its comment. `Also called: a, b` in it gives it further names.
    pub comment: Option<String>,
    /// Its columns, in order.
    pub columns: Vec<Column>,
    /// Whether it has further columns, not listed here, that nobody may ask for.
    pub is_in_part: bool,
    /// The names of the primary key's columns.
    pub primary_key: Vec<String>,
    /// Its references to other tables.
    pub foreign_keys: Vec<ForeignKey>,
    /// About how many rows it has.
    pub rows: Option<u64>,
}

/// A column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, as SQL writes it.
    pub type_name: String,
    /// What can be asked of it.
    pub kind: Kind,
    /// Whether it may be NULL.
    pub is_nullable: bool,
    /// Its comment. `Also called: a, b` in it gives it further names.
    pub comment: Option<String>,
    /// All values that it can hold (an enum's labels) or is known to hold (a few distinct texts).
    pub values: Vec<String>,
    /// Whether it can be compared with a text only as a text, as one of a domain over an enum.
    pub needs_cast: bool,
}

/// What can be asked of a column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// `boolean`.
    Boolean,
    /// Numbers, exact or not.
    Number,
    /// Texts.
    Text,
    /// An enum, whose labels are the column's values.
    Enum,
    /// `date`, or a timestamp with or without time zone.
    Date,
    /// Anything else, which can only be shown.
    #[default]
    Other,
}

/// A reference to another table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForeignKey {
    /// The names of the columns that refer.
    pub columns: Vec<String>,
    /// The schema of the table that is referred to.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// The names of the columns that are referred to, one for each of `columns`.
    pub targets: Vec<String>,
}

impl Schema {
    pub(crate) fn find(&self, schema: &str, name: &str) -> Option<usize> {
        let is_it = |table: &Table| table.schema == schema && table.name == name;
        self.tables.iter().position(is_it)
    }
}

impl Table {
    pub(crate) fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// The primary key's column, if it has just one.
    pub(crate) fn key(&self) -> Option<usize> {
        match &self.primary_key[..] {
            [name] => self.column(name),
            _ => None,
        }
    }

    /// Whether the column identifies rows, of this table or another, rather than holding a quantity.
    pub(crate) fn is_key(&self, column: usize) -> bool {
        let name = &self.columns[column].name;
        self.primary_key.contains(name)
            || self
                .foreign_keys
                .iter()
                .any(|key| key.columns.contains(name))
            || crate::words::parts(name)
                .last()
                .is_some_and(|last| last == "id")
    }

    /// Whether each row only links two rows of other tables: beside its keys the table has nothing but dates.
    pub(crate) fn is_junction(&self) -> bool {
        let mut others = self.columns.iter().filter(|column| {
            let is_in = |key: &ForeignKey| key.columns.contains(&column.name);
            !self.foreign_keys.iter().any(is_in) && !self.primary_key.contains(&column.name)
        });
        self.foreign_keys.len() == 2 && others.all(|column| column.kind == Kind::Date)
    }
}
