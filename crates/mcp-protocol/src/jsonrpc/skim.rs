//! Finds the id of a request that is too long to be kept, so that it can be answered.

use serde_json::value::RawValue;

use super::Id;

/// Reads one message in pieces, and keeps only the names of members and a value that may be the id.
#[derive(Default)]
pub(crate) struct Skim {
    /// How many brackets are open.
    depth: u32,
    in_text: bool,
    escaped: bool,
    /// What the message's own object has had since the last colon or comma.
    piece: Vec<u8>,
    /// The name of the member whose value comes next.
    name: Vec<u8>,
    has_method: bool,
    id: Option<Id>,
}

/// The longest id that is looked for, in bytes.
const MAX_ID_BYTES: usize = 1024;

impl Skim {
    pub(crate) fn read(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.step(*byte);
        }
    }

    fn step(&mut self, byte: u8) {
        let structural = !self.in_text;
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.in_text => self.escaped = true,
            b'"' => self.in_text = !self.in_text,
            b'{' | b'[' if structural => self.depth = self.depth.saturating_add(1),
            b'}' | b']' if structural => {
                if self.depth == 1 {
                    self.end_member();
                }
                self.depth = self.depth.saturating_sub(1);
            }
            b':' if structural && self.depth == 1 => {
                self.name = std::mem::take(&mut self.piece);
                return;
            }
            b',' if structural && self.depth == 1 => return self.end_member(),
            _ => {}
        }
        // The bracket that opens the message is not part of its first name.
        let opens = structural && self.depth == 1 && byte == b'{';
        if self.depth == 1 && !opens && self.piece.len() <= MAX_ID_BYTES {
            self.piece.push(byte);
        }
    }

    fn end_member(&mut self) {
        let (name, value) = (
            std::mem::take(&mut self.name),
            std::mem::take(&mut self.piece),
        );
        match name.trim_ascii() {
            br#""method""# => self.has_method = true,
            br#""id""# if value.len() <= MAX_ID_BYTES => {
                let raw: Option<&RawValue> = serde_json::from_slice(&value).ok();
                self.id = raw.and_then(Id::read);
            }
            _ => {}
        }
    }

    /// The id, if the message was a request.
    pub(crate) fn id(self) -> Option<Id> {
        self.id.filter(|_| self.has_method && self.depth == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(message: &str) -> Option<String> {
        let (mut whole, mut bytewise) = (Skim::default(), Skim::default());
        whole.read(message.as_bytes());
        for byte in message.as_bytes() {
            bytewise.read(&[*byte]);
        }
        let found = whole.id();
        assert_eq!(found, bytewise.id(), "{message}");
        found.map(|id| format!("{id:?}"))
    }

    #[test]
    fn the_id_is_found_wherever_it_stands() {
        let text = Some(r#"Text("a\"}b")"#.to_owned());
        let number = Some("Number(Number(7))".to_owned());
        for (message, expected) in [
            (r#"{"id":7,"method":"ping"}"#, &number),
            (
                r#" { "method" : "m" , "params" : {"id":8,"a":[{"id":9}]} , "id" : 7 } "#,
                &number,
            ),
            (
                r#"{"params":{"q":"\"},{\"id\":8,"},"id":7,"method":"m"}"#,
                &number,
            ),
            (
                r#"{"params":["]","\\"],"jsonrpc":"2.0","id":"a\"}b","method":"m"}"#,
                &text,
            ),
        ] {
            assert_eq!(&id(message), expected, "{message}");
        }
    }

    #[test]
    fn what_is_no_request_with_an_id_has_none() {
        let long = format!(r#"{{"id":"{}","method":"m"}}"#, "x".repeat(MAX_ID_BYTES));
        for message in [
            r#"{"id":7,"result":{"method":"m"}}"#,
            r#"{"method":"notifications/m","params":{"id":7}}"#,
            r#"{"id":null,"method":"m"}"#,
            r#"{"id":1.5,"method":"m"}"#,
            r#"{"id":{"a":1},"method":"m"}"#,
            r#"{"id":7,"method":"m""#,
            r#"[{"id":7,"method":"m"}]"#,
            r#"]]}"id":7,"method":"m"}"#,
            "not JSON",
            "",
            &long,
        ] {
            assert_eq!(id(message), None, "{message}");
        }
    }
}
