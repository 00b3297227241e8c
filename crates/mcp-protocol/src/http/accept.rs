//! Connections: accepted, limited, watched, and drained at shutdown.

use std::convert::Infallible;
use std::fmt::Display;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::at_once::AtOnce;
use super::clients::Peer;
use super::closing::{Close, Closing};
use super::counts::Counts;
use super::endpoint::Endpoint;
use super::lone::{Latest, Lone};
use super::options::Options;
use super::plain;
use super::reply::Reply;
use super::seldom::Seldom;
use super::watched::{Activity, Sign, Watched};
use crate::auth::Authenticate;
use crate::exchange::LAST_WORDS;
use crate::handler::Handler;
use crate::places::Place;
use crate::service::Service;

/// How long to wait before accepting again when the system has no descriptors or memory left.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(50);

/// An HTTP server. Its connection limits apply to all its listeners together.
pub struct Server<H, A> {
    shared: Arc<Shared<H, A>>,
}

struct Shared<H, A> {
    endpoint: Endpoint<H, A>,
    http: Builder<TokioExecutor>,
    slots: Arc<Semaphore>,
    counts: Arc<Counts>,
    latest: Arc<Latest>,
    /// Limits how often the log says that no connection can be accepted.
    complaint: Seldom,
}

impl<H, A> Clone for Server<H, A> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<H: Handler, A: Authenticate<Principal = H::Principal>> Server<H, A> {
    /// Serves `service` to the principals that `authenticator` accepts.
    pub fn new(service: Arc<Service<H>>, authenticator: A, options: Options) -> Self {
        let options = options.bounded();
        let mut http = Builder::new(TokioExecutor::new());
        if !options.http2 {
            http = http.http1_only();
        }
        http.http1()
            .max_buf_size(64 * 1024)
            .header_read_timeout(None);
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(options.max_concurrent_streams)
            .max_header_list_size(16 * 1024)
            .keep_alive_interval(options.keep_alive_interval)
            .keep_alive_timeout(options.write_timeout);
        let slots = Arc::new(Semaphore::new(options.max_connections));
        let endpoint = Endpoint::new(service, authenticator, options);
        Self {
            shared: Arc::new(Shared {
                endpoint,
                http,
                slots,
                counts: Arc::default(),
                latest: Arc::default(),
                complaint: Seldom::default(),
            }),
        }
    }

    /// Returns the counters of connections and replies.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.shared.counts)
    }

    /// Accepts connections until `shutdown` completes. Running requests may then go on for [`Options::drain_timeout`];
    /// those still running after that are answered with 503. Errors of accepting never end it. May be called for
    /// several listeners.
    ///
    /// Dropping the future closes all of its connections at once.
    pub async fn serve(&self, listener: TcpListener, shutdown: impl Future<Output = ()> + Send) {
        let (close, closing) = Close::new();
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(ended) = connections.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a connection ended by a panic");
                    }
                }
                (stream, slot) = self.shared.accept(&listener) => {
                    let shared = Arc::clone(&self.shared);
                    let closing = closing.clone();
                    connections.spawn(async move { shared.connection(stream, slot, closing).await });
                }
            }
        }
        drop(listener);
        {
            let all_ended = pin!(async { while connections.join_next().await.is_some() {} });
            self.shared.end(&close, all_ended).await;
        }
        connections.shutdown().await;
    }

    /// Serves one connection that was accepted elsewhere, such as on a Unix socket, until it ends, or until `shutdown`
    /// completes and its running requests have ended, as in [`Server::serve`]. The connection limits and TLS are up to
    /// the caller. Whether `peer` is a trusted proxy is decided as for all others.
    ///
    /// A hang-up is noticed only when it is the next thing to be read: not while a request runs and the client has sent
    /// more behind it.
    pub async fn serve_stream<S>(
        &self,
        stream: S,
        peer: IpAddr,
        shutdown: impl Future<Output = ()> + Send,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (close, closing) = Close::new();
        let peer = self.shared.endpoint.clients.peer(peer);
        // The stream may be of any type, so there is no way to ask whether its other end has left.
        let unseen = Lone::unseen();
        let driving = Arc::clone(&self.shared).drive(stream, |_, _| false, unseen, peer, closing);
        let mut served = pin!(driving);
        tokio::select! {
            () = &mut served => return,
            () = shutdown => {}
        }
        // What has not ended by then is dropped with this future.
        self.shared.end(&close, served).await;
    }
}

impl<H: Handler, A: Authenticate<Principal = H::Principal>> Server<H, A> {
    /// Answers one request that the caller has read, such as a service of hyper or axum that serves other paths as
    /// well. [`Options::paths`] and [`Options::health_path`] are compared with the request's URI as it is then, without
    /// a prefix that a router has stripped. `Host` and `Origin` are checked against [`Options::allowed_hosts`] and
    /// [`Options::allowed_origins`], and whether `peer` is a trusted proxy is decided as for all others.
    ///
    /// The request runs while this future or, if the reply is a stream, the reply's body is polled; dropping either
    /// cancels it. Streams end when `closing` becomes true; how long other requests may go on after that is up to the
    /// caller. So is everything about the connection: TLS, how many there may be, the timeouts for sending a head and
    /// for reading a reply, and noticing a client that has hung up.
    ///
    /// ```
    /// use std::convert::Infallible;
    /// use std::net::IpAddr;
    ///
    /// use hyper::{Request, Response, body::Incoming};
    /// use mcp_protocol::{Authenticate, Handler, http::Server};
    /// use tokio::sync::watch;
    ///
    /// async fn mcp<H: Handler, A: Authenticate<Principal = H::Principal>>(
    ///     server: Server<H, A>,
    ///     request: Request<Incoming>,
    ///     peer: IpAddr,
    ///     closing: watch::Receiver<bool>,
    /// ) -> Result<Response<impl hyper::body::Body>, Infallible> {
    ///     Ok(server.respond(request, peer, closing).await)
    /// }
    /// ```
    pub async fn respond<B>(
        &self,
        request: Request<B>,
        peer: IpAddr,
        closing: watch::Receiver<bool>,
    ) -> Response<impl Body<Data = Bytes, Error = Infallible> + Send + Unpin + use<H, A, B>>
    where
        B: Body<Data = Bytes, Error: Display>,
    {
        let endpoint = &self.shared.endpoint;
        let peer = endpoint.clients.peer(peer);
        let closing = Closing::of_streams(closing);
        let (mut parts, body) = request.into_parts();
        let body = pin!(body);
        let reply = endpoint.respond(&mut parts, body, &peer, &closing).await;
        self.shared.counts.reply(reply.status().as_u16());
        reply
    }
}

impl<H: Handler, A: Authenticate<Principal = H::Principal>> Shared<H, A> {
    /// Ends connections: idle ones at once, others when their requests have been answered or the drain timeout has
    /// passed. `ended` completes when all have ended.
    async fn end(&self, close: &Close, mut ended: Pin<&mut (impl Future<Output = ()> + Send)>) {
        close.drain();
        let limit = self.endpoint.options.drain_timeout;
        if tokio::time::timeout(limit, ended.as_mut()).await.is_ok() {
            return;
        }
        tracing::warn!(limit = ?limit, "requests that did not end in time are answered with 503");
        close.end();
        if tokio::time::timeout(LAST_WORDS, ended).await.is_err() {
            tracing::warn!("closing connections that did not end");
        }
    }

    /// Waits for a free slot, then for a connection to fill it.
    async fn accept(&self, listener: &TcpListener) -> (TcpStream, Slot) {
        let total = Arc::clone(&self.slots).acquire_owned().await;
        let total = total.expect("the semaphore is never closed");
        loop {
            match listener.accept().await {
                Ok((stream, address)) => {
                    let peer = self.endpoint.clients.peer(address.ip());
                    if let Ok(place) = self.endpoint.clients.connect(&peer) {
                        let slot = Slot {
                            peer,
                            _place: place,
                            _total: total,
                        };
                        return (stream, slot);
                    }
                    self.counts.refuse();
                    tracing::debug!(peer = %peer.address, "too many connections; closing one");
                }
                Err(error) => {
                    if is_about_one_connection(&error) {
                        tracing::debug!(%error, "failed to accept a connection");
                        continue;
                    }
                    if self.complaint.is_due() {
                        tracing::warn!(
                            %error,
                            "failed to accept connections; where it is too many open files, raise that limit (ulimit -n, or LimitNOFILE in systemd) or allow fewer connections"
                        );
                    }
                    tokio::time::sleep(ACCEPT_BACK_OFF).await;
                }
            }
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, slot: Slot, closing: Closing) {
        let peer = slot.peer;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "failed to set TCP_NODELAY");
        }
        let lone = Lone::new(Arc::clone(&self.latest));
        match &self.endpoint.options.tls {
            None => self.drive(stream, shows, lone, peer, closing).await,
            Some(config) => {
                let handshake = async {
                    if plain::begins(&stream).await? {
                        return plain::turn_away(stream).await.map(|()| None);
                    }
                    let acceptor = TlsAcceptor::from(Arc::clone(config));
                    acceptor.accept(stream).await.map(Some)
                };
                let limit = self.endpoint.options.tls_handshake_timeout;
                match tokio::time::timeout(limit, handshake).await {
                    Ok(Ok(Some(stream))) => {
                        let shows = |stream: &TlsStream<_>, sign| shows(stream.get_ref().0, sign);
                        self.drive(stream, shows, lone, peer, closing).await;
                    }
                    Ok(Ok(None)) => {
                        tracing::debug!(peer = %peer.address, "plain HTTP came where TLS is spoken");
                    }
                    Ok(Err(error)) => {
                        tracing::debug!(peer = %peer.address, %error, "the TLS handshake failed");
                    }
                    Err(_) => {
                        tracing::debug!(peer = %peer.address, "the TLS handshake took too long");
                    }
                }
            }
        }
    }

    async fn drive<S>(
        self: Arc<Self>,
        stream: S,
        shows: fn(&S, Sign) -> bool,
        lone: Lone,
        peer: Peer,
        closing: Closing,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let _open = self.counts.open();
        let activity = Activity::new(&self.endpoint.options);
        let mut draining = closing.streams();
        let stream = TokioIo::new(Watched::new(stream, shows, Arc::clone(&activity), lone));
        // One for each connection, so that its requests do not touch reference counts that all connections share.
        let caller = Arc::new(Caller {
            server: Arc::clone(&self),
            peer,
            closing,
        });
        let respond = service_fn(|request: Request<Incoming>| {
            let busy = activity.begin(request.version() == hyper::Version::HTTP_2);
            let caller = Arc::clone(&caller);
            let (mut parts, body) = request.into_parts();
            async move {
                let reply = caller.respond(&mut parts, pin!(body)).await;
                Ok::<_, Infallible>(reply.map(|body| body.holding(busy)))
            }
        });
        let connection = pin!(self.http.serve_connection(stream, respond));
        let mut connection = AtOnce::new(connection);
        let mut overdue = pin!(activity.overdue());
        let mut drained = pin!(draining.wait_for(|draining| *draining));
        let mut is_draining = false;
        loop {
            tokio::select! {
                ended = &mut connection => {
                    if let Err(error) = ended {
                        tracing::debug!(peer = %peer.address, %error, "a connection broke");
                    }
                    return;
                }
                () = &mut overdue => return,
                _ = &mut drained, if !is_draining => {
                    is_draining = true;
                    activity.hurry();
                    connection.inner().graceful_shutdown();
                }
            }
        }
    }
}

/// The peer of a connection, and the server, as its requests see them.
struct Caller<H, A> {
    server: Arc<Shared<H, A>>,
    peer: Peer,
    closing: Closing,
}

impl<H: Handler, A: Authenticate<Principal = H::Principal>> Caller<H, A> {
    async fn respond(&self, parts: &mut Parts, body: Pin<&mut Incoming>) -> Reply {
        let Shared {
            endpoint, counts, ..
        } = &*self.server;
        let reply = endpoint
            .respond(parts, body, &self.peer, &self.closing)
            .await;
        counts.reply(reply.status().as_u16());
        reply
    }
}

/// Returns whether a stream shows a sign of its client now.
fn shows(stream: &TcpStream, sign: Sign) -> bool {
    let wanted = match sign {
        Sign::Left => PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR,
        Sign::Sent => PollFlags::IN,
    };
    let mut asked = [PollFd::new(stream, wanted)];
    let answered = poll(&mut asked, Some(&Timespec::default()));
    answered.is_ok() && asked[0].revents().intersects(wanted)
}

/// Returns whether accepting failed only because one connection had already gone away.
fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

/// A connection's share of the limits; given back when dropped.
struct Slot {
    peer: Peer,
    _place: Option<Place>,
    _total: OwnedSemaphorePermit,
}
