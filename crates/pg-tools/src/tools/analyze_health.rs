//! `analyze_health`: what a DBA would look at first, with a next step for each finding.

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::{
    collections::{BTreeSet, VecDeque},
    fmt::Write as _,
    sync::Arc,
};

use serde_json::{Value, json};
use tokio_postgres::{Row, types::Type};

use super::{
    Answer, Call, Definition, Effect, Failure, Found, Offer, Tool, all_stats, allotted::Allotted,
    keep_first,
};
use crate::{
    Agent,
    read_only::{ReadError, Reader, not_compiled, own},
};

const DEFINITION: Definition<'_> = Definition {
    name: "analyze_health",
    title: "Check the database's health",
    description: "Looks for what harms a database: index bloat and duplicates, unused and invalid indexes, cache hits, long transactions, vacuum, wraparound, replication, sequences near their end, constraints never validated. Each finding has a next step.",
    input_schema: r#"{"type":"object","properties":{"checks":{"type":"array","items":{"type":"string","enum":["wraparound","long_transactions","replication","sequences","vacuum","cache_hit","invalid_indexes","duplicate_indexes","index_bloat","unused_indexes","invalid_constraints"]},"description":"Default: all"},"limit":{"type":"integer","minimum":1,"maximum":1000,"default":20,"description":"Findings of one check at most"},"database":{"type":"string"}},"additionalProperties":false}"#,
    output_schema: r#"{"type":"object","properties":{"findings":{"type":"array","items":{"type":"object","properties":{"check":{"type":"string"},"severity":{"type":"string","enum":["critical","warning","info"]},"subject":{"type":"string"},"finding":{"type":"string"},"next_step":{"type":"string"}},"required":["check","severity","subject","finding","next_step"]}},"checks":{"type":"array","items":{"type":"object","properties":{"check":{"type":"string"},"outcome":{"type":"string","enum":["fine","findings","not_done"]},"found":{"type":"integer","description":"How many findings there are, with those past limit"},"note":{"type":["string","null"]}},"required":["check","outcome","found","note"]}}},"required":["findings","checks"]}"#,
    effect: Effect::Reads,
    offer: Offer::OptIn,
};

/// Every check, the most urgent first. Each statement returns severity, subject, finding and next step, with the worst
/// first within each severity; `$1` multiplies what it tolerates.
#[rustfmt::skip]
const CHECKS: [(&str, &str); 11] = [
    ("wraparound", include_str!("analyze_health/wraparound.sql")),
    ("long_transactions", include_str!("analyze_health/long_transactions.sql")),
    ("replication", include_str!("analyze_health/replication.sql")),
    ("sequences", include_str!("analyze_health/sequences.sql")),
    ("vacuum", include_str!("analyze_health/vacuum.sql")),
    ("cache_hit", include_str!("analyze_health/cache_hit.sql")),
    ("invalid_indexes", include_str!("analyze_health/invalid_indexes.sql")),
    ("duplicate_indexes", concat!(include_str!("analyze_health/superfluous.sql"), include_str!("analyze_health/duplicate_indexes.sql"))),
    ("index_bloat", include_str!("analyze_health/index_bloat.sql")),
    ("unused_indexes", concat!(include_str!("analyze_health/superfluous.sql"), include_str!("analyze_health/unused_indexes.sql"))),
    ("invalid_constraints", include_str!("analyze_health/invalid_constraints.sql")),
];

/// How many findings of one check are shown if the call does not say.
const USUAL_LIMIT: u64 = 20;

const SEVERITIES: [&str; 3] = ["critical", "warning", "info"];

/// Checks of which a role without `pg_read_all_stats` sees only its own part.
const NEED_ALL_STATS: [&str; 2] = ["long_transactions", "replication"];

/// The tool.
pub(crate) struct AnalyzeHealth {
    reader: Arc<Reader>,
    /// A factor for what the checks tolerate.
    tolerance: f64,
}

impl Tool for AnalyzeHealth {
    fn definition(&self) -> Definition<'_> {
        DEFINITION
    }

    fn call<'a>(&'a self, call: Call<'a>) -> Answer<'a> {
        Box::pin(self.run(call))
    }
}

/// The outcome of a check.
struct Checked {
    name: &'static str,
    findings: Vec<Finding>,
    /// How many findings there are, including those that are not shown.
    total: i64,
    /// Why it was not done, or what it could not see.
    note: Option<String>,
    is_done: bool,
}

struct Finding {
    severity: String,
    subject: String,
    finding: String,
    next_step: String,
}

impl Finding {
    fn bytes(&self) -> usize {
        self.subject.len() + self.finding.len() + self.next_step.len()
    }

    fn read(row: &Row) -> Result<Self, ReadError> {
        let text = |name: &str| row.try_get(name).map_err(|_| ReadError::Unreadable);
        Ok(Finding {
            severity: text("severity")?,
            subject: text("subject")?,
            finding: text("finding")?,
            next_step: text("next_step")?,
        })
    }
}

impl AnalyzeHealth {
    pub(crate) fn new(reader: Arc<Reader>) -> Self {
        AnalyzeHealth {
            reader,
            tolerance: 1.0,
        }
    }

    async fn run(&self, mut call: Call<'_>) -> Result<Found, Failure> {
        let agent = &call.on_database()?;
        let wanted = call.arguments.optional_texts("checks")?;
        let limit = call.arguments.number("limit", 1..=1_000, USUAL_LIMIT)?;
        call.arguments.finish()?;
        let wanted: Option<BTreeSet<String>> = wanted.map(|names| names.into_iter().collect());
        let allotted = Allotted::begin(agent, &self.reader);
        let missing = all_stats::missing(&self.reader, agent).await?;
        let mut wanted: VecDeque<_> = CHECKS
            .iter()
            .filter(|(name, _)| wanted.as_ref().is_none_or(|wanted| wanted.contains(*name)))
            .collect();
        let is_alone = wanted.len() == 1;
        let mut all = Vec::new();
        while let Some(&(name, sql)) = wanted.pop_front() {
            let check = Check {
                name,
                sql,
                limit: limit as i64,
                missing: missing
                    .as_deref()
                    .filter(|_| NEED_ALL_STATS.contains(&name)),
                is_last: wanted.is_empty(),
                is_alone,
            };
            all.push(self.check(agent, check, &allotted).await?);
        }
        Ok(found(&all, agent.limits(self.reader.limits).result_bytes))
    }

    /// Runs one check. What the role may not look at is reported; a lost connection ends everything.
    ///
    /// No check but the last takes more than half of the time that is left, so that one which waits for a lock leaves
    /// the others time.
    async fn check(
        &self,
        agent: &Agent,
        check: Check<'_>,
        allotted: &Allotted,
    ) -> Result<Checked, Failure> {
        let Check { name, limit, .. } = check;
        let Some(left) = allotted.left() else {
            let time = allotted.in_words();
            return Ok(Checked::not_done(
                name,
                format!(
                    "the {time} of the call were up before it; call again with checks [\"{name}\"]"
                ),
            ));
        };
        let part = if check.is_last { left } else { left / 2 };
        let time = part.as_millis().max(1).to_string();
        let settings = [not_compiled(), ("statement_timeout", time)];
        let parameters = [
            (&self.tolerance as _, Type::FLOAT8),
            (&limit as _, Type::INT8),
        ];
        let sql = own(&format!("{FIRST_OF}{}{COUNTED}", check.sql));
        let asked = self.reader.ask_with(agent, &settings, &sql, &parameters);
        match allotted.wait(part, asked).await {
            Ok(rows) => Checked::read(&check, &rows).map_err(Failure::from),
            Err(error) if error.is_timeout() || matches!(error, ReadError::Unanswered(_)) => {
                let next_step = if check.is_alone {
                    "call again later".to_owned()
                } else {
                    format!("call again with checks [\"{name}\"], which gives it more")
                };
                let had = part.as_secs_f64();
                Ok(Checked::not_done(
                    name,
                    format!(
                        "it took longer than the {had:.1} s that it had, or waited for a lock that another holds; {next_step}"
                    ),
                ))
            }
            Err(error @ ReadError::Database(..)) => Ok(Checked::not_done(name, error.explain())),
            Err(error) => Err(error.into()),
        }
    }
}

/// What one check is to do.
struct Check<'a> {
    name: &'static str,
    sql: &'static str,
    /// How many findings are shown at most.
    limit: i64,
    /// What would let the role see all, if it sees only a part.
    missing: Option<&'a str>,
    /// Whether no other follows.
    is_last: bool,
    /// Whether it is the only one.
    is_alone: bool,
}

/// Go around the statement of a check, and return the first `$2` of its findings with the number of all: the most
/// severe ones, and of these in the order of the statement, in which they are numbered.
const FIRST_OF: &str = "SELECT placed.*, pg_catalog.count(*) OVER () AS total \
     FROM (SELECT found.*, pg_catalog.row_number() OVER () AS of_statement FROM (\n";
const COUNTED: &str = ") found) placed \
     ORDER BY pg_catalog.array_position('{critical,warning,info}', severity), of_statement LIMIT $2";

impl Checked {
    fn read(check: &Check<'_>, rows: &[Row]) -> Result<Self, ReadError> {
        let total = rows.first().map_or(Ok(0), |row| row.try_get("total"));
        Ok(Checked {
            name: check.name,
            findings: rows.iter().map(Finding::read).collect::<Result<_, _>>()?,
            total: total.map_err(|_| ReadError::Unreadable)?,
            note: check.missing.map(|statements| {
                format!("the role sees its own sessions only; {statements} lets it see all")
            }),
            is_done: true,
        })
    }

    fn not_done(name: &'static str, why: String) -> Self {
        Checked {
            name,
            findings: Vec::new(),
            total: 0,
            note: Some(why),
            is_done: false,
        }
    }

    /// Returns how many findings there are besides those that are shown.
    fn further(&self) -> i64 {
        self.total - self.findings.len() as i64
    }
}

/// Shows what was found, the most urgent first, in at most `most_bytes`.
fn found(all: &[Checked], most_bytes: usize) -> Found {
    let mut findings: Vec<(&str, &Finding)> = Vec::new();
    for severity in SEVERITIES {
        let named = all.iter().flat_map(|checked| {
            let findings = checked
                .findings
                .iter()
                .map(|finding| (checked.name, finding));
            findings.filter(|(_, finding)| finding.severity == severity)
        });
        findings.extend(named);
    }
    let summary = summary(all, &findings);
    let left_out = keep_first(&mut findings, most_bytes, |(_, finding)| finding.bytes());
    let mut text = String::new();
    for (check, finding) in &findings {
        _ = writeln!(
            text,
            "- {} {check}: {} {}\n  next step: {}",
            finding.severity.to_uppercase(),
            finding.subject,
            finding.finding,
            finding.next_step
        );
    }
    let structured = json!({
        "findings": findings.iter().map(|(check, finding)| json!({
            "check": check,
            "severity": finding.severity,
            "subject": finding.subject,
            "finding": finding.finding,
            "next_step": finding.next_step,
        })).collect::<Vec<_>>(),
        "checks": all.iter().map(|checked| json!({
            "check": checked.name,
            "outcome": outcome(checked),
            "found": checked.total,
            "note": checked.note,
        })).collect::<Vec<_>>(),
    });
    let mut found = Found::new(&structured).said(summary);
    if left_out > 0 {
        found = found.said(format!(
            "(a result may have {most_bytes} bytes: {left_out} findings are left out, the least urgent; name fewer `checks`)"
        ));
    }
    if text.is_empty() {
        found
    } else {
        found.data(text.trim_end())
    }
}

fn outcome(checked: &Checked) -> Value {
    let outcome = match (checked.is_done, checked.findings.is_empty()) {
        (false, _) => "not_done",
        (true, true) => "fine",
        (true, false) => "findings",
    };
    outcome.into()
}

fn summary(all: &[Checked], findings: &[(&str, &Finding)]) -> String {
    let count = |severity: &str| {
        let of_severity = findings
            .iter()
            .filter(|(_, finding)| finding.severity == severity);
        format!("{} {severity}", of_severity.count())
    };
    let mut lines = vec![format!("Findings: {}", SEVERITIES.map(count).join(", "))];
    let fine: Vec<&str> = all
        .iter()
        .filter(|checked| checked.is_done && checked.findings.is_empty())
        .map(|checked| checked.name)
        .collect();
    if !fine.is_empty() {
        lines.push(format!("Nothing found by: {}", fine.join(", ")));
    }
    for checked in all {
        if checked.further() > 0 {
            lines.push(format!(
                "{} found {}, of which the first {} are shown; call again with checks [\"{}\"] and a larger limit",
                checked.name,
                checked.total,
                checked.findings.len(),
                checked.name
            ));
        }
        if let Some(note) = &checked.note {
            let what = if checked.is_done {
                "in part"
            } else {
                "not done"
            };
            lines.push(format!("{} was {what}: {note}", checked.name));
        }
    }
    lines.join("\n")
}
