//! Rows as PostgreSQL writes them: one text in the form of a composite value.
//!
//! `ROW(q.*)::text` formats every column with its type's own output function, which is what `psql` shows, and tells
//! NULL from an empty text (PostgreSQL documentation, section 8.16.6).

/// Splits the text of a row into its fields; `None` is NULL.
///
/// Returns `None` if the text is not a row in that form.
pub(crate) fn fields(text: &str) -> Option<Vec<Option<String>>> {
    let inside = text.strip_prefix('(')?.strip_suffix(')')?;
    let mut fields = Vec::new();
    let mut rest = inside;
    loop {
        let (field, after) = field(rest)?;
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Some(fields),
            None => return None,
        }
    }
}

fn field(text: &str) -> Option<(Option<String>, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        return quoted_field(quoted).map(|(value, rest)| (Some(value), rest));
    }
    // PostgreSQL quotes any value that has a comma, a quote, a parenthesis, a backslash or a blank.
    let end = text.find(',').unwrap_or(text.len());
    let (value, rest) = text.split_at(end);
    Some(((!value.is_empty()).then(|| value.to_owned()), rest))
}

fn quoted_field(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let at = rest.find(['"', '\\'])?;
        value.push_str(&rest[..at]);
        let doubled = rest
            .get(at..at + 2)
            .filter(|two| matches!(*two, "\"\"" | "\\\\"));
        match doubled {
            Some(two) => {
                value.push_str(&two[1..]);
                rest = &rest[at + 2..];
            }
            None if rest.as_bytes()[at] == b'"' => return Some((value, &rest[at + 1..])),
            None => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_split_as_postgresql_wrote_them() {
        let some = |text: &str| Some(text.to_owned());
        for (text, expected) in [
            ("(1,a)", vec![some("1"), some("a")]),
            ("(,\"\")", vec![None, some("")]),
            ("()", vec![None]),
            (
                "(\"a,b\",\"x \"\"y\"\" z\")",
                vec![some("a,b"), some("x \"y\" z")],
            ),
            (
                "(\"\\\\x00\",\"(1,2)\")",
                vec![some("\\x00"), some("(1,2)")],
            ),
            ("(\"é\n\té\",)", vec![some("é\n\té"), None]),
        ] {
            assert_eq!(fields(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_row_is_not_taken_for_one() {
        for text in ["", "(", "1,2", "(\"a)", "(\"a\"b)", "(\"a\\b\")"] {
            assert_eq!(fields(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_fields_survive_the_way(
            values in proptest::collection::vec(proptest::option::of("[a\"\\\\,() \n\té]{0,8}"), 1..5)
        ) {
            let written: Vec<String> = values
                .iter()
                .map(|value| value.as_ref().map_or_else(String::new, |value| {
                    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\"\""))
                }))
                .collect();
            proptest::prop_assert_eq!(fields(&format!("({})", written.join(","))), Some(values));
        }
    }
}
