//! The layers over each other, and what a wrong configuration says.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use server_config::{
    CONFIG_FILE_NAME, Config, EmbeddingProvider, LlmProvider, Problems, Sources, SslMode,
};

struct Bench {
    folder: tempfile::TempDir,
    sources: Sources,
}

impl Bench {
    fn new(yaml: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(CONFIG_FILE_NAME), yaml).unwrap();
        let sources = Sources {
            program_folder: folder.path().to_owned(),
            ..Sources::default()
        };
        Bench { folder, sources }
    }

    fn with(mut self, variables: &[(&str, &str)]) -> Self {
        self.sources.environment = variables
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        self
    }

    fn load(&self) -> Result<Config, Problems> {
        Config::load(&self.sources)
    }
}

const DATABASE: &str = "databases:\n  - {name: shop, user: ann}\n";

#[test]
fn the_documented_file_is_read() {
    let yaml = "http:\n  enabled: true\n  address: \":8080\"\n  auth:\n    enabled: true\n    token_file: \"/etc/t.yaml\"\n";
    let config = Bench::new(yaml).load().unwrap();
    assert!(config.http.enabled && config.http.auth_enabled);
    assert_eq!(
        (config.http.address.as_str(), config.token_file),
        (":8080", PathBuf::from("/etc/t.yaml"))
    );
}

#[test]
fn without_an_auth_section_authentication_is_on() {
    for yaml in [
        "",
        "http:\n",
        "http:\n  enabled: true\n",
        "http:\n  auth:\n",
        "http: {auth: {token_file: t}}\n",
    ] {
        assert!(
            Bench::new(yaml).load().unwrap().http.auth_enabled,
            "{yaml:?}"
        );
    }
}

#[test]
fn flags_stand_over_environment_over_file_over_defaults() {
    let mut bench = Bench::new("http: {address: \"localhost:1\"}\n");
    assert_eq!(bench.load().unwrap().http.address, "localhost:1");
    bench = bench.with(&[("PGEDGE_HTTP_ADDRESS", "localhost:2")]);
    assert_eq!(bench.load().unwrap().http.address, "localhost:2");
    bench.sources.address = Some("localhost:3".into());
    assert_eq!(bench.load().unwrap().http.address, "localhost:3");
    assert_eq!(Bench::new("").load().unwrap().http.address, ":8080");
}

#[test]
fn the_token_file_is_beside_the_binary_unless_named() {
    let bench = Bench::new("");
    let beside = bench.folder.path().join("pgedge-postgres-mcp-tokens.yaml");
    assert_eq!(bench.load().unwrap().token_file, beside);
}

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
fn authorities_that_are_named_are_asked_or_it_is_told() {
    let load =
        |keys: &str| Bench::new(&format!("databases: [{{name: a, user: u, {keys}}}]")).load();
    for (keys, mode, roots) in [
        ("sslmode: require", SslMode::Require, None),
        (
            "sslmode: require, sslrootcert: ca.pem",
            SslMode::VerifyCa,
            Some("ca.pem"),
        ),
        (
            "sslmode: verify-full, sslrootcert: ca.pem",
            SslMode::VerifyFull,
            Some("ca.pem"),
        ),
        (
            "sslmode: verify-full, sslrootcert: system",
            SslMode::VerifyFull,
            None,
        ),
    ] {
        let config = load(keys).unwrap();
        let database = &config.databases[0];
        let trusted = database.sslrootcert.as_deref().and_then(Path::to_str);
        assert_eq!((database.sslmode, trusted), (mode, roots), "{keys}");
        assert_eq!(config.warnings, [""; 0], "{keys}");
    }
    let warnings = load("sslrootcert: ca.pem").unwrap().warnings.join("");
    assert!(warnings.contains("add sslmode: verify-full"), "{warnings}");
    for mode in ["prefer", "require", "verify-ca"] {
        let problems = load(&format!("sslmode: {mode}, sslrootcert: system")).unwrap_err();
        assert!(
            problems.to_string().contains("sslmode verify-full"),
            "{problems}"
        );
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
    // Not by a variable that another entry's value does not come from.
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
fn the_standard_variables_make_a_default_database_only_when_none_is_listed() {
    let variables = [
        ("PGHOST", "db"),
        ("PGPORT", "6000"),
        ("PGUSER", "ann"),
        ("PGSSLMODE", "require"),
    ];
    let config = Bench::new("").with(&variables).load().unwrap();
    let database = &config.databases[0];
    assert_eq!(
        (
            database.name.as_str(),
            database.host.as_str(),
            database.port
        ),
        ("default", "db", 6000)
    );
    assert_eq!(
        (database.database.as_str(), database.sslmode),
        ("ann", SslMode::Require)
    );
    let config = Bench::new(DATABASE).with(&variables).load().unwrap();
    assert_eq!(
        (config.databases.len(), config.databases[0].host.as_str()),
        (1, "localhost")
    );
    let config = Bench::new("")
        .with(&[("DATABASE_URL", "postgres://u:p@h/d")])
        .load()
        .unwrap();
    assert_eq!(config.databases[0].host, "h");
    assert!(Bench::new("").load().unwrap().databases.is_empty());
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
fn tls_needs_its_files_and_http() {
    let mut bench = Bench::new("");
    bench.sources.tls = true;
    let problems = bench.load().unwrap_err().to_string();
    assert!(
        problems.contains("-cert FILE")
            && problems.contains("-key FILE")
            && problems.contains("-http"),
        "{problems}"
    );
}

#[test]
fn a_certificate_that_would_not_be_used_is_no_encryption() {
    let bench = |config: &str, tls: bool| {
        let mut bench = Bench::new(config);
        bench.sources.http = true;
        bench.sources.tls = tls;
        bench.sources.cert_file = Some("c.pem".into());
        bench.sources.key_file = Some("k.pem".into());
        bench
    };
    let problems = bench("", false).load().unwrap_err().to_string();
    for flag in ["-cert", "-key"] {
        let told = format!("{flag}: has no effect without TLS; add -tls");
        assert!(problems.contains(&told), "{problems}");
    }
    assert!(bench("", true).load().is_ok());
    let configured = "http: {tls: {enabled: true}}\n";
    assert!(bench(configured, false).load().is_ok());
}

#[test]
fn a_certificate_in_the_file_that_is_not_used_is_told() {
    let files = "cert_file: c.pem, key_file: k.pem";
    for (yaml, told) in [
        (format!("http: {{enabled: true, tls: {{{files}}}}}\n"), true),
        (
            format!("http: {{enabled: true, tls: {{enabled: true, {files}}}}}\n"),
            false,
        ),
        (format!("http: {{tls: {{{files}}}}}\n"), false),
    ] {
        let warnings = Bench::new(&yaml).load().unwrap().warnings;
        let is_told = warnings
            .iter()
            .any(|warning| warning.starts_with("http.tls.cert_file has no effect without TLS"));
        assert_eq!(is_told, told, "{yaml}: {warnings:?}");
    }
}

#[test]
fn an_address_without_http_is_told() {
    let mut bench = Bench::new("");
    bench.sources.address = Some("localhost:1".into());
    let told = "-addr has no effect without HTTP; add -http";
    assert_eq!(bench.load().unwrap().warnings, [told]);
    bench.sources.http = true;
    assert!(bench.load().unwrap().warnings.is_empty());
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
fn an_address_without_a_port_is_refused() {
    for address in ["8080", "localhost", "localhost:", "localhost:99999", ""] {
        let mut bench = Bench::new("");
        bench.sources.address = Some(address.into());
        assert!(
            bench
                .load()
                .unwrap_err()
                .to_string()
                .contains("localhost:8080"),
            "{address}"
        );
    }
}

#[test]
fn trusted_proxies_are_networks_and_nobody_is_trusted_otherwise() {
    let read = |yaml: &str, variables: &[(&str, &str)]| {
        let config = Bench::new(yaml).with(variables).load().unwrap();
        let proxies = config.http.proxies?;
        Some((proxies.networks.to_string(), proxies.by_forwarded))
    };
    for yaml in [
        "",
        "http: {trusted_proxies: }",
        "http: {trusted_proxies: []}",
        "http: {forwarded_header: Forwarded}",
    ] {
        assert_eq!(read(yaml, &[]), None, "{yaml}");
    }
    let yaml = "http: {trusted_proxies: [10.0.0.0/8, \"::1\"], forwarded_header: Forwarded}";
    let from_file = Some(("10.0.0.0/8, ::1".into(), true));
    assert_eq!(read(yaml, &[]), from_file);
    let variables = [
        ("PGEDGE_HTTP_TRUSTED_PROXIES", "127.0.0.1, 192.0.2.0/24"),
        ("PGEDGE_HTTP_FORWARDED_HEADER", "X-Forwarded-For"),
    ];
    let from_variables = Some(("127.0.0.1, 192.0.2.0/24".into(), false));
    assert_eq!(read(yaml, &variables), from_variables);
}

#[test]
fn a_proxy_that_cannot_be_trusted_is_told_with_the_fix() {
    for (list, header, told) in [
        (
            "[10.0.0.1/8]",
            "",
            "\"10.0.0.1/8\": a network is an address",
        ),
        ("[proxy.example.com]", "", "such as 10.0.0.0/8"),
        (
            "[127.0.0.1, 0.0.0.0/0]",
            "",
            "0.0.0.0/0 is everybody; name the addresses",
        ),
        ("[\"::/0\"]", "", "::/0 is everybody"),
        (
            "[127.0.0.1, 127.0.0.1]",
            "",
            "different networks (entry 2 is the same",
        ),
        ("{a: b}", "", "must be a list"),
        (
            "[127.0.0.1]",
            ", forwarded_header: X-Real-IP",
            "one of X-Forwarded-For, Forwarded",
        ),
    ] {
        let yaml = format!("http: {{trusted_proxies: {list}{header}}}");
        let problems = Bench::new(&yaml).load().unwrap_err();
        assert_eq!(problems.0.len(), 1, "{problems}");
        assert!(problems.to_string().contains(told), "{yaml}: {problems}");
    }
    let both = Bench::new("http: {trusted_proxies: [a, b]}").load();
    assert_eq!(both.unwrap_err().0.len(), 2);
}

#[test]
fn the_password_file_fills_in_what_is_missing() {
    let bench = Bench::new(DATABASE);
    let home = bench.folder.path().to_str().unwrap().to_owned();
    let pgpass = bench.folder.path().join(".pgpass");
    fs::write(&pgpass, "localhost:5432:ann:ann:secret\n").unwrap();
    let bench = bench.with(&[("HOME", &home), ("PGPASSFILE", "")]);
    assert_eq!(
        bench.load().unwrap().warnings.len(),
        1,
        "readable by others"
    );
    fs::set_permissions(&pgpass, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(
        bench.load().unwrap().databases[0]
            .password
            .as_ref()
            .unwrap()
            .expose(),
        "secret"
    );
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

#[test]
fn an_empty_variable_is_no_variable() {
    let empty: BTreeMap<String, String> = [
        ("DATABASE_URL", ""),
        ("PGEDGE_HTTP_ENABLED", ""),
        ("PGEDGE_TOOLS_ENABLED", ""),
        ("PGEDGE_DB_NAME", ""),
        ("PGHOST", ""),
        ("PGUSER", ""),
        ("PGDATABASE", ""),
        ("PGPORT", ""),
    ]
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .into();
    let mut bench = Bench::new("tools: {enabled: [execute_write]}\n");
    bench.sources.environment = empty;
    let config = bench.load().unwrap();
    assert!(config.databases.is_empty());
    assert_eq!(config.tools.enabled, ["execute_write"]);
}

#[test]
fn entries_may_share_what_they_have_in_common() {
    let yaml = "databases:\n  - &first {name: a, user: u, host: h}\n  - {<<: *first, name: b}\n";
    let config = Bench::new(yaml).load().unwrap();
    assert_eq!(
        (
            config.databases[1].name.as_str(),
            config.databases[1].host.as_str()
        ),
        ("b", "h")
    );
}

#[test]
fn models_are_read_with_their_keys() {
    let yaml = "llm: {provider: anthropic, model: some-model, timeout: 7s}\n\
                embedding: {provider: openai, model: e, url: \"http://localhost:9/v1\", dimensions: 8, key_env: OWN}\n";
    let bench = Bench::new(yaml).with(&[
        ("ANTHROPIC_API_KEY", "sk-canary-1"),
        ("OWN", " sk-canary-2\n"),
    ]);
    let config = bench.load().unwrap();
    let (llm, embedding) = (
        config.llm.as_ref().unwrap(),
        config.embedding.as_ref().unwrap(),
    );
    assert_eq!(llm.provider, LlmProvider::Anthropic);
    assert_eq!(
        (llm.model.name.as_str(), llm.model.timeout.as_secs()),
        ("some-model", 7)
    );
    assert_eq!(
        (embedding.provider, embedding.dimensions),
        (EmbeddingProvider::OpenAi, Some(8))
    );
    for (model, key) in [
        (&llm.model, "sk-canary-1"),
        (&embedding.model, "sk-canary-2"),
    ] {
        assert_eq!(model.key().unwrap().unwrap().expose(), key);
    }
    assert!(!format!("{config:?}").contains("canary"), "{config:?}");
    let config = Bench::new("").load().unwrap();
    assert!(config.llm.is_none() && config.embedding.is_none());
}

#[test]
fn a_missing_key_is_told_when_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty");
    fs::write(&empty, "\n").unwrap();
    let file = folder.path().join("key");
    fs::write(&file, "sk-canary\n").unwrap();
    for (further, expected) in [
        (
            "",
            Err("llm.key_env: the variable OPENAI_API_KEY is not set"),
        ),
        (
            ", key_env: OTHER",
            Err("llm.key_env: the variable OTHER is not set"),
        ),
        (
            // It has the characters of a variable's name, and may be the key.
            ", key_env: gsk_canary1",
            Err("llm.key_env: the variable that it names is not set"),
        ),
        (", url: \"http://localhost:9\"", Ok(None)),
        (
            ", key_file: /nowhere/at/all",
            Err("llm.key_file: /nowhere/at/all cannot be read"),
        ),
        (&format!(", key_file: {}", empty.display()), Err("is empty")),
        (
            &format!(", key_file: {}", file.display()),
            Ok(Some("sk-canary")),
        ),
    ] {
        let bench = Bench::new(&format!("llm: {{provider: openai, model: m{further}}}\n"));
        let key = bench.load().unwrap().llm.unwrap().model.key();
        match (key, expected) {
            (Err(message), Err(needle)) => {
                assert!(message.contains(needle), "{further}: {message}");
                assert!(!message.contains("canary"), "{message}");
            }
            (Ok(key), Ok(wanted)) => {
                assert_eq!(key.as_ref().map(|key| key.expose()), wanted, "{further}")
            }
            (key, _) => panic!("{further}: {key:?}"),
        }
    }
}

#[test]
fn a_model_that_is_half_described_is_a_problem() {
    for (yaml, needle) in [
        (
            "llm: {model: m}",
            "llm.provider: is missing, and llm.model is given",
        ),
        (
            "embedding: {key_env: K}",
            "embedding.provider: is missing, and embedding.key_env is given",
        ),
        ("llm: {provider: openai}", "llm.model: is missing"),
        (
            "llm: {provider: gemini, model: m}",
            "llm.provider: must be one of anthropic, openai, ollama",
        ),
        (
            "llm: {provider: voyage, model: m}",
            "llm.provider: must be one of",
        ),
        (
            "embedding: {provider: anthropic, model: m}",
            "embedding.provider: must be one of openai, voyage, ollama",
        ),
        (
            "embedding: {provider: ollama, model: m, key_env: K, key_file: F}",
            "embedding.key_file: stands beside embedding.key_env",
        ),
    ] {
        let problems = Bench::new(yaml).load().unwrap_err().to_string();
        assert!(problems.contains(needle), "{yaml}: {problems}");
    }
}

#[test]
fn a_key_that_travels_in_the_clear_is_warned_of() {
    for (url, key, warned) in [
        ("http://models.example.com/v1", ", key_env: K", true),
        ("http://models.example.com/v1", "", false),
        ("https://models.example.com/v1", ", key_env: K", false),
        ("http://localhost:9/v1", ", key_env: K", false),
        ("http://127.0.0.2/v1", ", key_env: K", false),
        ("http://[::1]:9/v1", ", key_env: K", false),
        ("HTTP://models.example.com/v1", ", key_env: K", true),
        ("http://127.models.example.com", ", key_env: K", true),
        ("http://localhost.example.com", ", key_env: K", true),
    ] {
        let yaml = format!("embedding: {{provider: openai, model: m, url: \"{url}\"{key}}}\n");
        let warnings = Bench::new(&yaml).load().unwrap().warnings.join("\n");
        assert_eq!(
            warnings.contains("unencrypted"),
            warned,
            "{url}{key}: {warnings}"
        );
    }
}

#[test]
fn what_two_configurations_set_otherwise_is_named() {
    let load = |yaml: &str, variables: &[(&str, &str)]| Bench::new(yaml).with(variables).load();
    let before = load(&format!("http: {{address: \":1\"}}\n{DATABASE}"), &[]).unwrap();
    let other =
        "http: {address: \":2\", allowed_hosts: [a]}\nlimits: {held_time: 60s}\ndatabases: []\n";
    let after = load(other, &[]).unwrap();
    assert_eq!(before.changed_keys(&before), Vec::<&str>::new());
    // What is said to be what it is anyway changes nothing.
    assert_eq!(
        before.changed_keys(&after),
        ["http.address", "http.allowed_hosts"]
    );
    let variable = [("PGEDGE_HTTP_ADDRESS", ":1")];
    let over = load(other, &variable).unwrap();
    assert_eq!(before.changed_keys(&over), ["http.allowed_hosts"]);
    assert!(!format!("{before:?}").contains("Settings { "));
}

#[test]
fn an_audit_log_and_metrics_are_there_when_they_are_named() {
    let none = Bench::new(DATABASE).load().unwrap();
    assert_eq!((none.audit, none.metrics), (None, None));
    let yaml = format!(
        "{DATABASE}audit: {{file: a.jsonl, when_full: refuse, statements: text}}\nmetrics: {{address: 'localhost:9187', most_tokens: 7}}\n"
    );
    let mut bench = Bench::new(&yaml);
    let config = bench.load().unwrap();
    let audit = config.audit.unwrap();
    assert_eq!(audit.file, PathBuf::from("a.jsonl"));
    assert!(audit.refuses && audit.texts);
    let metrics = config.metrics.unwrap();
    assert_eq!(metrics.address, "localhost:9187");
    assert!(!metrics.allow_remote);
    assert_eq!(
        metrics.most_tokens, 0,
        "no token is told apart unless that is asked for"
    );

    bench = bench.with(&[
        ("PGEDGE_AUDIT_FILE", "b"),
        ("PGEDGE_AUDIT_WHEN_FULL", "go_on"),
    ]);
    let audit = bench.load().unwrap().audit.unwrap();
    assert_eq!((audit.file, audit.refuses), (PathBuf::from("b"), false));
    bench.sources.audit_file = Some("c".into());
    bench.sources.metrics_address = Some("[::1]:1".into());
    let config = bench.load().unwrap();
    assert_eq!(config.audit.unwrap().file, PathBuf::from("c"));
    assert_eq!(config.metrics.unwrap().address, "[::1]:1");

    let wrong = format!("{DATABASE}audit: {{when_full: stop}}\nmetrics: {{address: localhost}}\n");
    let problems = Bench::new(&wrong).load().unwrap_err().to_string();
    assert!(
        problems.contains("audit.when_full: must be one of go_on, refuse"),
        "{problems}"
    );
    assert!(
        problems.contains("metrics.address: must be HOST:PORT"),
        "{problems}"
    );
}
