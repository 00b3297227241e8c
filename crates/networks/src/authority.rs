//! Hosts as requests and URLs name them (RFC 3986, section 3.2).

/// A host name or address, without a trailing dot, and its port, if given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// The name or IPv4 address, or an IPv6 address in brackets.
    pub name: &'a str,
    /// The port.
    pub port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Parses `name` or `name:port`; `None` if it is neither.
    ///
    /// ```
    /// use networks::Authority;
    ///
    /// let host = Authority::parse("db.example.com.:8443").unwrap();
    /// assert_eq!((host.name, host.port), ("db.example.com", Some(8443)));
    /// assert_eq!(Authority::parse("[::1]").unwrap().name, "[::1]");
    /// assert_eq!(Authority::parse("https://db.example.com"), None);
    /// ```
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let name_end = match text.strip_prefix('[') {
            Some(_) => text.find(']')? + 1,
            None => text.find(':').unwrap_or(text.len()),
        };
        let (name, port) = text.split_at(name_end);
        let port = match port.strip_prefix(':') {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().ok()?)
            }
            None if port.is_empty() => None,
            _ => return None,
        };
        let name = name.strip_suffix('.').unwrap_or(name);
        let usable = |byte: u8| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte);
        (!name.is_empty() && name.bytes().all(usable)).then_some(Self { name, port })
    }

    /// Parses the host of a web page's origin, `https://name` or `https://name:port` (RFC 6454, section 6.2); `None` if
    /// it is not an origin.
    #[must_use]
    pub fn of_origin(origin: &'a str) -> Option<Self> {
        let schemes = ["https://", "http://"];
        let mut hosts = schemes
            .iter()
            .filter_map(|scheme| origin.strip_prefix(scheme));
        Self::parse(hosts.next()?)
    }

    /// Says whether this is the name.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}
