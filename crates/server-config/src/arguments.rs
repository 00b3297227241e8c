//! Command lines as Go programs spell them: `-token-file F` for `--token-file F`.

use std::ffi::OsString;

/// Turns single-dash long options into double-dash ones, so that one parser serves both.
///
/// A word of one dash and at least two more characters, the first a letter, is such an option, known
/// or not: the parser can then say which known one is near. What follows `--` stays as it is, and so
/// does the word after an option that `takes_value` and stands alone.
///
/// ```
/// use server_config::arguments::double_dashes;
///
/// let line = ["mcp-server", "-http", "-addr", "-odd", "-tls=true", "-v", "-5s", "--", "-http"];
/// let turned = double_dashes(line, &["addr"]);
/// assert_eq!(turned, ["mcp-server", "--http", "--addr", "-odd", "--tls=true", "-v", "-5s", "--", "-http"]);
/// ```
pub fn double_dashes<I>(line: I, takes_value: &[&str]) -> Vec<OsString>
where
    I: IntoIterator,
    I::Item: Into<OsString>,
{
    let mut verbatim = false;
    let mut value_next = false;
    let mut turned = Vec::new();
    for word in line {
        let word = word.into();
        let was_value = std::mem::take(&mut value_next);
        verbatim |= word == "--" && !was_value;
        match word.to_str().and_then(long_option) {
            Some(option) if !verbatim && !was_value => {
                value_next = takes_value.contains(&option);
                turned.push(format!("--{option}").into());
            }
            _ => turned.push(word),
        }
    }
    turned
}

/// Takes the dashes off a long option.
fn long_option(word: &str) -> Option<&str> {
    let option = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
    let is_long = option.len() > 1 && option.starts_with(|first: char| first.is_ascii_alphabetic());
    is_long.then_some(option)
}
