//! `advise_indexes`: which index would make a query cheaper.

mod candidates;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::sync::Arc;

use serde_json::{Value, json};
use tokio_postgres::types::Type;

use super::{Answer, Call, Definition, Effect, Failure, Found, Offer, Tool};
use crate::{
    Agent,
    read_only::{Imagined, ReadError, Reader},
};
use candidates::Candidate;

const DEFINITION: Definition<'_> = Definition {
    name: "advise_indexes",
    title: "Advise indexes for a query",
    description: "Says which indexes would make a query cheaper. With the extension hypopg each is tried without being built; without it they are guessed from the plan.",
    input_schema: r#"{"type":"object","properties":{"query":{"type":"string","description":"One PostgreSQL query"},"database":{"type":"string"}},"required":["query"],"additionalProperties":false}"#,
    output_schema: r#"{"type":"object","properties":{"method":{"type":"string","enum":["hypopg","plan"],"description":"plan: a guess, no cost was computed"},"cost":{"type":"number","description":"The planner's, now"},"advice":{"type":"array","items":{"type":"object","properties":{"statement":{"type":"string"},"cost_after":{"type":["number","null"],"description":"With this index and those before it"},"saved_percent":{"type":["number","null"]},"size_bytes":{"type":["integer","null"]}},"required":["statement","cost_after","saved_percent","size_bytes"]}}},"required":["method","cost","advice"]}"#,
    effect: Effect::Reads,
    offer: Offer::OptIn,
};

/// Indexes that are advised for one query; each costs every write.
const MOST_ADVICE: usize = 3;

/// An index that saves less than this share of the cost is not worth its writes.
const LEAST_SAVED: f64 = 0.1;

/// A table of fewer rows is read as a whole anyway.
const FEW_ROWS: f64 = 1_000.0;

/// A scan that keeps more than this share of its table gains nothing by an index.
const MOST_KEPT: f64 = 0.2;

/// The schema of hypopg, where it is installed.
const INSTALLED: &str = "SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_extension e \
     JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'hypopg'";

/// How many rows a table has, and whether an index begins with these columns already.
const TABLE: &str = "SELECT c.reltuples::pg_catalog.float8, EXISTS ( \
       SELECT FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid \
       JOIN pg_catalog.pg_am m ON m.oid = i.relam \
       WHERE x.indrelid = c.oid AND x.indisvalid AND x.indpred IS NULL AND m.amname = 'btree' \
         AND (SELECT pg_catalog.array_agg(a.attname::text ORDER BY k.place) \
              FROM pg_catalog.unnest(x.indkey) WITH ORDINALITY k(attnum, place) \
              JOIN pg_catalog.pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.attnum \
              WHERE k.place <= pg_catalog.cardinality($3::text[])) = $3) \
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE n.nspname = $1 AND c.relname = $2";

/// The tool.
pub(crate) struct AdviseIndexes(pub(crate) Arc<Reader>);

impl Tool for AdviseIndexes {
    fn definition(&self) -> Definition<'_> {
        DEFINITION
    }

    fn call<'a>(&'a self, call: Call<'a>) -> Answer<'a> {
        Box::pin(self.run(call))
    }
}

/// A plan, as far as it matters here.
struct Planned {
    plan: Value,
    cost: f64,
    imagined: Vec<Imagined>,
}

/// An index that is advised.
struct Advice {
    index: Candidate,
    /// The cost with it and those before it, the share that it saves, and its size in bytes; none
    /// where it is a guess.
    tried: Option<(f64, f64, i64)>,
}

impl AdviseIndexes {
    async fn run(&self, mut call: Call<'_>) -> Result<Found, Failure> {
        let agent = &call.on_database()?;
        let query = call.arguments.text("query")?;
        call.arguments.finish()?;
        let now = self.plan(agent, &query, None, &[]).await?;
        let candidates = candidates::of(&now.plan);
        let rows = self.0.ask(agent, INSTALLED, &[]).await?;
        let hypopg: Option<String> = rows.first().and_then(|row| row.try_get(0).ok());
        let advice = match &hypopg {
            Some(schema) => {
                self.tried(agent, &query, schema, now.cost, candidates)
                    .await?
            }
            None => self.guessed(agent, &now.plan, candidates).await?,
        };
        Ok(found(hypopg.is_some(), now.cost, &advice))
    }

    /// Has the query planned as if these indexes were there.
    async fn plan(
        &self,
        agent: &Agent,
        query: &str,
        hypopg: Option<&str>,
        indexes: &[&Candidate],
    ) -> Result<Planned, ReadError> {
        let statements: Vec<String> = indexes.iter().map(|index| index.statement("")).collect();
        let (imagined, text) = self.0.what_if(agent, query, hypopg, &statements).await?;
        let whole: Value = serde_json::from_str(&text).map_err(|_| ReadError::Unreadable)?;
        let plan = whole.pointer("/0/Plan").cloned().unwrap_or_default();
        let cost = plan["Total Cost"].as_f64().ok_or(ReadError::Unreadable)?;
        Ok(Planned {
            plan,
            cost,
            imagined,
        })
    }

    /// Takes the index that saves most, then the one that saves most beside it, and so on.
    async fn tried(
        &self,
        agent: &Agent,
        query: &str,
        hypopg: &str,
        cost: f64,
        mut left: Vec<Candidate>,
    ) -> Result<Vec<Advice>, Failure> {
        let mut advice: Vec<Advice> = Vec::new();
        let mut reached = cost;
        while advice.len() < MOST_ADVICE {
            let mut best: Option<(usize, f64, i64)> = None;
            for (place, candidate) in left.iter().enumerate() {
                let mut indexes: Vec<_> = advice.iter().map(|advice| &advice.index).collect();
                indexes.push(candidate);
                let planned = match self.plan(agent, query, Some(hypopg), &indexes).await {
                    Ok(planned) => planned,
                    // As of a type that no B-tree orders.
                    Err(error @ ReadError::Database(..)) if !error.is_cancelled() => continue,
                    Err(error) => return Err(error.into()),
                };
                let Some(new) = planned.imagined.last() else {
                    continue;
                };
                let is_best = best.is_none_or(|(_, cost, _)| planned.cost < cost);
                if is_best && uses(&planned.plan, &new.name) {
                    best = Some((place, planned.cost, new.size_bytes));
                }
            }
            let saved = |after: f64| (reached - after) / cost;
            match best {
                Some((place, after, size)) if saved(after) >= LEAST_SAVED => {
                    advice.push(Advice {
                        index: left.remove(place),
                        tried: Some((after, saved(after), size)),
                    });
                    reached = after;
                }
                _ => break,
            }
        }
        Ok(advice)
    }

    /// Takes the indexes that scans of large tables ask for, where none like them is there.
    async fn guessed(
        &self,
        agent: &Agent,
        plan: &Value,
        candidates: Vec<Candidate>,
    ) -> Result<Vec<Advice>, Failure> {
        let mut advice: Vec<Advice> = Vec::new();
        for index in candidates {
            let is_known = advice.iter().any(|advice| {
                (&advice.index.schema, &advice.index.table) == (&index.schema, &index.table)
            });
            if is_known || advice.len() == MOST_ADVICE {
                continue;
            }
            let parameters = [
                (&index.schema as _, Type::TEXT),
                (&index.table as _, Type::TEXT),
                (&index.columns as _, Type::TEXT_ARRAY),
            ];
            let rows = self.0.ask(agent, TABLE, &parameters).await?;
            let unreadable = |_| ReadError::Unreadable;
            let Some(row) = rows.first() else { continue };
            let count: f64 = row.try_get(0).map_err(unreadable)?;
            let is_indexed: bool = row.try_get(1).map_err(unreadable)?;
            if !is_indexed && count >= FEW_ROWS && scans_for_few(plan, &index, count) {
                advice.push(Advice { index, tried: None });
            }
        }
        Ok(advice)
    }
}

/// Says whether a plan reads a table as a whole to keep a few of its rows.
fn scans_for_few(node: &Value, index: &Candidate, count: f64) -> bool {
    let is_scan = node["Node Type"] == "Seq Scan"
        && node["Schema"] == index.schema.as_str()
        && node["Relation Name"] == index.table.as_str();
    let kept = node["Plan Rows"].as_f64().unwrap_or(count);
    let below = || node["Plans"].as_array().into_iter().flatten();
    is_scan && kept < MOST_KEPT * count || below().any(|node| scans_for_few(node, index, count))
}

/// Says whether a plan uses an index.
fn uses(node: &Value, index: &str) -> bool {
    let below = || node["Plans"].as_array().into_iter().flatten();
    node["Index Name"] == index || below().any(|node| uses(node, index))
}

fn found(is_tried: bool, cost: f64, advice: &[Advice]) -> Found {
    let listed = advice.iter().map(|advice| {
        json!({
            "statement": advice.index.statement(" CONCURRENTLY"),
            "cost_after": advice.tried.map(|(after, ..)| after),
            "saved_percent": advice.tried.map(|(_, saved, _)| (1_000.0 * saved).round() / 10.0),
            "size_bytes": advice.tried.map(|(.., size)| size),
        })
    });
    let structured = json!({
        "method": if is_tried { "hypopg" } else { "plan" },
        "cost": cost,
        "advice": listed.collect::<Vec<_>>(),
    });
    let mut said = vec![match (is_tried, advice.is_empty()) {
        (true, true) => format!("No index that was tried saves a tenth of the cost ({cost:.0}) or more."),
        (true, false) => format!("The query costs {cost:.0} by the planner's estimate. Tried with hypothetical indexes:"),
        (false, true) => "Nothing in the plan asks for an index. This is a guess: hypopg is not installed, so no index was tried.".into(),
        (false, false) => "Guessed from the plan: hypopg is not installed, so no cost was computed. The operator can install it (CREATE EXTENSION hypopg).".into(),
    }];
    for Advice { index, tried } in advice {
        said.push(match tried {
            Some((after, saved, size)) => format!(
                "- {}; cost {after:.0}, saves {:.1} %, about {} kB",
                index.statement(" CONCURRENTLY"),
                100.0 * saved,
                size / 1024
            ),
            None => format!("- {};", index.statement(" CONCURRENTLY")),
        });
    }
    if !advice.is_empty() {
        said.push("Every index costs each write to its table. Compare with execute_explain before and after.".into());
    }
    Found::new(&structured).said(said.join("\n"))
}
