//! `analyze_health`: what a DBA would look at first, each finding with its next step.

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::{collections::BTreeSet, fmt::Write as _, sync::Arc};

use serde_json::{Value, json};
use tokio_postgres::{Row, types::Type};

use super::{Answer, Call, Definition, Effect, Failure, Found, Offer, Tool, keep_first};
use crate::{
    Agent,
    read_only::{ReadError, Reader},
};

const DEFINITION: Definition<'_> = Definition {
    name: "analyze_health",
    title: "Check the database's health",
    description: "Looks for what harms a database: index bloat and duplicates, unused and invalid indexes, cache hits, long transactions, vacuum, wraparound, replication, sequences near their end, constraints never validated. Each finding has a next step.",
    input_schema: r#"{"type":"object","properties":{"checks":{"type":"array","items":{"type":"string","enum":["wraparound","long_transactions","replication","sequences","vacuum","cache_hit","invalid_indexes","duplicate_indexes","index_bloat","unused_indexes","invalid_constraints"]},"description":"Default: all"},"database":{"type":"string"}},"additionalProperties":false}"#,
    output_schema: r#"{"type":"object","properties":{"findings":{"type":"array","items":{"type":"object","properties":{"check":{"type":"string"},"severity":{"type":"string","enum":["critical","warning","info"]},"subject":{"type":"string"},"finding":{"type":"string"},"next_step":{"type":"string"}},"required":["check","severity","subject","finding","next_step"]}},"checks":{"type":"array","items":{"type":"object","properties":{"check":{"type":"string"},"outcome":{"type":"string","enum":["fine","findings","not_done"]},"note":{"type":["string","null"]}},"required":["check","outcome","note"]}}},"required":["findings","checks"]}"#,
    effect: Effect::Reads,
    offer: Offer::OptIn,
};

/// Every check, the most urgent first. Each statement gives severity, subject, finding and next step;
/// `$1` multiplies what it tolerates.
#[rustfmt::skip]
const CHECKS: [(&str, &str); 11] = [
    ("wraparound", include_str!("analyze_health/wraparound.sql")),
    ("long_transactions", include_str!("analyze_health/long_transactions.sql")),
    ("replication", include_str!("analyze_health/replication.sql")),
    ("sequences", include_str!("analyze_health/sequences.sql")),
    ("vacuum", include_str!("analyze_health/vacuum.sql")),
    ("cache_hit", include_str!("analyze_health/cache_hit.sql")),
    ("invalid_indexes", include_str!("analyze_health/invalid_indexes.sql")),
    ("duplicate_indexes", include_str!("analyze_health/duplicate_indexes.sql")),
    ("index_bloat", include_str!("analyze_health/index_bloat.sql")),
    ("unused_indexes", include_str!("analyze_health/unused_indexes.sql")),
    ("invalid_constraints", include_str!("analyze_health/invalid_constraints.sql")),
];

const SEVERITIES: [&str; 3] = ["critical", "warning", "info"];

/// Says whether the role sees what other roles' sessions do.
const SEES_ALL: &str = "SELECT pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')";

/// Checks of which a role without `pg_read_all_stats` sees its own part only.
const NEED_ALL_STATS: [&str; 2] = ["long_transactions", "replication"];

const SEES_OWN_ONLY: &str =
    "the role sees its own sessions only; GRANT pg_read_all_stats to it to see all";

/// The tool.
pub(crate) struct AnalyzeHealth {
    reader: Arc<Reader>,
    /// What the checks tolerate is multiplied by this.
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

/// What a check came to.
struct Checked {
    name: &'static str,
    findings: Vec<Finding>,
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
        call.arguments.finish()?;
        let wanted: Option<BTreeSet<String>> = wanted.map(|names| names.into_iter().collect());
        let sees_all = self.reader.ask(agent, SEES_ALL, &[]).await?;
        let sees_all = sees_all.first().and_then(|row| row.try_get(0).ok());
        let mut all = Vec::new();
        for (name, sql) in CHECKS {
            if wanted.as_ref().is_none_or(|wanted| wanted.contains(name)) {
                let is_partial = NEED_ALL_STATS.contains(&name) && sees_all != Some(true);
                all.push(self.check(agent, name, sql, is_partial).await?);
            }
        }
        Ok(found(&all, agent.limits(self.reader.limits).result_bytes))
    }

    /// Does one check. What the role may not look at is told; a lost connection ends everything.
    async fn check(
        &self,
        agent: &Agent,
        name: &'static str,
        sql: &str,
        is_partial: bool,
    ) -> Result<Checked, Failure> {
        let parameters = [(&self.tolerance as _, Type::FLOAT8)];
        let asked = self.reader.ask(agent, sql, &parameters);
        let note = is_partial.then(|| SEES_OWN_ONLY.to_owned());
        let (findings, note, is_done) = match asked.await {
            Ok(rows) => {
                let findings = rows.iter().map(Finding::read);
                (findings.collect::<Result<_, _>>()?, note, true)
            }
            Err(error @ (ReadError::Database(..) | ReadError::Unanswered(_))) => {
                (Vec::new(), Some(error.explain()), false)
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Checked {
            name,
            findings,
            note,
            is_done,
        })
    }
}

/// Shows what was found, the most urgent first, in so many bytes.
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
