//! The text of a query, before PostgreSQL sees it.

use std::borrow::Cow;

use super::failure::ReadError;

/// The longest text that is taken, in bytes.
const LONGEST: usize = 64 * 1024;

/// The longest run of the characters that operators and comment marks consist of. PostgreSQL scans a run again from
/// each of its characters and cannot be interrupted meanwhile: 60,000 take it many seconds, whatever the time limit.
const LONGEST_OPERATOR: usize = 1_000;

/// A query's text that was checked and can be wrapped.
#[derive(Debug)]
pub(crate) struct Statement<'a>(&'a str);

impl<'a> Statement<'a> {
    /// Checks the text, and removes the semicolon that people end a statement with and the Markdown fence that models
    /// put around it.
    ///
    /// # Errors
    /// [`ReadError::Refused`] with what to write instead.
    pub(crate) fn check(text: &'a str) -> Result<Self, ReadError> {
        if text.len() > LONGEST {
            return Err(ReadError::refused(format!(
                "the query has {} bytes; at most {LONGEST} are taken",
                text.len()
            )));
        }
        if text.contains('\0') {
            return Err(ReadError::refused(
                "the query contains a NUL character; remove it",
            ));
        }
        if has_unicode_escape(text) {
            return Err(ReadError::refused(
                "the query uses U& escapes, which can hide names; write the characters themselves",
            ));
        }
        if longest_operator(text) > LONGEST_OPERATOR {
            return Err(ReadError::refused(format!(
                "the query has more than {LONGEST_OPERATOR} operator characters in a row, such as +, * or /; \
                 put a blank between them"
            )));
        }
        let statement = without_end(without_fence(text));
        if statement.is_empty() {
            return Err(ReadError::refused(
                "the query is empty; write one SELECT statement",
            ));
        }
        Ok(Statement(statement))
    }

    pub(crate) fn text(&self) -> &'a str {
        self.0
    }

    /// Returns whether the text gives the result an order. The result may be ordered even if this is false.
    pub(super) fn is_ordered(&self) -> bool {
        is_ordered(self.0)
    }

    /// Iterates over the words that may be names, with ASCII letters in lower case.
    pub(super) fn words(&self) -> impl Iterator<Item = Cow<'a, str>> {
        words(self.0)
    }
}

/// The Turkish capital of `i`, which PostgreSQL turns into `i` in names if the database's encoding has one byte per
/// character. No other character becomes an ASCII one.
const DOTTED: char = 'İ';

/// Iterates over the words of a text, also those in strings and comments, with ASCII letters in lower case.
pub(crate) fn words(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let is_of_a_word = |byte: u8| byte == b'$' || IN_WORD[usize::from(byte)];
    let mut rest = text;
    std::iter::from_fn(move || {
        let begin = rest.bytes().position(is_of_a_word)?;
        let end = rest
            .bytes()
            .skip(begin)
            .position(|byte| !is_of_a_word(byte));
        let end = end.map_or(rest.len(), |length| begin + length);
        let word = &rest[begin..end];
        rest = &rest[end..];
        let is_lower = |byte: u8| byte.is_ascii() && !byte.is_ascii_uppercase();
        Some(match word.bytes().all(is_lower) {
            true => word.into(),
            false => word.replace(DOTTED, "i").to_ascii_lowercase().into(),
        })
    })
}

/// Checks for `U&"` and `U&'` anywhere in the text.
fn has_unicode_escape(text: &str) -> bool {
    text.as_bytes()
        .windows(3)
        .any(|three| matches!(three, [b'u' | b'U', b'&', b'"' | b'\'']))
}

/// The bytes that PostgreSQL's operators consist of.
const IN_OPERATOR: [bool; 256] = {
    let (characters, mut bytes, mut at) = (b"~!@#^&|`?+-*/%<>=", [false; 256], 0);
    while at < characters.len() {
        bytes[characters[at] as usize] = true;
        at += 1;
    }
    bytes
};

/// Returns the length of the longest run of operator characters, also of those in strings and comments.
fn longest_operator(text: &str) -> usize {
    let (mut run, mut longest) = (0, 0);
    for byte in text.bytes() {
        run = if IN_OPERATOR[usize::from(byte)] {
            run + 1
        } else {
            0
        };
        longest = longest.max(run);
    }
    longest
}

/// Cuts off the last semicolon and what follows it, if that is only white space and comments.
///
/// A mistake here lets nothing through: PostgreSQL judges what is left.
fn without_end(text: &str) -> &str {
    if !text.contains(';') {
        return text.trim();
    }
    let mut end = None;
    for token in tokens(text) {
        match token.kind {
            TokenKind::Blank => {}
            _ if token.text == ";" => _ = end.get_or_insert(token.at),
            _ => end = None,
        }
    }
    text[..end.unwrap_or(text.len())].trim()
}

/// Removes the Markdown fence around a text, with the language in its first line.
///
/// A mistake here lets nothing through: PostgreSQL judges what is left.
pub(crate) fn without_fence(text: &str) -> &str {
    let fenced = text.trim().strip_prefix("```");
    let Some(inner) = fenced.and_then(|fenced| fenced.strip_suffix("```")) else {
        return text;
    };
    let is_language = |line: &str| line.trim().chars().all(char::is_alphanumeric);
    match inner.split_once('\n') {
        Some((line, rest)) if is_language(line) => rest,
        _ => inner,
    }
}

/// Removes `EXPLAIN` and its options from a query that is to be explained.
///
/// A mistake here lets nothing through: PostgreSQL judges what is left.
pub(crate) fn without_explain(text: &str) -> &str {
    let text = without_fence(text);
    let mut rest = tokens(text).filter(|token| !token.is_blank());
    let is = |token: &Token<'_>, word: &str| token.text.eq_ignore_ascii_case(word);
    if !rest.next().is_some_and(|first| is(&first, "explain")) {
        return text;
    }
    let mut in_list = false;
    let query = rest.find(|token| {
        let was_in_list = in_list;
        in_list = token.text == "(" || in_list && token.text != ")";
        let is_option = ["analyze", "analyse", "verbose"]
            .iter()
            .any(|one| is(token, one));
        !was_in_list && !in_list && !is_option
    });
    query.map_or(text, |query| &text[query.at..])
}

/// Checks for `ORDER BY` outside of all parentheses, where it orders the whole result.
fn is_ordered(text: &str) -> bool {
    let mut depth = 0_usize;
    let mut after_order = false;
    for token in tokens(text) {
        match token.text {
            _ if token.kind == TokenKind::Blank => continue,
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            word if depth == 0 && after_order && word.eq_ignore_ascii_case("by") => return true,
            _ => {}
        }
        after_order = depth == 0 && token.text.eq_ignore_ascii_case("order");
    }
    false
}

/// A piece of SQL, told apart only as far as is needed to distinguish names from strings.
pub(super) struct Token<'a> {
    pub(super) at: usize,
    pub(super) text: &'a str,
    kind: TokenKind,
}

impl Token<'_> {
    /// Says whether it is white space or a comment.
    pub(super) fn is_blank(&self) -> bool {
        self.kind == TokenKind::Blank
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// White space or a comment.
    Blank,
    /// A word, a literal, or one other character.
    Other,
}

/// Splits a text into tokens, none of which is empty; together they make up the text.
pub(super) fn tokens(text: &str) -> impl Iterator<Item = Token<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = &text[at..];
        let (length, kind) = match rest.chars().next()? {
            '-' if rest.starts_with("--") => (
                rest.find(['\n', '\r']).map_or(rest.len(), |at| at + 1),
                TokenKind::Blank,
            ),
            '/' if rest.starts_with("/*") => (comment_length(rest), TokenKind::Blank),
            blank if blank.is_ascii_whitespace() => (1, TokenKind::Blank),
            '\'' => {
                let escapes = escapes_before(text, rest);
                (quoted_length(rest, '\'', escapes), TokenKind::Other)
            }
            '"' => (quoted_length(rest, '"', false), TokenKind::Other),
            '$' => (dollar_length(text, rest), TokenKind::Other),
            first if is_in_word(first) => (word_length(rest), TokenKind::Other),
            other => (other.len_utf8(), TokenKind::Other),
        };
        let token = Token {
            at,
            text: &rest[..length],
            kind,
        };
        at += length;
        Some(token)
    })
}

/// Whether a byte is part of words. Every byte of a non-ASCII character is.
const IN_WORD: [bool; 256] = {
    let mut bytes = [true; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        bytes[byte as usize] = byte.is_ascii_alphanumeric() || byte == b'_';
        byte += 1;
    }
    bytes
};

fn is_in_word(character: char) -> bool {
    u8::try_from(character).map_or(true, |byte| IN_WORD[usize::from(byte)])
}

fn word_length(rest: &str) -> usize {
    let mut bytes = rest.bytes();
    let end = bytes.position(|byte| !IN_WORD[usize::from(byte)]);
    end.unwrap_or(rest.len())
}

/// Returns whether the quote at the start of `rest` begins an `E'..'` string, in which a backslash escapes.
fn escapes_before(text: &str, rest: &str) -> bool {
    let before = &text[..text.len() - rest.len()];
    let mut backwards = before.bytes().rev();
    matches!(backwards.next(), Some(b'e' | b'E'))
        && !backwards
            .next()
            .is_some_and(|byte| IN_WORD[usize::from(byte)])
}

fn quoted_length(rest: &str, quote: char, escapes: bool) -> usize {
    let mut characters = rest.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        if character == '\\' && escapes {
            characters.next();
        } else if character == quote {
            return at + 1;
        }
    }
    rest.len()
}

fn comment_length(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let (mut depth, mut at) = (0_usize, 0);
    while at < bytes.len() {
        match bytes.get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") if depth == 1 => return at + 2,
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    rest.len()
}

fn dollar_length(text: &str, rest: &str) -> usize {
    let before = text[..text.len() - rest.len()].bytes().next_back();
    let in_word = before.is_some_and(|byte| IN_WORD[usize::from(byte)]);
    let tag = rest[1..].find('$').map(|at| &rest[..at + 2]);
    match tag {
        Some(tag) if !in_word && is_tag(&tag[1..tag.len() - 1]) => rest[tag.len()..]
            .find(tag)
            .map_or(rest.len(), |at| at + 2 * tag.len()),
        _ => 1,
    }
}

fn is_tag(tag: &str) -> bool {
    !tag.starts_with(|first: char| first.is_ascii_digit())
        && tag
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_around_the_text_goes() {
        for (text, left) in [
            ("```sql\nSELECT 1\n```", "SELECT 1"),
            ("\n```\nSELECT 1;\n```\n", "SELECT 1"),
            ("```SELECT 1```", "SELECT 1"),
            ("```sql\nSELECT 1", "```sql\nSELECT 1"),
            ("Look:\n```\nSELECT 1\n```", "Look:\n```\nSELECT 1\n```"),
        ] {
            let statement = Statement::check(text);
            assert!(statement.is_ok_and(|it| it.text() == left), "{text}");
        }
        assert!(Statement::check("```").is_ok_and(|statement| statement.text() == "```"));
        assert!(Statement::check("``````").is_err());
    }

    #[test]
    fn explain_and_its_options_go() {
        for (text, left) in [
            ("SELECT 1", "SELECT 1"),
            ("EXPLAIN SELECT 1", "SELECT 1"),
            (
                "explain analyze verbose /* x */ WITH x AS (SELECT 1) TABLE x",
                "WITH x AS (SELECT 1) TABLE x",
            ),
            ("EXPLAIN (ANALYZE, FORMAT JSON)\nSELECT (1)", "SELECT (1)"),
            ("```sql\nEXPLAIN SELECT 1\n```", "SELECT 1\n"),
            ("EXPLAIN (SELECT 1)", "EXPLAIN (SELECT 1)"),
            ("EXPLAIN", "EXPLAIN"),
        ] {
            assert_eq!(without_explain(text), left, "{text}");
        }
    }

    #[test]
    fn the_last_semicolon_goes_and_others_stay() {
        for (text, left) in [
            ("SELECT 1", "SELECT 1"),
            (" SELECT 1 ; ", "SELECT 1"),
            ("SELECT 1;; -- done", "SELECT 1"),
            ("SELECT 1; /* a /* b */ c */ ", "SELECT 1"),
            ("SELECT 1; SELECT 2;", "SELECT 1; SELECT 2"),
            ("SELECT ';'", "SELECT ';'"),
            ("SELECT ';';", "SELECT ';'"),
            ("SELECT 'a'';';", "SELECT 'a'';'"),
            (r"SELECT E'\';';", r"SELECT E'\';'"),
            (r"SELECT '\';", r"SELECT '\'"),
            ("SELECT \";\";", "SELECT \";\""),
            ("SELECT $$;$$;", "SELECT $$;$$"),
            ("SELECT $a$;$$;$a$;", "SELECT $a$;$$;$a$"),
            ("SELECT a$1;", "SELECT a$1"),
            ("SELECT 1 -- ; x", "SELECT 1 -- ; x"),
            ("SELECT 1; -- x\r, 2", "SELECT 1; -- x\r, 2"),
            ("SELECT 'é;'; -- ü", "SELECT 'é;'"),
            (";", ""),
            ("-- only a comment", "-- only a comment"),
        ] {
            assert_eq!(without_end(text), left, "{text}");
        }
    }

    #[test]
    fn words_are_such_as_postgresql_reads_in_any_encoding() {
        for (text, expected) in [
            ("SELECT Pg_Sleep(1)", vec!["select", "pg_sleep", "1"]),
            ("pg_notİfy", vec!["pg_notify"]),
            ("SET_CONFİG('é', $1)", vec!["set_config", "é", "$1"]),
        ] {
            assert_eq!(words(text).collect::<Vec<_>>(), expected, "{text}");
        }
    }

    #[test]
    fn an_order_counts_only_outside_of_parentheses_texts_and_comments() {
        for (text, ordered) in [
            ("SELECT 1 ORDER BY 1", true),
            ("select 1 order\n-- x\n by 1", true),
            ("SELECT (1) FROM a order/**/by b LIMIT 3", true),
            ("SELECT 1", false),
            ("(SELECT 1 ORDER BY 1)", false),
            ("SELECT rank() OVER (ORDER BY a) FROM t", false),
            ("WITH w AS (SELECT 1 ORDER BY 1) SELECT * FROM w", false),
            ("SELECT ' ORDER BY '", false),
            ("SELECT 1 -- ORDER BY 1", false),
            ("SELECT $$) ORDER BY 1$$", false),
            ("SELECT \"order\" by", false),
            ("SELECT a.border by", false),
        ] {
            assert_eq!(is_ordered(text), ordered, "{text}");
        }
    }

    #[test]
    fn texts_that_hide_or_bloat_are_refused() {
        let long = "x".repeat(LONGEST + 1);
        let comments = "/**/".repeat(LONGEST_OPERATOR / 4 + 1);
        for text in [
            "",
            "  ",
            ";",
            "SELECT '\0'",
            "SELECT U&\"a\"",
            "select u&'a'",
            &long,
            &comments,
        ] {
            assert!(
                matches!(Statement::check(text), Err(ReadError::Refused(_))),
                "{text:.20}"
            );
        }
        let banner = format!(
            "/{}/ SELECT 1 -- {}",
            "*".repeat(200),
            "=".repeat(LONGEST_OPERATOR)
        );
        assert!(Statement::check(&banner).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_the_scan(text in "[-'\"$/*;\\\\eE a1é\n]{0,60}") {
            let whole: String = tokens(&text).map(|token| token.text).collect();
            proptest::prop_assert_eq!(&whole, &text);
            let left = without_end(&text);
            proptest::prop_assert!(text.contains(left));
        }
    }
}
