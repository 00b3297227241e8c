//! The one statement of a search: near neighbours by an index, rows by their words, and what is needed to rank both
//! together.

use std::fmt::Write as _;

use super::{
    metric::Metric,
    table::{Column, Index, Table},
};

/// A table with more rows is not read as a whole to find words in it; that takes an index.
const FEW_ROWS: f64 = 20_000.0;

/// The most dimensions of a vector that pgvector can index, and of one of half the precision.
const MOST_INDEXED: usize = 2_000;
const MOST_INDEXED_HALVES: usize = 4_000;

/// What is searched, and with what.
pub(super) struct Search<'a> {
    pub(super) table: &'a Table,
    pub(super) column: &'a Column,
    pub(super) metric: Metric,
    /// The dimensions of the vector that is searched with.
    pub(super) dimensions: usize,
    /// The index that serves the column and the metric, if there is one.
    pub(super) index: Option<&'a Index>,
    pub(super) words: Option<Words>,
    /// The columns that are shown.
    pub(super) shown: &'a [&'a Column],
    /// A condition that was checked to stay in its place.
    pub(super) filter: Option<&'a str>,
    /// The most near neighbours, and the most rows by their words.
    pub(super) pool: u32,
    /// The most characters of a value.
    pub(super) value_length: usize,
    /// Whether it matters how much rows are like each other.
    pub(super) compares: bool,
}

/// Where words are searched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Words {
    /// The words of a row, as SQL.
    expression: String,
    /// The configuration of full text search.
    language: String,
    /// Whether the whole table is searched, and not only the near neighbours.
    pub(super) everywhere: bool,
}

impl Words {
    /// Finds where the words of a table are: in an index, else in a column of words, else in its texts.
    pub(super) fn of(table: &Table, texts: &[&Column]) -> Option<Self> {
        let index = table.indexes.iter().find(|index| index.is_for_words());
        let column = || table.columns.iter().find(|column| column.is_words());
        let (expression, source) = if let Some(index) = index {
            let named = |column: &&Column| column.quoted == index.key;
            let column = table.columns.iter().find(named);
            let source = column.map_or(Some(&index.key), |column| column.expression.as_ref());
            (index.key.clone(), source.cloned())
        } else if let Some(column) = column() {
            (column.quoted.clone(), column.expression.clone())
        } else if texts.is_empty() {
            return None;
        } else {
            let texts: Vec<_> = texts.iter().map(|column| &*column.quoted).collect();
            let language = literal(&table.language);
            let joined = format!("pg_catalog.concat_ws(' ', {})", texts.join(", "));
            (
                format!("pg_catalog.to_tsvector({language}::pg_catalog.regconfig, {joined})"),
                None,
            )
        };
        let language = source.as_deref().and_then(language_in);
        Some(Words {
            expression,
            language: language.unwrap_or_else(|| table.language.clone()),
            everywhere: index.is_some() || (0.0..=FEW_ROWS).contains(&table.rows),
        })
    }

    /// Returns the words of the question, any of which may be found: a question is seldom written in the words of its
    /// answer.
    fn query(&self) -> String {
        let language = literal(&self.language);
        format!(
            "pg_catalog.replace(pg_catalog.plainto_tsquery({language}::pg_catalog.regconfig, $2::pg_catalog.text)::pg_catalog.text, ' & ', ' | ')::pg_catalog.tsquery"
        )
    }
}

impl Search<'_> {
    /// Returns the column, or the expression that the index is on.
    fn key(&self) -> &str {
        self.index.map_or(&self.column.quoted, |index| &index.key)
    }

    /// Returns the type that is compared.
    fn type_name(&self) -> &str {
        self.index
            .map_or(&self.column.type_name, |index| &index.type_name)
    }

    /// Writes the vector to search with as the type that is compared.
    pub(super) fn vector(&self, vector: &super::vector::Vector) -> String {
        vector.text(self.type_name())
    }

    /// Returns the settings, for the transaction alone, that make an index look far enough.
    ///
    /// Most are made even without a known index or a filter: an index may serve that is not seen from here, as below a
    /// view, and rows that it finds may be left out by a view's condition or a policy.
    pub(super) fn settings(&self) -> Vec<(&'static str, String)> {
        let reach = (2 * self.pool).clamp(40, 1_000);
        let mut settings = vec![("hnsw.ef_search", reach.to_string())];
        if let Some(index) = self.index.filter(|index| index.method == "ivfflat") {
            settings.push(("ivfflat.probes", index.lists().isqrt().max(1).to_string()));
        }
        // From 0.8 on, pgvector continues if too few rows are left.
        if self.table.version >= (0, 8) {
            settings.push(("hnsw.iterative_scan", "strict_order".into()));
            settings.push(("ivfflat.iterative_scan", "relaxed_order".into()));
        }
        settings
    }

    /// Writes the statement. `$1` is the vector as text, `$2` the question if words count.
    ///
    /// It returns for each row its distance, the weight of its words, the cosine distances to all rows before it, and
    /// its values.
    pub(super) fn sql(&self) -> String {
        let (name, pool, schema) = (&self.table.name, self.pool, &self.column.schema);
        let key = self.key();
        let distance = format!(
            "{key} OPERATOR({schema}.{}) $1::pg_catalog.text::{schema}.{}",
            self.metric.operator(),
            self.type_name()
        );
        let weight = self.words.as_ref().map_or_else(
            || "NULL::pg_catalog.float4".to_owned(),
            |words| {
                let (expression, query) = (&words.expression, words.query());
                format!("CASE WHEN {expression} @@ {query} THEN pg_catalog.ts_rank_cd({expression}, {query}) END")
            },
        );
        let parts = format!(
            "{} AS id, {key} AS v, {distance} AS distance, {weight} AS weight, {} AS cells",
            self.table.identity(),
            self.cells()
        );
        let filter = self.filter.unwrap_or("true");
        let mut sql = format!(
            "WITH near AS MATERIALIZED (\nSELECT {parts} FROM {name} WHERE (\n{filter}\n) ORDER BY {distance} LIMIT {pool}\n)"
        );
        let mut found = "SELECT * FROM near".to_owned();
        if let Some(words) = self.words.as_ref().filter(|words| words.everywhere) {
            let (expression, query) = (&words.expression, words.query());
            _ = write!(
                sql,
                ", worded AS MATERIALIZED (\nSELECT {parts} FROM {name} WHERE (\n{filter}\n) AND {expression} @@ {query} \
                 ORDER BY pg_catalog.ts_rank_cd({expression}, {query}) DESC LIMIT {pool}\n)"
            );
            found.push_str(" UNION ALL SELECT * FROM worded");
        }
        let apart = if self.compares {
            format!(
                "ARRAY(SELECT (other.v OPERATOR({schema}.<=>) r.v)::pg_catalog.float4 FROM numbered other WHERE other.n < r.n ORDER BY other.n)"
            )
        } else {
            "NULL::pg_catalog.float4[]".to_owned()
        };
        _ = write!(
            sql,
            ", found AS MATERIALIZED (SELECT DISTINCT ON (id) * FROM ({found}) both_lists ORDER BY id), \
             numbered AS MATERIALIZED (SELECT *, pg_catalog.row_number() OVER (ORDER BY distance, id) AS n FROM found)\n\
             SELECT r.distance::pg_catalog.float8, r.weight::pg_catalog.float8, {apart} AS apart, r.cells FROM numbered r ORDER BY r.n"
        );
        sql
    }

    /// Returns the statement that creates an index for such searches, unless pgvector cannot index so many dimensions.
    pub(super) fn index_to_make(&self) -> Option<String> {
        let (table, column, dimensions) = (self.table, self.column, self.dimensions);
        let has_halves = table.version >= (0, 7);
        let type_name = match &*column.type_name {
            "vector" if dimensions > MOST_INDEXED => "halfvec",
            named => named,
        };
        if type_name == "halfvec" && (dimensions > MOST_INDEXED_HALVES || !has_halves) {
            return None;
        }
        let quoted = &column.quoted;
        let is_fixed = column.dimensions().is_some() || type_name == "sparsevec";
        let key = if is_fixed && type_name == column.type_name {
            quoted.clone()
        } else {
            format!("({quoted}::{type_name}({dimensions}))")
        };
        let rows = if is_fixed {
            String::new()
        } else {
            format!(" WHERE vector_dims({quoted}) = {dimensions}")
        };
        Some(format!(
            "CREATE INDEX ON {} USING hnsw ({key} {}){rows}",
            table.name,
            self.metric.class(type_name)
        ))
    }

    fn cells(&self) -> String {
        // One more character tells whether there are more.
        let length = self.value_length + 1;
        let cells = self.shown.iter().map(|column| {
            format!(
                "pg_catalog.left({}::pg_catalog.text, {length})",
                column.quoted
            )
        });
        let cells: Vec<_> = cells.collect();
        format!("ARRAY[{}]::pg_catalog.text[]", cells.join(", "))
    }
}

/// Finds the text search configuration that an expression names, as in `'english'::regconfig`.
fn language_in(expression: &str) -> Option<String> {
    let (before, _) = expression.split_once("'::regconfig")?;
    let (_, language) = before.rsplit_once('\'')?;
    Some(language.to_owned())
}

/// Quotes a text as an SQL literal.
fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if doubled.contains('\\') {
        format!("E'{}'", doubled.replace('\\', "\\\\"))
    } else {
        format!("'{doubled}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_of_an_index_is_read_from_it() {
        for (expression, language) in [
            ("to_tsvector('english'::regconfig, body)", Some("english")),
            (
                "to_tsvector('pg_catalog.simple'::regconfig, ((a || ' '::text) || b))",
                Some("pg_catalog.simple"),
            ),
            ("words", None),
        ] {
            assert_eq!(language_in(expression).as_deref(), language, "{expression}");
        }
    }

    #[test]
    fn a_literal_ends_where_its_text_ends() {
        for (text, quoted) in [("a", "'a'"), ("a'b", "'a''b'"), ("a\\'", "E'a\\\\'''")] {
            assert_eq!(literal(text), quoted);
        }
    }
}
