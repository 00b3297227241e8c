//! How transactions begin: with a time limit, and as the token's policy says.

use std::time::Duration;

/// Makes PostgreSQL notice within a second that this process has gone. Older servers do not know it,
/// and on some systems it cannot be had.
pub(super) const WATCH_CLIENT: &str = "client_connection_check_interval = 1000";

const READING: &str = "BEGIN TRANSACTION READ ONLY";
const WRITING: &str = "BEGIN TRANSACTION READ WRITE";

/// What transactions begin with.
#[derive(Debug)]
pub(crate) struct Opening {
    watches: bool,
    /// The same for all transactions of a connection: made for the connection, or for each of them.
    lasting: String,
    local: Vec<String>,
    /// What the policy says, which only a transaction of its own holds fast.
    own: Vec<String>,
}

impl Opening {
    /// Begins with a time limit, which PostgreSQL counts in ms, and with statements of the policy's.
    pub(super) fn new(statement_timeout: Duration, watches: bool, own: Vec<String>) -> Self {
        let timeout = format!("statement_timeout = {}", statement_timeout.as_millis());
        let settings = [Some(timeout.as_str()), watches.then_some(WATCH_CLIENT)];
        let each = |how: &str| -> Vec<String> {
            let settings = settings.iter().flatten();
            settings.map(|setting| format!("{how} {setting}")).collect()
        };
        Opening {
            watches,
            lasting: each("SET").join("; "),
            local: each("SET LOCAL"),
            own,
        }
    }

    /// Begins in a narrower way, as a policy says.
    pub(super) fn narrowed(&self, statement_timeout: Duration, own: Vec<String>) -> Self {
        Opening::new(statement_timeout, self.watches, own)
    }

    /// The settings that may be made once for a connection, see [`session_pool::Lease::set`].
    pub(super) fn lasting(&self) -> &str {
        &self.lasting
    }

    /// The statements that begin a transaction in which nothing can be changed, on a connection that
    /// has the lasting settings, or has not.
    pub(super) fn steps(&self, is_set: bool) -> impl Iterator<Item = &str> {
        let local = if is_set { &[] } else { &self.local[..] };
        let further = local.iter().chain(&self.own).map(String::as_str);
        [READING].into_iter().chain(further)
    }

    /// Begins a transaction in which nothing can be changed, on any connection.
    pub(crate) fn reading(&self) -> String {
        self.steps(false).collect::<Vec<_>>().join("; ")
    }

    /// Begins a transaction that is to be kept, on any connection.
    pub(crate) fn writing(&self) -> String {
        self.reading().replacen(READING, WRITING, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_begin_sets_the_same() {
        let own = vec!["SET LOCAL ROLE \"auditor\"".to_owned()];
        let usual = Opening::new(Duration::from_secs(30), true, Vec::new());
        let opening = usual.narrowed(Duration::from_millis(1_500), own);
        assert_eq!(
            opening.lasting(),
            "SET statement_timeout = 1500; SET client_connection_check_interval = 1000"
        );
        let set: Vec<_> = opening.steps(true).collect();
        assert_eq!(
            set,
            ["BEGIN TRANSACTION READ ONLY", "SET LOCAL ROLE \"auditor\""]
        );
        let settings = "; SET LOCAL statement_timeout = 1500; \
             SET LOCAL client_connection_check_interval = 1000; SET LOCAL ROLE \"auditor\"";
        let reading = format!("BEGIN TRANSACTION READ ONLY{settings}");
        assert_eq!(opening.steps(false).collect::<Vec<_>>().join("; "), reading);
        assert_eq!(opening.reading(), reading);
        assert_eq!(
            opening.writing(),
            format!("BEGIN TRANSACTION READ WRITE{settings}")
        );
    }

    #[test]
    fn a_server_that_cannot_watch_its_clients_is_not_told_to() {
        let opening = Opening::new(Duration::from_secs(30), false, Vec::new());
        assert_eq!(opening.lasting(), "SET statement_timeout = 30000");
        assert!(
            !opening
                .narrowed(Duration::from_secs(1), Vec::new())
                .reading()
                .contains("check_interval")
        );
    }
}
