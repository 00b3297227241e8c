//! The server that the official conformance suite asks for: its tools, resources and prompts, behind
//! the same service and the same HTTP endpoint as any other handler.
//!
//! `cargo run -p mcp-protocol --example conformance -- --addr 127.0.0.1:3512 [--bearer TOKEN]`
//!
//! `GET /health` reports how many requests were refused for their credentials, so that a run with a token can be
//! checked to have met no refusal.
#![allow(clippy::print_stderr)] // A program that a person starts in a terminal.

mod fixtures;
mod prompts;
mod resources;
mod tools;

use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mcp_protocol::{Authenticate, Credentials, Principal, Refusal, Service, http};
use tokio::net::TcpListener;

use crate::fixtures::Fixtures;

/// Whoever knows the token, or anyone if there is none.
#[derive(Clone, Debug)]
struct Tester;

impl Principal for Tester {
    fn name(&self) -> &str {
        "tester"
    }

    async fn revoked(&self) {
        std::future::pending().await
    }
}

#[derive(Debug)]
struct Gate {
    bearer: Option<String>,
    refused: Arc<AtomicU64>,
}

impl Authenticate for Gate {
    type Principal = Tester;

    async fn authenticate(&self, sent: Credentials<'_>, _: IpAddr) -> Result<Tester, Refusal> {
        let Some(expected) = &self.bearer else {
            return Ok(Tester);
        };
        let accepted = sent.bearer().and_then(|token| {
            if token == expected {
                Ok(Tester)
            } else {
                Err(Refusal::Unknown)
            }
        });
        accepted.inspect_err(|_| {
            self.refused.fetch_add(1, Ordering::Relaxed);
        })
    }
}

/// What the command line says.
struct Arguments {
    address: String,
    bearer: Option<String>,
}

fn arguments() -> Result<Arguments, String> {
    const USAGE: &str = "usage: conformance --addr 127.0.0.1:PORT [--bearer TOKEN]";
    let (mut address, mut bearer) = (None, None);
    let mut given = std::env::args().skip(1);
    while let Some(flag) = given.next() {
        let value = given
            .next()
            .ok_or_else(|| format!("{flag} needs a value\n{USAGE}"))?;
        match flag.as_str() {
            "--addr" => address = Some(value),
            "--bearer" => bearer = Some(value),
            _ => return Err(format!("unknown flag {flag}\n{USAGE}")),
        }
    }
    Ok(Arguments {
        address: address.ok_or(USAGE)?,
        bearer,
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("conformance: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let Arguments { address, bearer } = arguments()?;
    let refused = Arc::new(AtomicU64::new(0));
    let fixtures = Fixtures::new(Arc::clone(&refused))?;
    let gate = Gate { bearer, refused };
    let server = http::Server::new(
        Arc::new(Service::new(fixtures)),
        gate,
        http::Options::default(),
    );
    let listener = TcpListener::bind(&address).await?;
    eprintln!("listening on http://{}/mcp", listener.local_addr()?);
    server
        .serve(listener, async { drop(tokio::signal::ctrl_c().await) })
        .await;
    Ok(())
}
