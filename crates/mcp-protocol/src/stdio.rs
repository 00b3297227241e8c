//! One JSON message a line, over a pair of streams.

use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};

use crate::auth::Principal;
use crate::exchange::{Exchange, Step};
use crate::handler::Handler;
use crate::jsonrpc::{self, Failure, Id, Message, Notification, Payload, Request};
use crate::params::{self, Params};
use crate::revision::Revision;
use crate::service::{Scope, Service};

/// The limits of the stdio transport.
#[derive(Clone, Debug)]
pub struct Options {
    /// The longest line in bytes; longer ones are skipped.
    pub max_line_bytes: usize,
    /// How many requests run at once; further ones are answered with an error.
    pub max_requests: usize,
    /// How long running requests may go on after the end of the input.
    pub drain_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_line_bytes: 1024 * 1024,
            max_requests: 64,
            drain_timeout: Duration::from_secs(5),
        }
    }
}

/// Serves one client, as `principal`, until its input ends or the principal is revoked. Requests run
/// concurrently; only messages are written.
///
/// # Errors
///
/// Fails when reading or writing fails.
pub async fn serve<H: Handler>(
    reader: impl AsyncRead + Unpin + Send,
    writer: impl AsyncWrite + Unpin + Send,
    service: Arc<Service<H>>,
    principal: H::Principal,
    options: Options,
) -> io::Result<()> {
    let revoked = principal.clone();
    let mut lines = Lines::new(reader, options.max_line_bytes);
    let mut output = Output::new(writer);
    let mut peer = Peer {
        service,
        principal,
        options,
        revision: None,
        running: Vec::new(),
    };
    let converse = async {
        loop {
            // No branch loses anything when another one is taken.
            tokio::select! {
                written = output.write(), if output.is_waiting() => written?,
                message = peer.step(), if !peer.running.is_empty() && !output.is_full() => {
                    output.push(&message);
                }
                line = lines.next() => match line? {
                    Some(line) => peer.take(&line, &mut output),
                    None => break,
                }
            }
        }
        let drain_timeout = peer.options.drain_timeout;
        let finish = async {
            while !peer.running.is_empty() {
                output.push(&peer.step().await);
            }
            while output.is_waiting() {
                output.write().await?;
            }
            Ok(())
        };
        tokio::time::timeout(drain_timeout, finish)
            .await
            .unwrap_or(Ok(()))
    };
    tokio::select! {
        biased;
        () = revoked.revoked() => Ok(()),
        ended = converse => ended,
    }
}

/// The other side, and what runs for it.
struct Peer<H: Handler> {
    service: Arc<Service<H>>,
    principal: H::Principal,
    options: Options,
    /// What `initialize` agreed on.
    revision: Option<Revision>,
    running: Vec<(Id, Exchange)>,
}

impl<H: Handler> Peer<H> {
    fn take<W>(&mut self, line: &[u8], output: &mut Output<W>) {
        match jsonrpc::read(line) {
            Ok(Payload::Single(Ok(Message::Request(request)))) => self.start(request, output),
            Ok(Payload::Single(Ok(Message::Notification(note)))) => self.note(&note),
            Ok(Payload::Single(Ok(Message::Response(response)))) => {
                tracing::debug!(id = ?response.id, ok = response.outcome.is_ok(), "dropped a response to nothing");
            }
            Ok(Payload::Single(Err(rejected))) if rejected.id.is_some() => {
                output.push(&jsonrpc::write_failure(
                    rejected.id.as_ref(),
                    &rejected.failure,
                ));
            }
            Ok(Payload::Single(Err(jsonrpc::Rejected { failure, .. }))) | Err(failure) => {
                tracing::warn!(reason = %failure.message, "skipped a line that is not a message");
            }
            Ok(Payload::Batch(entries)) => {
                tracing::warn!(
                    entries = entries.len(),
                    "skipped a batch; this revision has none"
                );
            }
        }
    }

    fn start<W>(&mut self, request: Request, output: &mut Output<W>) {
        if self.running.len() >= self.options.max_requests {
            let failure = Failure::new(jsonrpc::INTERNAL_ERROR, "too many requests run at once");
            output.push(&jsonrpc::write_failure(Some(&request.id), &failure));
            return;
        }
        if request.method == "initialize" {
            self.revision = asked_revision(&request).or(self.revision);
        }
        let revision = self.revision.unwrap_or(Revision::V2024_11_05);
        let scope = Scope {
            principal: self.principal.clone(),
            revision,
        };
        self.running
            .push((request.id.clone(), self.service.start(request, scope)));
    }

    fn note(&mut self, note: &Notification) {
        if note.method == "notifications/cancelled"
            && let Ok(params) = Params::read(note.params.as_deref())
            && let Some(id) = params.request_id.and_then(Id::read)
        {
            self.running.retain(|(running, _)| *running != id);
        }
    }

    /// Runs all requests until one of them says something.
    async fn step(&mut self) -> Vec<u8> {
        std::future::poll_fn(|context| {
            for index in 0..self.running.len() {
                let (_, exchange) = &mut self.running[index];
                match exchange.poll_step(context) {
                    Poll::Ready(Step::Sent(message)) => return Poll::Ready(message.into()),
                    Poll::Ready(Step::Done(answer)) => {
                        self.running.swap_remove(index);
                        return Poll::Ready(answer.message.into());
                    }
                    Poll::Pending => {}
                }
            }
            Poll::Pending
        })
        .await
    }
}

fn asked_revision(request: &Request) -> Option<Revision> {
    let params = Params::read(request.params.as_deref()).ok()?;
    let asked = params::optional::<String>("protocolVersion", params.protocol_version).ok()??;
    Some(Revision::negotiate(&asked))
}

/// Lines of bounded length. Reading one may be broken off and taken up again.
struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
    limit: usize,
    /// The line was too long; the rest of it is skipped.
    skipping: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    fn new(reader: R, limit: usize) -> Self {
        Self {
            reader: BufReader::new(reader),
            line: Vec::new(),
            limit,
            skipping: false,
        }
    }

    /// Reads the next line that is not blank; `None` at the end of the input.
    async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let bytes = self.reader.fill_buf().await?;
            let at_end = bytes.is_empty();
            let break_at = bytes.iter().position(|byte| *byte == b'\n');
            let part = &bytes[..break_at.unwrap_or(bytes.len())];
            if self.line.len() + part.len() > self.limit {
                self.skipping = true;
                self.line.clear();
            }
            if !self.skipping {
                self.line.extend_from_slice(part);
            }
            let consumed = break_at.map_or(bytes.len(), |position| position + 1);
            self.reader.consume(consumed);
            if !at_end && break_at.is_none() {
                continue;
            }
            if std::mem::take(&mut self.skipping) {
                tracing::warn!(limit = self.limit, "skipped a line that is too long");
            }
            let line = std::mem::take(&mut self.line);
            if !line.trim_ascii().is_empty() {
                return Ok(Some(line));
            }
            if at_end {
                return Ok(None);
            }
        }
    }
}

/// The one writer. Writing may be broken off and taken up again.
struct Output<W> {
    writer: W,
    waiting: Vec<u8>,
    written: usize,
    flushed: bool,
}

/// How many bytes wait for a slow reader before running requests wait too.
const MAX_WAITING_BYTES: usize = 4 * 1024 * 1024;

impl<W> Output<W> {
    fn new(writer: W) -> Self {
        Self {
            writer,
            waiting: Vec::new(),
            written: 0,
            flushed: true,
        }
    }

    fn push(&mut self, message: &[u8]) {
        jsonrpc::append_line(&mut self.waiting, message);
        self.waiting.push(b'\n');
        self.flushed = false;
    }

    fn is_waiting(&self) -> bool {
        !self.flushed
    }

    fn is_full(&self) -> bool {
        self.waiting.len() - self.written > MAX_WAITING_BYTES
    }
}

impl<W: AsyncWrite + Unpin> Output<W> {
    /// Writes some of what waits.
    async fn write(&mut self) -> io::Result<()> {
        if self.written < self.waiting.len() {
            let count = self.writer.write(&self.waiting[self.written..]).await?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.written += count;
            return Ok(());
        }
        self.writer.flush().await?;
        self.waiting.clear();
        self.written = 0;
        self.flushed = true;
        Ok(())
    }
}
