//! A stream that breaks when the other side answers too much.
//!
//! tokio-postgres keeps a whole message in memory, however large it is: a row of 300 MB, or an
//! error that quotes its input. So the bytes are counted before it sees them. Every write begins a
//! new exchange, and the count with it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(crate) struct Metered<S> {
    inner: S,
    allowance: u64,
    used: u64,
    ends_second: bool,
}

impl<S> Metered<S> {
    pub(crate) fn new(inner: S, allowance: u64) -> Self {
        Metered {
            inner,
            allowance,
            used: 0,
            ends_second: false,
        }
    }

    /// Makes a shutdown wait until the other side has ended.
    pub(crate) fn ending_second(self) -> Self {
        Metered {
            ends_second: true,
            ..self
        }
    }

    pub(crate) fn inner(&self) -> &S {
        &self.inner
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        self.used += (buffer.filled().len() - before) as u64;
        if self.used > self.allowance {
            let message = format!("PostgreSQL answered more than {} bytes", self.allowance);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::FileTooLarge, message)));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.used = 0;
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.ends_second {
            let mut bytes = [0; 64];
            let mut buffer = ReadBuf::new(&mut bytes);
            let read = ready!(Pin::new(&mut self.inner).poll_read(context, &mut buffer));
            self.ends_second = read.is_ok() && !buffer.filled().is_empty();
        }
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn the_count_starts_anew_with_each_write() {
        let (near, mut far) = duplex(64);
        let mut metered = Metered::new(near, 10);
        let mut buffer = [0; 10];
        for _ in 0..3 {
            metered.write_all(b"?").await.expect("open");
            far.write_all(&[1; 10]).await.expect("open");
            metered
                .read_exact(&mut buffer)
                .await
                .expect("within the allowance");
        }
        far.write_all(&[1; 1]).await.expect("open");
        let error = metered
            .read_exact(&mut buffer[..1])
            .await
            .expect_err("one byte too many");
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }

    #[tokio::test]
    async fn the_second_to_end_waits_for_the_first() {
        let (near, mut far) = duplex(64);
        let mut metered = Metered::new(near, 10).ending_second();
        let mut ending = Box::pin(metered.shutdown());
        far.write_all(b"not yet").await.expect("open");
        let early = futures_util::poll!(&mut ending);
        assert!(early.is_pending(), "{early:?}");
        far.shutdown().await.expect("open");
        ending.await.expect("both have ended");
    }
}
