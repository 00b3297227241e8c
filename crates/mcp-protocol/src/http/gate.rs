//! The checks before any work: is the request well addressed, and may its sender address it?

use hyper::header::{HOST, HeaderMap, HeaderName, ORIGIN, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use networks::Authority;

use super::options::{AllowedHosts, Options};

const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Why a request is refused at the gate.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Turned {
    pub(super) status: u16,
    pub(super) message: &'static str,
}

/// Where a request that passed the gate comes from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Not a web page, or a page of this server's own origin.
    Own,
    /// A web page of an allowed origin; the reply needs CORS headers.
    Page(String),
}

/// Lets a body pass that is sent whole or in chunks. Two readers of one connection may disagree
/// about where any other coding ends (RFC 9112, sections 6.1 and 7), so after a refusal here the
/// connection takes no further request.
pub(super) fn check_coding(headers: &HeaderMap) -> Result<(), Turned> {
    let values = headers.get_all(TRANSFER_ENCODING).iter();
    let codings: Vec<&[u8]> = values
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .collect();
    let is_chunked = |coding: &&&[u8]| coding.eq_ignore_ascii_case(b"chunked");
    match codings.len() {
        // A single coding other than chunked is refused where the head is parsed.
        0 | 1 => Ok(()),
        _ if codings.iter().filter(is_chunked).count() > 1 => Err(Turned {
            status: 400,
            message: "Transfer-Encoding names chunked more than once",
        }),
        _ => Err(Turned {
            status: 501,
            message: "no Transfer-Encoding but chunked is understood",
        }),
    }
}

/// Accepts a request whose `Host` and `Origin` are allowed.
pub(super) fn check(parts: &Parts, options: &Options) -> Result<Source, Turned> {
    let host = Authority::parse(host(parts)?).ok_or(Turned {
        status: 400,
        message: "the Host header is not a host name",
    })?;
    if !is_allowed(host, &options.allowed_hosts) {
        return Err(Turned {
            status: 403,
            message: "this Host is not allowed; add it to the server's allowed_hosts",
        });
    }
    let Some(origin) = single(&parts.headers, &ORIGIN, "several Origin headers")? else {
        return Ok(Source::Own);
    };
    if options
        .allowed_origins
        .iter()
        .any(|allowed| allowed.eq_ignore_ascii_case(origin))
    {
        return Ok(Source::Page(origin.to_owned()));
    }
    let own = Authority::of_origin(origin);
    if own.is_some_and(|own| own.is_called(host.name) && own.port == host.port) {
        return Ok(Source::Own);
    }
    Err(Turned {
        status: 403,
        message: "this Origin is not allowed; add it to the server's allowed_origins",
    })
}

impl AllowedHosts {
    /// Returns whether a request names exactly one host, and one that is allowed.
    pub fn takes(&self, request: &Parts) -> bool {
        let host = host(request).ok();
        let host = host.and_then(Authority::parse);
        host.is_some_and(|host| is_allowed(host, self))
    }
}

/// Returns the one host that a request names: in `Host`, in the target, or identically in both.
fn host(parts: &Parts) -> Result<&str, Turned> {
    let header = single(&parts.headers, &HOST, "several Host headers")?;
    let target = parts
        .uri
        .authority()
        .map(hyper::http::uri::Authority::as_str);
    match (header, target) {
        (None, None) => Err(Turned {
            status: 400,
            message: "the Host header is missing",
        }),
        (Some(header), Some(target)) if !header.eq_ignore_ascii_case(target) => Err(Turned {
            status: 400,
            message: "Host and request target name different hosts",
        }),
        (Some(host), _) | (None, Some(host)) => Ok(host),
    }
}

fn single<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    several: &'static str,
) -> Result<Option<&'a str>, Turned> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Turned {
            status: 400,
            message: several,
        });
    }
    first
        .map(|value| value.to_str())
        .transpose()
        .map_err(|_| Turned {
            status: 400,
            message: "a header holds characters that it must not",
        })
}

/// Returns whether a host is allowed.
fn is_allowed(host: Authority<'_>, allowed: &AllowedHosts) -> bool {
    let AllowedHosts::LoopbackAnd(names) = allowed else {
        return true;
    };
    let fits = |allowed: Authority<'_>| {
        host.is_called(allowed.name) && (allowed.port.is_none() || allowed.port == host.port)
    };
    LOOPBACK.into_iter().any(|name| host.is_called(name))
        || names
            .iter()
            .filter_map(|name| Authority::parse(name))
            .any(fits)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn verdict(host: &[&str], origin: &[&str]) -> Result<Source, u16> {
        let options = Options {
            allowed_hosts: AllowedHosts::LoopbackAnd(vec![
                "mcp.example.com".to_owned(),
                "other.example.com:8443".to_owned(),
            ]),
            allowed_origins: vec!["https://app.example.com".to_owned()],
            ..Options::default()
        };
        let mut request = hyper::Request::post("/mcp");
        for host in host {
            request = request.header(HOST, *host);
        }
        for origin in origin {
            request = request.header(ORIGIN, *origin);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        check(&parts, &options).map_err(|turned| turned.status)
    }

    #[test]
    fn hosts_and_origins_pass_as_the_table_says() {
        let page = || Ok(Source::Page("https://app.example.com".to_owned()));
        let own = || Ok(Source::Own);
        type Row = (
            &'static [&'static str],
            &'static [&'static str],
            Result<Source, u16>,
        );
        let table: [Row; 29] = [
            (&["localhost"], &[], own()),
            (&["localhost:8080"], &[], own()),
            (&["LOCALHOST:8080"], &[], own()),
            (&["localhost.:8080"], &[], own()),
            (&["127.0.0.1:1"], &[], own()),
            (&["[::1]:8080"], &[], own()),
            (&["[::1]"], &[], own()),
            (&["mcp.example.com:99"], &[], own()),
            (&["other.example.com:8443"], &[], own()),
            (&["other.example.com"], &[], Err(403)),
            (&["other.example.com:8444"], &[], Err(403)),
            (&["evil.example.com"], &[], Err(403)),
            (&["localhost.evil.com"], &[], Err(403)),
            (&["127.0.0.1.nip.io"], &[], Err(403)),
            (&["[::2]"], &[], Err(403)),
            (&["0.0.0.0"], &[], Err(403)),
            (&[], &[], Err(400)),
            (&["localhost", "localhost"], &[], Err(400)),
            (&[""], &[], Err(400)),
            (&["localhost:99999"], &[], Err(400)),
            (&["localhost:80:80"], &[], Err(400)),
            (&["user@localhost"], &[], Err(400)),
            (&["localhost:80"], &["http://localhost:80"], own()),
            (&["localhost:80"], &["http://localhost:81"], Err(403)),
            (&["localhost"], &["http://evil.example.com"], Err(403)),
            (&["localhost"], &["null"], Err(403)),
            (&["localhost"], &["https://app.example.com"], page()),
            (
                &["localhost"],
                &["https://app.example.com.evil.com"],
                Err(403),
            ),
            (
                &["localhost"],
                &["https://app.example.com", "http://localhost"],
                Err(400),
            ),
        ];
        for (host, origin, expected) in table {
            assert_eq!(
                verdict(host, origin),
                expected,
                "Host {host:?}, Origin {origin:?}"
            );
        }
    }

    #[test]
    fn a_body_is_whole_or_chunked_once() {
        for (codings, expected) in [
            (&[][..], Ok(())),
            (&["chunked"], Ok(())),
            (&[" Chunked "], Ok(())),
            (&["gzip, chunked"], Err(501)),
            (&["gzip", "chunked"], Err(501)),
            (&["chunked, identity"], Err(501)),
            (&["chunked, chunked"], Err(400)),
            (&["chunked", "chunked"], Err(400)),
            (&["chunked, gzip, chunked"], Err(400)),
        ] {
            let mut headers = HeaderMap::new();
            for coding in codings {
                headers.append(TRANSFER_ENCODING, coding.parse().unwrap());
            }
            let verdict = check_coding(&headers).map_err(|turned| turned.status);
            assert_eq!(verdict, expected, "{codings:?}");
        }
    }

    #[test]
    fn a_target_that_names_another_host_is_refused() {
        let request = hyper::Request::post("http://evil.example.com/mcp").header(HOST, "localhost");
        let (parts, ()) = request.body(()).unwrap().into_parts();
        assert_eq!(check(&parts, &Options::default()).unwrap_err().status, 400);
    }
}
