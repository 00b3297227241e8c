use std::fmt;
use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

/// A blocking connection to PostgreSQL, for preparing data and observing the server.
pub struct Sql {
    client: Client,
    runtime: Arc<Runtime>,
}

/// The error of a statement or a connection.
#[derive(Debug)]
pub struct SqlError {
    /// The SQLSTATE, of five characters; empty when PostgreSQL reported none, as when the connection failed.
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
    /// With the error of PostgreSQL or the socket.
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

    /// Runs statements and returns the rows of the last one, with values as `psql` would show them.
    ///
    /// # Errors
    /// With the error of PostgreSQL or the connection.
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

    /// Runs statements that must succeed.
    pub fn run(&self, sql: &str) {
        self.rows(sql)
            .unwrap_or_else(|error| panic!("{error}\n{sql}"));
    }

    /// Runs statements that must succeed, and returns the first value of the last one; empty for NULL or no row.
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
