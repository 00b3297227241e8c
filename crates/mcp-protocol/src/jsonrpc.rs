//! JSON-RPC 2.0 envelopes: one reading of what comes in, one writing of what goes out.

use std::borrow::Cow;

use bytes::Bytes;
use serde::de::Deserializer;
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::Number;
use serde_json::value::RawValue;

/// The deepest nesting of arrays and objects that a message may have.
pub(crate) const MAX_DEPTH: usize = 100;

/// The identifier of a request, echoed with its type and value unchanged.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub(crate) enum Id {
    Number(Number),
    Text(String),
}

impl Id {
    pub(crate) fn read(raw: &RawValue) -> Option<Self> {
        if let Ok(text) = serde_json::from_str::<String>(raw.get()) {
            return Some(Self::Text(text));
        }
        let number = serde_json::from_str::<Number>(raw.get()).ok()?;
        (number.is_i64() || number.is_u64()).then_some(Self::Number(number))
    }
}

/// A JSON-RPC error object, with the HTTP status that goes with it where a revision names one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Failure {
    pub(crate) code: i64,
    pub(crate) message: Cow<'static, str>,
    pub(crate) data: Option<Box<serde_json::Value>>,
    /// 200 for errors that are the result of a well-formed exchange.
    pub(crate) status: u16,
}

pub(crate) const PARSE_ERROR: i64 = -32700;
pub(crate) const INVALID_REQUEST: i64 = -32600;
pub(crate) const METHOD_NOT_FOUND: i64 = -32601;
pub(crate) const INVALID_PARAMS: i64 = -32602;
pub(crate) const INTERNAL_ERROR: i64 = -32603;
/// Until 2025-11-25; later [`INVALID_PARAMS`].
pub(crate) const RESOURCE_NOT_FOUND: i64 = -32002;
/// Since 2026-07-28.
pub(crate) const HEADER_MISMATCH: i64 = -32020;
/// Since 2026-07-28.
pub(crate) const MISSING_CAPABILITY: i64 = -32021;
/// Since 2026-07-28.
pub(crate) const UNSUPPORTED_VERSION: i64 = -32022;

impl Failure {
    pub(crate) fn new(code: i64, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
            status: 200,
        }
    }

    pub(crate) fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn data(mut self, data: serde_json::Value) -> Self {
        self.data = Some(Box::new(data));
        self
    }

    /// An error of the message itself, which HTTP answers with 400.
    pub(crate) fn malformed(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(INVALID_REQUEST, message).status(400)
    }

    pub(crate) fn invalid_params(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(INVALID_PARAMS, message)
    }

    pub(crate) fn internal() -> Self {
        Self::new(INTERNAL_ERROR, "internal error").status(500)
    }
}

impl Serialize for Failure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("code", &self.code)?;
        map.serialize_entry("message", &self.message)?;
        if let Some(data) = &self.data {
            map.serialize_entry("data", data)?;
        }
        map.end()
    }
}

/// A message from the other side.
#[derive(Debug)]
pub(crate) enum Message {
    Request(Request),
    Notification(Notification),
    Response(Response),
}

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) id: Id,
    pub(crate) method: String,
    /// An object, as the client wrote it.
    pub(crate) params: Option<Box<RawValue>>,
}

#[derive(Debug)]
pub(crate) struct Notification {
    pub(crate) method: String,
    pub(crate) params: Option<Box<RawValue>>,
}

/// The client's answer to a request of the server.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) id: Id,
    pub(crate) outcome: Result<Box<RawValue>, Box<RawValue>>,
}

/// A message that cannot be taken, with its identifier if that could be read.
#[derive(Debug)]
pub(crate) struct Rejected {
    pub(crate) id: Option<Id>,
    pub(crate) failure: Failure,
}

impl Rejected {
    /// Writes the error response.
    pub(crate) fn write(&self) -> Vec<u8> {
        write_failure(self.id.as_ref(), &self.failure)
    }
}

impl From<Failure> for Rejected {
    fn from(failure: Failure) -> Self {
        Self { id: None, failure }
    }
}

/// One message, or the array of them that 2025-03-26 allows.
#[derive(Debug)]
pub(crate) enum Payload {
    Single(Result<Message, Rejected>),
    Batch(Vec<Result<Message, Rejected>>),
}

/// Reads what a body or a line holds.
pub(crate) fn read(text: &[u8]) -> Result<Payload, Failure> {
    if too_deep(text) {
        return Err(Failure::malformed(format!(
            "the message nests deeper than {MAX_DEPTH} levels"
        )));
    }
    if text.trim_ascii_start().first() == Some(&b'[') {
        let entries: Vec<&RawValue> = parse(text)?;
        return Ok(Payload::Batch(
            entries
                .into_iter()
                .map(|entry| read_message(entry.get().as_bytes()))
                .collect(),
        ));
    }
    match read_message(text) {
        Err(rejected) if rejected.failure.code == PARSE_ERROR => Err(rejected.failure),
        message => Ok(Payload::Single(message)),
    }
}

fn read_message(text: &[u8]) -> Result<Message, Rejected> {
    let envelope: Envelope<'_> = parse(text)?;
    envelope.open()
}

fn parse<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice(text).map_err(|error| {
        if error.is_data() {
            Failure::malformed(format!("not a JSON-RPC message: {error}"))
        } else {
            Failure::new(PARSE_ERROR, format!("not valid JSON: {error}")).status(400)
        }
    })
}

/// Every field is kept raw so that a wrong type is told apart from an absent field, and a duplicate
/// of any of them is an error.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'a RawValue>,
}

/// Keeps `null` apart from absence.
pub(crate) fn present<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl Envelope<'_> {
    fn open(self) -> Result<Message, Rejected> {
        let id = match self.id {
            None => None,
            Some(raw) => match Id::read(raw) {
                Some(id) => Some(id),
                None => {
                    return Err(Failure::malformed("`id` must be a string or an integer").into());
                }
            },
        };
        let reject = |id: Option<Id>, failure| Err(Rejected { id, failure });
        if self
            .jsonrpc
            .is_none_or(|version| version.get() != "\"2.0\"")
        {
            return reject(id, Failure::malformed("`jsonrpc` must be \"2.0\""));
        }
        let Some(method) = self.method else {
            return match (id, self.result, self.error) {
                (Some(id), Some(result), None) => Ok(Message::Response(Response {
                    id,
                    outcome: Ok(result.to_owned()),
                })),
                (Some(id), None, Some(error)) => Ok(Message::Response(Response {
                    id,
                    outcome: Err(error.to_owned()),
                })),
                (id, ..) => reject(id, Failure::malformed("`method` is missing")),
            };
        };
        let Ok(method) = serde_json::from_str::<String>(method.get()) else {
            return reject(id, Failure::malformed("`method` must be a string"));
        };
        let params = match self.params {
            None => None,
            Some(raw) if raw.get() == "null" => None,
            Some(raw) if raw.get().starts_with('{') => Some(raw.to_owned()),
            Some(_) => {
                let failure = Failure::invalid_params("`params` must be an object").status(400);
                return reject(id, failure);
            }
        };
        Ok(match id {
            Some(id) => Message::Request(Request { id, method, params }),
            None => Message::Notification(Notification { method, params }),
        })
    }
}

/// Tells whether brackets nest deeper than [`MAX_DEPTH`]: raw values are skipped without recursion,
/// so the parser itself would not notice.
fn too_deep(text: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Writes a successful response.
pub(crate) fn write_result(id: &Id, result: &impl Serialize) -> Vec<u8> {
    #[derive(Serialize)]
    struct Success<'a, R> {
        jsonrpc: &'static str,
        id: &'a Id,
        result: &'a R,
    }
    write(&Success {
        jsonrpc: "2.0",
        id,
        result,
    })
}

/// Writes an error response; `id` is left out when it could not be read, never null.
pub(crate) fn write_failure(id: Option<&Id>, failure: &Failure) -> Vec<u8> {
    #[derive(Serialize)]
    struct Error<'a> {
        jsonrpc: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a Id>,
        error: &'a Failure,
    }
    write(&Error {
        jsonrpc: "2.0",
        id,
        error: failure,
    })
}

/// Writes a notification.
pub(crate) fn write_notification(method: &str, params: &impl Serialize) -> Vec<u8> {
    #[derive(Serialize)]
    struct Notification<'a, P> {
        jsonrpc: &'static str,
        method: &'a str,
        params: &'a P,
    }
    write(&Notification {
        jsonrpc: "2.0",
        method,
        params,
    })
}

/// Writes a request to the client.
pub(crate) fn write_request(id: &Id, method: &str, params: &impl Serialize) -> Vec<u8> {
    #[derive(Serialize)]
    struct Request<'a, P> {
        jsonrpc: &'static str,
        id: &'a Id,
        method: &'a str,
        params: &'a P,
    }
    write(&Request {
        jsonrpc: "2.0",
        id,
        method,
        params,
    })
}

fn write(message: &impl Serialize) -> Vec<u8> {
    let mut text = Vec::with_capacity(256);
    serde_json::to_writer(&mut text, message)
        .expect("protocol messages have string keys and no failing serializers");
    text
}

/// Joins responses into the array that answers a batch; there is none without responses.
pub(crate) fn join<'a>(responses: impl Iterator<Item = &'a Bytes>) -> Option<Vec<u8>> {
    let mut array = Vec::new();
    for response in responses {
        array.push(if array.is_empty() { b'[' } else { b',' });
        array.extend_from_slice(response);
    }
    if array.is_empty() {
        return None;
    }
    array.push(b']');
    Some(array)
}

/// Appends a message as one line: line breaks stand only between its tokens, in raw parts that a
/// handler or a tool's author laid out over several lines.
pub(crate) fn append_line(line: &mut Vec<u8>, message: &[u8]) {
    let start = line.len();
    line.extend_from_slice(message);
    for byte in &mut line[start..] {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rejected(text: &str) -> (i64, Option<Id>) {
        match read(text.as_bytes()) {
            Err(failure) => (failure.code, None),
            Ok(Payload::Single(Err(rejected))) => (rejected.failure.code, rejected.id),
            other => panic!("{text} was taken as {other:?}"),
        }
    }

    #[test]
    fn what_is_not_a_message_is_refused_with_the_right_code() {
        let one = || Some(Id::Number(1.into()));
        for (text, code, id) in [
            ("{", PARSE_ERROR, None),
            ("", PARSE_ERROR, None),
            ("{} x", PARSE_ERROR, None),
            ("7", INVALID_REQUEST, None),
            ("{}", INVALID_REQUEST, None),
            (r#"{"id":1,"method":"m"}"#, INVALID_REQUEST, one()),
            (
                r#"{"jsonrpc":"1.0","id":1,"method":"m"}"#,
                INVALID_REQUEST,
                one(),
            ),
            (
                r#"{"jsonrpc":"2.0","id":null,"method":"m"}"#,
                INVALID_REQUEST,
                None,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1.5,"method":"m"}"#,
                INVALID_REQUEST,
                None,
            ),
            (
                r#"{"jsonrpc":"2.0","id":[1],"method":"m"}"#,
                INVALID_REQUEST,
                None,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
                INVALID_REQUEST,
                one(),
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"m"}"#,
                INVALID_REQUEST,
                None,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"m","method":"n"}"#,
                INVALID_REQUEST,
                None,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#,
                INVALID_REQUEST,
                one(),
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"m","params":[1]}"#,
                INVALID_PARAMS,
                one(),
            ),
        ] {
            assert_eq!(rejected(text), (code, id), "{text}");
        }
    }

    #[test]
    fn an_identifier_comes_back_as_it_was_sent() {
        for id in [
            "0",
            "-7",
            "18446744073709551615",
            r#""""#,
            r#""0""#,
            r#""é\n""#,
        ] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
            let Payload::Single(Ok(Message::Request(request))) = read(text.as_bytes()).unwrap()
            else {
                panic!("{text} is a request")
            };
            let reply = write_result(&request.id, &serde_json::json!({}));
            let expected = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#);
            assert_eq!(String::from_utf8(reply).unwrap(), expected);
        }
    }

    #[test]
    fn an_error_without_an_identifier_has_no_id_field() {
        let reply = write_failure(None, &Failure::malformed("x"));
        assert_eq!(
            String::from_utf8(reply).unwrap(),
            r#"{"jsonrpc":"2.0","error":{"code":-32600,"message":"x"}}"#
        );
    }

    #[test]
    fn nesting_is_counted_outside_strings_only() {
        let nested = |depth: usize| {
            format!(
                r#"{{"jsonrpc":"2.0","method":"m","params":{{"a":{}{}}}}}"#,
                "[".repeat(depth),
                "]".repeat(depth)
            )
        };
        assert!(read(nested(MAX_DEPTH - 2).as_bytes()).is_ok());
        assert_eq!(
            read(nested(MAX_DEPTH - 1).as_bytes()).unwrap_err().code,
            INVALID_REQUEST
        );
        let brackets = format!(
            r#"{{"jsonrpc":"2.0","method":"m","params":{{"a":"\"{}"}}}}"#,
            "[".repeat(MAX_DEPTH * 2)
        );
        assert!(read(brackets.as_bytes()).is_ok());
    }
}
