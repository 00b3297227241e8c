//! What is asked in an exchange, and how it is written.

use std::{borrow::Cow, io, sync::Arc};

use bytes::BytesMut;
use postgres_protocol::{IsNull, message::frontend};

use super::Column;
use crate::statements::{Name, Plan, Statements, Use};

/// What is asked of PostgreSQL in one step of an exchange; each text is one statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Runs a statement that every exchange has; what it gives is not wanted. It is prepared, and
    /// begins with the word that PostgreSQL says when it has run: whoever gets a text run (by `EXECUTE`
    /// in a function) could prepare a query or a change of rows by that name, and the exchange fails
    /// when such a one has run.
    Run(&'a str),
    /// Runs a statement that is not prepared by a name, so that no other one can ever be run instead.
    Frame(&'a str),
    /// Has a text parsed, alone. Left out when the step after it is prepared already, which says
    /// that this one passed before.
    Check(&'a str),
    /// Has a text parsed, alone, whatever is prepared.
    Parse(&'a str),
    /// Has PostgreSQL lock what a statement names, as far as that is known before it is planned: the same
    /// [`Step::Query`] follows, with other steps in between that look at the locks. What is run there is what
    /// was looked at, unless it has to be parsed anew because a step in between was.
    Lock(&'a str, &'a [Parameter<'a>]),
    /// Plans a statement: the same [`Step::Query`] follows and runs that plan. In between the settings may be
    /// made that it is run with; those before are such that it cannot be parsed anew, or else nobody may vouch
    /// for it.
    Plan(&'a str, &'a [Parameter<'a>]),
    /// Runs a statement that may be new, with values for its parameters, and gives its columns and rows.
    Query(&'a str, &'a [Parameter<'a>]),
    /// Runs a statement once, which is not prepared by a name, and gives its columns and the first
    /// `rows` of its rows; [`Exchange::done`](super::Exchange::done) then says what it did.
    Few {
        /// The statement.
        text: &'a str,
        /// Rows at most, not 0; more are not sent.
        rows: u32,
    },
}

/// A value for `$1` and so on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter<'a> {
    /// The type's number in `pg_type`.
    pub type_oid: u32,
    /// The value as its type reads it.
    pub text: Cow<'a, str>,
}

/// A step that was sent, as far as it has an answer of its own.
pub(super) struct Sent {
    /// The step's place in what the caller gave.
    pub(super) step: usize,
    pub(super) ends: Ends,
    pub(super) has_rows: bool,
    /// Whether the caller wants to know what it did.
    pub(super) is_told: bool,
    pub(super) prepares: Option<Name>,
    pub(super) prepared: Option<Name>,
    /// What PostgreSQL was not asked to describe again, until it is told.
    pub(super) columns: Option<Arc<[Column]>>,
}

/// What PostgreSQL says last of a step.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    /// That it was parsed.
    Parsed,
    /// That it was planned.
    Bound,
    /// What columns it has, or that it has none.
    Described,
    /// That it has run.
    Run,
}

/// A statement that was locked or planned and is still to be run.
struct Ahead<'a> {
    text: &'a str,
    parameters: &'a [Parameter<'a>],
    plan: Plan,
    /// Whether no other one was parsed without a name since.
    is_there: bool,
    is_described: bool,
    is_planned: bool,
}

/// What is planned ahead is called so until its transaction ends.
const PORTAL: &str = "p";

/// Writes all messages of an exchange.
pub(super) fn write(
    out: &mut BytesMut,
    statements: &mut Statements,
    steps: &[Step<'_>],
) -> io::Result<Vec<Sent>> {
    for name in statements.evicted() {
        frontend::close(b'S', &name.text(), out)?;
    }
    let mut sent = Vec::with_capacity(steps.len());
    let mut checks = Vec::new();
    let mut locked: Option<Ahead<'_>> = None;
    for (step, what) in steps.iter().enumerate() {
        let (text, parameters, expected) = match *what {
            Step::Check(text) => {
                checks.push((step, text));
                continue;
            }
            Step::Parse(text) => {
                parse(step, text, out, &mut sent)?;
                displace(&mut locked);
                continue;
            }
            Step::Run(text) => (text, [].as_slice(), Some(Use::Always)),
            Step::Lock(text, parameters)
            | Step::Plan(text, parameters)
            | Step::Query(text, parameters) => (text, parameters, Some(Use::Maybe)),
            Step::Frame(text) | Step::Few { text, .. } => (text, [].as_slice(), None),
        };
        let types = parameters.iter().map(|parameter| parameter.type_oid);
        let is_locked =
            |ahead: &mut Ahead<'_>| ahead.text == text && ahead.parameters == parameters;
        let ahead = match what {
            Step::Plan(..) | Step::Query(..) => locked.take_if(is_locked),
            _ => None,
        };
        let plan = match (&ahead, expected) {
            (Some(ahead), _) => ahead.plan,
            (None, Some(expected)) => statements.plan(text, types.clone(), expected),
            (None, None) => Plan::Once,
        };
        let checks = std::mem::take(&mut checks);
        let (name, prepares, prepared) = match plan {
            Plan::Prepared(name) => (name.text(), None, Some(name)),
            Plan::Prepare(name) => (name.text(), Some(name), None),
            Plan::Once => (String::new(), None, None),
        };
        let is_planned = ahead.as_ref().is_some_and(|ahead| ahead.is_planned);
        let is_described = ahead.as_ref().is_some_and(|ahead| ahead.is_described);
        let is_parsed = match &ahead {
            Some(ahead) => ahead.is_there || is_planned,
            None => prepared.is_some(),
        };
        if let Some(name) = prepared
            && !is_planned
            && !matches!(what, Step::Plan(..))
        {
            statements.doubt(name);
        }
        if !is_parsed {
            for (step, text) in checks {
                parse(step, text, out, &mut sent)?;
            }
            frontend::parse(&name, text, types, out)?;
            if name.is_empty() {
                displace(&mut locked);
            }
        }
        let has_rows = matches!(what, Step::Query(..) | Step::Few { .. });
        let mut written = Sent {
            step,
            ends: Ends::Run,
            has_rows,
            is_told: matches!(what, Step::Few { .. }),
            prepares: prepares.filter(|_| ahead.is_none()),
            prepared,
            columns: None,
        };
        if let Step::Lock(..) = what {
            written.ends = match prepared {
                // It has what was prepared parsed anew where that is needed, and locks it in any case.
                Some(_) => {
                    frontend::describe(b'S', &name, out)?;
                    Ends::Described
                }
                None => Ends::Parsed,
            };
            locked = Some(Ahead {
                text,
                parameters,
                plan,
                is_there: true,
                is_described: prepared.is_some(),
                is_planned: false,
            });
            sent.push(written);
            continue;
        }
        if let Step::Plan(..) = what {
            bind(PORTAL, &name, parameters, out)?;
            written.ends = Ends::Bound;
            locked = Some(Ahead {
                text,
                parameters,
                plan,
                is_there: true,
                is_described,
                is_planned: true,
            });
            sent.push(written);
            continue;
        }
        let portal = if is_planned { PORTAL } else { "" };
        if !is_planned {
            bind(portal, &name, parameters, out)?;
        }
        let known = prepared.filter(|_| has_rows);
        written.columns = known.and_then(|name| statements.columns(name));
        if has_rows && !is_described && written.columns.is_none() {
            frontend::describe(b'P', portal, out)?;
        }
        let most_rows = match what {
            Step::Few { rows, .. } => i32::try_from(*rows).unwrap_or(i32::MAX),
            _ => 0,
        };
        frontend::execute(portal, most_rows, out)?;
        sent.push(written);
    }
    frontend::sync(out);
    Ok(sent)
}

/// Notes that another statement without a name is parsed.
fn displace(locked: &mut Option<Ahead<'_>>) {
    if let Some(ahead) = locked.as_mut().filter(|ahead| ahead.plan == Plan::Once) {
        ahead.is_there = false;
    }
}

/// Has a text parsed that is not run.
fn parse(step: usize, text: &str, out: &mut BytesMut, sent: &mut Vec<Sent>) -> io::Result<()> {
    frontend::parse("", text, [], out)?;
    sent.push(Sent {
        step,
        ends: Ends::Parsed,
        has_rows: false,
        is_told: false,
        prepares: None,
        prepared: None,
        columns: None,
    });
    Ok(())
}

/// Binds a statement; values go as text, and its results shall come as text.
fn bind(
    portal: &str,
    statement: &str,
    parameters: &[Parameter<'_>],
    out: &mut BytesMut,
) -> io::Result<()> {
    frontend::bind(
        portal,
        statement,
        std::iter::empty(),
        parameters,
        |parameter, out| {
            out.extend_from_slice(parameter.text.as_bytes());
            Ok(IsNull::No)
        },
        std::iter::empty(),
        out,
    )
    .map_err(|error| match error {
        frontend::BindError::Conversion(cause) => io::Error::other(cause),
        frontend::BindError::Serialization(error) => error,
    })
}
