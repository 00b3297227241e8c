//! Sequences near their end, and who is told of them.

use super::*;

#[tokio::test]
async fn what_is_advised_for_a_sequence_near_its_end_gives_it_more_numbers() {
    let cluster = apart();
    let admin = superuser(&cluster).await;
    let sql = "CREATE SCHEMA desk; GRANT USAGE ON SCHEMA desk TO shop_reader; SET search_path = desk;
        CREATE TABLE plain (id serial); SELECT setval('plain_id_seq', 2000000000);
        CREATE TABLE identity (id int GENERATED ALWAYS AS IDENTITY); SELECT setval('identity_id_seq', 2000000000);
        CREATE TABLE wide (id bigint); CREATE SEQUENCE wide_seq AS int OWNED BY wide.id; SELECT setval('wide_seq', 2000000000);
        CREATE TABLE bound (id int); CREATE SEQUENCE bound_seq MAXVALUE 1000 OWNED BY bound.id; SELECT setval('bound_seq', 950);
        CREATE TABLE ahead (id int); CREATE SEQUENCE ahead_seq OWNED BY ahead.id; SELECT setval('ahead_seq', 2000000000);
        CREATE SEQUENCE down INCREMENT -1 MINVALUE -100; SELECT setval('down', -96);
        CREATE SEQUENCE deep AS int INCREMENT -1; SELECT setval('deep', -2100000000);
        CREATE SEQUENCE shared; SELECT setval('shared', 32000); CREATE TABLE ours (id bigint DEFAULT nextval('shared'));
        CREATE TABLE theirs (id smallint DEFAULT nextval('shared'));
        CREATE TABLE small (id int); CREATE SEQUENCE small_seq AS smallint OWNED BY small.id; SELECT setval('small_seq', 32000);
        CREATE SEQUENCE whole MINVALUE -9223372036854775808; SELECT setval('whole', 9223372036854775000);
        GRANT SELECT ON ALL SEQUENCES IN SCHEMA desk TO shop_reader";
    admin.batch_execute(sql).await.unwrap();
    let trial = trial(&cluster, "shop_reader", 1.0);
    let given = json!({ "checks": ["sequences"] });
    let (text, structured) = trial.done("analyze_health", given.clone()).await;
    for (subject, table, statement) in [
        (
            "plain_id_seq",
            "plain",
            "ALTER SEQUENCE desk.plain_id_seq AS bigint NO MAXVALUE",
        ),
        (
            "identity_id_seq",
            "identity",
            "ALTER SEQUENCE desk.identity_id_seq AS bigint NO MAXVALUE",
        ),
        (
            "ahead_seq",
            "ahead",
            "ALTER SEQUENCE desk.ahead_seq AS bigint NO MAXVALUE",
        ),
        (
            "shared",
            "theirs",
            "ALTER SEQUENCE desk.shared AS bigint NO MAXVALUE",
        ),
        ("wide_seq", "", "ALTER SEQUENCE desk.wide_seq AS bigint"),
        ("small_seq", "", "ALTER SEQUENCE desk.small_seq AS integer"),
        ("deep", "", "ALTER SEQUENCE desk.deep AS bigint"),
        (
            "bound_seq",
            "",
            "ALTER SEQUENCE desk.bound_seq MAXVALUE 2147483647",
        ),
        (
            "down",
            "",
            "ALTER SEQUENCE desk.down MINVALUE -9223372036854775808",
        ),
    ] {
        let found = about(&structured, &format!("desk.{subject}"));
        let (_, step) = found[0].split_once(" => ").unwrap();
        assert!(step.ends_with(statement), "{subject}: {step}");
        let column = format!("make desk.{table}.id a bigint");
        assert_eq!(step.starts_with(&column), !table.is_empty(), "{step}");
        if !table.is_empty() {
            let sql = format!("ALTER TABLE {table} ALTER COLUMN id TYPE bigint");
            admin.batch_execute(&sql).await.unwrap();
        }
        admin.batch_execute(statement).await.unwrap();
    }
    assert!(text.contains("no type has more numbers"), "{text}");
    let (text, _) = trial.done("analyze_health", given).await;
    assert!(
        text.starts_with("Findings: 1 critical, 0 warning"),
        "{text}"
    );
}

#[tokio::test]
async fn how_far_a_sequence_is_is_told_to_those_who_may_use_its_schema() {
    ill().await;
    for (schema, role, found) in [
        ("ward", "watcher", "ward.numbered_id_seq"),
        ("ward", "shop_reader", "3 sequences cannot be looked at"),
        ("shop", "watcher", ""),
        ("shop", "shop_reader", ""),
    ] {
        let tool = Arc::new(AnalyzeHealth::new(Arc::new(Reader::new(
            Arc::default(),
            QueryLimits::default(),
        ))));
        let policy = crate::Policy {
            schemas: Some([schema.to_owned()].into()),
            ..crate::Policy::default()
        };
        let trial = Trial::of(counting_cluster(), role, tool).with_policy(policy);
        let given = json!({ "checks": ["sequences"] });
        let (text, structured) = trial.done("analyze_health", given).await;
        let is_found = structured["findings"] != json!([]);
        assert_eq!(is_found, !found.is_empty(), "{schema}, {role}: {text}");
        assert!(text.contains(found), "{schema}, {role}: {text}");
    }
}
