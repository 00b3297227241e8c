//! A client of any revision, over raw sockets.

use std::collections::VecDeque;

use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Reply, Running, within};

pub const MODERN: &str = "2026-07-28";
pub const REVISIONS: [&str; 5] = [
    "2024-11-05",
    "2025-03-26",
    "2025-06-18",
    "2025-11-25",
    MODERN,
];

const META: &str = "io.modelcontextprotocol";

/// A client that speaks one revision, with all capabilities.
pub struct Client<'a> {
    pub server: &'a Running,
    pub revision: &'static str,
    pub token: &'static str,
    pub capabilities: Value,
    pub session: Option<String>,
    /// Whether the client takes streams.
    pub streams: bool,
    last_id: u64,
}

/// One exchange: what the server sent, the response last.
pub type Messages = Vec<Value>;

impl<'a> Client<'a> {
    /// Makes a client without a session.
    pub fn new(server: &'a Running, revision: &'static str) -> Self {
        let capabilities = json!({
            "sampling": {}, "elicitation": {}, "roots": {},
            "extensions": { "io.modelcontextprotocol/tasks": {} }
        });
        let (token, session) = ("alice-token", None);
        Self {
            server,
            revision,
            token,
            capabilities,
            session,
            streams: true,
            last_id: 0,
        }
    }

    /// Makes a client, and shakes hands where the revision does.
    pub async fn open(server: &'a Running, revision: &'static str) -> Self {
        let mut client = Self::new(server, revision);
        if revision != MODERN {
            client.initialize().await;
        }
        client
    }

    /// Shakes hands; gives the response.
    pub async fn initialize(&mut self) -> Value {
        let params = json!({
            "protocolVersion": self.revision,
            "capabilities": self.capabilities,
            "clientInfo": { "name": "test", "version": "1" }
        });
        let request = self.request("initialize", params);
        let reply = self
            .server
            .raw(&self.http("POST", "", Some(&request)))
            .await;
        assert_eq!(reply.status, 200, "{reply:?}");
        self.session = reply.header("mcp-session-id").map(str::to_owned);
        reply.json()
    }

    /// Makes a request as its revision wants it.
    pub fn request(&mut self, method: &str, params: Value) -> Value {
        self.last_id += 1;
        let mut params = match params {
            Value::Object(params) => params,
            Value::Null => Map::new(),
            other => panic!("{other} are no parameters"),
        };
        if self.revision == MODERN {
            let meta = params
                .entry("_meta")
                .or_insert_with(|| json!({}))
                .as_object_mut()
                .unwrap();
            meta.insert(format!("{META}/protocolVersion"), MODERN.into());
            meta.entry(format!("{META}/clientCapabilities"))
                .or_insert(self.capabilities.clone());
            meta.insert(
                format!("{META}/clientInfo"),
                json!({ "name": "test", "version": "1" }),
            );
        }
        json!({ "jsonrpc": "2.0", "id": self.last_id, "method": method, "params": params })
    }

    /// Writes a request of HTTP, with the headers that the message needs.
    pub fn http(&self, verb: &str, extra: &str, message: Option<&Value>) -> String {
        let accept = if self.streams {
            "application/json, text/event-stream"
        } else {
            "application/json"
        };
        let mut head = format!(
            "{verb} /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
             Accept: {accept}\r\n{extra}",
            self.token
        );
        if let Some(session) = &self.session {
            head += &format!("Mcp-Session-Id: {session}\r\n");
        }
        let body = message.map(Value::to_string).unwrap_or_default();
        if let Some(message) = message {
            head += "Content-Type: application/json\r\n";
            if let Some(method) = message["method"]
                .as_str()
                .filter(|_| self.revision == MODERN)
            {
                let params = &message["params"];
                let name = params["name"].as_str().or(params["uri"].as_str());
                head += &format!("MCP-Protocol-Version: {MODERN}\r\nMcp-Method: {method}\r\n");
                if let Some(name) = name.or(params["taskId"].as_str()) {
                    head += &format!("Mcp-Name: {name}\r\n");
                }
            }
        }
        format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())
    }

    /// Sends a message and reads the whole reply.
    pub async fn send(&self, message: &Value) -> Reply {
        self.server.raw(&self.http("POST", "", Some(message))).await
    }

    /// Asks, and gives the response.
    pub async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.exchange(method, params)
            .await
            .pop()
            .expect("there is a response")
    }

    /// Asks, answers what the server asks, and gives all that it sent.
    pub async fn exchange(&mut self, method: &str, params: Value) -> Messages {
        let mut seen = Messages::new();
        let mut params = params;
        loop {
            let request = self.request(method, params.clone());
            let mut stream = self.stream(&self.http("POST", "", Some(&request))).await;
            while let Some(message) = stream.next().await {
                let is_question = message.get("id").is_some() && message.get("method").is_some();
                if is_question {
                    let result = answer(&message["method"], &message["params"]);
                    let answer = json!({ "jsonrpc": "2.0", "id": message["id"], "result": result });
                    assert_eq!(self.send(&answer).await.status, 202);
                }
                seen.push(message);
            }
            let result = &seen.last().expect("there is a response")["result"];
            if result["resultType"] != "input_required" {
                return seen;
            }
            let mut answers = Map::new();
            for (key, asked) in result["inputRequests"].as_object().into_iter().flatten() {
                answers.insert(key.clone(), answer(&asked["method"], &asked["params"]));
            }
            params["inputResponses"] = answers.into();
            if let Some(state) = result.get("requestState") {
                params["requestState"] = state.clone();
            }
        }
    }

    /// Sends a request of HTTP and reads its reply message by message.
    pub async fn stream(&self, request: &str) -> Stream {
        let mut socket = self.server.connect().await;
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut stream = Stream {
            socket,
            text: String::new(),
            head: None,
            ready: VecDeque::new(),
            is_over: false,
        };
        stream.read_head().await;
        stream
    }
}

/// What a good-natured client answers.
fn answer(method: &Value, params: &Value) -> Value {
    match method.as_str().unwrap_or_default() {
        "elicitation/create" => {
            assert!(params["requestedSchema"].is_object(), "{params}");
            json!({ "action": "accept", "content": { "name": "Ada", "ok": true, "confirm": true } })
        }
        "sampling/createMessage" => json!({
            "role": "assistant", "model": "m", "content": { "type": "text", "text": "Paris" }
        }),
        "roots/list" => json!({ "roots": [{ "uri": "file:///tmp" }] }),
        other => panic!("the server asks `{other}`"),
    }
}

/// A reply that comes message by message, as one object or as events.
pub struct Stream {
    pub socket: TcpStream,
    text: String,
    head: Option<Reply>,
    ready: VecDeque<Value>,
    is_over: bool,
}

impl Stream {
    pub fn head(&self) -> &Reply {
        self.head.as_ref().expect("the head was read")
    }

    pub fn is_events(&self) -> bool {
        self.head().header("content-type") == Some("text/event-stream")
    }

    async fn read_head(&mut self) {
        while !self.text.contains("\r\n\r\n") {
            assert!(self.read().await, "closed before the head: {}", self.text);
        }
        let (head, rest) = self.text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        self.head = Some(Reply {
            status,
            head: head.to_owned(),
            body: String::new(),
        });
        self.text = rest.to_owned();
    }

    async fn read(&mut self) -> bool {
        let mut part = [0; 8192];
        let count = within(self.socket.read(&mut part)).await.unwrap_or(0);
        self.text.push_str(&String::from_utf8_lossy(&part[..count]));
        count > 0
    }

    /// Gives the next message; `None` at the end of the reply.
    pub async fn next(&mut self) -> Option<Value> {
        if let Some(message) = self.ready.pop_front() {
            return Some(message);
        }
        if self.is_over {
            return None;
        }
        if !self.is_events() {
            self.is_over = true;
            let length: usize = self.head().header("content-length")?.parse().unwrap();
            while self.text.len() < length {
                assert!(self.read().await, "closed within the body");
            }
            let body = std::mem::take(&mut self.text);
            return (!body.is_empty()).then(|| serde_json::from_str(&body).unwrap());
        }
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                self.ready
                    .extend(data.map(|data| serde_json::from_str::<Value>(data).unwrap()));
                self.text = rest.to_owned();
            }
            if let Some(message) = self.ready.pop_front() {
                return Some(message);
            }
            let is_empty = self.head().header("content-length") == Some("0");
            self.is_over = is_empty || self.text.ends_with("0\r\n\r\n");
            if self.is_over || !self.read().await {
                return None;
            }
        }
    }
}
