//! The wire to a PostgreSQL server: TLS where it is asked for, metered always.
//!
//! tokio-postgres lets a TLS connector see the raw socket, and with "direct" negotiation before
//! anything was sent. [`Wire`] uses that: it asks for TLS itself (PostgreSQL documentation,
//! section 55.2.10), and hands back a metered stream whether TLS came of it or not.

use std::{
    future::Future,
    io,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::UnixStream,
};
use tokio_postgres::{
    Config, Socket,
    config::{SslMode, SslNegotiation},
    tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{
    Tls,
    metered::Metered,
    shared::{Lender, Shared},
};

/// What a connection runs on.
pub(crate) type Stream = Metered<Transport>;

/// The eight bytes of an SSLRequest: its length and its code.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// Opens the wire to one host.
#[derive(Clone)]
pub(crate) struct Wire {
    tls: Tls,
    allowance: u64,
    /// Whether streams wait for the server to end first.
    ends_second: bool,
    /// The last stream that was opened. Written by one connector at a time, see [`Wire::anew`].
    opened: Arc<Mutex<Option<Lender<Stream>>>>,
}

impl Wire {
    pub(crate) fn new(tls: Tls, allowance: u64) -> Self {
        Wire {
            tls,
            allowance,
            ends_second: false,
            opened: Arc::default(),
        }
    }

    /// The same wire for one more connection.
    pub(crate) fn anew(&self) -> Self {
        Wire::new(self.tls.clone(), self.allowance)
    }

    /// The same wire for a cancel request, which the server answers by hanging up once it has passed
    /// it on. Who hangs up first has it dropped by some poolers.
    pub(crate) fn for_cancelling(&self) -> Self {
        Wire {
            ends_second: true,
            ..self.anew()
        }
    }

    /// Gives the means to borrow the stream that was opened last. When there are several hosts, that
    /// is the one that the client library stayed with.
    pub(crate) fn take_opened(&self) -> Option<Lender<Stream>> {
        self.opened
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Opens a Unix socket.
    pub(crate) async fn open_socket(&self, path: &Path) -> io::Result<Shared<Stream>> {
        let stream = UnixStream::connect(path).await?;
        Ok(self.share(Transport::Unix(stream)))
    }

    fn share(&self, transport: Transport) -> Shared<Stream> {
        let metered = Metered::new(transport, self.allowance);
        let shared = Shared::new(if self.ends_second {
            metered.ending_second()
        } else {
            metered
        });
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(shared.lender());
        shared
    }

    /// Makes tokio-postgres hand the untouched socket to this connector; it never asks for TLS on
    /// a Unix socket.
    pub(crate) fn route(&self, config: &mut Config, socket: bool) {
        if socket {
            config.ssl_mode(SslMode::Disable);
        } else {
            config
                .ssl_mode(SslMode::Require)
                .ssl_negotiation(SslNegotiation::Direct);
        }
    }
}

impl MakeTlsConnect<Socket> for Wire {
    type Stream = Shared<Stream>;
    type TlsConnect = Opening;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<Opening> {
        let connector = self
            .tls
            .connector
            .as_mut()
            .map(|tls| MakeTlsConnect::<Socket>::make_tls_connect(tls, host))
            .transpose()
            .map_err(io::Error::other)?;
        Ok(Opening {
            connector,
            wire: self.clone(),
        })
    }
}

type RustlsConnect = <MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect;
type RustlsStream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

/// One connection that is being opened.
pub(crate) struct Opening {
    connector: Option<RustlsConnect>,
    wire: Wire,
}

impl TlsConnect<Socket> for Opening {
    type Stream = Shared<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Shared<Stream>>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            let transport = match self.connector {
                None => Transport::Plain(socket),
                Some(connector) => secure(socket, connector, self.wire.tls.required).await?,
            };
            Ok(self.wire.share(transport))
        })
    }
}

async fn secure(
    mut socket: Socket,
    connector: RustlsConnect,
    required: bool,
) -> io::Result<Transport> {
    socket.write_all(&SSL_REQUEST).await?;
    match socket.read_u8().await? {
        b'S' => connector
            .connect(socket)
            .await
            .map(|stream| Transport::Secure(Box::new(stream))),
        b'N' if !required => Ok(Transport::Plain(socket)),
        b'N' => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "the server does not offer TLS; turn it on there, or set a weaker sslmode",
        )),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "this is no PostgreSQL server",
        )),
    }
}

/// A socket with or without TLS around it.
pub(crate) enum Transport {
    Plain(Socket),
    Secure(Box<RustlsStream>),
    Unix(UnixStream),
}

impl TlsStream for Stream {
    fn channel_binding(&self) -> ChannelBinding {
        match self.inner() {
            Transport::Plain(_) | Transport::Unix(_) => ChannelBinding::none(),
            Transport::Secure(stream) => stream.channel_binding(),
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Transport::Secure(stream) => Pin::new(stream).poll_read(context, buffer),
            Transport::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Transport::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Transport::Secure(stream) => Pin::new(stream).poll_write(context, bytes),
            Transport::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(context),
            Transport::Secure(stream) => Pin::new(stream).poll_flush(context),
            Transport::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Transport::Secure(stream) => Pin::new(stream).poll_shutdown(context),
            Transport::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
