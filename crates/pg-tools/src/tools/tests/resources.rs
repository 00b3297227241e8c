//! Resources that are read by their address.

use super::*;

#[tokio::test]
async fn settings_are_those_of_the_database_and_not_of_this_servers_sessions() {
    let admin = superuser(cluster()).await;
    let sql = "CREATE ROLE patient LOGIN; GRANT CONNECT ON DATABASE postgres TO patient; ALTER ROLE patient SET statement_timeout = '77s'";
    admin.batch_execute(sql).await.unwrap();
    let caller = Caller::new("patient");
    let given = json!({"uri": "pg://settings"});
    let (_, structured) = caller.done("read_resource", given).await;
    let settings = &structured["content"];
    let changed = settings["changed"].as_array().unwrap();
    let named = |name: &str| changed.iter().find(|setting| setting["name"] == name);
    assert_eq!(named("statement_timeout").unwrap()["value"], "77000");
    for (ours, usual) in [
        ("client_min_messages", "notice"),
        ("default_transaction_read_only", "off"),
    ] {
        assert!(named(ours).is_none(), "{ours}");
        assert_eq!(settings["default"][ours], usual, "{ours}");
    }
    let is_told =
        |setting: &Value| setting["source"] != "default" && setting["source"] != "session";
    assert!(changed.iter().all(is_told), "{changed:?}");
}

#[tokio::test]
async fn resources_are_listed_and_read() {
    let caller = reader();
    let (texts, structured) = caller.done("read_resource", json!({"list": true})).await;
    assert_eq!(structured["resources"].as_array().unwrap().len(), 4);
    assert!(
        texts[0].contains("pg://schema/{schema}/{table}: "),
        "{}",
        texts[0]
    );

    let read = async |uri: &str| {
        caller.done("read_resource", json!({"uri": uri})).await.1["content"].take()
    };
    let system = read("pg://system_info").await;
    assert_eq!(
        (&system["user"], &system["name"]),
        (&json!("shop_reader"), &json!("shop"))
    );
    assert!(system["version_number"].as_i64().unwrap() >= 140_000);
    let settings = read("pg://settings").await;
    assert!(
        settings["changed"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["name"] == "TimeZone" || one["name"] == "port"),
        "{settings}"
    );
    assert!(settings["default"]["work_mem"].is_string());
    let schema = read("pg://schema").await;
    assert!(
        schema["tables"]
            .as_array()
            .unwrap()
            .contains(&json!({"schema": "shop", "name": "users"}))
    );
    let table = read("pg://schema/shop/order_items").await;
    assert_eq!(table["columns"][0]["name"], "order_id");
    for (arguments, part) in [
        (
            json!({"uri": "pg://schema/shop/nothing"}),
            "there is no resource",
        ),
        (json!({"uri": "pg://nothing"}), "pg://system_info"),
        (json!({}), "uri is missing"),
    ] {
        let failure = caller.failed("read_resource", arguments.clone()).await;
        assert!(failure.contains(part), "{arguments}: {failure}");
    }
}

#[tokio::test]
async fn a_tables_address_is_completed_from_what_the_role_may_read() {
    let caller = reader();
    let complete = async |argument, begun, schema| {
        caller
            .shelf
            .means
            .resources
            .complete(&caller.agent, argument, begun, schema)
            .await
            .ok()
            .unwrap()
    };
    assert_eq!(complete("schema", "SH", None).await, ["shop"]);
    assert_eq!(
        complete("table", "order", Some("shop")).await,
        ["order_items", "order_totals", "orders"]
    );
    assert_eq!(complete("table", "order", Some("nothing")).await, [""; 0]);
    assert_eq!(complete("other", "", None).await, [""; 0]);
}

#[tokio::test]
async fn a_version_tells_nothing_of_tables_that_the_role_may_not_read() {
    let (caller, owner) = (reader(), superuser(cluster()).await);
    let tables = "CREATE SCHEMA unread; GRANT USAGE ON SCHEMA unread TO shop_reader; CREATE TABLE unread.t (a int)";
    owner.batch_execute(tables).await.unwrap();
    let version = async || {
        let resources = &caller.shelf.means.resources;
        let version = resources.version(&caller.agent, "pg://schema/unread/t");
        version.await.unwrap()
    };
    let before = version().await;
    for (statement, is_told) in [
        ("ALTER TABLE unread.t ADD COLUMN b text", false),
        ("GRANT SELECT (a) ON unread.t TO shop_reader", true),
        ("REVOKE USAGE ON SCHEMA unread FROM shop_reader", false),
        ("DROP TABLE unread.t", false),
    ] {
        owner.batch_execute(statement).await.unwrap();
        assert_eq!(version().await != before, is_told, "{statement}");
    }
    owner.batch_execute("DROP SCHEMA unread").await.unwrap();
}

#[tokio::test]
async fn a_tables_version_changes_with_everything_that_the_schema_shows() {
    let caller = Caller::new(cluster().superuser());
    let owner = superuser(cluster()).await;
    owner
        .batch_execute("CREATE SCHEMA versions; CREATE TABLE versions.t (a int); CREATE TABLE versions.u (a int)")
        .await
        .unwrap();
    let version = async |uri: &str| {
        caller
            .shelf
            .means
            .resources
            .version(&caller.agent, uri)
            .await
            .unwrap()
    };
    let (uri, other) = ("pg://schema/versions/t", "pg://schema/versions/u");
    let (mut before, other_before) = (version(uri).await, version(other).await);
    for statement in [
        "ALTER TABLE versions.t ADD COLUMN b text",
        "ALTER TABLE versions.t ALTER b SET DEFAULT 'x'",
        "ALTER TABLE versions.t ALTER b SET DEFAULT 'y'",
        "ALTER TABLE versions.t ADD CHECK (a > 0)",
        "CREATE INDEX ON versions.t (b)",
        "COMMENT ON COLUMN versions.t.b IS 'note'",
        "COMMENT ON TABLE versions.t IS 'note'",
        "ALTER TABLE versions.t RENAME b TO c",
        "ALTER TABLE versions.t DROP COLUMN c",
        "GRANT SELECT ON versions.t TO shop_reader",
        "DROP TABLE versions.t",
        "CREATE TABLE versions.t (a int)",
    ] {
        owner.batch_execute(statement).await.unwrap();
        let now = version(uri).await;
        assert_ne!(now, before, "{statement}");
        before = now;
    }
    for statement in [
        "INSERT INTO versions.t VALUES (1)",
        "VACUUM ANALYZE versions.t",
    ] {
        owner.batch_execute(statement).await.unwrap();
        assert_eq!(version(uri).await, before, "{statement}");
    }
    assert_eq!(version(other).await, other_before);
    for unnoticed in ["pg://settings", "pg://system_info"] {
        assert_eq!(version(unnoticed).await, None);
    }
    owner
        .batch_execute("DROP SCHEMA versions CASCADE")
        .await
        .unwrap();
}
