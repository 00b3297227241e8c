//! Opens connections for a pool, and ends them with their session.

use std::{hash::RandomState, path::PathBuf, sync::Arc, time::Duration};

use bytes::BytesMut;
use deadpool::managed::{self, Metrics, RecycleError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::{net::UnixStream, runtime::Handle, task::JoinHandle};
use tokio_postgres::{CancelToken, Client, Config, Error, NoTls, config::Host, tls::TlsStream};
use tokio_util::task::TaskTracker;

use crate::{exchange::Means, session::Ending, statements::Statements, wire::Wire};

/// How long a cancel request may take; the connection is closed afterwards in any case.
const CANCEL_TIME: Duration = Duration::from_secs(1);

/// Opens connections of one session to one database.
pub(crate) struct Connector {
    pub(crate) config: Config,
    pub(crate) wire: Wire,
    /// The key of the names of prepared statements.
    pub(crate) names: RandomState,
    /// How many statements a connection may have prepared.
    pub(crate) prepared_statements: usize,
    pub(crate) ending: Ending,
    pub(crate) canceller: Arc<Canceller>,
}

/// One connection, for one exchange at a time. Dropping it closes it at once.
pub(crate) struct Connection {
    pub(crate) client: Client,
    pub(crate) means: Means,
    task: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Cancels statements on one database.
pub(crate) struct Canceller {
    wire: Wire,
    socket: Option<PathBuf>,
    tasks: TaskTracker,
}

impl Canceller {
    pub(crate) fn new(config: &Config, wire: Wire, tasks: TaskTracker) -> Self {
        Canceller {
            wire,
            socket: socket_path(config),
            tasks,
        }
    }

    pub(crate) fn uses_socket(&self) -> bool {
        self.socket.is_some()
    }

    /// Asks PostgreSQL to cancel what a connection is running, in a task of its own with a bound on
    /// its time; `kept` is dropped after that.
    pub(crate) fn cancel<T: Send + 'static>(
        self: &Arc<Self>,
        token: CancelToken,
        kept: T,
        on: &Handle,
    ) {
        let canceller = self.clone();
        self.tasks.spawn_on(
            async move {
                canceller.send_in_time(&token).await;
                drop(kept);
            },
            on,
        );
    }

    async fn send_in_time(&self, token: &CancelToken) {
        let sent = tokio::time::timeout(CANCEL_TIME, self.send(token)).await;
        if !matches!(sent, Ok(Ok(()))) {
            tracing::debug!(
                "a cancel request could not be sent; its connection is closed all the same"
            );
        }
    }

    async fn send(&self, token: &CancelToken) -> Result<(), Error> {
        match &self.socket {
            None => token.cancel_query(self.wire.clone()).await,
            Some(path) => match UnixStream::connect(path).await {
                Ok(stream) => token.cancel_query_raw(stream, NoTls).await,
                // The server has gone, and the statement with it.
                Err(_) => Ok(()),
            },
        }
    }
}

/// The path of the Unix socket that a configuration names, if it names one.
fn socket_path(config: &Config) -> Option<PathBuf> {
    let port = config.get_ports().first().copied().unwrap_or(5432);
    match config.get_hosts() {
        [Host::Unix(folder)] => Some(folder.join(format!(".s.PGSQL.{port}"))),
        _ => None,
    }
}

impl managed::Manager for Connector {
    type Type = Connection;
    type Error = Error;

    async fn create(&self) -> Result<Connection, Error> {
        let wire = self.wire.anew();
        let (client, task) = match &self.canceller.socket {
            None => {
                let (client, connection) = self.config.connect(wire.clone()).await?;
                self.drive(client, connection)
            }
            Some(path) => match wire.open_socket(path).await {
                Ok(stream) => {
                    let (client, connection) = self.config.connect_raw(stream, NoTls).await?;
                    self.drive(client, connection)
                }
                // tokio-postgres makes its own kind of error of the same failure.
                Err(_) => return Err(unreachable(&self.config).await),
            },
        };
        let lender = wire
            .take_opened()
            .ok_or_else(Error::__private_api_timeout)?;
        Ok(Connection {
            client,
            means: Means {
                lender,
                statements: Statements::new(self.names.clone(), self.prepared_statements),
                buffer: BytesMut::new(),
            },
            task,
        })
    }

    async fn recycle(
        &self,
        connection: &mut Connection,
        _: &Metrics,
    ) -> Result<(), RecycleError<Error>> {
        if connection.client.is_closed() {
            return Err(RecycleError::message("the connection is closed"));
        }
        Ok(())
    }
}

async fn unreachable(config: &Config) -> Error {
    match config.connect(NoTls).await {
        Err(error) => error,
        Ok(_) => Error::__private_api_timeout(),
    }
}

impl Connector {
    /// Runs a connection until it ends, its owner drops it or its session is closed.
    fn drive<S, T>(
        &self,
        client: Client,
        connection: tokio_postgres::Connection<S, T>,
    ) -> (Client, JoinHandle<()>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: TlsStream + Unpin + Send + 'static,
    {
        let token = client.cancel_token();
        let (ending, canceller) = (self.ending.clone(), self.canceller.clone());
        let task = tokio::spawn(async move {
            tokio::select! {
                ended = connection => {
                    if let Err(error) = ended {
                        tracing::debug!(reason = %brief(&error), "a connection to PostgreSQL ended");
                    }
                }
                () = ending.ended() => canceller.cancel(token, (), &Handle::current()),
            }
        });
        (client, task)
    }
}

/// An error without what PostgreSQL said in it, which may quote data.
fn brief(error: &Error) -> String {
    match error.as_db_error() {
        Some(db) => db.code().code().to_owned(),
        None => error.to_string(),
    }
}
