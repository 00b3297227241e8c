//! Opening connections, with TLS if the URL asks for it.

use std::{
    future::Future,
    io,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::Uri;
use hyper_util::{
    client::legacy::connect::{Connected, Connection, HttpConnector},
    rt::TokioIo,
};
use rustls::{ClientConfig, crypto::aws_lc_rs, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tower_service::Service;

use crate::{SetUpError, names::Names};

/// Connects to a client's one host.
#[derive(Clone)]
pub(crate) struct Connector {
    tcp: HttpConnector<Names>,
    tls: Option<TlsConnector>,
    timeout: Duration,
}

impl Connector {
    /// Makes a connector for a URL. For `https`, certificates are checked against those in the file, or else the
    /// system's.
    pub(crate) fn new(
        address: &Uri,
        authorities: Option<&Path>,
        timeout: Duration,
    ) -> Result<Self, SetUpError> {
        let mut tcp = HttpConnector::new_with_resolver(Names::default());
        // The TCP connector also has to accept https URLs; TLS is added here.
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let is_secure = address.scheme_str() == Some("https");
        let tls = is_secure.then(|| client_config(authorities)).transpose()?;
        Ok(Connector {
            tcp,
            tls: tls.map(|config| TlsConnector::from(Arc::new(config))),
            timeout,
        })
    }

    async fn open(mut self, address: Uri) -> io::Result<Stream> {
        let host = address.host().unwrap_or_default();
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned());
        let tcp = self.tcp.call(address).await.map_err(io::Error::other)?;
        let tcp = tcp.into_inner();
        match self.tls {
            None => Ok(Stream::Plain(tcp)),
            Some(tls) => {
                let name = name.map_err(io::Error::other)?;
                Ok(Stream::Tls(Box::new(tls.connect(name, tcp).await?)))
            }
        }
    }
}

fn client_config(authorities: Option<&Path>) -> Result<ClientConfig, SetUpError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(authorities::trusted(authorities)?)
        .with_no_client_auth())
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Stream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        let (connector, timeout) = (self.clone(), self.timeout);
        Box::pin(async move {
            let opened = tokio::time::timeout(timeout, connector.open(address)).await;
            let late = |_| {
                let text = format!("no connection within {} ms", timeout.as_millis());
                io::Error::new(io::ErrorKind::TimedOut, text)
            };
            opened.map_err(late)?.map(TokioIo::new)
        })
    }
}

/// A connection.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
