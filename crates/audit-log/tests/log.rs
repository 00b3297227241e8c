//! The log as a program uses it, and what happens to its file.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::mpsc,
    time::{Duration, Instant},
};

use audit_log::{
    AuditLog, Entry, Fault, Hash, OpenError, Options, Position, Report, Verified, VerifyError,
    verify,
};
use time::OffsetDateTime;

fn entry(number: u64) -> Entry {
    Entry::new("call", OffsetDateTime::UNIX_EPOCH)
        .number("number", number)
        .text("who", "token-1")
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("audit.jsonl")
    }

    fn open(&self) -> (AuditLog, mpsc::Receiver<Report>) {
        let (tell, told) = mpsc::channel();
        let log = AuditLog::open(Options::new(self.path()), move |report| {
            let _nobody_asks = tell.send(report);
        });
        (log.unwrap(), told)
    }

    /// A closed log of `calls` calls.
    fn filled(calls: u64) -> (Self, Position) {
        let folder = Folder::new();
        let (log, _) = folder.open();
        (0..calls).for_each(|number| log.write(entry(number)));
        let end = log.finish();
        (folder, end)
    }
}

fn check(path: &Path) -> Result<Verified, VerifyError> {
    verify(fs::read(path).unwrap().as_slice(), None, None)
}

fn first_fault(bytes: &[u8]) -> (u64, Fault) {
    match verify(bytes, None, None).unwrap_err() {
        VerifyError::Broken { line, fault } => (line, fault),
        VerifyError::Read(error) => panic!("{error}"),
    }
}

fn next(told: &mpsc::Receiver<Report>, is_it: impl Fn(&Report) -> bool) -> Report {
    loop {
        let report = told.recv_timeout(Duration::from_secs(20)).unwrap();
        if is_it(&report) {
            return report;
        }
    }
}

/// Waits until this many lines are written.
fn written(log: &AuditLog, lines: u64) {
    while log.status().written < lines {
        std::thread::yield_now();
    }
}

#[test]
fn the_chain_goes_on_after_a_restart() {
    let (folder, first) = Folder::filled(3);
    let (log, _) = folder.open();
    log.write(entry(3));
    let end = log.finish();
    let verified = check(&folder.path()).unwrap();
    assert_eq!((verified.lines, verified.end), (5, end));
    assert_eq!((first.seq, end.seq, verified.after.seq), (4, 5, 0));
    let mode = fs::metadata(folder.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// The lines of a file, which must be as it was written.
fn told(path: &Path) -> Vec<serde_json::Value> {
    check(path).unwrap();
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().unwrap()
}

#[test]
fn what_is_too_long_for_a_line_is_shortened_and_the_log_goes_on() {
    const LONG: usize = 1 << 20;
    let (one, many) = ("x".repeat(LONG), vec!["one of many"; LONG]);
    let hidden = "\u{1}\u{e0041}é".repeat(LONG / 4);
    let call = || Entry::new("call", OffsetDateTime::UNIX_EPOCH);
    let folder = Folder::new();
    for entry in [
        call().text("what", &one).number("rows", 7),
        call().text("what", &hidden).number("rows", 7),
        call()
            .list("what", [&*one, &one, &hidden])
            .number("rows", 7),
        call().list("what", many.iter().copied()).number("rows", 7),
        Entry::new(&one, OffsetDateTime::UNIX_EPOCH).number("rows", 7),
        (0..20).fold(call(), |entry, _| entry.text("what", &one[..100_000])),
        (0..100_000).fold(call(), |entry, number| entry.number("what", number)),
    ] {
        let (log, _) = folder.open();
        log.write(entry);
        log.finish();
    }
    let told = told(&folder.path());
    assert_eq!(told.len(), 8);
    let ends = |value: &serde_json::Value| value.as_str().unwrap().ends_with('…');
    assert!(ends(&told[1]["what"]) && ends(&told[2]["what"]));
    assert!(ends(&told[3]["what"][0]), "the others find no place");
    assert_eq!(told[3]["what"].as_array().unwrap().len(), 2);
    assert!(ends(told[4]["what"].as_array().unwrap().last().unwrap()));
    assert!(ends(&told[5]["event"]));
    let has_rows = told[1..].iter().filter(|line| line["rows"] == 7).count();
    assert_eq!(has_rows, 5);
    for line in &told[6..] {
        assert_eq!(line["shortened"], true);
        assert_eq!(line["event"], "call");
    }
    assert!(told[1].get("shortened").is_none());
}

#[test]
fn behind_a_line_as_long_as_they_get_one_that_was_not_finished_is_told() {
    let folder = Folder::new();
    let (log, _) = folder.open();
    log.write(entry(0).text("what", &"x".repeat(2 << 20)));
    log.finish();
    let whole = fs::read(folder.path()).unwrap();
    let start = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let torn = &whole[start..whole.len() - 2];
    fs::write(folder.path(), [&whole, torn].concat()).unwrap();
    let (log, _) = folder.open();
    log.write(entry(1));
    log.finish();
    assert_eq!(check(&folder.path()).unwrap().torn, 1);
}

#[test]
fn a_report_that_panics_does_not_end_the_log() {
    let folder = Folder::new();
    let log = AuditLog::open(Options::new(folder.path()), |report| panic!("{report}")).unwrap();
    written(&log, 1);
    // Both are reported.
    fs::remove_file(folder.path()).unwrap();
    log.write(entry(0));
    written(&log, 3);
    log.reopen();
    log.write(entry(1));
    let end = log.finish();
    assert_eq!((end.seq, check(&folder.path()).unwrap().end), (4, end));
    assert_eq!((log.status().lost, log.status().queued), (0, 0));
}

#[test]
fn a_start_without_a_stop_before_it_is_counted() {
    let folder = Folder::new();
    let (log, _) = folder.open();
    for event in ["start", "call", "stop", "start", "call", "start", "stop"] {
        log.write(Entry::new(event, OffsetDateTime::UNIX_EPOCH).text("event", "start"));
    }
    log.finish();
    assert_eq!(check(&folder.path()).unwrap().unstopped, 1);
}

#[test]
fn a_member_called_event_does_not_mislead() {
    let folder = Folder::new();
    let (log, _) = folder.open();
    log.write(entry(0).text("event", "lost").number("lines", 5));
    log.finish();
    assert_eq!(check(&folder.path()).unwrap().lost, 0);
}

#[test]
fn a_line_that_was_not_finished_is_kept_and_told() {
    let (folder, end) = Folder::filled(3);
    let whole = fs::read(folder.path()).unwrap();
    let torn = b"{\"seq\":5,\"time\":\"2026";
    fs::write(folder.path(), [&whole[..], torn].concat()).unwrap();
    assert_eq!(
        first_fault(&fs::read(folder.path()).unwrap()),
        (5, Fault::CutOff(torn.len() as u64))
    );
    let (log, told) = folder.open();
    next(&told, |report| {
        matches!(report, Report::Torn { bytes: 21, .. })
    });
    log.write(entry(4));
    log.finish();
    let verified = check(&folder.path()).unwrap();
    assert_eq!((verified.torn, verified.end.seq), (1, end.seq + 2));
    let bytes = fs::read(folder.path()).unwrap();
    let altered = String::from_utf8(bytes)
        .unwrap()
        .replace("\"2026\n", "\"2025\n");
    assert_eq!(first_fault(altered.as_bytes()), (5, Fault::NotALine));
}

#[test]
fn a_line_that_lacks_only_its_end_counts() {
    let (folder, end) = Folder::filled(2);
    let mut bytes = fs::read(folder.path()).unwrap();
    bytes.pop();
    fs::write(folder.path(), bytes).unwrap();
    let (log, _) = folder.open();
    log.write(entry(2));
    assert_eq!(log.finish().seq, end.seq + 1);
    assert_eq!(check(&folder.path()).unwrap().torn, 0);
}

#[test]
fn a_rotated_log_goes_on_in_a_new_file() {
    let folder = Folder::new();
    let (log, told) = folder.open();
    log.write(entry(0));
    let old = folder.0.path().join("audit.1");
    log.reopen();
    next(&told, |report| matches!(report, Report::InPlace { .. }));
    fs::rename(folder.path(), &old).unwrap();
    log.write(entry(1));
    log.reopen();
    let Report::Reopened { end, .. } =
        next(&told, |report| matches!(report, Report::Reopened { .. }))
    else {
        unreachable!("it is one");
    };
    log.write(entry(2));
    let last = log.finish();
    let first = check(&old).unwrap();
    assert_eq!((first.lines, first.end), (3, end));
    let second = fs::read(folder.path()).unwrap();
    let verified = verify(&*second, Some(first.end), Some(last.hash)).unwrap();
    assert!(verified.has_expected);
    assert_eq!(
        (verified.after, verified.end, verified.lines),
        (end, last, 2)
    );
    let other = Position {
        seq: 3,
        hash: Hash::default(),
    };
    let fault = verify(&*second, Some(other), None).unwrap_err().to_string();
    assert!(fault.contains("does not end there"), "{fault}");
}

#[test]
fn a_log_that_was_moved_away_between_two_starts_has_ended() {
    let (folder, end) = Folder::filled(1);
    let (log, _) = folder.open();
    assert_eq!(log.found(), end);
    let end = log.finish();
    fs::rename(folder.path(), folder.0.path().join("audit.1")).unwrap();
    let (log, _) = folder.open();
    assert_eq!(log.found(), Position::default());
    log.finish();
    let second = fs::read(folder.path()).unwrap();
    verify(&*second, None, None).unwrap();
    let fault = verify(&*second, Some(end), None).unwrap_err().to_string();
    assert!(fault.contains("begins a log of its own"), "{fault}");
}

#[test]
fn a_file_that_is_in_the_way_is_not_taken() {
    let folder = Folder::new();
    let (log, told) = folder.open();
    log.write(entry(0));
    written(&log, 2);
    let old = folder.0.path().join("audit.1");
    fs::rename(folder.path(), &old).unwrap();
    fs::write(folder.path(), "something").unwrap();
    log.reopen();
    next(&told, |report| matches!(report, Report::NotReopened(_)));
    log.write(entry(1));
    written(&log, 3);
    // Reopening is retried and succeeds once the obstacle is gone.
    fs::remove_file(folder.path()).unwrap();
    next(&told, |report| matches!(report, Report::Reopened { .. }));
    log.write(entry(2));
    log.finish();
    assert_eq!(check(&old).unwrap().lines, 3);
    assert_eq!(check(&folder.path()).unwrap().after.seq, 3);
}

#[test]
fn a_file_that_is_removed_or_emptied_is_told_and_the_log_goes_on() {
    let folder = Folder::new();
    let (log, told) = folder.open();
    written(&log, 1);
    fs::remove_file(folder.path()).unwrap();
    log.write(entry(0));
    next(&told, |report| matches!(report, Report::Removed(_)));
    written(&log, 3);
    assert_eq!(check(&folder.path()).unwrap().after.seq, 1);
    OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(folder.path())
        .unwrap();
    log.write(entry(1));
    next(&told, |report| matches!(report, Report::Emptied(_)));
    log.finish();
    assert_eq!(check(&folder.path()).unwrap().after.seq, 3);
}

#[test]
fn what_somebody_else_writes_is_told_and_found() {
    let folder = Folder::new();
    let (log, told) = folder.open();
    written(&log, 1);
    let mut file = OpenOptions::new().append(true).open(folder.path()).unwrap();
    file.write_all(b"{\"seq\":2}\n").unwrap();
    log.write(entry(0));
    next(&told, |report| matches!(report, Report::Changed(_)));
    log.finish();
    assert_eq!(
        first_fault(&fs::read(folder.path()).unwrap()),
        (2, Fault::NotALine)
    );
}

#[test]
fn a_file_that_cannot_be_a_log_is_refused() {
    let folder = Folder::new();
    let refused = || {
        AuditLog::open(Options::new(folder.path()), |_| ())
            .map(|_| ())
            .unwrap_err()
    };
    fs::create_dir(folder.path()).unwrap();
    assert!(matches!(refused(), OpenError::Open { .. }));
    fs::remove_dir(folder.path()).unwrap();
    fs::write(folder.path(), "my notes\n").unwrap();
    let mode = |mode| fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
    mode(0o666);
    assert!(matches!(refused(), OpenError::Mode { mode: 0o666, .. }));
    mode(0o600);
    assert!(matches!(refused(), OpenError::NotALog(_)));
    fs::write(folder.path(), "").unwrap();
    let (log, _) = folder.open();
    assert!(matches!(refused(), OpenError::Locked(_)));
    log.finish();
    let full = AuditLog::open(Options::new("/dev/full"), |_| ()).unwrap_err();
    assert!(
        matches!(full, OpenError::NotAFile(_) | OpenError::Mode { .. }),
        "{full}"
    );
}

#[test]
fn a_full_queue_loses_lines_and_says_how_many() {
    let folder = Folder::new();
    let options = Options {
        most_queued: 2,
        ..Options::new(folder.path())
    };
    let log = AuditLog::open(options, |_| ()).unwrap();
    assert!(log.take_place() && log.take_place() && !log.take_place());
    (0..5).for_each(|number| log.write(entry(number)));
    assert_eq!(log.status().lost, 5);
    log.write_in_place(entry(5));
    log.write_in_place(entry(6));
    log.finish();
    assert_eq!(log.status().queued, 0);
    let verified = check(&folder.path()).unwrap();
    assert_eq!((verified.lost, verified.lines), (5, 4));
}

#[test]
fn many_writers_make_one_chain() {
    let folder = Folder::new();
    let (log, _) = folder.open();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let log = log.clone();
            scope.spawn(move || (0..500).for_each(|number| log.write(entry(number))));
        }
    });
    let end = log.finish();
    let verified = check(&folder.path()).unwrap();
    assert_eq!((verified.lines, verified.end), (4_001, end));
}

#[test]
fn what_is_cut_off_at_the_end_is_found_by_whoever_kept_the_hash() {
    let (folder, end) = Folder::filled(5);
    let bytes = fs::read(folder.path()).unwrap();
    let cut = bytes.iter().rposition(|byte| *byte == b'\n').unwrap();
    let cut = bytes[..cut]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .unwrap()
        + 1;
    assert!(verify(&*bytes, None, Some(end.hash)).unwrap().has_expected);
    assert!(
        !verify(&bytes[..cut], None, Some(end.hash))
            .unwrap()
            .has_expected
    );
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(200))]

    #[test]
    fn a_changed_removed_repeated_or_moved_line_is_named(
        lines in 3_u64..12, seed in 0_usize..1_000, byte in 0_usize..1_000, flip in 1_u8..=255, kind in 0..4
    ) {
        let (folder, _) = Folder::filled(lines - 1);
        let text = fs::read(folder.path()).unwrap();
        let mut all: Vec<Vec<u8>> = text.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        proptest::prop_assert_eq!(all.len() as u64, lines);
        let at = seed % all.len();
        let wrong = match kind {
            0 => {
                let place = byte % all[at].len();
                all[at][place] ^= flip;
                at
            }
            1 if at + 1 < all.len() => { all.remove(at); at }
            2 => { let again = all[at].clone(); all.insert(at, again); at + 1 }
            3 if at + 1 < all.len() => { all.swap(at, at + 1); at }
            _ => return Ok(()),
        };
        let (line, _) = first_fault(&all.concat());
        proptest::prop_assert_eq!(line, wrong as u64 + 1);
    }
}

#[test]
fn a_small_queue_is_emptied_before_it_is_full() {
    const LINES: u64 = 600;
    let folder = Folder::new();
    let options = Options {
        most_queued: 1,
        ..Options::new(folder.path())
    };
    let log = AuditLog::open(options, |_report| ()).unwrap();
    written(&log, 1);
    let began = Instant::now();
    for number in 0..LINES {
        log.write(entry(number));
        written(&log, number + 2);
    }
    // If each line waited for more to come, it would be written 5 ms after the one before.
    let took = began.elapsed();
    assert!(took < Duration::from_millis(5 * LINES / 2), "{took:?}");
    assert_eq!(log.status().lost, 0);
    log.finish();
    assert_eq!(check(&folder.path()).unwrap().lines, LINES + 1);
}

/// An endless file that counts how much of it was read.
struct Endless {
    begins: &'static [u8],
    repeats: &'static [u8],
    read: u64,
}

impl std::io::Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let rest = match self.read {
            0 => self.begins,
            _ => self.repeats,
        };
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.read += length as u64;
        Ok(length)
    }
}

#[test]
fn garbage_without_end_is_told_at_once_and_takes_no_room() {
    for (begins, repeats) in [
        (&b"{"[..], &b"\0\0\0\0\0\0\0\0"[..]),
        (b"\n", b"\n\n\n\n"),
        (b"\xff\n", b"x"),
        (b"{\"seq\":", b"1111111111111"),
    ] {
        let mut endless = Endless {
            begins,
            repeats,
            read: 0,
        };
        let buffered = std::io::BufReader::new(&mut endless);
        let error = verify(buffered, None, None).unwrap_err();
        let is_told = matches!(
            error,
            VerifyError::Broken {
                line: 1,
                fault: Fault::NotALine
            }
        );
        assert!(is_told, "{error}");
        assert!(endless.read < 3 << 20, "{} bytes were read", endless.read);
    }
}
