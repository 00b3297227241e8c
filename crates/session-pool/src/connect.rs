//! Opens connections for a pool, and ends them with their session.

use std::{path::PathBuf, sync::Arc, time::Duration};

use deadpool::managed::{self, Metrics, RecycleError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::{
    net::UnixStream,
    runtime::Handle,
    task::JoinHandle,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_postgres::{
    CancelToken, Client, Config, Error, NoTls, config::Host, error::SqlState, tls::TlsStream,
};
use tokio_util::task::TaskTracker;

use crate::{
    budget::{Grant, Place, Stake},
    metered::Metered,
    session::Ending,
    wire::Wire,
};

/// How long a cancel request may take; the connection is closed afterwards in any case.
const CANCEL_TIME: Duration = Duration::from_secs(1);

/// How soon a server is asked again that has no connection to spare; it doubles each time.
const FULL_PAUSE: Duration = Duration::from_millis(10);

tokio::task_local! {
    /// Until when a lease may wait for its connection, before that is opened.
    pub(crate) static PATIENCE: Instant;
}

/// Opens connections of one session to one database.
pub(crate) struct Connector {
    pub(crate) config: Config,
    /// Time for opening one.
    pub(crate) connect_timeout: Duration,
    pub(crate) stake: Arc<Stake>,
    pub(crate) wire: Wire,
    pub(crate) ending: Ending,
    pub(crate) canceller: Arc<Canceller>,
}

/// One connection, for one exchange at a time. Dropping it closes it at once.
pub(crate) struct Connection {
    pub(crate) client: Client,
    pub(crate) opened: Instant,
    task: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Why a connection could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// All that may be open together are.
    #[error("no connection came free")]
    Full,
    /// PostgreSQL did not answer in time.
    #[error("PostgreSQL did not answer in time")]
    Silent,
    /// PostgreSQL could not be reached, or refused.
    #[error(transparent)]
    Refused(#[from] Error),
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
    type Error = ConnectError;

    async fn create(&self) -> Result<Connection, ConnectError> {
        let until = PATIENCE
            .try_with(|until| *until)
            .unwrap_or_else(|_| Instant::now());
        match timeout_at(until, self.stake.grant()).await {
            Ok(Some(Grant::Connection(connection))) => Ok(*connection),
            Ok(Some(Grant::Place(place))) => self.open(place, until).await,
            Ok(None) | Err(_) => Err(ConnectError::Full),
        }
    }

    async fn recycle(
        &self,
        connection: &mut Connection,
        _: &Metrics,
    ) -> Result<(), RecycleError<ConnectError>> {
        if connection.client.is_closed() {
            return Err(RecycleError::message("the connection is closed"));
        }
        Ok(())
    }
}

impl Connector {
    /// Opens a connection on a place. A server that has none to spare, since other programs hold
    /// them or one that was just closed is still ending, is asked again while there is time.
    async fn open(&self, place: Place, until: Instant) -> Result<Connection, ConnectError> {
        let mut place = Some(place);
        let mut pause = FULL_PAUSE;
        loop {
            let opened = timeout(self.connect_timeout, self.connect(&mut place)).await;
            let error = match opened.map_err(|_| ConnectError::Silent)? {
                Ok(connection) => return Ok(connection),
                Err(error) => error,
            };
            if error.code() != Some(&SqlState::TOO_MANY_CONNECTIONS) || place.is_none() {
                return Err(error.into());
            }
            self.stake.budget().reclaim();
            if Instant::now() + pause >= until {
                return Err(ConnectError::Full);
            }
            sleep(pause).await;
            pause *= 2;
        }
    }

    /// Connects, and takes the place once it is connected.
    async fn connect(&self, place: &mut Option<Place>) -> Result<Connection, Error> {
        let connection = match &self.canceller.socket {
            None => {
                let (client, connection) = self.config.connect(self.wire.clone()).await?;
                self.drive(client, connection, place.take())
            }
            Some(path) => match UnixStream::connect(path).await {
                Ok(stream) => {
                    let metered = Metered::new(stream, self.wire.allowance());
                    let (client, connection) = self.config.connect_raw(metered, NoTls).await?;
                    self.drive(client, connection, place.take())
                }
                // tokio-postgres makes its own kind of error of the same failure.
                Err(_) => return Err(unreachable(&self.config).await),
            },
        };
        self.size_the_budget(&connection.client).await;
        Ok(connection)
    }

    /// Asks the server how many connections it takes, if that is to be known and is not.
    async fn size_the_budget(&self, client: &Client) {
        let Some(question) = self.stake.budget().question() else {
            return;
        };
        let told = client.query_one(MOST_CONNECTIONS, &[]).await;
        match told.and_then(|row| row.try_get::<_, i32>(0)) {
            Ok(most) => {
                let most = usize::try_from(most).unwrap_or(0);
                // Some for people who must see what is going on, and for other programs.
                question.answer(most - (most / 10).max(2).min(most));
            }
            Err(error) => {
                tracing::warn!(reason = %brief(&error), "PostgreSQL did not say how many connections it takes");
            }
        }
    }
}

/// Connections that are not kept for superusers and the like.
const MOST_CONNECTIONS: &str = "SELECT pg_catalog.current_setting('max_connections')::pg_catalog.int4 \
     - pg_catalog.current_setting('superuser_reserved_connections')::pg_catalog.int4 \
     - coalesce(pg_catalog.current_setting('reserved_connections', true)::pg_catalog.int4, 0)";

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
        place: Option<Place>,
    ) -> Connection
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
                () = ending.ended() => canceller.cancel(token, place, &Handle::current()),
            }
        });
        Connection {
            client,
            opened: Instant::now(),
            task,
        }
    }
}

/// An error without what PostgreSQL said in it, which may quote data.
fn brief(error: &Error) -> String {
    match error.as_db_error() {
        Some(db) => db.code().code().to_owned(),
        None => error.to_string(),
    }
}
