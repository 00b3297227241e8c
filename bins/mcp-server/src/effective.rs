//! Shows what a token can really do and what it cannot, as its databases report it.

use std::{
    fmt::Write,
    io::{self, Write as _},
    sync::Arc,
};

use anyhow::{Context, anyhow, bail};
use mcp_token::{Action, Command, Exit, World, json_line};
use pg_tools::{Survey, Surveyed};
use serde_json::{Value, json};
use server_config::{Config, Sources};
use time::OffsetDateTime;
use token_store::{Limits, Token, TokenFile};

use crate::{
    command_line::ShowToken,
    custom_tools::ToolFile,
    holders::Holders,
    on_runtime,
    parts::{Parts, usual},
    start_log,
};

/// How many tables are named one by one.
const MOST_NAMED: usize = 50;

pub(crate) fn run(show: &ShowToken, sources: &Sources) -> anyhow::Result<()> {
    let config = Config::load_for_serving(sources)?;
    start_log("error");
    let path = sources.token_file.as_ref().unwrap_or(&config.token_file);
    let loaded = TokenFile::new(path)
        .load()
        .map_err(|error| anyhow!("{error}"))?;
    let token = show.token.find(loaded.set.iter())?;
    let known = shown(show, sources)?;
    let survey = match on_runtime(survey(&config, token.clone())) {
        Ok(survey) => survey,
        Err(error) => {
            print(&known)?;
            return Err(error);
        }
    };
    let limits = limits(&config, &token);
    let others = others(&config, &survey);
    let text = if show.json {
        let mut object: Value = serde_json::from_str(&known).context("a record is JSON")?;
        object["effective"] = structured(&survey, &others);
        object["effective"]["limits"] = limits.into_iter().collect();
        json_line(&object)
    } else {
        format!("{known}\n{}", text(&token, &survey, &others, &limits))
    };
    print(&text)?;
    all_usable(&survey)
}

fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        // A reader that has gone, such as `head`, has read all that it wanted.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed.context("failed to print"),
    }
}

/// Fails when a database could not be asked: a script would otherwise read the token's rights
/// without that database.
fn all_usable(survey: &Survey) -> anyhow::Result<()> {
    let unusable = survey
        .databases
        .iter()
        .filter(|found| found.problem.is_some());
    let names: Vec<String> = unusable.map(|found| found.name.clone()).collect();
    match names.as_slice() {
        [] => Ok(()),
        names => bail!("databases that can NOT be used: {}", listed(names)),
    }
}

/// What is known without the databases.
fn shown(show: &ShowToken, sources: &Sources) -> anyhow::Result<String> {
    let command = Command {
        action: Action::Show(show.token.clone()),
        json: show.json,
    };
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut stdin = io::empty();
    let exit = {
        let mut world = World::new(&mut stdin, &mut stdout, &mut stderr, None);
        mcp_token::run(&command, sources, &mut world)
    };
    if exit != Exit::Done {
        bail!("{}", String::from_utf8_lossy(&stderr).trim_end());
    }
    Ok(String::from_utf8(stdout)?)
}

async fn survey(config: &Config, token: Arc<Token>) -> anyhow::Result<Survey> {
    let Parts {
        databases,
        sessions,
        toolbox,
        ..
    } = Parts::of(config, true, None)?;
    if let Err(error) = ToolFile::open(config, &toolbox, &sessions).await {
        crate::announce!("warning: the custom tools are not known: {error:#}");
    }
    let holders = Holders::new(usual(config, &toolbox), databases.names());
    for lacking in holders.lacking(&token) {
        crate::announce!("warning: {lacking}");
    }
    let prepared = holders.prepare(token.clone()).await;
    prepared.map_err(|_| anyhow!("the password of the token's role is not known here"))?;
    let holder = holders.of(&token).context("it was just prepared")?;
    let session = sessions.open_on(token.id.as_str(), None, &holder.terms);
    let survey = toolbox.survey(&holder.agent(session)).await;
    sessions.finish().await;
    Ok(survey)
}

/// The limits in force; the server's where the entry has none.
fn limits(config: &Config, token: &Token) -> Vec<(String, Value)> {
    let Limits {
        rows,
        bytes,
        statement_timeout,
        concurrent,
        calls_per_minute,
        connections,
    } = token.policy.read().limits;
    let usual = &config.limits;
    let first = config.databases.first().map(|first| &*first.name);
    let is_mine = |name: &str| match &token.databases {
        Some(names) => names.contains(name),
        None => first == Some(name),
    };
    let mine = config.databases.iter().filter(|one| is_mine(&one.name));
    let pool = mine.map(|one| one.pool_max_conns).max().unwrap_or_default();
    let bytes = bytes.map_or(usize::MAX, |size| {
        usize::try_from(size.bytes()).unwrap_or(usize::MAX)
    });
    let timeout = statement_timeout
        .map_or(usual.statement_timeout, |own| own.duration())
        .min(usual.statement_timeout);
    let connections = connections.map_or(usize::MAX, |most| {
        usize::try_from(most.get()).unwrap_or(usize::MAX)
    });
    let per_minute = calls_per_minute.map(std::num::NonZeroU32::get);
    let table = [
        ("rows", json!(rows)),
        ("bytes", json!(bytes.min(usual.result_bytes))),
        ("statement_timeout_ms", json!(timeout.as_millis())),
        (
            "concurrent",
            json!(
                concurrent
                    .map_or(usize::MAX, |most| {
                        usize::try_from(most.get()).unwrap_or(usize::MAX)
                    })
                    .min(usual.running_calls)
            ),
        ),
        (
            "calls_per_minute",
            json!(per_minute.or(usual.calls_per_minute)),
        ),
        ("connections", json!(connections.min(pool))),
    ];
    table.map(|(name, value)| (name.to_owned(), value)).into()
}

/// The configured databases that the token does not have.
fn others(config: &Config, survey: &Survey) -> Vec<String> {
    let mine = |name: &&str| survey.databases.iter().any(|found| found.name == *name);
    let configured = config.databases.iter().map(|database| &*database.name);
    configured
        .filter(|name| !mine(name))
        .map(str::to_owned)
        .collect()
}

fn structured(survey: &Survey, others: &[String]) -> Value {
    let databases = survey.databases.iter().map(|found| {
        json!({
            "name": found.name,
            "problem": found.problem,
            "role": found.role,
            "version": found.version,
            "superuser": found.superuser,
            "may_create": found.may_create,
            "may_create_temporary": found.may_create_temporary,
            "schemas": found.schemas,
            "schemas_refused": found.schemas_refused,
            "schemas_missing": found.schemas_missing,
            "reads": found.reads,
            "changes": found.changes,
            "refused": found.refused,
        })
    });
    json!({
        "tools": survey.tools,
        "tools_refused": survey.tools_refused,
        "databases": databases.collect::<Vec<_>>(),
        "databases_refused": others,
    })
}

fn text(token: &Token, survey: &Survey, others: &[String], limits: &[(String, Value)]) -> String {
    let mut out = String::from("Effective rights:\n");
    if token.is_expired(OffsetDateTime::now_utc()) {
        out.push_str("It has expired and can NOT be used at all. Prolonged it would have:\n");
    }
    // Writing to a String cannot fail.
    let _ = writeln!(out, "Tools: {}", listed(&survey.tools));
    let _ = writeln!(
        out,
        "Tools that it can NOT use: {}",
        listed(&survey.tools_refused)
    );
    let _ = writeln!(out, "Databases that it can NOT use: {}", listed(others));
    let limits: Vec<String> = limits
        .iter()
        .map(|(name, value)| match value {
            Value::Null if name == "rows" => "rows as each tool allows".into(),
            Value::Null => format!("{name} unlimited"),
            value => format!("{name} {value}"),
        })
        .collect();
    let _ = writeln!(out, "Limits: {}", limits.join("; "));
    if let Some(networks) = token.policy.read().allow_from {
        let _ = writeln!(
            out,
            "It can be used from {networks} only, and NOT from elsewhere"
        );
    }
    for found in &survey.databases {
        database(&mut out, found, survey.writes);
    }
    out
}

fn database(out: &mut String, found: &Surveyed, writes: bool) {
    let name = found.name.escape_debug();
    if let Some(problem) = &found.problem {
        let problem = problem.replace('\n', " ");
        let _ = writeln!(out, "\nDatabase {name} can NOT be used: {problem}");
        return;
    }
    let role = found.role.escape_debug();
    let _ = writeln!(
        out,
        "\nDatabase {name} (PostgreSQL {}), as {role}:",
        found.version
    );
    let _ = writeln!(out, "  It uses the schemas: {}", listed(&found.schemas));
    let refused = listed(&found.schemas_refused);
    let _ = writeln!(out, "  Schemas that it can NOT use: {refused}");
    if !found.schemas_missing.is_empty() {
        let missing = listed(&found.schemas_missing);
        let _ = writeln!(
            out,
            "  Schemas that it names and that do not exist: {missing}"
        );
    }
    let _ = writeln!(out, "  It reads {}", tables(&found.reads));
    if found.changes.is_empty() {
        let _ = writeln!(out, "  It can NOT change any rows");
    } else {
        let _ = writeln!(out, "  It changes rows of {}", tables(&found.changes));
    }
    if found.refused.is_empty() {
        let _ = writeln!(out, "  There is no table that it can NOT read");
    } else {
        let _ = writeln!(out, "  It can NOT read {}", tables(&found.refused));
    }
    let powers = [
        (found.superuser, "is a superuser"),
        (found.may_create, "may create schemas"),
        (found.may_create_temporary, "may create temporary tables"),
    ];
    let powers: Vec<&str> = powers
        .into_iter()
        .filter_map(|(has, power)| has.then_some(power))
        .collect();
    let kept_by = if writes {
        "and not all statements of this token are read-only"
    } else {
        "which only the read-only transactions keep it from using"
    };
    if !powers.is_empty() {
        let _ = writeln!(out, "  The role {}, {kept_by}", powers.join(", "));
    }
}

fn tables(names: &[String]) -> String {
    let count = names.len();
    let named: Vec<String> = names
        .iter()
        .take(MOST_NAMED)
        .map(|name| name.escape_debug().to_string())
        .collect();
    let more = if count > MOST_NAMED { ", ..." } else { "" };
    match count {
        0 => "no tables".into(),
        1 => format!("1 table: {}", named.join(", ")),
        _ => format!("{count} tables: {}{more}", named.join(", ")),
    }
}

fn listed(names: &[String]) -> String {
    let names: Vec<String> = names
        .iter()
        .map(|name| name.escape_debug().to_string())
        .collect();
    if names.is_empty() {
        return "none".into();
    }
    names.join(", ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use token_store::{Names, TokenHash, TokenId};

    #[test]
    fn the_connections_are_those_of_the_databases_that_the_token_may_use() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.yaml");
        let databases = "[{name: small, user: u, pool_max_conns: 2}, {name: large, user: u, pool_max_conns: 9}]";
        std::fs::write(&file, format!("databases: {databases}\n")).unwrap();
        let config = Config::load(&Sources {
            config_file: Some(file),
            ..Sources::default()
        });
        let config = config.unwrap();
        let made = OffsetDateTime::UNIX_EPOCH;
        let mut token = Token::new(TokenId::numbered(1), TokenHash::of("x"), made);
        for (databases, most) in [
            (vec![], 2),
            (vec!["large"], 9),
            (vec!["small"], 2),
            (vec!["small", "large"], 9),
        ] {
            token.databases = Names::new(databases.iter().copied());
            let limits: Vec<_> = limits(&config, &token);
            let connections = limits.into_iter().find(|(name, _)| name == "connections");
            assert_eq!(connections.unwrap().1, json!(most), "{databases:?}");
        }
    }
}
