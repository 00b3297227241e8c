//! What is asked in an exchange, and how it is written.

use std::{borrow::Cow, io, num::NonZeroU32, sync::Arc};

use bytes::BytesMut;
use postgres_protocol::{IsNull, message::frontend};

use super::{Column, Form};
use crate::statements::{Columns, Name, Plan, Statements, Use};

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
        /// Rows at most; more are not sent.
        rows: NonZeroU32,
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
    /// How their values are sent, if not all as texts.
    pub(super) forms: Option<Arc<[Form]>>,
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

/// Writes all messages of an exchange. When that fails, `statements` knows what it knew before.
pub(super) fn write(
    out: &mut BytesMut,
    statements: &mut Statements,
    steps: &[Step<'_>],
) -> io::Result<Vec<Sent>> {
    let evicted: Vec<Name> = statements.evicted().collect();
    let mut script = Script {
        out,
        statements,
        sent: Vec::with_capacity(steps.len()),
        prepared: Vec::new(),
        checks: Vec::new(),
        ahead: None,
    };
    match script.write(&evicted, steps) {
        Ok(()) => Ok(script.sent),
        Err(error) => {
            script.statements.unsent(evicted, &script.prepared);
            Err(error)
        }
    }
}

/// The messages of an exchange, as far as they are written.
struct Script<'s, 'a> {
    out: &'s mut BytesMut,
    statements: &'s mut Statements,
    sent: Vec<Sent>,
    /// What was not prepared before.
    prepared: Vec<Name>,
    /// What is parsed, alone, before the next statement, if that is parsed.
    checks: Vec<(usize, &'a str)>,
    ahead: Option<Ahead<'a>>,
}

impl<'a> Script<'_, 'a> {
    fn write(&mut self, evicted: &[Name], steps: &[Step<'a>]) -> io::Result<()> {
        for name in evicted {
            frontend::close(b'S', &name.text(), self.out)?;
        }
        for (step, what) in steps.iter().enumerate() {
            self.add(step, what)?;
        }
        frontend::sync(self.out);
        Ok(())
    }

    fn add(&mut self, step: usize, what: &Step<'a>) -> io::Result<()> {
        match *what {
            Step::Check(text) => {
                self.checks.push((step, text));
                Ok(())
            }
            Step::Parse(text) => self.parse_alone(step, text),
            Step::Run(text) => {
                let plan = self.plan_of(text, &[], Use::Always);
                self.run(step, text, plan)
            }
            Step::Frame(text) => self.run(step, text, Plan::Once),
            Step::Lock(text, parameters) => self.lock(step, text, parameters),
            Step::Plan(text, parameters) => self.plan(step, text, parameters),
            Step::Query(text, parameters) => self.query(step, text, parameters),
            Step::Few { text, rows } => self.few(step, text, rows),
        }
    }

    /// Has a text parsed that is not run.
    fn parse_alone(&mut self, step: usize, text: &str) -> io::Result<()> {
        frontend::parse("", text, [], self.out)?;
        self.displace();
        self.sent.push(Sent {
            ends: Ends::Parsed,
            ..Sent::of(step, Plan::Once)
        });
        Ok(())
    }

    fn run(&mut self, step: usize, text: &str, plan: Plan) -> io::Result<()> {
        let name = self.parse(text, &[], plan, plan.is_prepared())?;
        bind("", &name, &[], None, self.out)?;
        frontend::execute("", 0, self.out)?;
        self.sent.push(Sent::of(step, plan));
        Ok(())
    }

    fn few(&mut self, step: usize, text: &str, rows: NonZeroU32) -> io::Result<()> {
        let name = self.parse(text, &[], Plan::Once, false)?;
        bind("", &name, &[], None, self.out)?;
        frontend::describe(b'P', "", self.out)?;
        let rows = i32::try_from(rows.get()).unwrap_or(i32::MAX);
        frontend::execute("", rows, self.out)?;
        self.sent.push(Sent {
            has_rows: true,
            is_told: true,
            ..Sent::of(step, Plan::Once)
        });
        Ok(())
    }

    fn lock(
        &mut self,
        step: usize,
        text: &'a str,
        parameters: &'a [Parameter<'a>],
    ) -> io::Result<()> {
        let plan = self.plan_of(text, parameters, Use::Maybe);
        let name = self.parse(text, parameters, plan, plan.is_prepared())?;
        self.doubt(plan);
        let mut sent = Sent::of(step, plan);
        sent.ends = if plan.is_prepared() {
            // It has what was prepared parsed anew where that is needed, and locks it in any case.
            frontend::describe(b'S', &name, self.out)?;
            Ends::Described
        } else {
            Ends::Parsed
        };
        self.sent.push(sent);
        self.ahead = Some(Ahead {
            text,
            parameters,
            plan: plan.when_parsed(),
            is_there: true,
            is_described: plan.is_prepared(),
            is_planned: false,
        });
        Ok(())
    }

    fn plan(
        &mut self,
        step: usize,
        text: &'a str,
        parameters: &'a [Parameter<'a>],
    ) -> io::Result<()> {
        let ahead = self.ahead_of(text, parameters);
        let name = self.parse(text, parameters, ahead.plan, ahead.is_there)?;
        let Columns { forms, .. } = self.known(ahead.plan);
        bind(PORTAL, &name, parameters, forms.as_deref(), self.out)?;
        self.sent.push(Sent {
            ends: Ends::Bound,
            ..Sent::of(step, ahead.plan)
        });
        self.ahead = Some(Ahead {
            plan: ahead.plan.when_parsed(),
            is_there: true,
            is_planned: true,
            ..ahead
        });
        Ok(())
    }

    fn query(
        &mut self,
        step: usize,
        text: &'a str,
        parameters: &'a [Parameter<'a>],
    ) -> io::Result<()> {
        let ahead = self.ahead_of(text, parameters);
        let Columns { described, forms } = self.known(ahead.plan);
        let is_there = ahead.is_there || ahead.is_planned;
        let name = self.parse(text, parameters, ahead.plan, is_there)?;
        let portal = if ahead.is_planned {
            PORTAL
        } else {
            self.doubt(ahead.plan);
            bind("", &name, parameters, forms.as_deref(), self.out)?;
            ""
        };
        if described.is_none() && !ahead.is_described {
            frontend::describe(b'P', portal, self.out)?;
        }
        frontend::execute(portal, 0, self.out)?;
        self.sent.push(Sent {
            has_rows: true,
            columns: described,
            forms,
            ..Sent::of(step, ahead.plan)
        });
        Ok(())
    }

    /// What was done of a statement, or how it is to be begun.
    fn ahead_of(&mut self, text: &'a str, parameters: &'a [Parameter<'a>]) -> Ahead<'a> {
        let is_same = |ahead: &mut Ahead<'_>| ahead.text == text && ahead.parameters == parameters;
        match self.ahead.take_if(is_same) {
            Some(ahead) => ahead,
            None => {
                let plan = self.plan_of(text, parameters, Use::Maybe);
                Ahead {
                    text,
                    parameters,
                    plan,
                    is_there: plan.is_prepared(),
                    is_described: false,
                    is_planned: false,
                }
            }
        }
    }

    fn plan_of(&mut self, text: &str, parameters: &[Parameter<'_>], expected: Use) -> Plan {
        let plan = self.statements.plan(text, types(parameters), expected);
        if let Plan::Prepare(name) = plan {
            self.prepared.push(name);
        }
        plan
    }

    /// Has a statement parsed that is not there yet; gives its name.
    fn parse(
        &mut self,
        text: &str,
        parameters: &[Parameter<'_>],
        plan: Plan,
        is_there: bool,
    ) -> io::Result<String> {
        let checks = std::mem::take(&mut self.checks);
        let name = plan.name().map_or_else(String::new, Name::text);
        if !is_there {
            for (step, text) in checks {
                self.parse_alone(step, text)?;
            }
            frontend::parse(&name, text, types(parameters), self.out)?;
            if name.is_empty() {
                self.displace();
            }
        }
        Ok(name)
    }

    /// Notes that another statement without a name is parsed.
    fn displace(&mut self) {
        if let Some(ahead) = self.ahead.as_mut().filter(|ahead| ahead.plan == Plan::Once) {
            ahead.is_there = false;
        }
    }

    /// Notes that PostgreSQL may parse what is prepared anew.
    fn doubt(&mut self, plan: Plan) {
        if let Plan::Prepared(name) = plan {
            self.statements.doubt(name);
        }
    }

    fn known(&self, plan: Plan) -> Columns {
        match plan {
            Plan::Prepared(name) => self.statements.columns(name),
            Plan::Prepare(_) | Plan::Once => Columns::default(),
        }
    }
}

impl Sent {
    /// A step that is run and wants nothing.
    fn of(step: usize, plan: Plan) -> Self {
        let (prepares, prepared) = match plan {
            Plan::Prepared(name) => (None, Some(name)),
            Plan::Prepare(name) => (Some(name), None),
            Plan::Once => (None, None),
        };
        Sent {
            step,
            ends: Ends::Run,
            has_rows: false,
            is_told: false,
            prepares,
            prepared,
            columns: None,
            forms: None,
        }
    }
}

fn types(parameters: &[Parameter<'_>]) -> impl Iterator<Item = u32> + Clone {
    parameters.iter().map(|parameter| parameter.type_oid)
}

/// Binds a statement; values go as text, and its results shall come in these forms, or as text.
fn bind(
    portal: &str,
    statement: &str,
    parameters: &[Parameter<'_>],
    forms: Option<&[Form]>,
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
        forms.unwrap_or_default().iter().map(|form| form.code()),
        out,
    )
    .map_err(|error| match error {
        frontend::BindError::Conversion(cause) => io::Error::other(cause),
        frontend::BindError::Serialization(error) => error,
    })
}
