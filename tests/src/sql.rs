use std::fmt;
use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

/// A blocking connection to PostgreSQL, for watching and preparing.
pub struct Sql {
    client: Client,
    runtime: Arc<Runtime>,
}

/// What PostgreSQL had against a statement.
#[derive(Debug)]
pub struct SqlError {
    /// The five-letter code; empty when the connection failed.
    pub state: String,
    /// The message.
    pub message: String,
}

impl fmt::Display for SqlError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.state, self.message)
    }
}

impl From<tokio_postgres::Error> for SqlError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self {
            state: error.code().map_or("", |state| state.code()).to_owned(),
            message: error
                .as_db_error()
                .map_or_else(|| error.to_string(), |error| error.message().to_owned()),
        }
    }
}

impl Sql {
    /// Connects.
    ///
    /// # Errors
    /// With what PostgreSQL or the socket said.
    pub fn connect(config: &Config) -> Result<Self, SqlError> {
        let runtime = Arc::new(
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .expect("a runtime starts"),
        );
        let (client, connection) = runtime.block_on(config.connect(NoTls))?;
        runtime.spawn(connection);
        Ok(Self { client, runtime })
    }

    /// Runs statements and answers the rows of the last one, as `psql` would show their values.
    ///
    /// # Errors
    /// With what PostgreSQL said.
    pub fn rows(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>, SqlError> {
        let messages = self.runtime.block_on(self.client.simple_query(sql))?;
        let mut rows = Vec::new();
        for message in messages {
            match message {
                SimpleQueryMessage::RowDescription(_) => rows.clear(),
                SimpleQueryMessage::Row(row) => {
                    rows.push(
                        (0..row.len())
                            .map(|column| row.get(column).map(str::to_owned))
                            .collect(),
                    );
                }
                _ => {}
            }
        }
        Ok(rows)
    }

    /// Runs statements that have to work.
    pub fn run(&self, sql: &str) {
        self.rows(sql)
            .unwrap_or_else(|error| panic!("{error}\n{sql}"));
    }

    /// Runs statements that have to work, and answers the first value of the last one; empty for null or no row.
    pub fn value(&self, sql: &str) -> String {
        let rows = self
            .rows(sql)
            .unwrap_or_else(|error| panic!("{error}\n{sql}"));
        rows.into_iter()
            .flatten()
            .next()
            .flatten()
            .unwrap_or_default()
    }
}
