//! Says in words what was understood.

use crate::dates::{Span, unit_name};
use crate::query::{Ask, By, Children, ColumnRef, Filter, Group, Limit, Literal, Place, Query};
use crate::schema::{Schema, Table};
use crate::sql::{sign, word};

/// Says what the query asks for, one part per entry.
pub(crate) fn query(query: &Query, schema: &Schema) -> Vec<String> {
    let teller = Teller {
        table: &schema.tables[query.table],
        schema,
    };
    let mut parts = vec![teller.ask(&query.ask)];
    parts.extend(
        query
            .filters
            .iter()
            .map(|filter| format!("where {}", teller.filter(filter))),
    );
    parts.extend(
        query
            .groups
            .iter()
            .map(|group| format!("for each {}", teller.group(group))),
    );
    parts.extend(query.order.iter().map(|order| {
        let direction = if order.descending {
            "greatest"
        } else {
            "least"
        };
        format!("ordered by {}, the {direction} first", teller.by(&order.by))
    }));
    parts.extend(query.limit.map(|limit| match limit {
        Limit::Rows(count) => format!("at most {count}"),
        Limit::First => "the first one, and its equals".to_owned(),
    }));
    parts
}

/// Says what a filter asks of rows of a table.
pub(crate) fn filter(filter: &Filter, schema: &Schema, table: usize) -> String {
    let table = &schema.tables[table];
    Teller { table, schema }.filter(filter)
}

struct Teller<'a> {
    schema: &'a Schema,
    table: &'a Table,
}

impl Teller<'_> {
    fn ask(&self, ask: &Ask) -> String {
        let table = format!("{}.{}", self.table.schema, self.table.name);
        match ask {
            Ask::Rows => format!("rows of {table}"),
            Ask::Columns(columns) => {
                let names: Vec<_> = columns.iter().map(|column| self.column(*column)).collect();
                format!("{} of {table}", names.join(", "))
            }
            Ask::Distinct(column) => format!("different {} of {table}", self.column(*column)),
            Ask::Count => format!("the number of rows of {table}"),
            Ask::CountDistinct(column) => {
                format!(
                    "the number of different {} of {table}",
                    self.column(*column)
                )
            }
            Ask::Measure(aggregates, column) => {
                let words: Vec<_> = aggregates.iter().map(|one| word(*one)).collect();
                let column = self.column(*column);
                format!("the {} {column} of {table}", words.join(" and "))
            }
            Ask::MeasureChildren(aggregates, children) => {
                let words: Vec<_> = aggregates.iter().map(|one| word(*one)).collect();
                let (words, child) = (words.join(" and "), self.child(children));
                format!(
                    "the {words} number of {child} for a row of {table}, zero where it has none"
                )
            }
            Ask::Share(shared) => {
                let shared: Vec<_> = shared.iter().map(|filter| self.filter(filter)).collect();
                format!(
                    "the percentage of rows of {table} where {}",
                    shared.join(" and ")
                )
            }
        }
    }

    fn filter(&self, filter: &Filter) -> String {
        match filter {
            Filter::Compare(column, comparison, literal) => {
                let literal = match literal {
                    Literal::Number(text) | Literal::Text(text) => text,
                };
                format!("{} {} {literal}", self.column(*column), sign(*comparison))
            }
            Filter::Between(column, least, greatest) => {
                format!("{} is from {least} to {greatest}", self.column(*column))
            }
            Filter::OneOf(column, values, is) => {
                let is = if *is { "is" } else { "is not" };
                format!("{} {is} {}", self.column(*column), values.join(" or "))
            }
            Filter::Holds(column, place, part, is) => {
                let verb = match (place, is) {
                    (Place::Beginning, true) => "begins with",
                    (Place::Beginning, false) => "does not begin with",
                    (Place::Anywhere, true) => "holds",
                    (Place::Anywhere, false) => "does not hold",
                    (Place::End, true) => "ends with",
                    (Place::End, false) => "does not end with",
                };
                format!("{} {verb} '{part}'", self.column(*column))
            }
            Filter::Is(column, is) => {
                let is = if *is { "is" } else { "is not" };
                format!("{} {is} true", self.column(*column))
            }
            Filter::Present(column, true) => format!("{} is there", self.column(*column)),
            Filter::Present(column, false) => format!("{} is missing", self.column(*column)),
            Filter::Within(column, span) => within(&self.column(*column), span),
            Filter::Children(children, comparison, count) => format!(
                "the number of {} {} {count}",
                self.child(children),
                sign(*comparison)
            ),
        }
    }

    fn group(&self, group: &Group) -> String {
        match group {
            Group::Column(column) => self.column(*column),
            Group::Period(column, unit) => {
                format!("{} of {}", unit_name(*unit), self.column(*column))
            }
            Group::Parent(via) => self.table.foreign_keys[*via].table.clone(),
        }
    }

    fn by(&self, by: &By) -> String {
        match by {
            By::Column(column) => self.column(*column),
            By::Children(children) => format!("the number of {}", self.child(children)),
            By::Count => "their number".to_owned(),
        }
    }

    fn child(&self, children: &Children) -> String {
        let table = &self.schema.tables[children.table];
        let own = Teller {
            schema: self.schema,
            table,
        };
        let states = children.states.iter();
        let states = states.map(|state| format!(" where {}", own.filter(state)));
        format!("{}{}", table.name, states.collect::<String>())
    }

    fn column(&self, at: ColumnRef) -> String {
        let parent = |via: usize| {
            let key = &self.table.foreign_keys[via];
            let index = self.schema.find(&key.schema, &key.table)?;
            Some(&self.schema.tables[index])
        };
        match at.via {
            None => self.table.columns[at.column].name.clone(),
            Some(via) => parent(via).map_or_else(String::new, |table| {
                format!("{}.{}", table.name, table.columns[at.column].name)
            }),
        }
    }
}

fn within(column: &str, span: &Span) -> String {
    match (&span.from, &span.until) {
        (Some(from), Some(until)) => format!("{column} is from {from} to before {until}"),
        (Some(from), None) => format!("{column} is from {from} on"),
        (None, Some(until)) => format!("{column} is before {until}"),
        (None, None) => format!("{column} is any time"),
    }
}
