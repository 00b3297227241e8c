//! Replies: their bodies, and those that the transport makes itself.

use std::borrow::Cow;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue,
    RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{Response, StatusCode};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::watched::Busy;
use crate::auth::Refusal;
use crate::exchange::{Exchange, Lost, Step};
use crate::jsonrpc::{self, Failure, INVALID_REQUEST};
use crate::places::Place;

pub(super) type Reply = Response<ReplyBody>;

/// The largest piece of a reply, in bytes, that an HTTP/2 stream is given at once.
const PIECE: usize = 64 * 1024;
/// The largest last piece, in bytes: the client may not yet have room for it when the body is dropped.
const LAST_PIECE: usize = 1024;

/// The body of a reply. Until it is dropped the connection counts as busy and the request as
/// running.
pub(super) struct ReplyBody {
    kind: Kind,
    busy: Option<Busy>,
    place: Option<Place>,
    /// The place that the request takes among those of its principal.
    request: Option<Place>,
    /// HTTP/2 takes a piece of a body, sends it when the client has room, and only then asks for
    /// the next. That shows whether the client reads.
    in_pieces: bool,
}

enum Kind {
    Whole(Option<Bytes>),
    Events(Box<Events>),
}

impl ReplyBody {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            busy: None,
            place: None,
            request: None,
            in_pieces: false,
        }
    }

    fn whole(bytes: Bytes) -> Self {
        Self::new(Kind::Whole((!bytes.is_empty()).then_some(bytes)))
    }

    pub(super) fn holding(mut self, mut busy: Busy) -> Self {
        if let Some(place) = self.place.take() {
            busy.hold(place);
        }
        if let Some(place) = self.request.take() {
            busy.hold_request(place);
        }
        self.in_pieces = busy.is_multiplexed();
        busy.waits_for_room(true);
        self.busy = Some(busy);
        self
    }

    pub(super) fn hold_place(&mut self, place: Place) {
        self.place = Some(place);
    }

    pub(super) fn hold_request(&mut self, place: Place) {
        self.request = Some(place);
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let body = self.get_mut();
        let in_pieces = body.in_pieces;
        let bytes = match &mut body.kind {
            Kind::Whole(Some(bytes)) if in_pieces && bytes.len() > LAST_PIECE => {
                let piece = PIECE.min(bytes.len() - LAST_PIECE);
                Poll::Ready(Some(bytes.split_to(piece)))
            }
            Kind::Whole(bytes) => Poll::Ready(bytes.take()),
            Kind::Events(events) => events.poll_next(context),
        };
        if let Some(busy) = &mut body.busy {
            if let Kind::Events(events) = &mut body.kind
                && let Some(place) = events.answered.take()
            {
                busy.hold_request(place);
            }
            busy.waits_for_room(bytes.is_ready());
        }
        bytes.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.kind, Kind::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Kind::Events(_) => SizeHint::default(),
        }
    }
}

/// A streaming request: its messages and its answer, as server-sent events. Dropping it drops the
/// request.
struct Events {
    exchange: Option<Exchange>,
    /// What is sent before the request's own messages.
    first: Option<Bytes>,
    /// What the request holds until its answer, which was just sent, is written.
    answered: Option<Place>,
    ends: Option<Ends>,
    keep_alive: Interval,
}

/// What ends a stream before its request is done.
pub(super) struct Ends {
    /// The rights to it have ended; that is its answer.
    pub(super) revoked: Pin<Box<dyn Future<Output = Lost> + Send>>,
    /// The request has no more time; that is its answer.
    pub(super) out_of_time: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Events {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(exchange) = &mut self.exchange else {
            return Poll::Ready(None);
        };
        if let Some(ends) = &mut self.ends
            && let Poll::Ready(lost) = ends.revoked.as_mut().poll(context)
        {
            exchange.revoke(&lost);
            // Nothing is sent any more but that, and maybe a farewell.
            self.first = None;
            self.ends = None;
        }
        if let Some(ends) = &mut self.ends
            && ends.out_of_time.as_mut().poll(context).is_ready()
        {
            exchange.stop();
            self.ends = None;
        }
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        match exchange.poll_step(context) {
            Poll::Ready(Step::Sent(message)) => Poll::Ready(Some(event(&message))),
            Poll::Ready(Step::Done(answer)) => {
                self.exchange = None;
                self.answered = answer.place;
                Poll::Ready(answer.message.as_ref().map(event))
            }
            Poll::Pending => self
                .keep_alive
                .poll_tick(context)
                .map(|_| Some(Bytes::from_static(b": alive\n\n"))),
        }
    }
}

/// Frames a message as an event with one data line.
fn event(message: &Bytes) -> Bytes {
    const HEAD: &[u8] = b"event: message\ndata: ";
    let mut event = Vec::with_capacity(HEAD.len() + message.len() + 2);
    event.extend_from_slice(HEAD);
    jsonrpc::append_line(&mut event, message);
    event.extend_from_slice(b"\n\n");
    event.into()
}

/// Streams a request: what it has sent so far, if anything, and then the rest.
pub(super) fn events(
    said: Option<Bytes>,
    exchange: Exchange,
    ends: Ends,
    keep_alive: Duration,
) -> Reply {
    // A stream with nothing to say yet opens with a comment, so that its head is sent.
    let opening = || Bytes::from_static(b": open\n\n");
    let first = said.as_ref().map_or_else(opening, event);
    let mut keep_alive = tokio::time::interval_at(Instant::now() + keep_alive, keep_alive);
    keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let events = Events {
        exchange: Some(exchange),
        first: Some(first),
        answered: None,
        ends: Some(ends),
        keep_alive,
    };
    let mut reply = Response::new(ReplyBody::new(Kind::Events(Box::new(events))));
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    reply
}

/// Replies with a JSON object.
pub(super) fn json(status: u16, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(ReplyBody::whole(body.into()));
    *reply.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == 429 {
        headers.insert(RETRY_AFTER, HeaderValue::from(1));
    }
    reply
}

/// Replies with an empty stream.
pub(super) fn no_events() -> Reply {
    let mut reply = empty(StatusCode::OK);
    reply
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    reply
}

/// Takes the body out of a reply, but keeps its length in the head. HTTP/1 would leave the body out
/// by itself.
pub(super) fn without_body(reply: Reply) -> Reply {
    let (mut parts, mut body) = reply.into_parts();
    if let Some(length) = body.size_hint().exact() {
        parts.headers.insert(CONTENT_LENGTH, length.into());
    }
    body.kind = Kind::Whole(None);
    Response::from_parts(parts, body)
}

/// Replies without a body.
pub(super) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(ReplyBody::whole(Bytes::new()));
    *reply.status_mut() = status;
    reply
}

/// Replies with an error that belongs to no request.
pub(super) fn failure(failure: &Failure) -> Reply {
    json(failure.status, jsonrpc::write_failure(None, failure))
}

/// Refuses a request for a reason at the HTTP level.
pub(super) fn refuse(status: u16, message: impl Into<Cow<'static, str>>) -> Reply {
    failure(&Failure::new(INVALID_REQUEST, message).status(status))
}

/// Makes a reply the last on its connection.
pub(super) fn closing(mut reply: Reply) -> Reply {
    let close = HeaderValue::from_static("close");
    reply.headers_mut().insert(CONNECTION, close);
    reply
}

/// Refuses a method, naming those that the path has.
pub(super) fn method_not_allowed(allowed: &'static str) -> Reply {
    let told = format!("this path does not have this method; it takes {allowed}");
    let mut reply = refuse(405, told);
    reply
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    reply
}

/// Refuses credentials, in the form of RFC 6750, section 3.
pub(super) fn unauthorized(refusal: &Refusal, realm: &str) -> Reply {
    denied(refusal, realm, refusal.message().into())
}

/// Replies that the principal lost its rights while its request was served.
pub(super) fn cut_short(refusal: &Refusal, realm: &str) -> Reply {
    denied(refusal, realm, lost(refusal))
}

/// The same, as the answer of a request whose stream has begun.
pub(super) fn lost_midway(refusal: &Refusal) -> Lost {
    Lost {
        failure: Failure::new(INVALID_REQUEST, lost(refusal)).status(refusal.status()),
        has_others: matches!(refusal, Refusal::Unavailable(_)),
    }
}

fn lost(refusal: &Refusal) -> Cow<'static, str> {
    match refusal {
        // The reason says so itself.
        Refusal::Unavailable(reason) => (*reason).into(),
        _ => format!(
            "{}; this came while the request was served: if it was to change something, that may be done or not",
            refusal.message()
        )
        .into(),
    }
}

fn denied(refusal: &Refusal, realm: &str, message: Cow<'static, str>) -> Reply {
    let mut reply = refuse(refusal.status(), message);
    let headers = reply.headers_mut();
    match refusal {
        Refusal::TooManyFailures { retry_after } => {
            let seconds = retry_after.as_millis().div_ceil(1000).max(1);
            let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        Refusal::Unavailable(_) => {
            headers.insert(RETRY_AFTER, HeaderValue::from(1));
        }
        // Other credentials would not help, so none are asked for.
        Refusal::Forbidden(_) => {}
        Refusal::Missing | Refusal::Malformed | Refusal::Unknown | Refusal::Expired => {
            headers.insert(WWW_AUTHENTICATE, challenge(refusal, realm));
        }
    }
    reply
}

fn challenge(refusal: &Refusal, realm: &str) -> HeaderValue {
    let realm: String = realm
        .chars()
        .filter(|c| matches!(c, ' '..='~') && !matches!(c, '"' | '\\'))
        .collect();
    let challenge = match refusal {
        Refusal::Missing => format!("Bearer realm=\"{realm}\""),
        _ => format!(
            "Bearer realm=\"{realm}\", error=\"invalid_token\", error_description=\"{}\"",
            refusal.message()
        ),
    };
    HeaderValue::from_str(&challenge).unwrap_or_else(|_| HeaderValue::from_static("Bearer"))
}
