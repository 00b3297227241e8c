//! Models beside the database: what is asked of them, and what nobody gets to see.
#![allow(clippy::unwrap_used)]

use end_to_end::{
    Database, Postgres, Request, Server, Setup, Token,
    binaries::run,
    call,
    stub::{Said, Stub},
};
use serde_json::{Value, json};

const KEY: &str = "sk-canary-embedding";

/// A server that gets embeddings from a stub, and the key for it from a variable.
fn start(database: &Database<'_>, stub: &Stub) -> (Setup, Server, Token) {
    let mut setup = Setup::new([database.entry("shop", &database.reader)]);
    setup.config["embedding"] = json!({
        "provider": "voyage", "model": "some-model", "url": stub.url("/v1"), "key_env": "EMBEDDING_KEY",
        "dimensions": 8, "retries": 0,
    });
    setup.config["tools"] = json!({
        "enabled": ["generate_embedding", "analyze_health", "top_queries", "advise_indexes"],
    });
    let token = setup.add_token();
    let mut command = setup.command("mcp-server", &[]);
    command.env("EMBEDDING_KEY", KEY);
    let server = Server::start(command, vec![KEY.into(), token.secret.clone()]);
    (setup, server, token)
}

/// The sample shop describes each product by eight numbers; the first is how warm it keeps.
fn warm(_: &str) -> Vec<f32> {
    vec![1.0, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]
}

#[test]
fn a_question_is_embedded_and_the_nearest_products_are_found() {
    let database = Database::fresh_in(Postgres::with_vector());
    let stub = Stub::embedding(warm);
    let (_setup, server, token) = start(&database, &stub);
    let given = json!({"table_name": "products", "query_text": "warm for winter nights", "top_n": 3, "lambda": 1});
    let answer = server.call(&token, "similarity_search", given);
    assert!(!answer.is_error, "{}", answer.text);
    let results = answer.structured["results"].as_array().unwrap();
    assert_eq!(results.len(), 3, "{}", answer.text);
    let seen = stub.seen().remove(0);
    assert_eq!(
        seen.header("authorization"),
        Some("Bearer sk-canary-embedding")
    );
    assert_eq!(seen.body["input"], json!(["warm for winter nights"]));
    assert_eq!(seen.body["output_dimension"], 8);

    let nearest = database.superuser().value(&format!(
        "select id from shop.products order by embedding <=> '{:?}'::vector, id limit 1",
        warm("")
    ));
    let by_distance = results.iter().find(|row| row["distance_rank"] == 1);
    assert_eq!(
        by_distance.unwrap()["values"]["id"],
        nearest,
        "{}",
        answer.text
    );

    let given = json!({"text": "boots"});
    let answer = server.call(&token, "generate_embedding", given);
    assert_eq!(answer.structured["dimensions"], 8, "{}", answer.text);
}

#[test]
fn the_tools_for_those_who_run_databases_answer() {
    let database = Database::fresh();
    let stub = Stub::embedding(warm);
    let (_setup, server, token) = start(&database, &stub);
    let answer = server.call(&token, "analyze_health", json!({}));
    assert!(!answer.is_error, "{}", answer.text);
    let checks = answer.structured["checks"].as_array().unwrap();
    assert!(
        checks.iter().all(|check| check["outcome"] != "not_done"),
        "{}",
        answer.text
    );

    let query = "SELECT count(*) FROM page_views WHERE path = '/product/7'";
    let answer = server.call(&token, "advise_indexes", json!({ "query": query }));
    let advised = answer.structured["advice"][0]["statement"]
        .as_str()
        .unwrap_or_default();
    assert!(advised.contains("(\"path\")"), "{}", answer.text);

    let answer = server.call(&token, "top_queries", json!({}));
    assert!(
        answer.is_error && answer.text.contains("CREATE EXTENSION pg_stat_statements"),
        "{}",
        answer.text
    );
}

#[test]
fn a_token_that_is_removed_hangs_up_on_the_model() {
    let database = Database::fresh();
    let stub = Stub::start(|_| Said::Nothing);
    let (setup, server, token) = start(&database, &stub);
    let call = call("generate_embedding", json!({ "text": "boots" }));
    let mut client = server.client();
    client.send_only(&Request::of(&token, &call)).unwrap();
    stub.wait_for_requests(1);
    setup.remove_token(&token);
    stub.wait_until_abandoned();
}

#[test]
fn a_model_that_fails_is_told_without_its_key() {
    let database = Database::fresh();
    let stub = Stub::start(|_| {
        Said::Json(
            400,
            Vec::new(),
            json!({ "detail": format!("the key {KEY} may not") }),
        )
    });
    let (_setup, server, token) = start(&database, &stub);
    let answer = server.call(&token, "generate_embedding", json!({"text": "boots"}));
    assert!(
        answer.is_error
            && answer
                .text
                .contains("Voyage refused the request (HTTP 400)"),
        "{}",
        answer.text
    );
    assert!(!answer.text.contains(KEY), "{}", answer.text);
}

#[test]
fn a_missing_key_stops_the_server_and_not_the_tokens() {
    for (section, expected) in [
        (
            json!({"embedding": {"provider": "openai", "model": "m"}}),
            "embedding.key_env: the variable OPENAI_API_KEY is not set",
        ),
        (
            json!({"llm": {"provider": "anthropic", "model": "m"}}),
            "llm.key_env: the variable ANTHROPIC_API_KEY is not set",
        ),
        (
            json!({"llm": {"provider": "openai", "model": "m", "key_file": "/nowhere/at/all"}}),
            "llm.key_file: /nowhere/at/all cannot be read",
        ),
        (
            json!({"llm": {"provider": "ollama", "model": "m", "url": "localhost"}}),
            "llm: the URL cannot be used",
        ),
    ] {
        let mut setup = Setup::new([json!({"name": "shop", "user": "nobody"})]);
        let Value::Object(section) = section else {
            panic!("a section")
        };
        setup.config.as_object_mut().unwrap().extend(section);
        setup.add_token();
        let said = run(setup.command("mcp-server", &[]));
        assert_eq!(said.code, 1, "{}", said.stderr);
        assert!(
            said.stderr.contains(expected),
            "{expected}: {}",
            said.stderr
        );
    }
}

#[test]
fn a_search_of_the_most_rows_is_answered_where_results_are_small() {
    let database = Database::fresh_in(Postgres::with_vector());
    // The nearest rows are not those that the words find.
    database.superuser().run(&format!(
        "create extension if not exists vector schema public;
         create table shop.notes (id int primary key, body text, embedding public.vector(2));
         insert into shop.notes
             select g, case when g > 400 then 'tent' else 'stove' end, format('[1,%s]', g)::public.vector
             from generate_series(1, 800) g;
         analyze shop.notes;
         grant select on shop.notes to {}",
        database.reader.role
    ));
    let mut setup = Setup::new([database.entry("shop", &database.reader)]);
    setup.config["limits"] = json!({ "result_bytes": 65_536 });
    let token = setup.add_token();
    let server = setup.start();
    let answer = server.call(
        &token,
        "similarity_search",
        json!({ "table_name": "shop.notes", "query_text": "tent", "query_vector": [1, 1], "top_n": 100,
                "max_output_tokens": 50_000 }),
    );
    assert!(!answer.is_error, "{}", answer.text);
    assert_eq!(answer.structured["results"].as_array().unwrap().len(), 100);
}
