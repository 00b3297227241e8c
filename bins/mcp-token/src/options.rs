//! The options that say what a token may do and use up, for `add` and `edit` alike.

use clap::Args;
use token_store::InvalidPolicy;

use crate::command::Setting;

/// The word that gives a field the server's default again.
pub(crate) const DEFAULT: &str = "default";

/// What the token may do and use up.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "What the token may do (`default` takes a field back)")]
pub struct PolicyOptions {
    /// read, or write for the tools that write [default: read]
    #[arg(long, value_name = "read|write")]
    access: Option<String>,
    /// The only tools that it may use, with commas between them [default: all]
    #[arg(long, value_name = "NAMES")]
    tools: Option<String>,
    /// The only schemas that it may use, with commas between them [default: what its role may]
    #[arg(long, value_name = "NAMES")]
    schemas: Option<String>,
    /// The only addresses that it may be used from, as 10.0.0.0/8,::1 [default: any]
    #[arg(long, value_name = "NETWORKS")]
    allow_from: Option<String>,
    /// The role that its statements run as, which the configured one may SET [default: none]
    #[arg(long, value_name = "ROLE", allow_hyphen_values = true)]
    set_role: Option<String>,
    /// The role that the server logs in as for it [default: the configured one]
    #[arg(long, value_name = "ROLE", allow_hyphen_values = true)]
    role: Option<String>,
    /// The variable of the server's environment with that role's password
    #[arg(long, value_name = "VARIABLE")]
    role_password_env: Option<String>,
    /// The file with that role's password
    #[arg(long, value_name = "FILE")]
    role_password_file: Option<String>,
    /// Rows of one result
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    rows: Option<String>,
    /// Bytes of one result, as 256KiB
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
    bytes: Option<String>,
    /// Time for one statement, as 10s
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    statement_timeout: Option<String>,
    /// Calls that run at once
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    concurrent: Option<String>,
    /// Calls in a minute
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    calls_per_minute: Option<String>,
    /// Connections to each database
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    connections: Option<String>,
}

impl PolicyOptions {
    /// Gives the fields that were named, in an order in which they can be applied.
    #[must_use]
    pub fn settings(self) -> Vec<Setting> {
        let said = [
            ("access", self.access),
            ("tools", self.tools),
            ("schemas", self.schemas),
            ("allow_from", self.allow_from),
            ("set_role", self.set_role),
            ("role.user", self.role),
            ("role.password_env", self.role_password_env),
            ("role.password_file", self.role_password_file),
            ("limits.rows", self.rows),
            ("limits.bytes", self.bytes),
            ("limits.statement_timeout", self.statement_timeout),
            ("limits.concurrent", self.concurrent),
            ("limits.calls_per_minute", self.calls_per_minute),
            ("limits.connections", self.connections),
        ];
        let setting = |(field, text): (&'static str, Option<String>)| {
            let text = text?;
            let value = (text != DEFAULT).then_some(text);
            Some(Setting { field, value })
        };
        said.into_iter().filter_map(setting).collect()
    }
}

/// The fields with lists, which a command line writes in another way than the file.
const LISTS: [(&str, &str); 3] = [
    (
        "tools",
        "must be names with commas between them, each once, such as query_database,count_rows",
    ),
    (
        "schemas",
        "must be names with commas between them, each once, such as public,sales",
    ),
    (
        "allow_from",
        "must be addresses or networks with commas between them, each once and without bits beyond its prefix, such as 10.0.0.0/8,2001:db8::1; those of IPv4 stand without ::ffff:",
    ),
];

/// Says what is wrong with a field, by the name of its option and in the words of a command line.
pub(crate) fn refused(invalid: &InvalidPolicy) -> String {
    let name = match invalid.field {
        "role.user" => "role",
        field => field.strip_prefix("limits.").unwrap_or(field),
    };
    let option = name.replace(['_', '.'], "-");
    let list = LISTS.iter().find(|(field, _)| *field == invalid.field);
    let must = match list {
        Some((_, must)) => must,
        // The rest says how to remove a field from the file.
        None => invalid.must.split("; delete").next().unwrap_or_default(),
    };
    let wrong = invalid.networks.map(|wrong| format!(" ({wrong})"));
    format!("--{option} {must}{}", wrong.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use token_store::{FIELDS, LIMITS};

    #[test]
    fn every_field_of_a_policy_can_be_given() {
        let every = Some("x".to_owned());
        let options = PolicyOptions {
            access: every.clone(),
            tools: every.clone(),
            schemas: every.clone(),
            allow_from: every.clone(),
            set_role: every.clone(),
            role: every.clone(),
            role_password_env: every.clone(),
            role_password_file: every.clone(),
            rows: every.clone(),
            bytes: every.clone(),
            statement_timeout: every.clone(),
            concurrent: every.clone(),
            calls_per_minute: every.clone(),
            connections: every,
        };
        let given: Vec<_> = options.settings().iter().map(|said| said.field).collect();
        let limits = LIMITS.iter().map(|limit| format!("limits.{}", limit.name));
        for field in FIELDS.map(str::to_owned).into_iter().chain(limits) {
            assert!(given.contains(&field.as_str()), "{field}");
        }
    }
}
