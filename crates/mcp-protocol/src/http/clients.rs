//! Who connects, whose requests come over a connection, and how many one client may have.

use std::net::{IpAddr, Ipv6Addr};

use hyper::header::HeaderMap;

use super::forwarded::{Proxies, Unnamed};
use super::options::Options;
use crate::places::{Place, Places};

/// The rules for connections, and how many each client has.
pub(super) struct Clients {
    proxies: Option<Proxies>,
    places: Places<IpAddr>,
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) address: IpAddr,
    /// It is a trusted proxy, and its requests are other clients'.
    is_proxy: bool,
}

/// Whose a request is.
pub(super) struct Client {
    pub(super) address: IpAddr,
    /// The place that it takes until its reply is written, if its connection takes none.
    pub(super) place: Option<Place>,
}

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unwelcome {
    #[error(transparent)]
    Unnamed(#[from] Unnamed),
    #[error(transparent)]
    TooMany(#[from] TooMany),
}

/// The client has as many as it may have.
#[derive(Debug, thiserror::Error)]
#[error("too many requests at once from this address; wait for some of them to end")]
pub(super) struct TooMany;

impl Clients {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            proxies: options.proxies.clone(),
            places: Places::new(options.max_connections_per_peer),
        }
    }

    /// Says what is known of the other end of a connection.
    pub(super) fn peer(&self, address: IpAddr) -> Peer {
        let proxies = self.proxies.as_ref();
        Peer {
            address: address.to_canonical(),
            is_proxy: proxies.is_some_and(|proxies| proxies.networks.contains(address)),
        }
    }

    /// Takes a place for a connection, if its peer has one left. A trusted proxy needs none: it
    /// connects for all its clients, and they would be shut out together.
    pub(super) fn connect(&self, peer: &Peer) -> Result<Option<Place>, TooMany> {
        if peer.is_proxy {
            return Ok(None);
        }
        self.place(peer.address).map(Some)
    }

    /// Finds out whose request came over a connection.
    pub(super) fn client(&self, peer: &Peer, headers: &HeaderMap) -> Result<Client, Unwelcome> {
        let Some(proxies) = self.proxies.as_ref().filter(|_| peer.is_proxy) else {
            return Ok(Client {
                address: peer.address,
                place: None,
            });
        };
        let address = proxies.client(headers)?;
        let place = Some(self.place(address)?);
        Ok(Client { address, place })
    }

    fn place(&self, address: IpAddr) -> Result<Place, TooMany> {
        self.places.enter(&network(address)).ok_or(TooMany)
    }
}

impl Unwelcome {
    pub(super) fn status(&self) -> u16 {
        match self {
            Self::Unnamed(_) => 400,
            Self::TooMany(_) => 429,
        }
    }
}

/// Gives the network that one client can be expected to hold: an IPv4 address, or an IPv6 network
/// of 64 bits.
pub fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address => address,
    }
}
