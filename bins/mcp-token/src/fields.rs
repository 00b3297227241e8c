//! Unknown fields of a token's entry.

use server_config::keys::nearest;
use token_store::{LIMITS, Token, entry_fields};

use crate::text;

/// A field that is unknown and so has no effect: a misspelt limit limits nothing, and a misspelt
/// expiry never comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownField {
    /// The message to show.
    pub message: String,
    /// Whether it is similar to a known one.
    pub is_misspelt: bool,
}

/// Lists them.
pub fn unknown_fields(token: &Token) -> impl Iterator<Item = UnknownField> {
    token.unknown_fields().map(|field| {
        let limits = LIMITS.iter().map(|limit| limit.name);
        let meant = nearest(field, entry_fields().chain(limits));
        let hint = meant.map(|meant| format!("; did you mean `{meant}`?"));
        UnknownField {
            message: format!(
                "the field `{}` is not known and has no effect{}",
                text::printable(field),
                hint.unwrap_or_default()
            ),
            is_misspelt: meant.is_some(),
        }
    })
}
