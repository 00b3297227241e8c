//! The base URL that a provider's paths are appended to.

use hyper::Uri;

use crate::SetUpError;

/// A URL without a query, fragment, user or trailing slash.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    /// Scheme, host and port.
    site: String,
    /// The path after it.
    path: String,
}

impl Base {
    /// Parses a URL.
    pub(crate) fn new(text: &str) -> Result<Self, SetUpError> {
        let wrong = |reason| SetUpError::Url { reason };
        let uri: Uri = text.parse().map_err(|_| wrong("it is not a URL"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(wrong("it must begin with https:// or http://"));
        }
        let authority = uri.authority().ok_or_else(|| wrong("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("it has a user in it; give the key by itself"));
        }
        if authority.host().is_empty() {
            return Err(wrong("it has no host"));
        }
        if uri.query().is_some() || text.contains('#') {
            return Err(wrong("it has a query or a fragment; leave these out"));
        }
        // The host may have the same name as a part of the path: http://api
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| wrong("it is not a URL"))?;
        let (site, path) = rest.split_at(authority.as_str().len());
        Ok(Base {
            site: format!("{scheme}://{site}"),
            path: path.trim_end_matches('/').to_owned(),
        })
    }

    /// Appends a path, which may be there in part already: people copy URLs with and without `/v1`.
    pub(crate) fn join(&self, path: &str) -> Result<Uri, SetUpError> {
        let before = path
            .match_indices('/')
            .map(|(at, _)| at)
            .chain([path.len()])
            .rev()
            .find_map(|at| self.path.strip_suffix(&path[..at]))
            .unwrap_or(&self.path);
        format!("{}{before}{path}", self.site)
            .parse()
            .map_err(|_| SetUpError::Url {
                reason: "it is not a URL",
            })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_path_is_added_once() {
        for (base, path, whole) in [
            (
                "https://a.example",
                "/v1/messages",
                "https://a.example/v1/messages",
            ),
            (
                "https://a.example/",
                "/v1/messages",
                "https://a.example/v1/messages",
            ),
            (
                "https://a.example/v1",
                "/v1/messages",
                "https://a.example/v1/messages",
            ),
            (
                "https://a.example/v1/messages",
                "/v1/messages",
                "https://a.example/v1/messages",
            ),
            (
                "http://[::1]:11434",
                "/api/embed",
                "http://[::1]:11434/api/embed",
            ),
            (
                "http://a.example/api/",
                "/api/embed",
                "http://a.example/api/embed",
            ),
            ("http://api", "/api/embed", "http://api/api/embed"),
            ("http://api/api", "/api/embed", "http://api/api/embed"),
            ("http://v1/", "/v1/messages", "http://v1/v1/messages"),
            (
                "https://a.example/x/v1",
                "/embeddings",
                "https://a.example/x/v1/embeddings",
            ),
        ] {
            assert_eq!(
                Base::new(base).unwrap().join(path).unwrap(),
                whole,
                "{base}"
            );
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "a.example",
            "/v1",
            "ftp://a.example",
            "https://",
            "https://user:canary@a.example",
            "https://a.example?key=canary",
            "https://a.example/#x",
            "https://a b",
        ] {
            let error = Base::new(text).unwrap_err().to_string();
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
