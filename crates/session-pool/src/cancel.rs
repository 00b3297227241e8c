//! Cancels statements, and waits until PostgreSQL has ended them.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{io::AsyncWriteExt, runtime::Handle, time::timeout};
use tokio_postgres::{CancelToken, Config, Error, NoTls};
use tokio_util::task::TaskTracker;

use crate::{
    budget::Place,
    hosts::socket_path,
    seats::Seat,
    wire::{Stream, Wire},
};

/// How long a cancel request may take; the connection is closed afterwards in any case.
const CANCEL_TIME: Duration = Duration::from_secs(1);

/// How long PostgreSQL may take to end a statement that was cancelled. Few of its functions cannot be interrupted, and a
/// server that is no longer there never hangs up.
const LONGEST_END: Duration = Duration::from_secs(600);

/// Cancels statements on one host of a database.
pub(crate) struct Canceller {
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
    pub(crate) fn new(config: &Config, wire: Wire, cancels: Cancels) -> Self {
        Canceller {
            wire,
            socket: socket_path(config),
            cancels,
        }
    }

    pub(crate) fn uses_socket(&self) -> bool {
        self.socket.is_some()
    }

    /// Asks PostgreSQL to cancel what a connection is running, in a task of its own with a bound on
    /// its time. Closes the connection after that, and keeps its rights until PostgreSQL has ended its part.
    pub(crate) fn cancel(self: &Arc<Self>, token: CancelToken, remains: Remains, on: &Handle) {
        let canceller = self.clone();
        self.cancels.count.fetch_add(1, Ordering::Relaxed);
        self.cancels.tasks.spawn_on(
            async move {
                match timeout(CANCEL_TIME, canceller.send(&token)).await {
                    // Apart from the cancel requests, for which the end of the program waits.
                    Ok(Ok(())) => _ = tokio::spawn(remains.end()),
                    _ => tracing::debug!(
                        "a cancel request could not be sent; its connection is closed all the same"
                    ),
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
}

/// What is left of a connection whose statement is to end: PostgreSQL may take its time over that.
pub(crate) struct Remains {
    stream: Option<Stream>,
    _place: Arc<Place>,
    _seat: Option<Seat>,
}

impl Remains {
    pub(crate) fn new(stream: Option<Stream>, place: Arc<Place>, seat: Option<Seat>) -> Self {
        Remains {
            stream,
            _place: place,
            _seat: seat,
        }
    }

    /// Closes the connection and waits until PostgreSQL has hung up, so that a statement which nothing interrupts takes
    /// up its session's share and nobody else's.
    async fn end(mut self) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        // What is half way stays so: no message of ours would be read as one.
        _ = timeout(CANCEL_TIME, stream.shutdown()).await;
        let mut nowhere = tokio::io::sink();
        let rest = tokio::io::copy(stream, &mut nowhere);
        if timeout(LONGEST_END, rest).await.is_err() {
            tracing::warn!(
                "a statement that was cancelled has not ended for {} s; it is waited for no more",
                LONGEST_END.as_secs()
            );
        }
    }
}
