//! Reads envelopes: each field once, and raw if somebody else knows its type.

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};
use serde_json::value::RawValue;

use super::{
    Failure, Id, Message, Notification, PARSE_ERROR, Payload, Rejected, Request, Response,
    is_object,
};

/// The deepest nesting of arrays and objects that a message may have.
const MAX_DEPTH: usize = 100;

/// Reads the message or batch in a body or a line.
pub(crate) fn read(bytes: &[u8]) -> Result<Payload, Failure> {
    // Checked once, for everything that is read from it.
    let Ok(text) = str::from_utf8(bytes) else {
        let told = "not valid JSON: it is not in UTF-8";
        return Err(Failure::new(PARSE_ERROR, told).status(400));
    };
    if too_deep(bytes) {
        return Err(Failure::malformed(format!(
            "the message nests deeper than {MAX_DEPTH} levels"
        )));
    }
    if text.trim_ascii_start().starts_with('[') {
        let entries: Vec<&RawValue> = parse(text)?;
        return Ok(Payload::Batch(
            entries
                .into_iter()
                .map(|entry| read_message(entry.get()))
                .collect(),
        ));
    }
    match read_message(text) {
        Err(rejected) if rejected.failure.code == PARSE_ERROR => Err(rejected.failure),
        message => Ok(Payload::Single(message)),
    }
}

fn read_message(text: &str) -> Result<Message, Rejected> {
    // serde would read a list as the fields of an envelope in their order.
    if !text.trim_ascii_start().starts_with('{') {
        let IgnoredAny = parse(text)?;
        return Err(Failure::malformed("a JSON-RPC message is an object").into());
    }
    let envelope: Envelope<'_> = parse(text)?;
    envelope.open()
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| {
        if error.is_data() {
            Failure::malformed(format!("not a JSON-RPC message: {error}"))
        } else {
            Failure::new(PARSE_ERROR, format!("not valid JSON: {error}")).status(400)
        }
    })
}

/// Every field is kept raw, so that a wrong type is told from an absent field, and so that a
/// duplicate of any of them is an error.
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

/// Tells `null` from an absent field.
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
            Some(raw) if is_object(raw) => Some(raw.to_owned()),
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

/// Says whether brackets nest deeper than [`MAX_DEPTH`]: raw values are skipped without recursion,
/// so the parser itself would not notice.
fn too_deep(text: &[u8]) -> bool {
    // Most messages have fewer brackets than that, and counting them is vectorised.
    let opening = |byte: &u8| u8::from(matches!(byte, b'{' | b'['));
    // A count of up to 255 fits in a byte.
    let pieces = text.chunks(255);
    let brackets = pieces.map(|piece| usize::from(piece.iter().map(opening).sum::<u8>()));
    if brackets.sum::<usize>() <= MAX_DEPTH {
        return false;
    }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{INVALID_PARAMS, INVALID_REQUEST, write_failure, write_result};
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
    fn what_is_not_in_utf_8_is_no_json() {
        let latin = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\",\"params\":{\"a\":\"\xe9\"}}";
        let refused = read(latin).unwrap_err();
        assert_eq!((refused.code, refused.status), (PARSE_ERROR, 400));
        assert!(refused.message.contains("UTF-8"), "{}", refused.message);
    }

    #[test]
    fn a_list_of_what_an_envelope_holds_is_no_message() {
        let batch = br#"[["2.0", 1, "ping", null, null, null]]"#;
        let Payload::Batch(entries) = read(batch).unwrap() else {
            panic!("an array is a batch")
        };
        let refused = entries[0].as_ref().unwrap_err();
        assert_eq!(refused.failure.code, INVALID_REQUEST);
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
            let reply = write_result(&request.id, |out| out.extend_from_slice(b"{}"));
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
