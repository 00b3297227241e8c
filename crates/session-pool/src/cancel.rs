//! Cancels statements, and waits until PostgreSQL has ended them.

use std::{
    path::PathBuf,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use resolver::Resolver;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    runtime::Handle,
    time::{Instant, timeout},
};
use tokio_postgres::{CancelToken, Client, Config, Connection, Error, NoTls, SimpleQueryMessage};
use tokio_util::task::TaskTracker;

use crate::{
    budget::Place,
    hosts::socket_path,
    named::resolved,
    seats::Seat,
    wire::{Stream, Wire},
};

/// How long a cancel request may take; the connection is closed afterwards in any case.
const CANCEL_TIME: Duration = Duration::from_secs(1);

/// How soon a request is repeated while PostgreSQL has not hung up; later and later after that.
const FIRST_REPEAT: Duration = Duration::from_millis(16);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How soon we look whether PostgreSQL has ended the statement although the connection did not tell
/// us.
const FIRST_LOOK: Duration = Duration::from_secs(2);

/// How long such a look may take.
const LOOK_TIME: Duration = Duration::from_secs(5);

/// How long we wait for a cancelled statement after PostgreSQL last said that it runs. A few of its
/// functions cannot be interrupted, and a server that is gone never hangs up.
const LONGEST_END: Duration = Duration::from_secs(600);

/// Why it cannot be seen whether a process still runs something.
type Unseen = Box<dyn std::error::Error + Send + Sync>;

/// Cancels statements on one host of a database.
pub(crate) struct Canceller {
    config: Arc<Config>,
    resolver: Arc<Resolver>,
    wire: Wire,
    pub(crate) socket: Option<PathBuf>,
    pub(crate) cancels: Cancels,
}

/// The cancel requests of all sessions.
#[derive(Clone, Default)]
pub(crate) struct Cancels {
    /// Those that are on their way.
    pub(crate) tasks: TaskTracker,
    /// How many there were.
    pub(crate) count: Arc<AtomicU64>,
}

impl Canceller {
    pub(crate) fn new(
        config: Arc<Config>,
        resolver: Arc<Resolver>,
        wire: Wire,
        cancels: Cancels,
    ) -> Self {
        Canceller {
            wire,
            socket: socket_path(&config),
            config,
            resolver,
            cancels,
        }
    }

    /// Asks PostgreSQL to cancel what a connection is running, in a task of its own and within
    /// [`CANCEL_TIME`]. Then closes the connection, and holds its place and seat until PostgreSQL
    /// has ended its part. If nobody takes the request in that time, the host may be gone, and the
    /// idle connections are closed as well: each would cost a call all its time to find that out.
    pub(crate) fn cancel(self: &Arc<Self>, token: CancelToken, remains: Remains, on: &Handle) {
        let canceller = self.clone();
        self.cancels.count.fetch_add(1, Ordering::Relaxed);
        self.cancels.tasks.spawn_on(
            async move {
                match timeout(CANCEL_TIME, canceller.send(&token)).await {
                    // In another task than the cancel requests, because the end of the program waits for those.
                    Ok(Ok(())) => {
                        tokio::spawn(async move { remains.end(&canceller, &token).await });
                    }
                    Ok(Err(_)) => tracing::debug!(
                        "a cancel request could not be sent; its connection is closed all the same"
                    ),
                    Err(_) => {
                        tracing::debug!(
                            "nobody took a cancel request; its connection is closed all the same, and those that are idle"
                        );
                        remains.place.close_idle();
                    }
                }
            },
            on,
        );
    }

    async fn send(&self, token: &CancelToken) -> Result<(), Error> {
        match &self.socket {
            None => token.cancel_query(self.wire.for_cancelling()).await,
            Some(path) => match self.wire.for_cancelling().open_socket(path).await {
                Ok(stream) => token.cancel_query_raw(stream, NoTls).await,
                // The server has gone, and the statement with it.
                Err(_) => Ok(()),
            },
        }
    }

    /// Looks, on a new connection, whether a process still runs something. A process that is idle,
    /// although its connection is closed at this end, is terminated.
    async fn is_over(&self, process: i32) -> Result<bool, Unseen> {
        // A process that may work for another program of the same role is left alone.
        let look = format!(
            "SELECT state LIKE 'idle%', CASE WHEN state LIKE 'idle%' \
             AND application_name = pg_catalog.current_setting('application_name') \
             THEN pg_catalog.pg_terminate_backend(pid) END \
             FROM pg_catalog.pg_stat_activity WHERE pid = {process} AND usename = session_user"
        );
        let wire = self.wire.anew();
        let told = match &self.socket {
            None => {
                let config = resolved(&self.config, &self.resolver).await?;
                let (client, connection) = config.connect(wire).await?;
                ask(&client, connection, &look).await?
            }
            Some(path) => {
                let Ok(stream) = wire.open_socket(path).await else {
                    return Ok(true);
                };
                let (client, connection) = self.config.connect_raw(stream, NoTls).await?;
                ask(&client, connection, &look).await?
            }
        };
        let busy = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => row.get(0) != Some("t"),
            _ => false,
        };
        Ok(!told.iter().any(busy))
    }
}

async fn ask<S, T>(
    client: &Client,
    connection: Connection<S, T>,
    question: &str,
) -> Result<Vec<SimpleQueryMessage>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut asking = pin!(client.simple_query(question));
    tokio::select! {
        answered = &mut asking => answered,
        // The connection has ended, and handed over all that it had received.
        _ = connection => asking.await,
    }
}

/// What is left of a connection whose statement was cancelled, until PostgreSQL has ended it.
pub(crate) struct Remains {
    stream: Option<Stream>,
    /// The id of the process that serves it.
    process: Option<i32>,
    place: Arc<Place>,
    _seat: Option<Seat>,
}

impl Remains {
    pub(crate) fn new(
        stream: Option<Stream>,
        process: Option<i32>,
        place: Arc<Place>,
        seat: Option<Seat>,
    ) -> Self {
        Remains {
            stream,
            process,
            place,
            _seat: seat,
        }
    }

    /// Closes the connection and waits until PostgreSQL has hung up, so that a statement that
    /// cannot be interrupted takes up its own session's share and nobody else's.
    async fn end(mut self, canceller: &Canceller, token: &CancelToken) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        // Nothing is sent before the shutdown: after half of a message PostgreSQL would read ours
        // as the rest of it.
        _ = timeout(CANCEL_TIME, stream.shutdown()).await;
        let mut nowhere = tokio::io::sink();
        let mut rest = pin!(tokio::io::copy(stream, &mut nowhere));
        let (begun, mut pause) = (Instant::now(), FIRST_REPEAT);
        let mut seen = begun;
        while seen.elapsed() < LONGEST_END {
            if timeout(pause, &mut rest).await.is_ok() {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
            // A process that gets the request before it has read the statement forgets the request
            // and runs the statement. Asking again cannot hit anybody else: the request names this
            // connection, and nobody else gets it.
            _ = timeout(CANCEL_TIME, canceller.send(token)).await;
            let Some(process) = self.process.filter(|_| begun.elapsed() >= FIRST_LOOK) else {
                continue;
            };
            match timeout(LOOK_TIME, canceller.is_over(process)).await {
                Ok(Ok(true)) => {
                    tracing::warn!(
                        "a connection to PostgreSQL was dead, and nothing said so; those that are idle are closed, as what stands between may have lost them, too"
                    );
                    return self.place.close_idle();
                }
                Ok(Ok(false)) => seen = Instant::now(),
                _ => {}
            }
        }
        tracing::warn!(
            "nothing was heard for {} s of a statement that was cancelled; it is waited for no more",
            LONGEST_END.as_secs()
        );
    }
}
