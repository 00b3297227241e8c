//! What the schema looks like.

use super::*;
use crate::bench::{agent_of, apart, vector_cluster};

#[tokio::test]
async fn a_partition_is_there_for_whoever_names_it_and_a_partitioned_table_tells_its_key() {
    let owner = superuser(cluster()).await;
    let sql = "CREATE SCHEMA cut; CREATE TABLE cut.cake (id int, taste text) PARTITION BY LIST (taste);
        CREATE TABLE cut.cake_sweet PARTITION OF cut.cake FOR VALUES IN ('sweet') PARTITION BY RANGE (id);
        CREATE TABLE cut.cake_first PARTITION OF cut.cake_sweet FOR VALUES FROM (0) TO (9);
        CREATE INDEX cake_partly ON ONLY cut.cake (id);
        GRANT USAGE ON SCHEMA cut TO shop_reader; GRANT SELECT ON ALL TABLES IN SCHEMA cut TO shop_reader";
    owner.batch_execute(sql).await.unwrap();
    let caller = reader();
    for (name, told) in [
        ("cake", "1 partitions, partitioned by LIST (taste)"),
        (
            "cake",
            "index (invalid, which no query uses): CREATE INDEX cake_partly",
        ),
        (
            "cake_sweet",
            "partitioned by RANGE (id), partition of cut.cake FOR VALUES IN ('sweet')",
        ),
        (
            "cake_first",
            "partition of cut.cake_sweet FOR VALUES FROM (0) TO (9)",
        ),
    ] {
        let given = json!({ "table_name": name });
        let (texts, _) = caller.done("get_schema_info", given).await;
        assert!(texts[0].contains(told), "{}", texts[0]);
    }
    let (_, listed) = caller
        .done("get_schema_info", json!({"schema_name": "cut"}))
        .await;
    assert_eq!(listed["table_count"], 1);
    let uri = json!({"uri": "pg://schema/cut/cake_first"});
    caller.done("read_resource", uri).await;
    owner
        .batch_execute("DROP SCHEMA cut CASCADE")
        .await
        .unwrap();
}

/// Writes what gives everybody who may log in access to a schema.
fn opened(schema: &str) -> String {
    format!(
        "GRANT USAGE ON SCHEMA {schema} TO PUBLIC; GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO PUBLIC"
    )
}

#[tokio::test]
async fn of_a_type_that_somebody_made_it_is_told_what_it_is_made_of() {
    let owner = superuser(cluster()).await;
    let sql = "CREATE SCHEMA made; CREATE DOMAIN made.mail AS varchar(80) CHECK (VALUE LIKE '%@%');
        CREATE DOMAIN made.work AS made.mail DEFAULT 'a@b' NOT NULL CHECK (VALUE <> '@');
        CREATE TYPE made.place AS (street text, \"Zip Code\" varchar(5)); CREATE TYPE made.mood AS ENUM ('glad', 'sad');
        CREATE DOMAIN made.good AS made.mood CHECK (VALUE <> 'sad');
        CREATE TABLE made.hidden (secret int); REVOKE ALL ON made.hidden FROM PUBLIC;
        CREATE TABLE made.thing (mails made.mail[], work made.work, home made.place, homes made.place[], good made.good, other made.hidden)";
    let grants =
        "GRANT USAGE ON SCHEMA made TO shop_reader; GRANT SELECT ON made.thing TO shop_reader";
    for sql in [sql, grants] {
        owner.batch_execute(sql).await.unwrap();
    }
    let given = json!({"schema_name": "made"});
    let (texts, structured) = reader().done("get_schema_info", given).await;
    for told in [
        "mails made.mail[] (domain over character varying(80) CHECK (((VALUE)::text ~~ '%@%'::text)))\n",
        "work made.work (domain over made.mail not null default 'a@b'::character varying CHECK (((VALUE)::text <> '@'::text)), \
         over character varying(80) CHECK (((VALUE)::text ~~ '%@%'::text)))\n",
        "home made.place (fields street text, \"Zip Code\" character varying(5))\n",
        "homes made.place[] (fields street text, \"Zip Code\" character varying(5))\n",
        "good made.good {glad, sad} (domain over made.mood CHECK ((VALUE <> 'sad'::made.mood)))\n",
        "other made.hidden",
    ] {
        assert!(texts[0].contains(told), "{told}: {}", texts[0]);
    }
    assert!(!texts[0].contains("secret"), "{}", texts[0]);
    let columns = &structured["tables"][0]["columns"];
    assert_eq!(
        columns[1]["domains"],
        json!([
            {"name": "made.work", "type": "made.mail", "not_null": true, "default": "'a@b'::character varying",
             "checks": ["CHECK (((VALUE)::text <> '@'::text))"]},
            {"name": "made.mail", "type": "character varying(80)", "checks": ["CHECK (((VALUE)::text ~~ '%@%'::text))"]}
        ])
    );
    assert_eq!(
        columns[2]["fields"],
        json!([{"name": "street", "type": "text"}, {"name": "Zip Code", "type": "character varying(5)"}])
    );
    owner
        .batch_execute("DROP SCHEMA made CASCADE")
        .await
        .unwrap();
}

#[tokio::test]
async fn tables_that_inherit_are_told_of_and_partitions_are_not_among_them() {
    let owner = superuser(cluster()).await;
    let sql = "CREATE SCHEMA kin; CREATE TABLE kin.animal (id int); CREATE TABLE kin.dog (breed text) INHERITS (kin.animal);
        CREATE TABLE kin.\"Old Cat\" () INHERITS (kin.animal); CREATE TABLE kin.puppy () INHERITS (kin.dog);
        CREATE TABLE kin.cut (id int) PARTITION BY LIST (id); CREATE TABLE kin.one PARTITION OF kin.cut FOR VALUES IN (1)";
    for sql in [sql, &opened("kin")] {
        owner.batch_execute(sql).await.unwrap();
    }
    let hide = "CREATE TABLE kin.hidden () INHERITS (kin.animal)";
    owner.batch_execute(hide).await.unwrap();
    let caller = reader();
    let given = json!({"schema_name": "kin"});
    let (texts, structured) = caller.done("get_schema_info", given).await;
    let all = "a query of it also reads 3 that inherit from it, unless it says ONLY: kin.\"Old Cat\", kin.dog)";
    for told in [
        all,
        "inherits from kin.animal, a query",
        "kin.puppy (table, 8192 bytes, inherits from kin.dog)",
    ] {
        assert!(texts[0].contains(told), "{told}: {}", texts[0]);
    }
    let animal = &structured["tables"][1];
    assert_eq!(animal["child_count"], 3, "{structured}");
    assert_eq!(animal["children"], json!(["kin.\"Old Cat\"", "kin.dog"]));
    for name in ["cut", "one"] {
        let given = json!({"schema_name": "kin", "table_name": name});
        let (texts, _) = caller.done("get_schema_info", given).await;
        assert!(!texts[0].contains("inherit"), "{}", texts[0]);
    }
    owner
        .batch_execute("DROP SCHEMA kin CASCADE")
        .await
        .unwrap();
}

#[tokio::test]
async fn what_a_foreign_key_does_is_told_where_it_does_anything() {
    let owner = superuser(cluster()).await;
    let tables = "CREATE SCHEMA acting; CREATE TABLE acting.base (id int PRIMARY KEY, word text UNIQUE DEFERRABLE);
        CREATE TABLE acting.leaf (
          a int REFERENCES acting.base, b int REFERENCES acting.base ON DELETE CASCADE,
          c int REFERENCES acting.base ON UPDATE CASCADE ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED,
          d int REFERENCES acting.base ON DELETE RESTRICT, e int REFERENCES acting.base ON DELETE SET DEFAULT)";
    owner.batch_execute(tables).await.unwrap();
    let (sessions, agent) = agent_of(cluster(), cluster().superuser());
    let caller = Caller {
        sessions,
        agent,
        shelf: Arc::new(Shelf::new(everything()).unwrap()),
    };
    let given = json!({"schema_name": "acting"});
    let (texts, structured) = caller.done("get_schema_info", given).await;
    for told in [
        "(a) -> acting.base(id)\n",
        "(b) -> acting.base(id) ON DELETE CASCADE\n",
        "(c) -> acting.base(id) ON UPDATE CASCADE ON DELETE SET NULL INITIALLY DEFERRED\n",
        "(d) -> acting.base(id) ON DELETE RESTRICT\n",
        "(e) -> acting.base(id) ON DELETE SET DEFAULT",
        "unique (word) DEFERRABLE\n",
    ] {
        assert!(texts[0].contains(told), "{told}: {}", texts[0]);
    }
    let of_leaf = structured["tables"][1]["constraints"].as_array().unwrap();
    assert_eq!(of_leaf[0].get("on_delete"), None, "{structured}");
    assert_eq!(of_leaf[1]["on_delete"], "CASCADE", "{structured}");
    owner
        .batch_execute("DROP SCHEMA acting CASCADE")
        .await
        .unwrap();
}

/// On PostgreSQL 18, and on an older one, which has fewer of these.
#[tokio::test]
async fn what_postgresql_does_not_vouch_for_is_told_of() {
    let usual = "CREATE SCHEMA vouched; CREATE TABLE vouched.base (id int PRIMARY KEY);
        CREATE TABLE vouched.loose (id int, a int);
        ALTER TABLE vouched.loose ADD FOREIGN KEY (a) REFERENCES vouched.base NOT VALID, ADD CHECK (a > 0) NOT VALID";
    let newer = "CREATE EXTENSION IF NOT EXISTS btree_gist;
        ALTER TABLE vouched.loose ADD NOT NULL id NOT VALID,
          ADD FOREIGN KEY (id) REFERENCES vouched.base NOT ENFORCED, ADD CHECK (id > 0) NOT ENFORCED;
        CREATE TABLE vouched.room (id int, during tsrange, PRIMARY KEY (id, during WITHOUT OVERLAPS));
        CREATE TABLE vouched.guest (room int, stay tsrange, FOREIGN KEY (room, PERIOD stay) REFERENCES vouched.room (id, PERIOD during))";
    let in_usual = [
        "foreign key (a) -> vouched.base(id) NOT VALID",
        "CHECK ((a > 0)) NOT VALID\n",
    ];
    let in_newer = [
        "id integer not null NOT VALID\n",
        "foreign key (id) -> vouched.base(id) NOT ENFORCED",
        "CHECK ((id > 0)) NOT ENFORCED",
        "primary key (id, during WITHOUT OVERLAPS)",
        "foreign key (room, PERIOD stay) -> vouched.room(id, PERIOD during)",
    ];
    for cluster in [cluster(), vector_cluster()] {
        let owner = superuser(cluster).await;
        owner.batch_execute(usual).await.unwrap();
        let mut told = in_usual.to_vec();
        let version = owner.query_one("SHOW server_version_num", &[]).await;
        if version.unwrap().get::<_, &str>(0) >= "180000" {
            owner.batch_execute(newer).await.unwrap();
            told.extend(in_newer);
        }
        let (sessions, agent) = agent_of(cluster, cluster.superuser());
        let caller = Caller {
            sessions,
            agent,
            shelf: Arc::new(Shelf::new(everything()).unwrap()),
        };
        let given = json!({"schema_name": "vouched"});
        let (texts, structured) = caller.done("get_schema_info", given).await;
        for told in &told {
            assert!(texts[0].contains(told), "{told}: {}", texts[0]);
        }
        let tables = structured["tables"].as_array().unwrap();
        let loose = tables
            .iter()
            .find(|table| table["name"] == "loose")
            .unwrap();
        assert_eq!(loose["columns"][0]["nullable"], true, "{loose}");
        assert_eq!(loose["constraints"][0]["unchecked"], "NOT VALID", "{loose}");
        owner
            .batch_execute("DROP SCHEMA vouched CASCADE")
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn what_shows_not_all_rows_or_none_is_told_of() {
    let owner = superuser(cluster()).await;
    let sql = "CREATE SCHEMA veiled; CREATE TABLE veiled.own (id int); ALTER TABLE veiled.own ENABLE ROW LEVEL SECURITY;
        CREATE POLICY few ON veiled.own USING (id > 1); CREATE TABLE veiled.open (id int);
        CREATE MATERIALIZED VIEW veiled.empty AS SELECT 1 AS one WITH NO DATA;
        GRANT USAGE ON SCHEMA veiled TO shop_reader; GRANT SELECT ON ALL TABLES IN SCHEMA veiled TO shop_reader";
    owner.batch_execute(sql).await.unwrap();
    let given = json!({"schema_name": "veiled"});
    let (texts, structured) = reader().done("get_schema_info", given.clone()).await;
    let own = "veiled.own (table, 0 bytes, row security: this role sees some of the rows)";
    for told in [own, "not populated", "veiled.open (table, 0 bytes)\n"] {
        assert!(texts[0].contains(told), "{told}: {}", texts[0]);
    }
    assert_eq!(
        structured["tables"][2]["row_security"], true,
        "{structured}"
    );
    // Row security does not apply to roles that bypass it.
    let all = Caller::new(cluster().superuser());
    let (texts, _) = all.done("get_schema_info", given).await;
    assert!(!texts[0].contains("row security"), "{}", texts[0]);
    owner
        .batch_execute("DROP SCHEMA veiled CASCADE")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_table_that_another_session_has_locked_holds_up_nothing() {
    let cluster = apart();
    let owner = superuser(&cluster).await;
    let sql = "CREATE SCHEMA held; CREATE TABLE held.parent (id int) PARTITION BY LIST (id);
        CREATE TABLE held.one PARTITION OF held.parent FOR VALUES IN (1); CREATE INDEX parent_id ON held.parent (id);
        CREATE TABLE held.alone (id int DEFAULT 1 + 1 CHECK (id > 0), line text); CREATE INDEX alone_id ON held.alone ((id + 1));
        CREATE TABLE held.rebuilt (id int PRIMARY KEY);
        GRANT USAGE ON SCHEMA held TO shop_reader; GRANT SELECT ON ALL TABLES IN SCHEMA held TO shop_reader";
    let locks = "BEGIN; LOCK TABLE held.one, held.alone IN ACCESS EXCLUSIVE MODE; REINDEX INDEX held.rebuilt_pkey";
    for sql in [sql, locks] {
        owner.batch_execute(sql).await.unwrap();
    }
    let (sessions, agent) = agent_of(&cluster, "shop_reader");
    let caller = Caller {
        sessions,
        agent,
        shelf: Arc::new(Shelf::new(everything()).unwrap()),
    };
    for given in [
        json!({}),
        json!({"schema_name": "held"}),
        json!({"schema_name": "held", "table_name": "alone"}),
        json!({"schema_name": "held", "table_name": "parent"}),
        json!({"schema_name": "held", "table_name": "one"}),
    ] {
        let began = std::time::Instant::now();
        let (texts, structured) = caller.done("get_schema_info", given.clone()).await;
        let took = began.elapsed();
        assert!(
            took < std::time::Duration::from_secs(5),
            "{given}: {took:?}"
        );
        assert!(texts[0].contains("locked by another session"), "{texts:?}");
        for table in structured["tables"].as_array().unwrap() {
            let is_held = table["schema"] == "held";
            assert_eq!(table["locked"] == true, is_held, "{table}");
            let is_sized = table.get("size_bytes").is_some();
            assert_eq!(is_sized, !is_held && table["kind"] != "view", "{table}");
        }
    }
    owner.batch_execute("ROLLBACK").await.unwrap();
    let given = json!({"schema_name": "held"});
    let (texts, _) = caller.done("get_schema_info", given).await;
    assert!(
        !texts[0].contains("locked") && texts[0].contains("default (1 + 1)"),
        "{texts:?}"
    );
}

#[tokio::test]
async fn ten_thousand_columns_are_shown_by_one_fast_query() {
    let caller = Caller::new(cluster().superuser());
    let owner = superuser(cluster()).await;
    owner
        .batch_execute(
            "CREATE SCHEMA wide; DO $$ DECLARE t int; BEGIN FOR t IN 1..200 LOOP \
             EXECUTE format('CREATE TABLE wide.t%s (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, %s, UNIQUE (c2, c3))', t, \
               (SELECT string_agg(format('c%s %s', c, CASE WHEN c % 20 = 0 THEN 'int DEFAULT 0' \
                                                WHEN c % 3 = 0 THEN 'varchar(80) NOT NULL' ELSE 'timestamptz' END), ', ') \
                FROM generate_series(2, 50) c)); \
             END LOOP; END $$",
        )
        .await
        .unwrap();
    let (_, structured) = caller
        .done("get_schema_info", json!({"schema_name": "wide"}))
        .await;
    let tables = structured["tables"].as_array().unwrap();
    let columns: usize = tables
        .iter()
        .map(|table| table["columns"].as_array().unwrap().len())
        .sum();
    assert_eq!(
        (tables.len(), columns, &structured["summary"]),
        (200, 10_000, &json!(false))
    );

    // This measures PostgreSQL's processor time, as the machine may have more to do. The aim is 50 ms; the rest is for
    // processors that are shared.
    let query = owner.prepare(get_schema_info::TABLES).await.unwrap();
    let (schema, none): (Option<&str>, Option<&str>) = (Some("wide"), None);
    let (no, yes, few, columns, tables) = (false, true, 10_i64, 10_000_i64, 1_000_i64);
    let (schemas, children) = (50_i64, 20_i32);
    let pid: i32 = owner
        .query_one("SELECT pg_backend_pid()", &[])
        .await
        .unwrap()
        .get(0);
    let before = processor_time(pid);
    const RUNS: u32 = 10;
    for _ in 0..RUNS {
        let found = owner
            .query(
                &query,
                &[
                    &schema, &none, &no, &none, &yes, &few, &columns, &tables, &schemas, &children,
                ],
            )
            .await
            .unwrap();
        assert_eq!(found.len(), 200);
    }
    let mean = (processor_time(pid) - before) / RUNS;
    assert!(
        mean < std::time::Duration::from_millis(100),
        "took {mean:?}"
    );
    owner
        .batch_execute("DROP SCHEMA wide CASCADE")
        .await
        .unwrap();
}

#[tokio::test]
async fn schemas_are_named_also_where_none_of_their_tables_is_listed() {
    let owner = superuser(cluster()).await;
    // Their names come last, so that the tables of other tests are still listed.
    owner
        .batch_execute(
            "CREATE SCHEMA zy_plenty; CREATE SCHEMA zz_behind; CREATE TABLE zz_behind.important (id int); \
             DO $$ BEGIN FOR t IN 1..1010 LOOP EXECUTE format('CREATE TABLE zy_plenty.t%s ()', t); END LOOP; END $$",
        )
        .await
        .unwrap();
    let caller = Caller::new(cluster().superuser());
    let (texts, structured) = caller.done("get_schema_info", json!({"search": "t"})).await;
    let told = texts.concat();
    owner
        .batch_execute("DROP SCHEMA zy_plenty CASCADE; DROP SCHEMA zz_behind CASCADE")
        .await
        .unwrap();
    assert!(told.contains("zy_plenty: 1010"), "{told}");
    assert!(told.contains("zz_behind: 1"), "{told}");
    let count = structured["table_count"].as_i64().unwrap();
    assert!(count > 1_010, "{count}");
}

/// Returns the time that a process has spent on a processor, from `/proc/PID/schedstat`.
fn processor_time(pid: i32) -> std::time::Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    let nanoseconds = stat.split(' ').next().unwrap().parse().unwrap();
    std::time::Duration::from_nanos(nanoseconds)
}

#[tokio::test]
async fn the_schema_has_no_more_bytes_than_the_agent_may_have() {
    let mut caller = Caller::new(cluster().superuser());
    let owner = superuser(cluster()).await;
    owner
        .batch_execute(
            "CREATE SCHEMA narrow; CREATE TABLE narrow.a (id int PRIMARY KEY, note text); \
             CREATE TABLE narrow.b (LIKE narrow.a INCLUDING ALL); CREATE TABLE narrow.c (LIKE narrow.a)",
        )
        .await
        .unwrap();
    for (most, shown, is_cut) in [
        (1, 1, true),
        (100, 1, true),
        (200, 3, true),
        (2_000, 3, false),
    ] {
        let policy = crate::Policy {
            result_bytes: Some(most),
            ..crate::Policy::default()
        };
        caller.agent = caller.agent.clone().with_policy(policy);
        let request = json!({"schema_name": "narrow"});
        let (texts, structured) = caller.done("get_schema_info", request).await;
        let tables = structured["tables"].as_array().unwrap();
        assert_eq!(
            (tables.len(), &structured["summary"]),
            (shown, &json!(is_cut)),
            "{most}"
        );
        assert!(most == 1 || texts[0].len() <= most, "{most}: {texts:?}");
        assert_eq!(structured["table_count"], 3);
        let told = texts
            .iter()
            .any(|text| text.contains("call again with table_name"));
        assert_eq!(told, is_cut, "{most}: {texts:?}");
    }
}

#[tokio::test]
async fn every_kind_of_relation_and_every_part_is_shown() {
    let caller = Caller::new(cluster().superuser());
    let owner = superuser(cluster()).await;
    owner
        .batch_execute(
            "CREATE SCHEMA kinds; \
             CREATE TYPE kinds.mood AS ENUM ('sad', 'ok'); \
             CREATE TABLE kinds.parent (a int, b text, PRIMARY KEY (a, b)); \
             CREATE TABLE kinds.child (id bigserial, pa int, pb text DEFAULT 'x', moods kinds.mood[], \
                 FOREIGN KEY (pa, pb) REFERENCES kinds.parent (a, b), EXCLUDE USING btree (id WITH =)); \
             CREATE INDEX child_lower ON kinds.child (lower(pb)); \
             COMMENT ON TABLE kinds.child IS 'line one\nline two'; COMMENT ON COLUMN kinds.child.pb IS 'of the parent'; \
             CREATE VIEW kinds.v AS SELECT 1 AS one; CREATE MATERIALIZED VIEW kinds.m AS SELECT 2 AS two; \
             CREATE EXTENSION IF NOT EXISTS file_fdw; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw; \
             CREATE FOREIGN TABLE kinds.f (line text) SERVER files OPTIONS (filename '/dev/null'); \
             CREATE TABLE kinds.p (n int) PARTITION BY RANGE (n); \
             CREATE TABLE kinds.p1 PARTITION OF kinds.p FOR VALUES FROM (0) TO (10); \
             CREATE TABLE kinds.p2 PARTITION OF kinds.p FOR VALUES FROM (10) TO (20); \
             INSERT INTO kinds.p SELECT generate_series(0, 19); ANALYZE kinds.p1; ANALYZE kinds.p2",
        )
        .await
        .unwrap();
    let (texts, structured) = caller
        .done("get_schema_info", json!({"schema_name": "kinds"}))
        .await;
    let tables = structured["tables"].as_array().unwrap();
    let kinds: Vec<_> = tables
        .iter()
        .map(|table| {
            (
                table["name"].as_str().unwrap(),
                table["kind"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        kinds,
        [
            ("child", "table"),
            ("f", "foreign table"),
            ("m", "materialized view"),
            ("p", "partitioned table"),
            ("parent", "table"),
            ("v", "view")
        ]
    );
    assert_eq!(
        (&tables[3]["partitions"], &tables[3]["row_estimate"]),
        (&json!(2), &json!(20))
    );
    let columns = tables[0]["columns"].as_array().unwrap();
    assert_eq!(
        columns[2],
        json!({"name": "pb", "type": "text", "nullable": true, "default": "'x'::text", "comment": "of the parent"})
    );
    assert_eq!(columns[3]["labels"], json!(["sad", "ok"]));
    for part in [
        "kinds.child (table",
        "line one line two",
        "id bigint not null default nextval('kinds.child_id_seq'::regclass)",
        "foreign key (pa, pb) -> kinds.parent(a, b)",
        "EXCLUDE USING btree (id WITH =)",
        "lower(pb)",
        "primary key (a, b)",
        "-- of the parent",
    ] {
        assert!(texts[0].contains(part), "no {part} in {}", texts[0]);
    }
    owner
        .batch_execute("DROP SCHEMA kinds CASCADE; DROP EXTENSION file_fdw CASCADE")
        .await
        .unwrap();
}
