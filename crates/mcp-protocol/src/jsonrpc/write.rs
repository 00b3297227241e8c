//! Writes envelopes, each in one pass.

use bytes::Bytes;
use serde::Serialize;

use super::{Failure, Id};

/// Enough bytes for most messages.
const ROOM: usize = 1 << 10;

/// Writes a successful response, whose result `write` writes.
pub(crate) fn write_result(id: &Id, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut text = Vec::with_capacity(ROOM);
    text.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    append(&mut text, id);
    text.extend_from_slice(br#","result":"#);
    write(&mut text);
    text.push(b'}');
    text
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
    let mut text = Vec::with_capacity(ROOM);
    append(&mut text, message);
    text
}

/// Appends the JSON of a value.
pub(crate) fn append(text: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    serde_json::to_writer(text, value)
        .expect("protocol messages have string keys and no failing serializers");
}

/// Joins responses into the array that answers a batch; gives `None` if there are none.
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

/// Appends a message as one line. Any line breaks in it stand between tokens, in raw parts that a handler or a tool's
/// author laid out over several lines.
pub(crate) fn append_line(line: &mut Vec<u8>, message: &[u8]) {
    let start = line.len();
    line.extend_from_slice(message);
    for byte in &mut line[start..] {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}
