//! Where the server listens.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, bail};
use tokio::net::{TcpListener, lookup_host};

/// The sockets bound for one configured address.
pub(crate) struct Listeners {
    pub(crate) sockets: Vec<TcpListener>,
}

impl Listeners {
    /// Binds `HOST:PORT` on every address of the host, or `:PORT` on every interface. `by` is the option that sets the
    /// address, for error messages.
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

/// IPv6's "any" address accepts IPv4 as well where the system has both.
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
    let sockets = bind_each(found).await;
    let sockets = sockets.with_context(|| refused(address, by))?;
    if sockets.is_empty() {
        bail!("{host} has no address");
    }
    Ok(sockets)
}

/// Binds those of the addresses that this machine has: `localhost` may resolve to one that it lacks (`::1`). An address
/// in use is an error.
async fn bind_each(found: impl Iterator<Item = SocketAddr>) -> std::io::Result<Vec<TcpListener>> {
    let mut sockets: Vec<TcpListener> = Vec::new();
    let mut failed = None;
    for mut one in found {
        let is_bound = |socket: &TcpListener| {
            socket
                .local_addr()
                .is_ok_and(|bound| bound.ip() == one.ip())
        };
        if sockets.iter().any(is_bound) {
            continue;
        }
        // With port 0, further addresses take the port that the first one was given.
        if let Some(first) = sockets.first() {
            one.set_port(first.local_addr()?.port());
        }
        match TcpListener::bind(one).await {
            Ok(socket) => sockets.push(socket),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => return Err(error),
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) if sockets.is_empty() => Err(error),
        _ => Ok(sockets),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::ErrorKind::AddrInUse;

    /// An address reserved for documentation (RFC 5737), which no machine has, so binding it fails.
    const NOWHERE: [u8; 4] = [192, 0, 2, 1];

    #[tokio::test]
    async fn an_address_that_somebody_else_has_is_told_whatever_comes_after_it() {
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let taken = other.local_addr().unwrap();
        let free = SocketAddr::from(([127, 0, 0, 2], taken.port()));
        let nowhere = SocketAddr::from((NOWHERE, taken.port()));
        for found in [
            vec![taken],
            vec![taken, nowhere],
            vec![nowhere, taken],
            vec![free, taken],
            vec![free, taken, nowhere],
        ] {
            let bound = bind_each(found.clone().into_iter()).await;
            assert_eq!(bound.unwrap_err().kind(), AddrInUse, "{found:?}");
        }
        let bound = bind_each([nowhere, free, free].into_iter()).await.unwrap();
        let bound: Vec<_> = bound.iter().map(|one| one.local_addr().unwrap()).collect();
        assert_eq!(bound, [free]);
    }
}
