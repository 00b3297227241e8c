//! Opens connections for a deadpool pool, and ends them with their session.

use std::{future::Future, path::PathBuf, pin::Pin, sync::Arc, time::Duration};

use deadpool_postgres::Connect;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::{net::UnixStream, runtime::Handle, task::JoinHandle};
use tokio_postgres::{
    CancelToken, Client, Config, Connection, Error, NoTls, config::Host, tls::TlsStream,
};
use tokio_util::task::TaskTracker;

use crate::{metered::Metered, session::Ending, wire::Wire};

/// How long a cancel request may take; the connection is closed afterwards in any case.
const CANCEL_TIME: Duration = Duration::from_secs(1);

/// Opens connections of one session to one database.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) wire: Wire,
    pub(crate) ending: Ending,
    pub(crate) canceller: Arc<Canceller>,
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

type Opened = Result<(Client, JoinHandle<()>), Error>;

impl Connect for Connector {
    fn connect(&self, config: &Config) -> Pin<Box<dyn Future<Output = Opened> + Send + '_>> {
        let config = config.clone();
        Box::pin(async move {
            match &self.canceller.socket {
                None => {
                    let (client, connection) = config.connect(self.wire.clone()).await?;
                    Ok(self.drive(client, connection))
                }
                Some(path) => match UnixStream::connect(path).await {
                    Ok(stream) => {
                        let metered = Metered::new(stream, self.wire.allowance());
                        let (client, connection) = config.connect_raw(metered, NoTls).await?;
                        Ok(self.drive(client, connection))
                    }
                    // tokio-postgres makes its own kind of error of the same failure.
                    Err(_) => Err(unreachable(&config).await),
                },
            }
        })
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
    fn drive<S, T>(&self, client: Client, connection: Connection<S, T>) -> (Client, JoinHandle<()>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: TlsStream + Unpin + Send + 'static,
    {
        let token = client.cancel_token();
        let Connector {
            ending, canceller, ..
        } = self.clone();
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
