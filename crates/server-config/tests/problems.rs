//! The messages about wrong configurations.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Bench, DATABASE};
use server_config::Config;

#[test]
fn every_problem_is_reported_at_once_with_its_place_and_fix() {
    let yaml = "http:\n  adress: \":1\"\n  enabled: yes please\n  allowed_hosts: [a, yes]\n  auth: [1]\ncolour: red\ntoken_file: t\ndatabses: []\n\
                databases:\n  - {name: a, usr: x, port: 70000}\n  - {name: a, user: x}\n  - {name: a, user: x, sslmode: on, databases: 1}\n  - nonsense\n";
    let problems = Bench::new(yaml).load().unwrap_err().to_string();
    for needle in [
        "http.adress: unknown key; did you mean `address`?",
        "http.enabled: must be true or false",
        "http.allowed_hosts: must be a list of texts, not one whose entry 2 is true; put it in quotes",
        "http.auth: must be a map",
        "colour: unknown key; known here: http, limits, audit, metrics, tools, llm, embedding, databases",
        "token_file: unknown key here; did you mean `http.auth.token_file`?",
        "databses: unknown key; did you mean `databases`?",
        "databases[0] (a).usr: unknown key; did you mean `user`?",
        "databases[2] (a).databases: unknown key; did you mean `database`?",
        "databases[0] (a).port: must be a whole number from 1 to 65535, not 70000",
        "databases[2] (a).sslmode: must be one of disable",
        "databases[1] (a).name: is used by an entry before",
        "databases[2] (a).name: is used by an entry before",
        "databases[3]: must be a map",
    ] {
        assert!(problems.contains(needle), "{needle}\n---\n{problems}");
    }
}

#[test]
fn a_key_that_is_wrong_is_not_told_to_be_missing_as_well() {
    for (yaml, told) in [
        (
            "databases: [{name: a, usr: x}]",
            "databases[0] (a).usr: unknown key; did you mean `user`?",
        ),
        (
            "databases: [{name: a, user: [x]}]",
            "databases[0] (a).user: must be a text",
        ),
        (
            "databases: [{nam: a, user: x}]",
            "databases[0].nam: unknown key; did you mean `name`?",
        ),
        (
            "llm: {provider: gemini, model: m}",
            "llm.provider: must be one of",
        ),
        (
            "llm: {provider: openai, modle: m, key_env: K}",
            "llm.modle: unknown key",
        ),
        (
            "http: {enabled: true, tls: {enabled: true, cert_fil: c, key_file: k}}",
            "http.tls.cert_fil: unknown key",
        ),
    ] {
        let problems = Bench::new(yaml).load().unwrap_err();
        assert_eq!(problems.0.len(), 1, "{yaml}: {problems}");
        assert!(problems.to_string().contains(told), "{yaml}: {problems}");
    }
    let missing = Bench::new("databases: [{name: a, colour: x}]").load();
    let missing = missing.unwrap_err().to_string();
    let told = ["colour: unknown key; known here", "user: is missing"];
    assert!(told.iter().all(|told| missing.contains(told)), "{missing}");
}

#[test]
fn what_is_no_configuration_is_told_in_words() {
    let deep = format!("a: {}{}", "[".repeat(40), "]".repeat(40));
    let large = format!("a: [{}]", "1,".repeat(20_001));
    for (yaml, told) in [
        (
            "tools: {}\n---\ntools: {}",
            "there is more than one document; take out the `---` at line 2",
        ),
        (&deep, "it is deeper than any configuration at line 1"),
        (&large, "it is larger than any configuration at line 1"),
        (
            "a: &a [*a]",
            "an alias stands for what it is a part of at line 1",
        ),
    ] {
        let problems = Bench::new(yaml).load().unwrap_err().to_string();
        assert!(problems.contains(told), "{problems}");
    }
}

#[test]
fn a_problem_is_one_line_without_control_characters() {
    let yaml = "\"\\e[31mkey\\nerror: \": 1\nhttp: {\"x\\u009b\": 1}";
    let problems = Bench::new(yaml).load().unwrap_err();
    let told = problems.to_string();
    assert!(told.contains("\\u{1b}[31mkey\\nerror: : unknown"), "{told}");
    assert_eq!(told.lines().count(), problems.0.len());
    let hidden = told
        .chars()
        .any(|shown| shown.is_control() && shown != '\n');
    assert!(!hidden, "{told:?}");
}

#[test]
fn a_named_file_must_exist_and_parse() {
    let mut bench = Bench::new("");
    bench.sources.config_file = Some("/nowhere/at/all.yaml".into());
    assert!(
        bench
            .load()
            .unwrap_err()
            .to_string()
            .contains("/nowhere/at/all.yaml: cannot be read")
    );
    for yaml in ["http: [", "a: b: c", "- 1\n", "x", "a: 1\na: 2\n", "\u{0}"] {
        assert!(Bench::new(yaml).load().is_err(), "{yaml:?}");
    }
}

#[test]
fn a_secret_in_the_wrong_place_or_form_is_told_and_not_repeated() {
    let url = "postgres://u:SEKRIT@h/db";
    for (yaml, fix) in [
        (
            format!("databases: [{{name: a, user: u, database: \"{url}\"}}]\n"),
            "database: is a connection string",
        ),
        (
            format!("databases: [{{name: \"{url}\", user: u}}]\n"),
            "name: is a connection string",
        ),
        (
            format!("databases: [{{name: a, user: u, host: \"{url}\"}}]\n"),
            "host: is a connection string",
        ),
        (
            "databases: [{name: a, user: u, password: 0123}]\n".into(),
            "password: must be a text that is not empty; put it in quotes",
        ),
        (
            "databases: [{name: a, user: u, password: 1e3}]\n".into(),
            "put it in quotes",
        ),
        (
            "databases: [{name: a, user: yes}]\n".into(),
            "put it in quotes",
        ),
        (
            format!("{DATABASE}llm: {{provider: openai, model: m, key_env: sk-SEKRIT}}\n"),
            "llm.key_env: must be the name of the variable",
        ),
    ] {
        let told = Bench::new(&yaml).load().unwrap_err().to_string();
        assert!(told.contains(fix), "{yaml}: {told}");
        assert!(!told.contains("SEKRIT") && !told.contains("0123"), "{told}");
    }
    let quoted = "databases: [{name: a, user: u, password: \"0123\"}]\n";
    assert!(Bench::new(quoted).load().is_ok());
}

#[test]
fn a_password_appears_in_no_message_and_no_debug() {
    let config = Bench::new("databases:\n  - {name: a, user: u, password: hunter2}\n")
        .load()
        .unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    let problems = Bench::new("databases:\n  - {name: a, password: [hunter2]}\n")
        .load()
        .unwrap_err();
    assert!(!format!("{problems} {problems:?}").contains("hunter2"));
    for yaml in [
        "databases:\n  - name: a\n    password: hunter2\n   bad: [",
        "databases:\n  - {password: hunter2, password: hunter2}\n",
        "password: \"hunter2\n",
        "a: !!int hunter2\n",
    ] {
        let problems = Bench::new(yaml).load().unwrap_err();
        assert!(problems.to_string().contains("line"), "{problems}");
        assert!(!problems.to_string().contains("hunter2"), "{problems}");
    }
}

#[test]
fn what_is_wrong_with_the_first_entry_is_told_where_it_stands() {
    let load = |name, value| {
        let bench = Bench::new(DATABASE).with(&[(name, value)]);
        bench.load().unwrap_err().0.remove(0)
    };
    for (variable, value) in [
        ("PGEDGE_DB_HOST", "a,,b"),
        ("PGEDGE_DB_NAME", "postgres://h/d"),
        ("PGEDGE_DB_PORT", "x"),
    ] {
        assert_eq!(load(variable, value).place, variable);
    }
    // A variable is not named for an entry whose value does not come from it.
    let both = format!("{DATABASE}  - {{name: b, user: u, host: \"a,,b\"}}\n");
    let bench = Bench::new(&both).with(&[("PGEDGE_DB_HOST", "db")]);
    let place = bench.load().unwrap_err().0.remove(0).place;
    assert!(place.ends_with("databases[1] (b).host"), "{place}");
}

#[test]
fn a_wrong_variable_is_shown_on_one_line_and_not_whole() {
    let long = format!("1\n\u{1b}[2J{}", "9".repeat(1_000));
    let problems = Bench::new("")
        .with(&[("PGEDGE_AUTH_ENABLED", &long)])
        .load();
    let told = problems.unwrap_err().to_string();
    assert!(
        !told.contains(['\n', '\u{1b}']) && told.len() < 200,
        "{told}"
    );
}

#[test]
fn a_broken_variable_is_named() {
    for (variable, value) in [
        ("DATABASE_URL", "mysql://x"),
        ("PGEDGE_HTTP_ENABLED", "perhaps"),
        ("PGEDGE_AUTH_ENABLED", "off"),
    ] {
        let problems = Bench::new("")
            .with(&[(variable, value)])
            .load()
            .unwrap_err();
        assert_eq!(problems.0[0].place, variable);
    }
    let standard = ("PGHOST", "a,,b");
    for (variables, place) in [
        (vec![standard, ("USER", "ann")], "PGHOST"),
        (
            vec![standard, ("PGEDGE_DB_HOST", "a,,b"), ("USER", "ann")],
            "PGEDGE_DB_HOST",
        ),
        (
            vec![("PGUSER", "ann"), ("PGDATABASE", "postgres://h/d")],
            "PGDATABASE",
        ),
        (
            vec![("PGUSER", "ann"), ("PGSSLMODE", "perhaps")],
            "PGSSLMODE",
        ),
    ] {
        let bench = Bench::new("").with(&variables);
        let problems = match bench.load() {
            Ok(config) => panic!("{variables:?} are no problem: {:?}", config.warnings),
            Err(problems) => problems,
        };
        assert_eq!(problems.0[0].place, place, "{problems}");
    }
}

#[test]
fn what_keeps_a_server_from_starting_is_told_with_the_fix() {
    let open = "http: {enabled: true, auth: {enabled: false}, address: ";
    for (yaml, fix) in [
        (
            "",
            Some("databases: no database is configured; add an entry to `databases:` in "),
        ),
        (DATABASE, None),
        (
            &format!("{DATABASE}tools: {{enabled: [execute_wirte]}}\n"),
            Some(
                "tools.enabled: there is no tool \"execute_wirte\"; did you mean \"execute_write\"?",
            ),
        ),
        (
            &format!("{DATABASE}tools: {{enabled: [generate_embedding]}}\n"),
            Some("tools.enabled: generate_embedding needs a model"),
        ),
        (
            &format!("{DATABASE}{open}\":8080\"}}\n"),
            Some("http.address: without authentication"),
        ),
        (
            &format!("{DATABASE}{open}\"0.0.0.0:1\"}}\n"),
            Some("http.address: without authentication"),
        ),
        (
            &format!("{DATABASE}{open}\"[::]:1\"}}\n"),
            Some("http.address: without authentication"),
        ),
        (&format!("{DATABASE}{open}\"127.0.0.2:1\"}}\n"), None),
        (&format!("{DATABASE}{open}\"[::1]:1\"}}\n"), None),
        (&format!("{DATABASE}{open}\"localhost:1\"}}\n"), None),
        (
            &format!("{DATABASE}{open}\"localhost:1\", trusted_proxies: [10.0.0.0/8]}}\n"),
            Some("http.trusted_proxies: without authentication"),
        ),
        (
            &format!("{DATABASE}http: {{enabled: true, allowed_hosts: ['http://x', name]}}\n"),
            Some("http.allowed_hosts: \"http://x\" is no host name"),
        ),
        (
            &format!("{DATABASE}http: {{enabled: true, allowed_origins: ['*', 'https://y']}}\n"),
            Some("http.allowed_origins: \"*\" is no origin"),
        ),
    ] {
        let bench = Bench::new(yaml);
        let checked = bench.load().unwrap().check_serving();
        let told = checked.as_ref().err().map(ToString::to_string);
        match fix {
            Some(fix) => assert!(
                told.as_ref().is_some_and(|told| told.starts_with(fix)),
                "{yaml}: {told:?}"
            ),
            None => assert_eq!(told, None, "{yaml}"),
        }
        assert_eq!(
            Config::load_for_serving(&bench.sources).err(),
            checked.err(),
            "{yaml}"
        );
    }
}

#[test]
fn a_variable_that_is_nearly_one_is_told() {
    let warned = |name, value| {
        Bench::new(DATABASE)
            .with(&[(name, value)])
            .load()
            .unwrap()
            .warnings
    };
    let told = warned("PGEDGE_HTTP_ENABELD", "1");
    assert_eq!(
        told,
        [
            "the variable PGEDGE_HTTP_ENABELD is not known and has no effect; did you mean PGEDGE_HTTP_ENABLED?"
        ]
    );
    assert_eq!(warned("PGEDGE_CLUSTER_COORDINATOR", "1"), [""; 0]);
    let told = warned("PGPASSFILE", "/no/such/file");
    assert_eq!(
        told,
        ["/no/such/file: PGPASSFILE names it, and it does not exist"]
    );
}
