//! Indexes that may help a query, read from its plan.
//!
//! Whether an index does help, PostgreSQL decides.

use std::collections::BTreeMap;

use serde_json::Value;

use super::orders::{extreme, order};
use crate::{
    quoting::identifier,
    tools::{
        comparisons::{Cast, Compared, Condition, Key, Use, condition},
        partitions::{Wholes, alias_of_whole},
    },
};

/// The most columns and expressions of an index that is considered.
const MOST_KEYS: usize = 4;

/// How many candidates are tried.
pub(super) const MOST_CANDIDATES: usize = 16;

/// An index that might help.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    pub(super) schema: String,
    pub(super) table: String,
    /// Whether the table is partitioned; PostgreSQL cannot build an index on such a table `CONCURRENTLY`.
    pub(super) is_partitioned: bool,
    pub(super) keys: Vec<Key>,
}

impl Candidate {
    /// Returns its columns, without its expressions.
    pub(super) fn columns(&self) -> Vec<&str> {
        self.keys.iter().filter_map(Key::column).collect()
    }

    pub(super) fn is_of_columns(&self) -> bool {
        self.keys.iter().all(|key| key.column().is_some())
    }

    /// Returns the statement that creates it.
    pub(super) fn statement(&self) -> String {
        self.written("")
    }

    /// Returns the statement that creates it while others write to the table, if that is possible.
    pub(super) fn advised(&self) -> String {
        self.written(if self.is_partitioned {
            ""
        } else {
            " CONCURRENTLY"
        })
    }

    fn written(&self, word: &str) -> String {
        let keys: Vec<_> = self.keys.iter().map(Key::in_sql).collect();
        create_index(word, (&self.schema, &self.table), "", &keys)
    }
}

/// Writes the statement that creates an index on a table, given with its schema; `word` follows `INDEX`, `using`
/// follows the table, and the keys are SQL.
pub(super) fn create_index(
    word: &str,
    (schema, table): (&str, &str),
    using: &str,
    keys: &[String],
) -> String {
    format!(
        "CREATE INDEX{word} ON {}.{}{using} ({})",
        identifier(schema),
        identifier(table),
        keys.join(", ")
    )
}

/// Indexes that help together: one, or one for each side of an `OR`, none of which helps alone.
pub(super) type Together = Vec<Candidate>;

/// The most indexes that are considered together.
pub(super) const MOST_TOGETHER: usize = 3;

/// What a query does with the columns of one table, and with expressions of them.
#[derive(Clone, Debug, Default)]
struct Uses {
    schema: String,
    table: String,
    is_partitioned: bool,
    /// Compared for equality.
    equal: Vec<Key>,
    /// Compared as smaller or larger.
    range: Vec<Key>,
    /// Sorted or grouped by, or searched for the largest or smallest value.
    order: Vec<Key>,
    /// For each `OR` whose sides all compare something: the first keys of an index for each side.
    sides: Vec<Vec<Vec<Key>>>,
}

/// The fields of a plan that hold conditions and orders.
const CONDITIONS: [&str; 6] = [
    "Filter",
    "Index Cond",
    "Recheck Cond",
    "Hash Cond",
    "Merge Cond",
    "Join Filter",
];

/// Finds candidates: for each table what is compared for equality followed by one of a range, the sides of each `OR`,
/// what is compared for equality followed by an order, and single columns and expressions.
pub(super) fn of(plan: &Value, wholes: &Wholes) -> Vec<Together> {
    let mut tables = BTreeMap::new();
    find_tables(plan, wholes, &mut tables);
    find_uses(plan, &mut tables);
    let mut found = Vec::new();
    for uses in tables.values() {
        let of_table = |keys: Vec<Key>| Candidate {
            schema: uses.schema.clone(),
            table: uses.table.clone(),
            is_partitioned: uses.is_partitioned,
            keys,
        };
        for lists in lists(uses) {
            let together: Together = lists.into_iter().map(of_table).collect();
            if !found.contains(&together) {
                found.push(together);
            }
        }
    }
    found.truncate(MOST_CANDIDATES);
    found
}

fn lists(uses: &Uses) -> Vec<Vec<Vec<Key>>> {
    let mut lists = lists_of(&uses.of_columns());
    // An index of plain columns comes first: PostgreSQL refuses one with an expression that is not immutable.
    lists.extend(lists_of(uses));
    lists
}

fn lists_of(uses: &Uses) -> Vec<Vec<Vec<Key>>> {
    let mut lists = Vec::new();
    if !uses.equal.is_empty() || !uses.range.is_empty() {
        lists.push(vec![followed_by(&uses.equal, first(&uses.range))]);
    }
    lists.extend(uses.sides.iter().cloned());
    if !uses.order.is_empty() {
        lists.push(vec![followed_by(&uses.equal, &uses.order)]);
    }
    let single = uses.equal.iter().chain(&uses.range);
    lists.extend(single.map(|key| vec![vec![key.clone()]]));
    lists
}

fn first(keys: &[Key]) -> &[Key] {
    &keys[..keys.len().min(1)]
}

/// Returns the keys of an index: some, followed by those of others that are not among them.
fn followed_by(some: &[Key], more: &[Key]) -> Vec<Key> {
    let more = more.iter().filter(|key| !some.contains(key));
    some.iter().chain(more).take(MOST_KEYS).cloned().collect()
}

fn visit<'a>(node: &'a Value, see: &mut impl FnMut(&'a Value)) {
    see(node);
    for below in node["Plans"].as_array().into_iter().flatten() {
        visit(below, see);
    }
}

/// Finds the table that each alias stands for.
fn find_tables(plan: &Value, wholes: &Wholes, tables: &mut BTreeMap<String, Uses>) {
    visit(plan, &mut |node| {
        let text = |field: &str| node[field].as_str().map(str::to_owned);
        if let (Some(schema), Some(table), Some(alias)) =
            (text("Schema"), text("Relation Name"), text("Alias"))
        {
            let whole = wholes.of_partition(&schema, &table);
            let is_partitioned = whole.is_some();
            let (schema, table) = whole.cloned().unwrap_or((schema, table));
            let uses = Uses {
                schema,
                table,
                is_partitioned,
                ..Uses::default()
            };
            if let Some(alias) = alias_of_whole(&alias).filter(|_| is_partitioned) {
                let alias = alias.to_owned();
                tables.entry(alias).or_insert_with(|| uses.clone());
            }
            tables.entry(alias).or_insert(uses);
        }
    });
}

fn find_uses(plan: &Value, tables: &mut BTreeMap<String, Uses>) {
    visit(plan, &mut |node| {
        for field in CONDITIONS {
            note(&condition(node[field].as_str().unwrap_or_default()), tables);
        }
        for (alias, key) in order(node).into_iter().chain(extreme(node)) {
            if let Some(uses) = tables.get_mut(&alias) {
                add(&mut uses.order, &key);
            }
        }
    });
}

/// Notes what a condition does with the columns of each table.
fn note(condition: &Condition, tables: &mut BTreeMap<String, Uses>) {
    match condition {
        Condition::All(parts) => parts.iter().for_each(|part| note(part, tables)),
        Condition::Compares(compared) => {
            for compared in compared
                .iter()
                .filter(|compared| compared.cast != Cast::Other)
            {
                if let Some(uses) = tables.get_mut(&compared.alias) {
                    uses.compared(&compared.key, compared.used);
                }
            }
        }
        Condition::Any(sides) => {
            for (alias, uses) in tables {
                note_sides(sides, alias, uses);
            }
        }
    }
}

/// Notes an `OR`, if each of its sides compares something of the table. If all sides compare the same single column or
/// expression, it is as good as a list of values.
fn note_sides(sides: &[Condition], alias: &str, uses: &mut Uses) {
    let of_sides: Vec<Side> = sides.iter().map(|side| Side::of(side, alias)).collect();
    let mut indexes: Vec<Vec<Key>> = of_sides
        .iter()
        .map(|side| followed_by(&side.equal, first(&side.range)))
        .collect();
    if indexes.iter().any(Vec::is_empty) {
        return;
    }
    indexes.sort();
    indexes.dedup();
    if let [index] = &indexes[..]
        && let [key] = &index[..]
    {
        let is_equal = of_sides.iter().all(|side| side.range.is_empty());
        uses.compared(key, if is_equal { Use::Equal } else { Use::Range });
    } else if indexes.len() <= MOST_TOGETHER && !uses.sides.contains(&indexes) {
        uses.sides.push(indexes);
    }
}

/// What one side of an `OR` compares of a table.
#[derive(Default)]
struct Side {
    equal: Vec<Key>,
    range: Vec<Key>,
}

impl Side {
    fn of(condition: &Condition, alias: &str) -> Self {
        let mut side = Side::default();
        side.take(condition, alias);
        side
    }

    fn take(&mut self, condition: &Condition, alias: &str) {
        match condition {
            Condition::All(parts) => parts.iter().for_each(|part| self.take(part, alias)),
            // An `OR` within a side adds nothing to the side's index.
            Condition::Any(_) => {}
            Condition::Compares(compared) => {
                let of_table =
                    |compared: &&Compared| compared.alias == alias && compared.cast != Cast::Other;
                for compared in compared.iter().filter(of_table) {
                    let list = match compared.used {
                        Use::Equal => &mut self.equal,
                        Use::Range => &mut self.range,
                        Use::Alone => continue,
                    };
                    add(list, &compared.key);
                }
            }
        }
    }
}

impl Uses {
    /// The same as far as plain columns serve it.
    fn of_columns(&self) -> Self {
        let columns = |keys: &[Key]| -> Vec<Key> {
            let columns = keys.iter().filter(|key| key.column().is_some());
            columns.cloned().collect()
        };
        let is_of_columns = |side: &Vec<Vec<Key>>| side.iter().all(|keys| columns(keys) == *keys);
        Uses {
            equal: columns(&self.equal),
            range: columns(&self.range),
            order: {
                let order = self.order.iter();
                order
                    .take_while(|key| key.column().is_some())
                    .cloned()
                    .collect()
            },
            sides: self
                .sides
                .iter()
                .filter(|side| is_of_columns(side))
                .cloned()
                .collect(),
            ..self.clone()
        }
    }

    fn compared(&mut self, key: &Key, used: Use) {
        let list = match used {
            Use::Equal => &mut self.equal,
            Use::Range => &mut self.range,
            Use::Alone => return,
        };
        add(list, key);
    }
}

fn add(list: &mut Vec<Key>, key: &Key) {
    if !list.contains(key) {
        list.push(key.clone());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_or_has_an_index_for_each_side_or_none() {
        for (filter, expected) in [
            ("((o.a = 5) OR (o.b = 3))", vec!["a & b"]),
            ("((o.a = 5) OR (o.b > 3) OR (o.a = 7))", vec!["a & b"]),
            ("((o.a = 5) OR ((o.b = 3) AND (o.c = 1)))", vec!["a & b,c"]),
            ("((o.a = 5) OR (o.a = 6))", vec!["a"]),
            ("((o.a < 5) OR (o.a > 6))", vec!["a"]),
            (
                "(((o.a = 5) OR (o.b = 3)) AND (o.c = 'x'::text))",
                vec!["c", "a & b"],
            ),
            (
                "((o.c = 1) AND ((o.a = 5) OR (o.a = 6)))",
                vec!["c,a", "c", "a"],
            ),
            // One side that no index serves makes PostgreSQL read all rows.
            (
                "((o.a = 5) OR (lower(o.b) = 'x'::text))",
                vec!["a & (lower(b))"],
            ),
            ("((o.a = 5) OR (o.b ~~ '%x%'::text))", vec![]),
            (
                "((o.a = 5) OR ((o.b)::date = '2024-01-01'::date))",
                vec!["a & ((b)::date)"],
            ),
            (
                "((o.a = 5) AND (o.b > 1) AND (lower(o.c) = 'x'::text))",
                vec!["a,b", "a", "b", "a,(lower(c)),b", "(lower(c))"],
            ),
            ("((o.a = 1) OR (o.b = 1) OR (o.c = 1) OR (o.d = 1))", vec![]),
        ] {
            let plan = json!({
                "Node Type": "Seq Scan", "Schema": "shop", "Relation Name": "orders", "Alias": "o", "Filter": filter
            });
            let columns: Vec<String> = of(&plan, &Wholes::default()).iter().map(shown).collect();
            assert_eq!(columns, expected, "{filter}");
        }
    }

    fn shown(together: &Together) -> String {
        let key = |key: &Key| key.column().map_or_else(|| key.in_sql(), str::to_owned);
        let index = |index: &Candidate| index.keys.iter().map(key).collect::<Vec<_>>().join(",");
        together.iter().map(index).collect::<Vec<_>>().join(" & ")
    }

    #[test]
    fn equality_comes_before_ranges_and_orders() {
        let plan = json!({
            "Node Type": "Sort", "Sort Key": ["o.placed DESC"],
            "Plans": [{
                "Node Type": "Seq Scan", "Schema": "shop", "Relation Name": "orders", "Alias": "o",
                "Filter": "((o.total > 5) AND (o.status = 'paid'::text))"
            }]
        });
        let columns: Vec<String> = of(&plan, &Wholes::default()).iter().map(shown).collect();
        assert_eq!(
            columns,
            ["status,total", "status,placed", "status", "total"]
        );
        assert_eq!(
            of(&plan, &Wholes::default())[0][0].advised(),
            "CREATE INDEX CONCURRENTLY ON \"shop\".\"orders\" (\"status\", \"total\")"
        );
    }
}
