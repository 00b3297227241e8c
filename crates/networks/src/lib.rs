//! IP networks such as `10.0.0.0/8` (RFC 4632, RFC 4291), and hosts with their ports.

mod authority;

use std::{fmt, net::IpAddr, str::FromStr};

pub use authority::Authority;

/// The addresses that share a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// One or more networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Networks(Box<[Network]>);

/// A text is not a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a network is an address, or one with a prefix length and no bits beyond it, such as 10.0.0.0/8"
)]
pub struct InvalidNetwork;

/// Why a list of networks is invalid. Entries are counted from 1, and their text is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNetworks {
    /// It has no entries.
    #[error("the list is empty")]
    Empty,
    /// It has more than [`Networks::MAX`] entries.
    #[error("the list has more than {} entries", Networks::MAX)]
    Long,
    /// This entry is not a network.
    #[error("entry {0} is none")]
    None(usize),
    /// This entry is the same network as an earlier one.
    #[error("entry {0} is the same as an earlier one")]
    Twice(usize),
}

impl Network {
    /// Says whether an address is in the network. An IPv4 address that came through an IPv6 socket (`::ffff:a.b.c.d`)
    /// counts as IPv4.
    ///
    /// ```
    /// use networks::Network;
    ///
    /// let office: Network = "192.0.2.0/24".parse()?;
    /// assert!(office.contains("192.0.2.7".parse()?));
    /// assert!(office.contains("::ffff:192.0.2.7".parse()?));
    /// assert!(!office.contains("192.0.3.7".parse()?));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4()
            && masked(address, self.prefix) == bits(self.address)
    }

    /// Returns the prefix length: how many bits its addresses share. With 0 it is every address of its family.
    #[must_use]
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    fn covers(&self, other: &Self) -> bool {
        self.prefix <= other.prefix && self.contains(other.address)
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| InvalidNetwork)?;
        // IPv4-mapped IPv6 addresses are refused, since checked addresses are converted to IPv4 and would never match.
        if address.to_canonical() != address {
            return Err(InvalidNetwork);
        }
        let prefix = match prefix {
            None => width(address),
            Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
                digits.parse().map_err(|_| InvalidNetwork)?
            }
            Some(_) => return Err(InvalidNetwork),
        };
        let fits = prefix <= width(address) && masked(address, prefix) == bits(address);
        fits.then_some(Self { address, prefix })
            .ok_or(InvalidNetwork)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.address)?;
        if self.prefix < width(self.address) {
            write!(out, "/{}", self.prefix)?;
        }
        Ok(())
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The bits of an address; those of IPv4 are at the low end.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn masked(address: IpAddr, prefix: u8) -> u128 {
    let host = u32::from(width(address) - prefix);
    let beyond = u128::MAX.checked_shl(host).unwrap_or(0);
    bits(address) & beyond
}

impl Networks {
    /// The maximum number of networks in a list.
    pub const MAX: usize = 1_000;

    /// Reads networks.
    ///
    /// # Errors
    /// The list is empty, is too long, has a duplicate, or has an entry that is not a network.
    ///
    /// ```
    /// use networks::{InvalidNetworks, Networks};
    ///
    /// let office = Networks::read(["192.0.2.0/24", "2001:db8::/32"])?;
    /// assert!(office.contains("192.0.2.7".parse()?));
    /// let wrong = Networks::read(["192.0.2.0/24", "192.0.2.7/24"]);
    /// assert_eq!(wrong, Err(InvalidNetworks::None(2)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidNetworks> {
        let texts = texts.into_iter();
        // Most iterators know their length, so the list takes no more memory than needed.
        let mut list = Vec::with_capacity(texts.size_hint().0.min(Self::MAX));
        for (entry, text) in (1..).zip(texts) {
            let network = text.parse().map_err(|_| InvalidNetworks::None(entry))?;
            if list.contains(&network) {
                return Err(InvalidNetworks::Twice(entry));
            }
            if list.len() == Self::MAX {
                return Err(InvalidNetworks::Long);
            }
            list.push(network);
        }
        match list.is_empty() {
            true => Err(InvalidNetworks::Empty),
            false => Ok(Self(list.into())),
        }
    }

    /// Says whether an address is in one of the networks.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// Iterates over the networks.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Network> {
        self.0.iter()
    }

    /// Says whether each network of the other list lies within one of these.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let covered = |inner: &Network| self.0.iter().any(|outer| outer.covers(inner));
        other.0.iter().all(covered)
    }
}

/// Writes the networks, separated by commas.
impl fmt::Display for Networks {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.iter().map(ToString::to_string).collect();
        out.write_str(&texts.join(", "))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_the_addresses_that_begin_like_it() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("0.0.0.0/0", "203.0.113.9", "::1"),
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("127.0.0.1/32", "::ffff:127.0.0.1", "::ffff:127.0.0.2"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("::/0", "::1", "127.0.0.1"),
            ("::1", "::1", "::2"),
        ] {
            let parsed: Network = network.parse().unwrap();
            assert!(
                parsed.contains(inside.parse().unwrap()),
                "{network} {inside}"
            );
            assert!(
                !parsed.contains(outside.parse().unwrap()),
                "{network} {outside}"
            );
            assert_eq!(parsed.to_string().parse(), Ok(parsed));
        }
    }

    #[test]
    fn what_is_not_plainly_a_network_is_refused() {
        for text in [
            "",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "10.0.0/8",
            "::ffff:10.0.0.0/104",
            "localhost",
            "10.0.0.0/8/8",
            " 10.0.0.0/8",
        ] {
            assert_eq!(text.parse::<Network>(), Err(InvalidNetwork), "{text}");
        }
    }

    #[test]
    fn a_list_covers_what_lies_within_it() {
        let list = |text: &str| Networks::read(text.split(' ')).unwrap();
        assert!(list("10.0.0.0/8 ::1").covers(&list("10.1.0.0/16 ::1")));
        assert!(!list("10.1.0.0/16").covers(&list("10.0.0.0/8")));
        assert!(!list("::/0").covers(&list("10.0.0.0/8")));
    }
}
