//! Checks that audit logs are as they were written.

use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
};

use audit_log::{Hash, Position, Verified, verify};
use serde_json::json;
use server_config::{Config, Sources};

use crate::{command::VerifyAudit, failure::Failure, json::line, text::printable, world::World};

pub(crate) fn run(
    asked: &VerifyAudit,
    json: bool,
    sources: &Sources,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let files = files(asked, sources)?;
    let mut end = None;
    let mut found = Vec::new();
    for file in &files {
        let verified = one(file, end, asked.expect)?;
        end = Some(verified.end);
        found.push(verified);
    }
    let has_expected = found.iter().any(|verified| verified.has_expected);
    if let Some(expected) = asked.expect.filter(|_| !has_expected) {
        return Err(Failure::AuditCut(expected));
    }
    let told: String = files
        .iter()
        .zip(&found)
        .map(|(file, found)| {
            if json {
                line(&structured(file, found))
            } else {
                text(file, found)
            }
        })
        .collect();
    world.print(&told).map_err(Failure::Output)
}

fn files(asked: &VerifyAudit, sources: &Sources) -> Result<Vec<PathBuf>, Failure> {
    if !asked.files.is_empty() {
        return Ok(asked.files.clone());
    }
    let audit = Config::load(sources)?.audit.ok_or(Failure::NoAudit)?;
    Ok(vec![audit.file])
}

fn one(path: &Path, before: Option<Position>, expected: Option<Hash>) -> Result<Verified, Failure> {
    let broken = |error| Failure::Audit {
        file: path.to_owned(),
        error,
    };
    let file = File::open(path).map_err(|error| broken(error.into()))?;
    verify(BufReader::new(file), before, expected).map_err(broken)
}

fn text(path: &Path, found: &Verified) -> String {
    let Verified {
        lines,
        after,
        end,
        torn,
        lost,
        unstopped,
        ..
    } = found;
    let mut told = format!(
        "{}: as it was written\n",
        printable(&path.display().to_string())
    );
    told.push_str(&format!(
        "Lines: {lines}, {} to {}\n",
        after.seq + 1,
        end.seq
    ));
    if after.seq > 0 {
        told.push_str(&format!("Goes on after the hash: {}\n", after.hash));
    }
    if *torn > 0 {
        told.push_str(&format!("Lines that were not finished: {torn}\n"));
    }
    if *lost > 0 {
        told.push_str(&format!("Lines that were lost: {lost}\n"));
    }
    if *unstopped > 0 {
        told.push_str(&format!(
            "Starts without a stop before them, where lines may be missing: {unstopped}\n"
        ));
    }
    told.push_str(&format!("Ends with the hash: {}\n", end.hash));
    told
}

fn structured(path: &Path, found: &Verified) -> serde_json::Value {
    json!({
        "file": path.display().to_string(),
        "lines": found.lines,
        "first": found.after.seq + 1,
        "after_hash": found.after.hash.to_string(),
        "last": found.end.seq,
        "hash": found.end.hash.to_string(),
        "torn": found.torn,
        "lost": found.lost,
        "unstopped": found.unstopped,
    })
}
