//! The outcome of calls: reported to a ledger, and counted.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use mcp_protocol::{CallRefusal, Context, Origin};

use crate::{Agent, read_only::ReadError};

/// Keeps an account of calls. Nothing here may wait: every call goes through it.
pub trait Ledger: Send + Sync {
    /// Reserves room for the account of a call that is about to begin. [`Ledger::ended`] gives it back.
    ///
    /// # Errors
    /// What the client is told if the call may not begin because no account of it can be kept.
    fn admit(&self) -> Result<(), &'static str>;

    /// Is told of a call that was admitted: once, when it has ended.
    fn ended(&self, account: &Account<'_>);

    /// Is told of a call that was refused before it was admitted.
    fn refused(&self, account: &Account<'_>);
}

/// The account of a call.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Account<'a> {
    /// What was called.
    pub kind: CallKind,
    /// The tool's name as the client gave it, unchecked, or the resource's address.
    pub name: &'a str,
    /// The id of the session on which the agent calls.
    pub agent: &'a str,
    /// Where the call came from, if that is known.
    pub peer: Option<IpAddr>,
    /// The database that the call was about, if it got that far.
    pub database: Option<&'a str>,
    /// What the client calls itself.
    pub client: Option<&'a str>,
    /// The session on whose connection its statements run, by the name that `open_session` gave it;
    /// otherwise the identifier of the client's protocol session.
    pub session: Option<&'a str>,
    /// The identifier that the client gave its request.
    pub request: Option<&'a str>,
    /// The last statement that the call itself was to run, as the client gave it.
    pub statement: Option<&'a str>,
    /// Rows that were returned or changed, or, if it is in doubt whether a change was kept, the
    /// rows of that change.
    pub rows: u64,
    /// Bytes of the answer.
    pub bytes: u64,
    /// How long it took.
    pub took: Duration,
    /// How it ended.
    pub outcome: Outcome,
    /// The SQLSTATE, if PostgreSQL refused something.
    pub sqlstate: Option<&'a str>,
}

/// What a client calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// A tool.
    Tool,
    /// A resource, to be read.
    Resource,
    /// The completion of a resource's address.
    Completion,
    /// A resource, to be told of its changes from now on.
    Follow,
    /// A resource, to be told of its changes no more.
    Unfollow,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// With a result.
    Ok,
    /// PostgreSQL refused the statement.
    DatabaseError,
    /// The statement, or what it was about, is not allowed or makes no sense.
    Refused,
    /// The arguments do not fit what the tool takes.
    WrongArguments,
    /// There is no such tool for the agent.
    Unknown,
    /// The agent calls too often, or has too many calls running.
    TooFast,
    /// The statement ran out of time.
    TimedOut,
    /// There was no connection to the database, or the connection was lost.
    NoConnection,
    /// A change was to be committed, and it is not known whether it was.
    InDoubt,
    /// The client must be asked first; it repeats the call with its answer.
    Asked,
    /// The client went away, or the whole request ran out of time.
    Dropped,
    /// The agent lost its rights.
    Revoked,
    /// No account could be kept of it.
    Unaccounted,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Outcome; 13] = [
        Outcome::Ok,
        Outcome::DatabaseError,
        Outcome::Refused,
        Outcome::WrongArguments,
        Outcome::Unknown,
        Outcome::TooFast,
        Outcome::TimedOut,
        Outcome::NoConnection,
        Outcome::InDoubt,
        Outcome::Asked,
        Outcome::Dropped,
        Outcome::Revoked,
        Outcome::Unaccounted,
    ];

    /// Its name in logs and metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::DatabaseError => "database_error",
            Outcome::Refused => "refused",
            Outcome::WrongArguments => "wrong_arguments",
            Outcome::Unknown => "unknown",
            Outcome::TooFast => "too_fast",
            Outcome::TimedOut => "timed_out",
            Outcome::NoConnection => "no_connection",
            Outcome::InDoubt => "in_doubt",
            Outcome::Asked => "asked",
            Outcome::Dropped => "dropped",
            Outcome::Revoked => "revoked",
            Outcome::Unaccounted => "unaccounted",
        }
    }

    fn of(error: &ReadError) -> Self {
        match error {
            _ if error.is_timeout() => Outcome::TimedOut,
            ReadError::Unanswered(_) => Outcome::TimedOut,
            ReadError::Database(..) | ReadError::Helped { .. } => Outcome::DatabaseError,
            ReadError::NoConnection(_) | ReadError::NeverBegan(_) | ReadError::Lost(_) => {
                Outcome::NoConnection
            }
            ReadError::InDoubt(_) => Outcome::InDoubt,
            _ => Outcome::Refused,
        }
    }
}

impl From<CallRefusal> for Outcome {
    fn from(refusal: CallRefusal) -> Self {
        match refusal {
            CallRefusal::UnknownTool | CallRefusal::UnknownResources => Outcome::Unknown,
            CallRefusal::WrongArguments => Outcome::WrongArguments,
            CallRefusal::WrongRequest => Outcome::Refused,
            CallRefusal::TooManyRequests => Outcome::TooFast,
        }
    }
}

/// What becomes known of a call while it runs. The agent of the call holds it.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// Whether the ledger wants the statement.
    keeps_statements: bool,
    rows: AtomicU64,
    /// Locked for an assignment only.
    said: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    database: Option<Arc<str>>,
    statement: Option<String>,
    session: Option<String>,
    ending: Option<Ending>,
    /// The rows of a change that was to be committed, while it is not known whether it was.
    in_doubt: Option<u64>,
}

/// How a call ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    outcome: Outcome,
    sqlstate: Option<[u8; 5]>,
}

impl From<Outcome> for Ending {
    fn from(outcome: Outcome) -> Self {
        Ending {
            outcome,
            sqlstate: None,
        }
    }
}

impl Notes {
    pub(crate) fn database(&self, name: &Arc<str>) {
        let mut said = self.said();
        if said.database.as_ref() != Some(name) {
            said.database = Some(Arc::clone(name));
        }
    }

    pub(crate) fn statement(&self, text: &str) {
        if self.keeps_statements {
            self.said().statement = Some(text.to_owned());
        }
    }

    pub(crate) fn session(&self, name: &str) {
        self.said().session = Some(name.to_owned());
    }

    pub(crate) fn rows(&self, rows: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }

    /// Notes that changed rows are to be committed; from now on it is not known whether they are.
    pub(crate) fn commit(&self, rows: u64) {
        self.said().in_doubt = Some(rows);
    }

    /// Notes whether they were committed.
    pub(crate) fn answer(&self, is_kept: bool) {
        let rows = self.said().in_doubt.take();
        if is_kept {
            self.rows(rows.unwrap_or_default());
        }
    }

    /// Notes the outcome of one of the call's own statements, or of one of ours if nothing was noted yet.
    pub(crate) fn error(&self, error: &ReadError, is_own: bool) {
        let mut said = self.said();
        if is_own || said.ending.is_none() {
            said.ending = Some(Ending {
                outcome: Outcome::of(error),
                sqlstate: error.sqlstate(),
            });
        }
    }

    pub(crate) fn ending(&self, outcome: Outcome) {
        self.said().ending = Some(outcome.into());
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running call, which ends when this is dropped. If nothing else is known by then, its client went away. A change
/// that is in doubt stays in doubt, for whatever reason the call ended.
pub(crate) struct Call<'a> {
    kind: CallKind,
    name: &'a str,
    context: &'a Context<Agent>,
    ledger: Option<&'a dyn Ledger>,
    counts: Arc<Counts>,
    agent: Agent,
    began: Instant,
    bytes: u64,
    ending: Option<Ending>,
}

impl<'a> Call<'a> {
    /// Begins a call of an agent.
    ///
    /// # Errors
    /// What the client is told if it may not begin.
    pub(crate) fn begin(
        kind: CallKind,
        name: &'a str,
        context: &'a Context<Agent>,
        (ledger, counts): (Option<&'a dyn Ledger>, Arc<Counts>),
    ) -> Result<Self, &'static str> {
        if let Some(Err(unaccounted)) = ledger.map(Ledger::admit) {
            counts.ended(Outcome::Unaccounted, 0, 0, Duration::ZERO);
            return Err(unaccounted);
        }
        counts.running.fetch_add(1, Ordering::Relaxed);
        let notes = Notes {
            keeps_statements: ledger.is_some(),
            ..Notes::default()
        };
        Ok(Call {
            kind,
            name,
            context,
            ledger,
            counts,
            agent: context.principal().present().noting(notes),
            began: Instant::now(),
            bytes: 0,
            ending: None,
        })
    }

    /// Returns the agent, which notes what it does.
    pub(crate) fn agent(&self) -> &Agent {
        &self.agent
    }

    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// Returns whether the call was to commit a change of which it is not known whether it was committed.
    pub(crate) fn is_in_doubt(&self) -> bool {
        let notes = self.agent.notes();
        notes.is_some_and(|notes| notes.said().in_doubt.is_some())
    }

    /// Notes how the call ended.
    pub(crate) fn end(&mut self, outcome: Outcome) {
        self.ending = Some(outcome.into());
    }

    /// Notes that the call failed, for the reason that was noted. If the agent has lost its rights that is the reason,
    /// and not the connection that was lost with them.
    pub(crate) fn fail(&mut self) {
        let ending = self.agent.notes().and_then(|notes| notes.said().ending);
        self.ending = Some(match ending {
            _ if self.agent.has_ended() => Outcome::Revoked.into(),
            Some(ending) => ending,
            None => Outcome::Refused.into(),
        });
    }

    /// Notes that the call ended well, with an answer of `bytes` bytes.
    pub(crate) fn succeed(&mut self, bytes: usize) {
        self.bytes = bytes as u64;
        self.end(Outcome::Ok);
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        let lost = if self.agent.has_ended() {
            Outcome::Revoked
        } else {
            Outcome::Dropped
        };
        let Some(notes) = self.agent.notes() else {
            return;
        };
        // Nothing more is noted, and the ledger is called without holding the lock.
        let said = std::mem::take(&mut *notes.said());
        let in_doubt = said.in_doubt.map(|_| Outcome::InDoubt.into());
        let Ending { outcome, sqlstate } = in_doubt.or(self.ending).unwrap_or(lost.into());
        let rows = notes.rows.load(Ordering::Relaxed) + said.in_doubt.unwrap_or_default();
        self.counts.running.fetch_sub(1, Ordering::Relaxed);
        self.counts.ended(outcome, rows, self.bytes, took);
        self.agent.count_bytes(self.bytes);
        let Some(ledger) = self.ledger else {
            return;
        };
        let session = self.context.session();
        ledger.ended(&Account {
            kind: self.kind,
            name: self.name,
            agent: self.agent.session().id(),
            peer: self.agent.peer(),
            database: said.database.as_deref(),
            client: self.context.client_name().map(|name| &**name),
            session: said
                .session
                .as_deref()
                .or(session.as_ref().map(|session| session.id())),
            request: Some(&self.context.request_id()),
            statement: said.statement.as_deref(),
            rows,
            bytes: self.bytes,
            took,
            outcome,
            sqlstate: sqlstate.as_ref().and_then(|code| str::from_utf8(code).ok()),
        });
    }
}

/// Reports a call that was refused before it began.
pub(crate) fn refuse(
    (kind, name): (CallKind, &str),
    from: &Origin<'_, Agent>,
    outcome: Outcome,
    (ledger, counts): (Option<&dyn Ledger>, &Counts),
) {
    counts.ended(outcome, 0, 0, Duration::ZERO);
    if let Some(ledger) = ledger {
        ledger.refused(&Account {
            kind,
            name,
            agent: from.principal.session().id(),
            peer: from.principal.peer(),
            database: None,
            client: from.client_name,
            session: from.session,
            request: Some(&from.request),
            statement: None,
            rows: 0,
            bytes: 0,
            took: Duration::ZERO,
            outcome,
            sqlstate: None,
        });
    }
}

/// The upper bounds of the histogram's buckets, in microseconds; one more bucket has none.
const BUCKETS: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 10_000_000, 30_000_000,
];

/// The calls of one tool, counted.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    running: AtomicU64,
    outcomes: [AtomicU64; Outcome::ALL.len()],
    buckets: [AtomicU64; BUCKETS.len() + 1],
    microseconds: AtomicU64,
    rows: AtomicU64,
    bytes: AtomicU64,
}

impl Counts {
    fn ended(&self, outcome: Outcome, rows: u64, bytes: u64, took: Duration) {
        let add = |count: &AtomicU64, more| _ = count.fetch_add(more, Ordering::Relaxed);
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        add(&self.outcomes[outcome as usize], 1);
        let bucket = BUCKETS.partition_point(|end| *end < microseconds);
        add(&self.buckets[bucket], 1);
        add(&self.microseconds, microseconds);
        add(&self.rows, rows);
        add(&self.bytes, bytes);
    }

    /// Returns what was counted so far, under a name.
    pub(crate) fn of(&self, kind: CallKind, name: &str) -> CallCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        CallCounts {
            kind,
            name: name.to_owned(),
            running: read(&self.running),
            outcomes: Outcome::ALL.map(|outcome| (outcome, read(&self.outcomes[outcome as usize]))),
            buckets: std::array::from_fn(|at| {
                let end = BUCKETS.get(at).copied();
                (end.map(Duration::from_micros), read(&self.buckets[at]))
            }),
            took: Duration::from_micros(read(&self.microseconds)),
            rows: read(&self.rows),
            bytes: read(&self.bytes),
        }
    }
}

/// The calls of one tool, or of resources, since the server started.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CallCounts {
    /// What was called.
    pub kind: CallKind,
    /// The tool's name; empty for names that no tool has.
    pub name: String,
    /// Calls that are running.
    pub running: u64,
    /// How calls ended.
    pub outcomes: [(Outcome, u64); Outcome::ALL.len()],
    /// The calls by how long they took: the upper bound of each bucket (`None` for the last), and
    /// the calls in that bucket alone.
    pub buckets: [(Option<Duration>, u64); BUCKETS.len() + 1],
    /// How long all calls took together.
    pub took: Duration,
    /// Rows that were returned or changed.
    pub rows: u64,
    /// Bytes of the answers.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_its_own_place_and_word() {
        for (place, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, place);
        }
        let words: std::collections::HashSet<_> = Outcome::ALL.map(Outcome::word).into();
        assert_eq!(words.len(), Outcome::ALL.len());
    }

    #[test]
    fn a_call_is_in_the_bucket_whose_end_it_does_not_pass() {
        let counts = Counts::default();
        for took in [0, 500, 501, 30_000_000, 30_000_001] {
            counts.ended(Outcome::Ok, 2, 3, Duration::from_micros(took));
        }
        let read = counts.of(CallKind::Tool, "x");
        let filled: Vec<_> = read
            .buckets
            .iter()
            .filter(|(_, calls)| *calls > 0)
            .collect();
        let micros = |end: u64| Some(Duration::from_micros(end));
        assert_eq!(
            filled,
            [
                &(micros(500), 2),
                &(micros(1_000), 1),
                &(micros(30_000_000), 1),
                &(None, 1)
            ]
        );
        assert_eq!((read.rows, read.bytes), (10, 15));
        assert_eq!(read.outcomes[0], (Outcome::Ok, 5));
    }
}
