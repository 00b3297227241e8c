//! Opens connections for a pool, and ends them with their session.

use std::{
    hash::RandomState,
    pin::pin,
    str::FromStr,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use bytes::BytesMut;
use deadpool::managed::{self, Metrics, RecycleError};
use resolver::Resolver;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::{
    runtime::Handle,
    task::JoinHandle,
    time::{Instant, error::Elapsed, sleep, timeout, timeout_at},
};
use tokio_postgres::{
    Client, Config, Error, NoTls, SimpleQueryMessage, error::SqlState, tls::TlsStream,
};

use crate::{
    TargetSession,
    budget::{Grant, Place, Stake},
    cancel::{Canceller, Remains},
    exchange::Means,
    named::resolved,
    reachability::Reachability,
    refusal::Refusal,
    session::Ending,
    shared::Lender,
    statements::Statements,
    wire::{Stream, Wire},
};

/// How soon a server that has no connection to spare is asked again; doubled each time, up to the
/// longest pause.
const FULL_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_FULL_PAUSE: Duration = Duration::from_millis(250);

tokio::task_local! {
    /// Until when a lease may wait for the right to open a connection.
    pub(crate) static PATIENCE: Instant;
}

/// Opens connections of one session to one database.
pub(crate) struct Connector {
    /// In the order in which they are tried.
    pub(crate) hosts: Vec<Host>,
    pub(crate) resolver: Arc<Resolver>,
    pub(crate) target: TargetSession,
    /// The time for opening a connection to one host.
    pub(crate) connect_timeout: Duration,
    pub(crate) stake: Arc<Stake>,
    pub(crate) wire: Wire,
    /// The key of the hash that names prepared statements.
    pub(crate) names: RandomState,
    /// How many statements a connection may have prepared.
    pub(crate) prepared_statements: usize,
    pub(crate) ending: Ending,
    pub(crate) reachability: Arc<Reachability>,
    /// Whether it logs in as a role of this session's own.
    pub(crate) has_own_login: bool,
}

/// One host of a database: how it is reached, by TCP or by a socket, and how statements that run
/// there are cancelled. A request for one host is never sent to another.
pub(crate) struct Host {
    /// Its number among the database's hosts, from 0, whatever the order in which they are tried.
    pub(crate) number: usize,
    pub(crate) config: Arc<Config>,
    pub(crate) canceller: Arc<Canceller>,
}

/// One connection, for one exchange at a time. Dropping it closes it at once.
pub(crate) struct Connection {
    pub(crate) client: Client,
    pub(crate) opened: Instant,
    pub(crate) means: Means,
    /// Whether the process that serves it has the id that was announced at the login. A pooler
    /// announces another one, as it has many.
    pub(crate) is_direct: bool,
    /// The settings that last on this connection, and whether the client was used after they were made.
    pub(crate) set: Option<Box<str>>,
    pub(crate) was_used: AtomicBool,
    pub(crate) place: Arc<Place>,
    /// The number of its host among the database's hosts, from 0.
    pub(crate) host: usize,
    pub(crate) canceller: Arc<Canceller>,
    task: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Why a connection could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// As many connections are open as may be.
    #[error("no connection came free")]
    Full,
    /// The last host did not answer in time.
    #[error("PostgreSQL did not answer within {} ms", waited.as_millis())]
    Silent { waited: Duration },
    /// All hosts are of the other kind.
    #[error("no host is of the kind that is wanted")]
    Unsuitable,
    /// PostgreSQL could not be reached, or refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl ConnectError {
    /// Of the errors of several hosts, the weightiest is told. A host without a connection to spare
    /// is waited for, whatever is wrong with the others; and what PostgreSQL says of the login
    /// explains more than that another host does not answer.
    fn weight(&self) -> u8 {
        match self {
            ConnectError::Refused(refusal) if is_full(refusal) => 3,
            ConnectError::Refused(refusal) if refusal.code().is_some() => 2,
            ConnectError::Refused(_) | ConnectError::Silent { .. } | ConnectError::Full => 1,
            ConnectError::Unsuitable => 0,
        }
    }
}

impl managed::Manager for Connector {
    // In a box, because it is large and moves often.
    type Type = Box<Connection>;
    type Error = ConnectError;

    async fn create(&self) -> Result<Box<Connection>, ConnectError> {
        let until = PATIENCE
            .try_with(|until| *until)
            .unwrap_or_else(|_| Instant::now());
        match timeout_at(until, self.stake.grant()).await {
            Ok(Some(Grant::Connection(connection))) => Ok(connection),
            // In a box, because it is rare and large: a lease should not have to hold the state of a login.
            Ok(Some(Grant::Place(place))) => Box::pin(self.open(place, until)).await,
            Ok(None) | Err(_) => Err(ConnectError::Full),
        }
    }

    async fn recycle(
        &self,
        connection: &mut Box<Connection>,
        _: &Metrics,
    ) -> Result<(), RecycleError<ConnectError>> {
        if connection.client.is_closed() {
            return Err(RecycleError::message("the connection is closed"));
        }
        Ok(())
    }
}

impl Connector {
    /// Opens a connection that has its place. A server may have none to spare, because other
    /// programs hold them or because one that was just closed has not ended yet; it is asked again
    /// while there is time.
    async fn open(&self, place: Place, until: Instant) -> Result<Box<Connection>, ConnectError> {
        let place = Arc::new(place);
        let mut pause = FULL_PAUSE;
        let opened = loop {
            let error = match self.find(&place).await {
                Err(ConnectError::Refused(error)) if is_full(&error) => error,
                found => break found,
            };
            self.reachability.note_full(&error, Instant::now());
            self.stake.budget().doubt();
            // A connection that another caller of the session has given back is as good, and may be
            // all that it ever gets.
            let own = self.stake.take_idle();
            if let Some(own) = own.filter(|own| !own.client.is_closed()) {
                return Ok(own);
            }
            self.stake.budget().reclaim();
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break Err(ConnectError::Full);
            }
            sleep(pause.min(left)).await;
            pause = (pause * 2).min(LONGEST_FULL_PAUSE);
        };
        if self.reachability.note(&opened) {
            // It may have been restarted with other settings.
            self.stake.budget().doubt();
        }
        opened.map(Box::new)
    }

    /// Connects to the first host that will do; hosts that were silent recently are tried after all
    /// others.
    async fn find(&self, place: &Arc<Place>) -> Result<Connection, ConnectError> {
        let begun = Instant::now();
        let is_silent = |host: &&Host| self.reachability.is_silent(host.number, begun);
        let (silent, others): (Vec<_>, Vec<_>) = self.hosts.iter().partition(is_silent);
        let mut error = ConnectError::Unsuitable;
        for hosts in [others, silent] {
            for wanted in self.target.rounds() {
                for host in &hosts {
                    let failed = match self.connect_in_time(host, *wanted, place).await {
                        Ok(Ok(Some(connection))) => return Ok(connection),
                        Ok(Ok(None)) => continue,
                        Ok(Err(refused)) => refused.into(),
                        Err(_) => ConnectError::Silent {
                            waited: begun.elapsed(),
                        },
                    };
                    if failed.weight() >= error.weight() {
                        error = failed;
                    }
                }
            }
        }
        Err(error)
    }

    /// Connects to a host, and, if there are several hosts, notes whether it was silent.
    async fn connect_in_time(
        &self,
        host: &Host,
        wanted: TargetSession,
        place: &Arc<Place>,
    ) -> Result<Result<Option<Connection>, Refusal>, Elapsed> {
        let connecting = self.connect(host, wanted, place);
        let ended = timeout(self.connect_timeout, connecting).await;
        if self.hosts.len() > 1 {
            self.reachability
                .note_host(host.number, ended.is_err(), Instant::now());
        }
        ended
    }

    /// Connects to a host; gives nothing when it is of another kind than wanted.
    async fn connect(
        &self,
        host: &Host,
        wanted: TargetSession,
        place: &Arc<Place>,
    ) -> Result<Option<Connection>, Refusal> {
        let refused = |error: Error| Refusal::of(&error, &host.config);
        let wire = self.wire.anew();
        let (client, lender, task) = match &host.canceller.socket {
            None => {
                let config = resolved(&host.config, &self.resolver).await;
                let config = config.map_err(|error| Refusal::of_way(&error))?;
                let connecting = config.connect(wire.clone());
                let (client, connection) = connecting.await.map_err(refused)?;
                self.drive(&wire, client, connection, place, host)
            }
            Some(path) => {
                let stream = wire.open_socket(path).await;
                let stream = stream.map_err(|error| Refusal::of_way(&error))?;
                let connecting = host.config.connect_raw(stream, NoTls);
                let (client, connection) = connecting.await.map_err(refused)?;
                self.drive(&wire, client, connection, place, host)
            }
        }
        .map_err(refused)?;
        if wanted != TargetSession::Any {
            let (is_standby, is_read_only) = kind(&client).await.map_err(refused)?;
            if !wanted.takes(is_standby, is_read_only) {
                return Ok(None);
            }
        }
        let process = process(&client).await.map_err(refused)?;
        let is_direct = process.is_some() && process == lender.process();
        self.size_the_budget(&client).await;
        Ok(Some(Connection {
            client,
            is_direct,
            set: None,
            was_used: AtomicBool::new(false),
            place: place.clone(),
            host: host.number,
            canceller: host.canceller.clone(),
            opened: Instant::now(),
            means: Means {
                lender,
                statements: Statements::new(
                    self.names.clone(),
                    self.prepared_statements,
                    is_direct,
                ),
                buffer: BytesMut::new(),
            },
            task,
        }))
    }

    /// Asks the server how many connections it accepts, if that is needed and not known.
    async fn size_the_budget(&self, client: &Client) {
        let Some(question) = self.stake.budget().question() else {
            return;
        };
        // The connection limit of a role that only one token uses says nothing about other tokens.
        let limits = if self.has_own_login {
            "NULL"
        } else {
            LIMITS_OF_LOGIN
        };
        let most = most_connections(limits);
        // By the simple protocol: a pooler in between may lose a prepared statement.
        match client.simple_query(&most).await.map(number::<usize>) {
            Ok(Some(most)) => question.answer(most),
            Ok(None) => tracing::warn!("PostgreSQL did not say how many connections it takes"),
            Err(error) => {
                tracing::warn!(reason = %brief(&error), "PostgreSQL did not say how many connections it takes");
            }
        }
    }
}

/// Says whether a server has no connection to spare, of all or of the role's.
fn is_full(refusal: &Refusal) -> bool {
    refusal.code() == Some(&SqlState::TOO_MANY_CONNECTIONS)
}

/// Says whether a server is a standby, and whether its transactions are read-only.
async fn kind(client: &Client) -> Result<(bool, bool), Error> {
    const KIND: &str = "SELECT pg_catalog.pg_is_in_recovery(), \
         pg_catalog.pg_is_in_recovery() OR pg_catalog.current_setting('default_transaction_read_only') = 'on'";
    let messages = client.simple_query(KIND).await?;
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some((row.get(0) == Some("t"), row.get(1) == Some("t"))),
        _ => None,
    });
    Ok(row.unwrap_or_default())
}

/// Asks for the id of the process that serves a connection now.
async fn process(client: &Client) -> Result<Option<i32>, Error> {
    let messages = client.simple_query("SELECT pg_catalog.pg_backend_pid()");
    Ok(number(messages.await?))
}

fn number<T: FromStr>(messages: Vec<SimpleQueryMessage>) -> Option<T> {
    messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
        _ => None,
    })
}

/// Asks how many connections a server has for us: all but those that are reserved for superusers,
/// and but a tenth of the rest, two at least, for people who look after the server and for other
/// programs. `limits` may name lower numbers.
fn most_connections(limits: &str) -> String {
    format!(
        "SELECT greatest(least(free - greatest(free / 10, 2), {limits}), 1) FROM (SELECT \
         pg_catalog.current_setting('max_connections')::pg_catalog.int4 \
         - pg_catalog.current_setting('superuser_reserved_connections')::pg_catalog.int4 \
         - coalesce(pg_catalog.current_setting('reserved_connections', true)::pg_catalog.int4, 0)) AS server(free)"
    )
}

/// The connection limits of the role and of the database.
const LIMITS_OF_LOGIN: &str = "(SELECT rolconnlimit FROM pg_catalog.pg_roles \
     WHERE rolname = session_user AND rolconnlimit >= 0 AND NOT rolsuper), \
     (SELECT datconnlimit FROM pg_catalog.pg_database \
     WHERE datname = pg_catalog.current_database() AND datconnlimit >= 0)";

impl Connector {
    /// Runs a connection until it ends, its owner drops it or its session is closed.
    fn drive<S, T>(
        &self,
        wire: &Wire,
        client: Client,
        connection: tokio_postgres::Connection<S, T>,
        place: &Arc<Place>,
        host: &Host,
    ) -> Result<Driven, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: TlsStream + Unpin + Send + 'static,
    {
        let lender = wire
            .take_opened()
            .ok_or_else(Error::__private_api_timeout)?;
        let token = client.cancel_token();
        let (ending, canceller) = (self.ending.clone(), host.canceller.clone());
        let (line, place) = (lender.clone(), place.clone());
        // Whoever waits for the cancel requests also waits for those that are still to be sent.
        let pending = canceller.cancels.tasks.token();
        let task = tokio::spawn(async move {
            let _pending = pending;
            // Pinned outside of the `select`, so that it is not dropped, which would close the
            // line, before the line was taken.
            let mut connection = pin!(connection);
            tokio::select! {
                ended = &mut connection => {
                    if let Err(error) = ended {
                        tracing::debug!(reason = %brief(&error), "a connection to PostgreSQL ended");
                    }
                }
                // Whoever uses the connection finds it gone at once. The line itself stays open
                // until the cancel request was sent.
                () = ending.ended() => {
                    let process = line.process();
                    let (line, is_busy) = line.cut();
                    if is_busy {
                        let remains = Remains::new(line, process, place, None);
                        canceller.cancel(token, remains, &Handle::current());
                    }
                }
            }
        });
        Ok((client, lender, task))
    }
}

type Driven = (Client, Lender<Stream>, JoinHandle<()>);

/// Describes an error without PostgreSQL's message, which may quote data.
fn brief(error: &Error) -> String {
    match error.as_db_error() {
        Some(db) => db.code().code().to_owned(),
        None => error.to_string(),
    }
}
