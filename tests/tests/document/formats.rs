//! The configuration's syntax, and the token file's format and location.

use std::fs;

use end_to_end::binaries::run;
use serde_json::json;

use crate::world::{DOCUMENT_FILE, DOCUMENT_TOKEN, World, mode};

#[test]
fn the_configuration_file_names_the_token_file() {
    let world = World::new();
    let token_file = world.path("elsewhere-tokens.yaml");
    let text = format!(
        "http:\n  enabled: true\n  address: \":0\"\n  auth:\n    enabled: true\n    token_file: \"{}\"\ndatabases: {}\n",
        token_file.display(),
        world.databases()
    );
    fs::write(world.path("bin/pgedge-postgres-mcp.yaml"), text).unwrap();
    fs::write(&token_file, DOCUMENT_FILE).unwrap();
    let server = world.serve("./bin/pgedge-postgres-mcp");
    server.log.wait_for(&format!(
        "Loaded 1 API token(s) from {}",
        token_file.display()
    ));
    assert!(
        world
            .output("./bin/pgedge-postgres-mcp -list-tokens")
            .contains("token-1234567890")
    );
}

#[test]
fn tokens_lie_beside_the_binary_unless_something_names_another_file() {
    let mut world = World::new();
    let token =
        world.add("./bin/pgedge-postgres-mcp -add-token -token-note 'Test' -token-expiry '1h'");
    assert!(world.read_token_file().contains(&token.id));
    let server = world.serve("./bin/pgedge-postgres-mcp -http");
    assert_eq!(server.query(&token, "SELECT 1").value(), 1);
}

#[test]
fn the_documents_file_format_is_read_and_written() {
    let mut world = World::new();
    world.write_token_file(DOCUMENT_FILE);
    world.add(
        "./bin/pgedge-postgres-mcp -add-token -token-note 'Development' -token-expiry 'never'",
    );
    let text = world.read_token_file();
    for line in DOCUMENT_FILE.lines().map(str::trim) {
        assert!(
            text.contains(line.trim_start_matches("- ")),
            "{line:?} is lost:\n{text}"
        );
    }
    let entries = text.matches("- id: token-").count();
    assert_eq!(entries, 2, "{text}");
}

#[test]
fn a_custom_token_file_is_given_by_a_flag() {
    let world = World::new();
    let path = world.path("etc-tokens.yaml");
    fs::write(&path, DOCUMENT_FILE).unwrap();
    let server = world.serve(&format!(
        "./bin/pgedge-postgres-mcp -http -token-file {}",
        path.display()
    ));
    server
        .log
        .wait_for(&format!("Loaded 1 API token(s) from {}", path.display()));
}

#[test]
fn tokens_are_kept_as_sha256_and_never_in_the_clear() {
    let mut world = World::new();
    let token =
        world.add("./bin/pgedge-postgres-mcp -add-token -token-note 'Test' -token-expiry '1h'");
    let text = world.read_token_file();
    assert!(
        !text.contains(&token.secret) && !text.contains(token.secret.trim_end_matches('=')),
        "{text}"
    );
    let sum = world.output(&format!("printf %s '{}' | sha256sum", token.secret));
    let hash = sum.split(' ').next().unwrap();
    assert!(text.contains(hash), "{hash} is not in\n{text}");
    assert!(hash.starts_with(&token.hash_prefix));
}

#[test]
fn the_token_files_mode_is_set_to_0600() {
    use std::os::unix::fs::PermissionsExt;
    let mut world = World::new();
    let add = "./bin/pgedge-postgres-mcp -add-token -token-note 'Test' -token-expiry '1h'";
    world.add(add);
    assert_eq!(mode(&world.token_file()), 0o600);
    fs::set_permissions(world.token_file(), fs::Permissions::from_mode(0o644)).unwrap();
    let said = world.run("./bin/pgedge-postgres-mcp -list-tokens");
    assert!(
        said.stderr.contains("0600") || said.stderr.contains("chmod"),
        "no warning: {}",
        said.stderr
    );
    world.add(add);
    assert_eq!(mode(&world.token_file()), 0o600);
}

#[test]
fn a_token_cannot_be_got_back_from_the_file_or_the_list() {
    let mut world = World::new();
    let token =
        world.add("./bin/pgedge-postgres-mcp -add-token -token-note 'Test' -token-expiry '1h'");
    let list = world.output("./bin/pgedge-postgres-mcp -list-tokens");
    let json = world.output("./bin/pgedge-postgres-mcp -list-tokens -json");
    for text in [&list, &json, &world.read_token_file()] {
        assert!(!text.contains(&token.secret), "{text}");
    }
}

#[test]
fn a_token_has_44_characters_of_padded_url_safe_base64() {
    let mut world = World::new();
    for _ in 0..5 {
        let token =
            world.add("./bin/pgedge-postgres-mcp -add-token -token-note 'Test' -token-expiry '1h'");
        assert_eq!((token.secret.len(), DOCUMENT_TOKEN.len()), (44, 44));
        assert!(token.secret.ends_with('='), "{}", token.secret);
        assert!(
            token
                .secret
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_=".contains(&byte))
        );
    }
}

#[test]
fn both_binaries_share_the_file() {
    let world = World::new();
    let mut command = end_to_end::binaries::command("mcp-token", &world.path(""));
    command
        .args(["add", "--note", "Shared", "--expiry", "90d", "--token-file"])
        .arg(world.token_file());
    command
        .arg("--config")
        .arg(world.path("bin/pgedge-postgres-mcp.yaml"));
    let said = run(command);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(
        world
            .output("./bin/pgedge-postgres-mcp -list-tokens")
            .contains("Note: Shared")
    );
}

#[test]
fn a_configuration_without_an_auth_section_asks_for_tokens() {
    let world = World::new();
    world.configure(&json!({ "enabled": true }));
    let server = world.serve("./bin/pgedge-postgres-mcp");
    let request = end_to_end::Request::json(&end_to_end::list_tools());
    assert_eq!(server.client().send(&request).unwrap().status, 401);
}
