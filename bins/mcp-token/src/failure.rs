//! Why a command failed.

use std::{io, path::PathBuf};

use server_config::Problems;
use token_store::{
    EditError, ExpiryError, InvalidPolicy, LoadError, RandomError, SelectError, TokenId,
};

use crate::{options, text, world::Exit};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("the configuration is not usable:\n{0}")]
    Configuration(#[from] Problems),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Edit(#[from] EditError),
    #[error("the disk is full, so that {} could not be written without the entry of {id}; the token is refused from now on all the same, as its hash was written over with another one. Make room, and run `mcp-token remove {id}` again", text::printable(&.path.display().to_string()))]
    NoRoom { path: PathBuf, id: TokenId },
    #[error(
        "{0} was removed while the disk was full, and nobody has a secret for it: run `mcp-token remove {0}` to take its entry out, and add another token"
    )]
    Removed(TokenId),
    #[error(transparent)]
    Random(#[from] RandomError),
    #[error(transparent)]
    Expiry(#[from] ExpiryError),
    #[error("--grace is too long; give a time such as 24h or 7d")]
    LongGrace,
    #[error("no expiry is given; give one with --expiry (or -token-expiry), such as 90d, or never")]
    NoExpiry,
    #[error(
        "the input ended at a question, and nothing was made; press Return for a blank answer, or give --note, --database and --expiry"
    )]
    NoAnswer,
    #[error("the database \"{name}\" is not configured; {choice}", name = text::printable(.name), choice = choice(.known))]
    UnknownDatabase { name: String, known: Vec<String> },
    #[error("the note has {0} characters, more than 1000; write a shorter one")]
    LongNote(usize),
    #[error("{}", options::refused(.0))]
    Policy(#[from] InvalidPolicy),
    #[error("{0} exclude each other; leave one out")]
    Exclusive(&'static str),
    #[error("the databases are not different names; name each one once")]
    Databases,
    #[error("nothing to change is given; `mcp-token edit --help` shows what can be")]
    NothingToChange,
    #[error("{}: {error}", text::printable(&.file.display().to_string()))]
    Audit {
        file: PathBuf,
        error: audit_log::VerifyError,
    },
    #[error(
        "no line has the hash {0}: lines were cut off at the end, or the log was written anew; or it is in a file that was not named"
    )]
    AuditCut(audit_log::Hash),
    #[error("no audit log is configured (audit.file); name a file")]
    NoAudit,
    #[error("the token is not accepted: {0}")]
    NotAccepted(&'static str),
    #[error(
        "no token on standard input; pipe it in, such as `printf %s \"$TOKEN\" | mcp-token verify`"
    )]
    NoToken,
    #[error("failed to write the role's password to {}: {error}{hint}", text::printable(&.0.display().to_string()), error = .1, hint = password_hint(.1))]
    Password(PathBuf, io::Error),
    #[error("the token's id is too long for the name of a role; give it a role with --role")]
    RoleName,
    #[error("--create-role makes a role of the token's own; leave --role and --set-role out")]
    TwoRoles,
    #[error(
        "no database is configured in which the role could be made; add one under `databases:`"
    )]
    NoDatabase,
    #[error(
        "failed to run psql: {0}; install PostgreSQL's client programs (apt-get install postgresql-client), or leave --apply out and run the SQL yourself"
    )]
    Psql(io::Error),
    #[error("the role was not made in the database \"{}\": {}", text::printable(.database), text::printable(.reason))]
    NotApplied { database: String, reason: String },
    #[error("{0} problem(s) found")]
    Problems(usize),
    #[error("{}", selection(.0))]
    Selection(#[from] SelectError),
    #[error("failed to read standard input: {0}")]
    Input(io::Error),
    #[error("failed to print: {0}")]
    Output(io::Error),
    #[error("interrupted")]
    Interrupted,
    #[error("failed to prepare for Ctrl-C: {0}")]
    Signals(io::Error),
    #[error(
        "nobody would read the token, which is shown only once: standard output is closed or /dev/null; nothing was done, so run this again with an output that is read"
    )]
    NobodyReads,
    #[error("failed to print the token: {0}")]
    NotShown(io::Error),
    #[error("{cause}; the token was removed again{}", left_over(.role_left.as_deref()))]
    Undone {
        cause: Box<Failure>,
        /// The role, if it could not be removed.
        role_left: Option<String>,
    },
    #[error(
        "{cause}; the token could not be removed again ({removed}), so run `mcp-token remove {id}`{}", left_over(.role_left.as_deref())
    )]
    NotUndone {
        cause: Box<Failure>,
        removed: Box<Failure>,
        id: TokenId,
        role_left: Option<String>,
    },
    #[error("failed to print the new secret: {0}; the token has its old one again")]
    NotRotated(io::Error),
    #[error(
        "failed to print the new secret: {shown}; the old one could not be put back ({restored}), so run `mcp-token rotate {id}`"
    )]
    NotRotatedNorRestored {
        shown: io::Error,
        restored: Box<Failure>,
        id: TokenId,
    },
}

impl Failure {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::NoExpiry
            | Self::NoAnswer
            | Self::Expiry(_)
            | Self::LongGrace
            | Self::LongNote(_)
            | Self::Policy(_)
            | Self::Exclusive(_)
            | Self::Databases
            | Self::NothingToChange
            | Self::TwoRoles => Exit::Usage,
            Self::NotAccepted(_) => Exit::Refused,
            _ => Exit::Failed,
        }
    }
}

fn password_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AlreadyExists => {
            "; it is of a role that was made before: delete it if that role is gone, or try again in a second, for another name"
        }
        _ => "",
    }
}

fn left_over(role: Option<&str>) -> String {
    role.map_or_else(String::new, |role| {
        format!(", but its role {role} may still be there: run `DROP OWNED BY {role}` in each of its databases, then `DROP ROLE {role}`")
    })
}

fn choice(names: &[String]) -> String {
    if names.is_empty() {
        return "no database is: add one under `databases:` in the configuration file, or set DATABASE_URL".into();
    }
    let names: Vec<_> = names.iter().map(|name| text::printable(name)).collect();
    format!("choose one of: {}", names.join(", "))
}

fn selection(error: &SelectError) -> String {
    let SelectError::Ambiguous(found) = error else {
        return error.to_string();
    };
    let mut message = format!("{error}; nothing was done:");
    for token in found {
        message.push_str(&format!(
            "\n  {}  {}  {}",
            token.id,
            &token.hash.to_hex()[..24],
            text::note(token)
        ));
    }
    message
}
