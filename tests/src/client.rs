use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

/// The read timeout of a connection; only a hang takes longer.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// HTTP/1.1 by hand: one connection that is kept, and opened again when the server has closed it.
pub struct Client {
    address: SocketAddr,
    source: Option<IpAddr>,
    tls: Option<Arc<ClientConfig>>,
    stream: Option<BufReader<Stream>>,
}

/// A request, written down exactly as it will be sent.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// A response.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers in the order they came, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, without its transfer coding.
    pub body: Vec<u8>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Request {
    /// A request without a body.
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.into(),
            path: path.into(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// A POST of JSON to the endpoint, as all clients send it.
    pub fn json(message: &Value) -> Self {
        Self::new("POST", "/mcp/v1")
            .header("Content-Type", "application/json")
            .body(message.to_string())
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds `Authorization: Bearer`.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// Sets the body; its length is added when the request is sent.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The bytes on the wire. `Host` and, where one is needed, `Content-Length` are added unless they are there.
    pub fn to_bytes(&self, address: SocketAddr) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        let has = |wanted: &str| {
            self.headers
                .iter()
                .any(|(name, _)| name.eq_ignore_ascii_case(wanted))
        };
        if !has("host") {
            head.push_str(&format!("Host: {address}\r\n"));
        }
        let needs_no_length = self.body.is_empty() && self.method == "GET";
        if !(has("content-length") || has("transfer-encoding") || needs_no_length) {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        [head.as_bytes(), &self.body].concat()
    }
}

impl Response {
    /// The value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(header, _)| header == name)?;
        Some(value)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Client {
    /// A client for plain HTTP.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            source: None,
            tls: None,
            stream: None,
        }
    }

    /// Connects from another address of this machine: all of 127.0.0.0/8 are its own.
    #[must_use]
    pub fn calling_from(mut self, source: &str) -> Self {
        self.source = Some(source.parse().expect("an address"));
        self
    }

    /// A client for HTTPS at `localhost` that trusts one certificate, in PEM.
    pub fn with_tls(address: SocketAddr, certificate: &str) -> Self {
        let mut roots = RootCertStore::empty();
        let certificate =
            CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate");
        roots
            .add(certificate)
            .expect("a certificate that can be trusted");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has them")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            address,
            source: None,
            tls: Some(Arc::new(config)),
            stream: None,
        }
    }

    /// Sends a request and reads its response. A connection that the server closed while it was idle is opened again.
    ///
    /// # Errors
    /// When no complete response arrives.
    pub fn send(&mut self, request: &Request) -> io::Result<Response> {
        let bytes = request.to_bytes(self.address);
        if self.stream.is_some() {
            match self.exchange(&bytes) {
                Err(error) if is_closed(&error) => self.stream = None,
                answered => return answered,
            }
        }
        self.exchange(&bytes)
    }

    /// Sends bytes as they are and reads one response.
    ///
    /// # Errors
    /// When no complete response arrives.
    pub fn exchange(&mut self, bytes: &[u8]) -> io::Result<Response> {
        let answered = self.write(bytes).and_then(read_response);
        let stays_open = answered
            .as_ref()
            .is_ok_and(|response| response.header("connection") != Some("close"));
        if !stays_open {
            self.stream = None;
        }
        answered
    }

    /// Sends a request and does not wait for its response.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn send_only(&mut self, request: &Request) -> io::Result<()> {
        let bytes = request.to_bytes(self.address);
        self.write(&bytes).map(|_| ())
    }

    /// Reads a response to what was sent before.
    ///
    /// # Errors
    /// When no complete response arrives.
    pub fn receive(&mut self) -> io::Result<Response> {
        read_response(self.stream.as_mut().expect("something was sent"))
    }

    /// Closes the connection, as a client does that goes away.
    pub fn hang_up(&mut self) {
        self.stream = None;
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<&mut BufReader<Stream>> {
        if self.stream.is_none() {
            self.stream = Some(BufReader::new(self.connect()?));
        }
        let stream = self.stream.as_mut().expect("it was just opened");
        stream.get_mut().write_all(bytes)?;
        stream.get_mut().flush()?;
        Ok(stream)
    }

    fn connect(&self) -> io::Result<Stream> {
        let tcp = match self.source {
            None => TcpStream::connect(self.address)?,
            Some(source) => connect_from(source, self.address)?,
        };
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(ANSWER_LIMIT))?;
        let Some(config) = &self.tls else {
            return Ok(Stream::Plain(tcp));
        };
        let name = ServerName::try_from("localhost").expect("a valid name");
        let connection =
            ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        Ok(Stream::Tls(Box::new(StreamOwned::new(connection, tcp))))
    }
}

/// Connects from an address of this machine.
///
/// # Errors
/// When it is no address of this machine, or nobody listens at `to`.
pub fn connect_from(source: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let family = match to {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = socket(family, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddr::new(source, 0))?;
    connect(&socket, &to)?;
    Ok(socket.into())
}

fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    [
        BrokenPipe,
        ConnectionAborted,
        ConnectionReset,
        UnexpectedEof,
    ]
    .contains(&error.kind())
}

fn read_response(stream: &mut BufReader<Stream>) -> io::Result<Response> {
    let status_line = read_line(stream)?;
    let status = status_line
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| io::Error::other(format!("no status in {status_line:?}")))?;
    let mut response = Response {
        status,
        headers: Vec::new(),
        body: Vec::new(),
    };
    loop {
        let line = read_line(stream)?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        response
            .headers
            .push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    if response.header("transfer-encoding") == Some("chunked") {
        read_chunks(stream, &mut response.body)?;
    } else if let Some(length) = response.header("content-length") {
        let length = length.parse().map_err(io::Error::other)?;
        response.body.resize(length, 0);
        stream.read_exact(&mut response.body)?;
    }
    Ok(response)
}

fn read_chunks(stream: &mut BufReader<Stream>, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let line = read_line(stream)?;
        let length = usize::from_str_radix(&line, 16).map_err(io::Error::other)?;
        let start = body.len();
        body.resize(start + length, 0);
        stream.read_exact(&mut body[start..])?;
        read_line(stream)?;
        if length == 0 {
            return Ok(());
        }
    }
}

fn read_line(stream: &mut BufReader<Stream>) -> io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(buffer),
            Self::Tls(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
