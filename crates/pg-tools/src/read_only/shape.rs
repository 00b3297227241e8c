//! What queries have in common that differ only in whole numbers: to PostgreSQL they are one statement with different
//! values, which it can keep prepared.
//!
//! Agents and programs ask the same with one number after the other. A number becomes a parameter of the type that
//! PostgreSQL gives it, `integer`, so that the rest of the query means the same. A number stays in the text where it
//! means more than its value, as a position in `ORDER BY 1` and the like or as the size in `numeric(10, 2)`, and where
//! it is not certain to be a number. If something is overlooked here, PostgreSQL refuses the statement, and it is run
//! as it was written.

use session_pool::Parameter;
use tokio_postgres::types::Type;

use super::statement::{Statement, Token, tokens};

/// The most numbers that become parameters; more are a list, which seldom comes again with as many.
const MOST_NUMBERS: usize = 64;

/// Words that are followed by sizes in parentheses.
const SIZED: [&str; 18] = [
    "bit",
    "bpchar",
    "char",
    "character",
    "current_time",
    "current_timestamp",
    "dec",
    "decimal",
    "float",
    "interval",
    "localtime",
    "localtimestamp",
    "nchar",
    "numeric",
    "time",
    "timestamp",
    "varchar",
    "varying",
];

/// Words that are followed by how many rows are wanted, which planning depends on.
const COUNTED: [&str; 4] = ["limit", "offset", "first", "next"];

/// A text with parameters, and their values.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shape<'a> {
    pub(super) text: String,
    pub(super) numbers: Vec<Parameter<'a>>,
}

impl<'a> Shape<'a> {
    /// Replaces the numbers by parameters, if there are any and it is certain which they are.
    pub(super) fn of(statement: &Statement<'a>) -> Option<Self> {
        take_numbers(statement.text())
    }
}

fn take_numbers(text: &str) -> Option<Shape<'_>> {
    // With a backslash, where a string ends depends on a setting.
    if text.contains('\\') {
        return None;
    }
    let mut shape = String::with_capacity(text.len() + 16);
    let mut numbers = Vec::new();
    let (mut last, mut copied) = ("", 0);
    let mut sizes = false;
    for Token {
        at, text: token, ..
    } in tokens(text).filter(|token| !token.is_blank())
    {
        let end = at + token.len();
        match token {
            // A parameter of the caller's own.
            "$" => return None,
            // From here on a number may be a position. The only cost is that later numbers stay in the text.
            _ if token.eq_ignore_ascii_case("by") => break,
            _ if token.eq_ignore_ascii_case("on") && last.eq_ignore_ascii_case("distinct") => break,
            "(" if is_one_of(last, &SIZED) => sizes = true,
            ")" => sizes = false,
            _ if !is_integer(token) => {}
            _ if sizes || is_one_of(last, &COUNTED) || is_part(text, at, end) => {}
            _ => {
                if numbers.len() == MOST_NUMBERS {
                    return None;
                }
                numbers.push(Parameter {
                    type_oid: Type::INT4.oid(),
                    text: token.into(),
                });
                shape.push_str(&text[copied..at]);
                shape.push('$');
                shape.push_str(&numbers.len().to_string());
                copied = end;
            }
        }
        last = token;
    }
    shape.push_str(&text[copied..]);
    (!numbers.is_empty()).then_some(Shape {
        text: shape,
        numbers,
    })
}

fn is_one_of(word: &str, words: &[&str]) -> bool {
    words.iter().any(|known| known.eq_ignore_ascii_case(word))
}

/// Returns whether PostgreSQL takes a token for an `integer`.
fn is_integer(token: &str) -> bool {
    token.bytes().all(|byte| byte.is_ascii_digit()) && token.parse::<i32>().is_ok()
}

/// Returns whether the token may be part of something longer, as of `1.5`.
fn is_part(text: &str, at: usize, end: usize) -> bool {
    let is_glue = |byte: Option<&u8>| matches!(byte, Some(b'.' | b'$'));
    let bytes = text.as_bytes();
    is_glue(at.checked_sub(1).and_then(|before| bytes.get(before))) || is_glue(bytes.get(end))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn taken(text: &str) -> (String, Vec<String>) {
        let statement = Statement::check(text).unwrap();
        let Some(Shape { text, numbers }) = Shape::of(&statement) else {
            return (text.to_owned(), Vec::new());
        };
        let numbers = numbers.iter().map(|number| number.text.to_string());
        (text, numbers.collect())
    }

    #[test]
    fn whole_numbers_are_parameters() {
        for (text, shape, numbers) in [
            ("SELECT 1", "SELECT $1", &["1"][..]),
            (
                "SELECT a[2] FROM t WHERE id=42 AND b IN (7,42)",
                "SELECT a[$1] FROM t WHERE id=$2 AND b IN ($3,$4)",
                &["2", "42", "7", "42"],
            ),
            ("SELECT -5::text", "SELECT -$1::text", &["5"]),
            (
                "SELECT 2147483647, 007",
                "SELECT $1, $2",
                &["2147483647", "007"],
            ),
            (
                "SELECT 1 -- 2\n + /* 3 */ 4",
                "SELECT $1 -- 2\n + /* 3 */ $2",
                &["1", "4"],
            ),
            (
                "SELECT * FROM a JOIN b ON a.x = 1",
                "SELECT * FROM a JOIN b ON a.x = $1",
                &["1"],
            ),
        ] {
            let numbers: Vec<_> = numbers.iter().map(|number| number.to_string()).collect();
            assert_eq!(taken(text), (shape.to_owned(), numbers), "{text}");
        }
    }

    #[test]
    fn what_is_more_or_less_than_a_number_stays() {
        for text in [
            "SELECT a FROM t",
            "SELECT 'a 1', \"b 2\", $$ 3 $$, $x$ 4 $x$, E'5', B'101', X'1F'",
            "SELECT 1.5, .5, 5., 1e5, 0x1F, 1_000, t1, t.x1, 1a",
            "SELECT 2147483648",
            "SELECT a, b FROM t GROUP BY 1, 2 ORDER BY 1",
            "SELECT DISTINCT ON (1) a FROM t WHERE b = 2",
            "SELECT a::numeric(10, 2), CAST(b AS varchar(5)), c::timestamp (3), current_timestamp(0)",
            "SELECT a FROM t LIMIT 10 OFFSET 20",
            "SELECT a FROM t FETCH FIRST 5 ROWS ONLY",
            "SELECT $1, 2",
            r"SELECT '\', 2",
            "SELECT 1$",
        ] {
            assert_eq!(taken(text), (text.to_owned(), Vec::new()));
        }
        let list = format!("SELECT {}", ["1"; MOST_NUMBERS + 1].join(","));
        assert_eq!(taken(&list), (list.clone(), Vec::new()));
    }

    #[test]
    fn what_comes_before_a_place_is_taken() {
        let (text, numbers) = taken("SELECT a, 5 FROM t WHERE id = 3 GROUP BY 1 HAVING b > 4");
        assert_eq!(
            text,
            "SELECT a, $1 FROM t WHERE id = $2 GROUP BY 1 HAVING b > 4"
        );
        assert_eq!(numbers, ["5", "3"]);
    }
}
