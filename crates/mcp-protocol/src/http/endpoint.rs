//! One request over HTTP, from its head to its reply.

use std::fmt::Display;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use hyper::body::Body;
use hyper::header::{EXPECT, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, Version};

use super::body;
use super::clients::{Client, Clients, Peer};
use super::closing::Closing;
use super::cors;
use super::gate::{self, Source};
use super::head::{self, Accepted};
use super::options::Options;
use super::reply::{self, Ends, Reply};
use super::seldom::Seldom;
use crate::auth::{Authenticate, Principal, Refusal};
use crate::era;
use crate::exchange::{Answer, Exchange, Step};
use crate::handler::Handler;
use crate::jsonrpc::{self, Failure, Message, Payload, Rejected};
use crate::methods::LISTEN;
use crate::places::Place;
use crate::service::{Arrival, Channel, Service};
use crate::within::within;

/// The methods that the endpoint serves: POST, and others for sessions and for browsers.
const POST_ONLY: &str = "POST";
const METHODS: &str = "GET, POST, DELETE, OPTIONS";

/// Where a request is routed.
enum Route {
    Health,
    Endpoint(Client),
    Nowhere(Box<Reply>),
}

/// Who sent a request, and what ends it early.
struct Sender<'a, P> {
    principal: &'a P,
    address: IpAddr,
    closing: &'a Closing,
}

/// What every request of a server shares.
pub(super) struct Endpoint<H, A> {
    service: Arc<Service<H>>,
    authenticator: Arc<A>,
    pub(super) clients: Clients,
    pub(super) options: Options,
    /// Requests that were refused for their host or their origin.
    turned: Seldom,
}

impl<H: Handler, A: Authenticate<Principal = H::Principal>> Endpoint<H, A> {
    pub(super) fn new(service: Arc<Service<H>>, authenticator: A, options: Options) -> Self {
        Self {
            service,
            authenticator: Arc::new(authenticator),
            clients: Clients::new(&options),
            options,
            turned: Seldom::default(),
        }
    }

    /// Answers a request; `closing` says when streams must end, and when all requests must.
    ///
    /// The request is borrowed: each async function that takes it by value reserves room for it once more.
    pub(super) async fn respond<B: Body<Data = Bytes, Error: Display>>(
        &self,
        parts: &mut Parts,
        mut body: Pin<&mut B>,
        peer: &Peer,
        closing: &Closing,
    ) -> Reply {
        // To read such a body is to ask for it.
        let is_held_back = parts.headers.contains_key(EXPECT);
        let mut reply = self.judge(parts, body.as_mut(), peer, closing).await;
        if !body.is_end_stream() {
            if parts.version == Version::HTTP_2 {
                body::discard(body).await;
            } else if is_held_back || !body::skip(body).await {
                // What is left of the body would stand before the next request, which therefore needs another connection.
                reply = reply::closing(reply);
            }
        }
        match parts.method {
            Method::HEAD => reply::without_body(reply),
            _ => reply,
        }
    }

    async fn judge<B: Body<Data = Bytes, Error: Display>>(
        &self,
        parts: &mut Parts,
        body: B,
        peer: &Peer,
        closing: &Closing,
    ) -> Reply {
        if let Err(turned) = gate::check_coding(&parts.headers) {
            return reply::closing(reply::refuse(turned.status, turned.message));
        }
        let source = match gate::check(parts, &self.options) {
            Ok(source) => source,
            Err(turned) => {
                if self.turned.is_due() {
                    let (peer, reason) = (peer.address, turned.message);
                    tracing::warn!(%peer, reason, "refused a request; further ones may have no line for 10 s");
                }
                return reply::refuse(turned.status, turned.message);
            }
        };
        let mut reply = match self.route(parts, peer) {
            Route::Health => self.health(parts).await,
            Route::Endpoint(client) => {
                let address = client.address;
                let mut reply = match self.authenticate(&parts.headers, address).await {
                    Ok(principal) => {
                        let sender = Sender {
                            principal: &principal,
                            address,
                            closing,
                        };
                        self.admit(parts, body, &sender).await
                    }
                    Err(refusal) => {
                        tracing::debug!(client = %address, ?refusal, "refused credentials");
                        self.unauthorized(&refusal)
                    }
                };
                if let Some(place) = client.place {
                    reply.body_mut().hold_place(place);
                }
                reply
            }
            Route::Nowhere(reply) => *reply,
        };
        if let Source::Page(origin) = &source {
            cors::allow_page(reply.headers_mut(), origin);
        }
        reply
    }

    fn route(&self, parts: &Parts, peer: &Peer) -> Route {
        let nowhere = |reply| Route::Nowhere(Box::new(reply));
        let path = parts.uri.path();
        if self.options.health_path.as_deref() == Some(path) {
            return Route::Health;
        }
        if !self.options.paths.iter().any(|endpoint| endpoint == path) {
            let served = self.options.paths.join(" and ");
            let told = format!("there is nothing at this path; MCP is served at {served}");
            return nowhere(reply::refuse(404, told));
        }
        if parts.method == Method::OPTIONS {
            return nowhere(cors::preflight(&parts.headers, METHODS));
        }
        match self.clients.client(peer, &parts.headers) {
            Ok(client) => Route::Endpoint(client),
            Err(unwelcome) => {
                tracing::debug!(peer = %peer.address, %unwelcome, "refused a request");
                nowhere(reply::refuse(unwelcome.status(), unwelcome.to_string()))
            }
        }
    }

    async fn authenticate(
        &self,
        headers: &HeaderMap,
        address: IpAddr,
    ) -> Result<H::Principal, Refusal> {
        let credentials = head::credentials(headers);
        let limit = self.service.request_timeout();
        let judging = pin!(self.authenticator.authenticate(credentials, address));
        within(limit, judging).await.unwrap_or_else(|| {
            tracing::error!(limit = ?limit, "credentials were not judged in time");
            Err(Refusal::Unavailable(
                "the credentials could not be judged in time; retry",
            ))
        })
    }

    /// Answers a request of a principal, which may lose its rights at any moment.
    async fn admit<B: Body<Data = Bytes, Error: Display>>(
        &self,
        parts: &mut Parts,
        body: B,
        sender: &Sender<'_, H::Principal>,
    ) -> Reply {
        let principal = sender.principal;
        let reply = match parts.method {
            Method::POST => {
                let mut post = pin!(self.post(&mut parts.headers, body, sender));
                // Most replies are made without waiting; only the others need to wait for the end of rights, too.
                let mut revoked = None;
                poll_fn(|context| {
                    if let Poll::Ready(reply) = post.as_mut().poll(context) {
                        return Poll::Ready(Some(reply));
                    }
                    let revoked = revoked.get_or_insert_with(|| Box::pin(principal.revoked()));
                    revoked.as_mut().poll(context).map(|()| None)
                })
                .await
            }
            Method::GET => Some(self.get(&parts.headers, sender)),
            Method::DELETE => Some(self.delete(&parts.headers, principal)),
            _ => Some(reply::method_not_allowed(METHODS)),
        };
        // The rights may have ended while the reply was made. Then it says nothing but that.
        match reply {
            Some(reply) if !principal.is_revoked() => reply,
            _ => {
                let lost = self.authenticator.lost(principal, sender.address);
                reply::cut_short(&lost, self.realm())
            }
        }
    }

    async fn health(&self, parts: &Parts) -> Reply {
        if !matches!(parts.method, Method::GET | Method::HEAD) {
            return reply::method_not_allowed("GET, HEAD");
        }
        let limit = self.service.request_timeout();
        let Some(health) = within(limit, pin!(self.service.handler.health())).await else {
            return reply::refuse(
                503,
                "the state of the server could not be found out in time",
            );
        };
        let body = serde_json::to_vec(&health.body).expect("a JSON object can be written");
        reply::json(health.status, body)
    }

    fn unauthorized(&self, refusal: &Refusal) -> Reply {
        reply::unauthorized(refusal, self.realm())
    }

    fn realm(&self) -> &str {
        &self.service.handler.server().name
    }

    /// Opens the stream for unsolicited messages of a session.
    fn get(&self, headers: &HeaderMap, sender: &Sender<'_, H::Principal>) -> Reply {
        if era::is_modern(headers) {
            return reply::method_not_allowed(POST_ONLY);
        }
        let accepted = Accepted::read(headers);
        if !accepted.is_some_and(|accepted| accepted.streams || accepted.anything) {
            return reply::refuse(406, "GET is answered with text/event-stream");
        }
        if let Err(failure) = era::check_named(headers) {
            return reply::failure(&failure);
        }
        let session = match self.service.session(headers, sender.principal) {
            Ok(Some(session)) => session,
            // Clients try this once, and carry on without it.
            Ok(None) => return reply::method_not_allowed(POST_ONLY),
            Err(failure) => return reply::failure(&failure),
        };
        let Some(place) = session.open_stream() else {
            return reply::refuse(409, "the session has its stream already");
        };
        let exchange = self.service.stream(
            session,
            place,
            sender.principal.clone(),
            sender.closing.streams(),
        );
        self.events(None, exchange, sender)
    }

    /// Ends a session.
    fn delete(&self, headers: &HeaderMap, principal: &H::Principal) -> Reply {
        if era::is_modern(headers) {
            return reply::method_not_allowed(POST_ONLY);
        }
        if let Err(failure) = era::check_named(headers) {
            return reply::failure(&failure);
        }
        match self.service.session(headers, principal) {
            Ok(Some(session)) => {
                self.service
                    .sessions
                    .end(session.id.as_str(), principal.name());
                // 200 with an empty body, because some clients take 204 for a failure.
                reply::empty(StatusCode::OK)
            }
            Ok(None) => reply::refuse(400, "Mcp-Session-Id is missing"),
            Err(failure) => reply::failure(&failure),
        }
    }

    /// Handles the messages that a client posts.
    async fn post<B: Body<Data = Bytes, Error: Display>>(
        &self,
        headers: &mut HeaderMap,
        body: B,
        sender: &Sender<'_, H::Principal>,
    ) -> Reply {
        let principal = sender.principal;
        if !head::is_json(headers) {
            return reply::refuse(
                415,
                "the body must be sent as Content-Type: application/json",
            );
        }
        if !head::is_plain(headers) {
            return reply::refuse(415, "the body must be sent without a Content-Encoding");
        }
        let Some(accepted) = Accepted::read(headers) else {
            return reply::refuse(406, "accept application/json or text/event-stream");
        };
        let claim = |bytes| self.service.claim(principal, bytes);
        let body = match body::read(body, &self.options, claim).await {
            Ok(body) => body,
            Err(refused) => return reply::failure(&refused),
        };
        let message = match jsonrpc::read(&body) {
            Ok(Payload::Single(Ok(message))) => message,
            Ok(Payload::Single(Err(rejected))) => {
                let text = jsonrpc::write_failure(rejected.id.as_ref(), &rejected.failure);
                return reply::json(rejected.failure.status, text);
            }
            Ok(Payload::Batch(entries)) => {
                return self.batch(entries, headers, sender).await;
            }
            Err(failure) => return reply::failure(&failure),
        };
        match message {
            Message::Request(request) => {
                // A client that listens expects a stream, even if it only accepts `*/*`.
                let streams = accepted.streams || accepted.anything && request.method == LISTEN;
                let arrival = Arrival {
                    // No other request lasts until the server stops.
                    closing: (request.method == LISTEN).then(|| sender.closing.streams()),
                    channel: Channel::Http(std::mem::take(headers)),
                };
                let exchange = self.service.start(request, principal.clone(), arrival);
                if !streams {
                    exchange.answer_only();
                }
                self.answer(exchange, accepted, sender).await
            }
            other => match self.take_silently(other, headers, principal) {
                Ok(()) => reply::empty(StatusCode::ACCEPTED),
                Err(failure) => reply::failure(&failure),
            },
        }
    }

    /// Handles a message that gets no response.
    fn take_silently(
        &self,
        message: Message,
        headers: &HeaderMap,
        principal: &H::Principal,
    ) -> Result<(), Failure> {
        // The newest revision has no sessions, and does not say what notifications carry.
        let session = if era::is_modern(headers) {
            None
        } else {
            era::check_named(headers)?;
            self.service.session(headers, principal)?
        };
        match message {
            Message::Notification(note) => {
                if let Some(session) = &session {
                    Service::<H>::notice(session, &note);
                }
                Ok(())
            }
            Message::Response(response) => Service::<H>::settle(session.as_deref(), response),
            Message::Request(_) => Err(Failure::internal()),
        }
    }

    /// Runs a request until its first message, which decides between a JSON reply and a stream. From then on the
    /// request runs in its stream, and is dropped with it.
    async fn answer(
        &self,
        mut exchange: Exchange,
        accepted: Accepted,
        sender: &Sender<'_, H::Principal>,
    ) -> Reply {
        let patience = self.options.keep_alive_interval;
        let first = {
            let stop = pin!(sender.closing.out_of_time());
            let stepping = pin!(exchange.step_or_stop(stop));
            if accepted.streams {
                within(patience, stepping).await
            } else {
                Some(stepping.await)
            }
        };
        match first {
            Some(Step::Done(answer)) => finished(answer),
            Some(Step::Sent(first)) => self.events(Some(first), exchange, sender),
            // It takes long: a stream shows everybody in between that it is alive.
            None => self.events(None, exchange, sender),
        }
    }

    fn events(
        &self,
        said: Option<Bytes>,
        exchange: Exchange,
        sender: &Sender<'_, H::Principal>,
    ) -> Reply {
        let (principal, address) = (sender.principal.clone(), sender.address);
        let closing = sender.closing.clone();
        let authenticator = Arc::clone(&self.authenticator);
        let ends = Ends {
            revoked: Box::pin(async move {
                principal.revoked().await;
                reply::lost_midway(&authenticator.lost(&principal, address))
            }),
            out_of_time: Box::pin(async move { closing.out_of_time().await }),
        };
        reply::events(said, exchange, ends, self.options.keep_alive_interval)
    }

    /// Answers a batch, which only two early revisions have: runs all its requests concurrently, and replies with one
    /// array.
    async fn batch(
        &self,
        entries: Vec<Result<Message, Rejected>>,
        headers: &HeaderMap,
        sender: &Sender<'_, H::Principal>,
    ) -> Reply {
        let Sender {
            principal, closing, ..
        } = *sender;
        let revision = match self.service.session(headers, principal) {
            Ok(Some(session)) => Some(session.revision),
            Ok(None) => era::named(headers),
            Err(failure) => return reply::failure(&failure),
        };
        if let Err(failure) = self.service.check_batch(revision, entries.len()) {
            return reply::failure(&failure);
        }
        let asks = entries
            .iter()
            .any(|entry| matches!(entry, Ok(Message::Request(_))));
        let answers = entries.into_iter().map(|entry| {
            let (headers, principal) = (headers.clone(), principal.clone());
            async move {
                match entry {
                    Ok(Message::Request(request)) => {
                        let channel = Channel::Http(headers);
                        let arrival = Arrival {
                            channel,
                            closing: None,
                        };
                        let answer = self
                            .service
                            .answer_in_batch(request, principal, arrival, closing.out_of_time())
                            .await;
                        (answer.message, answer.place)
                    }
                    Ok(other) => {
                        let refused = self.take_silently(other, &headers, &principal).err();
                        let told = |refused| jsonrpc::write_failure(None, &refused).into();
                        (refused.map(told), None)
                    }
                    Err(rejected) => (Some(rejected.write().into()), None),
                }
            }
        });
        let answers = futures_util::future::join_all(answers).await;
        let (messages, places): (Vec<Option<Bytes>>, Vec<Option<Place>>) =
            answers.into_iter().unzip();
        let mut reply = match jsonrpc::join(messages.iter().flatten()) {
            Some(array) => reply::json(200, array),
            // The client has cancelled all requests of the batch.
            None if asks => reply::no_events(),
            None => reply::empty(StatusCode::ACCEPTED),
        };
        if let Some(places) = places.into_iter().flatten().reduce(Place::with) {
            reply.body_mut().hold_request(places);
        }
        reply
    }
}

/// Replies with the response of a request.
fn finished(answer: Answer) -> Reply {
    let Some(message) = answer.message else {
        // The client has cancelled it, and expects nothing more.
        return reply::no_events();
    };
    let mut reply = reply::json(answer.status, message);
    if let Some(place) = answer.place {
        reply.body_mut().hold_request(place);
    }
    if let Some(session) = answer.session {
        let id = HeaderValue::from_str(session.id.as_str()).expect("the identifier is hexadecimal");
        reply.headers_mut().insert(era::SESSION_ID, id);
    }
    reply
}
