//! One stream with two users, who take turns.
//!
//! The client library owns the stream: it logs in, and is used for everything that is not a hot
//! path. Between two of its exchanges a lease may borrow the stream and speak the protocol itself,
//! without a task and a channel in between, and with features that the library does not offer
//! (results as text, several statements in one message). A borrower waits until the library has
//! neither sent half a message nor an answer to come.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsStream};
use tokio_util::io::poll_read_buf;

use crate::frames::Frames;

/// The kinds of client messages that PostgreSQL answers with `ReadyForQuery`.
const ASKS: &[u8] = b"SQF";
/// The kind of `ReadyForQuery`.
const READY: &[u8] = b"Z";

/// The owner's end of the stream. Dropping it closes the stream for the borrower, too.
pub(crate) struct Shared<S>(Lender<S>);

/// The means to borrow the stream.
pub(crate) struct Lender<S>(Arc<Mutex<State<S>>>);

/// Held for one operation on the stream, never while waiting.
struct State<S> {
    /// `None` when the owner has gone.
    stream: Option<S>,
    sent: Frames,
    received: Frames,
    /// How many `ReadyForQuery` messages are still to come.
    awaited: usize,
    turn: Turn,
    /// Bytes that a borrower read, but that are meant for the owner.
    unread: BytesMut,
    /// The owner's task. A stream wakes only the task that polled it last, so the owner must poll
    /// it again after each loan; otherwise it would not notice that the server hung up.
    owner: Option<Waker>,
    /// Whether the owner waits for its turn to write.
    is_wanted: bool,
    /// The task that waits to borrow, or that has borrowed and must learn when the owner goes.
    borrower: Option<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Owner,
    Borrower,
    /// Whether a borrower left half way: nobody knows whose the next bytes are.
    Nobody,
}

impl<S> Clone for Lender<S> {
    fn clone(&self) -> Self {
        Lender(self.0.clone())
    }
}

impl<S> Shared<S> {
    /// Takes a stream on which nothing was sent yet.
    pub(crate) fn new(stream: S) -> Self {
        Shared(Lender(Arc::new(Mutex::new(State {
            stream: Some(stream),
            sent: Frames::untyped_first(),
            received: Frames::typed(),
            // The `ReadyForQuery` at the end of the login.
            awaited: 1,
            turn: Turn::Owner,
            unread: BytesMut::new(),
            owner: None,
            is_wanted: false,
            borrower: None,
        }))))
    }

    pub(crate) fn lender(&self) -> Lender<S> {
        self.0.clone()
    }
}

impl<S> Lender<S> {
    /// Borrows the stream when the owner is between two exchanges.
    pub(crate) async fn borrow(&self) -> io::Result<Loan<S>> {
        std::future::poll_fn(|context| self.poll_borrow(context)).await
    }

    fn poll_borrow(&self, context: &mut Context<'_>) -> Poll<io::Result<Loan<S>>> {
        let mut state = self.lock();
        if state.stream.is_none() || state.turn != Turn::Owner {
            return Poll::Ready(Err(gone()));
        }
        if !state.is_quiet() {
            remember(&mut state.borrower, context);
            return Poll::Pending;
        }
        state.turn = Turn::Borrower;
        Poll::Ready(Ok(Loan {
            lender: self.clone(),
            is_over: false,
        }))
    }

    /// The id of the process that serves the connection, as announced at the login.
    pub(crate) fn process(&self) -> Option<i32> {
        self.lock().received.process()
    }

    /// Says whether a borrower left half way.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.lock().turn == Turn::Nobody
    }

    /// Takes the stream from both users, who then find it gone, and says whether something may
    /// still be running. The stream stays open for as long as the caller keeps it.
    pub(crate) fn cut(&self) -> (Option<S>, bool) {
        let (stream, is_busy, borrower) = {
            let mut state = self.lock();
            let is_busy = state.turn != Turn::Owner || !state.is_quiet();
            (state.stream.take(), is_busy, state.borrower.take())
        };
        if let Some(waker) = borrower {
            waker.wake();
        }
        (stream, is_busy)
    }

    fn lock(&self) -> MutexGuard<'_, State<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> State<S> {
    /// Says whether neither side has sent half a message or has an answer to come.
    fn is_quiet(&self) -> bool {
        self.awaited == 0
            && self.unread.is_empty()
            && self.sent.is_between()
            && self.received.is_between()
    }

    fn wake_borrower(&mut self) {
        if let Some(waker) = self.borrower.take() {
            waker.wake();
        }
    }

    /// Gives the owner its stream, or makes it wait for its turn.
    fn owned(&mut self, context: &Context<'_>) -> Poll<io::Result<&mut S>> {
        remember(&mut self.owner, context);
        match (self.turn, &mut self.stream) {
            (Turn::Owner, Some(stream)) => Poll::Ready(Ok(stream)),
            (Turn::Borrower, Some(_)) => Poll::Pending,
            _ => Poll::Ready(Err(gone())),
        }
    }

    /// Says whether the owner has something to do now. If not, it is woken when there is something
    /// to receive.
    fn is_due(&mut self, owner: &Waker) -> bool
    where
        S: AsyncRead + Unpin,
    {
        if self.is_wanted {
            return true;
        }
        let Some(stream) = self.stream.as_mut().filter(|_| self.unread.is_empty()) else {
            return true;
        };
        let mut context = Context::from_waker(owner);
        // The end or the error will be found again when the owner reads.
        poll_read_buf(Pin::new(stream), &mut context, &mut self.unread).is_ready()
    }

    /// Gives the owner its stream to write to, or has it woken when its turn comes.
    fn owned_to_write(&mut self, context: &Context<'_>) -> Poll<io::Result<&mut S>> {
        self.is_wanted = self.turn == Turn::Borrower;
        self.owned(context)
    }

    /// Notes what the owner received.
    fn pass_received(&mut self, bytes: &[u8]) {
        let ready = self.received.pass(bytes, READY);
        self.awaited = self.awaited.saturating_sub(ready);
        if self.is_quiet() {
            self.wake_borrower();
        }
    }

    /// Gives the borrower its stream, for as long as the owner has not gone.
    fn borrowed(&mut self, context: &Context<'_>) -> io::Result<&mut S> {
        remember(&mut self.borrower, context);
        self.stream.as_mut().ok_or_else(gone)
    }
}

fn remember(waker: &mut Option<Waker>, context: &Context<'_>) {
    match waker {
        Some(waker) => waker.clone_from(context.waker()),
        empty => *empty = Some(context.waker().clone()),
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the connection is closed")
}

/// A loan of the stream, for one exchange. If it is dropped before [`Loan::give_back`], the
/// connection can no longer be used.
pub(crate) struct Loan<S> {
    lender: Lender<S>,
    is_over: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Loan<S> {
    /// Sends all of it.
    pub(crate) async fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        std::future::poll_fn(|context| {
            let mut state = self.lender.lock();
            let mut stream = Pin::new(state.borrowed(context)?);
            while !bytes.is_empty() {
                match stream.as_mut().poll_write(context, bytes)? {
                    Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(count) => bytes = &bytes[count..],
                    Poll::Pending => return Poll::Pending,
                }
            }
            stream.poll_flush(context)
        })
        .await
    }

    /// Receives some bytes, at least one.
    pub(crate) async fn receive(&mut self, into: &mut BytesMut) -> io::Result<()> {
        std::future::poll_fn(|context| {
            let mut state = self.lender.lock();
            let stream = Pin::new(state.borrowed(context)?);
            match poll_read_buf(stream, context, into)? {
                Poll::Ready(0) => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Poll::Ready(_) => Poll::Ready(Ok(())),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }
}

impl<S: AsyncRead + Unpin> Loan<S> {
    /// Lets the owner go on; `unread` was received and belongs to no exchange.
    pub(crate) fn give_back(mut self, unread: &mut BytesMut) {
        self.is_over = true;
        let owner = {
            let mut state = self.lender.lock();
            // Even an empty part of a buffer would keep the whole buffer in memory.
            if !unread.is_empty() {
                state.unread = unread.split();
            }
            state.turn = Turn::Owner;
            state.owner.clone().filter(|owner| state.is_due(owner))
        };
        // Outside of the lock, because a runtime that is shutting down drops the task that it should wake.
        if let Some(waker) = owner {
            waker.wake();
        }
    }
}

impl<S> Drop for Loan<S> {
    fn drop(&mut self) {
        if !self.is_over {
            self.lender.lock().turn = Turn::Nobody;
        }
    }
}

impl<S> Drop for Shared<S> {
    fn drop(&mut self) {
        drop(self.0.cut());
    }
}

impl<S: TlsStream + Unpin> TlsStream for Shared<S> {
    fn channel_binding(&self) -> ChannelBinding {
        let state = self.0.lock();
        state
            .stream
            .as_ref()
            .map_or_else(ChannelBinding::none, TlsStream::channel_binding)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Shared<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        let state = &mut *state;
        let before = buffer.filled().len();
        let unread = state.unread.len().min(buffer.remaining());
        let stream = ready!(state.owned(context))?;
        if unread == 0 {
            ready!(Pin::new(stream).poll_read(context, buffer))?;
        } else {
            buffer.put_slice(&state.unread.split_to(unread));
        }
        state.pass_received(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Shared<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.0.lock();
        let stream = ready!(state.owned_to_write(context))?;
        let count = ready!(Pin::new(stream).poll_write(context, bytes))?;
        state.awaited += state.sent.pass(&bytes[..count], ASKS);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        // Before it was lent PostgreSQL had answered to all that was written.
        if state.turn == Turn::Borrower {
            return Poll::Ready(Ok(()));
        }
        let stream = ready!(state.owned(context))?;
        Pin::new(stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        let stream = ready!(state.owned_to_write(context))?;
        Pin::new(stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        task::Wake,
    };

    use futures_util::FutureExt;
    use tokio::io::{AsyncWriteExt, DuplexStream};

    use super::*;

    /// A task that counts how often it was woken.
    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// The owner's end of a connection on which the login is over, and the server's end.
    async fn logged_in(context: &mut Context<'_>) -> (Shared<DuplexStream>, DuplexStream) {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut owner = Shared::new(ours);
        let startup = b"\0\0\0\x08\0\x03\0\0";
        assert!(Pin::new(&mut owner).poll_write(context, startup).is_ready());
        theirs.write_all(b"Z\0\0\0\x05I").await.unwrap();
        assert_eq!(read(&mut owner, context), Some(6));
        assert_eq!(read(&mut owner, context), None);
        (owner, theirs)
    }

    /// How many bytes there are for the owner; none if it has to wait.
    fn read(owner: &mut Shared<DuplexStream>, context: &mut Context<'_>) -> Option<usize> {
        let mut space = [0; 64];
        let mut buffer = ReadBuf::new(&mut space);
        match Pin::new(owner).poll_read(context, &mut buffer) {
            Poll::Ready(read) => read.map(|()| Some(buffer.filled().len())).unwrap(),
            Poll::Pending => None,
        }
    }

    fn borrow(owner: &Shared<DuplexStream>) -> Loan<DuplexStream> {
        owner.lender().borrow().now_or_never().unwrap().unwrap()
    }

    #[tokio::test]
    async fn the_owner_is_woken_after_a_loan_only_for_what_it_has_to_do() {
        let task = Arc::new(Task::default());
        let waker = Waker::from(task.clone());
        let context = &mut Context::from_waker(&waker);
        let woken = || task.0.swap(0, Ordering::SeqCst);
        let (mut owner, _theirs) = logged_in(context).await;

        borrow(&owner).give_back(&mut BytesMut::new());
        assert_eq!(woken(), 0);

        let loan = borrow(&owner);
        assert_eq!(read(&mut owner, context), None);
        assert!(Pin::new(&mut owner).poll_flush(context).is_ready());
        loan.give_back(&mut BytesMut::new());
        assert_eq!(woken(), 0);

        let loan = borrow(&owner);
        assert!(Pin::new(&mut owner).poll_write(context, b"X").is_pending());
        loan.give_back(&mut BytesMut::new());
        assert_eq!(woken(), 1);

        assert!(
            Pin::new(&mut owner)
                .poll_write(context, b"H\0\0\0\x04")
                .is_ready()
        );
        borrow(&owner).give_back(&mut b"N".as_slice().into());
        assert_eq!(woken(), 1);
        assert_eq!(read(&mut owner, context), Some(1));
    }

    #[tokio::test]
    async fn the_owner_is_woken_when_the_server_hangs_up_after_a_loan() {
        let task = Arc::new(Task::default());
        let waker = Waker::from(task.clone());
        let (mut owner, theirs) = logged_in(&mut Context::from_waker(&waker)).await;
        borrow(&owner).give_back(&mut BytesMut::new());
        assert_eq!(task.0.load(Ordering::SeqCst), 0);
        drop(theirs);
        assert_eq!(task.0.load(Ordering::SeqCst), 1);
        assert_eq!(read(&mut owner, &mut Context::from_waker(&waker)), Some(0));
    }
}
