//! Rows as a model reads them and as a program reads them.

use std::fmt;

use mcp_protocol::{Json, JsonText};

use crate::read_only::{Column, ColumnKind, Rows};

/// The largest whole number that every JSON reader keeps exactly.
const SAFE_INTEGER: u64 = (1 << 53) - 1;

/// Room for heads and a few rows, in bytes.
const ROOM: usize = 1 << 10;

/// Rows in both forms.
pub(crate) struct Rendered {
    /// Tab-separated lines; the first one has the names of the columns.
    ///
    /// NULL is written `NULL`, the text of these letters is `'NULL'`, and an empty text is nothing.
    /// Tabs and line breaks inside a value are written `\t`, `\n` and `\r`, so that every row is
    /// one line.
    pub(crate) text: JsonText,
    /// `{"columns":[{"name","type"}],"rows":[[..]],"row_count":n,"truncated":b}`.
    ///
    /// Booleans and numbers are JSON's own where every reader keeps them exactly. Everything else
    /// is a text as `psql` shows it; NULL is `null`.
    pub(crate) structured: Json,
}

/// Writes a number of rows, such as `1 row`.
pub(crate) fn row_count(count: impl fmt::Display) -> String {
    let count = count.to_string();
    match &*count {
        "1" => "1 row".into(),
        _ => count + " rows",
    }
}

/// Writes rows in both forms.
pub(crate) fn rows(rows: &Rows) -> Rendered {
    let mut writer = Writer::new(&rows.columns);
    writer.reserve(rows.size(), rows.value_count());
    for row in rows.rows() {
        writer.push_row(row.zip(&rows.columns));
    }
    writer.finish(rows.cut.is_some())
}

/// Rows that are being written in both forms, in one pass.
#[derive(Debug)]
pub(crate) struct Writer {
    text: JsonText,
    structured: String,
    count: usize,
}

impl Writer {
    /// Starts both forms with their heads.
    pub(crate) fn new(columns: &[Column]) -> Self {
        let mut text = JsonText::with_capacity(ROOM);
        let mut structured = String::with_capacity(ROOM);
        structured.push_str("{\"columns\":[");
        for (index, column) in columns.iter().enumerate() {
            if index > 0 {
                text.push('\t');
                structured.push(',');
            }
            push_cell(&mut text, &column.name);
            structured.push_str("{\"name\":");
            push_quoted(&mut structured, &column.name);
            structured.push_str(",\"type\":");
            push_quoted(&mut structured, &column.type_name);
            structured.push('}');
        }
        structured.push_str("],\"rows\":[");
        Writer {
            text,
            structured,
            count: 0,
        }
    }

    /// Reserves memory for `values` more values with `bytes` bytes.
    pub(crate) fn reserve(&mut self, bytes: usize, values: usize) {
        self.text.reserve(bytes + 2 * values);
        self.structured.reserve(bytes + 4 * values);
    }

    /// Writes a row: each value with its column.
    pub(crate) fn push_row<'a>(
        &mut self,
        row: impl Iterator<Item = (Option<&'a str>, &'a Column)>,
    ) {
        let Writer {
            text, structured, ..
        } = self;
        text.push('\n');
        structured.push_str(if self.count > 0 { ",[" } else { "[" });
        for (index, (value, column)) in row.enumerate() {
            if index > 0 {
                text.push('\t');
                structured.push(',');
            }
            push(text, structured, value, column.kind);
        }
        structured.push(']');
        self.count += 1;
    }

    /// Completes both forms; `is_cut` says whether there are more rows.
    pub(crate) fn finish(self, is_cut: bool) -> Rendered {
        let Writer {
            text,
            mut structured,
            count,
            ..
        } = self;
        structured.push_str("],\"row_count\":");
        structured.push_str(&count.to_string());
        structured.push_str(",\"truncated\":");
        structured.push_str(if is_cut { "true}" } else { "false}" });
        Rendered {
            text,
            structured: Json::written(structured),
        }
    }
}

fn push(text: &mut JsonText, structured: &mut String, value: Option<&str>, kind: ColumnKind) {
    let Some(value) = value else {
        text.push_written("NULL");
        return structured.push_str("null");
    };
    if !is_plain(value) {
        push_cell(text, value);
        return push_quoted(structured, value);
    }
    // In quotes, because it is a text and not NULL.
    text.push_written(if value == "NULL" { "'NULL'" } else { value });
    match (kind, value) {
        (ColumnKind::Boolean, "t") => structured.push_str("true"),
        (ColumnKind::Boolean, "f") => structured.push_str("false"),
        (ColumnKind::Integer, _) if is_safe_integer(value) => structured.push_str(value),
        (ColumnKind::Float, _) if is_json_number(value) => structured.push_str(value),
        _ => push_in_quotes(structured, value),
    }
}

/// Returns whether JSON can hold a value without escapes. It looks at every byte, so that the compiler can vectorise
/// it.
fn is_plain(value: &str) -> bool {
    let is_escaped = |byte| byte < b' ' || byte == b'"' || byte == b'\\';
    !value
        .bytes()
        .fold(false, |found, byte| found | is_escaped(byte))
}

fn push_cell(text: &mut JsonText, value: &str) {
    if is_plain(value) {
        return text.push_written(value);
    }
    for character in value.chars() {
        match character {
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            other => text.push(other),
        }
    }
}

fn push_quoted(out: &mut String, value: &str) {
    if is_plain(value) {
        push_in_quotes(out, value);
    } else {
        push_in_quotes(out, JsonText::from(value).as_str());
    }
}

fn push_in_quotes(out: &mut String, written: &str) {
    out.push('"');
    out.push_str(written);
    out.push('"');
}

fn is_safe_integer(value: &str) -> bool {
    let magnitude = value.strip_prefix('-').unwrap_or(value);
    let is_plain = magnitude == "0" || !magnitude.starts_with(['0', '+']);
    is_plain
        && magnitude
            .parse::<u64>()
            .is_ok_and(|number| number <= SAFE_INTEGER)
}

/// Returns whether a text is a number as JSON writes it (RFC 8259, section 6).
fn is_json_number(value: &str) -> bool {
    let unsigned = value.strip_prefix('-').unwrap_or(value).as_bytes();
    let Some((whole, mut rest)) = split_digits(unsigned) else {
        return false;
    };
    if whole.len() > 1 && whole[0] == b'0' {
        return false;
    }
    if let [b'.', fraction @ ..] = rest {
        match split_digits(fraction) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    match rest {
        [] => true,
        [b'e' | b'E', b'+' | b'-', exponent @ ..] | [b'e' | b'E', exponent @ ..] => {
            split_digits(exponent).is_some_and(|(_, rest)| rest.is_empty())
        }
        _ => false,
    }
}

/// Splits off digits, at least one.
fn split_digits(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (count > 0).then(|| text.split_at(count))
}

#[cfg(test)]
mod tests {
    use session_pool::Row;

    use super::*;
    use crate::read_only::{Column, Cut, Gathered, Sorts};

    fn rows(kind: ColumnKind, values: &[Option<&str>]) -> Rows {
        let mut gathered = Gathered::default();
        for value in values {
            let mut body = vec![0, 1];
            match value {
                None => body.extend_from_slice(&[0xff; 4]),
                Some(value) => {
                    let length = u32::try_from(value.len()).expect("short");
                    body.extend_from_slice(&length.to_be_bytes());
                    body.extend_from_slice(value.as_bytes());
                }
            }
            gathered.push(Row::new(&body)).expect("a row");
        }
        let mut rows = gathered.finish(None).expect("texts");
        rows.columns.push(Column {
            name: "a\tb".into(),
            type_name: "t".into(),
            kind,
            sorts: Sorts::Unknown,
        });
        rows
    }

    #[test]
    fn a_row_is_a_line_and_null_is_not_an_empty_text() {
        let rows = rows(
            ColumnKind::Text,
            &[None, Some("NULL"), Some(""), Some("x\ty\nz\r"), Some("é")],
        );
        assert_eq!(
            super::rows(&rows).text.plain(),
            "a\\tb\nNULL\n'NULL'\n\nx\\ty\\nz\\r\né"
        );
    }

    #[test]
    fn numbers_are_numbers_only_where_they_stay_exact() {
        for (kind, value, expected) in [
            (ColumnKind::Integer, "42", "42"),
            (
                ColumnKind::Integer,
                "-9007199254740991",
                "-9007199254740991",
            ),
            (
                ColumnKind::Integer,
                "9007199254740992",
                "\"9007199254740992\"",
            ),
            (ColumnKind::Float, "1e-05", "1e-05"),
            (ColumnKind::Float, "-0", "-0"),
            (ColumnKind::Float, "1e+20", "1e+20"),
            (ColumnKind::Float, "12.5", "12.5"),
            (ColumnKind::Float, "1.", "\"1.\""),
            (ColumnKind::Float, "01", "\"01\""),
            (ColumnKind::Float, "1e", "\"1e\""),
            (ColumnKind::Float, "", "\"\""),
            (ColumnKind::Integer, "007", "\"007\""),
            (ColumnKind::Integer, "+7", "\"+7\""),
            (ColumnKind::Integer, "-0", "-0"),
            (ColumnKind::Float, "NaN", "\"NaN\""),
            (ColumnKind::Float, "-Infinity", "\"-Infinity\""),
            (ColumnKind::Boolean, "t", "true"),
            (ColumnKind::Text, "1.50", "\"1.50\""),
            (ColumnKind::Text, "a\"\\\u{1}", "\"a\\\"\\\\\\u0001\""),
        ] {
            let written = super::rows(&rows(kind, &[Some(value), None]))
                .structured
                .as_str()
                .to_owned();
            assert!(
                written.contains(&format!("\"rows\":[[{expected}],[null]]")),
                "{value}: {written}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn a_number_is_one_where_json_says_so(text in "-?[0-9]{0,3}(\\.[0-9]{0,2})?([eE][+-]?[0-9]{0,2})?|[-+.eE0-9]{0,6}") {
            let is_number = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
            proptest::prop_assert_eq!(is_json_number(&text), is_number, "{}", text);
        }
    }

    #[test]
    fn the_structure_is_as_promised() {
        let mut rows = rows(ColumnKind::Integer, &[Some("1")]);
        rows.cut = Some(Cut::Limit);
        assert_eq!(
            super::rows(&rows).structured.as_str(),
            r#"{"columns":[{"name":"a\tb","type":"t"}],"rows":[[1]],"row_count":1,"truncated":true}"#
        );
    }
}
