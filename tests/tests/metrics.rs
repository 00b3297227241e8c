//! Metrics: they are in Prometheus' format, and count what was done.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use end_to_end::{
    Client, Database, Request, Response, Server, Setup, Token, call, certificate, wait,
};
use serde_json::{Value, json};
use token_store::TokenHash;

/// Only a hang takes longer.
const LIMIT: Duration = Duration::from_secs(20);

/// The labels of a sample: their values by name.
type Labels = BTreeMap<String, String>;

/// A scrape, parsed as the format is specified (Prometheus, exposition formats, version 0.0.4).
struct Scrape {
    kinds: HashMap<String, String>,
    samples: Vec<(String, Labels, f64)>,
}

impl Scrape {
    fn read(text: &str) -> Result<Self, String> {
        let mut scrape = Scrape {
            kinds: HashMap::new(),
            samples: Vec::new(),
        };
        let whole = text.strip_suffix('\n').ok_or("the last line has no end")?;
        let (mut family, mut helped, mut seen) = (String::new(), String::new(), HashSet::new());
        for line in whole.split('\n') {
            let wrong = |why: &str| Err(format!("{why}: {line}"));
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').ok_or("no help")?;
                if help.is_empty() || helped == name {
                    return wrong("help is empty or comes twice");
                }
                helped = name.to_owned();
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').ok_or("no type")?;
                if name != helped || !is_name(name, true) {
                    return wrong("a type without its help, or of a wrong name");
                }
                if !["counter", "gauge", "histogram"].contains(&kind) {
                    return wrong("an unknown type");
                }
                if (kind == "counter") != name.ends_with("_total") {
                    return wrong("counters alone end in _total");
                }
                if scrape
                    .kinds
                    .insert(name.to_owned(), kind.to_owned())
                    .is_some()
                {
                    return wrong("a family comes twice");
                }
                name.clone_into(&mut family);
            } else {
                let (name, labels, value) = sample(line)?;
                let part = name
                    .strip_prefix(&*family)
                    .ok_or(format!("not of {family}: {line}"))?;
                let kind = scrape.kinds.get(&family).ok_or("a sample without a type")?;
                let parts: &[&str] = match &**kind {
                    "histogram" => &["_bucket", "_sum", "_count"],
                    _ => &[""],
                };
                if !parts.contains(&part) {
                    return wrong("not of its family");
                }
                if !seen.insert((name.clone(), labels.clone())) {
                    return wrong("a sample comes twice");
                }
                scrape.samples.push((name, labels, value));
            }
        }
        scrape.check_histograms()?;
        Ok(scrape)
    }

    fn check_histograms(&self) -> Result<(), String> {
        let mut buckets: HashMap<(String, Labels), Vec<(f64, f64)>> = HashMap::new();
        for (name, labels, value) in &self.samples {
            if let Some(family) = name.strip_suffix("_bucket") {
                let mut labels = labels.clone();
                let end = labels.remove("le").ok_or("a bucket without its end")?;
                let end = if end == "+Inf" {
                    f64::INFINITY
                } else {
                    end.parse().map_err(|_| "no end")?
                };
                buckets
                    .entry((family.to_owned(), labels))
                    .or_default()
                    .push((end, *value));
            }
        }
        for ((family, labels), buckets) in buckets {
            let grows = buckets
                .windows(2)
                .all(|two| two[0].0 < two[1].0 && two[0].1 <= two[1].1);
            let last = buckets.last().copied();
            let count = self.value_of(&format!("{family}_count"), &labels);
            if !grows || last != count.map(|count| (f64::INFINITY, count)) {
                return Err(format!("{family} {labels:?}: {buckets:?}, {count:?}"));
            }
        }
        Ok(())
    }

    fn value_of(&self, name: &str, labels: &Labels) -> Option<f64> {
        let mut samples = self.samples.iter();
        let found = samples.find(|(other, others, _)| other == name && others == labels)?;
        Some(found.2)
    }

    /// The value of a sample that must be there.
    fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let labels: Labels = labels.collect();
        self.value_of(name, &labels).unwrap_or_else(|| {
            let known: Vec<_> = self
                .samples
                .iter()
                .filter(|(other, ..)| other == name)
                .collect();
            panic!("no {name} {labels:?}; there are {known:#?}")
        })
    }

    /// The sum of all samples of a name.
    fn sum(&self, name: &str) -> f64 {
        let samples = self.samples.iter().filter(|(other, ..)| other == name);
        samples.map(|(_, _, value)| value).sum()
    }
}

fn is_name(name: &str, may_have_colons: bool) -> bool {
    let is_in = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':' && may_have_colons;
    !name.is_empty() && name.chars().all(is_in) && !name.starts_with(|c: char| c.is_ascii_digit())
}

fn sample(line: &str) -> Result<(String, Labels, f64), String> {
    let wrong = |why: &str| format!("{why}: {line}");
    let end = line.find(['{', ' ']).ok_or_else(|| wrong("no value"))?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").ok_or_else(|| wrong("no label"))?;
            let (value, after) = quoted(after).ok_or_else(|| wrong("a wrong label"))?;
            if !is_name(label, false) || labels.insert(label.to_owned(), value).is_some() {
                return Err(wrong("a wrong or repeated label"));
            }
            match after.strip_prefix(',') {
                Some(next) => rest = next,
                None => {
                    rest = after
                        .strip_prefix('}')
                        .ok_or_else(|| wrong("labels do not end"))?;
                    break;
                }
            }
        }
    }
    let value = rest.strip_prefix(' ').ok_or_else(|| wrong("no value"))?;
    let value = value.parse().map_err(|_| wrong("the value is no number"))?;
    if !is_name(name, true) {
        return Err(wrong("a wrong name"));
    }
    Ok((name.to_owned(), labels, value))
}

fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    loop {
        match characters.next()? {
            (at, '"') => return Some((value, &text[at + 1..])),
            (_, '\\') => value.push(match characters.next()?.1 {
                'n' => '\n',
                one @ ('\\' | '"') => one,
                _ => return None,
            }),
            (_, other) => value.push(other),
        }
    }
}

#[test]
fn the_reader_of_these_tests_takes_what_the_format_has_and_nothing_else() {
    let good = "# HELP a_total x\n# TYPE a_total counter\na_total{b=\"\\\"\\\\\\n,}\",c=\"\"} 1\na_total 2.5e3\n";
    let read = Scrape::read(good).unwrap();
    assert_eq!(read.value("a_total", &[("b", "\"\\\n,}"), ("c", "")]), 1.0);
    for bad in [
        "a 1\n",
        "# HELP a x\n# TYPE a gauge\na 1",
        "# HELP a x\n# TYPE a gauge\na 1\na 1\n",
        "# HELP a x\n# TYPE a gauge\nb 1\n",
        "# HELP a x\n# TYPE a gauge\na x\n",
        "# HELP a x\n# TYPE a gauge\na{b=\"c} 1\n",
        "# HELP a x\n# TYPE a gauge\na{1b=\"c\"} 1\n",
        "# HELP a x\n# TYPE a counter\na 1\n",
        "# TYPE a gauge\na 1\n",
        "# HELP a x\n# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\na_count 1\na_sum 1\n",
        "# HELP a x\n# TYPE a histogram\na_bucket{le=\"1\"} 1\na_count 1\na_sum 1\n",
    ] {
        assert!(Scrape::read(bad).is_err(), "{bad}");
    }
}

fn setup(metrics: Value) -> (Database<'static>, Setup) {
    let database = Database::fresh();
    let mut setup = Setup::new([database.entry("shop", &database.reader)]);
    setup.config["metrics"] = metrics;
    setup.config["metrics"]["address"] = json!("127.0.0.1:0");
    (database, setup)
}

fn address(server: &Server) -> SocketAddr {
    let line = server.log.wait_for("Metrics on http://");
    let url = line.split_once("http://").unwrap().1;
    url.strip_suffix("/metrics").unwrap().parse().unwrap()
}

fn get(at: SocketAddr, path: &str) -> Response {
    Client::new(at).send(&Request::new("GET", path)).unwrap()
}

fn scrape(at: SocketAddr) -> Scrape {
    let response = get(at, "/metrics");
    assert_eq!(response.status, 200);
    assert_eq!(
        response.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let text = response.text();
    Scrape::read(&text).unwrap_or_else(|error| panic!("{error}\nin\n{text}"))
}

#[test]
fn the_counts_are_what_was_done() {
    let (_database, mut setup) = setup(json!({ "per_token": true, "most_tokens": 2 }));
    setup.config["audit"] = json!({ "file": setup.path().join("audit.jsonl") });
    let tokens: Vec<Token> = (0..4).map(|_| setup.add_token()).collect();
    let server = setup.start();
    let at = address(&server);
    let before = scrape(at);
    assert_eq!(before.sum("mcp_server_calls_total"), 0.0);
    assert_eq!(
        before.value("mcp_server_tokens", &[("state", "valid")]),
        4.0
    );
    for (calls, token) in tokens.iter().enumerate() {
        for _ in 0..=calls {
            assert!(!server.query(token, "SELECT generate_series(1, 3)").is_error);
        }
    }
    let first = &tokens[0];
    assert!(server.query(first, "SELECT 1 / 0").is_error);
    assert!(
        server
            .query(first, "SELECT pg_terminate_backend(1)")
            .is_error
    );
    server.call(first, "count_rows", json!({ "table": "products" }));
    server.post(first, &call("no \"such\" tool", json!({})));
    let wrong = Request::json(&call("query_database", json!({}))).bearer("wrong");
    assert_eq!(server.client().send(&wrong).unwrap().status, 401);
    let none = Request::json(&call("query_database", json!({})));
    assert_eq!(server.client().send(&none).unwrap().status, 401);
    wait::until("all lines are written", LIMIT, || {
        // The line that opens the log, the start, the calls, and the refused token.
        scrape(at).value("mcp_server_audit_lines_total", &[]) == 2.0 + 14.0 + 1.0
    });

    let now = scrape(at);
    let calls = |tool, outcome| {
        let labels = [("kind", "tool"), ("tool", tool), ("outcome", outcome)];
        now.value("mcp_server_calls_total", &labels)
    };
    assert_eq!(calls("query_database", "ok"), 10.0);
    assert_eq!(calls("query_database", "database_error"), 1.0);
    assert_eq!(calls("query_database", "refused"), 1.0);
    assert_eq!(calls("count_rows", "ok"), 1.0);
    assert_eq!(calls("", "unknown"), 1.0);
    assert_eq!(now.sum("mcp_server_calls_total"), 14.0);
    assert_eq!(now.sum("mcp_server_call_duration_seconds_count"), 14.0);
    assert!(now.sum("mcp_server_call_duration_seconds_sum") > 0.0);
    let query = [("kind", "tool"), ("tool", "query_database")];
    assert_eq!(now.value("mcp_server_call_rows_total", &query), 30.0);
    assert!(now.value("mcp_server_call_bytes_total", &query) > 100.0);
    assert_eq!(now.sum("mcp_server_running_calls"), 0.0);
    let refused = |reason| now.value("mcp_server_refusals_total", &[("reason", reason)]);
    assert_eq!(
        (refused("unknown"), refused("missing"), refused("expired")),
        (1.0, 1.0, 0.0)
    );
    assert_eq!(
        now.value("mcp_server_http_responses_total", &[("code", "200")]),
        14.0
    );
    assert_eq!(
        now.value("mcp_server_http_responses_total", &[("code", "401")]),
        2.0
    );
    let of_token = |name, token: &str| now.value(name, &[("token", token)]);
    assert_eq!(of_token("mcp_server_token_calls_total", &first.id), 4.0);
    assert_eq!(of_token("mcp_server_token_calls_total", &tokens[1].id), 2.0);
    assert_eq!(of_token("mcp_server_token_calls_total", "other"), 7.0);
    assert_eq!(of_token("mcp_server_token_rows_total", "other"), 21.0);
    assert!(of_token("mcp_server_token_bytes_total", "other") > 50.0);
    let connections = |state| {
        let labels = [("database", "shop"), ("state", state)];
        now.value("mcp_server_database_connections", &labels)
    };
    assert_eq!((connections("idle"), connections("busy")), (4.0, 0.0));
    let budget = |part| {
        let labels = [("databases", "shop"), ("part", part)];
        now.value("mcp_server_connection_budget", &labels)
    };
    assert!(budget("size") > 10.0);
    assert_eq!((budget("taken"), budget("waiting")), (4.0, 0.0));
    assert_eq!(now.value("mcp_server_audit_failing", &[]), 0.0);
    assert_eq!(now.value("mcp_server_audit_lost_lines_total", &[]), 0.0);
    assert!(now.value("process_start_time_seconds", &[]) > 1.7e9);
    assert_eq!(
        now.value("mcp_server_build_info", &[("version", "0.1.0")]),
        1.0
    );

    setup.remove_token(&tokens[3]);
    setup.remove_token(&tokens[1]);
    server.log.wait_for("removed: ");
    let now = wait::until_some("the tokens are gone", LIMIT, || {
        let now = scrape(at);
        (now.value("mcp_server_tokens", &[("state", "valid")]) == 2.0).then_some(now)
    });
    assert_eq!(
        now.value("mcp_server_token_calls_total", &[("token", "other")]),
        7.0,
        "a counter never falls"
    );
    std::fs::write(setup.token_file(), "tokens: [").unwrap();
    wait::until("the file is told to be wrong", LIMIT, || {
        scrape(at).value("mcp_server_token_file_failed_loads_total", &[]) >= 1.0
    });
}

#[test]
fn what_runs_waits_and_is_cancelled_is_told() {
    let (_database, mut setup) = setup(json!({}));
    setup.config["databases"][0]["pool_max_conns"] = json!(1);
    let token = setup.add_token();
    let server = setup.start();
    let at = address(&server);
    let mut clients: Vec<Client> = (0..3).map(|_| server.client()).collect();
    for client in &mut clients {
        client
            .send_only(&Request::query(&token, "SELECT pg_sleep(60)"))
            .unwrap();
    }
    let labels = [("kind", "tool"), ("tool", "query_database")];
    wait::until("one runs and two wait", LIMIT, || {
        let now = scrape(at);
        let busy = [("database", "shop"), ("state", "busy")];
        now.value("mcp_server_running_calls", &labels) == 3.0
            && now.value("mcp_server_waiting_calls", &[]) == 2.0
            && now.value("mcp_server_database_connections", &busy) == 1.0
            && now.value("mcp_server_http_connections", &[]) == 3.0
    });
    clients.iter_mut().for_each(Client::hang_up);
    wait::until("all have ended", LIMIT, || {
        let now = scrape(at);
        now.value("mcp_server_running_calls", &labels) == 0.0
            && now.value("mcp_server_cancelled_statements_total", &[]) >= 1.0
            && now.value("mcp_server_http_connections", &[]) == 0.0
    });
    let dropped = [labels[0], labels[1], ("outcome", "dropped")];
    assert_eq!(scrape(at).value("mcp_server_calls_total", &dropped), 3.0);
    assert!(
        scrape(at)
            .samples
            .iter()
            .all(|(_, labels, _)| !labels.contains_key("token"))
    );
}

#[test]
fn scrapes_while_many_tokens_call_are_whole_and_never_fall() {
    const TOKENS: usize = 150;
    const CALLERS: usize = 4;
    let (_database, mut setup) = setup(json!({ "per_token": true, "most_tokens": 50 }));
    setup.config["http"]["auth"]["guessing"] = json!({ "slowed": false });
    let first = setup.add_token();
    let mut file = std::fs::read_to_string(setup.token_file()).unwrap();
    let secret = |number: usize| format!("secret-of-{number}");
    for number in 0..TOKENS {
        let hash = TokenHash::of(&secret(number)).to_hex();
        file += &format!(
            "  - id: many-{number}\n    hash: {hash}\n    note: \"\"\n    created_at: \"2024-10-30T10:15:30Z\"\n    expires_at: null\n"
        );
    }
    setup.replace_tokens(&file);
    let server = setup.start();
    let at = address(&server);
    // Refused for its arguments, so that PostgreSQL is not asked.
    let message = call("query_database", json!({ "query": 7 }));
    let running = AtomicUsize::new(CALLERS);
    std::thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                let mut client = server.client();
                for number in 0..TOKENS {
                    let request = Request::json(&message).bearer(&secret(number));
                    assert_eq!(client.send(&request).unwrap().status, 200);
                }
                running.fetch_sub(1, Ordering::AcqRel);
            });
        }
        let mut before = 0.0;
        while running.load(Ordering::Acquire) > 0 {
            let calls = scrape(at).sum("mcp_server_token_calls_total");
            assert!(calls >= before, "{calls} after {before}");
            before = calls;
            // A client that does not wait for the response leaves nothing behind.
            let mut gone = Client::new(at);
            gone.send_only(&Request::new("GET", "/metrics")).unwrap();
            gone.hang_up();
        }
    });
    let now = scrape(at);
    let sum = (TOKENS * CALLERS) as f64;
    assert_eq!(now.sum("mcp_server_token_calls_total"), sum);
    assert_eq!(now.sum("mcp_server_calls_total"), sum);
    let told = now
        .samples
        .iter()
        .filter(|(name, ..)| name == "mcp_server_token_calls_total");
    assert_eq!(told.count(), 51, "50 tokens, and the others");
    assert!(!server.query(&first, "SELECT 1").is_error);
}

#[test]
fn the_end_of_the_certificate_in_use_is_told() {
    const END: &str = "mcp_server_tls_certificate_expiry_timestamp_seconds";
    let (_database, mut setup) = setup(json!({}));
    let without = setup.start();
    let told = scrape(address(&without));
    assert!(!told.kinds.contains_key(END), "there is none");
    drop(without);
    let certify_until = |setup: &Setup, year| {
        let pair = certificate::for_localhost_until(year);
        let key = setup.file("key.pem", &pair.key);
        (setup.file("cert.pem", &pair.certificate), key)
    };
    let (certificate, key) = certify_until(&setup, 2100);
    setup.config["http"]["tls"] =
        json!({ "enabled": true, "cert_file": certificate, "key_file": key });
    let server = setup.start();
    let at = address(&server);
    assert_eq!(scrape(at).value(END, &[]), 4_102_444_800.0);
    // The certificate is renewed, and no client has connected since.
    certify_until(&setup, 2101);
    assert_eq!(scrape(at).value(END, &[]), 4_133_980_800.0);
}

#[test]
fn only_whoever_may_reads_them() {
    let (_database, mut setup) = setup(json!({}));
    let token = setup.add_token();
    let server = setup.start();
    let at = address(&server);
    assert_eq!(get(at, "/").status, 404);
    let post = Client::new(at)
        .send(&Request::new("POST", "/metrics"))
        .unwrap();
    assert_eq!(
        (post.status, post.header("allow")),
        (405, Some("GET, HEAD"))
    );
    for (host, status) in [
        ("localhost:9187", 200),
        ("127.0.0.1", 200),
        ("[::1]:9", 200),
        ("evil.example.com", 403),
        ("localhost.evil.example.com", 403),
        ("", 403),
    ] {
        let request = Request::new("GET", "/metrics").header("Host", host);
        assert_eq!(
            Client::new(at).send(&request).unwrap().status,
            status,
            "{host}"
        );
    }
    let on_the_endpoint = Request::new("GET", "/metrics").bearer(&token.secret);
    assert_eq!(server.client().send(&on_the_endpoint).unwrap().status, 404);
    drop(server);

    setup.config["metrics"]["address"] = json!("0.0.0.0:0");
    let refused = Server::try_start(setup.command("mcp-server", &[]), Vec::new());
    let log = refused.err().unwrap();
    assert!(log.contains("metrics.allow_remote: true"), "{log}");
    setup.config["metrics"]["allow_remote"] = json!(true);
    let server = setup.start();
    let mut at = address(&server);
    at.set_ip([127, 0, 0, 1].into());
    let request = Request::new("GET", "/metrics").header("Host", "prometheus.example.com");
    assert_eq!(Client::new(at).send(&request).unwrap().status, 200);
}
