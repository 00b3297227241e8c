//! A model server for tests: HTTP/1.1 on a port of 127.0.0.1, with every response supplied by the test.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::missing_panics_doc,
    clippy::unwrap_used
)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use serde_json::{Value, json};

/// A request received.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The path.
    pub path: String,
    /// The headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Value,
    /// The number of the connection that it came on.
    pub connection: usize,
}

impl Seen {
    /// A header's value, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(header, _)| header == name)?;
        Some(value)
    }
}

/// The response.
pub enum Said {
    /// A status, further headers and JSON.
    Json(u16, Vec<(&'static str, String)>, Value),
    /// Exactly these bytes, after which the connection is closed.
    Bytes(Vec<u8>),
    /// Nothing, until the client goes away.
    Nothing,
}

impl Said {
    /// 200 with JSON.
    pub fn ok(body: Value) -> Self {
        Said::Json(200, Vec::new(), body)
    }
}

#[derive(Default)]
struct Log {
    seen: Vec<Seen>,
    /// Connections whose client left while no response was sent.
    abandoned: usize,
}

/// The server. Dropping it stops it.
pub struct Stub {
    address: SocketAddr,
    log: Arc<(Mutex<Log>, Condvar)>,
    is_over: Arc<AtomicBool>,
}

impl Stub {
    /// Starts a server that answers each request with the function's result.
    pub fn start(answer: impl Fn(&Seen) -> Said + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::<(Mutex<Log>, Condvar)>::default();
        let is_over = Arc::<AtomicBool>::default();
        let answer = Arc::new(answer);
        let (shared, over) = (log.clone(), is_over.clone());
        thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let (answer, log) = (answer.clone(), shared.clone());
                let Ok(stream) = stream else { continue };
                thread::spawn(move || serve(stream, connection, answer.as_ref(), &log));
            }
        });
        Stub {
            address,
            log,
            is_over,
        }
    }

    /// Starts a server that returns vectors in the right form for all three providers; `embed` makes a text's vector.
    pub fn embedding(embed: impl Fn(&str) -> Vec<f32> + Send + Sync + 'static) -> Self {
        Stub::start(move |seen| {
            let texts = seen.body["input"].as_array().unwrap().iter();
            let vectors: Vec<_> = texts.map(|text| embed(text.as_str().unwrap())).collect();
            if seen.path == "/api/embed" {
                return Said::ok(json!({ "model": seen.body["model"], "embeddings": vectors }));
            }
            let data = vectors.iter().enumerate().map(
                |(index, vector)| json!({ "object": "embedding", "index": index, "embedding": vector }),
            );
            // The order within a response is not guaranteed.
            let data: Vec<_> = data.rev().collect();
            Said::ok(
                json!({ "object": "list", "data": data, "model": seen.body["model"], "usage": { "total_tokens": 1 } }),
            )
        })
    }

    /// The server's URL with this path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.log.0.lock().unwrap().seen.clone()
    }

    /// Waits until `count` requests have been received.
    pub fn wait_for_requests(&self, count: usize) {
        let log = self.log.0.lock().unwrap();
        drop(self.log.1.wait_while(log, |log| log.seen.len() < count));
    }

    /// Waits until a client has left without a response.
    pub fn wait_until_abandoned(&self) {
        let log = self.log.0.lock().unwrap();
        drop(self.log.1.wait_while(log, |log| log.abandoned == 0));
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        _ = TcpStream::connect(self.address);
    }
}

fn serve(
    stream: TcpStream,
    connection: usize,
    answer: &(dyn Fn(&Seen) -> Said + Send + Sync),
    log: &(Mutex<Log>, Condvar),
) {
    let mut stream = BufReader::new(stream);
    while let Some(seen) = read(&mut stream, connection) {
        let said = answer(&seen);
        log.0.lock().unwrap().seen.push(seen);
        log.1.notify_all();
        match said {
            Said::Json(status, headers, body) => {
                let body = body.to_string();
                let mut head =
                    format!("HTTP/1.1 {status} Status\r\nContent-Type: application/json\r\n");
                for (name, value) in headers {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                head.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
                if stream.get_mut().write_all(head.as_bytes()).is_err() {
                    return;
                }
            }
            Said::Bytes(bytes) => {
                _ = stream.get_mut().write_all(&bytes);
                return;
            }
            Said::Nothing => {
                _ = stream.read(&mut [0]);
                log.0.lock().unwrap().abandoned += 1;
                log.1.notify_all();
                return;
            }
        }
    }
}

fn read(stream: &mut BufReader<TcpStream>, connection: usize) -> Option<Seen> {
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.map_or(0, |(_, length)| length.parse().unwrap())];
    stream.read_exact(&mut body).ok()?;
    let body = serde_json::from_slice(&body).unwrap_or_default();
    Some(Seen {
        path,
        headers,
        body,
        connection,
    })
}
