//! The fields that every result has from 2026-07-28 on.

use std::time::Duration;

use super::{Fields, Json, Object, Project};
use crate::jsonrpc::Id;
use crate::revision::Revision;

/// A result with what its revision adds to every result. All results are written here, so that what
/// an older client must not see is left out in one place.
pub(crate) struct Reply<'a, T> {
    pub(crate) body: &'a T,
    pub(crate) revision: Revision,
    /// The server, as this revision sees it.
    pub(crate) server: &'a Json,
    pub(crate) result_type: &'static str,
    /// The stream of changes that this result ends.
    pub(crate) subscription: Option<&'a Id>,
    /// How long a client may cache the result for the same principal; only for lists, descriptions and resource
    /// contents.
    pub(crate) keep_for: Option<Duration>,
}

impl<T: Project> Reply<'_, T> {
    /// Writes the result alone, without an envelope.
    pub(crate) fn json(&self) -> Json {
        let mut out = Vec::new();
        self.write(&mut out);
        Json::written(String::from_utf8(out).expect("JSON is UTF-8"))
    }

    /// Appends the result to `out`.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let mut fields = Fields::open(out, self.revision);
        self.body.project(&mut fields);
        if self.revision.is_modern() {
            fields.always("resultType", self.result_type);
            if let Some(time) = self.keep_for {
                fields.always("ttlMs", u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
                // `public` would let a cache share it between principals.
                fields.always("cacheScope", "private");
            }
            fields.object(
                "_meta",
                &ReplyMeta {
                    own: self.body.meta(),
                    server: self.server,
                    subscription: self.subscription,
                },
            );
        } else {
            fields.since(Revision::V2025_06_18, "_meta", self.body.meta());
        }
        fields.close();
    }
}

/// The `_meta` of a result: the handler's own entries and the server's name.
struct ReplyMeta<'a> {
    own: Option<&'a Object>,
    server: &'a Json,
    subscription: Option<&'a Id>,
}

impl Project for ReplyMeta<'_> {
    fn project(&self, fields: &mut Fields<'_>) {
        const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
        let own = self.own.into_iter().flatten();
        for (key, value) in own.filter(|(key, _)| *key != SERVER_INFO) {
            fields.always(key, value);
        }
        fields.json(SERVER_INFO, self.server);
        fields.optional("io.modelcontextprotocol/subscriptionId", self.subscription);
    }
}

/// A result without fields of its own.
pub(crate) struct Empty;

impl Project for Empty {
    fn project(&self, _: &mut Fields<'_>) {}
}
