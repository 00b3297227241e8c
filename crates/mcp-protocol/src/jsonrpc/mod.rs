//! JSON-RPC 2.0 envelopes: one way to read what comes in, one way to write what goes out.

mod read;
mod skim;
mod write;

use std::borrow::Cow;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::Number;
use serde_json::value::RawValue;

pub(crate) use read::{present, read};
pub(crate) use skim::Skim;
pub(crate) use write::{
    append, append_line, join, write_failure, write_notification, write_request, write_result,
};

/// The identifier of a request, echoed with its type and value unchanged.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub(crate) enum Id {
    Number(Number),
    Text(String),
}

impl Id {
    /// Writes it without quotes.
    pub(crate) fn words(&self) -> Cow<'_, str> {
        match self {
            Id::Text(text) => text.into(),
            Id::Number(number) => number.to_string().into(),
        }
    }

    pub(crate) fn read(raw: &RawValue) -> Option<Self> {
        if raw.get().starts_with('"') {
            return serde_json::from_str(raw.get()).ok().map(Self::Text);
        }
        let number = serde_json::from_str::<Number>(raw.get()).ok()?;
        (number.is_i64() || number.is_u64()).then_some(Self::Number(number))
    }
}

/// Returns whether raw JSON is an object.
pub(crate) fn is_object(raw: &RawValue) -> bool {
    raw.get().starts_with('{')
}

/// A JSON-RPC error object, with the HTTP status that goes with it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Failure {
    pub(crate) code: i64,
    pub(crate) message: Cow<'static, str>,
    pub(crate) data: Option<Box<serde_json::Value>>,
    /// 200 for errors that are the result of a well-formed request.
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

/// A message that cannot be accepted, with its identifier if that could be read.
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

/// One message, or an array of them, which 2025-03-26 allows.
#[derive(Debug)]
pub(crate) enum Payload {
    Single(Result<Message, Rejected>),
    Batch(Vec<Result<Message, Rejected>>),
}
