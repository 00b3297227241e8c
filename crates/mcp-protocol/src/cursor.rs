//! Pages of lists, and the opaque cursors between them.

use base64ct::{Base64UrlUnpadded, Encoding};

use crate::jsonrpc::Failure;
use crate::params::{self, Params};

/// Cuts the page that a request asks for out of a whole list, and makes the cursor of the next
/// page. A cursor names its list, so that a cursor of another list is refused.
pub(crate) fn page<'a, T>(
    items: &'a [T],
    params: &Params<'_>,
    list: &'static str,
    size: usize,
) -> Result<(&'a [T], Option<String>), Failure> {
    let start = match params::optional::<String>("cursor", params.cursor)? {
        None => 0,
        Some(cursor) => decode(&cursor, list)
            .and_then(|position| position.parse().ok())
            .filter(|start| *start <= items.len())
            .ok_or_else(invalid)?,
    };
    let end = items.len().min(start.saturating_add(size.max(1)));
    let next = (end < items.len()).then(|| encode(list, &end.to_string()));
    Ok((&items[start..end], next))
}

/// Makes a cursor for a position in a list.
pub(crate) fn encode(list: &str, position: &str) -> String {
    Base64UrlUnpadded::encode_string(format!("{list}:{position}").as_bytes())
}

/// Reads the position in `list` that a cursor stands for.
pub(crate) fn decode(cursor: &str, list: &str) -> Option<String> {
    let text = String::from_utf8(Base64UrlUnpadded::decode_vec(cursor).ok()?).ok()?;
    text.strip_prefix(list)?
        .strip_prefix(':')
        .map(str::to_owned)
}

pub(crate) fn invalid() -> Failure {
    Failure::invalid_params("the cursor is not one of this list; start again without one")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::value::RawValue;

    fn list(size: usize, cursor: Option<&str>) -> Result<(Vec<u8>, Option<String>), Failure> {
        let params = cursor.map(|cursor| {
            RawValue::from_string(serde_json::json!({ "cursor": cursor }).to_string()).unwrap()
        });
        let params = Params::read(params.as_deref()).unwrap();
        let (items, next) = page(b"abcde", &params, "letters", size)?;
        Ok((items.to_vec(), next))
    }

    #[test]
    fn following_the_cursors_yields_every_item_once() {
        for size in 1..7 {
            let (mut seen, mut next) = list(size, None).unwrap();
            while let Some(cursor) = next {
                let (more, after) = list(size, Some(&cursor)).unwrap();
                seen.extend(more);
                next = after;
            }
            assert_eq!(seen, b"abcde", "pages of {size}");
        }
    }

    #[test]
    fn a_foreign_cursor_is_refused() {
        for cursor in [
            "",
            "x",
            &encode("others", "1"),
            &encode("letters", "6"),
            &encode("letters", "-1"),
        ] {
            assert_eq!(
                list(2, Some(cursor)).unwrap_err().code,
                -32602,
                "{cursor:?}"
            );
        }
    }
}
