//! `advise_indexes`: which index would make a query cheaper.

mod candidates;
mod orders;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod wanted;

use std::sync::Arc;

use serde_json::{Value, json};
use tokio_postgres::{error::SqlState, types::Type};

use super::{
    Answer, Call, Definition, Effect, Failure, Found, Offer, Tool, allotted::Allotted,
    partitions::Wholes,
};
use crate::{
    Agent,
    read_only::{Explain, Imagined, ReadError, Reader, without_explain},
};
use candidates::{Candidate, MOST_TOGETHER, Together};
use wanted::Wanted;

const DEFINITION: Definition<'_> = Definition {
    name: "advise_indexes",
    title: "Advise indexes for a query",
    description: "Says which indexes would make a query cheaper. With the extension hypopg each is tried without being built; without it they are guessed from the plan.",
    input_schema: r#"{"type":"object","properties":{"query":{"type":"string","description":"One PostgreSQL query"},"indexes":{"type":"array","maxItems":10,"description":"Tries these together instead; needs hypopg","items":{"type":"object","properties":{"table":{"type":"string","description":"One that the query reads"},"columns":{"type":"array","items":{"type":"string"},"minItems":1,"maxItems":32},"using":{"type":"string","enum":["btree","hash","brin"],"default":"btree"}},"required":["table","columns"],"additionalProperties":false}},"database":{"type":"string"}},"required":["query"],"additionalProperties":false}"#,
    output_schema: r#"{"type":"object","properties":{"method":{"type":"string","enum":["hypopg","plan"],"description":"plan: a guess, no cost was computed"},"cost":{"type":"number","description":"The planner's, now"},"advice":{"type":"array","items":{"type":"object","properties":{"statement":{"type":"string"},"cost_after":{"type":["number","null"],"description":"With this index and those before it"},"saved_percent":{"type":["number","null"]},"size_bytes":{"type":["integer","null"]},"together_with":{"type":"array","items":{"type":"string"},"description":"It helps only with these; the cost and what is saved are of all of them"},"used":{"type":"boolean","description":"Of indexes that were given"}},"required":["statement","cost_after","saved_percent","size_bytes","together_with"]}},"complete":{"type":"boolean","description":"false: the time was up before all that was thought of was tried"}},"required":["method","cost","advice","complete"]}"#,
    effect: Effect::Reads,
    offer: Offer::OptIn,
};

/// The most indexes that are advised for one query; each makes every write cost more.
const MOST_ADVICE: usize = MOST_TOGETHER;

/// The share of the cost that an index must save to be worth what it adds to writes.
const LEAST_SAVED: f64 = 0.1;

/// A table with fewer rows is read as a whole anyway.
const FEW_ROWS: f64 = 1_000.0;

/// The largest share of its table that a scan may keep and still gain by an index.
const MOST_KEPT: f64 = 0.2;

/// Finds the schema of hypopg, if it is installed.
const INSTALLED: &str = "SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_extension e \
     JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'hypopg'";

/// Finds how many rows a table has, in how many partitions (1 if it is not partitioned), and whether an index begins
/// with these columns already.
const TABLE: &str = "SELECT COALESCE(p.rows, c.reltuples)::pg_catalog.float8, COALESCE(p.parts, 1)::pg_catalog.float8, EXISTS ( \
       SELECT FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid \
       JOIN pg_catalog.pg_am m ON m.oid = i.relam \
       WHERE x.indrelid = c.oid AND x.indisvalid AND x.indpred IS NULL AND m.amname = 'btree' \
         AND (SELECT pg_catalog.array_agg(a.attname::text ORDER BY k.place) \
              FROM pg_catalog.unnest(x.indkey) WITH ORDINALITY k(attnum, place) \
              JOIN pg_catalog.pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.attnum \
              WHERE k.place <= pg_catalog.cardinality($3::text[])) = $3) \
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     LEFT JOIN LATERAL ( \
       SELECT pg_catalog.sum(l.reltuples) FILTER (WHERE l.reltuples > 0), pg_catalog.count(*) \
       FROM pg_catalog.pg_partition_tree(c.oid) t JOIN pg_catalog.pg_class l ON l.oid = t.relid WHERE t.isleaf \
     ) p(rows, parts) ON c.relkind = 'p' \
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

impl Planned {
    fn read(text: &str, imagined: Vec<Imagined>) -> Result<Self, ReadError> {
        let whole: Value = serde_json::from_str(text).map_err(|_| ReadError::Unreadable)?;
        let plan = whole.pointer("/0/Plan").cloned().unwrap_or_default();
        let cost = plan["Total Cost"].as_f64().ok_or(ReadError::Unreadable)?;
        Ok(Planned {
            plan,
            cost,
            imagined,
        })
    }
}

/// Indexes that are advised: one, or several that help only together.
struct Advice {
    indexes: Together,
    tried: Option<Tried>,
}

/// What indexes that were tried save.
struct Tried {
    /// The cost with them and those advised before them.
    cost: f64,
    /// The share of the cost that they save.
    saved: f64,
    /// The size of each, in bytes.
    bytes: Vec<i64>,
}

/// All that is advised.
struct Advised {
    advice: Vec<Advice>,
    /// Whether there was time to look at all candidates.
    is_complete: bool,
}

/// Why the search for indexes ends before all candidates were looked at.
enum Halt {
    /// The time was up.
    TimeIsUp(Failure),
    Failed(Failure),
}

impl Halt {
    /// Ends the search. If only the time was up, what was found by then is the answer, unless nothing was.
    fn end(self, advice: Vec<Advice>) -> Result<Advised, Failure> {
        match self {
            Halt::TimeIsUp(_) if !advice.is_empty() => Ok(Advised {
                advice,
                is_complete: false,
            }),
            Halt::TimeIsUp(why) | Halt::Failed(why) => Err(why),
        }
    }
}

impl From<ReadError> for Halt {
    fn from(error: ReadError) -> Self {
        if error.is_cancelled() {
            Halt::TimeIsUp(error.into())
        } else {
            Halt::Failed(error.into())
        }
    }
}

/// The candidate of a round of trials that saves most.
struct Best {
    /// Its index among the candidates.
    place: usize,
    /// The plan's cost with it.
    cost: f64,
    /// The size of each of its indexes, in bytes.
    bytes: Vec<i64>,
}

impl Advised {
    fn indexes(advice: &[Advice]) -> impl Iterator<Item = &Candidate> {
        advice.iter().flat_map(|advice| &advice.indexes)
    }
}

impl AdviseIndexes {
    async fn run(&self, mut call: Call<'_>) -> Result<Found, Failure> {
        let agent = &call.on_database()?;
        let query = call.arguments.text("query")?;
        let query = without_explain(&query);
        let wanted = Wanted::read(&mut call.arguments)?;
        call.arguments.finish()?;
        let allotted = &Allotted::begin(agent, &self.0);
        let now = self.plan(agent, query).await?;
        let wholes = &Wholes::of(&self.0, agent, &now.plan).await?;
        let rows = self.0.ask(agent, INSTALLED, &[]).await?;
        let hypopg: Option<String> = rows.first().and_then(|row| row.try_get(0).ok());
        if !wanted.is_empty() {
            let hypopg = hypopg.as_deref().ok_or_else(wanted::not_installed)?;
            let trial = Trial {
                agent,
                query,
                hypopg,
                allotted,
            };
            return self.try_out(&trial, &now, wholes, &wanted).await;
        }
        let candidates = candidates::of(&now.plan, wholes);
        let advised = match &hypopg {
            Some(schema) => {
                let trial = Trial {
                    agent,
                    query,
                    hypopg: schema,
                    allotted,
                };
                self.tried(&trial, now.cost, candidates).await?
            }
            None => {
                let read = &Read {
                    plan: &now.plan,
                    wholes,
                };
                self.guessed(agent, allotted, read, candidates).await?
            }
        };
        Ok(found(hypopg.is_some(), now.cost, &advised, allotted))
    }

    /// Has the query planned as it is.
    async fn plan(&self, agent: &Agent, query: &str) -> Result<Planned, ReadError> {
        let text = self.0.explain(agent, query, Explain::PLANNED).await?;
        Planned::read(&text, Vec::new())
    }

    /// Has the query planned as if the indexes existed that these statements create.
    async fn plan_with(
        &self,
        trial: &Trial<'_>,
        statements: &[String],
    ) -> Result<Planned, ReadError> {
        let planned = self
            .0
            .what_if(trial.agent, trial.query, trial.hypopg, statements);
        let (imagined, text) = planned.await?;
        Planned::read(&text, imagined)
    }

    /// Tries the indexes that the caller suggested, all together.
    async fn try_out(
        &self,
        trial: &Trial<'_>,
        now: &Planned,
        wholes: &Wholes,
        wanted: &[Wanted],
    ) -> Result<Found, Failure> {
        let statements = wanted::statements(wanted, &now.plan, wholes)?;
        let Some(time) = trial.allotted.left() else {
            return Err(time_is_up(trial.allotted));
        };
        let planned = self.plan_with(trial, &statements);
        let planned = trial.allotted.wait(time, planned).await?;
        Ok(wanted::found(&statements, now.cost, &planned))
    }

    /// Takes the indexes that save most, then those that save most beside these, and so on.
    async fn tried(
        &self,
        trial: &Trial<'_>,
        cost: f64,
        mut left: Vec<Together>,
    ) -> Result<Advised, Failure> {
        let mut advice: Vec<Advice> = Vec::new();
        let mut reached = cost;
        loop {
            let count = Advised::indexes(&advice).count();
            left.retain(|together| count + together.len() <= MOST_ADVICE);
            let best = match self.best(trial, &advice, &left).await {
                Ok(best) => best,
                Err(halt) => return halt.end(advice),
            };
            let saved = |after: f64| (reached - after) / cost;
            let Some(best) = best.filter(|best| saved(best.cost) >= LEAST_SAVED) else {
                break;
            };
            advice.push(Advice {
                indexes: left.remove(best.place),
                tried: Some(Tried {
                    cost: best.cost,
                    saved: saved(best.cost),
                    bytes: best.bytes,
                }),
            });
            reached = best.cost;
        }
        Ok(Advised {
            advice,
            is_complete: true,
        })
    }

    /// Finds the candidate that saves most beside what was taken already, among those whose indexes are all used.
    async fn best(
        &self,
        trial: &Trial<'_>,
        taken: &[Advice],
        left: &[Together],
    ) -> Result<Option<Best>, Halt> {
        let count = Advised::indexes(taken).count();
        let mut best: Option<Best> = None;
        for (place, together) in left.iter().enumerate() {
            let indexes = Advised::indexes(taken).chain(together);
            let statements: Vec<String> = indexes.map(Candidate::statement).collect();
            let Some(time) = trial.allotted.left() else {
                return Err(Halt::TimeIsUp(time_is_up(trial.allotted)));
            };
            let planned = self.plan_with(trial, &statements);
            let planned = match trial.allotted.wait(time, planned).await {
                Ok(planned) => planned,
                // As for a column of a type that no B-tree orders.
                Err(ReadError::Database(db, _)) if *db.code() != SqlState::QUERY_CANCELED => {
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let new = planned.imagined.get(count..).unwrap_or_default();
            let is_best = best.as_ref().is_none_or(|best| planned.cost < best.cost);
            let are_used = new.iter().all(|index| uses(&planned.plan, &index.name));
            if is_best && are_used && new.len() == together.len() {
                best = Some(Best {
                    place,
                    cost: planned.cost,
                    bytes: new.iter().map(|index| index.size_bytes).collect(),
                });
            }
        }
        Ok(best)
    }

    /// Takes the indexes that scans of large tables call for, if there are none like them.
    async fn guessed(
        &self,
        agent: &Agent,
        allotted: &Allotted,
        read: &Read<'_>,
        candidates: Vec<Together>,
    ) -> Result<Advised, Failure> {
        let mut advice: Vec<Advice> = Vec::new();
        // Whether PostgreSQL accepts an expression in an index, and has a use for an unusual order, only a trial shows.
        let of_columns = |together: &Together| together.iter().all(Candidate::is_of_columns);
        for together in candidates.into_iter().filter(of_columns) {
            let is_known = Advised::indexes(&advice).any(|known| {
                let of = |index: &Candidate| {
                    (&index.schema, &index.table) == (&known.schema, &known.table)
                };
                together.iter().any(of)
            });
            let count = Advised::indexes(&advice).count();
            if is_known || count + together.len() > MOST_ADVICE {
                continue;
            }
            let missing = match self.missing(agent, allotted, read, together).await {
                Ok(missing) => missing,
                Err(halt) => return halt.end(advice),
            };
            if !missing.is_empty() {
                advice.push(Advice {
                    indexes: missing,
                    tried: None,
                });
            }
        }
        Ok(Advised {
            advice,
            is_complete: true,
        })
    }

    /// Returns those of some indexes that are missing.
    async fn missing(
        &self,
        agent: &Agent,
        allotted: &Allotted,
        read: &Read<'_>,
        together: Together,
    ) -> Result<Together, Halt> {
        let mut missing = Together::new();
        for index in together {
            let Some(time) = allotted.left() else {
                return Err(Halt::TimeIsUp(time_is_up(allotted)));
            };
            let is_missing = {
                let asked = self.is_missing(agent, read, &index);
                allotted.wait(time, asked).await?
            };
            if is_missing {
                missing.push(index);
            }
        }
        Ok(missing)
    }

    /// Returns whether a scan of a large table calls for an index, and there is none like it.
    async fn is_missing(
        &self,
        agent: &Agent,
        read: &Read<'_>,
        index: &Candidate,
    ) -> Result<bool, ReadError> {
        let columns = index.columns();
        let parameters = [
            (&index.schema as _, Type::TEXT),
            (&index.table as _, Type::TEXT),
            (&columns as _, Type::TEXT_ARRAY),
        ];
        let rows = self.0.ask(agent, TABLE, &parameters).await?;
        let unreadable = |_| ReadError::Unreadable;
        let Some(row) = rows.first() else {
            return Ok(false);
        };
        let count: f64 = row.try_get(0).map_err(unreadable)?;
        let parts: f64 = row.try_get(1).map_err(unreadable)?;
        let is_indexed: bool = row.try_get(2).map_err(unreadable)?;
        // Each partition is scanned separately.
        let of_scan = count / parts.max(1.0);
        let is_asked_for = || {
            read.scans_for_few(read.plan, index, of_scan)
                || read.sorts_for_few(read.plan, index, of_scan)
                || read.seeks_an_end(read.plan, index)
        };
        Ok(!is_indexed && count >= FEW_ROWS && is_asked_for())
    }
}

fn time_is_up(allotted: &Allotted) -> Failure {
    Failure::told(format!(
        "the {} of the call were up before an index was found that helps; take a part of the query, or have the operator raise limits.statement_timeout",
        allotted.in_words()
    ))
}

/// What is tried, for whom, and within which time.
struct Trial<'a> {
    agent: &'a Agent,
    query: &'a str,
    /// The schema of hypopg, quoted.
    hypopg: &'a str,
    allotted: &'a Allotted,
}

/// A plan, and the partitioned tables that it reads.
struct Read<'a> {
    plan: &'a Value,
    wholes: &'a Wholes,
}

impl Read<'_> {
    /// Returns whether a part of the plan reads a table, or a partition of it, as a whole to keep few of its rows.
    fn scans_for_few(&self, node: &Value, index: &Candidate, count: f64) -> bool {
        let is_scan = node["Node Type"] == "Seq Scan" && self.is_of(node, index);
        let kept = node["Plan Rows"].as_f64().unwrap_or(count);
        let below = || node["Plans"].as_array().into_iter().flatten();
        is_scan && kept < MOST_KEPT * count
            || below().any(|node| self.scans_for_few(node, index, count))
    }

    /// Returns whether a part of the plan sorts a whole table to return the first few rows, which the index has in
    /// order.
    fn sorts_for_few(&self, node: &Value, index: &Candidate, count: f64) -> bool {
        let given = node["Plan Rows"].as_f64().unwrap_or(count);
        let is_few = node["Node Type"] == "Limit" && given < MOST_KEPT * count;
        let mut below = node["Plans"].as_array().into_iter().flatten();
        below
            .any(|node| is_few && self.sorts(node, index) || self.sorts_for_few(node, index, count))
    }

    /// Returns whether a node only sorts the table, in an order that the index has.
    fn sorts(&self, node: &Value, index: &Candidate) -> bool {
        let Some([below]) = node["Plans"].as_array().map(Vec::as_slice) else {
            return false;
        };
        if node["Node Type"] == "Gather Merge" {
            return self.sorts(below, index);
        }
        let order = orders::order(node);
        let has_order = order
            .first()
            .is_some_and(|(_, key)| index.keys.contains(key));
        let is_of_scan = below["Node Type"] == "Seq Scan" && self.is_of(below, index);
        node["Node Type"] == "Sort" && has_order && is_of_scan
    }

    /// Returns whether a part of the plan reads a whole table for a value that is at an end of the index.
    fn seeks_an_end(&self, node: &Value, index: &Candidate) -> bool {
        let extreme = orders::extreme(node);
        let is_at_end = extreme.is_some_and(|(_, key)| index.keys.last() == Some(&key));
        let mut below = node["Plans"].as_array().into_iter().flatten();
        below.any(|node| {
            is_at_end && node["Node Type"] == "Seq Scan" && self.is_of(node, index)
                || self.seeks_an_end(node, index)
        })
    }

    fn is_of(&self, node: &Value, index: &Candidate) -> bool {
        let text = |field: &str| node[field].as_str().unwrap_or_default();
        let (schema, table) = (text("Schema"), text("Relation Name"));
        let whole = self.wholes.of_partition(schema, table);
        let (schema, table) = whole.map_or((schema, table), |(schema, table)| (schema, table));
        (schema, table) == (&index.schema, &index.table)
    }
}

/// Returns whether a plan uses an index.
fn uses(node: &Value, index: &str) -> bool {
    let below = || node["Plans"].as_array().into_iter().flatten();
    node["Index Name"] == index || below().any(|node| uses(node, index))
}

fn found(is_tried: bool, cost: f64, advised: &Advised, allotted: &Allotted) -> Found {
    let Advised {
        advice,
        is_complete,
    } = advised;
    let structured = json!({
        "method": if is_tried { "hypopg" } else { "plan" },
        "cost": cost,
        "advice": advice.iter().flat_map(Advice::structured).collect::<Vec<_>>(),
        "complete": is_complete,
    });
    let first = match (is_tried, advice.is_empty()) {
        (true, true) => format!("No index that was tried saves a tenth of the cost ({cost:.0}) or more."),
        (true, false) => format!("The query costs {cost:.0} by the planner's estimate. Tried with hypothetical indexes:"),
        (false, true) => "Nothing in the plan asks for an index. This is a guess: hypopg is not installed, so no index was tried.".into(),
        (false, false) => "Guessed from the plan: hypopg is not installed, so no cost was computed. The operator can install it (CREATE EXTENSION hypopg).".into(),
    };
    let mut said = Vec::new();
    if !is_complete {
        said.push(format!(
            "The {} of the call were up before everything that was thought of was tried: there may be better ones.",
            allotted.in_words()
        ));
    }
    if Advised::indexes(advice).any(|index| index.is_partitioned) {
        said.push("Writes to a partitioned table wait while its index is built. Where they may not, CREATE INDEX ON ONLY it, then CONCURRENTLY on each partition, and ALTER INDEX .. ATTACH PARTITION.".into());
    }
    if advice.is_empty() {
        said.push(if is_tried {
            "Only B-tree indexes of what is compared, sorted by, or searched for max() or min() are thought of: a GIN or GiST index for JSON, arrays and texts may help all the same.".into()
        } else {
            "Without hypopg, only B-tree indexes of plain columns in the usual order are thought of: one for ORDER BY x DESC NULLS LAST or on an expression such as lower(name), or a GIN or GiST index for JSON, arrays and texts, may help all the same.".into()
        });
    } else {
        said.push("Every index costs each write to its table. Compare with execute_explain before and after.".into());
    }
    let mut found = Found::new(&structured).said(first);
    if !advice.is_empty() {
        let lines: Vec<_> = advice.iter().map(Advice::line).collect();
        found = found.data(lines.join("\n"));
    }
    found.said(said.join("\n"))
}

impl Advice {
    fn statements(&self) -> Vec<String> {
        let indexes = self.indexes.iter();
        indexes.map(Candidate::advised).collect()
    }

    fn structured(&self) -> Vec<Value> {
        let statements = self.statements();
        let each = statements.iter().enumerate().map(|(place, statement)| {
            let others = statements.iter().filter(|other| *other != statement);
            let tried = self.tried.as_ref();
            json!({
                "statement": statement,
                "cost_after": tried.map(|tried| tried.cost),
                "saved_percent": tried.map(|tried| (1_000.0 * tried.saved).round() / 10.0),
                "size_bytes": tried.and_then(|tried| tried.bytes.get(place)),
                "together_with": others.collect::<Vec<_>>(),
            })
        });
        each.collect()
    }

    fn line(&self) -> String {
        let statements = self.statements().join("; ");
        let together = match self.indexes.len() {
            1 => "",
            _ => " each serves one side of an OR and none helps alone;",
        };
        match &self.tried {
            Some(Tried { cost, saved, bytes }) => format!(
                "- {statements};{together} cost {cost:.0}, saves {:.1} %, about {} kB",
                100.0 * saved,
                bytes.iter().sum::<i64>() / 1024
            ),
            None => format!("- {statements};{together}"),
        }
    }
}
