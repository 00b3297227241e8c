//! A token's text and its hash, which is all that is stored.

use std::fmt;

use base64ct::{Base64Url, Encoding};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Bytes of randomness in a token: 256 bits cannot be guessed, so a plain hash is enough.
const SECRET_BYTES: usize = 32;

/// A token's text: shown once, never stored, and wiped on drop.
///
/// Any text can be one, to be hashed and looked up. A token can only be given one of 1 to
/// [`Secret::MAX_BYTES`] bytes, because no other is ever accepted. Whoever makes the text is
/// responsible for how hard it is to guess; [`Secret::generate`] makes one that cannot be guessed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret(String);

impl Secret {
    /// The longest text that is accepted, in bytes. Generated ones have 44.
    pub const MAX_BYTES: usize = 512;

    /// Generates a token from the operating system's randomness.
    ///
    /// # Errors
    /// The operating system provided no randomness.
    pub fn generate() -> Result<Self, RandomError> {
        let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
        getrandom::fill(bytes.as_mut_slice()).map_err(RandomError)?;
        Ok(Self::from_random_bytes(&bytes))
    }

    /// Makes a token of 44 characters, padded URL-safe base64 (RFC 4648, section 5), from the given randomness.
    #[must_use]
    pub fn from_random_bytes(bytes: &[u8; SECRET_BYTES]) -> Self {
        Self(Base64Url::encode_string(bytes))
    }

    /// Shows the text, to be printed once after its creation.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Hashes the text.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }
}

/// Says whether a text of this length is accepted at all.
pub(crate) fn is_accepted(text: &str) -> bool {
    (1..=Secret::MAX_BYTES).contains(&text.len())
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(..)")
    }
}

/// The operating system provided no randomness.
#[derive(Debug, thiserror::Error)]
#[error("failed to read the operating system's randomness: {0}")]
pub struct RandomError(getrandom::Error);

/// How many zero bytes a hash ends with for which no secret is known.
const ZEROS: usize = 10;

/// The SHA-256 of a token's text. It is what the file keeps, and the key by which a presented token is looked up.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Hashes a presented token's text.
    #[must_use]
    pub fn of(presented: &str) -> Self {
        Self(Sha256::digest(presented.as_bytes()).into())
    }

    /// Makes a hash for which no secret is known; its end shows that, and no digest will have that
    /// end by chance.
    pub(crate) fn nobodys() -> Result<Self, RandomError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes[..32 - ZEROS]).map_err(RandomError)?;
        Ok(Self(bytes))
    }

    /// Says whether the hash was written over another one.
    #[must_use]
    pub fn is_nobodys(&self) -> bool {
        self.0[32 - ZEROS..] == [0; ZEROS]
    }

    /// Reads 64 hexadecimal digits in either case.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let text: &[u8; 64] = text.as_bytes().try_into().ok()?;
        let mut bytes = [0; 32];
        // All digits are looked up before any is checked: a branch for each would cost more than
        // everything else.
        let mut wrong = 0;
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            let (high, low) = (DIGIT[usize::from(pair[0])], DIGIT[usize::from(pair[1])]);
            wrong |= high | low;
            *byte = high << 4 | low;
        }
        (wrong < 16).then_some(Self(bytes))
    }

    /// Writes 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(64);
        for byte in self.0 {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 0xf)]));
        }
        text
    }

    /// Writes the first 12 digits: enough to tell tokens apart by eye.
    #[must_use]
    pub fn prefix(&self) -> String {
        let mut digits = self.to_hex();
        digits.truncate(12);
        digits
    }

    /// Returns its first eight bytes as a number: enough to tell the secrets of one token apart.
    #[must_use]
    pub fn number(&self) -> u64 {
        let first = self.0.iter().take(8);
        first.fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "TokenHash({}...)", self.prefix())
    }
}

/// The value of each byte as a hexadecimal digit; 255 for bytes that are not digits.
const DIGIT: [u8; 256] = {
    let mut values = [255; 256];
    let mut value = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value as usize] as usize] = value;
        values[b"0123456789ABCDEF"[value as usize] as usize] = value;
        value += 1;
    }
    values
};
