//! Every command as a person or a script meets it, without a process.
#![allow(clippy::unwrap_used)]

mod support;

use std::{fs, io, os::fd::AsFd, path::PathBuf};

use mcp_token::{Action, Add, Call, Command, CreateRole, Exit, World, run};
use server_config::Sources;
use support::terminal::Terminal;
use time::{OffsetDateTime, macros::datetime};
use token_store::{RandomError, Secret, TokenFile};

const NOW: OffsetDateTime = datetime!(2024-10-30 10:15:30.5 UTC);

fn now() -> OffsetDateTime {
    NOW
}

/// The secret whose text is in the documentation's example.
fn secret() -> Result<Secret, RandomError> {
    Ok(Secret::from(
        "O9ms9jqTfUdy-DIjvpFWeqd_yH_NEj7me0mgOnOjGdQ=".to_owned(),
    ))
}

struct Bench {
    folder: tempfile::TempDir,
    sources: Sources,
}

/// What came of a command.
#[derive(Debug)]
struct Outcome {
    exit: Exit,
    stdout: String,
    stderr: String,
}

impl Bench {
    fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        if !config.is_empty() {
            fs::write(folder.path().join("pgedge-postgres-mcp.yaml"), config).unwrap();
        }
        let sources = Sources {
            program_folder: folder.path().to_owned(),
            ..Sources::default()
        };
        Self { folder, sources }
    }

    fn with_databases() -> Self {
        Self::new(
            "databases:\n  - {name: main, user: u}\n  - {name: staging, user: u}\n  - {name: '1', user: u}\n",
        )
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("pgedge-postgres-mcp-tokens.yaml")
    }

    /// Runs with answers from a terminal, or without one.
    fn run_with(&self, action: Action, json: bool, answers: Option<&str>) -> Outcome {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut stdin = io::Cursor::new(answers.unwrap_or("not a terminal\n"));
        let terminal = answers.map(|_| Terminal::open());
        let terminal = terminal.as_ref().map(|terminal| terminal.inside.as_fd());
        let exit = {
            let mut world = World::new(&mut stdin, &mut stdout, &mut stderr, terminal)
                .with_now(now)
                .with_secret(secret);
            run(&Command { action, json }, &self.sources, &mut world)
        };
        Outcome {
            exit,
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        }
    }

    fn run(&self, action: Action) -> Outcome {
        self.run_with(action, false, None)
    }

    fn ask(&self, answers: &str) -> Outcome {
        self.run_with(Action::Add(Add::default()), false, Some(answers))
    }

    fn write(&self, yaml: &str) {
        fs::write(self.file(), yaml).unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(self.file(), private).unwrap();
    }

    fn only_token(&self) -> token_store::Token {
        let set = TokenFile::new(self.file()).load().unwrap().set;
        assert_eq!(set.len(), 1);
        (**set.iter().next().unwrap()).clone()
    }
}

fn add(note: &str, database: Option<&str>, expiry: &str) -> Action {
    Action::Add(Add {
        note: Some(note.into()),
        databases: database.map(str::to_owned).into_iter().collect(),
        expiry: Some(expiry.parse().unwrap()),
        ..Add::default()
    })
}

fn remove(text: &str) -> Action {
    Action::Remove(text.parse().unwrap())
}

/// Two tokens whose hashes begin alike, the newer one first, and an expired one.
const THREE: &str = "tokens:
  - id: token-9876543210
    hash: b3f805a4c2e7d9f1a8b6c3e2d5f4a1b9c8e7d6f5a4b3c2e1d9f8a7b6c5e4d3f3
    note: \"Dev\\e[31m\\n\\u202Etxt\"
    created_at: \"2024-10-15T14:20:15Z\"
  - id: token-1234567890
    hash: b3f805a4c2e7d9f1a8b6c3e2d5f4a1b9c8e7d6f5a4b3c2e1d9f8a7b6c5e4d3f2
    note: Production API
    database: staging
    created_at: \"2024-10-01T10:15:30Z\"
    expires_at: \"2025-10-30T10:15:30Z\"
  - id: old
    hash: 7a2f19d8ec2e7d9f1a8b6c3e2d5f4a1b9c8e7d6f5a4b3c2e1d9f8a7b6c5e4d3f
    created_at: \"2024-10-20T00:00:00Z\"
    expires_at: \"2024-10-30T10:15:30.5Z\"
";

#[test]
fn add_shows_every_documented_line() {
    let bench = Bench::with_databases();
    let result = bench.run(add("Production API", Some("staging"), "1y"));
    assert_eq!((result.exit, result.stderr.as_str()), (Exit::Done, ""));
    assert_eq!(
        result.stdout,
        "Token created successfully:
Token: O9ms9jqTfUdy-DIjvpFWeqd_yH_NEj7me0mgOnOjGdQ=
ID: token-1730283330
Note: Production API
Database: staging
Expiry: 2025-10-30 (365 days from now)
Hash (first 12 chars): 51f7ccaf56fe...

Store this token securely. It cannot be retrieved later.

Warning
The generated token is shown only once. Save it immediately!
"
        .replace("51f7ccaf56fe", &secret().unwrap().hash().prefix())
    );
    let token = bench.only_token();
    assert_eq!(token.database(), Some("staging"));
    assert_eq!(token.created_at, datetime!(2024-10-30 10:15:30 UTC));
}

#[test]
fn the_expiry_line_counts_in_the_fitting_unit() {
    for (expiry, line) in [
        ("1h", "Expiry: 2024-10-30 (1 hour from now)"),
        ("36h", "Expiry: 2024-10-31 (36 hours from now)"),
        ("24h", "Expiry: 2024-10-31 (1 day from now)"),
        ("2w", "Expiry: 2024-11-13 (14 days from now)"),
        ("never", "Expiry: never"),
    ] {
        let result = Bench::new("").run(add("", None, expiry));
        assert!(
            result.stdout.contains(&format!("\n{line}\n")),
            "{expiry}: {}",
            result.stdout
        );
    }
}

#[test]
fn without_a_database_the_first_configured_one_is_the_default() {
    let bench = Bench::with_databases();
    let result = bench.run(add("", None, "1d"));
    assert!(
        result
            .stdout
            .contains("Note: (none)\nDatabase: main (default)\n"),
        "{}",
        result.stdout
    );
    assert_eq!(bench.only_token().database(), None);
}

#[test]
fn a_database_that_is_not_configured_is_refused_and_nothing_written() {
    let bench = Bench::with_databases();
    let result = bench.run(add("", Some("prod\u{1b}"), "1d"));
    assert_eq!((result.exit, result.stdout.as_str()), (Exit::Failed, ""));
    assert_eq!(
        result.stderr,
        "error: the database \"prod\\u{1b}\" is not configured; choose one of: main, staging, 1\n"
    );
    assert!(!bench.file().exists());
}

#[test]
fn a_broken_configuration_stops_an_add_and_names_its_place() {
    let bench = Bench::new("databses: []\n");
    let result = bench.run(add("", None, "1d"));
    assert_eq!(result.exit, Exit::Failed);
    assert!(result.stderr.contains("databses"), "{}", result.stderr);
    assert!(!bench.file().exists());
}

#[test]
fn a_named_token_file_can_be_listed_and_cleaned_whatever_the_configuration_says() {
    let mut bench = Bench::new("databses: []\n");
    bench.write(THREE);
    bench.sources.token_file = Some(bench.file());
    assert_eq!(bench.run(Action::List { unused: None }).exit, Exit::Done);
    assert_eq!(bench.run(remove("old")).exit, Exit::Done);
}

#[test]
fn without_a_terminal_a_missing_expiry_is_a_usage_error_that_names_what_to_write() {
    let bench = Bench::new("");
    let result = bench.run(Action::Add(Add::default()));
    assert_eq!(result.exit, Exit::Usage);
    assert!(
        result.stderr.contains("90d") && result.stderr.contains("never"),
        "{}",
        result.stderr
    );
    assert!(!bench.file().exists());
}

#[test]
fn a_person_is_asked_for_the_token_to_verify_and_need_not_end_the_input() {
    let bench = Bench::new("");
    let result = bench.run_with(Action::Verify, false, Some("guess\nmore\n"));
    assert_eq!(result.exit, Exit::Refused, "{}", result.stderr);
    assert!(
        result
            .stderr
            .ends_with("press Return: error: the token is not accepted: it is unknown\n")
    );
    let nothing = bench.run_with(Action::Verify, false, Some(""));
    assert!(nothing.stderr.contains("no token on standard input"));
}

#[test]
fn a_person_is_asked_for_note_database_and_expiry() {
    let bench = Bench::with_databases();
    let result = bench.ask("Dev Environment\n2\n30d\n");
    assert_eq!(result.exit, Exit::Done, "{}", result.stderr);
    assert_eq!(
        result.stderr,
        "Note, such as \"Production API\" (optional): \nAvailable databases:\n  1. main (default)\n  2. staging\n  3. 1\n\
         Database (name or number, blank for the default): Expiry (such as 30d, 1y, or never): "
    );
    assert!(result.stdout.starts_with("Token created successfully:\n"));
    let token = bench.only_token();
    assert_eq!(
        (&*token.note, token.database()),
        ("Dev Environment", Some("staging"))
    );
}

#[test]
fn a_database_is_chosen_by_name_before_number_and_blank_is_the_default() {
    for (answer, database) in [
        ("staging", Some("staging")),
        ("2", Some("staging")),
        ("1", Some("1")),
        ("3", Some("1")),
        ("", None),
        ("  main ", Some("main")),
    ] {
        let bench = Bench::with_databases();
        bench.ask(&format!("\n{answer}\nnever\n"));
        assert_eq!(bench.only_token().database(), database, "{answer:?}");
    }
}

#[test]
fn a_wrong_answer_is_explained_and_asked_again() {
    let bench = Bench::with_databases();
    let result = bench.ask("\n0\n4\n2abc\n18446744073709551616\nmain\n\n6m\n0d\n1d\n");
    assert_eq!(result.exit, Exit::Done, "{}", result.stderr);
    assert_eq!(
        result
            .stderr
            .matches("is not configured; choose one of")
            .count(),
        4
    );
    assert!(result.stderr.contains("use 180d"));
    assert_eq!(bench.only_token().database(), Some("main"));
}

#[test]
fn an_end_of_input_at_any_question_makes_no_token() {
    for (answers, expiry) in [
        ("", None),
        ("note", None),
        ("note\n", None),
        ("note\n\n", None),
        ("note\n\n6m\n", None),
        ("", Some("1d")),
        ("note\n", Some("1d")),
        ("note\nwrong\n", Some("1d")),
    ] {
        let bench = Bench::with_databases();
        let add = Add {
            expiry: expiry.map(|expiry| expiry.parse().unwrap()),
            ..Add::default()
        };
        let result = bench.run_with(Action::Add(add), false, Some(answers));
        assert_eq!(result.exit, Exit::Usage, "{answers:?}");
        let told = "\nerror: the input ended at a question, and nothing was made; ";
        assert!(result.stderr.contains(told), "{}", result.stderr);
        assert!(!bench.file().exists(), "{answers:?}");
    }
}

#[test]
fn nobody_is_asked_for_a_token_that_cannot_be_kept() {
    let bench = Bench::new("");
    fs::create_dir(bench.file()).unwrap();
    let result = bench.ask("note\n30d\n");
    assert_eq!(result.exit, Exit::Failed);
    let said = &result.stderr;
    assert!(
        said.starts_with("error: ") && said.contains("is a folder"),
        "{said}"
    );
    let lock = bench.file().with_extension("yaml.lock");
    assert!(!lock.exists());
}

#[test]
fn only_what_is_missing_is_asked_and_one_database_is_no_question() {
    let bench = Bench::new("databases:\n  - {name: main, user: u}\n");
    let given = Add {
        expiry: Some("1d".parse().unwrap()),
        ..Add::default()
    };
    let result = bench.run_with(Action::Add(given), false, Some("x\n"));
    assert_eq!(
        result.stderr,
        "Note, such as \"Production API\" (optional): "
    );
    assert_eq!(&*bench.only_token().note, "x");
}

#[test]
fn a_note_that_is_too_long_is_refused() {
    let bench = Bench::new("");
    let result = bench.run(add(&"n".repeat(1_001), None, "1d"));
    assert_eq!(result.exit, Exit::Usage);
    assert!(
        result.stderr.contains("1001 characters"),
        "{}",
        result.stderr
    );
    assert_eq!(
        bench.run(add(&"ü".repeat(1_000), None, "1d")).exit,
        Exit::Done
    );
}

#[test]
fn list_shows_a_block_for_each_token_in_order_of_creation() {
    let bench = Bench::new("");
    bench.write(THREE);
    let result = bench.run(Action::List { unused: None });
    assert_eq!((result.exit, result.stderr.as_str()), (Exit::Done, ""));
    assert_eq!(
        result.stdout,
        "API Tokens:
===========

ID: token-1234567890
Note: Production API
Database: staging
Hash (first 12 chars): b3f805a4c2e7...
Created: 2024-10-01 10:15:30
Expires: 2025-10-30 10:15:30
Status: Valid

ID: token-9876543210
Note: Dev\\u{1b}[31m\\n\\u{202e}txt
Hash (first 12 chars): b3f805a4c2e7...
Created: 2024-10-15 14:20:15
Expires: Never
Status: Valid

ID: old
Note: (none)
Hash (first 12 chars): 7a2f19d8ec2e...
Created: 2024-10-20 00:00:00
Expires: 2024-10-30 10:15:30
Status: Expired

Total tokens: 3
"
    );
}

#[test]
fn a_missing_file_lists_no_tokens() {
    let result = Bench::new("").run(Action::List { unused: None });
    assert_eq!(result.exit, Exit::Done);
    assert_eq!(
        result.stdout,
        "API Tokens:\n===========\n\nTotal tokens: 0\n"
    );
}

#[test]
fn a_note_in_json_is_the_same_note_and_does_nothing_to_a_terminal() {
    let bench = Bench::new("");
    let note = "a\u{1b}[31m\u{7f}\u{9b}31m\u{202e}\u{feff} \u{e4}\u{1d11e}\n";
    assert_eq!(bench.run(add(note, None, "1d")).exit, Exit::Done);
    let list = Action::List { unused: None };
    let shown = bench.run_with(list, true, None).stdout;
    let hidden = ['\u{1b}', '\u{7f}', '\u{9b}', '\u{202e}', '\u{feff}'];
    assert!(!shown.contains(hidden), "{shown:?}");
    assert!(shown.contains(" \u{e4}\u{1d11e}"), "{shown}");
    let json: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(json["tokens"][0]["note"], note);
}

#[test]
fn remove_names_what_was_removed() {
    let bench = Bench::new("");
    bench.write(THREE);
    let result = bench.run(remove("7A2F19D8"));
    assert_eq!((result.exit, result.stderr.as_str()), (Exit::Done, ""));
    assert_eq!(
        result.stdout,
        "Token removed successfully:\nID: old\nNote: (none)\nHash (first 12 chars): 7a2f19d8ec2e...\n"
    );
    assert_eq!(bench.run(remove("token-1234567890")).exit, Exit::Done);
    assert_eq!(bench.only_token().id.as_str(), "token-9876543210");
}

#[test]
fn an_ambiguous_prefix_removes_nothing_and_lists_what_fits() {
    let bench = Bench::new("");
    bench.write(THREE);
    let result = bench.run(remove("b3f805a4"));
    assert_eq!((result.exit, result.stdout.as_str()), (Exit::Failed, ""));
    for id in ["token-1234567890", "token-9876543210"] {
        assert!(result.stderr.contains(id), "{}", result.stderr);
    }
    assert!(
        !result.stderr.contains('\u{1b}'),
        "a note reaches the terminal"
    );
    assert_eq!(fs::read_to_string(bench.file()).unwrap(), THREE);
}

#[test]
fn what_names_no_token_changes_nothing_and_says_why() {
    let bench = Bench::new("");
    bench.write(THREE);
    for (text, reason) in [
        ("b3f805a", "7 digits of a hash are too few"),
        ("ffffffff", "no token has this id"),
        ("token-1", "no token has this id"),
        ("", "no token has this id"),
        (
            "O9ms9jqTfUdy-DIjvpFWeqd_yH_NEj7me0mgOnOjGdQ=",
            "no token has this id",
        ),
    ] {
        let result = bench.run(remove(text));
        assert_eq!(result.exit, Exit::Failed, "{text}");
        assert!(result.stderr.contains(reason), "{text}: {}", result.stderr);
        assert!(!result.stderr.contains("O9ms9jqT"), "a secret is repeated");
    }
    assert_eq!(fs::read_to_string(bench.file()).unwrap(), THREE);
}

#[test]
fn removing_from_a_missing_file_makes_no_folder() {
    let mut bench = Bench::new("");
    bench.sources.token_file = Some(bench.folder.path().join("a/b.yaml"));
    assert_eq!(bench.run(remove("ffffffff")).exit, Exit::Failed);
    assert!(!bench.folder.path().join("a").exists());
}

#[test]
fn json_has_the_documented_fields() {
    let bench = Bench::with_databases();
    let added = bench.run_with(add("a \"b\"\n", Some("main"), "90d"), true, None);
    let prefix = secret().unwrap().hash().prefix();
    let record = format!(
        "\"id\":\"token-1730283330\",\"note\":\"a \\\"b\\\"\\n\",\"database\":\"main\",\"databases\":[\"main\"],\"hash_prefix\":\"{prefix}\",\
         \"created_at\":\"2024-10-30T10:15:30Z\",\"expires_at\":\"2025-01-28T10:15:30Z\",\
         \"previous_until\":null,\"policy\":{{\"access\":\"read\"}}"
    );
    assert_eq!(
        added.stdout,
        format!("{{\"token\":\"O9ms9jqTfUdy-DIjvpFWeqd_yH_NEj7me0mgOnOjGdQ=\",{record}}}\n")
    );
    let listed = bench.run_with(Action::List { unused: None }, true, None);
    assert_eq!(
        listed.stdout,
        format!(
            "{{\"tokens\":[{{{record},\"status\":\"valid\",\"last_used\":null}}],\"total\":1}}\n"
        )
    );
    let removed = bench.run_with(remove("token-1730283330"), true, None);
    assert_eq!(removed.stdout, format!("{{\"removed\":{{{record}}}}}\n"));
}

#[test]
fn a_broken_file_is_named_with_its_line_and_stays_as_it_is() {
    let bench = Bench::new("");
    bench.write("tokens:\n- id: a\n  hash: x\n");
    for action in [
        Action::List { unused: None },
        remove("a"),
        add("", None, "1d"),
    ] {
        let result = bench.run(action);
        assert_eq!(result.exit, Exit::Failed);
        assert!(
            result.stderr.contains("line 3: a: the `hash`"),
            "{}",
            result.stderr
        );
    }
    assert_eq!(
        fs::read_to_string(bench.file()).unwrap(),
        "tokens:\n- id: a\n  hash: x\n"
    );
}

#[test]
fn a_wide_mode_is_a_warning_and_the_command_goes_on() {
    let bench = Bench::new("");
    bench.write(THREE);
    let wide = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(bench.file(), wide).unwrap();
    let result = bench.run(Action::List { unused: None });
    assert_eq!(result.exit, Exit::Done);
    assert!(
        result.stderr.starts_with("warning: ") && result.stderr.contains("chmod 600"),
        "{}",
        result.stderr
    );
}

#[test]
fn a_token_that_nobody_could_read_is_removed_again() {
    struct Full;
    impl io::Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let bench = Bench::new("");
    let mut stderr = Vec::new();
    let command = Command {
        action: add("", None, "1d"),
        json: false,
    };
    let exit = run(
        &command,
        &bench.sources,
        &mut World::new(&mut io::empty(), &mut Full, &mut stderr, None),
    );
    assert_eq!(exit, Exit::Failed);
    assert!(
        String::from_utf8(stderr)
            .unwrap()
            .contains("the token was removed again")
    );
    assert!(TokenFile::new(bench.file()).load().unwrap().set.is_empty());
}

#[test]
fn the_command_line_is_read_with_one_dash_or_two() {
    for line in [
        "mcp-token add --note -x --expiry 90d --database staging --json --token-file f",
        "mcp-token -token-file f -json add -note -x -expiry 90d -database staging",
        "mcp-token add -note=-x -expiry=90d -database=staging -token-file=f -json",
    ] {
        let call = Call::parse(line.split(' ')).unwrap();
        let Action::Add(add) = &call.command.action else {
            panic!("{line} is no add");
        };
        assert_eq!(
            (add.note.as_deref(), add.databases.as_slice()),
            (Some("-x"), ["staging".to_owned()].as_slice()),
            "{line}"
        );
        assert_eq!(add.expiry.unwrap().to_string(), "90d", "{line}");
        assert!(call.command.json, "{line}");
        let sources = call.sources([("A".into(), "b".into())], Ok("/opt/bin/mcp-token".into()));
        assert_eq!(sources.token_file, Some("f".into()), "{line}");
        assert_eq!(sources.program_folder, PathBuf::from("/opt/bin"));
        assert_eq!(sources.environment["A"], "b");
    }
}

#[test]
fn the_spelling_of_the_server_is_told_with_that_of_here() {
    for (line, told) in [
        ("mcp-token -add-token", "'mcp-token add' does that"),
        ("mcp-token list-tokens", "'mcp-token list' does that"),
        ("mcp-token show-token x", "'mcp-token show' does that"),
        ("mcp-token add -token-note x", "it is called '--note' here"),
    ] {
        let error = Call::parse(line.split(' ')).unwrap_err().to_string();
        assert!(error.contains(told), "{line}: {error}");
        assert_eq!(error.matches("tip:").count(), 1, "{error}");
    }
}

#[test]
fn a_token_on_the_command_line_of_verify_is_refused_and_not_repeated() {
    for token in ["O9ms9jqTfUdy", "-9ms9jqTfUdy", "--9ms9jqTfUdy"] {
        for line in [
            &["mcp-token", "verify", token][..],
            &["mcp-token", "verify", "--json", "x", token],
        ] {
            let error = Call::parse(line).unwrap_err();
            let said = error.to_string();
            assert!(said.contains("pipe it in"), "{said}");
            assert!(!said.contains("9ms9jqTfUdy"), "{said}");
            assert_eq!(error.exit_code(), 2);
        }
    }
}

#[test]
fn a_line_that_is_not_understood_says_what_to_write() {
    for (line, fix) in [
        ("mcp-token", "Usage"),
        ("mcp-token add --expiry 6m", "180d"),
        ("mcp-token add --expiry -5d", "whole number"),
        ("mcp-token add --expiry 0d", "is zero"),
        ("mcp-token add --exipry 5d", "--expiry"),
        ("mcp-token lst", "list"),
        (
            "mcp-token list --unused x",
            "for '--unused <TIME>': give a time such as 12h, 90d, 2w or 1y, or never",
        ),
        (
            "mcp-token list --unused -1d",
            "'--unused <TIME>': give a time",
        ),
        (
            "mcp-token list --unused 0d",
            "'--unused <TIME>': give a time",
        ),
        (
            "mcp-token list --unused 6m",
            "'--unused <TIME>': months have no fixed length, use 180d",
        ),
        (
            "mcp-token rotate x --grace x",
            "'--grace <TIME>': give a time such as 24h or 7d, or none",
        ),
        (
            "mcp-token rotate x --grace 6m",
            "'--grace <TIME>': months have no fixed length, use 180d",
        ),
        ("mcp-token remove", "ID|HASH-PREFIX"),
        ("mcp-token verify --jsn", "`mcp-token verify --help`"),
        ("mcp-token remove a b", "b"),
    ] {
        let error = Call::parse(line.split(' ')).unwrap_err();
        let said = error.to_string();
        assert!(said.contains(fix), "{line}: {said}");
        let is_misnamed = said.contains("the expiry") && !line.contains("--expiry");
        assert!(!is_misnamed, "{line}: {said}");
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

/// A new token with a role of its own; the fixed clock gives it the name `mcp_token_1730283330`.
fn add_with_role(create_role: CreateRole) -> Action {
    Action::Add(Add {
        expiry: Some("90d".parse().unwrap()),
        create_role: Some(create_role),
        ..Add::default()
    })
}

#[test]
fn the_password_of_another_role_is_neither_used_nor_removed() {
    let bench = Bench::with_databases();
    let roles = bench
        .folder
        .path()
        .join("pgedge-postgres-mcp-tokens.yaml.roles");
    let password = roles.join("mcp_token_1730283330.password");
    fs::create_dir(&roles).unwrap();
    fs::write(&password, "of another role").unwrap();
    let result = bench.run(add_with_role(CreateRole::Print));
    assert_eq!(result.exit, Exit::Failed);
    let place = password.to_str().unwrap();
    assert!(result.stderr.contains(place), "{}", result.stderr);
    assert!(result.stderr.contains("delete it if"), "{}", result.stderr);
    assert_eq!(fs::read_to_string(&password).unwrap(), "of another role");
    assert!(!bench.file().exists());
}
