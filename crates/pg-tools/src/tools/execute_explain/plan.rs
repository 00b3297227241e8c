//! A plan as PostgreSQL gives it in JSON, read into nodes.

use serde_json::Value;

use crate::quoting::written;

/// A plan.
pub(super) struct Plan<'a> {
    explained: &'a Value,
    pub(super) root: Node<'a>,
}

/// One node of a plan, with its inputs.
pub(super) struct Node<'a> {
    fields: &'a Value,
    pub(super) inputs: Vec<Node<'a>>,
    /// Whether the node that reads it may have stopped before its end, as a limit does.
    pub(super) may_be_stopped: bool,
}

/// The fields that are shown below a node's line, if it has them.
const DETAILS: [&str; 10] = [
    "Index Cond",
    "Recheck Cond",
    "Hash Cond",
    "Merge Cond",
    "Join Filter",
    "Filter",
    "Sort Key",
    "Group Key",
    "Sort Method",
    "Workers Launched",
];

/// The fields in which a node names what it reads.
const SOURCES: [&str; 4] = [
    "Relation Name",
    "Function Name",
    "CTE Name",
    "Table Function Name",
];

impl<'a> Plan<'a> {
    pub(super) fn read(explained: &'a Value) -> Self {
        static NOTHING: Value = Value::Null;
        let root = Node::read(explained.get("Plan").unwrap_or(&NOTHING), false);
        Plan { explained, root }
    }

    /// Writes the plan as `EXPLAIN` would, one line for each node with its details below.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        self.root.write(&mut out, 0);
        for (label, field) in [
            ("Planning", "Planning Time"),
            ("Execution", "Execution Time"),
        ] {
            if let Some(time) = self.explained.get(field).and_then(Value::as_f64) {
                out.push_str(&format!("{label} time: {time:.3} ms\n"));
            }
        }
        out.truncate(out.trim_end().len());
        out
    }
}

impl<'a> Node<'a> {
    fn read(fields: &'a Value, may_be_stopped: bool) -> Self {
        let mut node = Node {
            fields,
            inputs: Vec::new(),
            may_be_stopped,
        };
        let inputs = fields
            .get("Plans")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        node.inputs = inputs
            .map(|input| Node::read(input, node.may_stop(input)))
            .collect();
        node
    }

    /// Returns whether the node may stop reading an input before its end.
    fn may_stop(&self, input: &Value) -> bool {
        let relationship = input.get("Parent Relationship").and_then(Value::as_str);
        // EXISTS and IN need not see all rows; a CTE is read only as far as its readers need it.
        if matches!(relationship, Some("SubPlan" | "InitPlan")) {
            return true;
        }
        let needs_one = matches!(self.text("Join Type"), Some("Semi" | "Anti"))
            || self.fields.get("Inner Unique") == Some(&Value::Bool(true));
        match self.kind() {
            "Limit" | "Merge Join" => true,
            "Nested Loop" if relationship == Some("Inner") && needs_one => true,
            // These read all of it before they return the first row.
            "Sort" | "Hash" | "Bitmap Heap Scan" => false,
            "Aggregate" if self.text("Strategy") != Some("Sorted") => false,
            _ => self.may_be_stopped,
        }
    }

    pub(super) fn kind(&self) -> &'a str {
        self.text("Node Type").unwrap_or("?")
    }

    pub(super) fn text(&self, field: &str) -> Option<&'a str> {
        self.fields.get(field)?.as_str()
    }

    pub(super) fn number(&self, field: &str) -> Option<f64> {
        self.fields.get(field)?.as_f64()
    }

    /// Returns the name of the relation that the node reads, if it reads one, as in SQL.
    pub(super) fn relation(&self) -> Option<String> {
        let name = self.text("Relation Name")?;
        Some(match self.text("Schema") {
            Some(schema) => format!("{}.{}", written(schema), written(name)),
            None => written(name),
        })
    }

    /// Returns the number of rows over all loops.
    pub(super) fn actual_rows(&self) -> Option<f64> {
        Some(self.number("Actual Rows")? * self.loops())
    }

    pub(super) fn loops(&self) -> f64 {
        self.number("Actual Loops").unwrap_or(1.0)
    }

    /// Calls `see` on the node and on all below it.
    pub(super) fn visit(&self, see: &mut impl FnMut(&Node<'a>)) {
        see(self);
        for input in &self.inputs {
            input.visit(see);
        }
    }

    /// Names the node as `EXPLAIN` does in text: its purpose, its variant, and what it reads.
    fn title(&self) -> String {
        let mut title = String::new();
        if let Some(name) = self.text("Subplan Name") {
            title.push_str(&format!("{name}: "));
        }
        if let Some(mode @ ("Partial" | "Finalize")) = self.text("Partial Mode") {
            title.push_str(&format!("{mode} "));
        }
        if self.fields.get("Parallel Aware") == Some(&Value::Bool(true)) {
            title.push_str("Parallel ");
        }
        title.push_str(&self.variant());
        if let Some(index) = self.text("Index Name") {
            let word = match self.kind() {
                "Bitmap Index Scan" => "on",
                _ => "using",
            };
            title.push_str(&format!(" {word} {}", written(index)));
        }
        let source = SOURCES.iter().find_map(|field| self.text(field));
        let alias = self.text("Alias").filter(|alias| source != Some(alias));
        let source = self.relation().or_else(|| source.map(written));
        let names: Vec<_> = source.into_iter().chain(alias.map(written)).collect();
        if !names.is_empty() {
            title.push_str(&format!(" on {}", names.join(" ")));
        }
        title
    }

    fn variant(&self) -> String {
        let kind = self.kind();
        match (kind, self.text("Join Type"), self.text("Strategy")) {
            (_, Some(join), _) if join != "Inner" => {
                format!("{} {join} Join", kind.trim_end_matches(" Join"))
            }
            ("Aggregate", _, Some("Sorted")) => "GroupAggregate".to_owned(),
            ("Aggregate", _, Some("Hashed")) => "HashAggregate".to_owned(),
            ("Aggregate", _, Some("Mixed")) => "MixedAggregate".to_owned(),
            _ if self.text("Scan Direction") == Some("Backward") => format!("{kind} Backward"),
            _ => kind.to_owned(),
        }
    }

    fn write(&self, out: &mut String, depth: usize) {
        let indent = "  ".repeat(depth);
        let mut line = format!("{indent}{}", self.title());
        if let (Some(cost), Some(rows)) = (self.number("Total Cost"), self.number("Plan Rows")) {
            line.push_str(&format!(" (cost {cost:.2}, rows {rows:.0})"));
        }
        if let (Some(rows), Some(time)) =
            (self.number("Actual Rows"), self.number("Actual Total Time"))
        {
            line.push_str(&format!(
                " (actual rows {rows:.0}, {time:.3} ms, loops {:.0})",
                self.loops()
            ));
        }
        out.push_str(&line);
        out.push('\n');
        for name in DETAILS {
            if let Some(value) = self.fields.get(name) {
                out.push_str(&format!("{indent}    {name}: {}\n", shown(value)));
            }
        }
        for name in [
            "Rows Removed by Filter",
            "Rows Removed by Join Filter",
            "Heap Fetches",
            "Shared Hit Blocks",
            "Shared Read Blocks",
            "Temp Written Blocks",
        ] {
            if let Some(number) = self.number(name).filter(|number| *number > 0.0) {
                out.push_str(&format!("{indent}    {name}: {number:.0}\n"));
            }
        }
        for input in &self.inputs {
            input.write(out, depth + 1);
        }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_of_a_parallel_plan_is_named_by_its_part() {
        let explained = json!({ "Plan": {
            "Node Type": "Aggregate", "Strategy": "Plain", "Partial Mode": "Finalize",
            "Plans": [{ "Node Type": "Gather", "Plans": [{
                "Node Type": "Aggregate", "Strategy": "Sorted", "Partial Mode": "Partial",
                "Plans": [{
                    "Node Type": "Index Only Scan", "Parallel Aware": true, "Scan Direction": "Forward",
                    "Index Name": "b_pkey", "Schema": "s", "Relation Name": "b", "Alias": "b", "Heap Fetches": 7
                }]
            }] }]
        } });
        let lines = "Finalize Aggregate\n  Gather\n    Partial GroupAggregate\n      \
            Parallel Index Only Scan using b_pkey on s.b\n          Heap Fetches: 7";
        assert_eq!(Plan::read(&explained).text(), lines);
    }
}
