//! `similarity_search`: the rows whose vectors are nearest, and whose words fit best.

mod answer;
mod metric;
mod ranking;
mod search;
mod table;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod vector;

use std::sync::Arc;

use model_client::{Embedder, Purpose};
use serde_json::{Value, json};
use tokio_postgres::{Row, types::Type};

use super::{
    Answer, Call, Definition, Effect, Failure, Found, Offer, Tool, condition::keep_in_place, quoted,
};
use crate::{
    Agent, QueryLimits,
    arguments::Arguments,
    read_only::{ReadError, Reader},
};
use metric::Metric;
use ranking::Candidate;
use search::{Search, Words};
use table::{Column, Index, Table};
use vector::Vector;

const DEFINITION: Definition<'_> = Definition {
    name: "similarity_search",
    title: "Search by similarity",
    description: "Finds the rows of a table with a pgvector column that are nearest to a text or a vector, ranked with full text search.",
    input_schema: r#"{"type":"object","properties":{"table_name":{"type":"string","description":"table or schema.table"},"query_text":{"type":"string"},"query_vector":{"description":"Numbers, or a text such as [1,2] or {1:0.5}/8; without it query_text is embedded","type":["array","string"],"items":{"type":"number"}},"top_n":{"type":"integer","minimum":1,"maximum":100,"default":10},"columns":{"type":"array","items":{"type":"string"},"description":"To show; may name the vector column to search"},"filter":{"type":"string","description":"An SQL condition, without WHERE"},"distance_metric":{"type":"string","enum":["cosine","l2","inner_product","l1"],"description":"Default: the index's"},"lambda":{"type":"number","minimum":0,"maximum":1,"default":0.6,"description":"1: relevance only; less: more diverse"},"output_format":{"type":"string","enum":["full","summary","ids_only"],"default":"full"},"max_output_tokens":{"type":"integer","minimum":100,"maximum":50000,"default":1000},"database":{"type":"string"}},"required":["table_name"],"additionalProperties":false}"#,
    output_schema: r#"{"type":"object","properties":{"table":{"type":"string"},"vector_column":{"type":"string"},"distance_metric":{"type":"string"},"index":{"type":["string","null"],"description":"The index that the plan used"},"words_searched":{"type":"string","enum":["everywhere","nearest","no"]},"results":{"type":"array","items":{"type":"object","properties":{"score":{"type":"number"},"distance":{"type":["number","null"]},"distance_rank":{"type":"integer"},"word_rank":{"type":"integer"},"values":{"type":"object","additionalProperties":{"type":["string","null"]}}},"required":["score","distance","values"]}},"truncated":{"type":"boolean"}},"required":["table","vector_column","distance_metric","index","words_searched","results","truncated"]}"#,
    effect: Effect::Reads,
    offer: Offer::Usual,
};

/// The most characters of a value in a summary.
const SUMMARY_LENGTH: usize = 200;

/// The most bytes that a token of the answer takes, in each of its two forms.
const BYTES_OF_A_TOKEN: usize = 4;

/// The tool.
pub(crate) struct SimilaritySearch {
    pub(crate) reader: Arc<Reader>,
    /// Makes vectors of texts, if the operator has configured a model.
    pub(crate) embedder: Option<Arc<Embedder>>,
}

impl Tool for SimilaritySearch {
    fn definition(&self) -> Definition<'_> {
        let effect = match &self.embedder {
            Some(_) => Effect::Asks,
            None => Effect::Reads,
        };
        Definition {
            effect,
            ..DEFINITION
        }
    }

    fn call<'a>(&'a self, call: Call<'a>) -> Answer<'a> {
        Box::pin(self.run(call))
    }
}

struct Request {
    table: String,
    text: Option<String>,
    vector: Option<Vector>,
    count: u32,
    /// Whether more rows were requested than the agent may have.
    is_narrowed: bool,
    columns: Option<Vec<String>>,
    filter: Option<String>,
    metric: Option<Metric>,
    relevance: f64,
    format: &'static str,
    tokens: usize,
}

impl Request {
    fn read(mut arguments: Arguments) -> Result<Self, String> {
        let metrics = Metric::NAMES.join(", ");
        let request = Request {
            table: arguments.text("table_name")?,
            text: arguments.optional_text("query_text")?,
            vector: arguments
                .optional_value("query_vector")
                .map(|value| Vector::read(&value))
                .transpose()?,
            count: u32::try_from(arguments.number("top_n", 1..=100, 10)?).unwrap_or(100),
            is_narrowed: false,
            columns: arguments.optional_texts("columns")?,
            filter: arguments.optional_text("filter")?,
            metric: arguments
                .optional_text("distance_metric")?
                .map(|name| {
                    let wrong = || format!("distance_metric must be one of {metrics}");
                    Metric::from_name(&name).ok_or_else(wrong)
                })
                .transpose()?,
            relevance: arguments.share("lambda", 0.6)?,
            format: arguments.choice("output_format", &["full", "summary", "ids_only"])?,
            tokens: usize::try_from(arguments.number("max_output_tokens", 100..=50_000, 1_000)?)
                .unwrap_or(1_000),
        };
        arguments.finish()?;
        if request.text.is_none() && request.vector.is_none() {
            return Err(
                "query_text is missing; give the text to search for, or query_vector".into(),
            );
        }
        Ok(request)
    }

    /// Reduces the request to what the agent may have.
    fn narrow(&mut self, agent: &Agent, limits: QueryLimits) {
        let most = u32::try_from(agent.most_rows(self.count.into())).unwrap_or(self.count);
        self.is_narrowed = most < self.count;
        self.count = most;
        self.tokens = self.tokens.min(limits.result_bytes / BYTES_OF_A_TOKEN);
    }
}

impl SimilaritySearch {
    async fn run(&self, mut call: Call<'_>) -> Result<Found, Failure> {
        let agent = &call.on_database()?;
        let mut request = Request::read(call.arguments)?;
        let limits = agent.limits(self.reader.limits);
        request.narrow(agent, limits);
        let request = &request;
        let table = &Table::find(&self.reader, agent, &request.table).await?;
        let named = format!("SELECT FROM {}", table.name);
        self.reader.stay_within(agent, &named).await?;
        if let Some(condition) = &request.filter {
            keep_in_place(&self.reader, agent, &table.name, condition).await?;
        }
        let vector = &self.vector(request).await?;
        let column = column(table, request, vector)?;
        let (metric, index) = metric_and_index(table, column, request);
        if metric == Metric::Cosine && vector.is_zero() {
            return Err(Failure::told(
                "all numbers of the vector are 0: it has no direction, and no cosine distance to anything; give another one, or distance_metric l2",
            ));
        }
        let shown = &shown(table, request)?;
        let texts: Vec<_> = shown
            .iter()
            .copied()
            .filter(|column| column.is_text())
            .collect();
        let words = request.text.as_ref().and_then(|_| Words::of(table, &texts));
        let pool = (3 * request.count).clamp(20, 150);
        let search = Search {
            table,
            column,
            metric,
            dimensions: vector.dimensions(),
            index,
            words,
            shown,
            filter: request.filter.as_deref(),
            pool,
            value_length: value_length(request, limits, pool, shown.len()),
            compares: request.relevance < 1.0,
        };
        let (rows, used) = self.look(agent, &search, vector, request).await?;
        let (found, shown) = answer(&search, request, &rows, used.as_deref())?;
        agent.count_rows(shown);
        Ok(found)
    }

    async fn vector(&self, request: &Request) -> Result<Vector, Failure> {
        let text = match (&request.vector, &request.text) {
            (Some(vector), _) => return Ok(vector.clone()),
            (None, Some(text)) => text,
            (None, None) => unreachable!("the request has one of them"),
        };
        let Some(embedder) = &self.embedder else {
            return Err(Failure::told(
                "no model is configured that makes vectors of texts; give query_vector \
                 (query_text beside it still ranks by words), or ask the operator to configure `embedding:`",
            ));
        };
        let made = embedder.embed(&[text], Purpose::Query).await;
        let vectors = made.map_err(quoted)?;
        let first = vectors.into_iter().next();
        first
            .map(Vector::from)
            .ok_or_else(|| Failure::told("the model gave no vector"))
    }

    /// Searches, and asks PostgreSQL for the plan of the search; returns the rows and the index that it uses.
    async fn look(
        &self,
        agent: &Agent,
        search: &Search<'_>,
        vector: &Vector,
        request: &Request,
    ) -> Result<(Vec<Row>, Option<String>), Failure> {
        let (sql, settings) = (search.sql(), search.settings());
        let vector = search.vector(vector);
        let text = request.text.as_deref().unwrap_or_default();
        let parameters: &[crate::read_only::Parameter<'_>] =
            &[(&vector, Type::TEXT), (&text, Type::TEXT)];
        let parameters = match search.words {
            Some(_) => parameters,
            None => &parameters[..1],
        };
        let rows = self
            .reader
            .ask_with(agent, &settings, &sql, parameters)
            .await
            .map_err(|error| of_search(error, search))?;
        let explain = format!("EXPLAIN (COSTS false)\n{sql}");
        let plan = self
            .reader
            .ask_with(agent, &settings, &explain, parameters)
            .await?;
        let plan: Vec<&str> = plan
            .iter()
            .filter_map(|line| line.try_get(0).ok())
            .collect();
        Ok((rows, index_in(&plan)))
    }
}

/// Returns the failure of a search; if vectors of other dimensions are the cause, it says what to do.
fn of_search(error: ReadError, search: &Search<'_>) -> Failure {
    let Column {
        type_name,
        quoted,
        schema,
        ..
    } = search.column;
    let is_of_dimensions =
        error.sqlstate() == Some(*b"22000") && search.column.dimensions().is_none();
    let failure = Failure::from(error);
    if is_of_dimensions && type_name != "sparsevec" {
        failure.hint(&format!(
            "vectors of several dimensions are in this column; choose those that can be compared with filter, such as {schema}.vector_dims({quoted}) = {}",
            search.dimensions
        ))
    } else {
        failure
    }
}

/// Returns how many characters of a value are read, so that an exchange stays far below its limit.
fn value_length(request: &Request, limits: QueryLimits, pool: u32, columns: usize) -> usize {
    let cells = 2 * usize::try_from(pool).unwrap_or(150) * columns.max(1);
    let most = (limits.result_bytes / cells).max(16);
    let wanted = match request.format {
        "summary" => SUMMARY_LENGTH,
        _ => BYTES_OF_A_TOKEN * request.tokens,
    };
    wanted.min(most)
}

/// Finds the index that a plan takes its order from.
fn index_in(plan: &[&str]) -> Option<String> {
    let at = plan
        .iter()
        .position(|line| line.trim_start().starts_with("Order By:"))?;
    let scan = plan[..at].iter().rev();
    scan.filter_map(|line| line.split_once("Index Scan using ")?.1.split_once(" on "))
        .map(|(index, _)| index.trim_matches('"').to_owned())
        .next()
}

/// Chooses the vector column: one that was named, else the first that fits, with indexed ones before others.
fn column<'a>(table: &'a Table, request: &Request, vector: &Vector) -> Result<&'a Column, Failure> {
    let named = |column: &&Column| {
        let names = request.columns.iter().flatten();
        names.into_iter().any(|name| *name == column.name)
    };
    let all: Vec<&Column> = table.columns.iter().filter(|it| it.is_vector()).collect();
    let chosen: Vec<&Column> = all.iter().copied().filter(named).collect();
    let considered = if chosen.is_empty() { &all } else { &chosen };
    let fits = |column: &&&Column| {
        let dimensions = column
            .dimensions()
            .is_none_or(|it| it == vector.dimensions());
        dimensions && vector.fits(&column.type_name)
    };
    let indexed = |column: &&Column| {
        let finds = |index: &Index| index.finds_neighbours_of(column);
        !table.indexes.iter().any(finds)
    };
    if considered.is_empty() {
        return Err(Failure::told(format!(
            "{} has no column of pgvector's types; get_schema_info with vector_tables_only lists tables that have",
            table.name
        )));
    }
    let fitting = considered
        .iter()
        .filter(fits)
        .min_by_key(|column| indexed(column));
    fitting.copied().ok_or_else(|| {
        let known = considered.iter().map(|column| {
            let dimensions = column
                .dimensions()
                .map_or("any".into(), |it| it.to_string());
            format!(
                "{} ({}, {dimensions} dimensions)",
                column.name, column.type_name
            )
        });
        let known: Vec<_> = known.collect();
        Failure::told(format!(
            "the vector has {} dimensions, which fits no vector column of {}: {}; \
             vectors must come from the model that made those of the table",
            vector.dimensions(),
            table.name,
            known.join(", ")
        ))
    })
}

/// Returns the metric that was requested, else that of an index, and the index that serves it.
fn metric_and_index<'a>(
    table: &'a Table,
    column: &Column,
    request: &Request,
) -> (Metric, Option<&'a Index>) {
    let usable = table.indexes.iter().filter_map(|index| {
        let metric = Metric::of_class(&index.class)?;
        index.finds_neighbours_of(column).then_some((metric, index))
    });
    let mut wanted = usable.filter(|(metric, _)| request.metric.is_none_or(|it| it == *metric));
    match wanted.next() {
        Some((metric, index)) => (metric, Some(index)),
        None => (request.metric.unwrap_or(Metric::Cosine), None),
    }
}

/// Chooses the columns that are shown.
fn shown<'a>(table: &'a Table, request: &Request) -> Result<Vec<&'a Column>, Failure> {
    if request.format == "ids_only" {
        let keys: Vec<_> = table.columns.iter().filter(|column| column.key).collect();
        if keys.is_empty() {
            return Err(Failure::told(format!(
                "{} has no primary key that this token may read; use output_format summary with columns",
                table.name
            )));
        }
        return Ok(keys);
    }
    let all = || table.columns.iter().filter(|column| column.is_shown());
    let Some(names) = &request.columns else {
        return Ok(all().collect());
    };
    // Each name is looked up, and each column is a part of the statement: there must not be too many.
    if names.len() > table.columns.len() {
        return Err(Failure::told(format!(
            "columns names {} columns; {} has {} that this token may read",
            names.len(),
            table.name,
            table.columns.len()
        )));
    }
    let mut columns: Vec<&Column> = Vec::new();
    for name in names {
        let column = table.column(name)?;
        let is_there = columns.iter().any(|other| std::ptr::eq(*other, column));
        if !column.is_vector() && !is_there {
            columns.push(column);
        }
    }
    // A call that named only the vector column wants to see the usual ones.
    Ok(if columns.is_empty() {
        all().collect()
    } else {
        columns
    })
}

fn candidate(row: &Row) -> Result<Candidate, ReadError> {
    let unreadable = |_| ReadError::Unreadable;
    let apart: Option<Vec<Option<f32>>> = row.try_get("apart").map_err(unreadable)?;
    Ok(Candidate {
        distance: row.try_get("distance").map_err(unreadable)?,
        weight: row.try_get("weight").map_err(unreadable)?,
        apart: apart.unwrap_or_default(),
    })
}

/// Builds the answer; returns it with the number of rows in it.
fn answer(
    search: &Search<'_>,
    request: &Request,
    rows: &[Row],
    used: Option<&str>,
) -> Result<(Found, usize), Failure> {
    let candidates = rows.iter().map(candidate).collect::<Result<Vec<_>, _>>()?;
    let count = usize::try_from(request.count).unwrap_or(100);
    let picked = ranking::pick(&candidates, count, request.relevance);
    let names = search.shown.iter().map(|column| &column.name);
    let mut shown = Vec::with_capacity(picked.len());
    for place in picked {
        let cells: Vec<Option<String>> = rows[place.candidate]
            .try_get("cells")
            .map_err(|_| ReadError::Unreadable)?;
        shown.push(answer::Row {
            place,
            distance: candidates[place.candidate].distance,
            values: names.clone().cloned().zip(cells).collect(),
        });
    }
    let answer = answer::write(shown, request.tokens, search.value_length);
    let count = answer.results.len();
    let has_no_more_rows = request.is_narrowed && u32::try_from(count) == Ok(request.count);
    let structured = json!({
        "table": search.table.name,
        "vector_column": search.column.name,
        "distance_metric": search.metric.name(),
        "index": used.map_or(Value::Null, Value::from),
        "words_searched": match &search.words {
            None => "no",
            Some(words) if words.everywhere => "everywhere",
            Some(_) => "nearest",
        },
        "results": answer.results,
        "truncated": answer.is_truncated || has_no_more_rows,
    });
    let mut told = told(search, count, used, answer.is_truncated);
    if has_no_more_rows {
        told.push_str(&format!(
            "\nThis token may have {count} row(s) of one result."
        ));
    }
    let found = Found::new(&structured).data(answer.text).said(told);
    Ok((found, count))
}

/// Says how the rows were found, and what would find them better.
fn told(search: &Search<'_>, count: usize, used: Option<&str>, is_truncated: bool) -> String {
    let (table, column, metric) = (search.table, search.column, search.metric);
    let mut said = vec![format!(
        "{count} row(s) of {} by {} distance of {}",
        table.name,
        metric.name(),
        column.name
    )];
    said.push(match (used, search.index) {
        (Some(index), _) => format!("Found by the index {index}."),
        (None, Some(index)) => format!(
            "PostgreSQL read the table and not the index {}: it is small, or the filter leaves little.",
            index.name
        ),
        (None, None) if table.kind == "v" => {
            "The whole view was read; an index belongs on the table below it.".into()
        }
        (None, None) => match search.index_to_make() {
            Some(make) => format!(
                "No index serves this metric, so the whole table was read; next step: {make}."
            ),
            None => format!(
                "The whole table was read, as pgvector has no index for {} dimensions.",
                search.dimensions
            ),
        },
    });
    match &search.words {
        Some(words) if !words.everywhere => said.push(
            "Words were only looked for in the nearest rows; a GIN index on a tsvector lets them be found everywhere.".into(),
        ),
        _ => {}
    }
    if is_truncated {
        said.push(
            "Rows or values were cut off; give a larger max_output_tokens, fewer columns, or output_format ids_only.".into(),
        );
    }
    said.join("\n")
}
