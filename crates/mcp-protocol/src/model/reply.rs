//! The envelope that every result has from 2026-07-28 on.

use std::time::Duration;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::{At, Fields, Implementation, Object, Project, ServerInfo};
use crate::jsonrpc::Id;
use crate::revision::Revision;

/// A result with what its revision adds to all results. This is the one way out: what an older
/// client must not see is left out here for every transport.
pub(crate) struct Reply<'a, T> {
    pub(crate) body: &'a T,
    pub(crate) revision: Revision,
    pub(crate) server: &'a ServerInfo,
    pub(crate) result_type: &'static str,
    /// The stream of changes that this result ends.
    pub(crate) subscription: Option<&'a Id>,
    /// How long a client may keep the result for the same principal; for lists and readings only.
    pub(crate) keep_for: Option<Duration>,
}

impl<T: Project> Serialize for Reply<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let mut fields = Fields {
            map: &mut map,
            revision: self.revision,
        };
        self.body.project(&mut fields)?;
        if self.revision.is_modern() {
            fields.always("resultType", self.result_type)?;
            if let Some(time) = self.keep_for {
                fields.always("ttlMs", u64::try_from(time.as_millis()).unwrap_or(u64::MAX))?;
                // `public` would let a cache share it between tokens.
                fields.always("cacheScope", "private")?;
            }
            fields.always(
                "_meta",
                ReplyMeta {
                    own: self.body.meta(),
                    server: self.server,
                    subscription: self.subscription,
                },
            )?;
        } else {
            fields.since(Revision::V2025_06_18, "_meta", self.body.meta())?;
        }
        map.end()
    }
}

/// The `_meta` of a result: the handler's own entries and the server's name.
struct ReplyMeta<'a> {
    own: Option<&'a Object>,
    server: &'a ServerInfo,
    subscription: Option<&'a Id>,
}

impl Serialize for ReplyMeta<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
        let server = Implementation(self.server);
        let own = self
            .own
            .into_iter()
            .flatten()
            .filter(|(key, _)| *key != SERVER_INFO);
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in own {
            map.serialize_entry(key, value)?;
        }
        map.serialize_entry(SERVER_INFO, &At(&server, Revision::V2026_07_28))?;
        if let Some(id) = self.subscription {
            map.serialize_entry("io.modelcontextprotocol/subscriptionId", id)?;
        }
        map.end()
    }
}

/// A result without fields of its own.
pub(crate) struct Empty;

impl Project for Empty {
    fn project<M: SerializeMap>(&self, _: &mut Fields<'_, M>) -> Result<(), M::Error> {
        Ok(())
    }
}
