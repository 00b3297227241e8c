//! How the layers override each other, and the resulting values.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use common::{Bench, DATABASE};
use server_config::SslMode;

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
fn what_two_configurations_set_otherwise_is_named() {
    let load = |yaml: &str, variables: &[(&str, &str)]| Bench::new(yaml).with(variables).load();
    let before = load(&format!("http: {{address: \":1\"}}\n{DATABASE}"), &[]).unwrap();
    let other =
        "http: {address: \":2\", allowed_hosts: [a]}\nlimits: {held_time: 60s}\ndatabases: []\n";
    let after = load(other, &[]).unwrap();
    assert_eq!(before.changed_keys(&before), Vec::<&str>::new());
    // Setting a key to its current value changes nothing.
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
