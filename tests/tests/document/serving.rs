//! Starting the server, with and without authentication and HTTPS.

use end_to_end::{Client, Request};
use serde_json::json;

use crate::world::{DOCUMENT_FILE, DOCUMENT_TOKEN, World};

fn tools_list() -> Request {
    Request::json(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {} }))
}

#[test]
fn no_auth_serves_localhost_without_tokens() {
    let world = World::new();
    let server = world.serve("./bin/pgedge-postgres-mcp -http -addr \"localhost:0\" -no-auth");
    let response = server.client().send(&tools_list()).unwrap();
    assert_eq!(response.status, 200, "{}", response.text());
}

#[test]
fn no_auth_refuses_to_start_anywhere_but_on_a_loopback_address() {
    let world = World::new();
    for address in ["0.0.0.0:0", ":0", "[::]:0"] {
        let said = world.run(&format!(
            "timeout 20 ./bin/pgedge-postgres-mcp -http -addr '{address}' -no-auth"
        ));
        assert!(
            [1, 2].contains(&said.code),
            "{address}: ended with {}: {}",
            said.code,
            said.stderr
        );
        assert!(
            said.stderr.contains("loopback"),
            "{address}: {}",
            said.stderr
        );
    }
}

#[test]
fn https_serves_with_a_certificate_and_refuses_plain_http() {
    let world = World::new();
    world.write_token_file(DOCUMENT_FILE);
    let line = format!(
        "./bin/pgedge-postgres-mcp -http -tls \\\n-cert {} \\\n-key {}",
        world.path("cert.pem").display(),
        world.path("key.pem").display()
    );
    let server = world.serve(&line);
    let request = tools_list().bearer(DOCUMENT_TOKEN);
    let mut client = Client::with_tls(server.address(), &world.pair.certificate);
    let response = client.send(&request.header("Host", "localhost")).unwrap();
    assert_eq!(response.status, 200, "{}", response.text());
    let plain = server.client().send(&tools_list().bearer(DOCUMENT_TOKEN));
    let refused = plain.unwrap();
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("https://"), "{}", refused.text());
}

#[test]
fn a_new_certificate_is_used_without_a_restart() {
    let world = World::new();
    world.write_token_file(DOCUMENT_FILE);
    let (cert, key) = (world.path("cert.pem"), world.path("key.pem"));
    let server = world.serve(&format!(
        "./bin/pgedge-postgres-mcp -http -tls -cert {} -key {}",
        cert.display(),
        key.display()
    ));
    let new = end_to_end::certificate::for_localhost();
    std::fs::write(&key, &new.key).unwrap();
    std::fs::write(&cert, &new.certificate).unwrap();
    end_to_end::wait::until(
        "the new certificate is served",
        std::time::Duration::from_secs(10),
        || {
            let request = tools_list()
                .bearer(DOCUMENT_TOKEN)
                .header("Host", "localhost");
            Client::with_tls(server.address(), &new.certificate)
                .send(&request)
                .is_ok()
        },
    );
}

#[test]
fn a_refusal_says_whether_the_token_is_missing_or_unknown() {
    let world = World::new();
    world.write_token_file(DOCUMENT_FILE);
    let server = world.serve("./bin/pgedge-postgres-mcp -http");
    for (request, word) in [
        (tools_list(), "missing"),
        (
            tools_list().bearer("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
            "unknown",
        ),
    ] {
        let response = server.client().send(&request).unwrap();
        assert_eq!(response.status, 401);
        assert!(
            response
                .header("www-authenticate")
                .is_some_and(|value| value.starts_with("Bearer")),
            "{response:?}"
        );
        assert!(
            response.json().to_string().contains(word),
            "{}",
            response.text()
        );
    }
}
