//! What the head of a request says: its credentials, the type of its body, and the kinds of reply that it accepts.

use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue,
};

use crate::auth::{Bearer, Credentials};

/// The longest bearer token in bytes.
const MAX_TOKEN_BYTES: usize = 512;

/// The characters of RFC 6750's `b64token`.
const IN_TOKEN: [bool; 256] = {
    let mut bytes = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        bytes[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=');
        byte += 1;
    }
    bytes
};

/// Reads the `Authorization` header, of which there must be one.
pub(super) fn credentials(headers: &HeaderMap) -> Credentials<'_> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Credentials::None;
    };
    match bearer_token(value.as_bytes()).filter(|_| values.next().is_none()) {
        Some(token) => Credentials::Bearer(Bearer(token)),
        None => Credentials::Malformed,
    }
}

/// Reads the token of a value such as `Bearer b64token` (RFC 6750, section 2.1).
fn bearer_token(value: &[u8]) -> Option<&str> {
    const SCHEME: &[u8] = b"bearer ";
    let (scheme, token) = value.split_at_checked(SCHEME.len())?;
    let token = str::from_utf8(token.trim_ascii()).ok()?;
    let is_token = scheme.eq_ignore_ascii_case(SCHEME)
        && (1..=MAX_TOKEN_BYTES).contains(&token.len())
        && token.bytes().all(|byte| IN_TOKEN[usize::from(byte)]);
    is_token.then_some(token)
}

/// Returns whether the body is declared as JSON.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let value = values.next().map_or(&[][..], HeaderValue::as_bytes);
    values.next().is_none() && essence(value).eq_ignore_ascii_case(b"application/json")
}

/// Says whether the body is sent as it is, not compressed.
pub(super) fn is_plain(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    codings.all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// Returns a media type without its parameters.
fn essence(value: &[u8]) -> &[u8] {
    let end = value.iter().position(|byte| *byte == b';');
    value[..end.unwrap_or(value.len())].trim_ascii()
}

/// Says whether a media range is refused: its weight is zero (RFC 9110, section 12.4.2).
fn is_refused(range: &[u8]) -> bool {
    let weight = |parameter: &[u8]| {
        let parameter = parameter.trim_ascii();
        let digits = parameter
            .strip_prefix(b"q=")
            .or(parameter.strip_prefix(b"Q="))?;
        Some(digits.iter().all(|byte| matches!(byte, b'0' | b'.')))
    };
    let mut parameters = range.split(|byte| *byte == b';').skip(1);
    parameters.find_map(weight).unwrap_or(false)
}

/// The kinds of reply that a client accepts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Accepted {
    /// The client accepts everything.
    pub(super) anything: bool,
    /// The client names event streams. One that says only `*/*`, or nothing, expects a JSON object.
    pub(super) streams: bool,
}

impl Accepted {
    /// What clients of the protocol must send, mostly in these words.
    const USUAL: &[u8] = b"application/json, text/event-stream";

    /// Reads what `Accept` allows; `None` if nothing that it allows can be served.
    pub(super) fn read(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(ACCEPT).iter().peekable();
        let Some(first) = values.peek() else {
            return Some(Self {
                anything: true,
                streams: false,
            });
        };
        // Whatever further values add would change nothing.
        if first.as_bytes() == Self::USUAL {
            return Some(Self {
                anything: false,
                streams: true,
            });
        }
        let (mut anything, mut objects, mut streams) = (false, false, false);
        for range in values.flat_map(|list| list.as_bytes().split(|byte| *byte == b',')) {
            if is_refused(range) {
                continue;
            }
            let range = essence(range);
            let is = |name: &[u8]| range.eq_ignore_ascii_case(name);
            streams |= is(b"text/event-stream") || is(b"text/*");
            objects |= is(b"application/json") || is(b"application/*");
            anything |= is(b"*/*");
        }
        (anything || objects || streams).then_some(Self { anything, streams })
    }
}
