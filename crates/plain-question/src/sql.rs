//! Writes queries as SQL: one SELECT, in which every name and every text is quoted.

use crate::dates::{Span, unit_name};
use crate::query::{
    Aggregate, Ask, By, Children, ColumnRef, Comparison, Filter, Group, Limit, Literal, Place,
    Query,
};
use crate::schema::{ForeignKey, Kind, Schema, Table};

/// Columns by which people tell rows apart, the best first.
const LABELS: [&str; 6] = ["name", "title", "full_name", "fullname", "label", "email"];

/// Writes the query.
pub(crate) fn write(query: &Query, schema: &Schema) -> String {
    let alias = "t";
    Writer {
        query,
        schema,
        alias,
    }
    .select()
}

/// Quotes a name.
pub(crate) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes a text correctly whatever `standard_conforming_strings` is.
fn text(value: &str) -> String {
    let quoted = value.replace('\'', "''");
    if value.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

/// A table's name with its schema.
pub(crate) fn table_name(table: &Table) -> String {
    format!("{}.{}", identifier(&table.schema), identifier(&table.name))
}

struct Writer<'a> {
    query: &'a Query,
    schema: &'a Schema,
    /// The alias of the query's own table.
    alias: &'a str,
}

impl<'a> Writer<'a> {
    fn table(&self) -> &'a Table {
        &self.schema.tables[self.query.table]
    }

    fn select(&self) -> String {
        let mut sql = format!(
            "SELECT {}\nFROM {} AS t",
            self.outputs().join(", "),
            table_name(self.table())
        );
        for via in self.joined() {
            sql += &self.join(via);
        }
        let conditions: Vec<_> = self
            .query
            .filters
            .iter()
            .map(|f| self.condition(f))
            .collect();
        if !conditions.is_empty() {
            sql += &format!("\nWHERE {}", conditions.join("\n  AND "));
        }
        if !self.query.groups.is_empty() && !self.asks_for_rows() {
            sql += &format!("\nGROUP BY {}", self.groups().join(", "));
        }
        let order = self.order();
        if !order.is_empty() {
            sql += &format!("\nORDER BY {}", order.join(", "));
        }
        match self.query.limit {
            None => sql,
            Some(Limit::Rows(count)) => sql + &format!("\nLIMIT {count}"),
            Some(Limit::First) => sql + "\nFETCH FIRST 1 ROWS WITH TIES",
        }
    }

    fn outputs(&self) -> Vec<String> {
        let mut outputs = self.group_outputs();
        match &self.query.ask {
            Ask::Rows => outputs.extend(self.whole_rows()),
            Ask::Columns(columns) => outputs.extend(columns.iter().map(|at| self.column(*at))),
            Ask::Distinct(column) => outputs.push(format!("DISTINCT {}", self.column(*column))),
            Ask::Count => outputs.push("count(*) AS \"count\"".into()),
            Ask::CountDistinct(column) => {
                outputs.push(format!(
                    "count(DISTINCT {}) AS \"count\"",
                    self.column(*column)
                ));
            }
            Ask::Measure(aggregates, column) => {
                outputs.extend(aggregates.iter().map(|aggregate| {
                    let name = format!("{}_{}", word(*aggregate), self.name(*column));
                    let call = call(*aggregate, &self.column(*column));
                    format!("{call} AS {}", identifier(&name))
                }));
            }
            Ask::MeasureChildren(aggregates, children) => {
                outputs.extend(aggregates.iter().map(|aggregate| {
                    let name = format!("{}_{}", word(*aggregate), self.number_name(children));
                    let call = call(*aggregate, &self.count(children));
                    format!("{call} AS {}", identifier(&name))
                }));
            }
            Ask::Share(shared) => {
                let conditions: Vec<_> = shared.iter().map(|f| self.condition(f)).collect();
                let conditions = conditions.join(" AND ");
                outputs.push(format!(
                    "100.0 * count(*) FILTER (WHERE {conditions}) / nullif(count(*), 0) AS \"percentage\""
                ));
            }
        }
        outputs.extend(self.query.order.iter().filter_map(|order| match &order.by {
            By::Children(children) => {
                let name = self.number_name(children);
                Some(format!("{} AS {}", self.count(children), identifier(&name)))
            }
            By::Column(_) | By::Count => None,
        }));
        outputs
    }

    /// All columns that may be shown of a row.
    fn whole_rows(&self) -> Vec<String> {
        if !self.table().is_in_part {
            return vec!["t.*".into()];
        }
        let columns = self.table().columns.iter();
        let named = columns.map(|column| format!("t.{}", identifier(&column.name)));
        named.collect()
    }

    fn asks_for_rows(&self) -> bool {
        matches!(self.query.ask, Ask::Rows | Ask::Columns(_))
    }

    /// The expressions to group by.
    fn groups(&self) -> Vec<String> {
        let groups = self.query.groups.iter().flat_map(|group| self.group(group));
        groups.map(|(sql, _)| sql).collect()
    }

    /// The expressions to group by, as they are shown. Whole rows already show the table's own columns.
    fn group_outputs(&self) -> Vec<String> {
        let is_own = |group: &&Group| {
            self.query.ask == Ask::Rows
                && matches!(group, Group::Column(column) if column.via.is_none())
        };
        let shown = self.query.groups.iter().filter(|group| !is_own(group));
        let named = |(sql, name): (String, Option<String>)| match name {
            Some(name) => format!("{sql} AS {}", identifier(&name)),
            None => sql,
        };
        shown
            .flat_map(|group| self.group(group))
            .map(named)
            .collect()
    }

    /// The expressions of a group, each with an alias where it is no plain column.
    fn group(&self, group: &Group) -> Vec<(String, Option<String>)> {
        match group {
            Group::Column(column) => vec![(self.column(*column), None)],
            Group::Period(column, unit) => {
                let unit = unit_name(*unit);
                let sql = format!("date_trunc('{unit}', {})", self.column(*column));
                vec![(sql, Some(unit.to_owned()))]
            }
            Group::Parent(via) => {
                let (key, parent) = self.parent(*via);
                let columns = key.targets.iter().chain(label(parent));
                let columns = columns.map(|name| format!("p{via}.{}", identifier(name)));
                columns.map(|sql| (sql, None)).collect()
            }
        }
    }

    fn order(&self) -> Vec<String> {
        let mut order: Vec<String> = self
            .query
            .order
            .iter()
            .map(|order| {
                let by = match &order.by {
                    By::Column(column) => self.column(*column),
                    By::Children(children) => self.count(children),
                    By::Count => "count(*)".to_owned(),
                };
                let direction = if order.descending {
                    " DESC NULLS LAST"
                } else {
                    ""
                };
                by + direction
            })
            .collect();
        let groups = self.groups();
        if !groups.is_empty() && self.asks_for_rows() {
            // The first rows of all groups have the same rank, so that WITH TIES returns them all.
            let (groups, by) = (groups.join(", "), order.join(", "));
            order = vec![format!("rank() OVER (PARTITION BY {groups} ORDER BY {by})")];
        } else if !groups.is_empty() && self.query.limit == Some(Limit::First) {
            // No further key: groups with as many rows as the first have to tie with it.
        } else if !groups.is_empty() {
            order.extend((1..=groups.len()).map(|place| place.to_string()));
        } else if matches!(self.query.ask, Ask::Distinct(_)) {
            order.push("1".into());
        } else if self.wants_stable_pages() {
            let key = self.table().primary_key.iter();
            order.extend(key.map(|name| format!("t.{}", identifier(name))));
            order.dedup();
        }
        order
    }

    /// Whether the primary key must complete the order, so that equal rows do not change places between two pages.
    fn wants_stable_pages(&self) -> bool {
        let is_limited = matches!(self.query.limit, Some(Limit::Rows(_)));
        let is_ranked = !self.query.order.is_empty() && self.query.limit.is_none();
        self.asks_for_rows() && (is_limited || is_ranked)
    }

    /// The foreign keys whose tables are joined.
    fn joined(&self) -> Vec<usize> {
        let shared = match &self.query.ask {
            Ask::Share(shared) => &shared[..],
            _ => &[],
        };
        let filtered = self.query.filters.iter().chain(shared);
        let filtered = filtered.filter_map(Filter::column);
        let grouped = self.query.groups.iter().map(|group| match group {
            Group::Column(column) | Group::Period(column, _) => column.via,
            Group::Parent(via) => Some(*via),
        });
        let mut joined: Vec<usize> = filtered
            .map(|column| column.via)
            .chain(grouped)
            .flatten()
            .collect();
        joined.sort_unstable();
        joined.dedup();
        joined
    }

    fn join(&self, via: usize) -> String {
        let (key, parent) = self.parent(via);
        let pairs = key.columns.iter().zip(&key.targets);
        let on: Vec<_> = pairs
            .map(|(own, target)| format!("p{via}.{} = t.{}", identifier(target), identifier(own)))
            .collect();
        let may_lack = |name: &String| {
            let column = self.table().column(name);
            column.is_none_or(|column| self.table().columns[column].is_nullable)
        };
        // Rows that refer to nothing still form a group of their own.
        let kind = if key.columns.iter().any(may_lack) {
            "LEFT JOIN"
        } else {
            "JOIN"
        };
        format!(
            "\n{kind} {} AS p{via} ON {}",
            table_name(parent),
            on.join(" AND ")
        )
    }

    fn parent(&self, via: usize) -> (&'a ForeignKey, &'a Table) {
        let key = &self.table().foreign_keys[via];
        let parent = self.schema.find(&key.schema, &key.table);
        let parent = parent.map_or(self.table(), |index| &self.schema.tables[index]);
        (key, parent)
    }

    fn source(&self, at: ColumnRef) -> &'a crate::schema::Column {
        let table = at.via.map_or(self.table(), |via| self.parent(via).1);
        &table.columns[at.column]
    }

    fn name(&self, at: ColumnRef) -> &'a str {
        &self.source(at).name
    }

    fn column(&self, at: ColumnRef) -> String {
        let alias = at
            .via
            .map_or(self.alias.to_owned(), |via| format!("p{via}"));
        format!("{alias}.{}", identifier(self.name(at)))
    }

    /// The column as it is compared with texts.
    fn compared(&self, at: ColumnRef) -> String {
        let cast = if self.source(at).needs_cast {
            "::text"
        } else {
            ""
        };
        format!("{}{cast}", self.column(at))
    }

    fn number_name(&self, children: &Children) -> String {
        format!("number_of_{}", self.schema.tables[children.table].name)
    }

    fn count(&self, children: &Children) -> String {
        format!("(SELECT count(*) {})", self.those(children))
    }

    fn exists(&self, children: &Children) -> String {
        format!("EXISTS (SELECT {})", self.those(children))
    }

    /// The rows that refer to this one: a subquery from `FROM` on.
    fn those(&self, children: &Children) -> String {
        let child = &self.schema.tables[children.table];
        let query = Query {
            table: children.table,
            ask: Ask::Count,
            filters: children.states.clone(),
            groups: Vec::new(),
            order: Vec::new(),
            limit: None,
        };
        let own = Writer {
            query: &query,
            schema: self.schema,
            alias: "c",
        };
        let states = query.filters.iter().map(|state| own.condition(state));
        let conditions: Vec<_> = std::iter::once(refers(&child.foreign_keys[children.key]))
            .chain(states)
            .collect();
        let table = table_name(child);
        format!("FROM {table} AS c WHERE {}", conditions.join(" AND "))
    }

    fn condition(&self, filter: &Filter) -> String {
        match filter {
            Filter::Compare(column, comparison, literal) => {
                let sign = sign(*comparison);
                match literal {
                    Literal::Number(digits) => format!("{} {sign} {digits}", self.column(*column)),
                    Literal::Text(value) => {
                        format!("{} {sign} {}", self.compared(*column), text(value))
                    }
                }
            }
            Filter::Between(column, least, greatest) => {
                format!("{} BETWEEN {least} AND {greatest}", self.column(*column))
            }
            Filter::OneOf(column, values, is) => self.one_of(*column, values, *is),
            Filter::Holds(column, place, part, is) => self.holds(*column, *place, part, *is),
            Filter::Is(column, true) => self.column(*column),
            Filter::Is(column, false) => self.untrue(*column),
            Filter::Present(column, true) => format!("{} IS NOT NULL", self.column(*column)),
            Filter::Present(column, false) => format!("{} IS NULL", self.column(*column)),
            Filter::Within(column, span) => within(&self.column(*column), span),
            Filter::Children(children, Comparison::Equal, 0) => {
                format!("NOT {}", self.exists(children))
            }
            Filter::Children(children, Comparison::AtLeast, 1) => self.exists(children),
            Filter::Children(children, comparison, count) => {
                format!("{} {} {count}", self.count(children), sign(*comparison))
            }
        }
    }

    fn one_of(&self, column: ColumnRef, values: &[String], is: bool) -> String {
        let name = self.compared(column);
        let list: Vec<_> = values.iter().map(|value| text(value)).collect();
        match (&list[..], is) {
            ([one], true) => format!("{name} = {one}"),
            // NULL is none of the values either.
            ([one], false) if self.source(column).is_nullable => {
                format!("{name} IS DISTINCT FROM {one}")
            }
            ([one], false) => format!("{name} <> {one}"),
            (list, true) => format!("{name} IN ({})", list.join(", ")),
            (list, false) if self.source(column).is_nullable => {
                format!("({name} IN ({})) IS NOT TRUE", list.join(", "))
            }
            (list, false) => format!("{name} NOT IN ({})", list.join(", ")),
        }
    }

    fn holds(&self, column: ColumnRef, place: Place, part: &str, is: bool) -> String {
        let name = self.column(column);
        let literal = part
            .replace('\\', r"\\")
            .replace('%', r"\%")
            .replace('_', r"\_");
        let pattern = text(&match place {
            Place::Beginning => format!("{literal}%"),
            Place::Anywhere => format!("%{literal}%"),
            Place::End => format!("%{literal}"),
        });
        match is {
            true => format!("{name} ILIKE {pattern}"),
            // NULL does not have the text either.
            false if self.source(column).is_nullable => {
                format!("({name} ILIKE {pattern}) IS NOT TRUE")
            }
            false => format!("{name} NOT ILIKE {pattern}"),
        }
    }

    fn untrue(&self, column: ColumnRef) -> String {
        let name = self.column(column);
        debug_assert_eq!(self.source(column).kind, Kind::Boolean);
        if self.source(column).is_nullable {
            format!("{name} IS NOT TRUE")
        } else {
            format!("NOT {name}")
        }
    }
}

/// The column that tells rows of the table apart.
fn label(table: &Table) -> Option<&String> {
    let names = table.columns.iter().map(|column| &column.name);
    LABELS
        .iter()
        .find_map(|label| names.clone().find(|name| name.eq_ignore_ascii_case(label)))
        .filter(|name| !table.primary_key.contains(name))
}

fn refers(key: &ForeignKey) -> String {
    let pairs = key.columns.iter().zip(&key.targets);
    let pairs: Vec<_> = pairs
        .map(|(own, target)| format!("c.{} = t.{}", identifier(own), identifier(target)))
        .collect();
    pairs.join(" AND ")
}

fn within(column: &str, span: &Span) -> String {
    let from = span.from.iter().map(|from| format!("{column} >= {from}"));
    let until = span.until.iter().map(|until| format!("{column} < {until}"));
    from.chain(until).collect::<Vec<_>>().join(" AND ")
}

pub(crate) fn sign(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Equal => "=",
        Comparison::Unequal => "<>",
        Comparison::Less => "<",
        Comparison::AtMost => "<=",
        Comparison::More => ">",
        Comparison::AtLeast => ">=",
    }
}

fn call(aggregate: Aggregate, column: &str) -> String {
    match aggregate {
        Aggregate::Average => format!("avg({column})"),
        Aggregate::Median => format!("percentile_cont(0.5) WITHIN GROUP (ORDER BY {column})"),
        Aggregate::Sum => format!("sum({column})"),
        Aggregate::Least => format!("min({column})"),
        Aggregate::Greatest => format!("max({column})"),
    }
}

/// The word for an aggregate.
pub(crate) fn word(aggregate: Aggregate) -> &'static str {
    match aggregate {
        Aggregate::Average => "average",
        Aggregate::Median => "median",
        Aggregate::Sum => "total",
        Aggregate::Least => "minimum",
        Aggregate::Greatest => "maximum",
    }
}
