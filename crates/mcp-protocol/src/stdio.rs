//! One JSON message per line, over a pair of streams.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;

use crate::auth::Principal;
use crate::exchange::{Exchange, LAST_WORDS, Step};
use crate::handler::Handler;
use crate::jsonrpc::{self, Failure, Id, Message, Payload, Rejected, Request};
use crate::lines::{Line, Lines};
use crate::service::{self, Arrival, Channel, Conversation, Service};

/// The limits of the stdio transport.
#[derive(Clone, Debug)]
pub struct Options {
    /// The longest line in bytes. A longer request is refused, and anything else that is longer is
    /// skipped.
    pub max_line_bytes: usize,
    /// How many requests may run at once; further ones are answered with an error.
    pub max_requests: usize,
    /// How long running requests may go on after the end of the input; after that they are answered
    /// with an error.
    pub drain_timeout: Duration,
    /// How long they may go on once the server is told to stop. Clients kill a server that has not
    /// ended two seconds after SIGTERM.
    pub stop_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_line_bytes: 1024 * 1024,
            max_requests: 64,
            drain_timeout: Duration::from_secs(5),
            stop_timeout: Duration::from_secs(1),
        }
    }
}

/// Serves one client, as `principal`, until its input ends, `shutdown` completes or the principal
/// loses its rights. Requests run concurrently, and their messages are written one at a time.
/// Requests that still run at the end may go on for as long as the options say, and are then
/// answered with an error.
///
/// tokio reads standard input in a thread that cannot be ended, and a runtime that is dropped, as
/// `tokio::main` does, waits for that thread. So a program whose principal may lose its rights, or
/// that is told to stop, must end with
/// [`Runtime::shutdown_background`](tokio::runtime::Runtime::shutdown_background) instead.
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
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let revoked = principal.clone();
    let mut lines = Lines::new(reader, options.max_line_bytes);
    let mut output = Output::new(writer);
    let mut peer = Peer::new(service, principal, options);
    let converse = async {
        let mut shutdown = pin!(shutdown);
        let is_told_to_stop = tokio::select! {
            heard = hear_all(&mut peer, &mut lines, &mut output) => heard.map(|()| false)?,
            () = &mut shutdown => true,
        };
        peer.close();
        let (drain_timeout, stop_timeout) = (peer.options.drain_timeout, peer.options.stop_timeout);
        let out_of_time = async {
            if !is_told_to_stop && tokio::time::timeout(drain_timeout, shutdown).await.is_err() {
                return;
            }
            tokio::time::sleep(stop_timeout).await;
        };
        tokio::select! {
            finished = finish(&mut peer, &mut output) => return finished,
            () = out_of_time => {}
        }
        tracing::warn!("requests that did not end in time are answered with an error");
        peer.stop();
        let last_words = tokio::time::timeout(LAST_WORDS, finish(&mut peer, &mut output));
        last_words.await.unwrap_or(Ok(()))
    };
    tokio::select! {
        biased;
        () = revoked.revoked() => Ok(()),
        ended = converse => ended,
    }
}

/// Reads what comes and writes what is to be said, until the end of the input.
async fn hear_all<H: Handler>(
    peer: &mut Peer<H>,
    lines: &mut Lines<impl AsyncRead + Unpin>,
    output: &mut Output<impl AsyncWrite + Unpin>,
) -> io::Result<()> {
    loop {
        peer.hear(output);
        // No branch loses anything when another is taken.
        tokio::select! {
            written = output.write(), if output.is_waiting() => written?,
            said = peer.step(), if !output.is_full() => output.push_all(said),
            line = lines.next(), if peer.unheard.has_room() => match line? {
                Some(line) => peer.unheard.push(line),
                None => return Ok(()),
            }
        }
    }
}

/// Finishes everything, and writes all of it.
async fn finish<H: Handler, W: AsyncWrite + Unpin>(
    peer: &mut Peer<H>,
    output: &mut Output<W>,
) -> io::Result<()> {
    loop {
        peer.hear(output);
        if peer.running.is_empty() && !output.is_waiting() {
            return Ok(());
        }
        let may_say = !peer.running.is_empty() && !output.is_full();
        tokio::select! {
            written = output.write(), if output.is_waiting() => written?,
            said = peer.step(), if may_say => output.push_all(said),
        }
    }
}

/// The client, and what runs for it.
struct Peer<H: Handler> {
    service: Arc<Service<H>>,
    principal: H::Principal,
    options: Options,
    conversation: Conversation,
    /// The changes that a session subscribed to.
    unsolicited: Exchange,
    unheard: Unheard,
    /// In order of arrival, so that `initialize` comes before what relies on it.
    running: Vec<Running>,
    closing: watch::Sender<bool>,
    /// Notified when requests in batches have no more time.
    stopping: watch::Sender<bool>,
}

/// Something that runs for the client.
enum Running {
    One(Id, Exchange),
    /// A batch of this many requests, and the answers that it has so far.
    Batch(
        usize,
        Pin<Box<dyn Future<Output = Vec<Option<Bytes>>> + Send>>,
    ),
}

impl<H: Handler> Peer<H> {
    fn new(service: Arc<Service<H>>, principal: H::Principal, options: Options) -> Self {
        let conversation = Conversation::default();
        let unsolicited = service.unsolicited(conversation.clone(), principal.clone());
        let (closing, stopping) = (watch::channel(false).0, watch::channel(false).0);
        Self {
            service,
            principal,
            options,
            conversation,
            unsolicited,
            unheard: Unheard::default(),
            running: Vec::new(),
            closing,
            stopping,
        }
    }

    /// Takes the lines that came, as long as there is room for their answers. Refusals are answers
    /// as well, so a client that does not read is not listened to.
    fn hear<W>(&mut self, output: &mut Output<W>) {
        while !output.is_full()
            && let Some(line) = self.unheard.pop()
        {
            match line {
                Line::Whole(line) => self.take(&line, output),
                Line::TooLong(id) => self.refuse_too_long(id, output),
            }
        }
    }

    fn take<W>(&mut self, line: &[u8], output: &mut Output<W>) {
        match jsonrpc::read(line) {
            Ok(Payload::Single(Ok(Message::Request(request)))) => self.start(request, output),
            Ok(Payload::Single(Ok(message))) => {
                if let Err(refused) = self.take_silently(message) {
                    tracing::debug!(reason = %refused.message, "dropped a message");
                }
            }
            Ok(Payload::Single(Err(rejected))) if rejected.id.is_some() => {
                output.push(&rejected.write());
            }
            Ok(Payload::Single(Err(Rejected { failure, .. }))) | Err(failure) => {
                tracing::warn!(reason = %failure.message, "skipped a line that is not a message");
            }
            Ok(Payload::Batch(entries)) => self.start_batch(entries, output),
        }
    }

    fn refuse_too_long<W>(&self, id: Option<Id>, output: &mut Output<W>) {
        let limit = self.options.max_line_bytes;
        tracing::warn!(limit, "skipped a line that is too long");
        if id.is_some() {
            let message = format!("the message is longer than {limit} bytes; send less at once");
            output.push(&jsonrpc::write_failure(
                id.as_ref(),
                &Failure::malformed(message),
            ));
        }
    }

    fn start<W>(&mut self, request: Request, output: &mut Output<W>) {
        if self.has_no_room_for(1) {
            output.push(&too_many(&request.id));
            return;
        }
        let id = request.id.clone();
        let principal = self.principal.clone();
        let exchange = self.service.start(request, principal, self.arrival());
        self.begin(Running::One(id, exchange), output);
    }

    /// Runs something until it first waits: the next line may rely on it, or cancel it.
    fn begin<W>(&mut self, mut running: Running, output: &mut Output<W>) {
        // Whoever waits polls everything that was started before.
        match running.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Said::Last(message)) => return output.push_all(message),
            Poll::Ready(Said::Message(message)) => output.push(&message),
            Poll::Pending => {}
        }
        self.running.push(running);
    }

    fn start_batch<W>(&mut self, entries: Vec<Result<Message, Rejected>>, output: &mut Output<W>) {
        let revision = self.conversation.session().map(|session| session.revision);
        if let Err(failure) = self.service.check_batch(revision, entries.len()) {
            output.push(&jsonrpc::write_failure(None, &failure));
            return;
        }
        let mut answers = Vec::new();
        let mut requests = 0;
        for entry in entries {
            answers.push(match entry {
                Ok(Message::Request(request)) if self.has_no_room_for(requests + 1) => {
                    std::future::ready(Some(too_many(&request.id).into())).boxed()
                }
                Ok(Message::Request(request)) => {
                    requests += 1;
                    let (service, arrival) = (Arc::clone(&self.service), self.arrival());
                    let principal = self.principal.clone();
                    let mut stopping = self.stopping.subscribe();
                    let stop = async move {
                        // An error means that the sender is gone, and then nobody polls this either.
                        let _told = stopping.wait_for(|is_stopping| *is_stopping).await;
                    };
                    async move {
                        service
                            .answer_in_batch(request, principal, arrival, stop)
                            .await
                            .message
                    }
                    .boxed()
                }
                Ok(message) => {
                    let refused = self.take_silently(message).err();
                    let refused = refused.map(|one| jsonrpc::write_failure(None, &one).into());
                    std::future::ready(refused).boxed()
                }
                Err(rejected) => std::future::ready(Some(rejected.write().into())).boxed(),
            });
        }
        let batch = Running::Batch(requests, join_all(answers).boxed());
        self.begin(batch, output);
    }

    fn has_no_room_for(&self, requests: usize) -> bool {
        let running: usize = self.running.iter().map(Running::requests).sum();
        running + requests > self.options.max_requests
    }

    fn arrival(&self) -> Arrival {
        Arrival {
            channel: Channel::Stdio(self.conversation.clone()),
            closing: Some(self.closing.subscribe()),
        }
    }

    /// Handles a message that gets no response.
    fn take_silently(&mut self, message: Message) -> Result<(), Failure> {
        match message {
            Message::Notification(note) => {
                if let Some(id) = service::cancelled(&note) {
                    self.running
                        .retain(|one| !matches!(one, Running::One(other, _) if *other == id));
                    if let Some(session) = self.conversation.session() {
                        // It may belong to a batch, whose other requests go on.
                        session.cancel(&id);
                    }
                }
                Ok(())
            }
            Message::Response(response) => {
                Service::<H>::settle(self.conversation.session().as_deref(), response)
            }
            Message::Request(_) => Err(Failure::internal()),
        }
    }

    /// Ends streams that would never end by themselves.
    fn close(&mut self) {
        self.closing.send_replace(true);
    }

    /// Drops what still runs, and answers that there is no more time.
    fn stop(&mut self) {
        for running in &mut self.running {
            if let Running::One(_, exchange) = running {
                exchange.stop();
            }
        }
        self.stopping.send_replace(true);
    }

    /// Runs everything until there is something to say, or something has ended silently.
    async fn step(&mut self) -> Option<Vec<u8>> {
        std::future::poll_fn(|context| {
            let mut index = 0;
            while index < self.running.len() {
                match self.running[index].poll(context) {
                    Poll::Ready(Said::Message(message)) => return Poll::Ready(Some(message)),
                    Poll::Ready(Said::Last(message)) => {
                        self.running.remove(index);
                        return Poll::Ready(message);
                    }
                    Poll::Pending => index += 1,
                }
            }
            match self.unsolicited.poll_step(context) {
                Poll::Ready(Step::Sent(message)) => Poll::Ready(Some(message.into())),
                Poll::Ready(Step::Done(_)) | Poll::Pending => Poll::Pending,
            }
        })
        .await
    }
}

/// Lines that came while there was no room for their answers. They are read all the same, because
/// the end of the input comes after them.
#[derive(Default)]
struct Unheard {
    lines: VecDeque<Line>,
    bytes: usize,
}

/// How many bytes of such lines are read ahead; the last line may exceed this.
const MAX_UNHEARD_BYTES: usize = 1024 * 1024;

impl Unheard {
    fn has_room(&self) -> bool {
        self.bytes < MAX_UNHEARD_BYTES
    }

    fn push(&mut self, line: Line) {
        self.bytes += weight(&line);
        self.lines.push_back(line);
    }

    fn pop(&mut self) -> Option<Line> {
        let line = self.lines.pop_front()?;
        self.bytes -= weight(&line);
        Some(line)
    }
}

/// Roughly how much memory a line takes.
fn weight(line: &Line) -> usize {
    let text = match line {
        Line::Whole(text) => text.len(),
        Line::TooLong(_) => 0,
    };
    size_of::<Line>() + text
}

/// What polling a [`Running`] yields.
enum Said {
    Message(Vec<u8>),
    /// It has ended, perhaps without a message.
    Last(Option<Vec<u8>>),
}

impl Running {
    fn requests(&self) -> usize {
        match self {
            Self::One(..) => 1,
            Self::Batch(requests, _) => *requests,
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Said> {
        match self {
            Self::One(_, exchange) => exchange.poll_step(context).map(|step| match step {
                Step::Sent(message) => Said::Message(message.into()),
                Step::Done(answer) => Said::Last(answer.message.map(Into::into)),
            }),
            Self::Batch(_, answers) => answers
                .as_mut()
                .poll(context)
                .map(|answers| Said::Last(jsonrpc::join(answers.iter().flatten()))),
        }
    }
}

fn too_many(id: &Id) -> Vec<u8> {
    let failure = Failure::new(
        jsonrpc::INTERNAL_ERROR,
        "too many requests run at once; wait for one to end",
    );
    jsonrpc::write_failure(Some(id), &failure)
}

/// The only writer. Writing may be dropped and taken up again.
struct Output<W> {
    writer: W,
    waiting: Vec<u8>,
    written: usize,
    flushed: bool,
}

/// How many bytes may wait for a slow reader before requests wait, too: those that run and those to
/// come.
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

    fn push_all(&mut self, messages: impl IntoIterator<Item = Vec<u8>>) {
        for message in messages {
            self.push(&message);
        }
    }

    fn is_waiting(&self) -> bool {
        !self.flushed
    }

    fn is_full(&self) -> bool {
        self.waiting.len() - self.written > MAX_WAITING_BYTES
    }
}

impl<W: AsyncWrite + Unpin> Output<W> {
    /// Writes some of the waiting bytes, or flushes.
    async fn write(&mut self) -> io::Result<()> {
        if self.written < self.waiting.len() {
            let count = self.writer.write(&self.waiting[self.written..]).await?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.written += count;
            // With a reader that never quite catches up, this must not grow for ever.
            if 2 * self.written >= self.waiting.len() {
                self.waiting.drain(..self.written);
                self.written = 0;
            }
            return Ok(());
        }
        self.writer.flush().await?;
        self.flushed = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn what_was_written_is_kept_no_longer_while_the_reader_lags() {
        let (mut reader, writer) = tokio::io::duplex(100);
        let mut output = Output::new(writer);
        let message = [b'm'; 99];
        output.push(&message);
        let mut read = [0; 100];
        for _ in 0..1000 {
            output.push(&message);
            output.write().await.unwrap();
            reader.read_exact(&mut read).await.unwrap();
            assert_eq!(read[99], b'\n');
            assert!(output.is_waiting() && output.waiting.len() <= 400);
        }
    }
}
