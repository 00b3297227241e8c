//! Answers browsers that ask whether a web page may call.

use hyper::StatusCode;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue, ORIGIN, VARY,
};

use super::reply::{self, Reply};

/// The headers that a page may send, besides `Mcp-Param-*`.
const HEADERS: &str = "authorization, content-type, accept, mcp-protocol-version, mcp-session-id, \
                       mcp-method, mcp-name, last-event-id";

/// Answers a CORS preflight request.
pub(super) fn preflight(asked: &HeaderMap, methods: &'static str) -> Reply {
    if !asked.contains_key(ORIGIN) || !asked.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
        return reply::method_not_allowed(methods);
    }
    let mut reply = reply::empty(StatusCode::NO_CONTENT);
    let headers = reply.headers_mut();
    headers.insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static(methods),
    );
    let allowed = HeaderValue::from_str(&allowed_headers(asked));
    let allowed = allowed.unwrap_or_else(|_| HeaderValue::from_static(HEADERS));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    reply
}

/// Adds the `Mcp-Param-*` headers that the page wants to send; they have no fixed names.
fn allowed_headers(asked: &HeaderMap) -> String {
    let wanted = asked
        .get(ACCESS_CONTROL_REQUEST_HEADERS)
        .and_then(|value| value.to_str().ok());
    let parameters = wanted
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|name| name.len() <= 64 && name.to_ascii_lowercase().starts_with("mcp-param-"));
    parameters
        .take(32)
        .fold(HEADERS.to_owned(), |list, name| format!("{list}, {name}"))
}

/// Lets a page of an allowed origin read the reply.
pub(super) fn allow_page(headers: &mut HeaderMap, origin: &str) {
    if let Ok(origin) = HeaderValue::from_str(origin) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    headers.insert(VARY, HeaderValue::from_static("Origin"));
    headers.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("mcp-session-id, www-authenticate"),
    );
}
