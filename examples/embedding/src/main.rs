//! A shop's service, which speaks MCP on two of its paths and over stdio. `docs/embedding.md` goes through it.

mod door;
mod own;
mod sql;
mod stock;

use std::{
    convert::Infallible,
    env,
    error::Error,
    io::{self, Write},
    net::{IpAddr, Ipv4Addr},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap, Request, Response, StatusCode, body::Incoming, header::AUTHORIZATION,
    server::conn::http1, service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use mcp_protocol::{Service, http, stdio};
use pg_tools::{Allowance, DangerousRoles, Guards, Settings, Toolbox};
use session_pool::{Database, Limits, Sessions, Tls};
use token_store::TokenFile;
use tokio::{net::TcpListener, runtime::Runtime, sync::watch};

use door::Door;
use own::{Holder, OwnTools};
use sql::{Agents, FreeStock};
use stock::Stock;

/// The service: a path of its own, and two of MCP.
struct Shop {
    door: Arc<Door>,
    stock: Arc<Stock>,
    own: http::Server<OwnTools, Arc<Door>>,
    sql: http::Server<Toolbox, Agents>,
}

impl Shop {
    fn new(door: Arc<Door>) -> Result<Self, Box<dyn Error>> {
        let stock = Arc::new(Stock::default());
        let own = Service::new(OwnTools::new(Arc::clone(&stock))?);
        let sql = Service::new(toolbox(Arc::clone(&stock))?);
        let at = |path: &str| http::Options {
            paths: vec![path.to_owned()],
            ..http::Options::default()
        };
        Ok(Self {
            own: http::Server::new(Arc::new(own), Arc::clone(&door), at("/mcp")),
            sql: http::Server::new(
                Arc::new(sql),
                Agents::behind(Arc::clone(&door)),
                at("/sql/mcp"),
            ),
            door,
            stock,
        })
    }

    async fn respond(
        &self,
        request: Request<Incoming>,
        peer: IpAddr,
        closing: watch::Receiver<bool>,
    ) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
        match request.uri().path() {
            "/mcp" => {
                let reply = self.own.respond(request, peer, closing).await;
                reply.map(BodyExt::boxed_unsync)
            }
            "/sql/mcp" => {
                let reply = self.sql.respond(request, peer, closing).await;
                reply.map(BodyExt::boxed_unsync)
            }
            path => {
                let status = match path.strip_prefix("/reserve/") {
                    Some(sku) => self.reserve(sku, request.headers(), peer).await,
                    None => StatusCode::NOT_FOUND,
                };
                let mut reply = Response::new(Full::default().boxed_unsync());
                *reply.status_mut() = status;
                reply
            }
        }
    }

    /// A path of the service's own, for the same tokens.
    async fn reserve(&self, sku: &str, headers: &HeaderMap, peer: IpAddr) -> StatusCode {
        let sent = headers
            .get(AUTHORIZATION)
            .and_then(|sent| sent.to_str().ok());
        let token = sent.and_then(|sent| sent.strip_prefix("Bearer "));
        match self.door.admit(token.unwrap_or_default(), peer).await {
            Ok(_) => {
                self.stock.reserve(sku);
                StatusCode::NO_CONTENT
            }
            Err(_) => StatusCode::UNAUTHORIZED,
        }
    }
}

/// The tools for PostgreSQL, with the service's own behind them.
fn toolbox(stock: Arc<Stock>) -> Result<Toolbox, Box<dyn Error>> {
    let mut settings = Settings::default();
    settings.own_tools.push(Arc::new(FreeStock::new(stock)?));
    settings.guards = Arc::new(Guards::new([Allowance {
        database: "shop".into(),
        dangerous: DangerousRoles::RefuseExcept(None),
        ..Allowance::default()
    }]));
    let toolbox = Toolbox::new(settings)?;
    Ok(toolbox.with_server(|server| server.name = "shop-service".into()))
}

/// Serves until somebody presses Ctrl-C.
async fn over_http(shop: Arc<Shop>, listener: TcpListener) -> io::Result<()> {
    let (close, closing) = watch::channel(false);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            pressed = tokio::signal::ctrl_c() => {
                // Ends streams, which would go on for as long as their clients like.
                close.send_replace(true);
                return pressed;
            }
        };
        let Ok((stream, peer)) = accepted else {
            // There are no files left, say.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (shop, closing) = (Arc::clone(&shop), closing.clone());
        let respond = service_fn(move |request| {
            let (shop, closing) = (Arc::clone(&shop), closing.clone());
            async move { Ok::<_, Infallible>(shop.respond(request, peer.ip(), closing).await) }
        });
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), respond);
        tokio::spawn(serving);
    }
}

/// Serves the program that started this one, which has left a token in the environment.
async fn over_stdio(door: &Door) -> Result<(), Box<dyn Error>> {
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let holder = Holder::from(door.admit(&env::var("SHOP_TOKEN")?, here).await?);
    let service = Arc::new(Service::new(OwnTools::new(Arc::default())?));
    let stop = async { _ = tokio::signal::ctrl_c().await };
    stdio::serve(
        tokio::io::stdin(),
        tokio::io::stdout(),
        service,
        holder,
        stdio::Options::default(),
        stop,
    )
    .await?;
    Ok(())
}

async fn run() -> Result<(), Box<dyn Error>> {
    let config = env::var("SHOP_DATABASE")?.parse()?;
    let shop = Database::new("shop", config, Tls::disabled());
    let sessions = Sessions::new([shop], Limits::default());
    let tokens = TokenFile::new(env::var("SHOP_TOKENS")?);
    let door = Door::open(tokens, sessions.clone())?;
    match env::args().nth(1) {
        None => over_stdio(&door).await?,
        Some(address) => {
            let listener = TcpListener::bind(address).await?;
            let address = listener.local_addr()?;
            writeln!(io::stdout(), "serving on http://{address}")?;
            over_http(Arc::new(Shop::new(Arc::new(door))?), listener).await?;
        }
    }
    // What still runs is cancelled in PostgreSQL, too.
    sessions.finish().await;
    Ok(())
}

fn main() -> ExitCode {
    // Over stdio, standard output belongs to the protocol.
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let runtime = Runtime::new().expect("the system gives threads");
    let ended = runtime.block_on(run());
    // Not dropped: that would wait for a read of standard input, which nothing ends.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the service has failed");
            ExitCode::FAILURE
        }
    }
}
