//! A client in a closed loop: each of its connections calls, checks the answer, and calls again.
//! Prints one line of JSON.

use std::time::{Duration, Instant};

use bench::{Arguments, Random, body, cpu_us, resident_kib};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::LocalSet,
};

/// Rows of the table.
const KEYS: u64 = 99_000;
/// The revision of MCP to use.
const REVISION: &str = "2025-06-18";

#[derive(Clone)]
struct Call {
    address: String,
    path: String,
    token: String,
    body: String,
    /// What the response must contain; `{id}` and `{last}` stand for the first and the last key.
    expected: Vec<String>,
    rows: u64,
}

fn main() {
    let arguments = Arguments::of_process();
    let rows = arguments.number("--rows", 1);
    let columns = "id, name, email, country, score, created_at";
    // What is only another number is prepared when it has come a few times; another name is not.
    let users = match arguments.text("--texts", "alike").as_str() {
        "new" => "users as new_{id}",
        _ => "users",
    };
    let method = arguments.text("--method", "tools/call");
    let query = match (method.as_str(), rows) {
        ("tools/call", 1) => format!("select {columns} from {users} where id = {{id}}"),
        ("tools/call", _) => {
            format!("select {columns} from {users} where id between {{id}} and {{last}}")
        }
        _ => String::new(),
    };
    let body = if query.is_empty() {
        let client = r#"{"name":"load","version":"1"}"#;
        let params = format!(
            r#"{{"protocolVersion":"{REVISION}","capabilities":{{}},"clientInfo":{client}}}"#
        );
        let params = if method == "initialize" {
            &params
        } else {
            "{}"
        };
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#)
    } else {
        let tool = arguments.text("--tool", "query_database");
        let argument = arguments.text("--argument", "query");
        let more = arguments.text("--more", r#","limit":1000"#);
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{{"{argument}":"{query}"{more}}}}}}}"#
        )
    };
    let expected = ["user{id}@example.com", "user{last}@example.com"];
    let call = Call {
        address: arguments.text("--address", ""),
        path: arguments.text("--path", "/mcp/v1"),
        token: arguments.text("--token", "token"),
        expected: expected
            .map(str::to_owned)
            .into_iter()
            .filter(|_| !query.is_empty())
            .collect(),
        body,
        rows,
    };
    assert!(call.address.starts_with("127.0.0.1:"), "loopback only");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    if arguments.number("--until-first", 0) > 0 {
        return until_first(&runtime, &call);
    }
    if arguments.number("--size", 0) > 0 {
        let size = runtime.block_on(async {
            let mut client = Client::open(&call).await?;
            client.call(7).await.map(|()| client.answered)
        });
        return println!("{}", size.expect("an answer"));
    }
    LocalSet::new().block_on(&runtime, measure(&arguments, &call));
}

/// Calls until the first right answer; prints how long that took, in ms.
fn until_first(runtime: &tokio::runtime::Runtime, call: &Call) {
    let begin = Instant::now();
    loop {
        let answered = runtime.block_on(async { Client::open(call).await?.call(7).await });
        if answered.is_ok() {
            return println!("{:.1}", begin.elapsed().as_secs_f64() * 1e3);
        }
        assert!(
            begin.elapsed() < Duration::from_secs(20),
            "no answer: {answered:?}"
        );
        std::thread::sleep(Duration::from_micros(300));
    }
}

async fn measure(arguments: &Arguments, call: &Call) {
    let connections = arguments.number("--connections", 1);
    let (server, postgres) = (
        arguments.number("--server", 0),
        arguments.number("--postgres", 0),
    );
    let warm = Duration::from_millis(arguments.number("--warm-ms", 300));
    let time = Duration::from_millis(arguments.number("--ms", 1_000));
    let from = Instant::now() + warm;
    let until = from + time;
    let clients = (0..connections).map(|number| {
        let call = call.clone();
        tokio::task::spawn_local(async move { call_until(&call, number, from, until).await })
    });
    let clients: Vec<_> = clients.collect();
    tokio::time::sleep_until(from.into()).await;
    let before = (cpu_us(server), cpu_us(postgres));
    tokio::time::sleep_until(until.into()).await;
    let after = (cpu_us(server), cpu_us(postgres));
    let memory = resident_kib(server);
    let (mut latencies, mut error) = (Vec::new(), None);
    for client in clients {
        let (some, failed) = client.await.expect("no panic");
        latencies.extend(some);
        error = error.or(failed);
    }
    latencies.sort_unstable();
    #[allow(clippy::cast_precision_loss)]
    let count = latencies.len().max(1) as f64;
    let at = |part: usize| {
        latencies
            .get(latencies.len() * part / 100)
            .copied()
            .unwrap_or(0)
    };
    println!(
        "{}",
        serde_json::json!({
            "rate": count / time.as_secs_f64(), "p50_us": at(50), "p99_us": at(99),
            "server_us": (after.0 - before.0) / count, "postgres_us": (after.1 - before.1) / count,
            "memory_kib": memory, "error": error,
        })
    );
}

/// Calls until a time; gives how long each call took, in us, and what went wrong.
async fn call_until(
    call: &Call,
    seed: u64,
    from: Instant,
    until: Instant,
) -> (Vec<u128>, Option<String>) {
    let mut latencies = Vec::new();
    let mut random = Random::new(seed);
    let mut client = match Client::open(call).await {
        Ok(client) => client,
        Err(error) => return (latencies, Some(error)),
    };
    while Instant::now() < until {
        let begin = Instant::now();
        if let Err(error) = client.call(random.up_to(KEYS)).await {
            return (latencies, Some(error));
        }
        if begin >= from && Instant::now() <= until {
            latencies.push(begin.elapsed().as_micros());
        }
    }
    (latencies, None)
}

struct Client<'a> {
    call: &'a Call,
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Bytes of the last answer.
    answered: usize,
}

impl<'a> Client<'a> {
    async fn open(call: &'a Call) -> Result<Self, String> {
        let stream = TcpStream::connect(&call.address)
            .await
            .map_err(|error| error.to_string())?;
        stream
            .set_nodelay(true)
            .map_err(|error| error.to_string())?;
        Ok(Client {
            call,
            stream,
            buffer: Vec::with_capacity(64 << 10),
            answered: 0,
        })
    }

    async fn call(&mut self, id: u64) -> Result<(), String> {
        let last = (id + self.call.rows - 1).to_string();
        let fill = |text: &str| {
            text.replace("{id}", &id.to_string())
                .replace("{last}", &last)
        };
        let body = fill(&self.call.body);
        let Call {
            address,
            path,
            token,
            ..
        } = self.call;
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: {REVISION}\r\n\
             Authorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream
            .write_all(request.as_bytes())
            .await
            .map_err(|error| error.to_string())?;
        let answer = self.answer().await?;
        self.answered = answer.len();
        let told = || String::from_utf8_lossy(&answer[..answer.len().min(300)]).into_owned();
        let text = std::str::from_utf8(&answer).map_err(|_| told())?;
        if self
            .call
            .expected
            .iter()
            .all(|part| text.contains(&fill(part)))
        {
            Ok(())
        } else {
            Err(told())
        }
    }

    /// Reads one response; gives its body.
    async fn answer(&mut self) -> Result<Vec<u8>, String> {
        self.buffer.clear();
        loop {
            let read = self
                .stream
                .read_buf(&mut self.buffer)
                .await
                .map_err(|error| error.to_string())?;
            if read == 0 {
                return Err("the server hung up".into());
            }
            if let Some(body) = body(&self.buffer)? {
                return Ok(body.into_owned());
            }
        }
    }
}
