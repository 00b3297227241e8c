//! The content of a line.

use std::{fmt::Write, net::IpAddr};

use time::{OffsetDateTime, macros::datetime};

use crate::chain::LONGEST;

/// The content of a line apart from its number and hash: names and values in the order in which they are added.
///
/// Names are words of the program's, of letters, digits and `_`; they are written without being
/// checked. The program must give each name once, and none of `seq`, `time`, `event`, `hash` and
/// `shortened`: of two members with one name most readers take the last. [`verify`](crate::verify)
/// is not misled, because it uses the event that the entry began with. `opened`, `lost` and `torn`
/// are events of the log itself, and `start` and `stop` those with which a process begins and ends.
///
/// A line has less than 1 MiB. A text that is longer than the room that is left is shortened and
/// ends with `…`, and so does a list. What has no room even so is left out, with everything that is
/// added after it, and the line ends with `"shortened":true`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// JSON members, each preceded by a comma.
    members: String,
    /// The maximum length of the members in bytes.
    most: usize,
}

/// How many bytes the members of a line may have: what its number, its hash and [`SHORTENED`]
/// leave.
const MOST: usize = LONGEST - 256;

/// What ends the members if some were left out.
const SHORTENED: &str = ",\"shortened\":true";

/// How many bytes are kept free after a text that is shortened: for its mark, for closing it and
/// its list, and for one more character.
const RESERVE: usize = 32;

impl Entry {
    /// Begins with what happened, in one word, and when. The time is written in UTC; a time before
    /// the year 0 or after 9999 becomes the nearest that RFC 3339 can write.
    #[must_use]
    pub fn new(event: &str, at: OffsetDateTime) -> Self {
        let mut members = String::with_capacity(512);
        members.push_str(",\"time\":\"");
        write_time(&mut members, at);
        members.push('"');
        let most = MOST;
        Entry { members, most }.text("event", event)
    }

    /// Adds a text. Control characters, and those that change the direction of the text after them,
    /// are escaped, so that the line can be shown anywhere.
    #[must_use]
    pub fn text(mut self, name: &'static str, value: &str) -> Self {
        let start = self.name(name);
        self.quoted(value);
        self.end(start)
    }

    /// Adds a text, if given.
    #[must_use]
    pub fn optional(self, name: &'static str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(name, value),
            None => self,
        }
    }

    /// Adds the beginning of a text, at most this many bytes of it, followed by `…` if that is not all.
    #[must_use]
    pub fn short(self, name: &'static str, value: &str, most_bytes: usize) -> Self {
        if value.len() <= most_bytes {
            return self.text(name, value);
        }
        let end = value.floor_char_boundary(most_bytes);
        self.text(name, &format!("{}…", &value[..end]))
    }

    /// Adds an address as a text.
    #[must_use]
    pub fn address(mut self, name: &'static str, value: IpAddr) -> Self {
        let start = self.name(name);
        self.members.push('"');
        match value {
            // Every line has an address, so this avoids the slower formatting machinery.
            IpAddr::V4(address) => {
                for (index, part) in address.octets().into_iter().enumerate() {
                    if index > 0 {
                        self.members.push('.');
                    }
                    push_number(&mut self.members, part.into(), 1);
                }
            }
            IpAddr::V6(address) => {
                // Writing to a String cannot fail.
                let _ = write!(self.members, "{address}");
            }
        }
        self.members.push('"');
        self.end(start)
    }

    /// Adds a list of texts.
    #[must_use]
    pub fn list<'a>(
        mut self,
        name: &'static str,
        values: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let start = self.name(name);
        self.members.push('[');
        for (index, value) in values.into_iter().enumerate() {
            if index > 0 {
                self.members.push(',');
            }
            if self.is_full() {
                self.members.push_str("\"…\"");
                break;
            }
            self.quoted(value);
        }
        self.members.push(']');
        self.end(start)
    }

    /// Adds a number.
    #[must_use]
    pub fn number(mut self, name: &'static str, value: u64) -> Self {
        let start = self.name(name);
        push_number(&mut self.members, value, 1);
        self.end(start)
    }

    /// Adds a span of time in milliseconds, with three decimal places.
    #[must_use]
    pub fn milliseconds(mut self, name: &'static str, value: std::time::Duration) -> Self {
        let start = self.name(name);
        let microseconds = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
        push_number(&mut self.members, microseconds / 1_000, 1);
        self.members.push('.');
        push_number(&mut self.members, microseconds % 1_000, 3);
        self.end(start)
    }

    pub(crate) fn members(&self) -> &str {
        &self.members
    }

    /// Begins a member and returns where it starts.
    fn name(&mut self, name: &'static str) -> usize {
        let start = self.members.len();
        self.members.push_str(",\"");
        self.members.push_str(name);
        self.members.push_str("\":");
        start
    }

    /// Ends the member that began there; if there is no room for it, ends the whole entry.
    fn end(mut self, start: usize) -> Self {
        if self.members.len() > self.most {
            self.members.truncate(start);
            if self.most == MOST {
                self.members.push_str(SHORTENED);
            }
            self.most = self.members.len();
        }
        self
    }

    /// Says whether there is no room for another character of a text.
    fn is_full(&self) -> bool {
        self.members.len() + RESERVE > self.most
    }

    fn quoted(&mut self, value: &str) {
        // Escaping turns a byte into six at most.
        if self.members.len() + RESERVE + value.len().saturating_mul(6) > self.most {
            return self.shortened(value);
        }
        self.members.push('"');
        // It looks at every byte, so that the compiler can vectorise it.
        let is_special = |byte| !matches!(byte, b' '..=b'~') || byte == b'"' || byte == b'\\';
        let has_special = value
            .bytes()
            .fold(false, |found, byte| found | is_special(byte));
        if has_special {
            value
                .chars()
                .for_each(|character| self.character(character));
        } else {
            self.members.push_str(value);
        }
        self.members.push('"');
    }

    /// Adds as much of a text as fits.
    #[cold]
    fn shortened(&mut self, value: &str) {
        self.members.push('"');
        for character in value.chars() {
            if self.is_full() {
                self.members.push('…');
                break;
            }
            self.character(character);
        }
        self.members.push('"');
    }

    fn character(&mut self, character: char) {
        match character {
            '"' => self.members.push_str("\\\""),
            '\\' => self.members.push_str("\\\\"),
            '\n' => self.members.push_str("\\n"),
            '\t' => self.members.push_str("\\t"),
            hidden if is_hidden(hidden) => {
                let mut units = [0; 2];
                for unit in hidden.encode_utf16(&mut units) {
                    // Writing to a String cannot fail.
                    let _ = write!(self.members, "\\u{unit:04x}");
                }
            }
            shown => self.members.push(shown),
        }
    }
}

/// Says whether a character affects a terminal or the display of what follows, or is not displayed itself: Unicode's
/// controls, format characters (`Cf`), line separators, and others without a visible glyph
/// (`Default_Ignorable_Code_Point`).
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}'
            | '\u{890}'..='\u{891}' | '\u{8e2}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// The first and the last time that RFC 3339 can express, in milliseconds.
const FIRST: OffsetDateTime = datetime!(0000-01-01 0:00 UTC);
const LAST: OffsetDateTime = datetime!(9999-12-31 23:59:59.999 UTC);

/// Writes a time in RFC 3339 form, in UTC, to the millisecond.
fn write_time(out: &mut String, at: OffsetDateTime) {
    let utc = at.checked_to_offset(time::UtcOffset::UTC);
    let utc = utc.filter(|utc| (0..=9999).contains(&utc.year()));
    let at = utc.unwrap_or_else(|| at.clamp(FIRST, LAST));
    let (year, month, day) = at.to_calendar_date();
    let (hour, minute, second, millisecond) = at.to_hms_milli();
    let parts = [
        (u64::from(year.unsigned_abs()), 4, '-'),
        (u8::from(month).into(), 2, '-'),
        (day.into(), 2, 'T'),
        (hour.into(), 2, ':'),
        (minute.into(), 2, ':'),
        (second.into(), 2, '.'),
        (millisecond.into(), 3, 'Z'),
    ];
    for (number, width, behind) in parts {
        push_number(out, number, width);
        out.push(behind);
    }
}

/// Writes a number, zero-padded to `width` digits. Faster than formatting, as each line has many numbers.
pub(crate) fn push_number(out: &mut String, number: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let (mut at, mut rest) = (digits.len(), number);
    while rest > 0 {
        at -= 1;
        // A decimal digit fits into a byte.
        digits[at] += (rest % 10) as u8;
        rest /= 10;
    }
    let start = at.min(digits.len() - width);
    out.push_str(str::from_utf8(&digits[start..]).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};
    use std::time::Duration;

    fn read(entry: &Entry) -> Value {
        serde_json::from_str(&format!("{{{}}}", &entry.members()[1..])).unwrap()
    }

    #[test]
    fn every_kind_of_value_comes_back() {
        let at = OffsetDateTime::from_unix_timestamp_nanos(1_767_323_045_006_999_999).unwrap();
        let entry = Entry::new("call", at)
            .text("a", "é\u{202e}\u{0}\u{1b}[0m\n\"\\ \u{e0041}")
            .optional("b", None)
            .short("c", "äöü", 3)
            .list("d", ["x", "y"])
            .number("e", 7)
            .milliseconds("f", Duration::from_micros(12_034))
            .address("g", [127, 0, 0, 100].into())
            .address("h", "2001:db8::1".parse().unwrap());
        let expected = json!({
            "time": "2026-01-02T03:04:05.006Z", "event": "call",
            "a": "é\u{202e}\u{0}\u{1b}[0m\n\"\\ \u{e0041}", "c": "ä…", "d": ["x", "y"], "e": 7, "f": 12.034,
            "g": "127.0.0.100", "h": "2001:db8::1",
        });
        assert_eq!(read(&entry), expected);
        let shown = entry.members();
        assert!(!shown.chars().any(is_hidden), "{shown}");
    }

    #[test]
    fn of_a_time_that_rfc_3339_does_not_have_the_nearest_is_written() {
        for (at, written) in [
            (
                datetime!(9999-12-31 23:59:59 -12:00),
                "9999-12-31T23:59:59.999Z",
            ),
            (
                datetime!(9999-12-31 23:59:59 UTC),
                "9999-12-31T23:59:59.000Z",
            ),
            (datetime!(-0001-05-05 5:05 UTC), "0000-01-01T00:00:00.000Z"),
            (
                datetime!(-9999-01-01 0:00 +12:00),
                "0000-01-01T00:00:00.000Z",
            ),
            (datetime!(0000-01-01 0:00 +5:00), "0000-01-01T00:00:00.000Z"),
            (
                datetime!(2026-01-02 04:05:07 +01:02:03),
                "2026-01-02T03:03:04.000Z",
            ),
        ] {
            assert_eq!(read(&Entry::new("x", at))["time"], written);
        }
    }

    #[test]
    fn what_turns_or_hides_a_text_is_escaped() {
        let hidden = "\u{61c}\u{200f}\u{202e}\u{2067}\u{ad}\u{2060}\u{206a}\u{3164}\u{fe0f}\u{fff9}\u{1d173}\u{e0100}\r\u{85}\u{7f}";
        let entry = Entry::new("x", OffsetDateTime::UNIX_EPOCH).text("a", hidden);
        assert!(entry.members().is_ascii(), "{}", entry.members());
        assert_eq!(read(&entry)["a"], hidden);
        let shown = "Ångström 東京 🙂 مرحبا";
        let entry = Entry::new("x", OffsetDateTime::UNIX_EPOCH).text("a", shown);
        assert!(entry.members().contains(shown), "{}", entry.members());
    }

    proptest::proptest! {
        #[test]
        fn any_number_is_written_as_usual(number in proptest::num::u64::ANY, small in 0_u64..1_100) {
            for number in [number, small] {
                let mut written = String::new();
                push_number(&mut written, number, 3);
                proptest::prop_assert_eq!(written, format!("{number:03}"));
            }
        }

        #[test]
        fn any_time_is_written_as_rfc_3339_has_it(at in 0_i64..253_402_300_800_000) {
            let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at) * 1_000_000).unwrap();
            let mut written = String::new();
            write_time(&mut written, at);
            let known = OffsetDateTime::parse(&written, &time::format_description::well_known::Rfc3339);
            proptest::prop_assert_eq!(known.unwrap(), at);
            proptest::prop_assert_eq!(written.len(), "2026-01-02T03:04:05.006Z".len());
        }

        #[test]
        fn any_text_comes_back_and_hides_nothing(text in "\\PC{0,20}|[\\x00-\\x7f]{0,20}|.{0,20}") {
            let entry = Entry::new("x", OffsetDateTime::UNIX_EPOCH).text("a", &text);
            proptest::prop_assert_eq!(&read(&entry)["a"], &Value::from(text));
            proptest::prop_assert!(!entry.members().chars().any(is_hidden));
        }
    }
}
