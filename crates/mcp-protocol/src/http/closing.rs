//! How a server stops: first its streams of changes end, then what still runs.

use tokio::sync::watch;

/// Tells that a server stops.
#[derive(Clone, Debug)]
pub(super) struct Closing {
    /// Becomes true when streams that would never end by themselves are to end.
    streams: watch::Receiver<bool>,
    /// Becomes true when running requests have no more time.
    requests: Option<watch::Receiver<bool>>,
}

/// The sending side: stops the server.
#[derive(Debug)]
pub(super) struct Close {
    streams: watch::Sender<bool>,
    requests: watch::Sender<bool>,
}

impl Close {
    pub(super) fn new() -> (Self, Closing) {
        let (streams, streams_told) = watch::channel(false);
        let (requests, requests_told) = watch::channel(false);
        let closing = Closing {
            streams: streams_told,
            requests: Some(requests_told),
        };
        (Self { streams, requests }, closing)
    }

    /// Ends streams that would never end by themselves, and idle connections.
    pub(super) fn drain(&self) {
        self.streams.send_replace(true);
    }

    /// Has all that still runs answered: there is no more time.
    pub(super) fn end(&self) {
        self.requests.send_replace(true);
    }
}

impl Closing {
    /// Knows of streams only: somebody else decides how long requests may go on.
    pub(super) fn of_streams(streams: watch::Receiver<bool>) -> Self {
        Self {
            streams,
            requests: None,
        }
    }

    /// Returns the receiver that becomes true when streams are to end.
    pub(super) fn streams(&self) -> watch::Receiver<bool> {
        self.streams.clone()
    }

    /// Completes when requests have no more time; never if nobody says so.
    pub(super) async fn out_of_time(&self) {
        if let Some(mut requests) = self.requests.clone()
            && requests.wait_for(|is_over| *is_over).await.is_ok()
        {
            return;
        }
        // The sender is gone, and has dropped what runs.
        std::future::pending().await
    }
}
