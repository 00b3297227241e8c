//! The yardstick: bare hyper and tokio-postgres, one token's hash and look-up, one round trip.
//!
//! `--mode constant` responds with a constant of `--bytes` bytes, `--mode unsafe` runs any SQL that it is given,
//! `--mode safe` does so in a read-only transaction with `DISCARD ALL`, pipelined.

use std::{collections::HashMap, convert::Infallible, sync::Arc};

use bench::Arguments;
use bytes::{BufMut, Bytes, BytesMut};
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, header, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio_postgres::{
    Error, NoTls, Row,
    types::{FromSql, Type},
};

const CONNECTIONS: usize = 8;

struct Ideal {
    tokens: HashMap<[u8; 32], Pool>,
    is_safe: bool,
    constant: Option<Bytes>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow)]
    params: Params<'a>,
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    arguments: Query<'a>,
}

#[derive(Deserialize)]
struct Query<'a> {
    #[serde(borrow)]
    query: std::borrow::Cow<'a, str>,
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::of_process();
    let mode = arguments.text("--mode", "unsafe");
    let bytes = usize::try_from(arguments.number("--bytes", 1_000)).expect("a size");
    let config: tokio_postgres::Config = arguments.text("--pg", "").parse().expect("a connection");
    let recycling_method = RecyclingMethod::Fast;
    let manager = Manager::from_config(config, NoTls, ManagerConfig { recycling_method });
    let pool = Pool::builder(manager)
        .max_size(CONNECTIONS)
        .build()
        .expect("a pool");
    let token = Sha256::digest(arguments.text("--token", "token")).into();
    let ideal = Arc::new(Ideal {
        tokens: HashMap::from([(token, pool)]),
        is_safe: mode == "safe",
        constant: (mode == "constant").then(|| vec![b'x'; bytes].into()),
    });
    let address = arguments.text("--listen", "127.0.0.1:0");
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .expect("an address");
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        _ = stream.set_nodelay(true);
        let ideal = ideal.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let ideal = ideal.clone();
                async move { Ok::<_, Infallible>(ideal.answer(request).await) }
            });
            _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

impl Ideal {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        let body = match &self.constant {
            Some(constant) => constant.clone(),
            None => self.call(&head.headers, &body).await,
        };
        let mut response = Response::new(Full::new(body));
        let json = header::HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }

    async fn call(&self, headers: &header::HeaderMap, body: &[u8]) -> Bytes {
        let presented = headers
            .get(header::AUTHORIZATION)
            .expect("a token")
            .as_bytes();
        let presented = presented.strip_prefix(b"Bearer ").expect("a bearer");
        let hash: [u8; 32] = Sha256::digest(presented).into();
        let pool = self.tokens.get(&hash).expect("a known token");
        let message: Message<'_> = serde_json::from_slice(body).expect("a call");
        let rows = self
            .run(pool, &message.params.arguments.query)
            .await
            .expect("rows");
        let mut out = BytesMut::with_capacity(1024);
        out.put_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
        out.put_slice(message.id.get().as_bytes());
        out.put_slice(b",\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"");
        put_rows(&mut out, &rows);
        out.put_slice(b"\"}]}}");
        out.freeze()
    }

    async fn run(&self, pool: &Pool, query: &str) -> Result<Vec<Row>, Error> {
        let client = pool.get().await.expect("a connection");
        if !self.is_safe {
            return client.query_typed(query, &[]).await;
        }
        let (begun, rows, ended, discarded) = futures_util::future::join4(
            client.batch_execute("BEGIN READ ONLY"),
            client.query_typed(query, &[]),
            client.batch_execute("ROLLBACK"),
            client.batch_execute("DISCARD ALL"),
        )
        .await;
        begun.and(ended).and(discarded).and(rows)
    }
}

struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Raw(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Writes rows as JSON inside a JSON string; the values need no escapes.
fn put_rows(out: &mut BytesMut, rows: &[Row]) {
    out.put_u8(b'[');
    for (index, row) in rows.iter().enumerate() {
        out.put_slice(if index > 0 { b",{" } else { b"{" });
        for (index, column) in row.columns().iter().enumerate() {
            if index > 0 {
                out.put_u8(b',');
            }
            out.put_slice(b"\\\"");
            out.put_slice(column.name().as_bytes());
            out.put_slice(b"\\\":");
            put_value(out, column.type_(), row.get::<_, Raw<'_>>(index).0);
        }
        out.put_u8(b'}');
    }
    out.put_u8(b']');
}

fn put_value(out: &mut BytesMut, kind: &Type, value: &[u8]) {
    let eight = || value.try_into().expect("eight bytes");
    match *kind {
        Type::INT4 => {
            let number = i32::from_be_bytes(value.try_into().expect("four bytes"));
            out.put_slice(itoa::Buffer::new().format(number).as_bytes());
        }
        Type::FLOAT8 => {
            let number = f64::from_be_bytes(eight());
            out.put_slice(zmij::Buffer::new().format(number).as_bytes());
        }
        Type::TIMESTAMPTZ => {
            const UNTIL_2000: i64 = 946_684_800_000_000;
            let micros = i128::from(i64::from_be_bytes(eight()) + UNTIL_2000);
            let at = OffsetDateTime::from_unix_timestamp_nanos(micros * 1_000).expect("a time");
            put_text(out, at.format(&Rfc3339).expect("a time").as_bytes());
        }
        _ => put_text(out, value),
    }
}

fn put_text(out: &mut BytesMut, text: &[u8]) {
    out.put_slice(b"\\\"");
    out.put_slice(text);
    out.put_slice(b"\\\"");
}
