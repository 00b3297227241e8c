//! Pages of lists.

use super::{Fields, Json, Project};

/// A page of a list that its owner splits, and where the next one starts.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// The value of [`PageRequest::after`] for the next page; `None` at the end. Clients see it only as part of an
    /// opaque cursor.
    pub next: Option<String>,
}

/// Which page of a list is requested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// The previous page's [`Page::next`]; `None` for the first page. Clients can forge it.
    pub after: Option<String>,
    /// How many items a page should have.
    pub size: usize,
}

impl<T> Page<T> {
    /// Makes a list of one page.
    pub fn whole(items: Vec<T>) -> Self {
        Self { items, next: None }
    }
}

/// One page, as it is sent.
pub(crate) struct List<'a, T> {
    pub(crate) name: &'static str,
    pub(crate) items: &'a [T],
    pub(crate) next_cursor: Option<String>,
}

impl<T: Project> Project for List<'_, T> {
    fn project(&self, fields: &mut Fields<'_>) {
        fields.list(self.name, self.items);
        fields.optional("nextCursor", self.next_cursor.as_ref());
    }
}

/// A complete list that is already written.
pub(crate) struct WrittenList<'a> {
    pub(crate) name: &'static str,
    pub(crate) items: &'a Json,
}

impl Project for WrittenList<'_> {
    fn project(&self, fields: &mut Fields<'_>) {
        fields.reserve(self.items.as_str().len() + 256);
        fields.json(self.name, self.items);
    }
}
