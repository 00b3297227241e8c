//! Questions in plain words about tables that a role may read only in part, and whose names need quotes.

use super::*;

#[tokio::test]
async fn a_question_shows_the_columns_that_the_role_may_read() {
    let admin = superuser(cluster()).await;
    let sql = "CREATE TABLE shop.pilot (id int PRIMARY KEY, name text, wage int, base text);
        INSERT INTO shop.pilot VALUES (1, 'Ana', 900, 'Oslo'), (2, 'Bo', 800, 'Rome'), (3, 'Cy', 700, 'Oslo');
        ANALYZE shop.pilot; GRANT SELECT (id, name, base) ON shop.pilot TO shop_reader;
        CREATE TABLE shop.copilot (id int PRIMARY KEY, name text);
        GRANT SELECT (id, name) ON shop.copilot TO shop_reader";
    admin.batch_execute(sql).await.unwrap();
    let caller = reader();
    for (question, rows) in [
        (
            "show me all pilots",
            json!([[1, "Ana", "Oslo"], [2, "Bo", "Rome"], [3, "Cy", "Oslo"]]),
        ),
        (
            "pilots with base Oslo",
            json!([[1, "Ana", "Oslo"], [3, "Cy", "Oslo"]]),
        ),
        ("how many pilots in Oslo", json!([[2]])),
    ] {
        let (_, found) = caller
            .done("query_database", json!({ "query": question }))
            .await;
        assert_eq!(found["rows"], rows, "{question}");
    }
    let failure = caller
        .failed("query_database", json!({ "query": "happy pilots" }))
        .await;
    let (_, suggested) = failure.split_once("to begin with:\n").unwrap();
    let (suggested, _) = suggested.split_once("\nAs SQL").unwrap();
    caller
        .done("query_database", json!({ "query": suggested }))
        .await;

    let (_, found) = caller
        .done("query_database", json!({ "query": "all copilots" }))
        .await;
    let sql = found["sql"].as_str().unwrap();
    assert!(sql.starts_with("SELECT t.*"), "{sql}");
    admin
        .batch_execute("DROP TABLE shop.pilot, shop.copilot")
        .await
        .unwrap();
}

#[tokio::test]
async fn the_nearest_names_are_written_as_sql_has_to_have_them() {
    let admin = superuser(cluster()).await;
    let sql = "CREATE TABLE shop.\"Odd Crate\" (\"select\" int, depth int);
        GRANT SELECT ON shop.\"Odd Crate\" TO shop_reader";
    admin.batch_execute(sql).await.unwrap();
    let question = json!({ "query": "happy odd crates by select and depth" });
    let failure = reader().failed("query_database", question).await;
    for name in [
        "\"Odd Crate\"",
        "\"Odd Crate\".\"select\"",
        "\"Odd Crate\".depth",
    ] {
        let is_told = [format!("shop.{name},"), format!("shop.{name}\n")]
            .iter()
            .any(|told| failure.contains(told));
        assert!(is_told, "{name}: {failure}");
    }
    admin
        .batch_execute("DROP TABLE shop.\"Odd Crate\"")
        .await
        .unwrap();
}

#[tokio::test]
async fn columns_of_a_domain_over_an_enum_are_asked_for_by_its_labels() {
    let admin = superuser(cluster()).await;
    let sql = "CREATE TYPE shop.fate AS ENUM ('moored', 'adrift', 'sunk'); CREATE DOMAIN shop.doom AS shop.fate;
        CREATE TABLE shop.barge (id int PRIMARY KEY, fate shop.doom);
        INSERT INTO shop.barge VALUES (1, 'moored'), (2, 'adrift'), (3, 'sunk'), (4, NULL);
        GRANT SELECT ON shop.barge TO shop_reader";
    admin.batch_execute(sql).await.unwrap();
    let caller = reader();
    for (question, count) in [
        ("how many barges are adrift", 1),
        ("how many barges are not sunk", 3),
        ("how many barges are moored or sunk", 2),
    ] {
        let (_, found) = caller
            .done("query_database", json!({ "query": question }))
            .await;
        assert_eq!(found["rows"], json!([[count]]), "{question}");
    }
    admin
        .batch_execute("DROP TABLE shop.barge; DROP DOMAIN shop.doom; DROP TYPE shop.fate")
        .await
        .unwrap();
}
