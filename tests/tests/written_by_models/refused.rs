use end_to_end::{Answer, Database, Server, Setup, Token};

fn start(database: &Database<'_>) -> (Setup, Server, Token) {
    let mut setup = Setup::new([database.entry("shop", &database.reader)]);
    let token = setup.add_token();
    let server = setup.start();
    (setup, server, token)
}

fn assert_told(answer: &Answer, parts: &[&str]) {
    assert!(answer.is_error, "{}", answer.text);
    for part in parts {
        assert!(answer.text.contains(part), "no {part:?} in {}", answer.text);
    }
}

#[test]
fn a_question_that_is_not_understood_comes_back_with_what_helps() {
    let database = Database::fresh();
    let (_setup, server, token) = start(&database);
    let answer = server.query(&token, "Show me all happy users");
    assert_told(
        &answer,
        &[
            "not understood for sure",
            "happy",
            "NEAREST",
            "shop.users",
            "42601",
        ],
    );
    let (_, rest) = answer.text.split_once("to begin with:\n").unwrap();
    let (suggestion, _) = rest.split_once("\nAs SQL:").unwrap();
    let answer = server.query(&token, suggestion);
    assert!(!answer.is_error, "{suggestion}: {}", answer.text);
    assert_eq!(answer.structured["row_count"], 10);

    let answer = server.query(&token, "show orders by status");
    assert_told(&answer, &["may mean any of these", "GROUP BY", "ORDER BY"]);
}

#[test]
fn a_slip_in_sql_keeps_postgresqls_own_error() {
    let database = Database::fresh();
    let (_setup, server, token) = start(&database);
    for (sql, position) in [
        ("SELEC * FROM users", "POSITION: 1"),
        ("SELECT (id FROM users", "POSITION: 12"),
        ("SELECT name FORM users WHERE", "POSITION: 18"),
    ] {
        let answer = server.query(&token, sql);
        assert_told(
            &answer,
            &["42601", "syntax error at or near", position, "HINT"],
        );
        let first = answer.text.find("syntax error at").unwrap();
        let second = answer.text.find("question in plain words").unwrap();
        assert!(first < second, "{}", answer.text);
    }
}

#[test]
fn what_postgresql_can_parse_is_never_taken_for_a_question() {
    let database = Database::fresh();
    let (_setup, server, token) = start(&database);
    for sql in [
        // Its own commands.
        "SHOW users",
        "DELETE FROM users",
        "TABLE users_of_mars",
        "FETCH 5 users",
        // SQLSTATE 42601 as well, but of statements that parse.
        "SELECT 1 UNION SELECT 1, 2",
        "SELECT (SELECT 1, 2)",
        "INSERT INTO users (id) VALUES (1, 2)",
        // Refused before it is parsed.
        "list all users of pg_terminate_backend",
    ] {
        let answer = server.query(&token, sql);
        assert!(answer.is_error, "{sql}: {}", answer.text);
        assert!(!answer.text.contains("question"), "{sql}: {}", answer.text);
    }
}

#[test]
fn a_question_pages_by_the_query_that_it_became() {
    let database = Database::fresh();
    let (_setup, server, token) = start(&database);
    let first = server.query(&token, "list all users sorted by name");
    assert_eq!(first.structured["row_count"], 100, "{}", first.text);
    assert!(first.text.contains("the SQL above"), "{}", first.text);
    let next = serde_json::json!({
        "query": first.structured["sql"], "cursor": first.structured["next_cursor"],
    });
    let second = server.call(&token, "query_database", next);
    assert!(!second.is_error, "{}", second.text);
    assert_eq!(second.structured["row_count"], 100);
    assert!(second.structured["sql"].is_null(), "it was SQL this time");
    assert_ne!(first.structured["rows"], second.structured["rows"]);
}

#[test]
fn a_new_table_is_known_at_the_next_question_and_a_forbidden_one_never() {
    let database = Database::fresh();
    let (_setup, server, token) = start(&database);
    assert!(server.query(&token, "how many penguins").is_error);
    let admin = database.superuser();
    admin.run("create table shop.penguins (id int primary key); insert into shop.penguins select generate_series(1, 7)");
    assert!(server.query(&token, "how many penguins").is_error);
    admin.run(&format!(
        "grant select on shop.penguins to {}",
        database.reader.role
    ));
    assert_eq!(server.query(&token, "how many penguins").value(), 7);
}
