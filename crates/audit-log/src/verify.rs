//! Checks whether a file is as it was written.

use std::io::{self, BufRead, Read};

use serde_json::{Map, Value};

use crate::{
    Hash, Position,
    chain::{LONGEST, Line, Misfit},
};

/// The event of a line is within this many bytes of its beginning, after its number and its time.
const HEAD: usize = 128;

/// The result for a file that is as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The number of lines.
    pub lines: u64,
    /// Where the file before it ends; the default place if this is the first file.
    pub after: Position,
    /// Where it ends. Only somebody who has kept the hash of a later line can tell that lines after
    /// it were cut off.
    pub end: Position,
    /// Lines that were not finished, as after a power cut, each reported by the line after it.
    pub torn: u64,
    /// Lines that found no place in the queue, as the log itself reports.
    pub lost: u64,
    /// Starts that do not follow a stop: the process before was killed, or had no room for its last
    /// lines.
    pub unstopped: u64,
    /// Whether a line has the expected hash, if one was given.
    pub has_expected: bool,
}

/// Why a file is not as it was written.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The first line that does not fit.
    #[error("line {line}: {fault}")]
    Broken {
        /// The line number in the file, from 1.
        line: u64,
        /// What is wrong.
        fault: Fault,
    },
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// There are no lines.
    #[error("the file is empty")]
    Empty,
    /// It is not a line of an audit log.
    #[error("this is no line of an audit log; it was altered, or somebody else has written it")]
    NotALine,
    /// The file does not begin with an `opened` line.
    #[error(
        "the file does not begin with the line that every file begins with; its first lines were removed"
    )]
    NoBeginning,
    /// The file continues a different file than the previous one.
    #[error(
        "the file goes on after line {0}, and the file before it does not end there; name the oldest file first, and leave none out"
    )]
    OtherBefore(u64),
    /// The file begins a new log instead of continuing the previous file.
    #[error(
        "the file begins a log of its own, as when the one before it is moved away while no server runs; check the two apart, each with the hash that the server's log has of its end (`--expect`)"
    )]
    BeginsAnew,
    /// Lines are missing before it.
    #[error("{} missing before it", missing(*from, *to))]
    Missing {
        /// The number of the first missing line.
        from: u64,
        /// The number of the last missing line.
        to: u64,
    },
    /// It belongs elsewhere.
    #[error("it is line {0} of the log, which does not belong here; it was moved or repeated")]
    Moved(u64),
    /// Its hash does not fit.
    #[error("its hash does not fit; it was altered, or the line before it was")]
    Altered,
    /// It is incomplete.
    #[error(
        "it is cut off after {0} bytes, as when the machine stopped or somebody cut the file; when the server opens the file the next line says so"
    )]
    CutOff(u64),
}

/// Checks that a file is as it was written, and that it continues where the file `before` it ends, if given.
///
/// # Errors
/// The first line that does not fit and why, or an error of reading.
pub fn verify(
    file: impl BufRead,
    before: Option<Position>,
    expected: Option<Hash>,
) -> Result<Verified, VerifyError> {
    let mut file = Lines { file, number: 0 };
    let Some(first) = file.next()? else {
        return Err(file.broken(Fault::Empty));
    };
    let after = beginning(&first).map_err(|fault| file.broken(fault))?;
    if before.is_some_and(|before| before != after) {
        return Err(file.broken(match after.seq {
            0 => Fault::BeginsAnew,
            seq => Fault::OtherBefore(seq),
        }));
    }
    let mut verified = Verified {
        lines: 0,
        after,
        end: after,
        torn: 0,
        lost: 0,
        unstopped: 0,
        has_expected: expected.is_some_and(|expected| expected == after.hash),
    };
    let mut was_told = Event::Opened;
    let mut next = Some(first);
    while let Some(bytes) = next.take() {
        let number = file.number;
        if let Err(fault) = verified.take(&bytes, expected) {
            // A line that was not finished is reported by the line after it.
            let behind = file.next()?.filter(|behind| tells_of(behind, &bytes));
            let is_told = behind.is_some_and(|behind| verified.take(&behind, expected).is_ok());
            if !is_told {
                let line = number;
                return Err(VerifyError::Broken { line, fault });
            }
            verified.torn += 1;
        }
        let told = Event::of(&bytes);
        if told == Event::Start && was_told == Event::Other {
            verified.unstopped += 1;
        }
        was_told = told;
        next = file.next()?;
    }
    Ok(verified)
}

impl Verified {
    fn take(&mut self, bytes: &[u8], expected: Option<Hash>) -> Result<(), Fault> {
        let whole = whole(bytes)?;
        let line = Line::read(whole).ok_or(Fault::NotALine)?;
        let next = self.end.seq + 1;
        self.end.read(&line).map_err(|misfit| match misfit {
            Misfit::Order(seq) if seq > next => Fault::Missing {
                from: next,
                to: seq - 1,
            },
            Misfit::Order(seq) => Fault::Moved(seq),
            Misfit::Hash => Fault::Altered,
        })?;
        self.lines += 1;
        self.has_expected |= expected.is_some_and(|expected| expected == self.end.hash);
        if let Some(lost) = about(whole, "lost").and_then(|told| told.get("lines")?.as_u64()) {
            self.lost += lost;
        }
        Ok(())
    }
}

/// The kind of line, as far as it shows how processes began and ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Event {
    /// A file begins, whether in the middle of a process or not.
    Opened,
    Start,
    Stop,
    Other,
}

impl Event {
    fn of(line: &[u8]) -> Self {
        match event(line) {
            b"opened" => Event::Opened,
            b"start" => Event::Start,
            b"stop" => Event::Stop,
            _ => Event::Other,
        }
    }
}

/// The event that a line began with, still escaped. Later members of the same name do not count.
fn event(line: &[u8]) -> &[u8] {
    const NAME: &[u8] = b"\"event\":\"";
    let head = &line[..line.len().min(HEAD)];
    let at = head.windows(NAME.len()).position(|part| part == NAME);
    let behind = at.map_or(&[][..], |at| &head[at + NAME.len()..]);
    behind
        .split(|byte| *byte == b'"')
        .next()
        .unwrap_or_default()
}

/// Removes a line's end, which a line that was cut off lacks.
fn whole(line: &[u8]) -> Result<&[u8], Fault> {
    line.strip_suffix(b"\n").ok_or(match line.len() {
        LONGEST => Fault::NotALine,
        length => Fault::CutOff(length as u64),
    })
}

/// Reads the place after which a file goes on.
fn beginning(first: &[u8]) -> Result<Position, Fault> {
    let whole = whole(first)?;
    let line = Line::read(whole).ok_or(Fault::NotALine)?;
    let told = about(whole, "opened").ok_or(Fault::NoBeginning)?;
    let hash = told.get("after").and_then(Value::as_str);
    let hash = hash.and_then(|hash| hash.parse().ok());
    let seq = line.seq.checked_sub(1);
    match (hash, seq) {
        (Some(hash), Some(seq)) if (seq == 0) == (hash == Hash::default()) => {
            Ok(Position { seq, hash })
        }
        _ => Err(Fault::NoBeginning),
    }
}

/// Says whether a line reports that the one before it was unfinished.
fn tells_of(line: &[u8], torn: &[u8]) -> bool {
    let whole = line.strip_suffix(b"\n").unwrap_or(line);
    let torn = torn.strip_suffix(b"\n").unwrap_or(torn);
    about(whole, "torn").is_some_and(|told| {
        told.get("bytes").and_then(Value::as_u64) == Some(torn.len() as u64)
            && told.get("sha256").and_then(Value::as_str) == Some(&*Hash::of(torn).to_string())
    })
}

/// The members of a line, if it has this event.
fn about(line: &[u8], what: &str) -> Option<Map<String, Value>> {
    // Checked first, as most lines have another event.
    let is_about = event(line) == what.as_bytes();
    is_about.then(|| Line::read(line)?.members())?
}

struct Lines<B> {
    file: B,
    number: u64,
}

impl<B: BufRead> Lines<B> {
    /// Reads the next line with its line break, or as much of it as there is.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        (&mut self.file)
            .take(LONGEST as u64)
            .read_until(b'\n', &mut line)?;
        self.number += 1;
        Ok((!line.is_empty()).then_some(line))
    }

    fn broken(&self, fault: Fault) -> VerifyError {
        let line = self.number;
        VerifyError::Broken { line, fault }
    }
}

fn missing(from: u64, to: u64) -> String {
    match from == to {
        true => format!("line {from} of the log is"),
        false => format!("lines {from} to {to} of the log are"),
    }
}
