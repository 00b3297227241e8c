//! `top_queries`: the statements that cost a database most, as pg_stat_statements counts them.

use std::{fmt::Write as _, sync::Arc};

use serde_json::{Value, json};
use tokio_postgres::{Row, types::Type};

use super::{Answer, Call, Definition, Effect, Failure, Found, Offer, Tool, all_stats, keep_first};
use crate::{
    Agent,
    read_only::{OWN, ReadError, Reader},
    render::row_count,
};

const DEFINITION: Definition<'_> = Definition {
    name: "top_queries",
    title: "Find the most expensive queries",
    description: "The statements of this database that cost most, from pg_stat_statements, constants replaced by $1, $2.",
    input_schema: r#"{"type":"object","properties":{"order_by":{"type":"string","enum":["total_time","mean_time","calls","rows","blocks_read","temp_blocks"],"default":"total_time"},"limit":{"type":"integer","minimum":1,"maximum":100,"default":10},"min_calls":{"type":"integer","minimum":1,"maximum":1000000000,"default":1},"database":{"type":"string"}},"additionalProperties":false}"#,
    output_schema: r#"{"type":"object","properties":{"queries":{"type":"array","items":{"type":"object","properties":{"query":{"type":["string","null"],"description":"null: of another role, whose statements this one may not see"},"calls":{"type":"integer"},"total_ms":{"type":"number"},"mean_ms":{"type":"number"},"share_of_time":{"type":"number"},"rows":{"type":"integer"},"blocks_hit":{"type":"integer"},"blocks_read":{"type":"integer"},"temp_blocks_written":{"type":"integer"}},"required":["query","calls","total_ms","mean_ms","share_of_time","rows","blocks_hit","blocks_read","temp_blocks_written"]}},"sees_all":{"type":"boolean"}},"required":["queries","sees_all"]}"#,
    effect: Effect::Reads,
    offer: Offer::OptIn,
};

/// Finds the schema of the extension, if it is installed.
const INSTALLED: &str = "SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_extension e \
     JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_stat_statements'";

/// What the statements can be ordered by, with the columns for it.
const ORDERS: [(&str, &str); 6] = [
    ("total_time", "total_ms"),
    ("mean_time", "mean_ms"),
    ("calls", "calls"),
    ("rows", "rows"),
    ("blocks_read", "blocks_read"),
    ("temp_blocks", "temp_blocks_written"),
];

/// Statements that only frame others, ours included; they cost nothing and would fill every list.
const CONTROL: &str = r"^\s*(BEGIN|START|COMMIT|END|ROLLBACK|ABORT|SAVEPOINT|RELEASE|SET|RESET|SHOW|DISCARD|DEALLOCATE|CLOSE|SELECT greatest\(least\(free|SELECT pg_catalog\.(pg_advisory_unlock_all|current_setting|pg_backend_pid))\M";

const MISSING: &str = "pg_stat_statements is not installed in this database, and without it PostgreSQL counts no statements. \
     The operator sets shared_preload_libraries = 'pg_stat_statements', restarts the server, and runs CREATE EXTENSION pg_stat_statements";

/// The tool.
pub(crate) struct TopQueries(pub(crate) Arc<Reader>);

impl Tool for TopQueries {
    fn definition(&self) -> Definition<'_> {
        DEFINITION
    }

    /// The statements are those of all schemas, so that an agent with a list of schemas may not see them.
    fn is_for(&self, agent: &Agent) -> bool {
        agent.schemas().is_none()
    }

    fn call<'a>(&'a self, call: Call<'a>) -> Answer<'a> {
        Box::pin(self.run(call))
    }
}

impl TopQueries {
    async fn run(&self, mut call: Call<'_>) -> Result<Found, Failure> {
        let agent = &call.on_database()?;
        let mut arguments = call.arguments;
        let order = arguments.choice("order_by", &ORDERS.map(|(name, _)| name))?;
        let asked = arguments.number("limit", 1..=100, 10)?;
        let limit = agent.most_rows(asked);
        let least_calls = arguments.number("min_calls", 1..=1_000_000_000, 1)?;
        arguments.finish()?;
        let schema = self.installed(agent).await?;
        let missing = all_stats::missing(&self.0, agent).await?;
        let missing = missing.as_deref();
        let order = ORDERS.iter().find(|(name, _)| *name == order);
        let order = order.map_or("total_ms", |(_, column)| *column);
        let sql = statements(&schema, order);
        // One more row tells whether there are more.
        let (most, least_calls) = (
            i64::try_from(limit + 1).unwrap_or(i64::MAX),
            i64::try_from(least_calls).unwrap_or(i64::MAX),
        );
        let parameters = [(&most as _, Type::INT8), (&least_calls as _, Type::INT8)];
        let rows = self
            .0
            .ask(agent, &sql, &parameters)
            .await
            .map_err(not_loaded)?;
        let mut queries = rows
            .iter()
            .map(Query::read)
            .collect::<Result<Vec<_>, _>>()?;
        let is_cut = limit < asked && queries.len() as u64 > limit;
        queries.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let most_bytes = agent.limits(self.0.limits).result_bytes;
        let bytes = |query: &Query| query.line().len();
        let mut found = match keep_first(&mut queries, most_bytes, bytes) {
            0 => found(&queries, missing),
            left_out => found(&queries, missing).said(format!(
                "(a result may have {most_bytes} bytes: {left_out} statements are left out)"
            )),
        };
        if is_cut {
            found = found.said(format!(
                "(there are more, and this token is given {} of a call at most)",
                row_count(limit)
            ));
        }
        Ok(found)
    }

    async fn installed(&self, agent: &Agent) -> Result<String, Failure> {
        let rows = self.0.ask(agent, INSTALLED, &[]).await?;
        let row = rows.first().ok_or_else(|| Failure::told(MISSING))?;
        Ok(row.try_get(0).map_err(|_| ReadError::Unreadable)?)
    }
}

/// The extension can be created although its library was not loaded.
fn not_loaded(error: ReadError) -> Failure {
    match &error {
        ReadError::Database(db, _) if db.message().contains("shared_preload_libraries") => {
            Failure::told(MISSING)
        }
        _ => error.into(),
    }
}

fn statements(schema: &str, order: &str) -> String {
    format!(
        "SELECT * FROM ( \
           SELECT CASE WHEN s.queryid IS NOT NULL THEN pg_catalog.left(s.query, 2000) END AS query, \
                  s.calls, s.total_exec_time AS total_ms, s.mean_exec_time AS mean_ms, \
                  s.total_exec_time / NULLIF(pg_catalog.sum(s.total_exec_time) OVER (), 0) AS share, \
                  s.rows, s.shared_blks_hit AS blocks_hit, s.shared_blks_read AS blocks_read, \
                  s.temp_blks_written AS temp_blocks_written \
           FROM {schema}.pg_stat_statements s \
           WHERE s.dbid = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()) \
             AND (s.queryid IS NULL OR s.query !~* '{CONTROL}' AND pg_catalog.strpos(s.query, '{OWN}') = 0)) q \
         WHERE q.calls >= $2 ORDER BY q.{order} DESC, q.query LIMIT $1"
    )
}

struct Query {
    text: Option<String>,
    calls: i64,
    total_ms: f64,
    mean_ms: f64,
    share: f64,
    rows: i64,
    blocks_hit: i64,
    blocks_read: i64,
    temp_blocks_written: i64,
}

impl Query {
    fn read(row: &Row) -> Result<Self, ReadError> {
        let unreadable = |_| ReadError::Unreadable;
        let number = |name: &str| row.try_get::<_, i64>(name).map_err(unreadable);
        let share: Option<f64> = row.try_get("share").map_err(unreadable)?;
        Ok(Query {
            text: row.try_get("query").map_err(unreadable)?,
            calls: number("calls")?,
            total_ms: row.try_get("total_ms").map_err(unreadable)?,
            mean_ms: row.try_get("mean_ms").map_err(unreadable)?,
            share: share.unwrap_or_default(),
            rows: number("rows")?,
            blocks_hit: number("blocks_hit")?,
            blocks_read: number("blocks_read")?,
            temp_blocks_written: number("temp_blocks_written")?,
        })
    }

    fn structured(&self) -> Value {
        json!({
            "query": self.text,
            "calls": self.calls,
            "total_ms": self.total_ms,
            "mean_ms": self.mean_ms,
            "share_of_time": self.share,
            "rows": self.rows,
            "blocks_hit": self.blocks_hit,
            "blocks_read": self.blocks_read,
            "temp_blocks_written": self.temp_blocks_written,
        })
    }

    fn line(&self) -> String {
        let text = match &self.text {
            Some(text) => text.split_whitespace().collect::<Vec<_>>().join(" "),
            None => "(of another role)".into(),
        };
        let temporary = match self.temp_blocks_written {
            0 => String::new(),
            blocks => format!(", {blocks} temporary blocks written"),
        };
        format!(
            "{:.1} ms in all ({:.1} %), {} calls of {:.3} ms, {} rows, {} blocks read, {} from the cache{temporary}\n   {text}",
            self.total_ms,
            100.0 * self.share,
            self.calls,
            self.mean_ms,
            self.rows,
            self.blocks_read,
            self.blocks_hit
        )
    }
}

/// Shows the statements, and what would let the role see those of others if it does not.
fn found(queries: &[Query], missing: Option<&str>) -> Found {
    let mut text = String::new();
    for (index, query) in queries.iter().enumerate() {
        _ = writeln!(text, "{}. {}", index + 1, query.line());
    }
    let listed: Vec<_> = queries.iter().map(Query::structured).collect();
    let structured = json!({ "queries": listed, "sees_all": missing.is_none() });
    let mut said = vec![match queries.len() {
        0 => "No statement has been counted that fits.".to_owned(),
        count => format!(
            "{count} statement(s); next step: execute_explain or advise_indexes with values in place of $1, $2."
        ),
    }];
    if let Some(statements) = missing {
        said.push(format!(
            "The role sees the text of its own statements only; {statements} lets it see all."
        ));
    }
    let found = Found::new(&structured);
    let found = if text.is_empty() {
        found
    } else {
        found.data(text.trim_end())
    };
    found.said(said.join("\n"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::sync::OnceCell;

    use super::*;
    use crate::{
        Settings,
        bench::{cluster, counting_apart, counting_cluster, superuser},
        tools::trial::Trial,
    };

    fn trial(cluster: &private_postgres::Cluster, role: &str) -> Trial {
        let settings = Settings {
            enabled: vec!["top_queries".into()],
            ..Settings::default()
        };
        Trial::new(cluster, role, settings)
    }

    /// A database in which some statements have run.
    async fn busy() -> &'static private_postgres::Cluster {
        static MADE: OnceCell<()> = OnceCell::const_new();
        MADE.get_or_init(|| async {
            let admin = superuser(counting_cluster()).await;
            admin
                .batch_execute(
                    "CREATE SCHEMA counting; CREATE EXTENSION pg_stat_statements SCHEMA counting; \
                     CREATE ROLE counter LOGIN IN ROLE pg_read_all_stats; \
                     GRANT CONNECT ON DATABASE postgres TO counter; GRANT USAGE ON SCHEMA counting TO counter, shop_reader",
                )
                .await
                .unwrap();
            for number in 1..=30 {
                let sql = format!("SELECT count(*) FROM shop.page_views WHERE path = '/product/{number}'");
                admin.query(&sql, &[]).await.unwrap();
            }
            let sql = "SELECT\n  email FROM shop.users WHERE id = 7";
            for _ in 0..40 {
                admin.query(sql, &[]).await.unwrap();
            }
        })
        .await;
        counting_cluster()
    }

    #[tokio::test]
    async fn the_dearest_statements_come_first_in_every_order() {
        let trial = trial(busy().await, "counter");
        for (order, needle, least) in [
            ("total_time", "page_views", 30),
            ("calls", "SELECT email FROM shop.users WHERE id = $1", 40),
            ("mean_time", "shop.page_views", 30),
        ] {
            // Setting up the shop took longer, but was done once.
            let given = json!({"order_by": order, "min_calls": 30, "limit": 1});
            let (text, structured) = trial.done("top_queries", given).await;
            assert!(text.contains(needle), "{order}: {text}");
            let first = &structured["queries"][0];
            assert!(
                first["calls"].as_i64().unwrap() >= least,
                "{order}: {first}"
            );
            assert!(
                !first["query"].as_str().unwrap().contains("/product/"),
                "constants stay out: {first}"
            );
            assert_eq!(structured["sees_all"], true);
        }
        let given = json!({"min_calls": 1_000_000});
        let (text, structured) = trial.done("top_queries", given).await;
        assert_eq!(structured["queries"], json!([]));
        assert!(text.contains("No statement"), "{text}");
    }

    #[tokio::test]
    async fn the_statements_of_others_are_hidden_from_a_plain_role_and_it_is_told_why() {
        let trial = trial(busy().await, "shop_reader");
        let (text, structured) = trial.done("top_queries", json!({"min_calls": 30})).await;
        let queries = structured["queries"].as_array().unwrap();
        assert!(
            queries.iter().any(|query| query["query"].is_null()),
            "{structured}"
        );
        assert!(!text.contains("page_views"), "{text}");
        assert!(text.contains("GRANT pg_read_all_stats"), "{text}");
        assert_eq!(structured["sees_all"], false);
    }

    #[tokio::test]
    async fn a_policy_bounds_the_statements_that_are_told() {
        let policy = crate::Policy {
            rows: Some(1),
            ..crate::Policy::default()
        };
        let trial = trial(busy().await, "counter").with_policy(policy);
        let (text, structured) = trial.done("top_queries", json!({})).await;
        assert_eq!(structured["queries"].as_array().unwrap().len(), 1, "{text}");
        assert!(
            text.contains("this token is given 1 row of a call"),
            "{text}"
        );
        let (text, _) = trial.done("top_queries", json!({ "limit": 1 })).await;
        assert!(!text.contains("there are more"), "{text}");
    }

    #[tokio::test]
    async fn what_the_tools_ask_for_themselves_is_not_among_the_statements() {
        let cluster = &counting_apart();
        let sql = "CREATE SCHEMA counting; CREATE EXTENSION pg_stat_statements SCHEMA counting; SELECT counting.pg_stat_statements_reset()";
        superuser(cluster).await.batch_execute(sql).await.unwrap();
        let policy = crate::Policy {
            schemas: Some(["shop".to_owned()].into()),
            ..crate::Policy::default()
        };
        let settings = || Settings {
            enabled: vec!["top_queries".into(), "analyze_health".into()],
            ..Settings::default()
        };
        let free = Trial::new(cluster, cluster.superuser(), settings());
        let bound = Trial::new(cluster, "shop_reader", settings()).with_policy(policy);
        for (tool, given) in [
            ("list_databases", json!({})),
            (
                "count_rows",
                json!({"table": "shop.users", "estimate": true}),
            ),
            (
                "query_database",
                json!({"query": "SELECT id FROM shop.users WHERE id = 77"}),
            ),
            ("analyze_health", json!({})),
        ] {
            bound.done(tool, given).await;
        }
        free.done("analyze_health", json!({})).await;
        let given = json!({"order_by": "calls", "limit": 100});
        let (_, structured) = free.done("top_queries", given).await;
        let told = structured["queries"].as_array().unwrap();
        let told: Vec<&str> = told
            .iter()
            .filter_map(|one| one["query"].as_str())
            .collect();
        let is_told = |part: &str| told.iter().any(|query| query.contains(part));
        assert!(is_told("SELECT id FROM shop.users WHERE id ="), "{told:?}");
        let own: Vec<_> = told
            .iter()
            .filter(|query| query.contains("pg_catalog.") && !query.contains("FROM shop.users"))
            .collect();
        assert!(own.is_empty(), "{own:#?}");
    }

    #[tokio::test]
    async fn the_bytes_of_a_result_bound_the_statements_that_are_told() {
        let policy = crate::Policy {
            result_bytes: Some(600),
            ..crate::Policy::default()
        };
        let trial = trial(busy().await, "counter").with_policy(policy);
        let (text, structured) = trial.done("top_queries", json!({})).await;
        let told = structured["queries"].as_array().unwrap().len();
        assert!((1..10).contains(&told), "{text}");
        assert!(text.contains("a result may have 600 bytes"), "{text}");
        assert!(text.len() < 1_000, "{text}");
    }

    #[tokio::test]
    async fn whoever_is_bound_to_schemas_reads_no_statements_of_others() {
        let bound = crate::Policy {
            schemas: Some(["counting".to_owned()].into()),
            ..crate::Policy::default()
        };
        let free = trial(busy().await, "counter");
        let bound = trial(busy().await, "counter").with_policy(bound);
        for query in [
            "SELECT query FROM counting.pg_stat_statements",
            "SELECT query FROM counting.pg_stat_statements(true)",
        ] {
            let given = json!({ "query": query });
            free.done("query_database", given.clone()).await;
            let failure = bound.failed("query_database", given).await;
            let is_refused = ["this token may not use counting.", "bound to schemas"];
            let is_refused = is_refused.iter().any(|why| failure.contains(why));
            assert!(is_refused, "{query}: {failure}");
        }
        assert!(bound.finds("count_rows") && free.finds("top_queries"));
        assert!(!bound.finds("top_queries"));
    }

    #[tokio::test]
    async fn without_the_extension_the_operator_is_told_what_to_do() {
        let trial = trial(cluster(), "shop_reader");
        let failure = trial.failed("top_queries", json!({})).await;
        assert!(
            failure.contains("CREATE EXTENSION pg_stat_statements"),
            "{failure}"
        );
        // It can be created without being loaded.
        let admin = superuser(cluster()).await;
        let sql = "CREATE EXTENSION pg_stat_statements SCHEMA public";
        admin.batch_execute(sql).await.unwrap();
        let failure = trial.failed("top_queries", json!({})).await;
        assert!(failure.contains("shared_preload_libraries"), "{failure}");
    }
}
