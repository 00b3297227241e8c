//! The API key that a model's server requires.

use std::fmt;

use hyper::header::HeaderValue;
use zeroize::Zeroizing;

/// A key. Never shown; wiped on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Zeroizing<String>);

/// Why a text is not a key. It never holds the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is empty or blank.
    #[error("the key is empty")]
    Empty,
    /// It has characters that an HTTP header cannot hold.
    #[error("the key has characters that a key cannot have, such as a line break")]
    NotAKey,
}

impl Key {
    /// Makes a key, trimming surrounding white space: files end with a line break.
    ///
    /// # Errors
    /// Nothing is left, or the rest cannot be sent in a header.
    pub fn new(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(KeyError::Empty);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(KeyError::NotAKey);
        }
        Ok(Key(Zeroizing::new(text.to_owned())))
    }

    /// Returns the key as a header value after `before`, such as a scheme, marked as sensitive so that hyper does not
    /// log it.
    pub(crate) fn header(&self, before: &str) -> HeaderValue {
        let text = Zeroizing::new(format!("{before}{}", self.0.as_str()));
        let mut value =
            HeaderValue::from_str(&text).expect("a key has nothing but graphic ASCII characters");
        value.set_sensitive(true);
        value
    }

    /// Removes the key from a text that a server wrote.
    pub(crate) fn censor(&self, text: &str) -> String {
        text.replace(self.0.as_str(), "(the key)")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Key(..)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_key_is_graphic_characters_without_the_blanks_around() {
        assert_eq!(
            Key::new(" sk-1\n").unwrap().header("Bearer "),
            "Bearer sk-1"
        );
        for (text, error) in [
            ("", KeyError::Empty),
            (" \n", KeyError::Empty),
            ("a b", KeyError::NotAKey),
            ("a\nb", KeyError::NotAKey),
            ("é", KeyError::NotAKey),
        ] {
            assert_eq!(Key::new(text).unwrap_err(), error, "{text:?}");
        }
    }

    #[test]
    fn a_key_is_never_shown() {
        let key = Key::new("sk-canary").unwrap();
        let shown = format!("{key:?} {:?}", key.header("Bearer "));
        assert!(!shown.contains("canary"), "{shown}");
        assert_eq!(key.censor("wrong: sk-canary!"), "wrong: (the key)!");
    }
}
