//! The commands and their arguments.

use std::{num::NonZeroU32, path::PathBuf, str::FromStr};

use audit_log::Hash;
use time::OffsetDateTime;
use token_store::{Expiry, ExpiryError, Policy, Selector};

use crate::failure::Failure;

/// A command, from whichever command line.
#[derive(Clone, Debug)]
pub struct Command {
    /// What to do.
    pub action: Action,
    /// Print JSON instead of text.
    pub json: bool,
}

/// What to do with the tokens.
#[derive(Clone, Debug)]
pub enum Action {
    /// Make a token.
    Add(Add),
    /// Show all tokens, or those that have not been used for some time.
    List {
        /// How long.
        unused: Option<Unused>,
    },
    /// Show the selected token.
    Show(Selector),
    /// Give the selected token a new secret.
    Rotate(Selector, Grace),
    /// Change the selected token.
    Edit(Selector, Edit),
    /// Remove the selected token.
    Remove(Selector),
    /// Read a token and say whose it is and whether it is accepted.
    Verify,
    /// Check the token file and the configuration.
    Check,
    /// Check that audit logs are as they were written.
    VerifyAudit(VerifyAudit),
}

/// Which audit logs to check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyAudit {
    /// The files, each continuing the one before it; if empty, the configured one.
    pub files: Vec<PathBuf>,
    /// The hash of a line that must be in one of them.
    pub expect: Option<Hash>,
}

/// What was given for a new token. On a terminal, the user is prompted for what is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Add {
    /// What a person wants to remember about it.
    pub note: Option<String>,
    /// The configured databases to bind it to, its default one first.
    pub databases: Vec<String>,
    /// How long it lives.
    pub expiry: Option<Expiry>,
    /// What it may do and use up.
    pub policy: Vec<Setting>,
    /// How to make a role of its own for it, if it is to have one.
    pub create_role: Option<CreateRole>,
}

/// How a role of a token's own is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateRole {
    /// Its script is printed.
    Print,
    /// Its script is run.
    Apply,
}

/// What to change about a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edit {
    /// Its note.
    pub note: Option<String>,
    /// Its databases; `default` alone for the first configured one.
    pub databases: Vec<String>,
    /// How long it lives from now on.
    pub expiry: Option<Expiry>,
    /// What it may do and use up.
    pub policy: Vec<Setting>,
    /// End the secret that it had before its last rotation.
    pub end_previous: bool,
}

/// One field of a policy to set or to clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The field, as [`Policy::set`] names it.
    pub field: &'static str,
    /// Its text; `None` clears the field.
    pub value: Option<String>,
}

/// Fields of which a policy has at most one, with the names of their options.
const EXCLUSIVE: [([&str; 2], &str); 2] = [
    (["role.user", "set_role"], "--role and --set-role"),
    (
        ["role.password_env", "role.password_file"],
        "--role-password-env and --role-password-file",
    ),
];

/// Applies settings to a policy. Fields are cleared first, as that may make room for what is set.
pub(crate) fn lay(settings: &[Setting], policy: &mut Policy) -> Result<(), Failure> {
    let (set, unset): (Vec<_>, Vec<_>) =
        settings.iter().partition(|setting| setting.value.is_some());
    let is_set = |field: &&str| set.iter().any(|setting| setting.field == *field);
    if let Some((_, options)) = EXCLUSIVE
        .iter()
        .find(|(fields, _)| fields.iter().all(is_set))
    {
        return Err(Failure::Exclusive(options));
    }
    for setting in unset.into_iter().chain(set) {
        policy.set(setting.field, setting.value.as_deref())?;
    }
    Ok(())
}

/// How long the old secret of a rotated token is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grace {
    /// Not at all.
    None,
    /// For so long.
    For(Expiry),
}

impl Grace {
    /// Computes the end of that time.
    pub(crate) fn until(self, now: OffsetDateTime) -> Result<Option<OffsetDateTime>, Failure> {
        match self {
            Self::None => Ok(None),
            Self::For(time) => time.end(now).map_err(|_| Failure::LongGrace),
        }
    }
}

/// A day.
impl Default for Grace {
    fn default() -> Self {
        Self::For(Expiry::After(NonZeroU32::MIN, &token_store::UNITS[1]))
    }
}

impl FromStr for Grace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const ACCEPTED: &str =
            "give a time such as 24h or 7d, or none to end the old secret at once";
        match text {
            "none" | "0" => return Ok(Self::None),
            "never" => return Err(format!("the old secret must end: {ACCEPTED}")),
            _ => {}
        }
        match text.parse() {
            Ok(time) => Ok(Self::For(time)),
            Err(ExpiryError::Zero { .. }) => Ok(Self::None),
            Err(error) => Err(no_time(&error, ACCEPTED)),
        }
    }
}

/// For how long a token has not been used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unused {
    /// Never used.
    Ever,
    /// For so long.
    For(Expiry),
}

impl FromStr for Unused {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const ACCEPTED: &str =
            "give a time such as 12h, 90d, 2w or 1y, or never for those that were not used once";
        match text.parse() {
            Ok(Expiry::Never) => Ok(Self::Ever),
            Ok(time) => Ok(Self::For(time)),
            Err(error) => Err(no_time(&error, ACCEPTED)),
        }
    }
}

/// Says what is wrong with an invalid time.
fn no_time(error: &ExpiryError, accepted: &str) -> String {
    match error {
        ExpiryError::Unit {
            reason, instead, ..
        } => format!("{reason}, use {instead}"),
        _ => accepted.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_grace_is_a_day() {
        let now = OffsetDateTime::UNIX_EPOCH;
        let end = Grace::default().until(now);
        assert_eq!(end.unwrap(), Some(now + time::Duration::hours(24)));
        for at_once in ["none", "0", "0h"] {
            assert_eq!(Ok(Grace::None), at_once.parse(), "{at_once}");
        }
        for wrong in ["never", "", "x", "-1d"] {
            let said = wrong.parse::<Grace>().unwrap_err();
            assert!(said.contains("or none"), "{said}");
        }
    }
}
