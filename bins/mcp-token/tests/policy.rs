//! Policies, rotation, verification and checks, by the real program.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    fs,
    io::Write,
    process::{Output, Stdio},
};

use serde_json::{Value, json};
use support::{Bench, is_in, shown_token, stderr, stdout};
use time::{Duration, OffsetDateTime};
use token_store::{Access, Role, Token, TokenFile, Usage, UsageLog};

fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    stdout(output)
}

fn parsed(output: &Output) -> Value {
    serde_json::from_str(&done(output)).unwrap()
}

/// Gives the only token of the file.
fn only(bench: &Bench) -> Token {
    let set = bench.set();
    assert_eq!(set.len(), 1);
    (**set.iter().next().unwrap()).clone()
}

fn verify(bench: &Bench, token: &str, words: &[&str]) -> Output {
    let words = [&["verify"], words].concat();
    let mut child = bench
        .command(&words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(token.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

/// Makes every token of the file seem older.
fn age(bench: &Bench, by: Duration) {
    TokenFile::new(&bench.file)
        .edit(|draft| {
            let ids: Vec<_> = draft.iter().map(|token| token.id.clone()).collect();
            for id in ids {
                draft.change(&id, |token| {
                    token.created_at -= by;
                    token.expires_at = token.expires_at.map(|end| end - by);
                    if let Some(previous) = &mut token.previous {
                        previous.until -= by;
                    }
                });
            }
            Ok::<_, token_store::EditError>(())
        })
        .unwrap();
}

#[test]
fn add_takes_a_policy_and_show_tells_it() {
    let bench = Bench::new();
    let made = bench.run(&[
        "add",
        "--expiry",
        "90d",
        "--access",
        "write",
        "--tools",
        "query_database,count_rows",
        "--schemas",
        "public, sales",
        "--rows",
        "500",
        "--bytes",
        "256KiB",
        "--statement-timeout",
        "10s",
        "--allow-from",
        "10.0.0.0/8,::1",
        "-set-role",
        "analyst",
        "--connections=3",
    ]);
    done(&made);
    let token = only(&bench);
    assert_eq!(token.policy.read().access, Access::Write);
    let shown = parsed(&bench.run(&["show", token.id.as_str(), "--json"]));
    assert_eq!(
        shown["policy"],
        json!({
            "access": "write",
            "set_role": "analyst",
            "tools": ["query_database", "count_rows"],
            "schemas": ["public", "sales"],
            "limits": { "rows": 500, "bytes": "256KiB", "statement_timeout": "10s", "connections": 3 },
            "allow_from": ["10.0.0.0/8", "::1"],
        })
    );
    let text = done(&bench.run(&["show", token.id.as_str()]));
    assert!(
        text.contains("Policy: access write; set_role analyst; tools query_database, count_rows; schemas public, sales; rows 500; bytes 256KiB; statement_timeout 10s; connections 3; allow_from 10.0.0.0/8, ::1\n"),
        "{text}"
    );
    assert!(done(&bench.run(&["list"])).contains("Policy: access write"));
}

#[test]
fn add_shows_all_that_the_token_was_given() {
    let bench = Bench::new();
    let config = bench.path().join("c.yaml");
    fs::write(
        &config,
        "databases:\n- {name: a, user: u}\n- {name: b, user: u}\n",
    )
    .unwrap();
    let words = [
        "add",
        "--expiry",
        "1d",
        "--config",
        config.to_str().unwrap(),
    ];
    let both = ["--database", "b", "--database", "a", "--rows", "5"];
    let shown = done(&bench.run(&[&words[..], &both].concat()));
    assert!(shown.contains("\nDatabases: b, a\n"), "{shown}");
    assert!(shown.contains("\nPolicy: access read; rows 5\n"), "{shown}");
}

#[test]
fn a_tool_that_does_not_exist_is_told_when_it_is_given() {
    let bench = Bench::new();
    let warning = "warning: there is no tool \"count_row\"; did you mean `count_rows`?\n";
    let made = bench.run(&["add", "--expiry", "1d", "--tools", "count_row"]);
    assert_eq!(stderr(&made).matches(warning).count(), 1);
    let id = only(&bench).id;
    for (options, count) in [
        (["--note", "x"], 0),
        (["--tools", "count_rows"], 0),
        (["--tools", "count_row,count_rows"], 1),
    ] {
        let edited = bench.run(&[&["edit", id.as_str()], &options[..]].concat());
        done(&edited);
        let told = stderr(&edited).matches(warning).count();
        assert_eq!(told, count, "{options:?}");
    }
}

#[test]
fn a_policy_that_is_wrong_is_refused_and_nothing_written() {
    for (options, fix) in [
        (
            &["--rows", "0"][..],
            "--rows must be a whole number from 1 to 4294967295\n",
        ),
        (&["--rows", "-5"], "--rows must be a whole number"),
        (&["--bytes", "1TB"], "--bytes must be a size"),
        (
            &["--allow-from", "10.0.0.1/8"],
            "--allow-from must be addresses or networks with commas",
        ),
        (&["--allow-from", "::ffff:10.0.0.1"], "without ::ffff:"),
        (
            &["--allow-from", "::1, 10.0.0.1/8"],
            "without ::ffff: (entry 2 is none)\n",
        ),
        (&["--access", "admin"], "--access must be read or write"),
        (
            &["--role-password-env", "X"],
            "--role-password-env needs the role's name",
        ),
        (&["--tools", ","], "such as query_database,count_rows\n"),
        (
            &["--set-role", "a", "--role", "b"],
            "--role and --set-role exclude each other",
        ),
        (
            &[
                "--role",
                "b",
                "--role-password-env",
                "P",
                "--role-password-file",
                "/p",
            ],
            "--role-password-env and --role-password-file exclude",
        ),
    ] {
        let bench = Bench::new();
        let output = bench.run(&[&["add", "--expiry", "1d"], options].concat());
        assert_eq!(output.status.code(), Some(2), "{options:?}");
        assert!(stderr(&output).contains(fix), "{}", stderr(&output));
        assert!(!bench.file.exists());
    }
}

#[test]
fn what_is_taken_back_makes_room_for_what_is_set_whatever_comes_first() {
    let bench = Bench::new();
    let login = ["--role", "a", "--role-password-file", "/p"];
    done(&bench.run(&[&["add", "--expiry", "1d"], &login[..]].concat()));
    let id = only(&bench).id.to_string();
    let edited = |options: &[&str]| {
        let words = [&["edit", &id, "--json"], options].concat();
        parsed(&bench.run(&words))["changed"]["policy"].clone()
    };
    assert_eq!(
        edited(&[
            "--role-password-env",
            "P",
            "--role-password-file",
            "default"
        ])["role"],
        json!({"user": "a", "password_env": "P"})
    );
    assert_eq!(
        edited(&["--role", "default", "--set-role", "b"]),
        json!({"access": "read", "set_role": "b"})
    );
}

#[test]
fn edit_changes_what_is_named_and_nothing_else() {
    let bench = Bench::new();
    let text = bench.add();
    let before = only(&bench);
    let id = before.id.as_str();
    done(&bench.run(&["edit", id, "--rows", "5", "--tools", "count_rows"]));
    done(&bench.run(&["edit", id, "--note", "new", "--rows", "default"]));
    let after = only(&bench);
    assert!(is_in(&bench.set(), &text));
    assert_eq!(
        (after.hash, after.created_at),
        (before.hash, before.created_at)
    );
    assert_eq!(after.expires_at, before.expires_at);
    assert_eq!(&*after.note, "new");
    assert_eq!(after.policy.read().limits.rows, None);
    assert!(
        after
            .policy
            .read()
            .tools
            .as_ref()
            .unwrap()
            .contains("count_rows")
    );
    let changed = parsed(&bench.run(&["edit", id, "--expiry", "never", "--json"]));
    assert_eq!(changed["changed"]["expires_at"], Value::Null);
    for (words, code) in [
        (vec!["edit", id], 2),
        (vec!["edit", id, "--bytes", "x"], 2),
        (vec!["edit", "nobody", "--note", "x"], 1),
    ] {
        assert_eq!(bench.run(&words).status.code(), Some(code), "{words:?}");
    }
}

#[test]
fn edit_binds_to_configured_databases_only() {
    let bench = Bench::new();
    bench.add();
    let config = bench.path().join("c.yaml");
    let file = bench.file.display();
    fs::write(&config, format!("http: {{auth: {{token_file: {file}}}}}\ndatabases:\n- {{name: main, user: u}}\n- {{name: other, user: u}}\n")).unwrap();
    let config = config.to_str().unwrap();
    let token = only(&bench);
    let edit = |names: &[&str]| {
        let mut words = vec!["edit", token.id.as_str(), "--config", config];
        words.extend(names.iter().flat_map(|name| ["--database", name]));
        bench.run(&words)
    };
    done(&edit(&["other", "main"]));
    assert_eq!(only(&bench).databases.unwrap().to_string(), "other, main");
    assert!(stderr(&edit(&["third"])).contains("choose one of: main, other"));
    assert!(stderr(&edit(&["main", "main"])).contains("name each one once"));
    done(&edit(&["default"]));
    assert_eq!(only(&bench).databases, None);
}

#[test]
fn rotate_gives_a_new_secret_and_keeps_the_old_one_for_a_day() {
    let bench = Bench::new();
    let old = bench.add();
    let before = only(&bench);
    let rotated = bench.run(&["rotate", before.id.as_str()]);
    let new = shown_token(&rotated).unwrap();
    assert_ne!(new, old);
    assert!(done(&rotated).contains("Old secret accepted: until "));
    let after = only(&bench);
    assert_eq!((&after.id, &after.note), (&before.id, &before.note));
    let left = after.previous.as_ref().unwrap().until - OffsetDateTime::now_utc();
    assert!(
        left > Duration::hours(23) && left <= Duration::hours(24),
        "{left}"
    );
    for (token, state) in [(&new, "State: valid\n"), (&old, "State: valid until ")] {
        assert!(done(&verify(&bench, token, &[])).contains(state));
    }
    age(&bench, Duration::hours(25));
    let ended = verify(&bench, &old, &["--json"]);
    assert_eq!(ended.status.code(), Some(3));
    assert!(stdout(&ended).contains("\"state\":\"replaced\""));
    done(&verify(&bench, &new, &[]));
}

#[test]
fn an_old_secret_ends_with_its_token_whatever_the_grace() {
    let bench = Bench::new();
    let old = bench.add();
    let token = only(&bench);
    let id = token.id.as_str();
    done(&bench.run(&["edit", id, "--expiry", "1h"]));
    let rotated = bench.run(&["rotate", id, "--grace", "7d"]);
    let end = only(&bench).expires_at.unwrap();
    let hour = format!(
        " {:02}:{:02}:{:02} UTC",
        end.hour(),
        end.minute(),
        end.second()
    );
    let line = format!("Old secret accepted: until {}{hour}\n", end.date());
    assert!(done(&rotated).contains(&line), "{}", stdout(&rotated));
    let state = format!(
        "State: valid until {}{hour}, as it was replaced",
        end.date()
    );
    let verified = done(&verify(&bench, &old, &[]));
    assert!(verified.contains(&state), "{verified}");
    let shown = parsed(&bench.run(&["show", id, "--json"]));
    assert_eq!(shown["previous_until"], shown["expires_at"]);
    let verified = parsed(&verify(&bench, &old, &["--json"]));
    assert_eq!(verified["expires_at"], shown["expires_at"]);

    age(&bench, Duration::hours(2));
    assert!(!done(&bench.run(&["show", id])).contains("Old secret"));
    let rotated = bench.run(&["rotate", id]);
    assert!(done(&rotated).contains("Old secret accepted: not any more"));
    assert!(stderr(&rotated).contains(
        "has expired, so that neither secret is accepted; prolong it with `mcp-token edit"
    ));
}

#[test]
fn an_old_secret_does_not_come_back_when_its_token_is_prolonged() {
    let bench = Bench::new();
    let old = bench.add();
    let id = only(&bench).id;
    done(&bench.run(&["edit", id.as_str(), "--expiry", "1h"]));
    let rotated = parsed(&bench.run(&["rotate", id.as_str(), "--grace", "7d", "--json"]));
    done(&bench.run(&["edit", id.as_str(), "--expiry", "90d"]));
    let verified = parsed(&verify(&bench, &old, &["--json"]));
    assert_eq!(verified["expires_at"], rotated["previous_until"]);

    age(&bench, Duration::days(91));
    let second = rotated["token"].as_str().unwrap();
    assert!(
        done(&bench.run(&["rotate", id.as_str()])).contains("Old secret accepted: not any more")
    );
    done(&bench.run(&["edit", id.as_str(), "--expiry", "90d"]));
    assert_eq!(verify(&bench, second, &[]).status.code(), Some(3));
}

#[test]
fn a_grace_that_never_ends_is_refused_by_its_name() {
    let bench = Bench::new();
    bench.add();
    let before = bench.set();
    let id = only(&bench).id;
    let refused = bench.run(&["rotate", id.as_str(), "--grace", "9999y"]);
    assert_eq!(refused.status.code(), Some(2));
    let told = "error: --grace is too long; give a time such as 24h or 7d\n";
    assert_eq!(stderr(&refused), told);
    assert_eq!(*bench.set(), *before);
}

#[test]
fn rotate_without_grace_and_end_previous_end_the_old_secret_at_once() {
    let bench = Bench::new();
    let old = bench.add();
    let id = only(&bench).id;
    let json = parsed(&bench.run(&["rotate", id.as_str(), "--grace", "none", "--json"]));
    let second = json["token"].as_str().unwrap().to_owned();
    assert_eq!(json["previous_until"], Value::Null);
    assert_eq!(verify(&bench, &old, &[]).status.code(), Some(3));
    done(&bench.run(&["rotate", id.as_str(), "--grace", "7d"]));
    done(&verify(&bench, &second, &[]));
    done(&bench.run(&["edit", id.as_str(), "--end-previous"]));
    assert_eq!(verify(&bench, &second, &[]).status.code(), Some(3));
}

#[test]
fn verify_tells_the_state_by_its_exit_code_and_never_the_token() {
    let bench = Bench::new();
    let token = bench.add();
    let json = parsed(&verify(&bench, &format!("{token}\n"), &["--json"]));
    assert_eq!(json["id"], only(&bench).id.as_str());
    assert_eq!(json["state"], "valid");
    let unknown = verify(&bench, "guess", &["--json"]);
    assert_eq!(unknown.status.code(), Some(3));
    let unknown: Value = serde_json::from_str(&stdout(&unknown)).unwrap();
    assert_eq!(
        unknown,
        json!({ "id": null, "state": "unknown", "expires_at": null })
    );
    age(&bench, Duration::days(91));
    let expired = verify(&bench, &token, &[]);
    assert_eq!(expired.status.code(), Some(3));
    assert!(stdout(&expired).contains("State: expired"));
    assert!(!stdout(&expired).contains(&token) && !stderr(&expired).contains(&token));
    assert_eq!(verify(&bench, " \n", &[]).status.code(), Some(1));
}

#[test]
fn list_unused_shows_what_nobody_has_used_for_so_long() {
    let bench = Bench::new();
    for _ in 0..3 {
        bench.add();
    }
    age(&bench, Duration::days(80));
    let ids: Vec<_> = bench.set().iter().map(|token| token.id.clone()).collect();
    let usage = |days| Usage {
        at: (OffsetDateTime::now_utc() - Duration::days(days))
            .replace_nanosecond(0)
            .unwrap(),
        address: Some([10, 0, 0, 7].into()),
        client: "cursor/1.9".into(),
        calls: 3,
        rows: 40,
    };
    let log = UsageLog([(ids[0].clone(), usage(40)), (ids[1].clone(), usage(1))].into());
    log.save(&UsageLog::path_for(&bench.file)).unwrap();
    let listed = parsed(&bench.run(&["list", "--unused", "30d", "--json"]));
    let unused: Vec<&str> = listed["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|token| token["id"].as_str().unwrap())
        .collect();
    assert_eq!(unused, [ids[0].as_str(), ids[2].as_str()]);
    assert_eq!(listed["tokens"][0]["last_used"]["client"], "cursor/1.9");
    for (unused, count) in [("never", 1), ("79d", 1), ("1h", 3), ("9999999y", 0)] {
        let listed = parsed(&bench.run(&["list", "--unused", unused, "--json"]));
        assert_eq!(listed["total"], count, "{unused}");
    }
    assert_eq!(listed["tokens"][1]["last_used"], Value::Null);
    let text = done(&bench.run(&["show", ids[1].as_str()]));
    assert!(
        text.contains(" from 10.0.0.7 by cursor/1.9 (3 calls, 40 rows in all)"),
        "{text}"
    );
    let edited = parsed(&bench.run(&["edit", ids[1].as_str(), "--note", "x", "--json"]));
    assert_eq!(edited["changed"]["last_used"]["calls"], 3);
    fs::write(UsageLog::path_for(&bench.file), [0xff, 0]).unwrap();
    assert!(done(&bench.run(&["list"])).contains("Total tokens: 3"));
}

#[test]
fn what_has_to_be_done_about_a_role_that_was_made_for_a_token_is_told() {
    let bench = Bench::new();
    let config = bench.path().join("c.yaml");
    fs::write(&config, "databases: [{name: a, user: u}]\n").unwrap();
    let config = config.to_str().unwrap();
    let words = ["add", "--expiry", "1d", "--create-role", "--config", config];
    done(&bench.run(&words));
    let token = only(&bench);
    let id = token.id.as_str();
    let role = format!("mcp_{}", id.replace('-', "_"));
    let edited = |options: &[&str]| {
        let output = bench.run(&[&["edit", id], options].concat());
        done(&output);
        stderr(&output)
    };
    assert_eq!(edited(&["--note", "x", "--rows", "5"]), "");
    let never = format!("`ALTER ROLE {role} VALID UNTIL 'infinity'`");
    assert!(edited(&["--expiry", "never"]).contains(&never));
    assert!(edited(&["--access", "write"]).contains("grant it what the token has now"));
    let drop = format!("`DROP ROLE {role}`, and delete {}", bench.file.display());
    let made = fs::read_to_string(&bench.file).unwrap();
    // It stays with nobody's token, too.
    for other in [
        &["--role", "default"][..],
        &["--set-role", "analyst"],
        &["--role", "another"],
    ] {
        let told = edited(other);
        assert!(told.contains(&drop), "{other:?}: {told}");
        let needs = told.contains("if another needs one, run `mcp-token edit");
        assert_eq!(needs, other[1] == "another", "{told}");
        fs::write(&bench.file, &made).unwrap();
    }
    let told = edited(&["--role-password-env", "PG_OTHER"]);
    assert!(told.contains(&format!("the password of {role}")), "{told}");
    assert!(!told.contains("DROP ROLE"), "{told}");
    fs::write(&bench.file, &made).unwrap();
    let removed = bench.run(&["remove", id]);
    done(&removed);
    assert!(stderr(&removed).contains(&drop), "{}", stderr(&removed));
}

#[test]
fn another_role_does_not_get_the_password_of_the_one_before() {
    let bench = Bench::new();
    let words = ["--role", "orders", "--role-password-env", "PG_ORDERS"];
    done(&bench.run(&[&["add", "--expiry", "1d", "--note", ""], &words[..]].concat()));
    let id = only(&bench).id;
    let role = |options: &[&str]| {
        let edited = bench.run(&[&["edit", id.as_str()], options].concat());
        done(&edited);
        let Some(Role::Login(login)) = only(&bench).policy.read().role else {
            panic!("it has no role");
        };
        (login.password.is_some(), stderr(&edited))
    };
    assert_eq!(role(&["--role", "orders"]), (true, String::new()));
    let (has_password, told) = role(&["--role", "sales"]);
    assert!(!has_password);
    assert!(
        told.contains("the password of orders is not that of sales"),
        "{told}"
    );
    let both = ["--role", "orders", "--role-password-env", "PG_ORDERS"];
    assert_eq!(role(&both), (true, String::new()));
}

#[test]
fn a_token_that_was_removed_on_a_full_disk_does_not_come_back() {
    let bench = Bench::new();
    bench.add();
    let id = only(&bench).id;
    TokenFile::new(&bench.file).spoil(&only(&bench)).unwrap();
    let fix = format!("run `mcp-token remove {id}`");
    for words in [
        &["rotate", id.as_str()][..],
        &["edit", id.as_str(), "--expiry", "never"],
    ] {
        let refused = bench.run(words);
        assert_eq!(refused.status.code(), Some(1), "{words:?}");
        assert!(stderr(&refused).contains(&fix), "{}", stderr(&refused));
        assert!(only(&bench).is_spoiled(), "{words:?}");
    }
    let checked = bench.run(&["check"]);
    done(&checked);
    assert!(stderr(&checked).contains(&fix), "{}", stderr(&checked));
    done(&bench.run(&["remove", id.as_str()]));
    assert!(bench.set().is_empty());
}

#[test]
fn check_finds_what_a_server_would_meet() {
    let bench = Bench::new();
    bench.add();
    assert_eq!(done(&bench.run(&["check"])), "Valid: 1 token(s)\n");
    let good = fs::read_to_string(&bench.file).unwrap();
    let config = bench.path().join("c.yaml");
    let text = "databases:\n- {name: main, user: u}\nhttp: {trusted_proxies: [10.0.0.0/8]}\n";
    fs::write(&config, text).unwrap();
    let config = config.to_str().unwrap();
    for (field, fix) in [
        (
            "allow_from: [10.1.0.0/16, 10.0.0.5]",
            "allow_from (10.1.0.0/16, 10.0.0.5) has trusted proxies only",
        ),
        (
            "database: other",
            "the database \"other\" is not configured; choose one of: main",
        ),
        (
            "alow_from: [10.0.0.0/8]",
            "`alow_from` is not known and has no effect; did you mean `allow_from`?",
        ),
        (
            "tools: [query_databse, sales]",
            "there is no tool \"query_databse\"; did you mean `query_database`?",
        ),
        ("limits: {row: 5}", "the field `limits` must be"),
        ("hash: x", "the same key stands twice"),
    ] {
        fs::write(&bench.file, format!("{good}    {field}\n")).unwrap();
        let output = bench.run(&["check", "--config", config]);
        assert_eq!(output.status.code(), Some(1), "{field}");
        let said = stderr(&output);
        let line = said.lines().find(|line| line.contains(fix));
        let file = bench.file.to_str().unwrap();
        assert!(line.is_some_and(|line| line.contains(file)), "{said}");
        let json = bench.run(&["check", "--config", config, "--json"]);
        assert!(stdout(&json).contains("\"valid\":false"), "{field}");
    }
    // Tools of the operator's own are there as well, unless their file is not right.
    let tools = bench.path().join("tools.yaml");
    let own = format!("{text}tools: {{file: {}}}\n", tools.display());
    fs::write(config, own).unwrap();
    fs::write(
        &bench.file,
        format!("{good}    tools: [count_rows, sales]\n"),
    )
    .unwrap();
    for (sql, code) in [("SELECT 1", Some(0)), ("", Some(1))] {
        let tool = format!("tools: [{{name: sales, description: d, sql: '{sql}'}}]\n");
        fs::write(&tools, tool).unwrap();
        let output = bench.run(&["check", "--config", config]);
        assert_eq!(output.status.code(), code, "{}", stderr(&output));
        let told = stderr(&output).contains("tools.yaml");
        assert_eq!(told, sql.is_empty(), "{}", stderr(&output));
    }
    fs::write(
        &bench.file,
        format!("{good}    team: data\n    role: {{user: r, password_env: NOWHERE}}\n"),
    )
    .unwrap();
    let warned = bench.run(&["check"]);
    done(&warned);
    assert!(stderr(&warned).contains("`team` is not known and has no effect"));
    assert!(stderr(&warned).contains("the variable NOWHERE is not set"));
    let warned = bench.command(&["check"]).env("NOWHERE", "").output();
    let warned = stderr(&warned.unwrap());
    assert!(warned.contains("the variable NOWHERE is empty"), "{warned}");
    fs::write(&bench.file, format!("{good}keys: [1]\n")).unwrap();
    let warned = bench.run(&["check"]);
    done(&warned);
    let told = "tokens.yaml: the key `keys` beside `tokens` is not known and has no effect\n";
    assert!(stderr(&warned).ends_with(told), "{}", stderr(&warned));
    for misspelt in ["token", "tokenz"] {
        fs::write(&bench.file, format!("tokens: []\n{misspelt}: []\n")).unwrap();
        for words in ["check", "list"] {
            let refused = bench.run(&[words]);
            assert_eq!(refused.status.code(), Some(1), "{misspelt}");
            let said = stderr(&refused);
            assert!(said.contains("tokens.yaml, line 2: a key"), "{said}");
        }
    }
    fs::write(&bench.file, &good).unwrap();
    let database = "databases: [{name: main, user: u}]\n";
    for wrong in [
        "databases: 5\n",
        "databases: []\n",
        &format!("{database}http: {{trusted_proxies: [0.0.0.0/0]}}\n"),
        &format!("{database}tools: {{enabled: [execute_wirte]}}\n"),
    ] {
        fs::write(config, wrong).unwrap();
        let output = bench.run(&["check", "--config", config]);
        assert_eq!(output.status.code(), Some(1), "{wrong}");
    }
    fs::write(config, "database: []\nhttp: {adress: x}\n").unwrap();
    let said = stderr(&bench.run(&["check", "--config", config]));
    assert_eq!(said.matches("error: ").count(), 3, "{said}");
    assert!(said.ends_with("error: 2 problem(s) found\n"), "{said}");
    fs::remove_file(&bench.file).unwrap();
    assert!(stderr(&bench.run(&["check"])).contains("does not exist"));
    let json = bench.run(&["check", "--json"]);
    assert!(stdout(&json).contains("does not exist"), "{json:?}");
    std::os::unix::fs::symlink(&bench.file, &bench.file).unwrap();
    let said = stderr(&bench.run(&["check"]));
    assert!(said.contains("symbolic links"), "{said}");
}
