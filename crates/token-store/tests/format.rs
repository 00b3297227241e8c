//! What a file may contain: the documented forms, every mistake, and arbitrary content.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    io::Write,
    process::{Command, Stdio},
    time::Instant,
};

use common::{any_policy, any_set, any_text, numbered_set};
use proptest::{prelude::*, strategy::ValueTree};
use time::macros::datetime;
use token_store::{Access, KeptPolicy, PasswordSource, Policy, Problem, Role, TokenSet, readers};

const HASH: &str = "b3f805a4c2e7d9f1a8b6c3e2d5f4a1b9c8e7d6f5a4b3c2e1d9f8a7b6c5e4d3f2";

#[test]
fn the_documents_own_example_is_read_as_it_stands() {
    let text = format!(
        "tokens:\n- id: token-1234567890\n  hash: {HASH}\n  note: Production API\n  created_at: \"2024-10-30T10:15:30Z\"\n  expires_at: \"2025-10-30T10:15:30Z\"\n"
    );
    let set = TokenSet::parse(text.as_bytes()).unwrap();
    let token = set.iter().next().unwrap();
    assert_eq!(token.id.as_str(), "token-1234567890");
    assert_eq!(token.hash.to_hex(), HASH);
    assert_eq!(&*token.note, "Production API");
    assert_eq!(token.database(), None);
    assert!(token.policy.is_empty() && token.previous.is_none());
    assert_eq!(token.created_at, datetime!(2024-10-30 10:15:30 UTC));
    assert_eq!(token.expires_at, Some(datetime!(2025-10-30 10:15:30 UTC)));
}

#[test]
fn the_map_form_is_read_and_written_as_a_list() {
    let text = format!(
        "tokens:\n    token-1734950000:\n        hash: {HASH}\n        expires_at: 2026-12-23T10:00:00.5+01:00\n        annotation: Production API\n        created_at: 2025-12-23T10:00:00+01:00\n        database: staging\n"
    );
    let set = TokenSet::parse(text.as_bytes()).unwrap();
    assert_eq!(
        set.to_yaml(),
        format!(
            "tokens:\n  - id: token-1734950000\n    hash: {HASH}\n    note: Production API\n    database: staging\n    created_at: \"2025-12-23T09:00:00Z\"\n    expires_at: \"2026-12-23T09:00:00.5Z\"\n"
        )
    );
}

#[test]
fn json_is_read_too() {
    for text in [
        format!(
            "{{\"tokens\": [{{\"id\": \"a\", \"hash\": \"{HASH}\", \"created_at\": \"2025-12-23T10:00:00Z\"}}]}}"
        ),
        format!(
            "{{\n\t\"tokens\": {{\n\t\t\"a\": {{\"hash\": \"{HASH}\", \"expires_at\": null, \"created_at\": \"2025-12-23T10:00:00Z\"}}\n\t}}\n}}"
        ),
    ] {
        assert_eq!(
            TokenSet::parse(text.as_bytes()).map(|set| set.len()),
            Ok(1),
            "{text}"
        );
    }
}

#[test]
fn a_file_with_nothing_in_it_has_no_tokens() {
    for text in [
        "",
        "\n",
        "# a comment\n",
        "\u{feff}",
        "---\n",
        "tokens:",
        "tokens: ~\n",
        "tokens: {}",
        "tokens: []\n",
        "null\n",
    ] {
        assert_eq!(
            TokenSet::parse(text.as_bytes()).map(|set| set.len()),
            Ok(0),
            "{text:?}"
        );
    }
}

#[test]
fn a_policy_is_read_and_written_as_documented() {
    let text = format!(
        "tokens:\n  - id: token-1\n    hash: {HASH}\n    note: x\n    databases: [orders, \"a, b\"]\n    created_at: \"2024-10-30T10:15:30Z\"\n    expires_at: null\n    previous: {{hash: {}, until: \"2026-11-30T00:00:00Z\"}}\n    role: {{user: mcp_orders_ro, password_env: PG_ORDERS_RO}}\n    access: write\n    tools: [query_database, count_rows]\n    schemas: [public, sales]\n    limits: {{rows: 500, bytes: 256KiB, statement_timeout: 10s, concurrent: 2, calls_per_minute: 60, connections: 3}}\n    allow_from: [\"10.0.0.0/8\", \"::1\"]\n",
        "a".repeat(64)
    );
    let set = readers::scanner(&text).expect("the writer's own form");
    assert_eq!(readers::parser(&text).as_ref(), Ok(&set));
    assert_eq!(set.to_yaml(), text);
    let token = set.iter().next().unwrap();
    let databases: Vec<&str> = token.databases.as_ref().unwrap().iter().collect();
    assert_eq!(databases, ["orders", "a, b"]);
    assert_eq!(
        token.previous.as_ref().unwrap().until,
        datetime!(2026-11-30 0:00 UTC)
    );
    let Policy {
        role,
        access,
        tools,
        schemas,
        limits,
        allow_from,
    } = &token.policy.read();
    let Some(Role::Login(login)) = role else {
        panic!("{role:?}")
    };
    assert_eq!(login.user.as_str(), "mcp_orders_ro");
    let Some(PasswordSource::Environment(variable)) = &login.password else {
        panic!("{login:?}")
    };
    assert_eq!(variable.as_str(), "PG_ORDERS_RO");
    assert_eq!(*access, Access::Write);
    assert_eq!(
        tools.as_ref().unwrap().to_string(),
        "query_database, count_rows"
    );
    assert!(schemas.as_ref().unwrap().contains("sales"));
    assert_eq!(limits.rows.unwrap().get(), 500);
    assert_eq!(limits.bytes.unwrap().bytes(), 256 << 10);
    assert_eq!(limits.statement_timeout.unwrap().duration().as_secs(), 10);
    assert_eq!(limits.connections.unwrap().get(), 3);
    assert!(allow_from.as_ref().unwrap().contains([10, 1, 2, 3].into()));
}

#[test]
fn a_policy_in_block_form_is_the_same() {
    let entry = |fields: &str| {
        let text = format!(
            "tokens:\n- id: a\n  hash: {HASH}\n  created_at: 2024-10-30T10:15:30Z\n{fields}"
        );
        TokenSet::parse(text.as_bytes()).unwrap()
    };
    let block = "  set_role: reader\n  databases:\n  - one\n  limits:\n    rows: '7'\n    bytes: 1024\n  allow_from:\n  - 10.0.0.0/8\n";
    let flow = "  {set_role: reader, database: [one], limits: {bytes: 1KiB, rows: 7}, allow_from: [10.0.0.0/8]}".trim();
    let flow = format!(
        "  {}\n",
        &flow[1..flow.len() - 1]
            .replace("}, ", "}\n  ")
            .replace("r, d", "r\n  d")
            .replace("], l", "]\n  l")
    );
    assert_eq!(entry(block), entry(&flow));
}

#[test]
fn unknown_fields_survive_a_rewrite_with_their_spelling() {
    let text = format!(
        "version: 2\ntokens:\n  - id: a\n    hash: {HASH}\n    note: x\n    created_at: \"2024-10-30T10:15:30Z\"\n    expires_at: null\n    weight: 0x1F\n    rate: 1.50\n    scopes: [read, {{db: ~, 1: true}}]\n    7: seven\n    text: |\n      two\n      lines\n"
    );
    let set = TokenSet::parse(text.as_bytes()).unwrap();
    assert_eq!(set.unknown_keys().collect::<Vec<_>>(), ["version"]);
    let written = set.to_yaml();
    for kept in [
        "version: 2\n",
        "weight: 0x1F\n",
        "rate: 1.50\n",
        "\"two\\nlines\\n\"",
        "true",
        "seven",
    ] {
        assert!(written.contains(kept), "{kept} is lost in:\n{written}");
    }
    let again = TokenSet::parse(written.as_bytes()).unwrap();
    assert_eq!(again.to_yaml(), written);
}

#[test]
fn every_mistake_is_named_with_its_line_and_token() {
    let entry = |fields: &str| {
        format!(
            "tokens:\n- id: token-5\n  hash: {HASH}\n  created_at: 2024-10-30T10:15:30Z\n{fields}"
        )
    };
    let table: Vec<(String, &str)> = vec![
        ("http:\n  enabled: true\n".into(), "line 1: no token file"),
        (
            "token:\n- id: token-5\n".into(),
            "line 1: a key at the top is nearly `tokens`",
        ),
        (
            "tokens: []\ntokenz:\n- id: token-5\n".into(),
            "line 2: a key at the top is nearly `tokens`",
        ),
        (entry("Tokens: []\n"), "line 5: a key at the top is nearly"),
        (
            r#"{"toekn": [], "tokens": []}"#.into(),
            "line 1: a key at the top is nearly",
        ),
        ("[]".into(), "no token file"),
        ("42".into(), "no token file"),
        ("tokens: 5".into(), "must hold a list"),
        ("tokens: x".into(), "must hold a list"),
        (
            "tokens:\n- 5\n".into(),
            "line 2: the entry is not a mapping",
        ),
        (
            "tokens:\n  token-x:\n".into(),
            "line 2: the entry is not a mapping",
        ),
        ("tokens:\n- id: a\n  hash: [".into(), "not valid YAML"),
        (
            "tokens:\n- hash: x\n".into(),
            "line 2: the field `id` is missing",
        ),
        (
            "tokens:\n- id: [a]\n".into(),
            "line 2: the field `id` must be a plain text",
        ),
        (
            "tokens:\n- id: a b\n".into(),
            "line 2: a token id is 1 to 59",
        ),
        (
            "tokens:\n- id: token-5\n".into(),
            "token-5: the field `hash` is missing",
        ),
        (
            "tokens:\n- id: token-5\n  hash: abc\n".into(),
            "line 3: token-5: the `hash` is not 64",
        ),
        (
            format!("tokens:\n- id: token-5\n  hash: {HASH}\n"),
            "line 2: token-5: the field `created_at` is missing",
        ),
        (
            entry("  expires_at: soon\n"),
            "line 5: token-5: the field `expires_at` is no time",
        ),
        (
            entry("  expires_at: 2025-10-30\n"),
            "line 5: token-5: the field `expires_at` is no time",
        ),
        (
            entry("  expires_at: 2025-13-30T00:00:00Z\n"),
            "`expires_at` is no time",
        ),
        (
            entry("  expires_at: 9999-12-31T23:59:59-23:59\n"),
            "`expires_at` is no time",
        ),
        (
            entry("  expires_at: 2025-10-30T10:15:30\n"),
            "line 5: token-5: the field `expires_at` has no offset",
        ),
        (
            entry("  expires_at: [1]\n"),
            "`expires_at` must be a plain text",
        ),
        (
            entry("  database: \"\"\n"),
            "line 5: token-5: the `database` is not a name",
        ),
        (
            entry("  note: a\n  annotation: b\n"),
            "line 6: token-5: the entry has a `note` and an `annotation`",
        ),
        (
            entry("  note: a\n  note: b\n"),
            "line 6: the same key stands twice",
        ),
        (
            entry(&format!(
                "- id: token-6\n  hash: {HASH}\n  created_at: 2024-10-30T10:15:30Z\n"
            )),
            "line 5: token-6: the same hash stands there before",
        ),
        (
            entry(&format!(
                "- id: token-5\n  hash: {}\n  created_at: 2024-10-30T10:15:30Z\n",
                "a".repeat(64)
            )),
            "line 5: token-5: an earlier entry has the same id",
        ),
        (
            format!("tokens:\n  token-1:\n    id: token-2\n    hash: {HASH}\n"),
            "line 2: the entry's key and its `id` differ",
        ),
        (
            entry("  database: a\n  databases: [a]\n"),
            "line 6: token-5: the entry has a `database` and `databases`",
        ),
        (
            entry("  databases: []\n"),
            "line 5: token-5: the `database`",
        ),
        (entry("  databases: [a, a]\n"), "no list of different names"),
        (
            entry("  access: admin\n"),
            "line 5: token-5: the field `access` must be read or write",
        ),
        (entry("  tools: []\n"), "the field `tools` must be a list"),
        (entry("  tools: x\n"), "the field `tools` must be a list"),
        (entry("  schemas: [[a]]\n"), "the field `schemas` must be"),
        (
            entry("  role: reader\n"),
            "the field `role` must be {user: NAME}",
        ),
        (
            entry("  role: {password_env: A}\n"),
            "the field `role` must be {user: NAME}",
        ),
        (
            entry("  role: {user: a, password: secret}\n"),
            "the field `role` must be {user: NAME}",
        ),
        (
            entry("  role: {user: a, password_env: A, password_file: /b}\n"),
            "has two passwords",
        ),
        (
            entry("  role: {user: a, password_file: b}\n"),
            "`role.password_file` must be an absolute path",
        ),
        (
            entry("  role: {user: a}\n  set_role: b\n"),
            "line 6: token-5: the field `set_role` cannot stand beside `role`",
        ),
        (
            entry("  limits: {rows: 0}\n"),
            "the field `limits.rows` must be a whole number from 1",
        ),
        (entry("  limits: {rows: +5}\n"), "`limits.rows` must be"),
        (entry("  limits: {rows: 1.5}\n"), "`limits.rows` must be"),
        (
            entry("  limits: {row: 5}\n"),
            "the field `limits` must be {NAME: LIMIT}",
        ),
        (entry("  limits: {}\n"), "the field `limits` must be"),
        (
            entry("  limits: {bytes: 2GiB}\n"),
            "`limits.bytes` must be a size from 1 to 1GiB",
        ),
        (
            entry("  limits: {statement_timeout: 10}\n"),
            "`limits.statement_timeout` must be a span",
        ),
        (
            entry("  allow_from: [10.0.0.1/8]\n"),
            "the field `allow_from` must be a list of addresses",
        ),
        (
            entry("  allow_from: [10.0.0.0/8, 10.0.0.1/8]\n"),
            "delete the line to allow any (entry 2 is none)",
        ),
        (
            entry("  allow_from: [::1, 10.0.0.0/8, ::1]\n"),
            "(entry 3 is the same as an earlier one)",
        ),
        (
            entry("  allow_from: []\n"),
            "delete the line to allow any (the list is empty)",
        ),
        (
            entry("  allow_from: {a: b}\n"),
            "the field `allow_from` must be",
        ),
        (
            entry("  previous: {hash: abc, until: 2025-01-01T00:00:00Z}\n"),
            "the field `previous` must be {hash",
        ),
        (
            entry(&format!(
                "  previous: {{hash: {}, until: 2025}}\n",
                "b".repeat(64)
            )),
            "the field `previous.until` is no time",
        ),
        (
            entry(&format!(
                "  previous: {{hash: {HASH}, until: 2025-01-01T00:00:00Z}}\n"
            )),
            "the same hash stands there before",
        ),
        ("tokens: []\n---\ntokens: []\n".into(), "line 2"),
        (
            "tokens: !secret []\n".into(),
            "without anchors, aliases, tags",
        ),
    ];
    for (text, expected) in table {
        let message = TokenSet::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(
            message.contains(expected),
            "{text}\n  expected {expected}\n  got {message}"
        );
    }
    let latin = TokenSet::parse(b"tokens:\n- id: a\n  note: caf\xe9\n").unwrap_err();
    assert_eq!((latin.line, latin.problem), (Some(3), Problem::NotUtf8));
}

#[test]
fn duplicates_in_our_own_form_are_named_with_their_line() {
    let mut text = numbered_set(3).to_yaml();
    let second = text.match_indices("  - id:").nth(1).unwrap().0;
    text.extend_from_within(second..);
    let error = TokenSet::parse(text.as_bytes()).unwrap_err();
    assert_eq!(error.problem, Problem::DuplicateId);
    assert_eq!(error.line, Some(17));
}

#[test]
fn no_message_repeats_a_secret_from_the_wrong_place() {
    let token = "O9ms9jqTfUdy-DIjvpFWeqd_yH_NEj7me0mgOnOjGdQ=";
    let bare = token.trim_end_matches('=');
    for text in [
        format!("tokens:\n- id: {token}\n"),
        format!("tokens:\n- id: {bare}\n  hash: {token}\n"),
        format!("tokens:\n- id: a\n  hash: {token}\n"),
        format!("tokens:\n- id: a\n  hash: {HASH}\n  created_at: {token}\n"),
        format!("tokens:\n- id: a\n  hash: {HASH}\n  created_at: {bare}Z\n"),
        format!("{bare}: 1\n"),
        format!("tokens: {token}\n"),
        format!("tokens: [*{bare}]\n"),
        format!("tokens: &{bare} [*{bare}]\n"),
        format!("tokens: !{bare} []\n"),
        format!("%TAG !{bare}! x\n{bare}: [\n"),
        format!("tokens:\n- {{{bare}: 1, {bare}: 2}}\n"),
        format!("\"{bare}\\q\""),
        format!("tokens:\n {bare}\n  x: y\n"),
    ] {
        let message = TokenSet::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(!message.contains(&bare[..20]), "{text}: {message}");
    }
}

#[test]
fn yaml_bombs_are_refused_at_once() {
    let wide = |item: &str, times: usize| format!("tokens: [{}]", item.repeat(times));
    let mut laughs = String::from("a: &a [x, x, x, x, x, x, x, x, x]\n");
    for level in b'b'..=b'j' {
        let (name, before) = (char::from(level), char::from(level - 1));
        laughs.push_str(&format!(
            "{name}: &{name} [{}]\n",
            format!("*{before}, ").repeat(9)
        ));
    }
    let bombs = [
        ("billion laughs", laughs),
        (
            "quadratic aliases",
            format!("a: &a x\ntokens: [{}]", "*a, ".repeat(400_000)),
        ),
        ("nested lists", "[".repeat(500_000)),
        ("nested maps", "{a: ".repeat(100_000)),
        ("nested unclosed keys", "? ".repeat(200_000)),
        ("nested dashes", "- ".repeat(200_000)),
        (
            "deep indentation",
            (0..3_000)
                .map(|depth| format!("{}a:\n", " ".repeat(depth)))
                .collect(),
        ),
        ("many nulls", wide("~,", 400_000)),
        (
            "many empty entries",
            format!("tokens:\n{}", "-\n".repeat(400_000)),
        ),
        ("anchors", wide("&a x, ", 100_000)),
        ("documents", "---\n".repeat(200_000)),
        (
            "merge keys",
            format!("tokens: {{{}}}", "<<: {}, ".repeat(50_000)),
        ),
        ("tags", wide("!!str x, ", 100_000)),
        ("colons", ":".repeat(500_000)),
        ("quotes", "\"".repeat(500_001)),
        ("an endless key", "k".repeat(1_000_000)),
        (
            "an endless directive",
            format!("%YAML {}\n", "1".repeat(1_000_000)),
        ),
    ];
    for (name, text) in bombs {
        let start = Instant::now();
        let refused = TokenSet::parse(text.as_bytes()).is_err();
        let took = start.elapsed();
        assert!(refused, "{name} is accepted");
        // An optimized build takes a twentieth of this.
        assert!(took.as_millis() < 3_000, "{name} took {took:?}");
    }
}

#[test]
fn ten_thousand_tokens_are_read_by_the_scanner() {
    let set = numbered_set(10_000);
    let text = set.to_yaml();
    let start = Instant::now();
    assert_eq!(readers::scanner(&text).as_ref(), Some(&set));
    let scanner = start.elapsed();
    let start = Instant::now();
    assert_eq!(readers::parser(&text).as_ref(), Ok(&set));
    let parser = start.elapsed();
    assert!(
        scanner * 2 < parser,
        "scanner {scanner:?}, parser {parser:?}"
    );
}

#[test]
fn ten_thousand_tokens_with_policies_are_read_by_the_scanner() {
    let with_policy = |token: &std::sync::Arc<token_store::Token>| {
        let mut token = token_store::Token::clone(token);
        let mut policy = Policy::default();
        policy
            .set("tools", Some("query_database,count_rows"))
            .unwrap();
        policy.set("limits.rows", Some("500")).unwrap();
        policy.set("allow_from", Some("10.0.0.0/8")).unwrap();
        token.policy = (&policy).into();
        token
    };
    let set = TokenSet::new(numbered_set(10_000).iter().map(with_policy).collect()).unwrap();
    let text = set.to_yaml();
    let start = Instant::now();
    assert_eq!(readers::scanner(&text).as_ref(), Some(&set));
    let scanner = start.elapsed();
    let start = Instant::now();
    assert_eq!(readers::parser(&text).as_ref(), Ok(&set));
    let parser = start.elapsed();
    assert!(
        scanner * 2 < parser,
        "scanner {scanner:?}, parser {parser:?}"
    );
}

#[test]
fn the_scanner_passes_over_comments_and_blank_lines_between_entries() {
    let set = numbered_set(50);
    let nothings = [
        "",
        "# Managed by a template: \"do not edit\" \\ 'here'",
        "  # - id: none",
        "  ",
        "#tokens: []",
        "# M\u{fc}ller",
    ];
    let mut nothing = nothings.iter().cycle();
    let mut text = String::from("# First\n\n---\n# Second\n");
    for line in set.to_yaml().lines() {
        if line.starts_with("  - id: ") {
            text += nothing.next().unwrap();
            text += "\n";
        }
        text += line;
        text += "\n";
    }
    text += "\n# Last\n";
    assert!(readers::scanner(&text).as_ref() == Some(&set), "{text}");
    assert!(readers::parser(&text).as_ref() == Ok(&set), "{text}");
    // On any doubt, the parser decides.
    for ending in ["# cut off", "\t# tab\n", "# \u{2028}\n", "# \r\n"] {
        let text = text.clone() + ending;
        assert!(readers::scanner(&text).is_none(), "{ending:?}");
    }
}

#[test]
fn a_hundred_thousand_tokens_fit() {
    let note = "Service of a team - Q4 2026";
    let entry = |number: u32| {
        format!(
            "  - id: token-{number}\n    hash: a{number:063}\n    note: {note}\n    created_at: \"2026-01-02T03:04:05Z\"\n    expires_at: null\n"
        )
    };
    let text: String = std::iter::once("tokens:\n".to_owned())
        .chain((0..100_000).map(entry))
        .collect();
    assert!(text.len() as u64 <= token_store::MAX_FILE_BYTES);
    let read = TokenSet::parse(text.as_bytes());
    assert_eq!(read.map(|set| set.len()), Ok(100_000));
}

#[test]
fn a_file_cut_anywhere_is_refused_or_has_fewer_tokens_and_no_new_one() {
    let set = numbered_set(4);
    let text = set.to_yaml();
    for end in 0..text.len() {
        if let Ok(cut) = TokenSet::parse(&text.as_bytes()[..end]) {
            for token in cut.iter() {
                assert!(
                    set.get(&token.hash).is_some(),
                    "cut at {end}: a token that never was"
                );
            }
        }
    }
}

#[test]
fn pyyaml_reads_every_note_as_it_was_written() {
    let has_yaml = Command::new("python3")
        .args(["-c", "import yaml"])
        .stderr(Stdio::null())
        .status();
    if !has_yaml.is_ok_and(|status| status.success()) {
        // The YAML crate reads all notes in the properties below; this is a second opinion.
        return;
    }
    let script = "import sys, yaml, json\nprint(json.dumps([t['note'] for t in yaml.safe_load(sys.stdin.buffer.read())['tokens']]))";
    let mut tokens = Vec::new();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for number in 0..500 {
        let note = any_text().new_tree(&mut runner).unwrap().current();
        let mut token = (**numbered_set(number + 1).iter().last().unwrap()).clone();
        token.note = note.into();
        tokens.push(token);
    }
    let notes: Vec<String> = tokens.iter().map(|token| token.note.to_string()).collect();
    let yaml = TokenSet::new(tokens).unwrap().to_yaml();
    let mut python = Command::new("python3")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python
        .stdin
        .take()
        .unwrap()
        .write_all(yaml.as_bytes())
        .unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "PyYAML refuses what was written");
    let read: Vec<String> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(read, notes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_set_that_shares_with_an_older_one_is_what_it_would_be_alone(set in any_set(), other in any_set(), mask in any::<u8>(), cut in any::<bool>()) {
        // Some tokens of the first set, some of them with another note, and all of the second.
        let mut tokens: Vec<token_store::Token> = Vec::new();
        for (number, token) in set.iter().enumerate().filter(|(number, _)| mask >> number & 1 == 1) {
            let mut token = (**token).clone();
            if mask >> (7 - number) & 1 == 1 {
                token.note = format!("{}!", token.note).into();
            }
            tokens.push(token);
        }
        let differs = |token: &token_store::Token| {
            let secrets = |token: &token_store::Token| -> Vec<_> {
                std::iter::once(token.hash).chain(token.previous.as_ref().map(|old| old.hash)).collect()
            };
            tokens.iter().all(|old| old.id != token.id && secrets(old).iter().all(|hash| !secrets(token).contains(hash)))
        };
        let more: Vec<_> = other.iter().filter(|token| differs(token)).map(|token| (**token).clone()).collect();
        tokens.extend(more);
        let mut text = TokenSet::new(tokens).unwrap().to_yaml();
        if cut {
            // An unknown key makes the YAML parser read it.
            text.push_str("other: 1\n");
        }
        let alone = TokenSet::parse(text.as_bytes()).unwrap();
        let shared = set.parse_next(text.as_bytes()).unwrap();
        prop_assert_eq!(&shared, &alone);
        for token in shared.iter() {
            let before = set.iter().find(|before| before.hash == token.hash);
            let is_same = before.is_some_and(|before| before == token);
            prop_assert_eq!(before.is_some_and(|before| std::sync::Arc::ptr_eq(before, token)), is_same);
            if let Some(before) = before.filter(|before| before.policy == token.policy) {
                prop_assert!(before.policy.is_shared_with(&token.policy));
            }
        }
        prop_assert_eq!(shared.changes_since(&set), alone.changes_since(&set));
        prop_assert!(shared.changes_since(&alone).is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn what_is_written_is_read_back_by_both_readers(set in any_set()) {
        let text = set.to_yaml();
        prop_assert_eq!(readers::parser(&text), Ok(set.clone()));
        prop_assert_eq!(TokenSet::parse(text.as_bytes()), Ok(set.clone()));
        if let Some(scanned) = readers::scanner(&text) {
            prop_assert_eq!(&scanned, &set);
        }
    }

    #[test]
    fn a_kept_policy_is_read_as_it_was(one in any_policy(), other in any_policy()) {
        let (kept, kept_other) = (KeptPolicy::from(&one), KeptPolicy::from(&other));
        prop_assert_eq!(&kept.read(), &one);
        prop_assert_eq!(kept.is_empty(), one.is_empty());
        prop_assert_eq!(kept == kept_other, one == other);
    }

    #[test]
    fn the_scanner_reads_what_is_written_of_plain_texts_and_whole_seconds(set in any_set()) {
        let plain = |text: &str| text.chars().filter(|letter| matches!(letter, ' '..='~')).collect::<String>();
        let whole = |time: time::OffsetDateTime| time.replace_nanosecond(0).unwrap();
        let mut tokens: Vec<token_store::Token> = set.iter().map(|token| (**token).clone()).collect();
        for (number, token) in tokens.iter_mut().enumerate() {
            token.id = format!("t{number}-{}", &token.id.as_str()[..token.id.as_str().len().min(50)]).parse().unwrap();
            token.note = plain(&token.note).into();
            token.created_at = whole(token.created_at);
            token.expires_at = token.expires_at.map(whole);
            if let Some(previous) = &mut token.previous {
                previous.until = whole(previous.until);
            }
            let names = |names: &Option<token_store::Names>| {
                let names: Vec<String> = names.iter().flat_map(|names| names.iter().map(plain)).collect();
                token_store::Names::new(names.iter().map(String::as_str))
            };
            token.databases = names(&token.databases);
            let mut policy = token.policy.read();
            (policy.tools, policy.schemas) = (names(&policy.tools), names(&policy.schemas));
            let is_plain = |role: &Role| format!("{role:?}").is_ascii();
            policy.role = policy.role.take().filter(is_plain);
            token.policy = (&policy).into();
        }
        let set = TokenSet::new(tokens).unwrap();
        let text = set.to_yaml();
        prop_assert_eq!(readers::scanner(&text), Some(set), "{}", text);
    }

    #[test]
    fn whatever_the_scanner_accepts_the_parser_reads_alike(set in any_set(), cuts in proptest::collection::vec((any::<prop::sample::Index>(), "[ -~\\n\u{e9}]{0,3}", 0..3_usize), 1..4)) {
        let mut text = set.to_yaml();
        for (place, insert, delete) in cuts {
            let mut start = place.index(text.len());
            while !text.is_char_boundary(start) { start -= 1; }
            let mut end = (start + delete).min(text.len());
            while !text.is_char_boundary(end) { end += 1; }
            text.replace_range(start..end, &insert);
        }
        if let Some(scanned) = readers::scanner(&text) {
            prop_assert_eq!(Ok(scanned), readers::parser(&text), "{}", text);
        }
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = TokenSet::parse(&bytes);
    }

    #[test]
    fn no_yaml_like_text_panics(words in proptest::collection::vec(proptest::sample::select(vec![
        "tokens:", "\n", "\n  ", "\n    ", "- ", "id: ", "hash: ", "note: ", "created_at: ", "expires_at: ", "a", "token-1", HASH, "\"2024-10-30T10:15:30Z\"",
        "null", "[", "]", "{", "}", ",", ": ", "? ", "|\n", ">\n", "\"", "'", "#", "&a ", "*a", "!t ", "<<: ", "---\n", "...\n", "\t", "\u{85}", "\u{feff}", "1e9", ".inf", "-0x", "%",
    ]), 0..40)) {
        let text = words.concat();
        if let Ok(set) = TokenSet::parse(text.as_bytes()) {
            let written = set.to_yaml();
            prop_assert_eq!(TokenSet::parse(written.as_bytes()), Ok(set), "{}", written);
        }
    }
}

#[test]
fn a_restriction_without_a_value_is_no_permission() {
    let restrictions = [
        "role",
        "set_role",
        "access",
        "tools",
        "schemas",
        "limits",
        "allow_from",
    ];
    for field in restrictions {
        for value in ["", " null", " ~", " []"] {
            let text = format!(
                "tokens:\n- id: a\n  hash: {HASH}\n  {field}:{value}\n  created_at: 2024-10-30T10:15:30Z\n"
            );
            let refused = TokenSet::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(refused.contains(field), "{field}:{value}: {refused}");
        }
    }
}

#[test]
fn every_field_that_is_named_is_known() {
    for field in token_store::entry_fields().filter(|field| !["id", "hash"].contains(field)) {
        let file = format!(
            "tokens:\n  - id: a\n    hash: {}\n    created_at: \"2025-01-01T00:00:00Z\"\n",
            "0".repeat(64)
        );
        let file = match field {
            "created_at" => file,
            field => format!("{file}    {field}: null\n"),
        };
        // A field that does not accept null is refused under its own name; an unknown one would be kept.
        if let Ok(set) = TokenSet::parse(file.as_bytes()) {
            let unknown: Vec<&str> = set
                .iter()
                .flat_map(|token| token.unknown_fields())
                .collect();
            assert!(unknown.is_empty(), "{field}");
        }
    }
}
