//! Adding, listing and removing tokens.

use std::fs;
use std::time::{Duration, Instant};

use end_to_end::{Request, list_tools, wait};

use crate::world::{DOCUMENT_FILE, World};

/// The last lines that `-add-token` prints.
const WARNING: [&str; 3] = [
    "Store this token securely. It cannot be retrieved later.",
    "Warning",
    "The generated token is shown only once. Save it immediately!",
];

/// Every line of the document that adds a token without a prompt, and the token's lifetime in days.
#[rustfmt::skip]
const ADDING: [(&str, Option<u32>); 10] = [
    ("./bin/pgedge-postgres-mcp -add-token \\\n-token-note \"Web App - Q4 2024\" \\\n-token-expiry \"90d\"", Some(90)),
    ("./bin/pgedge-postgres-mcp -add-token \\\n-token-note \"Web App\" \\\n-token-expiry \"never\"", None),
    ("./bin/pgedge-postgres-mcp -add-token \\\n-token-note \"New Client\" \\\n-token-expiry \"30d\"", Some(30)),
    ("./bin/pgedge-postgres-mcp -add-token \\\n-token-note \"Production API\" \\\n-token-expiry \"1y\"", Some(365)),
    ("./bin/pgedge-postgres-mcp -add-token \\\n-token-note \"Staging API\" \\\n-token-database \"staging\" \\\n-token-expiry \"30d\"", Some(30)),
    ("./bin/pgedge-postgres-mcp -add-token \\\n-token-note \"CI/CD Pipeline\" \\\n-token-expiry \"never\"", None),
    ("./bin/pgedge-postgres-mcp -add-token -token-note \"Test\" -token-expiry \"1h\"", Some(0)),
    ("./bin/pgedge-postgres-mcp -add-token -token-note \"API Client\" -token-expiry \"90d\"", Some(90)),
    ("./bin/pgedge-postgres-mcp -add-token -token-note \"Monitoring\" -token-expiry \"1y\"", Some(365)),
    ("./bin/pgedge-postgres-mcp -add-token -token-note \"Admin\" -token-expiry \"never\"", None),
];

#[test]
fn every_line_that_adds_a_token_prints_what_the_document_shows() {
    let world = World::new();
    for (line, days) in ADDING {
        let output = world.output(line);
        let lines: Vec<&str> = output
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        let note = line
            .split("-token-note \"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        assert_eq!(lines[0], "Token created successfully:", "{output}");
        let mut facts = lines[1..].iter();
        let mut next = |name: &str| {
            let line = facts
                .next()
                .unwrap_or_else(|| panic!("no {name} in {output}"));
            line.strip_prefix(name)
                .unwrap_or_else(|| panic!("{line:?} is not {name:?}: {output}"))
                .trim()
                .to_owned()
        };
        assert_eq!(next("Token:").len(), 44, "{output}");
        assert!(
            next("ID:")
                .strip_prefix("token-")
                .unwrap()
                .bytes()
                .all(|byte| byte.is_ascii_digit()),
            "{output}"
        );
        assert_eq!(next("Note:"), note);
        let database = next("Database:");
        assert!(
            database.contains(if line.contains("staging") {
                "staging"
            } else {
                "production"
            }),
            "{output}"
        );
        let expiry = next("Expiry:");
        match days {
            None => assert_eq!(expiry, "never"),
            Some(0) => assert!(expiry.contains("from now"), "{output}"),
            Some(days) => {
                let date = world.output(&format!("date -u -d '+{days} days' +%F"));
                assert_eq!(expiry, format!("{} ({days} days from now)", date.trim()));
            }
        }
        let hash = next("Hash (first 12 chars):");
        let digits = hash.strip_suffix("...").unwrap();
        assert!(
            digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{output}"
        );
        for words in WARNING {
            assert!(output.contains(words), "{words:?} is not in {output}");
        }
    }
}

#[test]
fn a_token_is_bound_to_the_database_that_is_named_else_to_the_first() {
    let mut world = World::new();
    let unbound = world.add(ADDING[0].0);
    let staging = world.add(ADDING[4].0);
    let server = world.serve("./bin/pgedge-postgres-mcp -http");
    let name = |token| {
        server
            .query(token, "SELECT current_database()")
            .value()
            .clone()
    };
    assert_eq!(name(&unbound), world.database.name.as_str());
    assert_eq!(name(&staging), world.staging.name.as_str());
}

#[test]
fn every_expiry_format_of_the_document_is_taken_and_6m_names_180d() {
    let world = World::new();
    for (expiry, date) in [
        ("30d", "+30 days"),
        ("1y", "+365 days"),
        ("2w", "+14 days"),
        ("90d", "+90 days"),
        ("180d", "+180 days"),
    ] {
        let output = world.output(&format!(
            "./bin/pgedge-postgres-mcp -add-token -token-note x -token-expiry {expiry}"
        ));
        let date = world.output(&format!("date -u -d '{date}' +%F"));
        assert!(
            output.contains(&format!("Expiry: {} (", date.trim())),
            "{expiry}: {output}"
        );
    }
    world.output("./bin/pgedge-postgres-mcp -add-token -token-note x -token-expiry 12h");
    let before = world.read_token_file();
    let said = world.run("./bin/pgedge-postgres-mcp -add-token -token-note x -token-expiry 6m");
    assert_ne!(said.code, 0);
    assert!(said.stderr.contains("180d"), "{}", said.stderr);
    assert_eq!(world.read_token_file(), before);
}

#[test]
fn the_list_looks_as_in_the_document() {
    let world = World::new();
    world.write_token_file(
        r#"tokens:
  - id: token-1234567890
    hash: b3f805a4c2e7d9f1a8b6c3e2d5f4a1b9c8e7d6f5a4b3c2e1d9f8a7b6c5e4d3f2
    note: Production API
    created_at: "2024-10-30T10:15:30Z"
    expires_at: "2095-10-30T10:15:30Z"
  - id: token-9876543210
    hash: 7a2f19d8e1b4c7f0a3d6e9b2c5f8a1d4e7b0c3f6a9d2e5b8c1f4a7d0e3b6c9f2
    note: Development
    created_at: "2024-11-15T14:20:15Z"
    expires_at: null
  - id: token-5555555555
    hash: 1c0f19d8e1b4c7f0a3d6e9b2c5f8a1d4e7b0c3f6a9d2e5b8c1f4a7d0e3b6c9f2
    note: Old
    database: staging
    created_at: "2024-12-15T14:20:15Z"
    expires_at: "2025-01-15T14:20:15Z"
"#,
    );
    let output = world.output("./bin/pgedge-postgres-mcp -list-tokens");
    let lines: Vec<&str> = output
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    assert_eq!(
        lines,
        [
            "API Tokens:",
            "===========",
            "ID: token-1234567890",
            "Note: Production API",
            "Hash (first 12 chars): b3f805a4c2e7...",
            "Created: 2024-10-30 10:15:30",
            "Expires: 2095-10-30 10:15:30",
            "Status: Valid",
            "ID: token-9876543210",
            "Note: Development",
            "Hash (first 12 chars): 7a2f19d8e1b4...",
            "Created: 2024-11-15 14:20:15",
            "Expires: Never",
            "Status: Valid",
            "ID: token-5555555555",
            "Note: Old",
            "Database: staging",
            "Hash (first 12 chars): 1c0f19d8e1b4...",
            "Created: 2024-12-15 14:20:15",
            "Expires: 2025-01-15 14:20:15",
            "Status: Expired",
            "Total tokens: 3",
        ],
        "{output}"
    );
}

#[test]
fn a_token_is_removed_by_its_id_and_by_8_or_more_digits_of_its_hash() {
    let world = World::new();
    for line in [
        "./bin/pgedge-postgres-mcp -remove-token token-1234567890",
        "./bin/pgedge-postgres-mcp -remove-token b3f80535",
        "./bin/pgedge-postgres-mcp -remove-token b3f805357b",
    ] {
        world.write_token_file(DOCUMENT_FILE);
        let output = world.output(line);
        assert!(
            output.contains("token-1234567890"),
            "what was removed is not named: {output}"
        );
        assert!(
            !world.read_token_file().contains("token-1234567890"),
            "{line}"
        );
    }
    world.write_token_file(DOCUMENT_FILE);
    for (line, reason) in [
        ("./bin/pgedge-postgres-mcp -remove-token b3f8053", "8"),
        (
            "./bin/pgedge-postgres-mcp -remove-token aaaaaaaa",
            "no token",
        ),
        (
            "./bin/pgedge-postgres-mcp -remove-token token-1",
            "no token",
        ),
    ] {
        let said = world.run(line);
        assert_eq!(said.code, 1, "{line}: {}", said.stdout);
        assert!(said.stderr.contains(reason), "{line}: {}", said.stderr);
    }
    assert_eq!(world.read_token_file(), DOCUMENT_FILE);
}

#[test]
fn a_token_that_is_added_while_the_server_runs_works_at_once_and_is_announced() {
    let mut world = World::new();
    let server = world.serve("./bin/pgedge-postgres-mcp -http");
    let token = world.add(ADDING[2].0);
    assert_eq!(server.query(&token, "SELECT 1").value(), 1);
    server
        .log
        .wait_for(&format!("[AUTH] Reloaded {}", world.token_file().display()));
}

#[test]
fn a_compromised_token_is_removed_without_a_restart_within_100_ms() {
    let mut world = World::new();
    let token = world.add(ADDING[3].0);
    let server = world.serve("./bin/pgedge-postgres-mcp -http");
    assert_eq!(server.query(&token, "SELECT 1").value(), 1);
    world.output(&format!(
        "./bin/pgedge-postgres-mcp -remove-token {}",
        &token.hash_prefix[..8]
    ));
    let began = Instant::now();
    let request = Request::json(&list_tools()).bearer(&token.secret);
    assert_eq!(server.client().send(&request).unwrap().status, 401);
    let observer = world.database.superuser();
    wait::until("its connections are closed", Duration::from_secs(5), || {
        observer.connections_of(&token) == 0
    });
    assert!(
        began.elapsed() < Duration::from_millis(250),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn expired_tokens_are_removed_when_the_server_starts() {
    let world = World::new();
    let expired = DOCUMENT_FILE
        .replace("tokens:\n", "")
        .replace("token-1234567890", "token-1")
        .replace("b3f805", "a3f805")
        .replace("2095", "2025");
    let another = DOCUMENT_FILE
        .replace("tokens:\n", "")
        .replace("token-1234567890", "token-2")
        .replace("b3f805", "c3f805");
    world.write_token_file(&format!("{DOCUMENT_FILE}{expired}{another}"));
    let server = world.serve("./bin/pgedge-postgres-mcp -http");
    let loaded = server.log.wait_for("API token(s) from");
    assert!(
        loaded.contains(&format!(
            "Loaded 3 API token(s) from {}",
            world.token_file().display()
        )),
        "{loaded}"
    );
    server.log.wait_for("Removed 1 expired token(s)");
    let left = world.read_token_file();
    assert!(
        !left.contains("token-1\n")
            && left.contains("token-2\n")
            && left.contains("token-1234567890"),
        "{left}"
    );
}

#[test]
fn interactive_mode_asks_for_note_database_and_expiry() {
    let world = World::new();
    for (answers, database) in [
        ("Dev Environment\\nstaging\\n30d\\n", "staging"),
        ("Dev Environment\\n2\\n30d\\n", "staging"),
        ("Dev Environment\\n\\n30d\\n", "production"),
    ] {
        let output = in_terminal(&world, answers);
        for words in [
            "production",
            "staging",
            "Token created successfully:",
            "Note: Dev Environment",
        ] {
            assert!(output.contains(words), "{words:?} is not in {output}");
        }
        let line = output
            .lines()
            .find(|line| line.trim().starts_with("Database: "))
            .unwrap_or_else(|| panic!("{output}"));
        assert!(line.contains(database), "{line}");
        assert!(output.contains("(30 days from now)"), "{output}");
    }
}

#[test]
fn without_a_terminal_a_missing_expiry_is_an_error_that_names_the_choices() {
    let world = World::new();
    let said = world.run("./bin/pgedge-postgres-mcp -add-token");
    assert_ne!(said.code, 0);
    assert!(
        said.stderr.contains("90d") && said.stderr.contains("never"),
        "{}",
        said.stderr
    );
    assert!(!world.token_file().exists() || !world.read_token_file().contains("token-"));
}

/// Runs the interactive line on a terminal of its own, and types the answers.
fn in_terminal(world: &World, answers: &str) -> String {
    fs::write(world.path("typed"), answers.replace("\\n", "\n")).unwrap();
    // `script` gives the program a terminal; typing goes on until the program has ended.
    world.output("script --quiet --return --echo never --command './bin/pgedge-postgres-mcp -add-token' /dev/null < typed")
}
