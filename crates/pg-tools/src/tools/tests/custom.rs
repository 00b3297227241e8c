//! Tools that an operator wrote.

use super::{writing::writer, *};

fn custom(name: &str, sql: &str, parameters: &[(&str, &str, bool)]) -> crate::CustomTool {
    let parameters = parameters
        .iter()
        .map(|(name, kind, required)| crate::CustomParameter {
            name: (*name).to_owned(),
            kind: (*kind).to_owned(),
            description: None,
            required: *required,
        });
    crate::CustomTool {
        name: name.to_owned(),
        title: name.to_owned(),
        description: "A custom tool.".to_owned(),
        database: "shop".to_owned(),
        sql: sql.to_owned(),
        parameters: parameters.collect(),
        read_only: true,
        max_rows: 3,
    }
}

#[tokio::test]
async fn a_custom_tool_binds_what_it_is_given() {
    let caller = reader();
    let tools = crate::CustomTools(caller.shelf.clone());
    let of_status = "SELECT id, status FROM orders WHERE ($1::order_status IS NULL OR status = $1) AND id <= $2 ORDER BY id; -- end";
    let odd =
        "SELECT $1::text, $2::numeric, $3::bool, $4::int[], $5::timestamptz IS NULL, $6::text[]";
    tools
        .replace(
            vec![
                custom(
                    "of_status",
                    of_status,
                    &[("status", "string", false), ("most", "integer", true)],
                ),
                custom(
                    "odd",
                    odd,
                    &[
                        ("text", "string", true),
                        ("number", "number", true),
                        ("switch", "boolean", true),
                        ("list", "array", true),
                        ("when", "string", false),
                        ("texts", "array", true),
                    ],
                ),
            ],
            caller.agent.session(),
        )
        .await
        .unwrap();
    let (texts, structured) = caller.done("of_status", json!({"most": 2})).await;
    assert_eq!(structured["rows"].as_array().unwrap().len(), 2);
    assert_eq!(
        structured["columns"],
        json!([{"name": "id", "type": "integer"}, {"name": "status", "type": "order_status"}])
    );
    assert!(texts[0].starts_with("id\tstatus\n1\t"), "{texts:?}");
    let (texts, structured) = caller
        .done("of_status", json!({"status": "paid", "most": 1_000_000}))
        .await;
    assert_eq!(
        (&structured["row_count"], &structured["truncated"]),
        (&json!(3), &json!(true))
    );
    assert!(texts[1].contains("there are more"), "{texts:?}");

    for most in [json!(2.0), json!(2e0), json!(2)] {
        let (_, structured) = caller.done("of_status", json!({"most": most})).await;
        assert_eq!(structured["row_count"], 2, "{most}");
    }

    let hostile = "'; DROP TABLE users; --";
    let arguments = json!({
        "text": hostile, "number": 1.5, "switch": true, "list": [1.0, null, 3], "texts": ["a,b", "c\"d\\e", "NULL", null]
    });
    let (_, structured) = caller.done("odd", arguments).await;
    assert_eq!(
        structured["rows"],
        json!([[
            hostile,
            "1.5",
            true,
            "{1,NULL,3}",
            true,
            "{\"a,b\",\"c\\\"d\\\\e\",\"NULL\",NULL}"
        ]])
    );
    for (tool, arguments, part) in [
        (
            "of_status",
            json!({}),
            "most is missing; it must be a whole number",
        ),
        (
            "of_status",
            json!({"most": "many"}),
            "most must be a whole number",
        ),
        (
            "of_status",
            json!({"most": 1, "other": 1}),
            "unknown argument",
        ),
        (
            "of_status",
            json!({"most": 1, "status": "nonsense"}),
            "22P02",
        ),
        (
            "of_status",
            json!({"most": 9_223_372_036_854_775_807_i64}),
            "22003",
        ),
        (
            "of_status",
            json!({"most": 99_999_999_999_999_999_999.0}),
            "most is a number of too many digits",
        ),
        (
            "odd",
            json!({
                "text": "", "number": 1, "switch": true, "texts": [],
                "list": [1, 99_999_999_999_999_999_999.0]
            }),
            "list has a number of too many digits, which would be rounded; write it as a string",
        ),
    ] {
        let failure = caller.failed(tool, arguments.clone()).await;
        assert!(failure.contains(part), "{tool} {arguments}: {failure}");
    }
}

#[tokio::test]
async fn a_wrong_custom_tool_is_told_and_changes_nothing() {
    let caller = reader();
    let tools = crate::CustomTools(caller.shelf.clone());
    let session = caller.agent.session();
    tools
        .replace(vec![custom("right", "SELECT 1", &[])], session)
        .await
        .unwrap();
    for (tool, part) in [
        (custom("wrong", "SELECT nam FROM users", &[]), "42703"),
        (custom("wrong", "SELECT 1; SELECT 2", &[]), "42601"),
        (custom("wrong", "DELETE FROM users", &[]), "no plain query"),
        (
            custom("wrong", "SELECT $1::int", &[]),
            "1 parameters, 0 are named",
        ),
        (
            custom(
                "wrong",
                "SELECT $1::int, $2::int",
                &[("a", "integer", true), ("a", "integer", true)],
            ),
            "two parameters",
        ),
        (custom("wrong name", "SELECT 1", &[]), "a name has"),
        (
            custom("query_database", "SELECT 1", &[]),
            "another tool has this name",
        ),
        (
            crate::CustomTool {
                read_only: false,
                ..custom("wrong", "SELECT 1", &[])
            },
            "no INSERT, UPDATE or DELETE",
        ),
        (
            crate::CustomTool {
                database: "hr".into(),
                ..custom("wrong", "SELECT 1", &[])
            },
            "\"hr\"",
        ),
    ] {
        let errors = tools
            .replace(vec![custom("new", "SELECT 1", &[]), tool], session)
            .await
            .unwrap_err();
        assert_eq!(errors.len(), 1);
        assert!(
            errors[0].to_string().contains(part),
            "{part}: {}",
            errors[0]
        );
        assert!(caller.shelf.find(&caller.agent, "right").is_some());
        assert!(caller.shelf.find(&caller.agent, "new").is_none());
    }
    tools.replace(Vec::new(), session).await.unwrap();
    assert!(caller.shelf.find(&caller.agent, "right").is_none());
}

#[tokio::test]
async fn a_custom_tool_that_writes_is_for_who_may() {
    let (caller, owner) = writer("custom").await;
    let tools = crate::CustomTools(caller.shelf.clone());
    let note = crate::CustomTool {
        read_only: false,
        ..custom(
            "note",
            "UPDATE custom.t SET note = $1 WHERE id <= $2 RETURNING id",
            &[("note", "string", true), ("most", "integer", true)],
        )
    };
    tools
        .replace(vec![note], caller.agent.session())
        .await
        .unwrap();
    let (_, structured) = caller.done("note", json!({"note": "new", "most": 2})).await;
    assert_eq!(
        (&structured["affected_rows"], &structured["rows"]),
        (&json!(2), &json!([[1], [2]]))
    );
    let failure = caller
        .failed("note", json!({"note": "newer", "most": 4}))
        .await;
    assert!(failure.contains("more than 3 rows"), "{failure}");
    let fix = "give arguments that fit fewer, or have the operator raise max_rows of the tool";
    assert!(failure.contains(fix), "{failure}");
    let changed: i64 = owner
        .query_one("SELECT count(*) FROM custom.t WHERE note LIKE 'new%'", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(changed, 2);
    let reader = caller.agent.clone().with_policy(crate::Policy::default());
    assert!(caller.shelf.find(&reader, "note").is_none());
    owner
        .batch_execute("DROP SCHEMA custom CASCADE")
        .await
        .unwrap();
}

#[tokio::test]
async fn what_only_asks_the_catalogue_is_never_compiled_and_what_others_wrote_may_be() {
    let admin = superuser(cluster()).await;
    let sql = "CREATE ROLE compiling LOGIN IN ROLE shop_reader; ALTER ROLE compiling SET jit = on";
    admin.batch_execute(sql).await.unwrap();
    let caller = Caller::new("compiling");
    let sql = "SELECT pg_catalog.current_setting('jit')";
    let reader = crate::read_only::Reader::new(Arc::default(), crate::QueryLimits::default());
    let asked = reader.ask(&caller.agent, sql, &[]).await.unwrap();
    assert_eq!(asked[0].get::<_, &str>(0), "off");
    let tools = crate::CustomTools(caller.shelf.clone());
    let tool = custom("compiles", sql, &[]);
    tools
        .replace(vec![tool], caller.agent.session())
        .await
        .unwrap();
    for (name, arguments) in [
        ("compiles", json!({})),
        ("query_database", json!({"query": sql})),
    ] {
        let (_, structured) = caller.done(name, arguments).await;
        assert_eq!(structured["rows"], json!([["on"]]), "{name}");
    }
}
