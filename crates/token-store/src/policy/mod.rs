//! What a token may do and how much it may use, as the operator wrote it into its entry.

mod kept;
mod limits;
mod names;
mod units;

use std::fmt;

pub(crate) use kept::Field;
pub use kept::KeptPolicy;
pub use limits::{LIMITS, Limit, Limits};
pub use names::Names;
pub use networks::{InvalidNetwork, InvalidNetworks, Network, Networks};
pub use units::{ByteSize, InvalidQuantity, Span};

/// What a token may do and how much it may use. Whatever is not set takes the server's default.
///
/// This crate stores it and does not enforce it:
/// [`TokenSet::authenticate`](crate::TokenSet::authenticate) accepts a token from any address, and
/// the program that accepts it must enforce the rest.
///
/// Every value is valid, as it is made of types that cannot hold invalid ones.
///
/// ```
/// use token_store::{Access, Policy};
///
/// let mut policy = Policy::default();
/// policy.set("access", Some("write"))?;
/// policy.set("tools", Some("query_database, count_rows"))?;
/// policy.set("limits.statement_timeout", Some("10s"))?;
/// assert_eq!(policy.access, Access::Write);
/// assert!(policy.set("allow_from", Some("10.0.0.1/8")).is_err());
/// # Ok::<(), token_store::InvalidPolicy>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The role that the token's statements run as; `None` is the one with which its database is
    /// configured.
    pub role: Option<Role>,
    /// Whether it may write.
    pub access: Access,
    /// The only tools that it may use; `None` means all that are offered.
    pub tools: Option<Names>,
    /// The only schemas that it may use; `None` means all that its role may.
    pub schemas: Option<Names>,
    /// How much it may use.
    pub limits: Limits,
    /// The only addresses that it may be used from; `None` means any.
    pub allow_from: Option<Networks>,
}

/// The role that a token's statements run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// The server logs in as this role, with its own credentials.
    Login(Login),
    /// The server logs in as configured and switches to this role in every transaction.
    Set(RoleName),
}

/// Credentials of the token's own role. The password itself is never held, only where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The role.
    pub user: RoleName,
    /// Where its password is; `None` if PostgreSQL asks for none.
    pub password: Option<PasswordSource>,
}

/// Where to find a password.
///
/// A variable's name cannot be used as a file's path, nor the other way round:
///
/// ```compile_fail
/// use token_store::PasswordSource;
///
/// fn moved(source: PasswordSource) -> PasswordSource {
///     match source {
///         PasswordSource::Environment(text) => PasswordSource::File(text),
///         PasswordSource::File(text) => PasswordSource::Environment(text),
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordSource {
    /// In this variable of the server's environment.
    Environment(VariableName),
    /// In the file with this path, which the server reads.
    File(FilePath),
}

/// The name of an environment variable: ASCII letters, digits and `_`, not starting with a digit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariableName(Box<str>);

/// An absolute path without control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePath(Box<str>);

/// The name of a PostgreSQL role: 1 to 63 bytes without control characters, not `none` or `public`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleName(Box<str>);

/// Whether a token may write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// It may only read.
    #[default]
    Read,
    /// It may use the tools that write, where the server offers them.
    Write,
}

/// A field of a policy has a value that it must not have. The value is not repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the field `{field}` {must}{reason}", reason = .networks.map(|wrong| format!(" ({wrong})")).unwrap_or_default())]
pub struct InvalidPolicy {
    /// The field, such as `limits.rows`.
    pub field: &'static str,
    /// What it must be, or what to do about it.
    pub must: &'static str,
    /// For a list of networks: what is wrong with which entry.
    pub networks: Option<InvalidNetworks>,
}

pub(crate) const NAMES: &str =
    "must be a list of names, each once, such as [first, second]; delete the line to allow all";
pub(crate) const ROLE_NAME: &str = "must be the name of a PostgreSQL role: 1 to 63 bytes without control characters, not none or public";
pub(crate) const ROLE: &str = "must be {user: NAME}, with password_env: VARIABLE or password_file: PATH beside it; for a role to switch to write set_role";
pub(crate) const TWO_ROLES: &str =
    "cannot stand beside `role`: log in as one role, or switch to one; delete one of the two";
pub(crate) const TWO_PASSWORDS: &str = "has two passwords; keep password_env or password_file";
pub(crate) const ACCESS: &str = "must be read or write";
pub(crate) const NETWORKS: &str = "must be a list of addresses or networks without bits beyond the prefix, such as [\"10.0.0.0/8\", \"2001:db8::1\"], each once, those of IPv4 without ::ffff: before them; delete the line to allow any";
pub(crate) const VARIABLE: &str = "must be the name of an environment variable";
pub(crate) const FILE: &str = "must be an absolute path, as UTF-8 text without control characters";
const NO_USER: &str = "needs the role's name beside it";
const UNKNOWN: &str = "is not one that a policy has";

/// The fields that [`Policy::set`] accepts in addition to `limits.` followed by a name in [`LIMITS`].
pub const FIELDS: [&str; 8] = [
    "role.user",
    "role.password_env",
    "role.password_file",
    "set_role",
    "access",
    "tools",
    "schemas",
    "allow_from",
];

impl Policy {
    /// Sets a field from a text as people write it on a command line, or gives it the default again
    /// with `None`.
    ///
    /// Lists are separated by commas. If both `role.user` and a password are to be set, set the
    /// user first: a new user has no password yet.
    ///
    /// # Errors
    /// There is no such field, or the text is not valid for it; nothing is changed then.
    pub fn set(&mut self, field: &str, text: Option<&str>) -> Result<(), InvalidPolicy> {
        if let Some(limit) = field.strip_prefix("limits.") {
            let known = LIMITS.iter().find(|known| known.name == limit);
            let known = known.ok_or(invalid("limits", UNKNOWN))?;
            return known.set(&mut self.limits, text);
        }
        let Some(field) = FIELDS.into_iter().find(|known| *known == field) else {
            return Err(invalid("policy", UNKNOWN));
        };
        match field {
            "tools" => self.tools = names(field, text)?,
            "schemas" => self.schemas = names(field, text)?,
            "access" => self.access = access(text)?,
            "allow_from" => self.allow_from = networks(text)?,
            _ => self.role = role(self.role.clone(), field, text)?,
        }
        Ok(())
    }

    /// Says whether nothing is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Policy::default()
    }

    /// Says whether everything that `other` allows is allowed here, too, apart from limits.
    ///
    /// ```
    /// use token_store::Policy;
    ///
    /// let (wide, mut narrow) = (Policy::default(), Policy::default());
    /// narrow.set("tools", Some("count_rows"))?;
    /// assert!(wide.covers(&narrow) && !narrow.covers(&wide));
    /// # Ok::<(), token_store::InvalidPolicy>(())
    /// ```
    #[must_use]
    pub fn covers(&self, other: &Policy) -> bool {
        fn all<T>(here: Option<&T>, there: Option<&T>, covers: fn(&T, &T) -> bool) -> bool {
            here.is_none_or(|here| there.is_some_and(|there| covers(here, there)))
        }
        self.role == other.role
            && self.access >= other.access
            && all(self.tools.as_ref(), other.tools.as_ref(), Names::covers)
            && all(self.schemas.as_ref(), other.schemas.as_ref(), Names::covers)
            && all(
                self.allow_from.as_ref(),
                other.allow_from.as_ref(),
                Networks::covers,
            )
    }
}

fn names(field: &'static str, text: Option<&str>) -> Result<Option<Names>, InvalidPolicy> {
    text.map(|text| Names::new(items(text)).ok_or(invalid(field, NAMES)))
        .transpose()
}

fn networks(text: Option<&str>) -> Result<Option<Networks>, InvalidPolicy> {
    text.map(|text| Networks::read(items(text)).map_err(no_networks))
        .transpose()
}

fn access(text: Option<&str>) -> Result<Access, InvalidPolicy> {
    text.map_or(Some(Access::Read), Access::from_word)
        .ok_or(invalid("access", ACCESS))
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim)
}

/// Gives the role that results from setting one of its fields.
fn role(
    before: Option<Role>,
    field: &'static str,
    text: Option<&str>,
) -> Result<Option<Role>, InvalidPolicy> {
    let name = |text: &str| RoleName::new(text).ok_or(invalid(field, ROLE_NAME));
    let source = |text: &str| PasswordSource::read(field, text);
    match (field, before, text) {
        ("set_role", Some(Role::Login(login)), None) => Ok(Some(Role::Login(login))),
        ("set_role", _, None) | ("role.user", Some(Role::Login(_)) | None, None) => Ok(None),
        ("set_role", _, Some(text)) => Ok(Some(Role::Set(name(text)?))),
        ("role.user", before, None) => Ok(before),
        ("role.user", before, Some(text)) => {
            let user = name(text)?;
            // The password of the previous user is not this one's.
            let password = match before {
                Some(Role::Login(login)) if login.user == user => login.password,
                _ => None,
            };
            Ok(Some(Role::Login(Login { user, password })))
        }
        (_, Some(Role::Login(login)), text) => Ok(Some(Role::Login(Login {
            password: text.map(source).transpose()?,
            ..login
        }))),
        (_, before, None) => Ok(before),
        (_, _, Some(_)) => Err(invalid(field, NO_USER)),
    }
}

pub(crate) fn invalid(field: &'static str, must: &'static str) -> InvalidPolicy {
    InvalidPolicy {
        field,
        must,
        networks: None,
    }
}

pub(crate) fn no_networks(wrong: InvalidNetworks) -> InvalidPolicy {
    InvalidPolicy {
        networks: Some(wrong),
        ..invalid("allow_from", NETWORKS)
    }
}

impl RoleName {
    /// Checks and wraps a name; `None` if it is not valid.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=63).contains(&text.len()) && !text.contains(char::is_control);
        // PostgreSQL reserves these names: they mean no role and all roles.
        let is_reserved = matches!(text, "none" | "public");
        (fits && !is_reserved && !text.trim().is_empty()).then(|| Self(text.into()))
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl VariableName {
    fn new(text: &str) -> Option<Self> {
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let is_variable = !text.is_empty()
            && text.bytes().all(valid)
            && !text.starts_with(|first: char| first.is_ascii_digit());
        is_variable.then(|| Self(text.into()))
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VariableName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl FilePath {
    fn new(text: &str) -> Option<Self> {
        let is_path = text.starts_with('/') && !text.contains(char::is_control);
        is_path.then(|| Self(text.into()))
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl PasswordSource {
    pub(crate) fn read(field: &'static str, text: &str) -> Result<Self, InvalidPolicy> {
        let (source, must) = if field.ends_with("password_env") {
            (VariableName::new(text).map(Self::Environment), VARIABLE)
        } else {
            (FilePath::new(text).map(Self::File), FILE)
        };
        source.ok_or(invalid(field, must))
    }
}

impl Access {
    /// Parses its word, `read` or `write`.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "read" => Some(Self::Read),
            "write" => Some(Self::Write),
            _ => None,
        }
    }

    /// Returns its word, `read` or `write`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}
