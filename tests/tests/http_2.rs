//! HTTP/2, with TLS and without, as curl speaks it.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Stdio};
use std::time::Duration;

use end_to_end::{Answer, Database, Server, Setup, Token, call, certificate, wait};
use serde_json::json;

/// A command that prints the HTTP version after the body.
fn curl(server: &Server, scheme: &str, token: &Token, sql: &str, options: &[&str]) -> Command {
    let message = call("query_database", json!({ "query": sql }));
    let mut command = Command::new("curl");
    command
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "60",
            "--write-out",
            "\n%{http_version}",
        ])
        .args(options)
        .args([
            "--header",
            &format!("Authorization: Bearer {}", token.secret),
        ])
        .args(["--header", "Content-Type: application/json"])
        .args(["--header", "MCP-Protocol-Version: 2025-11-25"])
        .args(["--data", &message.to_string()])
        .arg(format!(
            "{scheme}://localhost:{}/mcp/v1",
            server.address().port()
        ))
        .stdout(Stdio::piped());
    command
}

/// Runs the command and returns the answer, which must have come over HTTP/2.
fn answer(mut command: Command) -> Answer {
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let (body, version) = said.rsplit_once('\n').unwrap_or_else(|| panic!("{said:?}"));
    assert_eq!(version, "2", "{said}");
    Answer::read(&serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}")))
}

#[test]
fn a_query_runs_over_http_2_without_tls_and_ends_with_its_client() {
    let database = Database::fresh();
    let observer = database.superuser();
    let mut setup = Setup::new([database.entry("shop", &database.reader)]);
    let token = setup.add_token();
    let server = setup.start();
    let call = |sql| curl(&server, "http", &token, sql, &["--http2-prior-knowledge"]);
    assert_eq!(answer(call("SELECT 6 * 7")).value(), 42);

    let mut client = call("SELECT pg_sleep(25)").spawn().unwrap();
    wait::until("the statement runs", Duration::from_secs(10), || {
        observer.sleeping_of(&token) == 1
    });
    client.kill().unwrap();
    client.wait().unwrap();
    let took = wait::until("it is cancelled", Duration::from_secs(10), || {
        observer.sleeping_of(&token) == 0
    });
    assert!(took < Duration::from_secs(1), "took {took:?}");
}

#[test]
fn curl_shows_what_it_is_refused_for() {
    let database = Database::fresh();
    let setup = Setup::new([database.entry("shop", &database.reader)]);
    let server = setup.start();
    let message = call("query_database", json!({ "query": "SELECT 1" })).to_string();
    let address = format!("http://localhost:{}", server.address().port());
    // A single attempt may be fast enough by chance.
    for _ in 0..20 {
        for (path, status) in [("/mcp/v1", "401"), ("/nowhere", "404")] {
            let output = Command::new("curl")
                .args([
                    "--silent",
                    "--show-error",
                    "--max-time",
                    "60",
                    "--http2-prior-knowledge",
                ])
                .args(["--write-out", "\n%{http_code}", "--data", &message])
                .args(["--header", "Content-Type: application/json"])
                .arg(format!("{address}{path}"))
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(said.ends_with(status), "{path}: {said} {error}");
        }
    }
}

#[test]
fn a_client_and_the_server_agree_on_http_2_over_tls() {
    let database = Database::fresh();
    let pair = certificate::for_localhost();
    let mut setup = Setup::new([database.entry("shop", &database.reader)]);
    let trusted = setup.file("cert.pem", &pair.certificate);
    let key = setup.file("key.pem", &pair.key);
    setup.config["http"]["tls"] = json!({ "enabled": true, "cert_file": trusted, "key_file": key });
    let token = setup.add_token();
    let server = setup.start();
    let options = ["--http2", "--cacert", trusted.to_str().unwrap()];
    assert_eq!(
        answer(curl(&server, "https", &token, "SELECT 6 * 7", &options)).value(),
        42
    );
}
