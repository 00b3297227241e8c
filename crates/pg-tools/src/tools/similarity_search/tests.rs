//! Searches on a real PostgreSQL with pgvector.

use std::{fmt::Write as _, time::Duration};

use model_client::{Embeddings, Endpoint, Key, Limits};
use serde_json::json;
use tokio::sync::OnceCell;

use super::*;
use crate::{
    Policy, Settings,
    bench::{superuser, vector_cluster},
    stub::{Said, Stub},
    tools::trial::Trial,
};

const DIMENSIONS: usize = 64;

/// Things and what is said about them: every pair is a document.
const THINGS: [&str; 10] = [
    "tent",
    "rain jacket",
    "sleeping bag",
    "climbing rope",
    "head torch",
    "stove",
    "water filter",
    "hiking boots",
    "backpack",
    "compass",
];
const SAYINGS: [&str; 10] = [
    "keeps dry in heavy rain and storm",
    "weighs next to nothing on long walks",
    "works below freezing on winter nights",
    "is loved by families with small children",
    "was returned because of a broken zip",
    "shines with a battery that lasts for weeks",
    "packs into the smallest pocket",
    "cooks dinner for four in ten minutes",
    "survived a season on granite and ice",
    "comes in green, blue and orange",
];

/// Returns a vector of a text: its words, counted in as many buckets as there are dimensions.
fn embed(text: &str) -> Vec<f32> {
    let mut vector = vec![0.01_f32; DIMENSIONS];
    for word in text.to_lowercase().split(|c: char| !c.is_alphanumeric()) {
        let hash = word.bytes().fold(7_usize, |hash, byte| {
            hash.wrapping_mul(31).wrapping_add(usize::from(byte))
        });
        // A number says little, but no two documents are the same.
        let weight = match word.parse::<u16>() {
            Ok(number) => f32::from(number) / 500.0,
            Err(_) if word.len() > 2 => 1.0,
            Err(_) => 0.0,
        };
        vector[hash % DIMENSIONS] += weight;
    }
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    vector.iter().map(|x| x / length).collect()
}

fn written(vector: &[f32]) -> String {
    format!("{vector:?}")
}

/// Creates 6,000 documents with an index of each kind, once.
async fn documents() -> &'static private_postgres::Cluster {
    static MADE: OnceCell<()> = OnceCell::const_new();
    let cluster = vector_cluster();
    MADE.get_or_init(|| async {
        let mut values = Vec::new();
        for number in 0..6_000 {
            let (thing, saying) = (THINGS[number % 10], SAYINGS[number / 10 % 10]);
            let body = format!("{thing} number {} {saying}", number / 100);
            let vector = written(&embed(&body));
            values.push(format!("({number}, '{thing}', '{body}', {}, '{vector}')", number % 100));
        }
        let mut sql = format!(
            "CREATE SCHEMA library; GRANT USAGE ON SCHEMA library TO shop_reader;
             CREATE TABLE library.documents (
                 id int PRIMARY KEY, title text NOT NULL, body text NOT NULL, shelf int NOT NULL,
                 embedding public.vector({DIMENSIONS}), secret text DEFAULT 'canary',
                 words tsvector GENERATED ALWAYS AS (to_tsvector('english', title || ' ' || body)) STORED);
             INSERT INTO library.documents (id, title, body, shelf, embedding) VALUES {};",
            values.join(",")
        );
        let classes = [
            ("ivf", "vector(64)", "USING ivfflat (embedding public.vector_l2_ops) WITH (lists = 20)"),
            ("halves", "halfvec(64)", "USING hnsw (embedding public.halfvec_cosine_ops)"),
            ("sparse", "sparsevec(64)", "USING hnsw (embedding public.sparsevec_cosine_ops)"),
            ("casts", "vector(64)", "USING hnsw ((embedding::public.halfvec(64)) public.halfvec_ip_ops)"),
            ("bare", "vector(64)", ""),
        ];
        for (name, kind, index) in classes {
            _ = write!(
                sql,
                "CREATE TABLE library.{name} AS SELECT id, body, embedding::public.{kind} FROM library.documents;"
            );
            if !index.is_empty() {
                _ = write!(sql, "CREATE INDEX {name}_ann ON library.{name} {index};");
            }
        }
        sql.push_str(
            "CREATE INDEX documents_ann ON library.documents USING hnsw (embedding public.vector_cosine_ops);
             CREATE INDEX documents_words ON library.documents USING gin (words);
             CREATE TABLE library.parts (id int, body text, embedding public.vector(64)) PARTITION BY HASH (id);
             CREATE TABLE library.parts_0 PARTITION OF library.parts FOR VALUES WITH (MODULUS 2, REMAINDER 0);
             CREATE TABLE library.parts_1 PARTITION OF library.parts FOR VALUES WITH (MODULUS 2, REMAINDER 1);
             INSERT INTO library.parts SELECT id, body, embedding FROM library.documents;
             CREATE INDEX ON library.parts USING hnsw (embedding public.vector_cosine_ops);
             CREATE VIEW library.seen AS SELECT id, body, embedding FROM library.documents WHERE shelf < 50;
             CREATE TABLE library.\"Odd.Name\" (id int, \"the text\" text, embedding public.vector(2));
             INSERT INTO library.\"Odd.Name\" VALUES (1, E'a\\tb', '[1,0]'), (2, NULL, '[0,1]'), (3, 'none', NULL), (4, 'zero', '[0,0]');
             CREATE TABLE library.twins (kind text, embedding public.vector(3));
             INSERT INTO library.twins SELECT 'tent', format('[1,0.2,0.1%s]', i)::public.vector FROM generate_series(1, 9) i;
             INSERT INTO library.twins VALUES ('tarp', '[0.6,1,0]'), ('stove', '[0.5,0,1]');
             CREATE TABLE library.several (id int, embedding public.vector);
             INSERT INTO library.several VALUES (1, '[1,0,0]'), (2, '[0,1,0]'), (3, '[1,0]');
             CREATE TABLE library.long AS SELECT 1 AS id, array_fill(1.0, ARRAY[3072])::public.vector(3072) AS embedding;
             CREATE TABLE library.longest AS SELECT 1 AS id, array_fill(1.0, ARRAY[4001])::public.vector(4001) AS embedding;
             CREATE TABLE library.plain (id int);
             GRANT SELECT ON ALL TABLES IN SCHEMA library TO shop_reader;
             REVOKE SELECT ON library.documents FROM shop_reader;
             GRANT SELECT (id, title, body, shelf, embedding, words) ON library.documents TO shop_reader;",
        );
        superuser(cluster).await.batch_execute(&sql).await.unwrap();
        superuser(cluster).await.batch_execute("ANALYZE").await.unwrap();
    })
    .await;
    cluster
}

async fn reader() -> Trial {
    Trial::new(documents().await, "shop_reader", Settings::default())
}

fn embedding(endpoint: Endpoint, dimensions: Option<usize>) -> Settings {
    let endpoint = endpoint
        .with_key(Key::new("sk-canary").unwrap())
        .with_limits(Limits {
            first_wait: Duration::from_millis(1),
            ..Limits::default()
        });
    let embedder = Embedder::new(Embeddings::OpenAi, endpoint, dimensions).unwrap();
    Settings {
        embedder: Some(Arc::new(embedder)),
        ..Settings::default()
    }
}

fn ids(structured: &Value) -> Vec<i64> {
    let results = structured["results"].as_array().unwrap().iter();
    results
        .map(|row| row["values"]["id"].as_str().unwrap().parse().unwrap())
        .collect()
}

#[test]
fn the_index_is_read_from_the_plan() {
    let plan = [
        "Sort",
        "  CTE near",
        "    ->  Limit",
        "          ->  Index Scan using docs_ann on docs",
        "                Order By: (embedding <=> '[1]'::vector)",
    ];
    assert_eq!(index_in(&plan).as_deref(), Some("docs_ann"));
    assert_eq!(index_in(&plan[..4]), None);
    assert_eq!(index_in(&["Seq Scan on docs"]), None);
}

#[tokio::test]
async fn the_nearest_rows_come_by_the_index_of_every_kind() {
    let trial = reader().await;
    let question = embed("tent keeps dry in heavy rain and storm");
    for (table, metric, index) in [
        ("documents", "cosine", "documents_ann"),
        ("ivf", "l2", "ivf_ann"),
        ("halves", "cosine", "halves_ann"),
        ("sparse", "cosine", "sparse_ann"),
        ("casts", "inner_product", "casts_ann"),
    ] {
        let given = json!({
            "table_name": format!("library.{table}"), "query_vector": question, "lambda": 1, "output_format": "full",
            "columns": ["id", "body"], "max_output_tokens": 5000,
        });
        let (text, structured) = trial.done("similarity_search", given).await;
        assert_eq!(
            structured["index"], index,
            "a sequential scan of {table}: {text}"
        );
        assert_eq!(structured["distance_metric"], metric);
        assert_eq!(structured["words_searched"], "no");
        let results = structured["results"].as_array().unwrap();
        assert_eq!(results.len(), 10);
        for row in results {
            let body = row["values"]["body"].as_str().unwrap();
            assert!(
                body.starts_with("tent") && body.contains("dry"),
                "{table}: {body}"
            );
        }
        let distances: Vec<_> = results
            .iter()
            .map(|row| row["distance"].as_f64().unwrap())
            .collect();
        assert!(distances.is_sorted(), "{table}: {distances:?}");
    }
}

#[tokio::test]
async fn partitioned_tables_views_and_bare_tables_are_searched() {
    let trial = reader().await;
    let question = embed("compass comes in green, blue and orange");
    let admin = superuser(vector_cluster()).await;
    for (table, index, needle) in [
        ("library.parts", "parts_", "Found by the index"),
        ("library.seen", "documents_ann", "Found by the index"),
        (
            "library.bare",
            "",
            "CREATE INDEX ON library.bare USING hnsw (embedding vector_cosine_ops)",
        ),
    ] {
        let given = json!({
            "table_name": table, "query_vector": question, "top_n": 5, "lambda": 1, "columns": ["id", "body"],
            "max_output_tokens": 9000,
        });
        let (text, structured) = trial.done("similarity_search", given).await;
        assert!(text.contains(needle), "{table}: {text}");
        let used = structured["index"].as_str().unwrap_or_default();
        assert!(used.starts_with(index), "{table}: {text}");
        let exact = format!(
            "SELECT id FROM {table} ORDER BY (embedding OPERATOR(public.<=>) '{}'::public.vector) + 0, id LIMIT 5",
            written(&question)
        );
        let exact = admin.query(&exact, &[]).await.unwrap();
        let exact: Vec<i64> = exact
            .iter()
            .map(|row| row.get::<_, i32>(0).into())
            .collect();
        let found = ids(&structured);
        let right = found.iter().filter(|id| exact.contains(id)).count();
        assert!(right >= 4, "{table}: {found:?} for {exact:?}");
    }
}

#[tokio::test]
async fn a_plan_without_the_index_is_told() {
    let cluster = documents().await;
    let admin = superuser(cluster).await;
    admin
        .batch_execute("CREATE ROLE no_index LOGIN IN ROLE shop_reader; ALTER ROLE no_index SET enable_indexscan = off; GRANT USAGE ON SCHEMA library TO no_index; GRANT SELECT ON library.halves TO no_index")
        .await
        .unwrap();
    let trial = Trial::new(cluster, "no_index", Settings::default());
    let given = json!({"table_name": "library.halves", "query_vector": embed("tent"), "top_n": 1});
    let (text, structured) = trial.done("similarity_search", given).await;
    assert_eq!(structured["index"], Value::Null);
    assert!(text.contains("not the index halves_ann"), "{text}");
}

#[tokio::test]
async fn a_filter_counts_before_the_rows_do() {
    let trial = reader().await;
    // One row in a hundred, far from what is searched for: the index has to continue.
    let given = json!({
        "table_name": "library.documents", "query_vector": embed("tent keeps dry in heavy rain and storm"),
        "filter": "shelf = 57 -- a comment", "top_n": 20, "columns": ["id", "shelf"],
    });
    let (text, structured) = trial.done("similarity_search", given).await;
    let results = structured["results"].as_array().unwrap();
    assert_eq!(results.len(), 20, "{text}");
    assert!(
        results.iter().all(|row| row["values"]["shelf"] == "57"),
        "{text}"
    );
}

#[tokio::test]
async fn a_vector_of_zeros_is_near_to_nothing_by_its_direction() {
    let trial = reader().await;
    for (table, zeros) in [
        ("library.Odd.Name", json!([0, 0])),
        ("library.sparse", json!("{}/64")),
    ] {
        let given = json!({"table_name": table, "query_vector": zeros});
        let failure = trial.failed("similarity_search", given).await;
        assert!(failure.contains("distance_metric l2"), "{failure}");
    }
    let given =
        json!({"table_name": "library.Odd.Name", "query_vector": [0, 0], "distance_metric": "l2"});
    let (text, _) = trial.done("similarity_search", given).await;
    assert!(text.contains("1. distance 0.0000"), "{text}");
}

#[tokio::test]
async fn vectors_of_other_dimensions_are_left_out_by_a_filter_that_the_error_names() {
    let trial = reader().await;
    let given = |filter: Option<&str>| json!({"table_name": "library.several", "query_vector": [1, 0, 0], "filter": filter});
    let failure = trial.failed("similarity_search", given(None)).await;
    let filter = "public.vector_dims(embedding) = 3";
    assert!(failure.ends_with(filter), "{failure}");
    let (text, structured) = trial.done("similarity_search", given(Some(filter))).await;
    assert_eq!(structured["results"].as_array().unwrap().len(), 2, "{text}");
}

#[tokio::test]
async fn the_index_that_is_advised_can_be_made() {
    let trial = reader().await;
    let owner = superuser(documents().await).await;
    for (table, dimensions, filter) in [
        ("library.bare", 64, "true"),
        ("library.several", 3, "public.vector_dims(embedding) = 3"),
        ("library.long", 3072, "true"),
    ] {
        let given =
            json!({"table_name": table, "query_vector": vec![1; dimensions], "filter": filter});
        let (text, _) = trial.done("similarity_search", given.clone()).await;
        let (_, step) = text.split_once("next step: ").unwrap();
        let (make, _) = step
            .split_once(".\n")
            .unwrap_or((step.trim_end_matches('.'), ""));
        let make = format!("BEGIN; SET LOCAL search_path = public; {make}; ROLLBACK");
        owner
            .batch_execute(&make)
            .await
            .unwrap_or_else(|error| panic!("{make}: {error:?}"));
    }
    let given = json!({"table_name": "library.longest", "query_vector": vec![1; 4001]});
    let (text, _) = trial.done("similarity_search", given).await;
    assert!(text.contains("no index for 4001 dimensions"), "{text}");
}

#[tokio::test]
async fn a_filter_cannot_leave_its_place() {
    let trial = reader().await;
    for filter in [
        "true) UNION ALL (SELECT 1",
        "true) OR (true",
        "true) ORDER BY 1 LIMIT 1; DELETE FROM library.plain; --",
        "true] = ARRAY[true",
        "pg_notify('a', 'b') IS NULL",
        "pg_terminate_backend(1)",
        "$1 = $2",
        "secret = 'canary'",
        "1 = 1 /*",
        "1",
    ] {
        let given = json!({"table_name": "library.documents", "query_vector": embed("tent"), "filter": filter});
        trial.failed("similarity_search", given).await;
    }
}

#[tokio::test]
async fn a_text_is_embedded_and_its_words_are_looked_for_too() {
    let stub = Stub::embedding(embed);
    let settings = embedding(
        Endpoint::new("m").with_url(stub.url("/v1")),
        Some(DIMENSIONS),
    );
    let trial = Trial::new(documents().await, "shop_reader", settings);
    let given = json!({
        "table_name": "library.documents", "query_text": "which stoves cook a dinner?", "top_n": 5, "columns": ["id", "body"],
        "max_output_tokens": 5000,
    });
    let (text, structured) = trial.done("similarity_search", given).await;
    assert_eq!(
        stub.seen()[0].body["input"],
        json!(["which stoves cook a dinner?"])
    );
    assert_eq!(structured["words_searched"], "everywhere");
    // No word of the question is written as in the documents: only stems fit.
    let first = &structured["results"][0];
    assert!(
        first["values"]["body"].as_str().unwrap().contains("stove"),
        "{text}"
    );
    assert!(first["word_rank"].is_u64(), "{text}");
    assert!(structured["index"] == "documents_ann", "{text}");

    let (text, structured) = trial
        .done(
            "similarity_search",
            json!({"table_name": "library.seen", "query_text": "tent", "filter": "id < 0"}),
        )
        .await;
    assert_eq!(structured["results"], json!([]), "{text}");
}

#[tokio::test]
async fn what_is_alike_comes_later_when_diversity_counts() {
    let trial = reader().await;
    let kinds = async |lambda: f64| {
        let given = json!({
            "table_name": "library.twins", "query_vector": [1, 0.2, 0.1], "lambda": lambda, "top_n": 4, "columns": ["kind"],
        });
        let (_, structured) = trial.done("similarity_search", given).await;
        let results = structured["results"].as_array().unwrap().iter();
        results
            .map(|row| row["values"]["kind"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(kinds(1.0).await, ["tent"; 4]);
    let diverse = kinds(0.3).await;
    assert_eq!(diverse[0], "tent", "the best stays the first");
    assert!(
        diverse.contains(&"tarp".to_owned()) && diverse.contains(&"stove".to_owned()),
        "{diverse:?}"
    );
}

#[tokio::test]
async fn without_a_model_a_text_needs_a_vector_beside_it() {
    let trial = reader().await;
    let failure = trial
        .failed(
            "similarity_search",
            json!({"table_name": "library.documents", "query_text": "tent"}),
        )
        .await;
    assert!(
        failure.contains("give query_vector") && failure.contains("embedding:"),
        "{failure}"
    );
    let given = json!({"table_name": "library.documents", "query_text": "zip", "query_vector": embed("tent")});
    let (_, structured) = trial.done("similarity_search", given).await;
    assert_eq!(structured["words_searched"], "everywhere");
}

#[tokio::test]
async fn a_model_that_fails_or_does_not_fit_is_told_without_its_key() {
    let stub = Stub::start(|_| {
        Said::Json(
            401,
            Vec::new(),
            json!({"error": {"message": "bad key sk-canary"}}),
        )
    });
    let other = Stub::embedding(|_| vec![1.0, 2.0]);
    for (stub, dimensions, needle) in [
        (&stub, None, "refused the key"),
        (
            &other,
            None,
            "the vector has 2 dimensions, which fits no vector column",
        ),
        (&other, Some(64), "2 dimensions where 64 are configured"),
    ] {
        let settings = embedding(Endpoint::new("m").with_url(stub.url("")), dimensions);
        let trial = Trial::new(documents().await, "shop_reader", settings);
        let given = json!({"table_name": "library.documents", "query_text": "tent"});
        let failure = trial.failed("similarity_search", given).await;
        assert!(failure.contains(needle), "{failure}");
        assert!(!failure.contains("canary"), "{failure}");
    }
}

#[tokio::test]
async fn an_answer_has_no_more_tokens_than_it_may_have() {
    let trial = reader().await;
    for (format, tokens) in [
        ("full", 100),
        ("summary", 300),
        ("full", 2_000),
        ("ids_only", 100),
    ] {
        let given = json!({
            "table_name": "library.documents", "query_vector": embed("tent"), "top_n": 100, "output_format": format,
            "max_output_tokens": tokens,
        });
        let (text, structured) = trial.done("similarity_search", given).await;
        let data: usize = structured["results"].to_string().len() / 4;
        assert!(
            text.len() / 4 < tokens + 120,
            "{format} {tokens}: {}",
            text.len() / 4
        );
        assert!(data < tokens + tokens / 4, "{format} {tokens}: {data}");
        assert_eq!(structured["truncated"], true, "{format} {tokens}");
        assert!(text.contains("max_output_tokens"), "{text}");
    }
}

#[tokio::test]
async fn odd_rows_and_names_are_shown_as_they_are() {
    let trial = reader().await;
    let given = json!({"table_name": "library.Odd.Name", "query_vector": "[1, 0]", "lambda": 1});
    let (text, structured) = trial.done("similarity_search", given).await;
    assert_eq!(ids(&structured)[..2], [1, 2], "{text}");
    assert_eq!(structured["results"][0]["values"]["the text"], "a\tb");
    assert_eq!(structured["results"][1]["values"]["the text"], Value::Null);
    let given = json!({"table_name": "library.Odd.Name", "query_vector": "[1, 0]", "columns": ["id", "id"]});
    let (text, _) = trial.done("similarity_search", given).await;
    assert_eq!(text.matches("id: 1").count(), 1, "{text}");
    let without: Vec<_> = structured["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["distance"].is_null())
        .collect();
    assert_eq!(
        without,
        [false, false, true, true],
        "no vector, and one without a direction"
    );
}

#[tokio::test]
async fn what_cannot_be_searched_is_told_with_what_can() {
    let trial = reader().await;
    for (given, needle) in [
        (
            json!({"table_name": "nothing", "query_vector": [1]}),
            "tables with vectors are library",
        ),
        (
            json!({"table_name": "library.plain", "query_vector": [1]}),
            "no column of pgvector's types",
        ),
        (
            json!({"table_name": "library.documents", "query_vector": [1]}),
            "embedding (vector, 64 dimensions)",
        ),
        (
            json!({"table_name": "library.documents", "query_vector": embed("a"), "columns": ["boddy"]}),
            "did you mean \"body\"?",
        ),
        (
            json!({"table_name": "library.documents", "query_vector": embed("a"), "columns": ["secret"]}),
            "no column \"secret\"",
        ),
        (
            json!({"table_name": "library.documents", "query_vector": embed("a"), "columns": ["x".repeat(20_000)]}),
            "it has id, title",
        ),
        (
            json!({"table_name": "library.documents", "query_vector": embed("a"), "columns": vec!["id"; 20_000]}),
            "names 20000 columns",
        ),
        (
            json!({"table_name": "library.bare", "query_vector": embed("a"), "output_format": "ids_only"}),
            "no primary key",
        ),
        (
            json!({"table_name": "library.documents"}),
            "query_text is missing",
        ),
        (
            json!({"table_name": "library.documents", "query_vector": embed("a"), "distance_metric": "hamming"}),
            "must be one of cosine",
        ),
        (
            json!({"table_name": "library.documents", "query_vector": embed("a"), "lambda": 2}),
            "from 0 to 1",
        ),
        (
            json!({"table_name": "library.documents", "query_vector": embed("a"), "top_n": 0}),
            "from 1 to 100",
        ),
    ] {
        let failure = trial.failed("similarity_search", given.clone()).await;
        assert!(failure.contains(needle), "{given}: {failure}");
    }
}

#[tokio::test]
async fn an_agent_with_a_list_of_schemas_searches_no_table_of_another() {
    let admin = superuser(documents().await).await;
    let sql = "CREATE SCHEMA reserve; GRANT USAGE ON SCHEMA reserve TO shop_reader;
         CREATE TABLE reserve.t AS SELECT 'canary' AS word, '[1,0]'::public.vector(2) AS embedding;
         CREATE VIEW library.over_reserve AS SELECT * FROM reserve.t;
         GRANT SELECT ON reserve.t, library.over_reserve TO shop_reader";
    admin.batch_execute(sql).await.unwrap();
    let policy = Policy {
        schemas: Some(["library".to_owned()].into()),
        ..Policy::default()
    };
    let (free, bound) = (reader().await, reader().await.with_policy(policy));
    let given = |table: &str| json!({"table_name": table, "query_vector": [1, 0]});
    for (table, why) in [
        ("reserve.t", "there is no table"),
        ("library.over_reserve", "may not use reserve.t"),
    ] {
        let (text, _) = free.done("similarity_search", given(table)).await;
        assert!(text.contains("canary"), "{table}: {text}");
        let failure = bound.failed("similarity_search", given(table)).await;
        assert!(failure.contains(why), "{table}: {failure}");
    }
    for (trial, told) in [(&free, true), (&bound, false)] {
        let failure = trial.failed("similarity_search", given("nothing")).await;
        assert_eq!(failure.contains("reserve.t"), told, "{failure}");
    }
    let own = json!({"table_name": "library.bare", "query_vector": embed("tent"), "top_n": 1});
    bound.done("similarity_search", own).await;
}

#[tokio::test]
async fn nothing_is_left_set_after_a_search() {
    let trial = reader().await;
    let given = json!({"table_name": "library.documents", "query_vector": embed("tent"), "filter": "shelf = 1"});
    trial.done("similarity_search", given).await;
    let (text, _) = trial
        .done("query_database", json!({"query": "SELECT current_setting('hnsw.ef_search', true), current_setting('hnsw.iterative_scan', true)"}))
        .await;
    assert!(text.contains("40") && text.contains("off"), "{text}");
}

#[tokio::test]
async fn an_agent_gets_no_more_rows_and_bytes_than_its_policy_allows() {
    let given = json!({
        "table_name": "library.documents", "query_vector": embed("tent"), "top_n": 100, "max_output_tokens": 50_000,
        "columns": ["id", "body"],
    });
    let policy = Policy {
        rows: Some(3),
        ..Policy::default()
    };
    let few = reader().await.with_policy(policy);
    let (text, structured) = few.done("similarity_search", given.clone()).await;
    assert_eq!(ids(&structured).len(), 3, "{text}");
    assert_eq!(structured["truncated"], true);
    assert!(text.contains("may have 3 row(s)"), "{text}");
    assert_eq!(few.rows_given(), 3);

    let policy = Policy {
        result_bytes: Some(2_048),
        ..Policy::default()
    };
    let small = reader().await.with_policy(policy);
    let (text, structured) = small.done("similarity_search", given).await;
    assert_eq!(structured["truncated"], true);
    // The answer says, besides the rows, how they were found.
    for size in [structured["results"].to_string().len(), text.len() - 200] {
        assert!(size <= 2_048 + 256, "{size}: {text}");
    }
}

#[tokio::test]
async fn a_column_of_a_domain_is_searched_as_what_the_domain_is_over() {
    let owner = superuser(documents().await).await;
    let sql = "CREATE SCHEMA domains; CREATE DOMAIN domains.embedding AS public.vector(3) CHECK (public.vector_norm(VALUE) > 0);
        CREATE TABLE domains.thing (id int PRIMARY KEY, name text, embedding domains.embedding);
        INSERT INTO domains.thing VALUES (1, 'far', '[0,0,1]'), (2, 'near', '[1,0.1,0]');
        GRANT USAGE ON SCHEMA domains TO shop_reader; GRANT SELECT ON domains.thing TO shop_reader";
    owner.batch_execute(sql).await.unwrap();
    let trial = Trial::new(documents().await, "shop_reader", Settings::default());
    let given = json!({"table_name": "domains.thing", "query_vector": [1, 0, 0], "top_n": 1});
    let (text, _) = trial.done("similarity_search", given).await;
    assert!(text.contains("near"), "{text}");
    let wrong = json!({"table_name": "domains.thing", "query_vector": [1, 0]});
    let failure = trial.failed("similarity_search", wrong).await;
    assert!(failure.contains('3'), "{failure}");
    let nowhere = json!({"table_name": "domains.other", "query_vector": [1, 0]});
    let failure = trial.failed("similarity_search", nowhere).await;
    assert!(failure.contains("domains.thing"), "{failure}");
    owner
        .batch_execute("DROP SCHEMA domains CASCADE")
        .await
        .unwrap();
}
