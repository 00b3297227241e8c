//! Serves metrics on their own address: one path, and one request per connection.

use std::{convert::Infallible, sync::Arc, time::Duration};

use anyhow::bail;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    http::request::Parts,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use mcp_protocol::http::AllowedHosts;
use server_config::{Http, Metrics};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};

use super::{Sources, text};
use crate::{announce, listen::Listeners};

/// How long to wait before accepting again when the system has no descriptors left.
const BACK_OFF: Duration = Duration::from_millis(50);

const PATH: &str = "/metrics";

/// The sockets, and the limits of requests on them.
pub(super) struct Endpoint {
    listeners: Listeners,
    terms: Asking,
}

/// Which requests are answered, how many at once, and for how long.
struct Asking {
    slots: Arc<Semaphore>,
    /// Web pages that reach the server under their own host name (DNS rebinding) are refused,
    /// unless other machines may ask anyway.
    hosts: AllowedHosts,
    header_timeout: Duration,
    /// The time for a whole request and its response.
    timeout: Duration,
}

impl Endpoint {
    pub(super) async fn bind(terms: &Metrics, http: &Http) -> anyhow::Result<Self> {
        let listeners = Listeners::bind(&terms.address, "metrics.address").await?;
        if !terms.allow_remote && !listeners.only_loopback() {
            bail!(
                "metrics.address: other machines reach {}, and whoever reaches it reads the metrics; use localhost:9187, or set metrics.allow_remote: true",
                terms.address
            );
        }
        for address in listeners.addresses() {
            announce!("Metrics on http://{address}{PATH}");
        }
        let terms = Asking {
            slots: Arc::new(Semaphore::new(terms.max_connections)),
            hosts: match terms.allow_remote {
                true => AllowedHosts::Any,
                false => AllowedHosts::LoopbackAnd(http.allowed_hosts.clone()),
            },
            header_timeout: http.header_timeout,
            timeout: http.header_timeout + http.write_timeout,
        };
        Ok(Endpoint { listeners, terms })
    }

    /// Serves for as long as it is polled; dropping it closes all connections.
    pub(super) async fn serve(self, sources: Arc<Sources>) -> Infallible {
        let Endpoint { listeners, terms } = self;
        let terms = Arc::new(terms);
        let mut accepting = JoinSet::new();
        for socket in listeners.sockets {
            accepting.spawn(accept(socket, terms.clone(), sources.clone()));
        }
        std::future::pending().await
    }
}

async fn accept(socket: TcpListener, terms: Arc<Asking>, sources: Arc<Sources>) {
    let mut connections = JoinSet::new();
    loop {
        match socket.accept().await {
            Ok((stream, _)) => {
                // The slot is taken only once somebody asks, because another socket may need it.
                let slot = Arc::clone(&terms.slots).acquire_owned().await;
                let slot = slot.expect("nobody closes the semaphore");
                let (terms, sources) = (terms.clone(), sources.clone());
                connections.spawn(async move {
                    let answer = answer(stream, &terms, sources, Arc::new(slot));
                    // A client that went away or took too long will ask again.
                    let _ended = tokio::time::timeout(terms.timeout, answer).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "failed to accept a connection for metrics");
                tokio::time::sleep(BACK_OFF).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(
    stream: TcpStream,
    terms: &Asking,
    sources: Arc<Sources>,
    slot: Arc<OwnedSemaphorePermit>,
) -> Result<(), hyper::Error> {
    let respond = service_fn(async |request: Request<Incoming>| {
        let answer = match terms.refuse(&request.into_parts().0) {
            Some(refused) => refused,
            None => metrics(sources.clone(), slot.clone()).await,
        };
        Ok::<_, Infallible>(answer)
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(terms.header_timeout)
        .max_buf_size(16 * 1024)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), respond)
        .await
}

impl Asking {
    /// Returns the response to a request that is refused, or `None` if it may have the metrics.
    fn refuse(&self, request: &Parts) -> Option<Response<Full<Bytes>>> {
        if !self.hosts.takes(request) {
            return Some(told(StatusCode::FORBIDDEN, "this host is not allowed"));
        }
        if request.uri.path() != PATH {
            return Some(told(StatusCode::NOT_FOUND, "metrics are at /metrics"));
        }
        if !matches!(request.method, Method::GET | Method::HEAD) {
            let mut refused = told(StatusCode::METHOD_NOT_ALLOWED, "this is to be read only");
            let methods = HeaderValue::from_static("GET, HEAD");
            refused.headers_mut().insert(ALLOW, methods);
            return Some(refused);
        }
        None
    }
}

/// Writes the metrics apart from the threads that serve: with many tokens that takes milliseconds.
/// The connection's slot is given back when this is done, even if the client did not wait for it.
async fn metrics(sources: Arc<Sources>, slot: Arc<OwnedSemaphorePermit>) -> Response<Full<Bytes>> {
    let writing = tokio::task::spawn_blocking(move || {
        let written = sources.text();
        drop(slot);
        written
    });
    let Ok(written) = writing.await else {
        return told(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the metrics could not be written",
        );
    };
    let mut answer = Response::new(written.into());
    let kind = HeaderValue::from_static(text::CONTENT_TYPE);
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

fn told(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut told = Response::new(Full::from(text));
    *told.status_mut() = status;
    told
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::metrics::Loads;
    use pg_tools::{Settings, Toolbox};
    use session_pool::{Limits, Sessions};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn each_address_answers_however_few_connections_there_may_be() {
        let sources = Sources {
            started: std::time::SystemTime::now(),
            counters: Toolbox::new(Settings::default()).unwrap().counters(),
            sessions: Sessions::new([], Limits::default()),
            configuration: Loads::new(),
            audit: None,
            door: None,
            http: None,
            certificates: None,
        };
        let mut sockets = Vec::new();
        for _ in 0..2 {
            sockets.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let listeners = Listeners { sockets };
        let addresses: Vec<_> = listeners.addresses().collect();
        let endpoint = Endpoint {
            listeners,
            terms: Asking {
                slots: Arc::new(Semaphore::new(1)),
                hosts: AllowedHosts::Any,
                header_timeout: Duration::from_secs(10),
                timeout: Duration::from_secs(20),
            },
        };
        let asking = async {
            // The idle socket must not hold the slot that the other one needs.
            for address in [addresses[1], addresses[1], addresses[0]] {
                let mut stream = TcpStream::connect(address).await.unwrap();
                let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
                stream.write_all(request).await.unwrap();
                let mut answer = String::new();
                let read = stream.read_to_string(&mut answer);
                let read = tokio::time::timeout(Duration::from_secs(10), read).await;
                assert!(read.is_ok(), "{address} does not answer");
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            }
        };
        tokio::select! {
            () = asking => {}
            never = endpoint.serve(Arc::new(sources)) => match never {},
        }
    }
}
