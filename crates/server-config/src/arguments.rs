//! Command lines as Go programs spell them, `-token-file F` for `--token-file F`, and those that expose a secret.

use std::ffi::{OsStr, OsString};

/// The length of a token's text without its final `=`, in characters: 32 bytes in base64.
const TOKEN_CHARACTERS: usize = 43;

/// A secret on a command line, where everybody on the machine can see it. Reported instead of an error that would
/// repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exposed {
    /// A word with the shape of a token.
    #[error(
        "this command line is not understood, and not repeated, since a word of it is as long as a token; name a token by its id or the first digits of its hash (`mcp-token list`), or pipe it into `mcp-token verify`: what stands on a command line is seen by others on the machine, and kept by shells"
    )]
    Token,
    /// A connection string with a password.
    #[error(
        "this command line is not understood, and not repeated, since a word of it holds a password; databases and their passwords belong in the configuration (`databases`): what stands on a command line is seen by others on the machine, and kept by shells"
    )]
    Password,
}

impl Exposed {
    /// Finds the first secret on a command line that could not be parsed.
    ///
    /// ```
    /// use server_config::arguments::Exposed;
    ///
    /// let line = ["mcp-server", "-http", "postgres://shop:open-sesame@db/shop"];
    /// assert_eq!(Exposed::find(line), Some(Exposed::Password));
    /// assert_eq!(Exposed::find(["mcp-server", "-htp"]), None);
    /// ```
    pub fn find<I>(line: I) -> Option<Self>
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        line.into_iter()
            .find_map(|word| Self::of(&word.as_ref().to_string_lossy()))
    }

    fn of(word: &str) -> Option<Self> {
        let in_token =
            |character: char| character.is_ascii_alphanumeric() || "-_".contains(character);
        if word
            .split(|character| !in_token(character))
            .any(|run| run.len() == TOKEN_CHARACTERS)
        {
            return Some(Self::Token);
        }
        let in_url = word.split_once("://").is_some_and(|(_, rest)| {
            let host = rest.rsplit_once('@');
            host.is_some_and(|(user, _)| user.contains(':'))
        });
        (in_url || word.contains("password=")).then_some(Self::Password)
    }
}

/// Turns single-dash long options into double-dash ones, so that one parser serves both.
///
/// A word of one dash and at least two more characters, the first a letter, is such an option, known or not, so that
/// the parser can suggest a similar one. Words after `--` stay unchanged, and so does the value after an option that
/// `takes_value` and has no `=`.
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

/// Strips the dashes from a long option.
fn long_option(word: &str) -> Option<&str> {
    let option = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
    let is_long = option.len() > 1 && option.starts_with(|first: char| first.is_ascii_alphabetic());
    is_long.then_some(option)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "Abcdefghijklmnopqrstuvwxyz_123456789-BCDEFG=";

    #[test]
    fn a_token_is_found_wherever_it_stands() {
        let dashed = format!("-{}", &TOKEN[1..]);
        let long = format!("--{}", &TOKEN[2..]);
        let valued = format!("--token={TOKEN}");
        let header = format!("Authorization: Bearer {TOKEN}");
        let cut = TOKEN.trim_end_matches('=');
        for word in [TOKEN, &dashed, &long, &valued, &header, cut] {
            assert_eq!(
                Exposed::find(["mcp-token", word]),
                Some(Exposed::Token),
                "{word}"
            );
        }
    }

    #[test]
    fn a_password_is_found_in_both_forms_of_a_connection_string() {
        for word in [
            "postgres://shop:open@db/shop",
            "--dsn=postgresql://shop:p@ss@db:5432/shop",
            "host=db user=shop password=open",
        ] {
            assert_eq!(Exposed::find([word]), Some(Exposed::Password), "{word}");
        }
    }

    #[test]
    fn what_is_no_secret_may_be_repeated() {
        let hash = "0123456789abcdef".repeat(4);
        for word in [
            "--expect",
            &hash,
            "https://db.example:5432/a",
            "postgres://shop@db/shop",
            "-httpp",
            "90 d",
        ] {
            assert_eq!(Exposed::find([word]), None, "{word}");
        }
    }
}
