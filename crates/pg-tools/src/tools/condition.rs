//! SQL conditions that callers give for one of our queries.

use super::Failure;
use crate::{
    Agent,
    read_only::{Page, Part, ReadError, Reader},
};

const NO_ROW: Page = Page {
    limit: 1,
    offset: 0,
    is_shown: false,
};

/// Makes sure that a condition on a table, which is given as SQL, is one and does not close the parenthesis that it
/// will be put into: a text that is valid between brackets as well closes neither. It runs as one of the caller's own
/// texts, so that it also has to pass what guards these.
///
/// # Errors
///
/// Whatever PostgreSQL says about it, with positions in the condition and not in the query around it.
pub(super) async fn keep_in_place(
    reader: &Reader,
    agent: &Agent,
    table: &str,
    condition: &str,
) -> Result<(), Failure> {
    // The first element gives the others their type.
    let part = Part {
        before: "SELECT ARRAY[NULL::boolean,\n",
        text: condition,
        after: &format!("\n] FROM {table} LIMIT 0"),
    };
    let asked = reader.query(agent, &part.whole(), NO_ROW).await;
    asked.map(|_| ()).map_err(|error| failure(error, &part))
}

/// Returns why one of our queries failed, with positions in the part that is the caller's.
pub(super) fn failure(error: ReadError, part: &Part<'_>) -> Failure {
    if error.is_of_postgresql() {
        Failure::Quoted(error.explain_in(part))
    } else {
        error.into()
    }
}
