//! Conditions, as SQL, that callers give for a query of ours.

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

/// Makes sure that a condition on a table, which is given as SQL, is one, and does not close the parenthesis in which
/// it will stand: what makes sense between brackets as well closes neither. It is one of the caller's own texts, so
/// that it also has to pass what guards these.
///
/// # Errors
///
/// Whatever PostgreSQL says of it, in places of the condition and not of the query around it.
pub(super) async fn keep_in_place(
    reader: &Reader,
    agent: &Agent,
    table: &str,
    condition: &str,
) -> Result<(), Failure> {
    // The first item gives the others their type.
    let part = Part {
        before: "SELECT ARRAY[NULL::boolean,\n",
        text: condition,
        after: &format!("\n] FROM {table} LIMIT 0"),
    };
    let asked = reader.query(agent, &part.whole(), NO_ROW).await;
    asked.map(|_| ()).map_err(|error| failure(error, &part))
}

/// Says why a query of ours failed, in places of the part that is the caller's.
pub(super) fn failure(error: ReadError, part: &Part<'_>) -> Failure {
    if error.is_of_postgresql() {
        Failure::Quoted(error.explain_in(part))
    } else {
        error.into()
    }
}
