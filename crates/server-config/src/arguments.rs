//! Command lines as Go programs spell them: `-token-file F` for `--token-file F`.

use std::ffi::OsString;

/// Turns single-dash long options into double-dash ones, so that one parser serves both.
///
/// Only the `known` long names are touched (as `-name` and `-name=value`); all that follows `--`
/// stays as it is, and so does the word after an option that takes a value and stands alone:
/// `takes_value` says which do.
///
/// ```
/// let line = ["mcp-server", "-http", "-addr", "-odd-", "-tls=true", "-v", "--", "-http"];
/// let known = ["http", "addr", "tls"];
/// let turned = server_config::arguments::double_dashes(line, &known, &["addr"]);
/// assert_eq!(turned, ["mcp-server", "--http", "--addr", "-odd-", "--tls=true", "-v", "--", "-http"]);
/// ```
pub fn double_dashes<I>(line: I, known: &[&str], takes_value: &[&str]) -> Vec<OsString>
where
    I: IntoIterator,
    I::Item: Into<OsString>,
{
    let mut verbatim = false;
    let mut value_next = false;
    let mut turned = Vec::new();
    for word in line {
        let word = word.into();
        let name = word
            .to_str()
            .and_then(long_name)
            .filter(|name| known.contains(name))
            .map(str::to_owned);
        verbatim |= word == "--" && !value_next;
        match name {
            Some(name) if !verbatim && !value_next => {
                let text = word.to_string_lossy();
                value_next = takes_value.contains(&name.as_str()) && !text.contains('=');
                turned.push(format!("--{}", text.trim_start_matches('-')).into());
            }
            _ => {
                value_next = false;
                turned.push(word);
            }
        }
    }
    turned
}

fn long_name(word: &str) -> Option<&str> {
    let rest = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
    Some(rest.split_once('=').map_or(rest, |(name, _)| name))
}
