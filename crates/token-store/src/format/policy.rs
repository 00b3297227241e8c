//! The optional fields of an entry: what a token may do and use up.

use std::{fmt::Write, sync::Arc};

use super::{
    Problem, Value, instant,
    write::{hash, scalar},
};
use crate::{
    policy::{
        ACCESS, Access, InvalidPolicy, LIMITS, Limits, Login, NAMES, NETWORKS, Names, Networks,
        PasswordSource, Policy, ROLE, ROLE_NAME, Role, RoleName, TWO_PASSWORDS, TWO_ROLES, invalid,
    },
    secret::TokenHash,
    token::{Previous, Token},
};

/// The fields, in the order in which they are written.
pub(super) const FIELDS: [&str; 8] = [
    "previous",
    "role",
    "set_role",
    "access",
    "tools",
    "schemas",
    "limits",
    "allow_from",
];

const LIMITS_SHAPE: &str = "must be {NAME: LIMIT} with one or more of rows, bytes, statement_timeout, concurrent, calls_per_minute and connections, each once; delete the line for the server's defaults";
const PREVIOUS: &str = "must be {hash: 64 hexadecimal digits, until: \"2025-10-30T10:15:30Z\"}; delete the line to end the old secret";

/// Reads `database` or `databases`: one name or a list.
pub(super) fn databases(value: &Value) -> Result<Option<Names>, Problem> {
    let names = match value {
        Value::Null => return Ok(None),
        Value::List(items) => names(items),
        one => one.scalar().and_then(|name| Names::new([name])),
    };
    names.map(Some).ok_or(Problem::Database)
}

/// Puts the field `name` of an entry into its token; null stands for absence.
pub(super) fn lay(token: &mut Token, name: &str, value: &Value) -> Result<(), Problem> {
    if *value == Value::Null {
        return Ok(());
    }
    if name == "previous" {
        token.previous = Some(Box::new(previous(value)?));
        return Ok(());
    }
    let policy = Arc::make_mut(&mut token.policy);
    match name {
        "role" | "set_role" if policy.role.is_some() => {
            return Err(invalid("set_role", TWO_ROLES).into());
        }
        "role" => policy.role = Some(Role::Login(login(value)?)),
        "set_role" => policy.role = Some(Role::Set(role_name("set_role", value)?)),
        "access" => {
            let access = value.scalar().and_then(Access::from_word);
            policy.access = access.ok_or(invalid("access", ACCESS))?;
        }
        "tools" => policy.tools = Some(listed("tools", value)?),
        "schemas" => policy.schemas = Some(listed("schemas", value)?),
        "limits" => policy.limits = limits(value)?,
        _ => policy.allow_from = Some(networks(value)?),
    }
    Ok(())
}

fn names(items: &[Value]) -> Option<Names> {
    let texts: Option<Vec<&str>> = items.iter().map(Value::scalar).collect();
    Names::new(texts?)
}

fn listed(field: &'static str, value: &Value) -> Result<Names, InvalidPolicy> {
    let Value::List(items) = value else {
        return Err(invalid(field, NAMES));
    };
    names(items).ok_or(invalid(field, NAMES))
}

fn networks(value: &Value) -> Result<Networks, InvalidPolicy> {
    let texts: Option<Vec<&str>> = match value {
        Value::List(items) => items.iter().map(Value::scalar).collect(),
        _ => None,
    };
    texts
        .and_then(Networks::read)
        .ok_or(invalid("allow_from", NETWORKS))
}

fn role_name(field: &'static str, value: &Value) -> Result<RoleName, InvalidPolicy> {
    let name = value.scalar().and_then(RoleName::new);
    name.ok_or(invalid(field, ROLE_NAME))
}

/// Reads a mapping from known names to scalars, none of them twice.
fn pairs(value: &Value) -> Option<Vec<(&str, &str)>> {
    let Value::Map(pairs) = value else {
        return None;
    };
    let mut seen: Vec<(&str, &str)> = Vec::with_capacity(pairs.len());
    for (key, value) in pairs {
        let (key, value) = (key.scalar()?, value.scalar()?);
        if seen.iter().any(|(known, _)| *known == key) {
            return None;
        }
        seen.push((key, value));
    }
    Some(seen)
}

fn login(value: &Value) -> Result<Login, InvalidPolicy> {
    let (mut user, mut password) = (None, None);
    for (key, text) in pairs(value).ok_or(invalid("role", ROLE))? {
        let field = match key {
            "user" => {
                user = Some(RoleName::new(text).ok_or(invalid("role.user", ROLE_NAME))?);
                continue;
            }
            "password_env" => "role.password_env",
            "password_file" => "role.password_file",
            _ => return Err(invalid("role", ROLE)),
        };
        if password.is_some() {
            return Err(invalid("role", TWO_PASSWORDS));
        }
        password = Some(PasswordSource::read(field, text)?);
    }
    let user = user.ok_or(invalid("role", ROLE))?;
    Ok(Login { user, password })
}

fn limits(value: &Value) -> Result<Limits, InvalidPolicy> {
    let pairs = pairs(value).filter(|pairs| !pairs.is_empty());
    let mut limits = Limits::default();
    for (key, text) in pairs.ok_or(invalid("limits", LIMITS_SHAPE))? {
        let known = LIMITS.iter().find(|limit| limit.name == key);
        let known = known.ok_or(invalid("limits", LIMITS_SHAPE))?;
        known.set(&mut limits, Some(text))?;
    }
    Ok(limits)
}

fn previous(value: &Value) -> Result<Previous, Problem> {
    let shape = || Problem::from(invalid("previous", PREVIOUS));
    let (mut hash, mut until) = (None, None);
    for (key, text) in pairs(value).ok_or_else(shape)? {
        match key {
            "hash" => hash = Some(TokenHash::from_hex(text).ok_or_else(shape)?),
            "until" => {
                let instant = instant::parse(text);
                until = Some(instant.map_err(|error| error.of("previous.until"))?);
            }
            _ => return Err(shape()),
        }
    }
    hash.zip(until)
        .map(|(hash, until)| Previous { hash, until })
        .ok_or_else(shape)
}

/// Writes `database` or `databases`, if there is any.
pub(super) fn write_databases(out: &mut String, databases: &Names) {
    if databases.iter().len() == 1 {
        line(out, "database", &scalar(databases.first()));
    } else {
        line(out, "databases", &list(databases.iter()));
    }
}

/// Writes the fields that a token has, in the order of [`FIELDS`].
pub(super) fn write(out: &mut String, token: &Token) {
    if let Some(previous) = &token.previous {
        let (hash, until) = (
            hash(&previous.hash.to_hex()),
            instant::write(previous.until),
        );
        line(
            out,
            "previous",
            &format!("{{hash: {hash}, until: \"{until}\"}}"),
        );
    }
    let Policy {
        role,
        access,
        tools,
        schemas,
        limits,
        allow_from,
    } = &*token.policy;
    match role {
        None => {}
        Some(Role::Login(login)) => line(out, "role", &login_text(login)),
        Some(Role::Set(name)) => line(out, "set_role", &scalar(name.as_str())),
    }
    if *access != Access::default() {
        line(out, "access", access.word());
    }
    for (field, names) in [("tools", tools), ("schemas", schemas)] {
        if let Some(names) = names {
            line(out, field, &list(names.iter()));
        }
    }
    let set = LIMITS.iter().filter_map(|limit| {
        let text = limit.text(limits)?;
        Some(format!("{}: {text}", limit.name))
    });
    let set: Vec<String> = set.collect();
    if !set.is_empty() {
        line(out, "limits", &format!("{{{}}}", set.join(", ")));
    }
    if let Some(networks) = allow_from {
        let texts: Vec<String> = networks.iter().map(ToString::to_string).collect();
        line(out, "allow_from", &list(texts.iter().map(String::as_str)));
    }
}

fn login_text(Login { user, password }: &Login) -> String {
    let user = scalar(user.as_str());
    match password {
        None => format!("{{user: {user}}}"),
        Some(PasswordSource::Environment(variable)) => {
            format!("{{user: {user}, password_env: {}}}", scalar(variable))
        }
        Some(PasswordSource::File(path)) => {
            // It was read as UTF-8.
            let path = path.to_string_lossy();
            format!("{{user: {user}, password_file: {}}}", scalar(&path))
        }
    }
}

fn list<'a>(items: impl Iterator<Item = &'a str>) -> String {
    let items: Vec<String> = items.map(scalar).collect();
    format!("[{}]", items.join(", "))
}

fn line(out: &mut String, field: &str, value: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "    {field}: {value}");
}
