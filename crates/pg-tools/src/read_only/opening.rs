//! How transactions begin: with a time limit, and as the token's policy says.

use std::time::Duration;

use session_pool::Step;

/// Makes PostgreSQL notice within a second that this process is gone. Older servers do not have this setting, and on
/// some systems it is not available.
pub(super) const WATCH_CLIENT: &str = "client_connection_check_interval = 1000";

/// Stops PostgreSQL from sending messages that nobody reads.
const QUIET: &str = "client_min_messages = error";

/// Applies if something else ran in place of a prepared [`READING`].
const READ_ONLY: &str = "default_transaction_read_only = on";
/// The longest time limit that PostgreSQL accepts, some 24 days.
const MOST_MILLISECONDS: u128 = i32::MAX as u128;

const READING: &str = "BEGIN TRANSACTION READ ONLY";
const WRITING: &str = "BEGIN TRANSACTION READ WRITE";

/// How transactions begin.
#[derive(Debug)]
pub(crate) struct Opening {
    watches: bool,
    /// The settings that all transactions of a connection share, made once for the connection.
    lasting: String,
    local: Vec<String>,
    /// The policy's statements, which have to be run in each transaction.
    own: Vec<String>,
}

impl Opening {
    /// Creates an opening with a time limit, which PostgreSQL counts in ms, and with the policy's statements.
    pub(super) fn new(statement_timeout: Duration, watches: bool, own: Vec<String>) -> Self {
        let timeout = statement_timeout.as_millis().min(MOST_MILLISECONDS);
        let timeout = format!("statement_timeout = {timeout}");
        let settings = [Some(timeout.as_str()), watches.then_some(WATCH_CLIENT)];
        let each = |how: &str| -> Vec<String> {
            let settings = settings.iter().flatten();
            settings.map(|setting| format!("{how} {setting}")).collect()
        };
        Opening {
            watches,
            lasting: format!("SET {READ_ONLY}; SET {QUIET}; {}", each("SET").join("; ")),
            local: each("SET LOCAL"),
            own,
        }
    }

    /// Returns an opening with another time limit and a policy's statements.
    pub(super) fn narrowed(&self, statement_timeout: Duration, own: Vec<String>) -> Self {
        Opening::new(statement_timeout, self.watches, own)
    }

    /// Returns the settings that may be made once for a connection; see [`session_pool::Lease::set`].
    pub(super) fn lasting(&self) -> &str {
        &self.lasting
    }

    /// Returns the steps that begin a read-only transaction; `is_set` says whether the connection has the lasting
    /// settings.
    ///
    /// `BEGIN` is prepared only where the settings make all transactions read-only: see
    /// `docs/decisions/0014-exchanges.md`.
    pub(super) fn steps(&self, is_set: bool) -> impl Iterator<Item = Step<'_>> {
        let (begin, local): (fn(_) -> _, _) = match is_set {
            true => (Step::Run, &[][..]),
            false => (Step::Frame, &self.local[..]),
        };
        let further = local.iter().chain(&self.own);
        [begin(READING)]
            .into_iter()
            .chain(further.map(|text| Step::Frame(text)))
    }

    /// Returns the statements that begin a read-only transaction, on any connection.
    pub(crate) fn reading(&self) -> String {
        self.begin(READING)
    }

    /// Returns the statements that begin a transaction that is to be committed, on any connection.
    pub(crate) fn writing(&self) -> String {
        self.begin(WRITING)
    }

    fn begin(&self, how: &str) -> String {
        let settings = self.local.iter().chain(&self.own).map(String::as_str);
        let all: Vec<&str> = [how].into_iter().chain(settings).collect();
        all.join("; ")
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
            "SET default_transaction_read_only = on; SET client_min_messages = error; SET statement_timeout = 1500; \
             SET client_connection_check_interval = 1000"
        );
        let (begin, role) = ("BEGIN TRANSACTION READ ONLY", "SET LOCAL ROLE \"auditor\"");
        let set: Vec<_> = opening.steps(true).collect();
        assert_eq!(set, [Step::Run(begin), Step::Frame(role)]);
        let unset: Vec<_> = opening.steps(false).collect();
        assert_eq!(
            unset,
            [
                Step::Frame(begin),
                Step::Frame("SET LOCAL statement_timeout = 1500"),
                Step::Frame("SET LOCAL client_connection_check_interval = 1000"),
                Step::Frame(role)
            ]
        );
        let settings = "; SET LOCAL statement_timeout = 1500; \
             SET LOCAL client_connection_check_interval = 1000; SET LOCAL ROLE \"auditor\"";
        assert_eq!(
            opening.reading(),
            format!("BEGIN TRANSACTION READ ONLY{settings}")
        );
        assert_eq!(
            opening.writing(),
            format!("BEGIN TRANSACTION READ WRITE{settings}")
        );
    }

    #[test]
    fn a_server_that_cannot_watch_its_clients_is_not_told_to() {
        let opening = Opening::new(Duration::from_secs(30), false, Vec::new());
        assert_eq!(
            opening.lasting(),
            "SET default_transaction_read_only = on; SET client_min_messages = error; SET statement_timeout = 30000"
        );
        assert!(
            !opening
                .narrowed(Duration::from_secs(1), Vec::new())
                .reading()
                .contains("check_interval")
        );
    }

    #[test]
    fn a_time_that_postgresql_does_not_take_is_the_longest_that_it_takes() {
        let opening = Opening::new(Duration::from_secs(30 * 86_400), false, Vec::new());
        assert!(
            opening
                .lasting()
                .ends_with("statement_timeout = 2147483647")
        );
    }
}
