//! What serves the condition of a scan: indexes and statistics on columns are of no use for expressions.

use super::plan::Node;
use crate::{
    quoting::written,
    tools::comparisons::{Cast, Condition, Token, condition, tokens},
};

/// How far indexes on columns serve a condition, and what the rest of it is.
#[derive(Default)]
pub(super) struct Served {
    columns: Vec<String>,
    /// Whether one of the columns is compared as a `text`, which only an index of a `varchar` serves.
    is_as_text: bool,
    rest: Rest,
}

/// The kind of condition that no index on a column serves as it is.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Rest {
    #[default]
    Nothing,
    Expression,
    Pattern,
    Contents,
    Subquery,
}

const PATTERNS: [&str; 4] = ["~~", "~~*", "~", "~*"];
const CONTENTS: [&str; 8] = ["@>", "<@", "&&", "?", "?|", "?&", "@@", "@?"];

impl Served {
    /// Reads the conditions of a scan.
    pub(super) fn of_scan(node: &Node<'_>) -> Self {
        let alias = node.text("Alias").unwrap_or_default();
        let mut served = Served::default();
        let conditions = ["Index Cond", "Recheck Cond", "Filter"];
        for text in conditions.iter().filter_map(|field| node.text(field)) {
            let columns = columns(&condition(text), alias);
            if !columns.is_all {
                served.rest = Rest::of(text);
            }
            served.is_as_text |= columns.is_as_text;
            served.add(columns.names);
        }
        served
    }

    fn add(&mut self, names: Vec<String>) {
        for name in names {
            if !self.columns.contains(&name) {
                self.columns.push(name);
            }
        }
    }

    /// Says which index would make a scan read less.
    pub(super) fn index_step(&self, relation: &str) -> String {
        let rest = match self.rest {
            Rest::Nothing => {
                let cast = match self.is_as_text {
                    true => " What is cast to text there has to be a varchar for it; compare another type without the cast.",
                    false => "",
                };
                return format!(
                    "An index on the columns of that condition lets PostgreSQL read only what it needs: CREATE INDEX ON {relation} (...).{cast}"
                );
            }
            Rest::Expression => format!(
                "No index on a column serves an expression. One on the expression itself does, if that is immutable: CREATE INDEX ON {relation} ((...)); so does a condition on the bare column."
            ),
            Rest::Pattern => format!(
                "No plain index serves a pattern. One of trigrams does (CREATE EXTENSION pg_trgm; CREATE INDEX ON {relation} USING gin (... gin_trgm_ops)), and text_pattern_ops one that begins with its text."
            ),
            Rest::Contents => format!(
                "No B-tree serves that operator. An index of a method that knows it may: CREATE INDEX ON {relation} USING gin (...), or gist."
            ),
            Rest::Subquery => "No index serves a subquery that runs within a condition. Write it as a join, or with EXISTS.".to_owned(),
        };
        let columns: Vec<_> = self.columns.iter().map(|name| written(name)).collect();
        match &columns[..] {
            [] => rest,
            columns => format!(
                "{rest} The part of the condition that compares columns is served by CREATE INDEX ON {relation} ({}).",
                columns.join(", ")
            ),
        }
    }

    /// Says how PostgreSQL can guess better how many rows there are; `sampled` is what has the statistics.
    pub(super) fn estimate_step(&self, relation: &str, sampled: &str) -> String {
        match self.rest {
            Rest::Nothing if self.is_as_text => format!(
                "Run ANALYZE {relation}; compare what is cast to text and is no varchar without the cast, which PostgreSQL knows nothing of."
            ),
            Rest::Nothing => format!(
                "Run ANALYZE {relation}; if the condition combines several columns, CREATE STATISTICS on them."
            ),
            Rest::Expression => format!(
                "PostgreSQL knows the values of columns and not of expressions: CREATE STATISTICS name ON (expression) FROM {sampled}, then ANALYZE {relation}; or compare the bare column."
            ),
            Rest::Pattern | Rest::Contents => format!(
                "PostgreSQL guesses from a sample how many rows fit: a larger one is taken after ALTER TABLE {relation} ALTER COLUMN name SET STATISTICS 1000 by ANALYZE {relation}."
            ),
            Rest::Subquery => {
                "PostgreSQL cannot guess what a subquery within a condition lets through: write it as a join, or with EXISTS.".to_owned()
            }
        }
    }
}

impl Rest {
    fn of(text: &str) -> Self {
        let tokens = tokens(text);
        let any = |operators: &[&str]| {
            let mut tokens = tokens.iter();
            tokens.any(|token| matches!(token, Token::Operator(sign) if operators.contains(sign)))
        };
        if tokens.contains(&Token::Name("SubPlan".to_owned())) {
            Rest::Subquery
        } else if any(&PATTERNS) {
            Rest::Pattern
        } else if any(&CONTENTS) {
            Rest::Contents
        } else {
            Rest::Expression
        }
    }
}

/// The columns of a condition on which an index serves it.
struct Columns {
    names: Vec<String>,
    is_as_text: bool,
    /// Whether they serve all of the condition.
    is_all: bool,
}

fn columns(condition: &Condition, alias: &str) -> Columns {
    let of_each = |parts: &[Condition]| -> Vec<Columns> {
        parts.iter().map(|part| columns(part, alias)).collect()
    };
    match condition {
        Condition::All(parts) => Columns::joined(of_each(parts)),
        Condition::Any(sides) => {
            let sides = of_each(sides);
            // One side that no index serves makes PostgreSQL read all rows.
            if sides.iter().any(|side| side.names.is_empty()) {
                Columns::joined(Vec::new())
            } else {
                Columns::joined(sides)
            }
        }
        Condition::Compares(compared) => {
            let bare = compared
                .iter()
                .filter(|compared| compared.alias == alias && compared.cast != Cast::Other);
            let columns = bare.filter_map(|compared| {
                Some(Columns {
                    names: vec![compared.key.column()?.to_owned()],
                    is_as_text: compared.cast == Cast::Text,
                    is_all: true,
                })
            });
            Columns::joined(columns.collect())
        }
    }
}

impl Columns {
    fn joined(parts: Vec<Columns>) -> Self {
        Columns {
            is_as_text: parts.iter().any(|part| part.is_as_text),
            is_all: !parts.is_empty() && parts.iter().all(|part| part.is_all),
            names: parts.into_iter().flat_map(|part| part.names).collect(),
        }
    }
}
