//! Where the server listens.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, bail};
use tokio::net::{TcpListener, lookup_host};

/// The sockets that an address stands for.
pub(crate) struct Listeners {
    pub(crate) sockets: Vec<TcpListener>,
}

impl Listeners {
    /// Binds `HOST:PORT`, on every address that the host has; `:PORT` is every interface. `by` says by
    /// which option the address is chosen.
    pub(crate) async fn bind(address: &str, by: &str) -> anyhow::Result<Self> {
        let (host, port) = address.rsplit_once(':').context("an address has a port")?;
        let port: u16 = port.parse().context("a port is a number up to 65535")?;
        let sockets = if host.is_empty() {
            vec![bind_any(port).await.with_context(|| refused(address, by))?]
        } else {
            bind_host(host, port, address, by).await?
        };
        Ok(Listeners { sockets })
    }

    /// The addresses that were bound.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.sockets
            .iter()
            .filter_map(|socket| socket.local_addr().ok())
    }

    /// Says whether only programs on this machine can connect.
    pub(crate) fn only_loopback(&self) -> bool {
        self.addresses()
            .all(|address| address.ip().to_canonical().is_loopback())
    }
}

fn refused(address: &str, by: &str) -> String {
    format!(
        "cannot listen on {address}; choose another address with {by}, one of this machine's own and a port that nobody uses and this user may use"
    )
}

/// IPv6's "any" takes IPv4 as well where the system has both.
async fn bind_any(port: u16) -> std::io::Result<TcpListener> {
    match TcpListener::bind((IpAddr::from(Ipv6Addr::UNSPECIFIED), port)).await {
        Err(error) if error.kind() != std::io::ErrorKind::AddrInUse => {
            TcpListener::bind((IpAddr::from(Ipv4Addr::UNSPECIFIED), port)).await
        }
        bound => bound,
    }
}

async fn bind_host(
    host: &str,
    port: u16,
    address: &str,
    by: &str,
) -> anyhow::Result<Vec<TcpListener>> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let found = lookup_host((host, port))
        .await
        .with_context(|| format!("cannot find the address of {host}"))?;
    let mut sockets: Vec<TcpListener> = Vec::new();
    let mut last = None;
    for mut one in found {
        if sockets.iter().any(|socket| {
            socket
                .local_addr()
                .is_ok_and(|bound| bound.ip() == one.ip())
        }) {
            continue;
        }
        // With port 0 the further addresses take the port that the first one got.
        if let Some(first) = sockets.first() {
            one.set_port(first.local_addr()?.port());
        }
        match TcpListener::bind(one).await {
            Ok(socket) => sockets.push(socket),
            Err(error) => last = Some((one, error)),
        }
    }
    match last {
        // `localhost` may stand for an address that this machine does not have (::1).
        Some((_, error)) if sockets.is_empty() || error.kind() == std::io::ErrorKind::AddrInUse => {
            Err(error).with_context(|| refused(address, by))
        }
        _ if sockets.is_empty() => bail!("{host} has no address"),
        _ => Ok(sockets),
    }
}
