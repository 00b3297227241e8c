//! Which era a request belongs to, and what 2026-07-28 requires of its envelope.
//!
//! The body decides, message by message; headers are only checked against it.

use std::sync::Arc;

use base64ct::{Base64, Encoding};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::client::{self, ClientCapabilities};
use crate::jsonrpc::{Failure, HEADER_MISMATCH, Request, UNSUPPORTED_VERSION};
use crate::methods::{self, NamedBy};
use crate::model::HeaderParameter;
use crate::params::{Meta, Params};
use crate::revision::Revision;

const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
pub(crate) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");

/// How a request opens.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Era {
    /// Names its revision and capabilities in `_meta`.
    Modern,
    /// After a handshake, or without one in the revision that the header names.
    Legacy(Option<Revision>),
}

/// Tells the era of a request from the revision that its `_meta` claims; on stdio there are no
/// headers.
pub(crate) fn classify(
    claim: Option<&RawValue>,
    method: &str,
    headers: Option<&HeaderMap>,
) -> Result<Era, Failure> {
    if claim.is_some() {
        return Ok(Era::Modern);
    }
    let Some(header) = headers.and_then(|headers| headers.get(PROTOCOL_VERSION)) else {
        return Ok(Era::Legacy(None));
    };
    let named = String::from_utf8_lossy(header.as_bytes());
    match Revision::parse(&named) {
        Some(revision) if !revision.is_modern() => Ok(Era::Legacy(Some(revision))),
        Some(revision) if method == "initialize" => Err(mismatch(format!(
            "MCP-Protocol-Version is {revision}, which has no `initialize`; send `server/discover`"
        ))),
        Some(revision) => Err(Failure::invalid_params(format!(
            "{revision} demands `io.modelcontextprotocol/protocolVersion` and \
             `io.modelcontextprotocol/clientCapabilities` in `_meta`"
        ))
        .status(400)),
        None if method == "initialize" => Ok(Era::Legacy(None)),
        None if headers.is_some_and(|headers| headers.contains_key(SESSION_ID)) => {
            Err(unknown_revision(&named))
        }
        None => Err(unsupported(&named)),
    }
}

/// Tells whether a request without a body, such as GET, comes from a modern client.
pub(crate) fn is_modern(headers: &HeaderMap) -> bool {
    let named = headers
        .get(PROTOCOL_VERSION)
        .and_then(|value| value.to_str().ok());
    named
        .and_then(Revision::parse)
        .is_some_and(Revision::is_modern)
}

/// Refuses an unknown revision that something other than a request names.
pub(crate) fn check_named(headers: &HeaderMap) -> Result<(), Failure> {
    match headers.get(PROTOCOL_VERSION) {
        Some(header) if named(headers).is_none() => Err(unknown_revision(
            &String::from_utf8_lossy(header.as_bytes()),
        )),
        _ => Ok(()),
    }
}

fn unknown_revision(named: &str) -> Failure {
    Failure::malformed(format!(
        "MCP-Protocol-Version names no known revision: `{named}`"
    ))
}

/// Returns the revision that the header names, if it is known.
pub(crate) fn named(headers: &HeaderMap) -> Option<Revision> {
    let named = headers
        .get(PROTOCOL_VERSION)
        .and_then(|value| value.to_str().ok());
    named.and_then(Revision::parse)
}

/// What a modern request says about its client.
#[derive(Clone, Debug)]
pub(crate) struct Claims {
    pub(crate) revision: Revision,
    pub(crate) client: ClientCapabilities,
    pub(crate) client_name: Option<Arc<str>>,
}

/// Checks the envelope of a modern request. Clients see the order of the checks: a missing key
/// comes before a mismatch, and that before an unknown revision.
pub(crate) fn check(
    request: &Request,
    params: &Params<'_>,
    meta: &Meta<'_>,
    headers: Option<&HeaderMap>,
) -> Result<Claims, Failure> {
    let bad = |message: &'static str| Failure::invalid_params(message).status(400);
    let parse = |raw: &RawValue| serde_json::from_str::<Value>(raw.get()).unwrap_or_default();
    let claimed = meta.protocol_version.map(parse);
    let Some(Value::String(claimed)) = claimed else {
        return Err(bad(
            "`io.modelcontextprotocol/protocolVersion` must be a string",
        ));
    };
    let Some(declared @ Value::Object(_)) = meta.client_capabilities.map(parse) else {
        return Err(bad(
            "`io.modelcontextprotocol/clientCapabilities` must be an object",
        ));
    };
    if let Some(headers) = headers {
        expect(headers, &PROTOCOL_VERSION, &claimed)?;
    }
    let revision = Revision::parse(&claimed).filter(|revision| revision.is_modern());
    let revision = revision.ok_or_else(|| unsupported(&claimed))?;
    if let Some(headers) = headers {
        expect(headers, &METHOD, &request.method)?;
        let named_by = methods::named(&request.method).and_then(|entry| entry.named_by);
        let name = named_by.and_then(|named_by| match named_by {
            NamedBy::Name => params.name,
            NamedBy::Uri => params.uri,
            NamedBy::TaskId => params.task_id,
        });
        if let Some(name) = name.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok()) {
            expect(headers, &NAME, &name)?;
        }
    }
    Ok(Claims {
        revision,
        client: ClientCapabilities::read(&declared, revision),
        client_name: client::name(meta.client_info),
    })
}

/// Checks that the `Mcp-Param-*` headers repeat the arguments that the tool's schema marks.
pub(crate) fn check_parameters(
    marked: &[HeaderParameter],
    arguments: &RawValue,
    headers: &HeaderMap,
) -> Result<(), Failure> {
    if marked.is_empty() {
        return Ok(());
    }
    let arguments: Value = serde_json::from_str(arguments.get())
        .map_err(|error| Failure::invalid_params(format!("`arguments` cannot be read: {error}")))?;
    for parameter in marked {
        let name = HeaderName::from_bytes(format!("mcp-param-{}", parameter.header).as_bytes())
            .expect("the schema's header names were checked");
        let argument = arguments
            .pointer(&parameter.pointer)
            .filter(|value| !value.is_null());
        let Some(argument) = argument else {
            if headers.contains_key(&name) {
                return Err(mismatch(format!("the header {name} repeats no argument")));
            }
            continue;
        };
        let sent = single(headers, &name)?;
        let equal = match argument {
            Value::String(text) => *text == sent,
            Value::Bool(flag) => flag.to_string() == sent,
            Value::Number(number) => sent
                .parse::<i64>()
                .is_ok_and(|sent| number.as_i64() == Some(sent)),
            _ => false,
        };
        if !equal {
            return Err(mismatch(format!(
                "the header {name} differs from its argument"
            )));
        }
    }
    Ok(())
}

/// Checks that a header occurs once and says `expected`.
fn expect(headers: &HeaderMap, name: &HeaderName, expected: &str) -> Result<(), Failure> {
    if single(headers, name)? == expected {
        Ok(())
    } else {
        Err(mismatch(format!("the header {name} differs from the body")))
    }
}

fn single(headers: &HeaderMap, name: &HeaderName) -> Result<String, Failure> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().filter(|_| values.next().is_none());
    let value = value.ok_or_else(|| mismatch(format!("the header {name} must be sent once")))?;
    decode(value).ok_or_else(|| mismatch(format!("the header {name} is not well encoded")))
}

/// Reads a header's text, which is Base64 if it does not fit into a header.
fn decode(value: &HeaderValue) -> Option<String> {
    let text = value.to_str().ok()?.trim_matches([' ', '\t']);
    let encoded = text
        .strip_prefix("=?base64?")
        .and_then(|rest| rest.strip_suffix("?="));
    match encoded {
        Some(encoded) => String::from_utf8(Base64::decode_vec(encoded).ok()?).ok(),
        None => Some(text.to_owned()),
    }
}

fn mismatch(message: String) -> Failure {
    Failure::new(HEADER_MISMATCH, message).status(400)
}

fn unsupported(requested: &str) -> Failure {
    Failure::new(
        UNSUPPORTED_VERSION,
        format!(
            "there is no revision `{requested}` for requests without `initialize`; see `supported`"
        ),
    )
    .data(json!({ "supported": Revision::modern_names(), "requested": requested }))
    .status(400)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn header_values_are_decoded_as_the_table_says() {
        for (value, text) in [
            ("tool", Some("tool")),
            ("=?base64?SGVsbG8=?=", Some("Hello")),
            ("=?base64?w6k=?=", Some("é")),
            ("=?base64?SGVsbG8?=", None),
            ("=?base64?SGVs!!!bG8=?=", None),
            ("=?base64?/w==?=", None),
            ("SGVsbG8=", Some("SGVsbG8=")),
            ("=?base64?SGVsbG8=", Some("=?base64?SGVsbG8=")),
            ("=?BASE64?SGVsbG8=?=", Some("=?BASE64?SGVsbG8=?=")),
            ("=?base64?=", Some("=?base64?=")),
            ("=?base64??=", Some("")),
        ] {
            assert_eq!(decode(&value.parse().unwrap()).as_deref(), text, "{value}");
        }
        assert_eq!(decode(&HeaderValue::from_bytes(b"\xe9").unwrap()), None);
    }

    #[test]
    fn the_body_decides_the_era() {
        let claim = RawValue::from_string("7".to_owned()).unwrap();
        let session = Some("x");
        for (claimed, header, session, method, expected) in [
            (true, None, None, "tools/list", Ok(Era::Modern)),
            (
                true,
                Some("2025-06-18"),
                session,
                "initialize",
                Ok(Era::Modern),
            ),
            (false, Some("2026-07-28"), None, "tools/list", Err(-32602)),
            (
                false,
                Some("2026-07-28"),
                session,
                "initialize",
                Err(-32020),
            ),
            (false, Some("1999-01-01"), None, "tools/list", Err(-32022)),
            (
                false,
                Some("1999-01-01"),
                session,
                "tools/list",
                Err(-32600),
            ),
            (
                false,
                Some("1999-01-01"),
                None,
                "initialize",
                Ok(Era::Legacy(None)),
            ),
            (false, None, None, "initialize", Ok(Era::Legacy(None))),
            (false, None, session, "tools/list", Ok(Era::Legacy(None))),
            (
                false,
                Some("2025-03-26"),
                None,
                "x",
                Ok(Era::Legacy(Some(Revision::V2025_03_26))),
            ),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(header) = header {
                headers.insert(PROTOCOL_VERSION, header.parse().unwrap());
            }
            if let Some(session) = session {
                headers.insert(SESSION_ID, session.parse().unwrap());
            }
            let claim = claimed.then_some(&*claim);
            let era = classify(claim, method, Some(&headers)).map_err(|failure| failure.code);
            assert_eq!(era, expected, "{claimed} {header:?} {session:?} {method}");
        }
    }
}
