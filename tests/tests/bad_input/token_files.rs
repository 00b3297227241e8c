//! Token files.

use std::os::unix::fs::PermissionsExt;

use end_to_end::{Database, Server, Setup};

const ENTRY: &str = "  - id: token-1\n    hash: b3f805a4c2e7d9f1a8b6c3e2d5f4a1b9c8e7d6f5a4b3c2e1d9f8a7b6c5e4d3f2\n    created_at: \"2024-10-30T10:15:30Z\"\n";

fn setup() -> Setup {
    let database = Database::fresh();
    Setup::new([database.entry("shop", &database.reader)])
}

fn write(setup: &Setup, content: &[u8]) {
    std::fs::write(setup.token_file(), content).unwrap();
    std::fs::set_permissions(setup.token_file(), std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_file_that_cannot_be_trusted_is_refused_by_both_binaries_and_left_as_it_is() {
    let setup = setup();
    let good = format!("tokens:\n{ENTRY}");
    for (content, words) in [
        (
            good.replace("b3f8", "xyz8"),
            &["line 3", "token-1", "64 hex"][..],
        ),
        (
            good.replace("d3f2", "d3f"),
            &["line 3", "token-1", "64 hex"],
        ),
        (
            good.replace("30Z", "30"),
            &["line 4", "token-1", "created_at"],
        ),
        (
            good.replace("2024-10-30T", "2024-13-45T"),
            &["line 4", "created_at"],
        ),
        (
            format!("{good}{}", ENTRY.replace("b3f8", "a3f8")),
            &["token-1", "line 5"],
        ),
        (
            format!("{good}{}", ENTRY.replace("token-1", "token-2")),
            &["token-2", "hash"],
        ),
        (
            good.replace(
                "    hash: b3f805a4c2e7d9f1a8b6c3e2d5f4a1b9c8e7d6f5a4b3c2e1d9f8a7b6c5e4d3f2\n",
                "",
            ),
            &["hash", "missing"],
        ),
        ("tokens: 5\n".into(), &["tokens", "list"]),
        ("tokens: [\n".into(), &["YAML"]),
        ("nonsense".into(), &["tokens:"]),
        ("\0\u{1}".into(), &["tokens.yaml"]),
    ] {
        write(&setup, content.as_bytes());
        let failure = Server::try_start(setup.command("mcp-server", &[]), vec![])
            .err()
            .expect("it must not start");
        let list = setup.mcp_token(&["list"]);
        let add = setup.mcp_token(&["add", "--expiry", "1d"]);
        for (who, code, said) in [
            ("mcp-server", 1, &failure),
            ("list", list.code, &list.stderr),
            ("add", add.code, &add.stderr),
        ] {
            assert_eq!(code, 1, "{who}: {content}");
            for word in words {
                assert!(
                    said.contains(word),
                    "{who}: {word:?} is not in {said}\n{content}"
                );
            }
        }
        assert_eq!(
            std::fs::read(setup.token_file()).unwrap(),
            content.as_bytes(),
            "it was changed"
        );
    }
}

#[test]
fn what_is_no_file_is_refused_without_waiting_for_it() {
    for make in ["mkdir", "mkfifo"] {
        let setup = setup();
        let made = std::process::Command::new(make)
            .arg(setup.token_file())
            .status()
            .unwrap();
        assert!(made.success());
        let failure = Server::try_start(setup.command("mcp-server", &[]), vec![])
            .err()
            .expect("it must not start");
        assert!(failure.contains("not a file"), "{make}: {failure}");
        assert_eq!(setup.mcp_token(&["list"]).code, 1, "{make}");
    }
}

#[test]
fn a_missing_file_is_an_empty_set_that_is_watched() {
    let mut setup = setup();
    let server = setup.start();
    server.log.wait_for("Loaded 0 API token(s)");
    let token = setup.add_token();
    assert_eq!(server.query(&token, "SELECT 1").value(), 1);
}

#[test]
fn a_misspelt_field_is_told_when_the_server_reads_it() {
    let mut setup = setup();
    let token = setup.add_token();
    let good = std::fs::read_to_string(setup.token_file()).unwrap();
    write(
        &setup,
        format!("{good}    expire_at: x\n    team: data\n").as_bytes(),
    );
    let server = setup.start();
    let warning = |field: &str, meant: &str| {
        format!(
            "[AUTH] WARNING: {}: the field `{field}` is not known and has no effect; did you mean `{meant}`?",
            token.id
        )
    };
    server.log.wait_for(&warning("expire_at", "expires_at"));
    write(&setup, format!("{good}    tool: [count_rows]\n").as_bytes());
    server.log.wait_for(&warning("tool", "tools"));
    assert_eq!(server.log.count("`team`"), 0);
}

#[test]
fn a_file_that_is_broken_and_mended_all_the_time_does_not_fill_the_log() {
    let mut setup = setup();
    let token = setup.add_token();
    let good = std::fs::read(setup.token_file()).unwrap();
    let server = setup.start();
    for _ in 0..30 {
        for content in [&b"tokens: 5\n"[..], &good] {
            write(&setup, content);
            // The request waits until the file has been read.
            assert_eq!(server.query(&token, "SELECT 1").value(), 1);
        }
    }
    let failures = server.log.count("[AUTH] Failed to reload");
    let ends = server.log.count("[AUTH] Reloaded");
    // Ten at once, and a few more for the time that this takes.
    assert!((10..20).contains(&failures), "{failures} {}", server.log);
    assert!(ends <= failures, "{ends} of {failures} {}", server.log);
}

#[test]
fn the_reference_servers_map_form_is_read_and_becomes_the_list_form() {
    let mut setup = setup();
    write(
        &setup,
        b"tokens:\n    token-1730283330:\n        hash: b3f805357b2c1cb78d50a2a109198d184b7c763b68a61e2891ab36260ebac63f\n        expires_at: null\n        annotation: Production API\n        created_at: 2024-10-30T10:15:30.123456789Z\n        database: shop\n",
    );
    let server = setup.start();
    let token = end_to_end::Token {
        secret: "O9ms9jqTfUdy-DIjvpFWeqd_yH_NEj7me0mgOnOjGdQ=".into(),
        id: "token-1730283330".into(),
        hash_prefix: "b3f805357b2c".into(),
    };
    assert_eq!(server.query(&token, "SELECT 1").value(), 1);
    setup.add_token();
    let text = std::fs::read_to_string(setup.token_file()).unwrap();
    assert!(
        text.contains("- id: token-1730283330") && text.contains("note: Production API"),
        "{text}"
    );
    assert_eq!(server.query(&token, "SELECT 1").value(), 1);
}
