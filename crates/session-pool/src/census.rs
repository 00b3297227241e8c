//! How many of everything there are.

use std::{collections::HashMap, sync::Arc};

/// How many of everything there are at a moment, for whoever watches the program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Open sessions.
    pub sessions: usize,
    /// Leases that wait for a connection.
    pub waiting: usize,
    /// Cancel requests that were sent to PostgreSQL since the start.
    pub cancels: u64,
    /// The connections to each database, by its configured name.
    pub databases: Vec<Connections>,
    /// The budgets of the servers.
    pub budgets: Vec<BudgetCensus>,
}

/// The connections to one database, of all sessions together, without those that are kept for
/// [lines](crate::Line).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// The database's configured name.
    pub database: String,
    /// Connections that are open.
    pub open: usize,
    /// How many of them nobody uses.
    pub idle: usize,
}

/// The budget of one PostgreSQL server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BudgetCensus {
    /// The configured names of the databases on it.
    pub databases: Vec<String>,
    /// Connections that may be open; `None` until the server has been asked.
    pub size: Option<usize>,
    /// Connections that are open, are being opened or are being closed.
    pub taken: usize,
    /// How many of them are kept for [lines](crate::Line).
    pub kept: usize,
    /// Leases that wait for a place.
    pub waiting: usize,
}

/// Connections by database, while they are counted.
pub(crate) type Counting = HashMap<String, Connections>;

/// Adds the connections of one pool.
pub(crate) fn add(counting: &mut Counting, database: &str, open: usize, idle: usize) {
    let known = counting.entry(database.to_owned()).or_default();
    known.open += open;
    known.idle += idle;
}

/// Gives the databases in the order of the configuration, then those that are no longer in it.
pub(crate) fn in_order(mut counting: Counting, names: &[Arc<str>]) -> Vec<Connections> {
    let take = |name: &str, counted: Option<Connections>| Connections {
        database: name.to_owned(),
        ..counted.unwrap_or_default()
    };
    let mut all: Vec<Connections> = names
        .iter()
        .map(|name| take(name, counting.remove(&**name)))
        .collect();
    let mut others: Vec<_> = counting.into_iter().collect();
    others.sort_by(|a, b| a.0.cmp(&b.0));
    all.extend(
        others
            .into_iter()
            .map(|(name, counted)| take(&name, Some(counted))),
    );
    all
}
