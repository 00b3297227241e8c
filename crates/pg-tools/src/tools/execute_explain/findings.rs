//! What in a plan costs more than it should, each with a next step.

use std::collections::BTreeMap;

use super::{
    plan::{Node, Plan},
    served::Served,
};
use crate::{
    quoting::written,
    tools::partitions::{Wholes, alias_of_whole},
};

/// Something to look at.
pub(super) struct Finding {
    pub(super) finding: String,
    pub(super) next_step: String,
}

/// A guess that is wrong by a smaller factor does not mislead the planner.
const WRONG_FACTOR: f64 = 10.0;

/// Fewer rows than these are read quickly, whatever the plan.
const FEW_ROWS: f64 = 1_000.0;

/// A filter that discards more than this share of what was read calls for an index.
const THROWN_AWAY: f64 = 0.9;

/// Looks at every node; the findings come in the order of the plan, with those about partitioned tables at the end.
pub(super) fn of(plan: &Plan<'_>, wholes: &Wholes) -> Vec<Finding> {
    let (mut findings, mut partitioned) = (Vec::new(), Partitioned::new());
    plan.root.visit(&mut |node| {
        let is_of_partitioned = is_of_partitioned(node, wholes, &mut partitioned);
        findings.extend(
            [
                misestimate(node).filter(|_| !is_of_partitioned),
                unselective_scan(node).filter(|_| !is_of_partitioned),
                spill(node),
                repeated_scan(node),
                wasted_join(node),
            ]
            .into_iter()
            .flatten(),
        );
    });
    for ((table, _), scanned) in &partitioned {
        let what = format!("{} partitions of {table}", scanned.count);
        let unselective = scanned.unselective("scans", &what, table);
        findings.extend(scanned.misjudged(table).into_iter().chain(unselective));
    }
    findings
}

fn misestimate(node: &Node<'_>) -> Option<Finding> {
    let (guess, actual) = wrong_guess(node)?;
    let kind = node.kind();
    if let Some(relation) = node.relation() {
        return Some(Finding {
            finding: format!(
                "{kind} on {relation} was planned for {guess:.0} rows and gave {actual:.0}"
            ),
            next_step: Served::of_scan(node).estimate_step(&relation, &relation),
        });
    }
    if !is_join(node) {
        return None;
    }
    let mut inputs = Vec::new();
    for input in &node.inputs {
        input.visit(&mut |below| inputs.extend(Input::misjudged(below)));
    }
    let finding = format!("{kind} was planned for {guess:.0} rows and gave {actual:.0}");
    // If the inputs of a join were guessed wrongly, so is the join.
    match inputs.into_iter().max_by_key(|input| input.is_told) {
        None => Some(Finding {
            finding: format!("{finding}, although its inputs were guessed well"),
            next_step: JOIN_STEP.into(),
        }),
        Some(input) => (!input.is_told).then(|| Finding {
            finding: format!("{finding}; of its inputs, {}", input.finding),
            next_step: input.next_step,
        }),
    }
}

const JOIN_STEP: &str = "The joined columns depend on each other in a way that PostgreSQL does not know: ANALYZE both tables, raise the statistics target of the columns, or join on fewer of them.";

/// An input of a join that was guessed wrongly.
struct Input {
    finding: String,
    next_step: String,
    /// Whether it is a finding by itself.
    is_told: bool,
}

impl Input {
    fn misjudged(node: &Node<'_>) -> Option<Self> {
        let (guess, actual) = different_guess(node)?;
        let (what, next_step) = match node.relation() {
            Some(relation) => (
                format!("{} on {relation}", node.kind()),
                Served::of_scan(node).estimate_step(&relation, &relation),
            ),
            // A sort in which a merge join goes back counts rows twice.
            None if !is_join(node) => return None,
            None => (node.kind().to_owned(), JOIN_STEP.to_owned()),
        };
        Some(Input {
            finding: format!("{what} was planned for {guess:.0} and gave {actual:.0}"),
            next_step,
            is_told: wrong_guess(node).is_some(),
        })
    }
}

fn is_join(node: &Node<'_>) -> bool {
    node.kind().contains("Join") || node.kind() == "Nested Loop"
}

/// Returns the planner's guess and the actual number of rows, if they differ so much that it misleads.
fn wrong_guess(node: &Node<'_>) -> Option<(f64, f64)> {
    different_guess(node).filter(|(guess, actual)| guess.max(*actual) >= FEW_ROWS / 10.0)
}

/// Returns the planner's guess and the actual number of rows, if one is many times the other, however few rows there
/// are.
fn different_guess(node: &Node<'_>) -> Option<(f64, f64)> {
    // Per loop, as the planner's guess is.
    let (guess, actual) = (node.number("Plan Rows")?, node.number("Actual Rows")?);
    let (small, large) = (guess.min(actual).max(1.0), guess.max(actual));
    // A node that never ran does not show that its guess was wrong.
    let differs = large / small >= WRONG_FACTOR && node.loops() > 0.0;
    // If the node was stopped, nobody knows how many more rows there were.
    let is_known = actual > guess || !node.may_be_stopped;
    (differs && is_known).then_some((guess, actual))
}

fn unselective_scan(node: &Node<'_>) -> Option<Finding> {
    let mut scanned = Scanned::default();
    scanned.add(node);
    let relation = node.relation()?;
    scanned.unselective("scan", &relation, &relation)
}

/// What sequential scans with a filter read, and how many scans of any kind were guessed wrongly.
#[derive(Default)]
struct Scanned {
    wrong: usize,
    guess: f64,
    actual: f64,
    count: usize,
    removed: f64,
    kept: f64,
    filter: String,
    /// What serves the filter, and what serves the first condition that was guessed wrongly.
    filtered: Served,
    guessed: Served,
}

impl Scanned {
    fn add(&mut self, node: &Node<'_>) {
        let Some(filter) = node.text("Filter").filter(|_| node.kind() == "Seq Scan") else {
            return;
        };
        if self.filter.is_empty() {
            filter.clone_into(&mut self.filter);
            self.filtered = Served::of_scan(node);
        }
        let removed = node.number("Rows Removed by Filter").unwrap_or_default();
        self.removed += removed * node.loops();
        self.kept += node.actual_rows().unwrap_or_default();
        self.count += 1;
    }

    fn compare(&mut self, node: &Node<'_>) {
        if let Some((guess, actual)) = wrong_guess(node) {
            if self.wrong == 0 {
                self.guessed = Served::of_scan(node);
            }
            self.wrong += 1;
            self.guess += guess;
            self.actual += actual;
        }
    }

    fn misjudged(&self, table: &str) -> Option<Finding> {
        let Scanned {
            wrong,
            guess,
            actual,
            guessed,
            ..
        } = self;
        (*wrong > 0).then(|| Finding {
            finding: format!(
                "The scans of {wrong} partitions of {table} were planned for {guess:.0} rows and gave {actual:.0}"
            ),
            next_step: guessed.estimate_step(table, &format!("each partition of {table}")),
        })
    }

    fn unselective(&self, scan: &str, what: &str, relation: &str) -> Option<Finding> {
        let Scanned {
            removed,
            kept,
            filter,
            ..
        } = self;
        let share = removed / (removed + kept);
        if *removed < FEW_ROWS || share < THROWN_AWAY {
            return None;
        }
        Some(Finding {
            finding: format!(
                "The sequential {scan} of {what} read {:.0} rows and threw {:.1} % of them away: {filter}",
                removed + kept,
                share * 100.0
            ),
            next_step: self.filtered.index_step(relation),
        })
    }
}

/// The scans of partitioned tables, by the table and the alias that it was read by. A single partition may be too small
/// to tell anything, and there may be thousands.
type Partitioned = BTreeMap<(String, String), Scanned>;

/// Adds the scan of a partition to those of its table; returns whether the node is one.
fn is_of_partitioned(node: &Node<'_>, wholes: &Wholes, scanned: &mut Partitioned) -> bool {
    let whole = || {
        let (schema, table) = (node.text("Schema")?, node.text("Relation Name")?);
        let (schema, table) = wholes.of_partition(schema, table)?;
        let alias = alias_of_whole(node.text("Alias")?)?;
        Some((
            format!("{}.{}", written(schema), written(table)),
            alias.to_owned(),
        ))
    };
    let Some(whole) = whole() else {
        return false;
    };
    let scanned = scanned.entry(whole).or_default();
    scanned.add(node);
    scanned.compare(node);
    true
}

fn spill(node: &Node<'_>) -> Option<Finding> {
    let (written, needed) = spilled(node)?;
    Some(Finding {
        finding: format!(
            "{} did not fit into work_mem and went to disk ({written:.0} kB)",
            node.kind()
        ),
        next_step: format!(
            "Sort or join fewer rows or narrower ones, or ask the operator for a work_mem of {:.0} MB for this role.",
            (needed / 1024.0).ceil().max(8.0)
        ),
    })
}

/// What a row takes in memory besides its values, in kilobytes: its header, and its entry in a list that may be twice
/// as long as needed.
const ROW_OVERHEAD: f64 = 64.0 / 1024.0;

/// Returns what a node wrote to disk and what it would have needed in memory, in kilobytes. Memory is allocated in
/// powers of two, so that a row may take twice what it takes on disk. Measured with PostgreSQL 14 to 18.
fn spilled(node: &Node<'_>) -> Option<(f64, f64)> {
    if node.text("Sort Space Type") == Some("Disk") {
        let written = node.number("Sort Space Used")?;
        let rows = node.inputs.first()?.number("Actual Rows")?;
        return Some((written, 2.0 * written + rows * ROW_OVERHEAD));
    }
    if let Some(written) = node.number("Disk Usage").filter(|used| *used > 0.0) {
        // Groups that were formed before the memory was full are not on disk.
        let groups = node.number("Actual Rows")?;
        return Some((written, 3.0 * written + groups * ROW_OVERHEAD));
    }
    let batches = node.number("Hash Batches").filter(|count| *count > 1.0)?;
    let written = node.number("Peak Memory Usage")? * batches;
    Some((written, 2.0 * written))
}

fn repeated_scan(node: &Node<'_>) -> Option<Finding> {
    if node.kind() != "Nested Loop" {
        return None;
    }
    let inner = node.inputs.get(1)?;
    let mut worst: Option<(String, f64, f64)> = None;
    inner.visit(&mut |below| {
        if let (Some(relation), "Seq Scan") = (below.relation(), below.kind()) {
            let removed = below.number("Rows Removed by Filter").unwrap_or_default();
            let read = (below.number("Actual Rows").unwrap_or_default() + removed) * below.loops();
            if below.loops() > 1.0 && worst.as_ref().is_none_or(|(_, _, most)| read > *most) {
                worst = Some((relation, below.loops(), read));
            }
        }
    });
    let (relation, loops, read) = worst.filter(|(_, _, read)| *read >= 10.0 * FEW_ROWS)?;
    Some(Finding {
        finding: format!(
            "A nested loop scanned {relation} {loops:.0} times, {read:.0} rows in all"
        ),
        next_step: format!(
            "An index on the column of {relation} that is joined lets each turn find its rows directly; ANALYZE helps PostgreSQL to see that a hash join is cheaper."
        ),
    })
}

fn wasted_join(node: &Node<'_>) -> Option<Finding> {
    let filter = node.text("Join Filter")?;
    let removed = node.number("Rows Removed by Join Filter")? * node.loops();
    let kept = node.actual_rows()?;
    let share = removed / (removed + kept);
    if removed < 10.0 * FEW_ROWS || share < THROWN_AWAY {
        return None;
    }
    Some(Finding {
        finding: format!(
            "{} put {:.0} pairs of rows together and threw {:.1} % of them away: {filter}",
            node.kind(),
            removed + kept,
            share * 100.0
        ),
        next_step: "Join on an equality, which PostgreSQL can hash or look up in an index, and narrow either side before the join.".into(),
    })
}
