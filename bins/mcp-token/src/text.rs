//! Results as people read them.

use std::fmt::Write;

use time::{
    OffsetDateTime, format_description::StaticFormatDescription, macros::format_description,
};
use token_store::{Secret, Token, TokenSet};

const DATE: StaticFormatDescription = format_description!("[year]-[month]-[day]");
const SECOND: StaticFormatDescription =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");

/// What a new token's database line says.
pub(crate) enum DatabaseShown<'a> {
    /// It is bound to this one.
    Bound(&'a str),
    /// It is not bound; this is the first configured one.
    Default(&'a str),
    /// It is not bound, and none is configured yet.
    First,
}

pub(crate) fn added(token: &Token, secret: &Secret, database: &DatabaseShown<'_>) -> String {
    let database = match database {
        DatabaseShown::Bound(name) => printable(name),
        DatabaseShown::Default(name) => format!("{} (default)", printable(name)),
        DatabaseShown::First => "the first configured one (default)".into(),
    };
    format!(
        "Token created successfully:\n\
         Token: {secret}\n\
         ID: {id}\n\
         Note: {note}\n\
         Database: {database}\n\
         Expiry: {expiry}\n\
         Hash (first 12 chars): {hash}...\n\
         \n\
         Store this token securely. It cannot be retrieved later.\n\
         \n\
         Warning\n\
         The generated token is shown only once. Save it immediately!\n",
        secret = secret.expose(),
        id = token.id,
        note = note(token),
        expiry = expiry(token),
        hash = token.hash.prefix(),
    )
}

pub(crate) fn list(set: &TokenSet, now: OffsetDateTime) -> String {
    let mut out = String::from("API Tokens:\n===========\n\n");
    for token in set.iter() {
        out.push_str(&facts(token));
        let expires = token
            .expires_at
            .map_or_else(|| "Never".to_owned(), |end| stamp(end, SECOND));
        let status = if token.is_expired(now) {
            "Expired"
        } else {
            "Valid"
        };
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "Created: {}\nExpires: {expires}\nStatus: {status}\n\n",
            stamp(token.created_at, SECOND)
        );
    }
    out.push_str(&format!("Total tokens: {}\n", set.len()));
    out
}

pub(crate) fn removed(token: &Token) -> String {
    format!("Token removed successfully:\n{}", facts(token))
}

/// The lines by which a person recognises a token.
fn facts(token: &Token) -> String {
    let database = token.database.as_ref().map_or_else(String::new, |name| {
        format!("Database: {}\n", printable(name))
    });
    format!(
        "ID: {}\nNote: {}\n{database}Hash (first 12 chars): {}...\n",
        token.id,
        note(token),
        token.hash.prefix()
    )
}

pub(crate) fn note(token: &Token) -> String {
    if token.note.is_empty() {
        return "(none)".into();
    }
    printable(&token.note)
}

/// Writes `2025-10-30 (365 days from now)`, or `never`.
fn expiry(token: &Token) -> String {
    let Some(end) = token.expires_at else {
        return "never".into();
    };
    let hours = (end - token.created_at).whole_hours();
    let (count, unit) = if hours % 24 == 0 {
        (hours / 24, "day")
    } else {
        (hours, "hour")
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{} ({count} {unit}{plural} from now)", stamp(end, DATE))
}

fn stamp(instant: OffsetDateTime, form: StaticFormatDescription) -> String {
    instant
        .format(form)
        .expect("a date and a time of day can be formatted")
}

/// Escapes what could move the cursor, change colours or turn the reading direction of a terminal.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        let hidden = matches!(u32::from(character),
            0x061c | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x2069 | 0xfeff | 0xfff9..=0xfffb);
        if hidden || character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}
