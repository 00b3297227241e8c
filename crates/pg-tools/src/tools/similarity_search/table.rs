//! What a search has to know of its table.

use serde::Deserialize;
use tokio_postgres::{Error, Row, types::Type};

use crate::{
    Agent,
    nearest::nearest,
    quoting::repeated,
    read_only::{ReadError, Reader},
    tools::{Failure, named::Named},
};

const TABLE: &str = include_str!("table.sql");
const VECTOR_TABLES: &str = include_str!("vector_tables.sql");

/// The types of pgvector that have distances.
const VECTOR_TYPES: [&str; 3] = ["vector", "halfvec", "sparsevec"];

/// A table, as far as the role may see it.
pub(super) struct Table {
    /// Its name with the schema, quoted.
    pub(super) name: String,
    pub(super) kind: String,
    /// Whether the role may read all of it, as it must to read the location of a row (`ctid`).
    is_whole: bool,
    /// About how many rows it has; negative if that is unknown.
    pub(super) rows: f64,
    pub(super) columns: Vec<Column>,
    pub(super) indexes: Vec<Index>,
    /// pgvector's version, as (0, 8).
    pub(super) version: (u32, u32),
    /// The text search configuration that is used by default.
    pub(super) language: String,
}

/// A column that the role may read.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) quoted: String,
    number: i32,
    #[serde(rename = "type")]
    pub(super) type_name: String,
    /// The schema of the type, quoted.
    pub(super) schema: String,
    category: String,
    dimensions: i32,
    /// Whether it belongs to the primary key.
    pub(super) key: bool,
    /// The expression that it is generated from.
    pub(super) expression: Option<String>,
}

impl Column {
    pub(super) fn is_vector(&self) -> bool {
        VECTOR_TYPES.contains(&self.type_name.as_str())
    }

    pub(super) fn is_words(&self) -> bool {
        self.type_name == "tsvector"
    }

    /// Returns whether it holds text that people write.
    pub(super) fn is_text(&self) -> bool {
        self.category == "S" && !["name", "char"].contains(&self.type_name.as_str())
    }

    /// Returns whether it is worth showing.
    pub(super) fn is_shown(&self) -> bool {
        !self.is_vector() && !self.is_words() && self.type_name != "bytea"
    }

    /// Returns the dimensions of a vector column that has a fixed number of them.
    pub(super) fn dimensions(&self) -> Option<usize> {
        usize::try_from(self.dimensions)
            .ok()
            .filter(|number| *number > 0)
    }
}

/// A key of an index.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Index {
    pub(super) name: String,
    pub(super) method: String,
    /// The column or the expression, as SQL.
    pub(super) key: String,
    /// The column that it is about, if it is only one.
    column: Option<i32>,
    /// The operator class.
    pub(super) class: String,
    /// The type that the operator class is for.
    #[serde(rename = "type")]
    pub(super) type_name: String,
    #[serde(default)]
    options: Option<Vec<String>>,
}

impl Index {
    /// Returns whether it finds near neighbours of a column: by the column itself, or by the column cast to another
    /// type of vector, which is how more than 2,000 dimensions are indexed.
    pub(super) fn finds_neighbours_of(&self, column: &Column) -> bool {
        let is_for_neighbours = ["hnsw", "ivfflat"].contains(&self.method.as_str());
        let is_cast = || {
            let key = self.key.trim_matches(['(', ')']);
            let cast = key.strip_prefix(&*column.quoted);
            let cast = cast.and_then(|rest| rest.strip_prefix("::"));
            cast.is_some_and(|cast| {
                let cast = cast.rsplit('.').next().unwrap_or_default();
                cast.starts_with("halfvec(") || cast.starts_with("vector(")
            })
        };
        is_for_neighbours
            && self.column == Some(column.number)
            && (self.key == column.quoted || is_cast())
    }

    pub(super) fn is_for_words(&self) -> bool {
        self.type_name == "tsvector"
    }

    /// Returns the number of lists of an IVFFlat index.
    pub(super) fn lists(&self) -> u32 {
        let options = self.options.iter().flatten();
        let mut lists = options.filter_map(|option| option.strip_prefix("lists=")?.parse().ok());
        // pgvector's default.
        lists.next_back().unwrap_or(100)
    }
}

impl Table {
    /// Asks PostgreSQL about a table, given as `table` or `schema.table`.
    pub(super) async fn find(reader: &Reader, agent: &Agent, given: &str) -> Result<Self, Failure> {
        for Named { schema, table } in Named::readings(given) {
            let rows = reader
                .ask(agent, TABLE, &[(&schema, Type::TEXT), (&table, Type::TEXT)])
                .await?;
            if let Some(row) = rows.first() {
                return Ok(Table::read(row)?);
            }
        }
        Err(missing(reader, agent, given).await?)
    }

    fn read(row: &Row) -> Result<Self, ReadError> {
        let lost = |_: Error| ReadError::Unreadable;
        let list = |name: &str| row.try_get::<_, Option<String>>(name).map_err(lost);
        let version: Option<String> = row.try_get("version").map_err(lost)?;
        let columns = list("columns")?.unwrap_or_else(|| "[]".into());
        let indexes = list("indexes")?.unwrap_or_else(|| "[]".into());
        let unreadable = |_| ReadError::Unreadable;
        Ok(Table {
            name: row.try_get("name").map_err(lost)?,
            kind: row.try_get("kind").map_err(lost)?,
            is_whole: row.try_get("is_whole").map_err(lost)?,
            rows: row.try_get("rows").map_err(lost)?,
            columns: serde_json::from_str(&columns).map_err(unreadable)?,
            indexes: serde_json::from_str(&indexes).map_err(unreadable)?,
            version: version.as_deref().and_then(parse_version).unwrap_or((0, 0)),
            language: row.try_get("language").map_err(lost)?,
        })
    }

    /// Returns an expression that tells one row from all others.
    pub(super) fn identity(&self) -> String {
        match self.kind.as_str() {
            "r" | "p" | "m" if self.is_whole => {
                "tableoid::pg_catalog.text || ctid::pg_catalog.text".into()
            }
            _ => {
                let columns = self.columns.iter().map(|column| &*column.quoted);
                let columns: Vec<_> = columns.collect();
                format!(
                    "pg_catalog.md5(ROW({})::pg_catalog.text)",
                    columns.join(", ")
                )
            }
        }
    }

    /// Finds a column by its name.
    pub(super) fn column(&self, name: &str) -> Result<&Column, Failure> {
        let found = self.columns.iter().find(|column| column.name == name);
        found.ok_or_else(|| {
            let names = || self.columns.iter().map(|column| &*column.name);
            let hint = match nearest(name, names()) {
                Some(nearest) => format!("did you mean \"{nearest}\"?"),
                None => format!("it has {}", names().collect::<Vec<_>>().join(", ")),
            };
            Failure::told(format!(
                "{} has no column \"{}\"; {hint}",
                self.name,
                repeated(name)
            ))
        })
    }
}

async fn missing(reader: &Reader, agent: &Agent, given: &str) -> Result<Failure, Failure> {
    let rows = reader.ask(agent, VECTOR_TABLES, &[]).await?;
    let names: Vec<String> = rows.iter().filter_map(|row| row.try_get(0).ok()).collect();
    let hint = if names.is_empty() {
        "no table that this token may read has a vector column".to_owned()
    } else {
        format!("tables with vectors are {}", names.join(", "))
    };
    Ok(Failure::told(format!(
        "there is no table \"{}\" that this token may read; {hint}",
        repeated(given)
    )))
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}
