//! The schema as a model reads it: short, one line for each thing.

use std::fmt::Write;

use serde_json::Value;

use super::{Listing, has_parts};
use crate::quoting::written;

/// Writes tables, with their parts unless these were left out.
pub(super) fn of(tables: &[Value], compact: bool) -> String {
    let mut out = String::new();
    for table in tables {
        if !has_parts(table) {
            push_line(&mut out, 0, &heading(table));
        } else if compact {
            push_line(&mut out, 0, &one_line(table));
        } else {
            push_table(&mut out, table);
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// Says what to call next, if something was left out.
pub(super) fn next_step(listing: &Listing) -> Option<String> {
    let unlisted = listing.unlisted();
    let more = if unlisted > 0 {
        format!(", of which {unlisted} are not listed")
    } else {
        String::new()
    };
    listing.is_summary().then(|| {
        format!(
            "({} tables{more}: call again with table_name, schema_name ({}) or search to see their columns)",
            listing.total,
            schemas(listing)
        )
    })
}

/// Lists the schemas with the number of tables in each.
fn schemas(listing: &Listing) -> String {
    let told = listing.schemas.iter();
    let told = told.map(|(schema, count)| format!("{schema}: {count}"));
    let mut told: Vec<String> = told.collect();
    let counted: i64 = listing.schemas.iter().map(|(_, count)| count).sum();
    if counted < listing.total {
        told.push(format!("others: {}", listing.total - counted));
    }
    told.join(", ")
}

fn push_line(out: &mut String, depth: usize, line: &str) {
    // A comment may contain line breaks, but each thing is one line.
    _ = writeln!(
        out,
        "{}{}",
        "  ".repeat(depth),
        line.replace(['\n', '\r', '\t'], " ")
    );
}

fn text<'a>(value: &'a Value, field: &str) -> Option<&'a str> {
    value.get(field)?.as_str()
}

fn items<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value
        .get(field)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn names(value: &Value, field: &str) -> String {
    items(value, field)
        .filter_map(Value::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}

fn full_name(table: &Value) -> String {
    let name = |field: &str| text(table, field).map_or_else(|| "?".to_owned(), written);
    format!("{}.{}", name("schema"), name("name"))
}

/// Writes a column, or a field of a type, as in SQL.
fn named_type(column: &Value) -> String {
    let name = text(column, "name").map_or_else(|| "?".to_owned(), written);
    format!("{name} {}", text(column, "type").unwrap_or("?"))
}

/// Returns the columns of a constraint, as in SQL.
fn names_of(constraint: &Value) -> Vec<String> {
    let columns = items(constraint, "columns").filter_map(Value::as_str);
    columns.map(written).collect()
}

fn heading(table: &Value) -> String {
    let mut facts = vec![text(table, "kind").unwrap_or("table").to_owned()];
    if let Some(rows) = table.get("row_estimate").and_then(Value::as_i64) {
        facts.push(format!("about {rows} rows"));
    }
    if let Some(bytes) = table.get("size_bytes").and_then(Value::as_i64) {
        facts.push(size(bytes));
    }
    if table.get("unpopulated").is_some() {
        facts.push("not populated: it cannot be read until REFRESH MATERIALIZED VIEW".to_owned());
    }
    if table.get("row_security").is_some() {
        facts.push("row security: this role sees some of the rows".to_owned());
    }
    if table.get("locked").is_some() {
        facts.push("locked by another session, so that queries wait, and sizes and expressions are not told".to_owned());
    }
    if let Some(count) = table.get("partitions").and_then(Value::as_i64) {
        facts.push(format!("{count} partitions"));
    }
    for (field, before) in [
        ("partitioned_by", "partitioned by"),
        ("partition_of", "partition of"),
    ] {
        if let Some(value) = text(table, field) {
            facts.push(format!("{before} {value}"));
        }
    }
    if table.get("parents").is_some() {
        facts.push(format!("inherits from {}", names(table, "parents")));
    }
    if let Some(count) = table.get("child_count").and_then(Value::as_i64) {
        facts.push(children(count, &names(table, "children")));
    }
    let comment = text(table, "comment").map_or_else(String::new, |comment| format!(": {comment}"));
    format!("{} ({}){comment}", full_name(table), facts.join(", "))
}

fn children(count: i64, names: &str) -> String {
    let named = match names {
        "" => String::new(),
        names => format!(": {names}"),
    };
    format!("a query of it also reads {count} that inherit from it, unless it says ONLY{named}")
}

fn size(bytes: i64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} bytes"),
        10_240..10_485_760 => format!("{} kB", bytes / 1_024),
        10_485_760..10_737_418_240 => format!("{} MB", bytes / 1_048_576),
        _ => format!("{} GB", bytes / 1_073_741_824),
    }
}

fn one_line(table: &Value) -> String {
    let columns: Vec<String> = items(table, "columns").map(named_type).collect();
    format!("{}({})", full_name(table), columns.join(", "))
}

fn push_table(out: &mut String, table: &Value) {
    push_line(out, 0, &heading(table));
    for column in items(table, "columns") {
        push_line(out, 1, &column_line(column));
    }
    for constraint in items(table, "constraints") {
        push_line(out, 1, &constraint_line(constraint));
    }
    for index in items(table, "indexes") {
        let invalid = match index.get("invalid") {
            Some(_) => " (invalid, which no query uses)",
            None => "",
        };
        let definition = text(index, "definition").or(text(index, "name"));
        let definition = definition.unwrap_or("?");
        push_line(out, 1, &format!("index{invalid}: {definition}"));
    }
    out.push('\n');
}

fn column_line(column: &Value) -> String {
    let mut line = named_type(column);
    if column.get("nullable") == Some(&Value::Bool(false)) {
        line.push_str(" not null");
    }
    if column.get("not_null").is_some() {
        line.push_str(" not null NOT VALID");
    }
    for (field, before) in [
        ("identity", " identity "),
        ("generated", " generated as "),
        ("default", " default "),
    ] {
        if let Some(value) = text(column, field) {
            line.push_str(before);
            line.push_str(value);
        }
    }
    if column.get("labels").is_some() {
        _ = write!(line, " {{{}}}", names(column, "labels"));
    }
    if column.get("fields").is_some() {
        let fields: Vec<String> = items(column, "fields").map(named_type).collect();
        _ = write!(line, " (fields {})", fields.join(", "));
    }
    if column.get("domains").is_some() {
        let domains: Vec<String> = items(column, "domains").map(domain).collect();
        _ = write!(line, " (domain over {})", domains.join(", over "));
    }
    if let Some(comment) = text(column, "comment") {
        _ = write!(line, " -- {comment}");
    }
    line
}

/// Writes what a domain is based on, and what it allows.
fn domain(domain: &Value) -> String {
    let mut written = text(domain, "type").unwrap_or("?").to_owned();
    if domain.get("not_null").is_some() {
        written.push_str(" not null");
    }
    if let Some(default) = text(domain, "default") {
        _ = write!(written, " default {default}");
    }
    for check in items(domain, "checks").filter_map(Value::as_str) {
        _ = write!(written, " {check}");
    }
    written
}

fn constraint_line(constraint: &Value) -> String {
    let kind = text(constraint, "kind").unwrap_or("constraint");
    if let Some(definition) = text(constraint, "definition") {
        return definition.to_owned();
    }
    let is_period = constraint.get("period").is_some();
    let further = further(constraint);
    let columns = names_of(constraint);
    match constraint.get("references") {
        Some(target) => format!(
            "{kind} ({}) -> {}.{}({}){further}",
            with_period(columns, is_period),
            text(target, "schema").map_or_else(|| "?".to_owned(), written),
            text(target, "table").map_or_else(|| "?".to_owned(), written),
            with_period(names_of(target), is_period)
        ),
        None => {
            let overlaps = if is_period { " WITHOUT OVERLAPS" } else { "" };
            format!("{kind} ({}{overlaps}){further}", columns.join(", "))
        }
    }
}

/// Writes what else a constraint does, as in its definition.
fn further(constraint: &Value) -> String {
    let words = [
        ("on_update", "ON UPDATE "),
        ("on_delete", "ON DELETE "),
        ("deferrable", ""),
        ("unchecked", ""),
    ];
    let said = words.into_iter().filter_map(|(field, before)| {
        text(constraint, field).map(|what| format!(" {before}{what}"))
    });
    said.collect()
}

/// Writes the columns of a foreign key, of which the last may be a period.
fn with_period(mut columns: Vec<String>, is_period: bool) -> String {
    if let Some(last) = columns.last_mut().filter(|_| is_period) {
        last.insert_str(0, "PERIOD ");
    }
    columns.join(", ")
}
