//! The client whose request a proxy passes on, according to `X-Forwarded-For` or `Forwarded` (RFC 7239).
//!
//! Clients can send these headers as well, and a proxy adds to what was sent. So they are read from
//! their end, from proxy to proxy, up to the first address that is not a trusted proxy's: that is
//! the client that called the outermost trusted proxy. What comes before it was written by the
//! client, and is ignored.
//!
//! If this leads to no address, the client of the request is unknown. The proxy's own address does
//! not stand in for it: a client may be able to have the header removed (as by `Connection:
//! X-Forwarded-For`), and would then seem to be the proxy.

use std::net::IpAddr;
use std::str;

use hyper::header::{self, HeaderMap, HeaderName};
use networks::Networks;

/// How many addresses are looked at; with more there are too many proxies.
const MOST_LOOKED_AT: usize = 32;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Proxies that are trusted to say whose requests they pass on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxies {
    /// Their addresses, which nobody else may use: whoever connects from there can claim any address.
    pub networks: Networks,
    /// The header in which they say it.
    pub header: ForwardedHeader,
}

/// The one header that trusted proxies set or add to. Any other header is as the client sent it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For: 192.0.2.1, 198.51.100.7`, also with ports.
    #[default]
    XForwardedFor,
    /// `Forwarded: for=192.0.2.1;proto=https, for="[2001:db8::1]:4711"` (RFC 7239).
    Forwarded,
}

/// Why it is unknown whose request a trusted proxy passed on; each names the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unnamed {
    #[error(
        "the proxy does not say whose request this is; it has to send {0} with its client's address"
    )]
    Missing(&'static str),
    #[error(
        "the proxy does not say whose request this is; what it sends in {0} is not its client's address"
    )]
    Unreadable(&'static str),
    #[error("{0} names nobody but trusted proxies; trust no network that has clients in it, too")]
    OnlyProxies(&'static str),
    #[error("{0} is too long; at most {MOST_LOOKED_AT} addresses are looked at")]
    TooMany(&'static str),
}

impl Proxies {
    /// Finds the address from which a request came to the outermost trusted proxy.
    pub(super) fn client(&self, headers: &HeaderMap) -> Result<IpAddr, Unnamed> {
        let name = self.header.shown();
        let mut looked_at = 0;
        // Several lines are one list (RFC 9110, section 5.3).
        for line in headers.get_all(self.header.name()).iter().rev() {
            let line = line.as_bytes();
            let found = match self.header {
                ForwardedHeader::XForwardedFor => {
                    let addresses = line.rsplit(|byte| *byte == b',');
                    self.outermost(addresses, &mut looked_at)?
                }
                ForwardedHeader::Forwarded => {
                    let addresses = forwarded_for(line)?;
                    self.outermost(addresses.into_iter().rev(), &mut looked_at)?
                }
            };
            if let Some(client) = found {
                return Ok(client);
            }
        }
        Err(match looked_at {
            0 => Unnamed::Missing(name),
            _ => Unnamed::OnlyProxies(name),
        })
    }

    /// Finds the first address that is not a proxy's, from the nearest to the furthest.
    fn outermost<'a>(
        &self,
        addresses: impl Iterator<Item = &'a [u8]>,
        looked_at: &mut usize,
    ) -> Result<Option<IpAddr>, Unnamed> {
        let name = self.header.shown();
        for text in addresses {
            *looked_at += 1;
            if *looked_at > MOST_LOOKED_AT {
                return Err(Unnamed::TooMany(name));
            }
            // An empty address counts as well: a proxy that does not know its client writes one
            // after what the client sent.
            let address = address(text).ok_or(Unnamed::Unreadable(name))?;
            if !self.networks.contains(address) {
                return Ok(Some(address));
            }
        }
        Ok(None)
    }
}

impl ForwardedHeader {
    /// The name as people write it.
    pub(super) fn shown(self) -> &'static str {
        match self {
            Self::XForwardedFor => "X-Forwarded-For",
            Self::Forwarded => "Forwarded",
        }
    }

    fn name(self) -> HeaderName {
        match self {
            Self::XForwardedFor => X_FORWARDED_FOR,
            Self::Forwarded => header::FORWARDED,
        }
    }
}

/// Reads an address, with or without a port; an IPv6 address with a port is in brackets. Words for
/// clients that are not named (`unknown`, `_hidden`) are not addresses.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?.trim_matches([' ', '\t']);
    let address = if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let no_or_good = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        no_or_good.then_some(IpAddr::V6(address.parse().ok()?))?
    } else {
        match text.split_once(':') {
            Some((address, port)) if !port.contains(':') => {
                is_port(port).then_some(IpAddr::V4(address.parse().ok()?))?
            }
            _ => text.parse().ok()?,
        }
    };
    Some(address.to_canonical())
}

/// Accepts a port as in RFC 7239, section 6: a number, or a word that hides it.
fn is_port(text: &str) -> bool {
    let hidden = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match text.strip_prefix('_') {
        Some(word) => !word.is_empty() && word.bytes().all(hidden),
        None => (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// Reads what follows `for=` in each element of a line; `None` for an element without it.
///
/// The whole line must be well-formed, from its beginning: otherwise a quote that the client opened
/// would swallow what the proxy wrote after it. As proxies write quotes in pairs, such a line has
/// an odd number of quotes and is never well-formed.
fn forwarded_for(line: &[u8]) -> Result<Vec<&[u8]>, Unnamed> {
    const NAME: &str = "Forwarded";
    let mut elements = Vec::new();
    let mut named: Option<&[u8]> = None;
    let mut rest = blanks_off(line);
    loop {
        if let Some((pair, behind)) = pair(rest) {
            let (key, value) = pair;
            if key.eq_ignore_ascii_case(b"for") && named.replace(value).is_some() {
                return Err(Unnamed::Unreadable(NAME));
            }
            rest = blanks_off(behind);
        }
        match rest.split_first() {
            Some((b';', behind)) => rest = blanks_off(behind),
            Some((b',', behind)) => {
                elements.push(named.take().unwrap_or_default());
                rest = blanks_off(behind);
            }
            Some(_) => return Err(Unnamed::Unreadable(NAME)),
            None => {
                elements.push(named.unwrap_or_default());
                return Ok(elements);
            }
        }
        if elements.len() == MOST_LOOKED_AT {
            return Err(Unnamed::TooMany(NAME));
        }
    }
}

type Pair<'a> = (&'a [u8], &'a [u8]);

/// Splits `key=value` or `key="value"` off the beginning. Escapes are left as they are, since no
/// address has any.
fn pair(text: &[u8]) -> Option<(Pair<'_>, &[u8])> {
    let (key, rest) = split_while(text, is_of_token);
    let rest = rest.strip_prefix(b"=").filter(|_| !key.is_empty())?;
    if let Some(quoted) = rest.strip_prefix(b"\"") {
        let end = end_of_quotes(quoted)?;
        return Some(((key, &quoted[..end]), &quoted[end + 1..]));
    }
    // Some proxies leave out the quotes that brackets and colons need.
    let (value, rest) = split_while(rest, |byte| is_of_token(byte) || b"[]:".contains(&byte));
    (!value.is_empty()).then_some(((key, value), rest))
}

/// Finds the first quote that is not escaped.
fn end_of_quotes(text: &[u8]) -> Option<usize> {
    let mut escaped = false;
    text.iter().position(|byte| match byte {
        _ if escaped => {
            escaped = false;
            false
        }
        b'\\' => {
            escaped = true;
            false
        }
        byte => *byte == b'"',
    })
}

fn split_while(text: &[u8], wanted: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !wanted(*byte));
    text.split_at(end.unwrap_or(text.len()))
}

fn blanks_off(text: &[u8]) -> &[u8] {
    split_while(text, |byte| matches!(byte, b' ' | b'\t')).1
}

/// The characters of a token (RFC 9110, section 5.6.2).
fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use hyper::header::HeaderValue;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn proxies(header: ForwardedHeader) -> Proxies {
        let networks = Networks::read(["10.0.0.0/8", "2001:db8:aaaa::/48"]).unwrap();
        Proxies { networks, header }
    }

    /// Reads lines of a header while another header, which must be ignored, is set as well.
    fn client<L: AsRef<[u8]>>(header: ForwardedHeader, lines: &[L]) -> Result<IpAddr, Unnamed> {
        let mut headers = HeaderMap::new();
        headers.insert(X_FORWARDED_FOR, HeaderValue::from_static("203.0.113.66"));
        headers.insert(
            header::FORWARDED,
            HeaderValue::from_static("for=203.0.113.66"),
        );
        headers.remove(header.name());
        for line in lines {
            let line = HeaderValue::from_bytes(line.as_ref()).unwrap();
            headers.append(header.name(), line);
        }
        proxies(header).client(&headers)
    }

    /// Compares what is read of lines, separated by `|`, with an address or with the beginning of `Missing`,
    /// `Unreadable`, `OnlyProxies` or `TooMany`.
    fn check(header: ForwardedHeader, table: &[(&str, &str)]) {
        for (lines, expected) in table {
            let parted: Vec<&str> = lines.split('|').filter(|line| *line != "none").collect();
            let told = match client(header, &parted) {
                Ok(address) => address.to_string(),
                Err(unnamed) => format!("{unnamed:?}"),
            };
            assert!(told.starts_with(expected), "{lines}: {told}");
        }
    }

    #[test]
    fn the_client_stands_before_the_trusted_proxies() {
        check(
            ForwardedHeader::XForwardedFor,
            &[
                ("192.0.2.1", "192.0.2.1"),
                ("2001:db8::1", "2001:db8::1"),
                ("203.0.113.5, 192.0.2.1", "192.0.2.1"),
                ("203.0.113.5,192.0.2.1 ,10.0.0.1,\t10.1.0.1", "192.0.2.1"),
                ("10.9.9.9, 192.0.2.1, 2001:db8:aaaa::7", "192.0.2.1"),
                ("203.0.113.5|192.0.2.1", "192.0.2.1"),
                ("203.0.113.5|192.0.2.1|10.0.0.1", "192.0.2.1"),
                ("garbage, 192.0.2.1", "192.0.2.1"),
                (", 192.0.2.1", "192.0.2.1"),
                ("\"|192.0.2.1, 10.0.0.1", "192.0.2.1"),
                ("::ffff:192.0.2.1", "192.0.2.1"),
                ("192.0.2.1, ::ffff:10.0.0.1", "192.0.2.1"),
                ("192.0.2.1:4711", "192.0.2.1"),
                ("[2001:db8::1]:4711, 10.0.0.1:1", "2001:db8::1"),
                ("[2001:db8::1]", "2001:db8::1"),
                ("none", "Missing"),
                ("", "Unreadable"),
                ("192.0.2.1,", "Unreadable"),
                ("192.0.2.1|", "Unreadable"),
                ("192.0.2.1, , 10.0.0.1", "Unreadable"),
                ("192.0.2.1, unknown", "Unreadable"),
                ("192.0.2.1, garbage, 10.0.0.1", "Unreadable"),
                ("192.0.2.1 203.0.113.5", "Unreadable"),
                ("192.0.2.1;10.0.0.1", "Unreadable"),
                ("for=192.0.2.1", "Unreadable"),
                ("\"192.0.2.1\"", "Unreadable"),
                ("192.0.2.1:", "Unreadable"),
                ("192.0.2.1:port", "Unreadable"),
                ("192.0.2.1:123456", "Unreadable"),
                ("192.0.2.01", "Unreadable"),
                ("192.0.2", "Unreadable"),
                ("3221225985", "Unreadable"),
                ("[192.0.2.1]", "Unreadable"),
                ("[2001:db8::1", "Unreadable"),
                ("[2001:db8::1]4711", "Unreadable"),
                ("fe80::1%eth0", "Unreadable"),
                ("client.example.com", "Unreadable"),
                ("10.0.0.1", "OnlyProxies"),
                ("10.0.0.9, 10.0.0.1|10.0.0.2", "OnlyProxies"),
            ],
        );
    }

    #[test]
    fn forwarded_is_read_as_its_specification_says() {
        check(
            ForwardedHeader::Forwarded,
            &[
                ("for=192.0.2.1", "192.0.2.1"),
                ("For=192.0.2.1;proto=https;by=10.0.0.1", "192.0.2.1"),
                (
                    "by=\"_x\"; host=\"a,b;for=203.0.113.5\" ;for=\"192.0.2.1\"",
                    "192.0.2.1",
                ),
                ("for=203.0.113.5, for=192.0.2.1, for=10.0.0.1", "192.0.2.1"),
                ("for=203.0.113.5|for=192.0.2.1|for=10.0.0.1", "192.0.2.1"),
                ("for=\"[2001:db8::1]:4711\"", "2001:db8::1"),
                ("for=\"[2001:db8::1]\";", "2001:db8::1"),
                ("for=\"192.0.2.1:_hidden\"", "192.0.2.1"),
                ("for=[2001:db8::1]:80, for=10.0.0.1:80", "2001:db8::1"),
                ("for=\"::ffff:192.0.2.1\"", "192.0.2.1"),
                ("for=unknown, for=192.0.2.1", "192.0.2.1"),
                (
                    "secret=\"\\\", for=203.0.113.5;x=\\\"\";for=192.0.2.1",
                    "192.0.2.1",
                ),
                ("garbage = \"|for=192.0.2.1", "192.0.2.1"),
                ("none", "Missing"),
                ("", "Unreadable"),
                ("for=203.0.113.5,", "Unreadable"),
                ("for=203.0.113.5, proto=https", "Unreadable"),
                ("for=203.0.113.5, for=unknown", "Unreadable"),
                ("for=203.0.113.5, for=_hidden", "Unreadable"),
                ("for=203.0.113.5, for=\"\"", "Unreadable"),
                ("for=203.0.113.5, for=", "Unreadable"),
                ("for=203.0.113.5, for", "Unreadable"),
                ("for=203.0.113.5;for=192.0.2.1", "Unreadable"),
                ("for=\"203.0.113.5, for=192.0.2.1", "Unreadable"),
                ("for=203.0.113.5;x=\", for=\"[2001:db8::1]\"", "Unreadable"),
                ("for = 192.0.2.1", "Unreadable"),
                ("for=192.0.2.1 proto=https", "Unreadable"),
                ("for=\"192.0.2.\\1\"", "Unreadable"),
                ("192.0.2.1", "Unreadable"),
                ("for=10.0.0.1", "OnlyProxies"),
            ],
        );
    }

    #[test]
    fn the_work_for_a_long_header_is_bounded() {
        let plain: fn(&str) -> String = |address| address.to_owned();
        let paired: fn(&str) -> String = |address| format!("for={address}");
        for (header, write) in [
            (ForwardedHeader::XForwardedFor, plain),
            (ForwardedHeader::Forwarded, paired),
        ] {
            let chain = |proxies: usize| {
                let proxies = std::iter::repeat_n("10.0.0.1", proxies);
                let addresses = std::iter::once("192.0.2.1").chain(proxies);
                addresses.map(write).collect::<Vec<_>>()
            };
            let good = Ok("192.0.2.1".parse().unwrap());
            let too_many = Err(Unnamed::TooMany(header.shown()));
            let longest = MOST_LOOKED_AT - 1;
            assert_eq!(client(header, &chain(longest)), good);
            assert_eq!(client(header, &[chain(longest).join(",")]), good);
            assert_eq!(client(header, &chain(longest + 1)), too_many);
            for proxies in [longest + 1, 10_000] {
                assert_eq!(client(header, &[chain(proxies).join(",")]), too_many);
            }
            // Addresses before the one that is found are not counted.
            let junk = chain(10_000).join(",");
            assert_eq!(client(header, &[junk, write("192.0.2.1")]), good);
        }
    }

    /// What a client might send to be taken for another one.
    fn sent() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            8 => prop::sample::select(vec![
                "for=", "203.0.113.66", "10.0.0.1", "\"", "\\", ",", ";", "=", " ", "[", "]", "::1", "x", "_",
                ", for=203.0.113.66", ";for=203.0.113.66", "host=\"",
            ])
            .prop_map(|piece| piece.as_bytes().to_vec()),
            1 => vec((0x20..=0xff_u8).prop_filter("no header has it", |byte| *byte != 0x7f), 1..4),
        ];
        vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn a_client_cannot_say_where_it_comes_from(
            sent in vec(sent(), 0..4),
            own_line: bool,
            passed in prop::sample::select(vec!["", ", 10.0.0.1", ", 10.0.0.1, 2001:db8:aaaa::1"]),
        ) {
            let mut lines = sent;
            let added = format!("192.0.2.1{passed}");
            match lines.last_mut().filter(|_| !own_line) {
                Some(line) => line.extend(format!(", {added}").bytes()),
                None => lines.push(added.into()),
            }
            let found = client(ForwardedHeader::XForwardedFor, &lines);
            prop_assert_eq!(found, Ok("192.0.2.1".parse().unwrap()));
        }

        #[test]
        fn a_client_cannot_say_it_in_forwarded_either(
            sent in vec(sent(), 0..4),
            own_line: bool,
            added in prop::sample::select(vec![
                "for=192.0.2.1",
                "for=\"192.0.2.1:80\";proto=https",
                "by=\"_x\";for=192.0.2.1;host=\"a\\\"b,c;d=\\\"\"",
                "for=192.0.2.1;by=\"\", for=\"10.0.0.1\"",
                "for=\"192.0.2.1\", for=\"[2001:db8:aaaa::1]:80\"",
            ]),
        ) {
            let mut lines = sent;
            match lines.last_mut().filter(|_| !own_line) {
                Some(line) => {
                    line.extend(format!(", {added}").bytes());
                    let found = client(ForwardedHeader::Forwarded, &lines);
                    prop_assert!(
                        matches!(found, Err(Unnamed::Unreadable(_)))
                            || found == Ok("192.0.2.1".parse().unwrap()),
                        "{found:?}"
                    );
                }
                None => {
                    lines.push(added.into());
                    let found = client(ForwardedHeader::Forwarded, &lines);
                    prop_assert_eq!(found, Ok("192.0.2.1".parse().unwrap()));
                }
            }
        }
    }
}
