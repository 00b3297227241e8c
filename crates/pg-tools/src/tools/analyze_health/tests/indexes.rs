//! Indexes that are bloated, and indexes that another one makes superfluous.

use super::*;

#[tokio::test]
async fn an_index_is_not_bloated_where_widths_are_not_known_or_space_was_asked_for() {
    ill().await;
    let admin = superuser(counting_cluster()).await;
    for sql in [
        "CREATE TABLE ward.unmeasured (line text) WITH (autovacuum_enabled = off);
         INSERT INTO ward.unmeasured SELECT repeat(md5(i::text), 6) FROM generate_series(1, 10000) i;
         CREATE INDEX unmeasured_line ON ward.unmeasured (line);
         CREATE TABLE ward.spacious (id int);
         INSERT INTO ward.spacious SELECT generate_series(1, 30000);
         CREATE INDEX spacious_id ON ward.spacious (id) WITH (fillfactor = 20)",
        "VACUUM (ANALYZE) ward.spacious",
    ] {
        admin.batch_execute(sql).await.unwrap();
    }
    let (_, structured) = findings("watcher", 0.01, &["index_bloat"]).await;
    for subject in ["unmeasured_line", "spacious_id"] {
        assert_eq!(about(&structured, subject), [""; 0], "{subject}");
    }
}

#[tokio::test]
async fn of_indexes_that_serve_the_same_one_is_kept_and_not_called_unused() {
    let cluster = apart();
    let admin = superuser(&cluster).await;
    for sql in [
        "CREATE EXTENSION pg_trgm; CREATE SCHEMA shelf;
         CREATE TABLE shelf.book (id int PRIMARY KEY, shelf int, place int NOT NULL, title text, year int);
         INSERT INTO shelf.book SELECT i, i / 10, i, i::text, i / 100 FROM generate_series(1, 10000) i;
         CREATE INDEX shelf_older ON shelf.book (shelf); CREATE INDEX year_short ON shelf.book (year);
         CREATE INDEX title_one ON shelf.book (title); CREATE INDEX title_two ON shelf.book (title);
         CREATE INDEX title_three ON shelf.book (title, year); CREATE INDEX title_four ON shelf.book (title, shelf, year);
         CREATE UNIQUE INDEX book_id ON shelf.book (id);
         CREATE UNIQUE INDEX place_one ON shelf.book (place); CREATE UNIQUE INDEX place_two ON shelf.book (place);
         CREATE UNIQUE INDEX place_title ON shelf.book (place, title);
         CREATE UNIQUE INDEX early ON shelf.book (title) WHERE year < 9; CREATE UNIQUE INDEX late ON shelf.book (title) WHERE year > 9;
         CREATE TABLE shelf.loan (place int REFERENCES shelf.book (place));
         CREATE TABLE shelf.label (place int NOT NULL);
         CREATE UNIQUE INDEX label_one ON shelf.label (place); CREATE UNIQUE INDEX label_two ON shelf.label (place);
         ALTER TABLE shelf.label REPLICA IDENTITY USING INDEX label_two;
         CREATE INDEX coarse ON shelf.book USING brin (id) WITH (pages_per_range = 128);
         CREATE INDEX fine ON shelf.book USING brin (id) WITH (pages_per_range = 4);
         CREATE INDEX letters ON shelf.book USING gist (title gist_trgm_ops);
         CREATE INDEX more_letters ON shelf.book USING gist (title gist_trgm_ops (siglen = 256));
         CREATE INDEX most_letters ON shelf.book USING gist (title gist_trgm_ops (siglen = 256)) WITH (fillfactor = 70);
         CREATE TABLE shelf.sliced (a int, b int) PARTITION BY LIST (a);
         CREATE TABLE shelf.slice PARTITION OF shelf.sliced FOR VALUES IN (1);
         CREATE TABLE shelf.other_slice PARTITION OF shelf.sliced FOR VALUES IN (2);
         CREATE INDEX sliced_one ON shelf.sliced (b); CREATE INDEX sliced_two ON shelf.sliced (b);
         INSERT INTO shelf.sliced SELECT 1 + i % 2, i FROM generate_series(1, 5000) i;
         ANALYZE; SET enable_seqscan = off; SET enable_bitmapscan = off",
        "CREATE INDEX shelf_younger ON shelf.book (shelf); CREATE INDEX year_long ON shelf.book (year, place)",
        "BEGIN; DROP INDEX shelf.shelf_older, shelf.year_long",
        "SELECT count(*) FROM shelf.book WHERE shelf = 7; SELECT count(*) FROM shelf.book WHERE year = 7",
        "ROLLBACK; SELECT pg_stat_force_next_flush()",
    ] {
        admin.batch_execute(sql).await.unwrap();
    }
    let checks = json!({ "checks": ["duplicate_indexes", "unused_indexes"], "limit": 100 });
    let trial = trial(&cluster, "shop_reader", 0.0);
    let (text, structured) = trial.done("analyze_health", checks).await;
    let told = |check: &str, subject: &str| {
        let findings = structured["findings"].as_array().unwrap().iter();
        let of_check = findings.filter(|finding| {
            finding["check"] == check && finding["subject"] == format!("shelf.{subject}")
        });
        let texts =
            of_check.map(|finding| format!("{} => {}", finding["finding"], finding["next_step"]));
        texts.collect::<Vec<_>>()
    };
    for (index, kept) in [
        ("shelf_older", "the same as shelf_younger"),
        ("year_short", "the beginning of year_long"),
        ("title_one", "the beginning of title_four"),
        ("title_two", "the beginning of title_four"),
        ("book_id", "the same as book_pkey"),
        ("place_two", "the same as place_one"),
        ("label_one", "the same as label_two"),
        ("most_letters", "the same as more_letters"),
        ("sliced_two", "the same as sliced_one"),
    ] {
        let told = told("duplicate_indexes", index);
        assert!(
            told.len() == 1 && told[0].contains(kept),
            "{index}: {told:?}\n{text}"
        );
    }
    assert!(text.contains("DROP INDEX shelf.sliced_two"), "{text}");
    for index in [
        "shelf_younger",
        "year_long",
        "title_three",
        "title_four",
        "book_pkey",
        "place_one",
        "place_title",
        "early",
        "late",
        "label_two",
        "coarse",
        "fine",
        "letters",
        "more_letters",
        "sliced_one",
        "slice_b_idx",
        "slice_b_idx1",
    ] {
        assert_eq!(told("duplicate_indexes", index), [""; 0], "{index}: {text}");
    }
    for index in ["shelf_younger", "year_long"] {
        assert_eq!(told("unused_indexes", index), [""; 0], "{index}: {text}");
    }
    assert_eq!(told("unused_indexes", "title_four").len(), 1, "{text}");
}

#[tokio::test]
async fn indexes_that_find_with_different_care_or_treat_nulls_differently_are_not_the_same() {
    let cluster = vector_cluster();
    let admin = superuser(cluster).await;
    let version = admin.query_one("SHOW server_version_num", &[]).await;
    let version: String = version.unwrap().get(0);
    let sql = "CREATE SCHEMA near; CREATE TABLE near.spot (at public.vector(2), name text);
        CREATE INDEX spot_hasty ON near.spot USING hnsw (at public.vector_l2_ops) WITH (m = 8);
        CREATE INDEX spot_careful ON near.spot USING hnsw (at public.vector_l2_ops) WITH (m = 32);
        CREATE UNIQUE INDEX spot_name ON near.spot (name)";
    admin.batch_execute(sql).await.unwrap();
    if version.parse::<u32>().unwrap() >= 150_000 {
        let sql = "CREATE UNIQUE INDEX spot_null ON near.spot (name) NULLS NOT DISTINCT";
        admin.batch_execute(sql).await.unwrap();
    }
    let checks = json!({ "checks": ["duplicate_indexes"] });
    let trial = trial(cluster, "shop_reader", 1.0);
    let (_, structured) = trial.done("analyze_health", checks).await;
    assert_eq!(about(&structured, "near.spot"), [""; 0]);
}
