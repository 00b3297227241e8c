//! Results as text for people.

use std::fmt::Write;

use time::{
    OffsetDateTime, format_description::StaticFormatDescription, macros::format_description,
};
use token_store::{LIMITS, Names, PasswordSource, Policy, Role, Secret, Token, Usage};

use crate::rotate::old_secret_ends;

const DATE: StaticFormatDescription = format_description!("[year]-[month]-[day]");
const SECOND: StaticFormatDescription =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");

/// What a new token's database line says.
pub(crate) enum DatabaseShown<'a> {
    /// It is bound to these.
    Bound(&'a Names),
    /// It is not bound; this is the first configured one.
    Default(&'a str),
    /// It is not bound, and none is configured yet.
    First,
}

pub(crate) fn added(token: &Token, secret: &Secret, database: &DatabaseShown<'_>) -> String {
    let database = match database {
        DatabaseShown::Bound(names) => databases(names),
        DatabaseShown::Default(name) => format!("Database: {} (default)\n", printable(name)),
        DatabaseShown::First => "Database: the first configured one (default)\n".into(),
    };
    format!(
        "Token created successfully:\n\
         Token: {secret}\n\
         ID: {id}\n\
         Note: {note}\n\
         {database}\
         Expiry: {expiry}\n\
         Hash (first 12 chars): {hash}...\n\
         {policy}\
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
        policy = policy(&token.policy.read()),
    )
}

/// Shows the SQL that makes a token's role. It contains only the verifier of the password.
pub(crate) fn sql(sql: String) -> String {
    format!(
        "\nRun this with psql, as a role that may create roles and grant these rights:\n\n{sql}"
    )
}

pub(crate) fn rotated(token: &Token, secret: &Secret, now: OffsetDateTime) -> String {
    let until = match old_secret_ends(token).filter(|end| now < *end) {
        Some(end) => format!("until {}", self::end(end)),
        None => "not any more".into(),
    };
    format!(
        "Token rotated successfully:\nToken: {secret}\n{facts}Old secret accepted: {until}\n\n\
         Store this token securely. It cannot be retrieved later.\n",
        secret = secret.expose(),
        facts = facts(token),
    )
}

/// Shows tokens with how each was used, if that is known.
pub(crate) fn list(tokens: &[(&Token, Option<&Usage>)], now: OffsetDateTime) -> String {
    let mut out = String::from("API Tokens:\n===========\n\n");
    for (token, usage) in tokens {
        out.push_str(&shown(token, *usage, now));
        out.push('\n');
    }
    out.push_str(&format!("Total tokens: {}\n", tokens.len()));
    out
}

/// Shows everything that is known of a token.
pub(crate) fn shown(token: &Token, usage: Option<&Usage>, now: OffsetDateTime) -> String {
    let mut out = facts(token);
    let expires = token
        .expires_at
        .map_or_else(|| "Never".to_owned(), |end| stamp(end, SECOND));
    let status = if token.is_spoiled() {
        "Removed; remove it again to take out its entry"
    } else if token.is_expired(now) {
        "Expired"
    } else {
        "Valid"
    };
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "Created: {}\nExpires: {expires}\nStatus: {status}\n",
        stamp(token.created_at, SECOND)
    );
    if let Some(end) = old_secret_ends(token).filter(|end| now < *end) {
        let _ = writeln!(out, "Old secret accepted until: {}", stamp(end, SECOND));
    }
    if let Some(usage) = usage {
        let _ = writeln!(out, "Last used: {}", used(usage));
    }
    out + &policy(&token.policy.read())
}

fn used(usage: &Usage) -> String {
    let mut text = stamp(usage.at, SECOND);
    if let Some(address) = usage.address {
        text.push_str(&format!(" from {address}"));
    }
    if !usage.client.is_empty() {
        text.push_str(&format!(" by {}", printable(&usage.client)));
    }
    text + &format!(" ({} calls, {} rows in all)", usage.calls, usage.rows)
}

/// Writes a policy on one line; nothing if nothing is set.
fn policy(policy: &Policy) -> String {
    if policy.is_empty() {
        return String::new();
    }
    let mut parts = vec![format!("access {}", policy.access.word())];
    match &policy.role {
        None => {}
        Some(Role::Set(role)) => parts.push(format!("set_role {}", printable(role.as_str()))),
        Some(Role::Login(login)) => {
            let password = match &login.password {
                None => "no password".into(),
                Some(PasswordSource::Environment(variable)) => {
                    format!("password in ${variable}")
                }
                Some(PasswordSource::File(path)) => {
                    format!("password in {}", printable(path.as_str()))
                }
            };
            let user = printable(login.user.as_str());
            parts.push(format!("role {user} ({password})"));
        }
    }
    for (field, names) in [("tools", &policy.tools), ("schemas", &policy.schemas)] {
        if let Some(names) = names {
            parts.push(format!("{field} {}", printable(&names.to_string())));
        }
    }
    let limits = LIMITS.iter().filter_map(|limit| {
        let text = limit.text(&policy.limits)?;
        Some(format!("{} {text}", limit.name))
    });
    parts.extend(limits);
    if let Some(networks) = &policy.allow_from {
        parts.push(format!("allow_from {networks}"));
    }
    format!("Policy: {}\n", parts.join("; "))
}

pub(crate) fn edited(token: &Token, usage: Option<&Usage>, now: OffsetDateTime) -> String {
    format!("Token changed successfully:\n{}", shown(token, usage, now))
}

pub(crate) fn removed(token: &Token) -> String {
    format!("Token removed successfully:\n{}", facts(token))
}

/// The lines by which a person recognises a token.
fn facts(token: &Token) -> String {
    let database = token.databases.as_ref().map(databases).unwrap_or_default();
    format!(
        "ID: {}\nNote: {}\n{database}Hash (first 12 chars): {}...\n",
        token.id,
        note(token),
        token.hash.prefix()
    )
}

fn databases(names: &Names) -> String {
    let label = if names.iter().len() == 1 {
        "Database"
    } else {
        "Databases"
    };
    format!("{label}: {}\n", printable(&names.to_string()))
}

/// Writes when something ends, as `2025-10-30 10:15:30 UTC`.
pub(crate) fn end(instant: OffsetDateTime) -> String {
    format!("{} UTC", stamp(instant, SECOND))
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

/// Says whether a character is invisible and may control a terminal.
pub(crate) fn is_hidden(character: char) -> bool {
    let turns = matches!(u32::from(character),
        0x061c | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x2069 | 0xfeff | 0xfff9..=0xfffb);
    turns || character.is_control()
}

/// Escapes what could move a terminal's cursor, change its colors or reverse its text direction.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_hidden(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}
