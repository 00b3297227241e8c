//! Metrics for Prometheus, on an address of their own. Everything is counted elsewhere, whether
//! anybody asks or not; a scrape only reads the counts.

mod listen;
mod text;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use mcp_protocol::http::Counts;
use pg_tools::{CallCounts, CallKind, Counters, Outcome};
use server_config::Config;
use session_pool::{Census, Sessions};
use time::OffsetDateTime;

use crate::{audit::Audit, door::Door, tls::Certificates};
use listen::Endpoint;
use text::{Kind, Text};

/// Where the counts are kept.
pub(crate) struct Sources {
    pub(crate) started: SystemTime,
    pub(crate) counters: Counters,
    pub(crate) sessions: Sessions,
    pub(crate) configuration: Arc<Loads>,
    pub(crate) audit: Option<Arc<Audit>>,
    /// With tokens only.
    pub(crate) door: Option<Arc<Door>>,
    /// Over HTTP only.
    pub(crate) http: Option<Arc<Counts>>,
    /// With TLS only.
    pub(crate) certificates: Option<Arc<Certificates>>,
}

/// When something was last read well, and how often reading it failed.
#[derive(Debug)]
pub(crate) struct Loads {
    /// In milliseconds since 1970.
    last: AtomicU64,
    failures: AtomicU64,
}

impl Loads {
    /// Starts with a success now.
    pub(crate) fn new() -> Arc<Self> {
        let loads = Loads {
            last: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        };
        loads.succeeded();
        Arc::new(loads)
    }

    pub(crate) fn succeeded(&self) {
        self.last
            .store(since_1970(SystemTime::now()), Ordering::Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }
}

fn since_1970(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// Serves metrics beside something else until that ends; without a configured address it does
/// nothing.
pub(crate) async fn beside<T>(
    config: &Config,
    sources: Sources,
    serve: impl Future<Output = T>,
) -> anyhow::Result<T> {
    let Some(terms) = &config.metrics else {
        return Ok(serve.await);
    };
    let endpoint = Endpoint::bind(terms, &config.http).await?;
    Ok(tokio::select! {
        served = serve => served,
        never = endpoint.serve(Arc::new(sources)) => match never {},
    })
}

impl Sources {
    fn text(&self) -> String {
        let mut text = Text::default();
        self.of_the_process(&mut text);
        self.of_requests(&mut text);
        self.of_the_certificate(&mut text);
        calls(&mut text, &self.counters.read());
        connections(&mut text, &self.sessions.census());
        self.of_tokens(&mut text);
        self.of_the_configuration(&mut text);
        self.of_the_audit_log(&mut text);
        text.finish()
    }

    fn of_the_process(&self, text: &mut Text) {
        let help = "The version of the server.";
        let mut build = text.family(Kind::Gauge, "mcp_server_build_info", help);
        build.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        text.gauge(
            "process_start_time_seconds",
            "When the process began, in seconds since 1970.",
            seconds(Duration::from_millis(since_1970(self.started))),
        );
    }

    fn of_requests(&self, text: &mut Text) {
        let Some(http) = &self.http else {
            return;
        };
        let help = "Replies to HTTP requests, by their status.";
        let mut replies = text.family(Kind::Counter, "mcp_server_http_responses_total", help);
        for (status, count) in http.replies() {
            replies.sample(&[("code", &status.to_string())], count);
        }
        text.gauge(
            "mcp_server_http_connections",
            "Connections of clients that are open.",
            http.open_connections(),
        );
        text.counter(
            "mcp_server_http_refused_connections_total",
            "Connections that were closed at once, for their address had as many as it may.",
            http.refused_connections(),
        );
    }

    fn of_the_certificate(&self, text: &mut Text) {
        let certificates = self.certificates.as_ref();
        if let Some(end) = certificates.and_then(|certificates| certificates.end()) {
            text.gauge(
                "mcp_server_tls_certificate_expiry_timestamp_seconds",
                "When the server's certificate ends, in seconds since 1970.",
                end.unix_timestamp(),
            );
        }
    }

    fn of_tokens(&self, text: &mut Text) {
        let Some(door) = &self.door else {
            return;
        };
        let help = "Requests that were not let in, by the reason.";
        let mut refusals = text.family(Kind::Counter, "mcp_server_refusals_total", help);
        for (reason, count) in door.refusals().counted() {
            refusals.sample(&[("reason", reason)], count);
        }
        let now = OffsetDateTime::now_utc();
        let tokens = door.tokens();
        let all = tokens.len();
        let expired = tokens
            .iter()
            .filter(|token| token.expires_at.is_some_and(|end| end <= now))
            .count();
        let help = "Tokens of the token file.";
        let mut states = text.family(Kind::Gauge, "mcp_server_tokens", help);
        states.sample(&[("state", "valid")], all - expired);
        states.sample(&[("state", "expired")], expired);
        loads(
            text,
            door.loads(),
            (
                "mcp_server_token_file_last_load_timestamp_seconds",
                "When the token file was last read well, in seconds since 1970.",
            ),
            (
                "mcp_server_token_file_failed_loads_total",
                "How often the token file was there and could not be read.",
            ),
        );
        self.of_each_token(text, door);
    }

    fn of_each_token(&self, text: &mut Text, door: &Door) {
        let used = door.holders().totals();
        if used.is_empty() {
            return;
        }
        let mut add = |name, help, value: fn(&pg_tools::Totals) -> u64| {
            let mut family = text.family(Kind::Counter, name, help);
            for (token, totals) in &used {
                family.sample(&[("token", token)], value(totals));
            }
        };
        add(
            "mcp_server_token_calls_total",
            "Calls of each token that began.",
            |totals| totals.calls,
        );
        add(
            "mcp_server_token_rows_total",
            "Rows that were returned to each token.",
            |totals| totals.rows,
        );
        add(
            "mcp_server_token_bytes_total",
            "Bytes of the answers to each token's calls.",
            |totals| totals.bytes,
        );
    }

    fn of_the_configuration(&self, text: &mut Text) {
        loads(
            text,
            &self.configuration,
            (
                "mcp_server_configuration_last_load_timestamp_seconds",
                "When the configuration was last read well, in seconds since 1970.",
            ),
            (
                "mcp_server_configuration_failed_loads_total",
                "How often the configuration was read again and was wrong.",
            ),
        );
    }

    fn of_the_audit_log(&self, text: &mut Text) {
        let Some(audit) = &self.audit else {
            return;
        };
        let status = audit.status();
        text.counter(
            "mcp_server_audit_lines_total",
            "Lines of the audit log that were written.",
            status.written,
        );
        text.counter(
            "mcp_server_audit_lost_lines_total",
            "Lines of the audit log that found no place in its queue.",
            status.lost,
        );
        text.gauge(
            "mcp_server_audit_queued_lines",
            "Lines of the audit log that wait to be written, with those that a place is kept for.",
            status.queued,
        );
        text.gauge(
            "mcp_server_audit_failing",
            "Whether the audit log cannot be written.",
            u8::from(status.failure.is_some()),
        );
    }
}

fn loads(
    text: &mut Text,
    loads: &Loads,
    (last, last_help): (&'static str, &str),
    (failures, failures_help): (&'static str, &str),
) {
    let at = Duration::from_millis(loads.last.load(Ordering::Relaxed));
    text.gauge(last, last_help, seconds(at));
    text.counter(
        failures,
        failures_help,
        loads.failures.load(Ordering::Relaxed),
    );
}

fn calls(text: &mut Text, counts: &[CallCounts]) {
    let help = "Calls that ended, by how they did; those of tools that there are not have no name.";
    let mut ended = text.family(Kind::Counter, "mcp_server_calls_total", help);
    for counted in counts {
        for (outcome, count) in counted.outcomes {
            if count > 0 || outcome == Outcome::Ok {
                let [kind, tool] = labels(counted);
                ended.sample(&[kind, tool, ("outcome", outcome.word())], count);
            }
        }
    }
    let help = "How long calls took.";
    let mut took = text.family(Kind::Histogram, "mcp_server_call_duration_seconds", help);
    for counted in counts {
        let [kind, tool] = labels(counted);
        let mut sum = 0;
        for (end, count) in counted.buckets {
            sum += count;
            let end = end.map_or("+Inf".into(), |end| seconds(end).to_string());
            took.part("_bucket", &[kind, tool, ("le", &end)], sum);
        }
        took.part("_sum", &[kind, tool], seconds(counted.took));
        took.part("_count", &[kind, tool], sum);
    }
    let mut add = |kind, name, help, value: fn(&CallCounts) -> u64| {
        let mut family = text.family(kind, name, help);
        for counted in counts {
            family.sample(&labels(counted), value(counted));
        }
    };
    add(
        Kind::Counter,
        "mcp_server_call_rows_total",
        "Rows that calls returned or changed.",
        |counted| counted.rows,
    );
    add(
        Kind::Counter,
        "mcp_server_call_bytes_total",
        "Bytes of the answers to calls.",
        |counted| counted.bytes,
    );
    add(
        Kind::Gauge,
        "mcp_server_running_calls",
        "Calls that run.",
        |counted| counted.running,
    );
}

fn labels(counted: &CallCounts) -> [(&str, &str); 2] {
    let kind = match counted.kind {
        CallKind::Tool => "tool",
        CallKind::Resource => "resource",
        CallKind::Completion => "completion",
        CallKind::Follow => "follow",
        CallKind::Unfollow => "unfollow",
    };
    [("kind", kind), ("tool", &counted.name)]
}

fn connections(text: &mut Text, census: &Census) {
    text.gauge(
        "mcp_server_sessions",
        "Tokens, and other users of databases, that have connections or may get some.",
        census.sessions,
    );
    text.gauge(
        "mcp_server_waiting_calls",
        "Calls that wait for a connection to a database.",
        census.waiting,
    );
    text.counter(
        "mcp_server_cancelled_statements_total",
        "Cancel requests that were sent to PostgreSQL.",
        census.cancels,
    );
    let help = "Open connections to databases, without those that are kept for sessions.";
    let mut open = text.family(Kind::Gauge, "mcp_server_database_connections", help);
    for database in &census.databases {
        let name = ("database", &*database.database);
        open.sample(&[name, ("state", "busy")], database.open - database.idle);
        open.sample(&[name, ("state", "idle")], database.idle);
    }
    let help = "Connections to a PostgreSQL server: `size` may be open, `taken` are, `kept` of them for sessions, and so many calls are `waiting` for one.";
    let mut budgets = text.family(Kind::Gauge, "mcp_server_connection_budget", help);
    for budget in &census.budgets {
        let databases = budget.databases.join(",");
        let mut add = |part, value| {
            budgets.sample(&[("databases", &*databases), ("part", part)], value);
        };
        if let Some(size) = budget.size {
            add("size", size);
        }
        add("taken", budget.taken);
        add("kept", budget.kept);
        add("waiting", budget.waiting);
    }
}

fn seconds(span: Duration) -> f64 {
    span.as_secs_f64()
}
