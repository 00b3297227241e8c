//! The databases that there are, each with the budget of its server.

use std::{
    collections::HashSet,
    net::IpAddr,
    sync::{Arc, Weak},
};

use resolver::Resolver;
use tokio_postgres::config::Host;

use crate::{BudgetCensus, Database, budget::Budget, reachability::Reachability};

/// The databases as they are configured now.
pub(crate) struct Directory {
    entries: Vec<Arc<Configured>>,
    pub(crate) names: Arc<[Arc<str>]>,
}

/// A database, and what it shares with others on its server.
pub(crate) struct Configured {
    pub(crate) database: Database,
    pub(crate) budget: Arc<Budget>,
    pub(crate) reachability: Arc<Reachability>,
    pub(crate) resolver: Arc<Resolver>,
}

impl Directory {
    pub(crate) fn new(
        databases: impl IntoIterator<Item = Database>,
        budgets: &mut Budgets,
    ) -> Self {
        let nothing = Directory {
            entries: Vec::new(),
            names: Arc::default(),
        };
        nothing.replaced_by(databases, budgets)
    }

    /// The directory of these databases, of the first of each name. A description that is here already stays the same
    /// value.
    pub(crate) fn replaced_by(
        &self,
        databases: impl IntoIterator<Item = Database>,
        budgets: &mut Budgets,
    ) -> Self {
        let mut names = HashSet::new();
        let entries: Vec<Arc<Configured>> = databases
            .into_iter()
            .filter(|database| names.insert(database.name.clone()))
            .map(|database| {
                let known = self.find(&database.name);
                match known.filter(|known| known.database.generation == database.generation) {
                    Some(known) => known.clone(),
                    None => Arc::new(Configured {
                        budget: budgets.of(&database),
                        reachability: Arc::new(Reachability::of(&database.name)),
                        resolver: Arc::default(),
                        database,
                    }),
                }
            })
            .collect();
        budgets.tidy();
        Directory {
            names: entries
                .iter()
                .map(|one| one.database.name.as_str().into())
                .collect(),
            entries,
        }
    }

    /// Counts the places of each server's budget.
    pub(crate) fn budgets(&self) -> Vec<BudgetCensus> {
        let mut counted: Vec<(&Arc<Budget>, BudgetCensus)> = Vec::new();
        for one in &self.entries {
            let name = one.database.name.clone();
            let known = counted
                .iter_mut()
                .find(|(budget, _)| Arc::ptr_eq(budget, &one.budget));
            match known {
                Some((_, census)) => census.databases.push(name),
                None => {
                    let mut census = one.budget.census();
                    census.databases.push(name);
                    counted.push((&one.budget, census));
                }
            }
        }
        counted.into_iter().map(|(_, census)| census).collect()
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Arc<Configured>> {
        self.entries.iter().find(|one| one.database.name == name)
    }
}

/// The budgets of all servers that have connections or may get some.
pub(crate) struct Budgets {
    size: Option<usize>,
    /// A server that is configured no more is remembered until its last connection has gone.
    known: Vec<(Server, Weak<Budget>)>,
}

/// What tells one server from another.
type Server = Vec<(Vec<Host>, Vec<IpAddr>, Vec<u16>)>;

impl Budgets {
    /// Each budget is to have this size, or that of its server.
    pub(crate) fn new(size: Option<usize>) -> Self {
        Budgets {
            size,
            known: Vec::new(),
        }
    }

    /// Gives a database the budget of its server; databases at the same hosts and ports share one.
    fn of(&mut self, database: &Database) -> Arc<Budget> {
        let server = server(database);
        let mut known = self.known.iter().filter(|(other, _)| *other == server);
        if let Some(budget) = known.find_map(|(_, budget)| budget.upgrade()) {
            return budget;
        }
        let budget = Budget::new(self.size);
        self.known.push((server, Arc::downgrade(&budget)));
        budget
    }

    fn tidy(&mut self) {
        self.known.retain(|(_, budget)| budget.strong_count() > 0);
    }
}

fn server(database: &Database) -> Server {
    std::iter::once(&database.config)
        .chain(&database.fallbacks)
        .map(|config| {
            (
                config.get_hosts().to_vec(),
                config.get_hostaddrs().to_vec(),
                config.get_ports().to_vec(),
            )
        })
        .collect()
}
