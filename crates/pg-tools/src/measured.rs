use session_pool::Row;
use tokio_postgres::types::Type;

use crate::{
    read_only::{Gathered, Rows, of_own},
    render,
};

/// A result as it came from PostgreSQL.
pub struct Received(Rows);

impl Received {
    /// Creates a result from columns, and from rows as PostgreSQL sends them: each is the body of a `DataRow` message,
    /// which begins with the number of values (PostgreSQL documentation, section 55.7).
    ///
    /// # Errors
    /// The rows are in another form, of different widths, or not UTF-8.
    pub fn of<'a>(
        columns: &[(&str, Type)],
        rows: impl IntoIterator<Item = &'a [u8]>,
    ) -> std::io::Result<Self> {
        let mut gathered = Gathered::default();
        for row in rows {
            gathered.push(Row::new(row))?;
        }
        let mut rows = gathered.finish(None).map_err(std::io::Error::other)?;
        let columns = columns.iter();
        rows.columns = columns
            .map(|(name, of)| of_own((*name).into(), of))
            .collect();
        Ok(Received(rows))
    }

    /// Writes it as models read it and as programs do.
    #[must_use]
    pub fn render(&self) -> impl Sized {
        render::rows(&self.0)
    }
}
