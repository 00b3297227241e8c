//! One request over HTTP, from its head to its reply.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{
    ACCEPT, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    ORIGIN, VARY,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};

use super::gate::{self, Source};
use super::options::Options;
use super::reply::{self, Reply};
use crate::auth::{Authenticate, Bearer, Credentials, Principal, Refusal};
use crate::exchange::Step;
use crate::handler::Handler;
use crate::jsonrpc::{self, Failure, Message, Payload};
use crate::revision::Revision;
use crate::service::{Scope, Service};

const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// The methods of the MCP endpoint.
const METHODS: &str = "POST, OPTIONS";
/// The longest bearer token in bytes.
const MAX_TOKEN_BYTES: usize = 512;

/// What every request of a server shares.
pub(super) struct Endpoint<H, A> {
    service: Arc<Service<H>>,
    authenticator: A,
    pub(super) options: Options,
}

impl<H: Handler, A: Authenticate<Principal = H::Principal>> Endpoint<H, A> {
    pub(super) fn new(service: Arc<Service<H>>, authenticator: A, options: Options) -> Self {
        Self {
            service,
            authenticator,
            options,
        }
    }

    /// Answers a request.
    pub(super) async fn respond(&self, request: Request<Incoming>, peer: IpAddr) -> Reply {
        let (parts, body) = request.into_parts();
        let source = match gate::check(&parts, &self.options) {
            Ok(source) => source,
            Err(turned) => return reply::refuse(turned.status, turned.message),
        };
        let mut reply = self.route(&parts, body, peer).await;
        if let Source::Page(origin) = &source {
            allow_page(reply.headers_mut(), origin);
        }
        reply
    }

    async fn route(&self, parts: &Parts, body: Incoming, peer: IpAddr) -> Reply {
        let path = parts.uri.path();
        if self.options.health_path.as_deref() == Some(path) {
            return self.health(parts).await;
        }
        if !self.options.paths.iter().any(|endpoint| endpoint == path) {
            return reply::refuse(404, "there is nothing at this path");
        }
        if parts.method == Method::OPTIONS {
            return preflight(&parts.headers);
        }
        let credentials = credentials(&parts.headers);
        let principal = match self.authenticator.authenticate(credentials, peer).await {
            Ok(principal) => principal,
            Err(refusal) => {
                tracing::debug!(%peer, ?refusal, "refused credentials");
                return self.unauthorized(&refusal);
            }
        };
        // From here on the principal may lose its rights at any moment.
        tokio::select! {
            biased;
            () = principal.revoked() => self.unauthorized(&Refusal::Unknown),
            reply = self.take(parts, body, principal.clone()) => reply,
        }
    }

    async fn health(&self, parts: &Parts) -> Reply {
        if !matches!(parts.method, Method::GET | Method::HEAD) {
            return reply::method_not_allowed("GET, HEAD");
        }
        let health = self.service.handler.health().await;
        let body = serde_json::to_vec(&health.body).expect("a JSON object can be written");
        reply::json(health.status, body)
    }

    fn unauthorized(&self, refusal: &Refusal) -> Reply {
        reply::unauthorized(refusal, &self.service.handler.server().name)
    }

    /// Takes the request of an authenticated principal.
    async fn take(&self, parts: &Parts, body: Incoming, principal: H::Principal) -> Reply {
        if parts.method != Method::POST {
            return reply::method_not_allowed(METHODS);
        }
        if !is_json(&parts.headers) {
            return reply::refuse(
                415,
                "the body must be sent as Content-Type: application/json",
            );
        }
        let Some(accepted) = Accepted::read(&parts.headers) else {
            return reply::refuse(406, "accept application/json or text/event-stream");
        };
        let body = match self.read(body).await {
            Ok(body) => body,
            Err(refused) => return reply::failure(&refused),
        };
        let message = match jsonrpc::read(&body) {
            Ok(Payload::Single(Ok(message))) => message,
            Ok(Payload::Single(Err(rejected))) => {
                let text = jsonrpc::write_failure(rejected.id.as_ref(), &rejected.failure);
                return reply::json(rejected.failure.status, text);
            }
            Ok(Payload::Batch(_)) => {
                return reply::failure(&Failure::malformed(
                    "batches are not part of this revision",
                ));
            }
            Err(failure) => return reply::failure(&failure),
        };
        match message {
            Message::Notification(_) => reply::empty(StatusCode::ACCEPTED),
            Message::Response(_) => reply::refuse(400, "nothing was asked of this client"),
            Message::Request(request) => {
                let revision = match revision(&parts.headers) {
                    Ok(revision) => revision,
                    Err(failure) => {
                        let text = jsonrpc::write_failure(Some(&request.id), &failure);
                        return reply::json(failure.status, text);
                    }
                };
                self.answer(
                    request,
                    Scope {
                        principal,
                        revision,
                    },
                    accepted,
                )
                .await
            }
        }
    }

    /// Runs a request to its first message, which decides between an object and a stream.
    async fn answer(
        &self,
        request: jsonrpc::Request,
        scope: Scope<H::Principal>,
        accepted: Accepted,
    ) -> Reply {
        let principal = scope.principal.clone();
        let mut exchange = self.service.start(request, scope);
        if !accepted.streams {
            exchange.answer_only();
        }
        match exchange.step().await {
            Step::Done(answer) => reply::json(answer.status, answer.message),
            Step::Sent(first) => {
                let revoked = async move { principal.revoked().await };
                reply::events(first, exchange, revoked, self.options.keep_alive_interval)
            }
        }
    }

    /// Reads a body within its limits of size and time.
    async fn read(&self, mut body: Incoming) -> Result<Bytes, Failure> {
        let limit = self.options.max_body_bytes;
        let too_long =
            || Failure::malformed("the body is longer than the server takes").status(413);
        if body.size_hint().lower() > limit as u64 {
            return Err(too_long());
        }
        let collect = async {
            let mut first = Bytes::new();
            let mut rest = BytesMut::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| {
                    tracing::debug!(%error, "a body broke off");
                    Failure::malformed("the body broke off")
                })?;
                let Ok(data) = frame.into_data() else {
                    continue;
                };
                if first.len() + rest.len() + data.len() > limit {
                    return Err(too_long());
                }
                // Most bodies come in one piece, which is then used as it is.
                if first.is_empty() && rest.is_empty() {
                    first = data;
                } else {
                    rest.extend_from_slice(&std::mem::take(&mut first));
                    rest.extend_from_slice(&data);
                }
            }
            Ok(if rest.is_empty() {
                first
            } else {
                rest.freeze()
            })
        };
        tokio::time::timeout(self.options.body_timeout, collect)
            .await
            .unwrap_or_else(|_| {
                Err(Failure::malformed("the body took too long to arrive").status(408))
            })
    }
}

/// Splits the one `Authorization` header.
fn credentials(headers: &HeaderMap) -> Credentials<'_> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Credentials::None;
    };
    let token = value
        .to_str()
        .ok()
        .filter(|_| values.next().is_none())
        .and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme
                .eq_ignore_ascii_case("bearer")
                .then_some(token.trim_matches(' '))
        });
    // The characters of RFC 6750's `b64token`.
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    match token {
        Some(token)
            if (1..=MAX_TOKEN_BYTES).contains(&token.len()) && token.bytes().all(allowed) =>
        {
            Credentials::Bearer(Bearer(token))
        }
        _ => Credentials::Malformed,
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let value = values
        .next()
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    values.next().is_none() && essence(value).eq_ignore_ascii_case("application/json")
}

/// Gives a media type without its parameters.
fn essence(value: &str) -> &str {
    value.split(';').next().unwrap_or_default().trim()
}

/// The forms of reply that a client takes.
#[derive(Clone, Copy, Debug)]
struct Accepted {
    /// The client names event streams. One that only says `*/*`, or nothing, expects an object.
    streams: bool,
}

impl Accepted {
    /// Reads what `Accept` allows; nothing that can be served is `None`.
    fn read(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(ACCEPT).iter().peekable();
        if values.peek().is_none() {
            return Some(Self { streams: false });
        }
        let (mut any, mut streams) = (false, false);
        for range in values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|list| list.split(','))
        {
            match essence(range).to_ascii_lowercase().as_str() {
                "text/event-stream" | "text/*" => streams = true,
                "application/json" | "application/*" | "*/*" => any = true,
                _ => {}
            }
        }
        (any || streams).then_some(Self { streams })
    }
}

/// Gives the revision that a request without a session is served at.
fn revision(headers: &HeaderMap) -> Result<Revision, Failure> {
    let Some(value) = headers.get(PROTOCOL_VERSION) else {
        return Ok(Revision::V2024_11_05);
    };
    let name = String::from_utf8_lossy(value.as_bytes());
    Revision::parse(&name)
        .filter(|revision| !revision.is_modern())
        .ok_or_else(|| {
            Failure::malformed(format!(
                "the revision `{name}` in MCP-Protocol-Version is not served"
            ))
        })
}

/// Answers the question that a browser asks before it lets a page call.
fn preflight(headers: &HeaderMap) -> Reply {
    if !headers.contains_key(ORIGIN) || !headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
        return reply::method_not_allowed(METHODS);
    }
    let mut reply = reply::empty(StatusCode::NO_CONTENT);
    let headers = reply.headers_mut();
    headers.insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, POST, DELETE, OPTIONS"),
    );
    headers.insert(
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static(
            "authorization, content-type, accept, mcp-protocol-version, mcp-session-id, \
             mcp-method, mcp-name, last-event-id",
        ),
    );
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    reply
}

/// Lets a page of an allowed origin read the reply.
fn allow_page(headers: &mut HeaderMap, origin: &str) {
    if let Ok(origin) = HeaderValue::from_str(origin) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    headers.insert(VARY, HeaderValue::from_static("Origin"));
    headers.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("mcp-session-id, www-authenticate"),
    );
}
