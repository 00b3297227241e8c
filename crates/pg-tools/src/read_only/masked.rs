//! What statements have in common that differ only in their values.

use super::statement::tokens;

/// Returns a statement with `?` in place of each value, without comments, in lower case where case does not matter, and
/// with a single blank in place of any white space. What is left says which statement it is, and not what somebody
/// looked for.
///
/// If the text is not SQL, or a setting of the server makes its strings end elsewhere, parts of a value may be left. So
/// show a digest of the returned text, not the text itself.
///
/// ```
/// use pg_tools::masked;
///
/// let one = "SELECT name FROM users -- him\n WHERE email = 'ada@example.com' AND age > 30.5";
/// assert_eq!(masked(one), "select name from users where email = ? and age > ?");
/// ```
#[must_use]
pub fn masked(statement: &str) -> String {
    let mut masked = String::with_capacity(statement.len());
    let mut last = "";
    for token in tokens(statement) {
        let first = token.text.as_bytes()[0];
        let last = std::mem::replace(&mut last, token.text);
        match first {
            _ if token.is_blank() => {
                if !masked.is_empty() && !masked.ends_with(' ') {
                    masked.push(' ');
                }
            }
            // A quote inside a string is written twice.
            b'\'' if last.ends_with('\'') => {}
            b'\'' => masked.push('?'),
            b'$' if token.text.len() > 1 => masked.push('?'),
            b'0'..=b'9' => push_number(&mut masked),
            b'"' => masked.push_str(token.text),
            _ => {
                let before = masked.len();
                masked.push_str(token.text);
                masked[before..].make_ascii_lowercase();
            }
        }
    }
    masked.truncate(masked.trim_end().len());
    masked
}

/// Masks the digits of a number, which in `1.5` and `.5` follow a point.
fn push_number(masked: &mut String) {
    let before = masked.strip_suffix('.');
    match before {
        Some(before) if before.ends_with('?') => _ = masked.pop(),
        Some(before) if !before.ends_with(is_of_a_name) => {
            masked.pop();
            masked.push('?');
        }
        _ => masked.push('?'),
    }
}

fn is_of_a_name(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '"' | ']' | ')')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_comments_go_and_names_stay() {
        for (text, left) in [
            ("SELECT 1", "select ?"),
            ("select\n\t 1 ;", "select ? ;"),
            (
                "SELECT 'it''s', E'a\\'b', $$x$$, $t$y$t$, B'01'",
                "select ?, e?, ?, ?, b?",
            ),
            ("SELECT 1.5, .5, 1e5, -0x1F, 7", "select ?, ?, ?, -?, ?"),
            (
                "SELECT \"Odd 1\".a1, T.x2 FROM T",
                "select \"Odd 1\".a1, t.x2 from t",
            ),
            ("SELECT $1::int", "select $?::int"),
            ("SELECT 1 /* secret */ + -- secret\n 2", "select ? + ?"),
            ("SELECT 'not closed", "select ?"),
            ("", ""),
        ] {
            assert_eq!(masked(text), left, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn other_values_and_other_blanks_make_no_other_statement(
            a in "[a-z ]{0,8}", b in 0_u32.., blanks in "[ \n\t]{1,4}", comment in "[a-z ]{0,8}"
        ) {
            let one = format!("SELECT '{a}',{blanks}{b} --{comment}\nFROM t");
            proptest::prop_assert_eq!(masked(&one), "select ?, ? from t");
        }

        #[test]
        fn any_text_can_be_masked(text in ".{0,60}") {
            let _masked = masked(&text);
        }
    }
}
