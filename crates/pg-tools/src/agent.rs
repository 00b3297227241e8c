//! The agents that call, and what they may use.

use std::{borrow::Cow, collections::BTreeSet, net::IpAddr, sync::Arc, time::Instant};

use session_pool::{Lease, LeaseError, Line, Session};

use crate::{
    Access, Bounds, Doing, Outcome, Policy, QueryLimits, Role,
    account::Notes,
    meter::{Meter, Running, TooFast},
    quoting::identifier,
    read_only::ReadError,
    tools::{Definition, Effect},
};

/// The tool whose permission also covers every other way of reading resources.
pub(crate) const READ_RESOURCE: &str = "read_resource";

/// The holder of a token, with connections of its own.
#[derive(Clone, Debug)]
pub struct Agent {
    standing: Arc<Standing>,
    session: Session,
    database: Arc<str>,
    databases: Arc<[Arc<str>]>,
    /// When the agent loses its rights, if that is before its session ends.
    ends: Option<Instant>,
    /// The line on whose connection its own statements run, if they go on from call to call.
    line: Option<Line>,
    /// Whether its statement leaves something in the connection.
    leaves_state: bool,
    follows_session: Follows,
    /// Where the call comes from, if the agent was made for one call.
    peer: Option<IpAddr>,
    /// Which of its holder's secrets the agent came with.
    secret: Option<u64>,
    /// What the agent notes of its call.
    notes: Option<Arc<Notes>>,
}

/// An agent's identity and rights, whatever session it uses: made once, for the agents of many calls.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The agent's name in logs. What a client has begun belongs to this name, so use one that no
    /// later holder of the same session id will have.
    pub name: Arc<str>,
    /// The databases that it may use, at least one; the first is used unless a call names another.
    pub databases: Arc<[Arc<str>]>,
    /// What it may do.
    pub policy: Arc<Policy>,
    /// Counts its calls, together with those of all agents that hold the same meter.
    pub meter: Arc<Meter>,
    /// What decides which of the calls that begin now may go on.
    pub bounds: Bounds,
}

/// When an agent's databases are those that its session may use at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Follows {
    Never,
    /// In what goes on beyond a call. An agent that is made for one call knows its databases.
    BeyondCalls,
    Always,
}

impl Agent {
    /// Creates an agent from the session that its calls run on and the name of its database. It has the name of its
    /// session, and a [`Meter`] of its own: where an agent is made for each request, make one [`Standing`] for each
    /// holder instead, or no [`Pace`](crate::Pace) takes effect.
    pub fn new(session: Session, database: impl Into<Arc<str>>) -> Self {
        let standing = Standing {
            name: session.id().into(),
            databases: [database.into()].into(),
            policy: Arc::default(),
            meter: Arc::default(),
            bounds: Bounds::default(),
        };
        Agent::of(Arc::new(standing), session)
    }

    /// Creates an agent from its standing and the session that its calls run on.
    pub fn of(standing: Arc<Standing>, session: Session) -> Self {
        Agent {
            database: standing.databases.first().cloned().unwrap_or_default(),
            databases: standing.databases.clone(),
            standing,
            session,
            ends: None,
            line: None,
            leaves_state: false,
            follows_session: Follows::Never,
            peer: None,
            secret: None,
            notes: None,
        }
    }

    /// Lets the agent use all databases that its session may use at the time of a call; the first
    /// of them is its own. This is for an agent that is made once for many calls.
    #[must_use]
    pub fn following_session(self) -> Self {
        Agent {
            follows_session: Follows::Always,
            ..self
        }
    }

    /// Does the same for what goes on beyond a call, such as following a table. This is for an
    /// agent that is made anew for each call.
    #[must_use]
    pub fn following_session_beyond_calls(self) -> Self {
        Agent {
            follows_session: Follows::BeyondCalls,
            ..self
        }
    }

    /// Lets the agent name other databases, too; the one that it was made with stays the default.
    #[must_use]
    pub fn with_databases(mut self, others: impl IntoIterator<Item = impl Into<Arc<str>>>) -> Self {
        let own = self.database.clone();
        let others = others.into_iter().map(Into::into);
        let others = others.filter(|name| *name != own);
        self.databases = std::iter::once(own.clone()).chain(others).collect();
        self
    }

    /// Sets what the agent may do.
    #[must_use]
    pub fn with_policy(mut self, policy: impl Into<Arc<Policy>>) -> Self {
        Arc::make_mut(&mut self.standing).policy = policy.into();
        self
    }

    /// Sets where the agent calls from.
    #[must_use]
    pub fn calling_from(self, peer: IpAddr) -> Self {
        Agent {
            peer: Some(peer),
            ..self
        }
    }

    /// Sets which of its holder's secrets the agent came with, as a number that tells them apart.
    #[must_use]
    pub fn with_secret(self, number: u64) -> Self {
        Agent {
            secret: Some(number),
            ..self
        }
    }

    /// Returns the number of the secret that the agent came with.
    #[must_use]
    pub fn secret(&self) -> Option<u64> {
        self.secret
    }

    /// Sets when the agent loses its rights, if that is before its session is closed.
    #[must_use]
    pub fn ending_at(self, ends: Option<Instant>) -> Self {
        Agent { ends, ..self }
    }

    /// Waits until the agent has lost its rights.
    pub async fn ended(&self) {
        let its_end = async {
            match self.ends {
                Some(ends) => tokio::time::sleep_until(ends.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.session.closed() => {}
            () = its_end => {}
            () = self.standing.bounds.crossed(self.doing(None)) => {}
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.session.is_closed()
            || self.ends.is_some_and(|ends| Instant::now() >= ends)
            || !self.standing.bounds.allow(self.doing(None))
    }

    fn doing<'a>(&self, tool: Option<&'a str>) -> Doing<'a> {
        Doing {
            peer: self.peer,
            secret: self.secret,
            tool,
        }
    }

    /// Does some work with a tool for as long as the agent may use the tool; returns `None` if it loses the tool
    /// meanwhile.
    pub(crate) async fn while_it_has<T>(
        &self,
        tool: &str,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.standing.bounds.crossed(self.doing(Some(tool))) => None,
        }
    }

    /// Returns the agent's name in logs, which is also the name that a client's handshake belongs to.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.standing.name
    }

    /// Returns the agent's own connections.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Returns the configured name of the database that the agent's calls run on.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Returns all databases that the agent may use, its own first.
    pub fn databases(&self) -> impl Iterator<Item = &str> {
        self.databases.iter().map(|name| &**name)
    }

    pub(crate) fn all_databases(&self) -> &Arc<[Arc<str>]> {
        &self.databases
    }

    /// Returns the same agent on another of the databases that it may use; `None` for any other name.
    #[must_use]
    pub fn on(&self, database: &str) -> Option<Self> {
        let name = self.databases.iter().find(|name| ***name == *database)?;
        Some(Agent {
            database: name.clone(),
            ..self.clone()
        })
    }

    /// Returns the agent as it is at the beginning of a call.
    pub(crate) fn present(&self) -> Cow<'_, Self> {
        match self.follows_session {
            Follows::Always => Cow::Owned(self.as_session_is()),
            Follows::BeyondCalls | Follows::Never => Cow::Borrowed(self),
        }
    }

    /// Returns the agent as it is now, some time after a call has begun.
    pub(crate) fn beyond_call(&self) -> Cow<'_, Self> {
        match self.follows_session {
            Follows::Always | Follows::BeyondCalls => Cow::Owned(self.as_session_is()),
            Follows::Never => Cow::Borrowed(self),
        }
    }

    fn as_session_is(&self) -> Self {
        let databases = self.session.databases();
        Agent {
            database: databases.first().unwrap_or(&self.database).clone(),
            databases,
            ..self.clone()
        }
    }

    /// Says whether the agent may use a tool. This is the only place that decides it: a tool that
    /// the agent may not use is neither listed for it nor called.
    pub(crate) fn may_use(&self, tool: &Definition<'_>) -> bool {
        self.is_allowed(tool) && self.standing.bounds.allow(self.doing(Some(tool.name)))
    }

    /// Says whether the agent's policy allows a tool, whatever its bounds say at the moment.
    pub(crate) fn is_allowed(&self, tool: &Definition<'_>) -> bool {
        let listed = |tools: &BTreeSet<String>| tools.contains(tool.name);
        let may_have_the_effect = match tool.effect {
            Effect::Reads | Effect::Asks => true,
            Effect::Writes | Effect::Keeps => self.may_leave_state(),
        };
        may_have_the_effect && self.standing.policy.tools.as_ref().is_none_or(listed)
    }

    /// Says whether a statement of the agent may leave something in the connection for its next one.
    pub(crate) fn may_leave_state(&self) -> bool {
        self.standing.policy.access == Access::Write
    }

    /// Returns the same agent, with its own statements running on the connection of this line.
    pub(crate) fn in_line(self, line: Line) -> Self {
        Agent {
            line: Some(line),
            ..self
        }
    }

    /// Returns the line on whose connection the agent's own statements run.
    pub(crate) fn line(&self) -> Option<&Line> {
        self.line.as_ref()
    }

    /// Returns the same agent, with its statement leaving something in the connection for the next one.
    pub(crate) fn leaving_state(&self) -> Self {
        Agent {
            leaves_state: true,
            ..self.clone()
        }
    }

    /// Takes a connection: for one of the agent's own statements that of its line, if it has a line, and for one of our
    /// own statements a connection in which nobody has left anything.
    pub(crate) async fn lease(&self, is_own: bool) -> Result<Lease, LeaseError> {
        let (session, database) = (&self.session, &*self.database);
        let Some(line) = self.line.as_ref().filter(|_| is_own) else {
            return session.lease(database).await;
        };
        // A line that ends with its connection has begun already, or has ended.
        if self.leaves_state && line.goes_on {
            return session.keep(line, database).await;
        }
        match session.kept(line, database).await? {
            Some(lease) => Ok(lease),
            None if line.goes_on => session.lease(database).await,
            None => Err(LeaseError::NotKept),
        }
    }

    /// Names where the agent's own statements run: with the same scope, the same text means the same.
    pub(crate) fn scope(&self) -> Cow<'_, str> {
        match &self.line {
            Some(line) if self.session.keeps(&line.name, &self.database) => {
                format!("{}\0{}", self.database, line.name).into()
            }
            _ => self.database().into(),
        }
    }

    /// Says whether the agent may read resources as its client does: if it may use the tool that
    /// reads them for clients that cannot.
    pub(crate) fn may_read_resources(&self) -> bool {
        let tools = self.standing.policy.tools.as_ref();
        tools.is_none_or(|tools| tools.contains(READ_RESOURCE))
            && self.standing.bounds.allow(self.doing(Some(READ_RESOURCE)))
    }

    /// Begins a call, if the agent may call now; `client` is what the client calls itself.
    pub(crate) fn begin_call(
        &self,
        now: Instant,
        client: Option<&Arc<str>>,
    ) -> Result<Running, TooFast> {
        let running = self.standing.meter.begin(self.standing.policy.pace, now)?;
        self.standing.meter.note_client(client);
        Ok(running)
    }

    /// Returns the totals of the agent's calls.
    #[cfg(test)]
    pub(crate) fn totals(&self) -> crate::Totals {
        self.standing.meter.totals()
    }

    /// Counts rows that were returned.
    pub(crate) fn count_rows(&self, rows: usize) {
        self.standing.meter.add_rows(rows);
        if let Some(notes) = &self.notes {
            notes.rows(rows as u64);
        }
    }

    /// Counts bytes that were returned.
    pub(crate) fn count_bytes(&self, bytes: u64) {
        self.standing.meter.add_bytes(bytes);
    }

    /// Returns where the agent calls from, if that is known.
    pub(crate) fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    /// Returns the same agent, which notes what it does.
    pub(crate) fn noting(&self, notes: Notes) -> Self {
        Agent {
            notes: Some(Arc::new(notes)),
            ..self.clone()
        }
    }

    pub(crate) fn notes(&self) -> Option<&Notes> {
        self.notes.as_deref()
    }

    /// Notes that a call uses the agent's database.
    pub(crate) fn note_database(&self) {
        if let Some(notes) = &self.notes {
            notes.database(&self.database);
        }
    }

    /// Notes a statement of the agent's own that is about to run.
    pub(crate) fn note_statement(&self, text: &str) {
        if let Some(notes) = &self.notes {
            notes.statement(text);
        }
    }

    /// Notes the session that `open_session` began and that the call is about.
    pub(crate) fn note_session(&self, name: &str) {
        if let Some(notes) = &self.notes {
            notes.session(name);
        }
    }

    /// Notes that PostgreSQL was told to commit changed rows: until [`Agent::note_answer`] it is not known whether it
    /// did.
    pub(crate) fn note_commit(&self, rows: u64) {
        if let Some(notes) = &self.notes {
            notes.commit(rows);
        }
    }

    /// Notes PostgreSQL's answer to that.
    pub(crate) fn note_answer(&self, is_kept: bool) {
        if let Some(notes) = &self.notes {
            notes.answer(is_kept);
        }
    }

    /// Notes the outcome of a statement, of the agent's own or of ours.
    pub(crate) fn note_error(&self, error: &ReadError, is_own: bool) {
        if let Some(notes) = &self.notes {
            notes.error(error, is_own);
        }
    }

    /// Notes how the call ends, unless it ends well.
    pub(crate) fn note_ending(&self, outcome: Outcome) {
        if let Some(notes) = &self.notes {
            notes.ending(outcome);
        }
    }

    /// Returns what the agent may do.
    pub(crate) fn policy(&self) -> &Arc<Policy> {
        &self.standing.policy
    }

    /// Returns the role that the agent's statements run as.
    pub(crate) fn role(&self) -> &Role {
        &self.standing.policy.role
    }

    /// Returns the only schemas that the agent may use, if there is a list.
    pub(crate) fn schemas(&self) -> Option<&BTreeSet<String>> {
        self.standing.policy.schemas.as_ref()
    }

    /// Returns the most rows of one result, where `usual` is what a tool allows.
    pub(crate) fn most_rows(&self, usual: u64) -> u64 {
        self.standing
            .policy
            .rows
            .map_or(usual, |rows| usual.min(rows.into()))
    }

    /// Returns the limits of one query: a policy can only make the usual ones narrower.
    pub(crate) fn limits(&self, usual: QueryLimits) -> QueryLimits {
        let Policy {
            statement_timeout,
            result_bytes,
            ..
        } = *self.standing.policy;
        QueryLimits {
            statement_timeout: statement_timeout.map_or(usual.statement_timeout, |own| {
                own.min(usual.statement_timeout)
            }),
            result_bytes: result_bytes
                .map_or(usual.result_bytes, |own| own.min(usual.result_bytes)),
        }
    }

    /// Returns what the agent's transactions begin with, besides their time limit.
    pub(crate) fn opening(&self) -> Vec<String> {
        let role = match &self.standing.policy.role {
            Role::Configured | Role::Login(_) => None,
            // The role name "none" would mean no role, quoted or not; a role that does not exist was refused before.
            Role::Set(name) => Some(format!("SET LOCAL ROLE {}", identifier(name))),
        };
        // For our own queries on the catalogue. A statement can set neither this nor the role.
        let schemas = self.standing.policy.schemas.as_ref().map(|schemas| {
            let names: Vec<String> = schemas.iter().map(|name| array_item(name)).collect();
            let list = literal(&format!("{{{}}}", names.join(",")));
            format!("SET LOCAL mcp.schemas = {list}")
        });
        role.into_iter().chain(schemas).collect()
    }
}

/// Writes an item of an array (PostgreSQL documentation, section 8.15.6).
fn array_item(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Writes a text as an SQL literal that means the same whatever the server's settings are.
pub(crate) fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}
