//! The description of a server, written once for each revision.

use crate::model::{Capabilities, Handshake, Implementation, Json, ServerInfo};
use crate::revision::Revision;

/// The description of a server in every revision.
#[derive(Debug)]
pub(crate) struct Described([Words; Revision::ALL.len()]);

#[derive(Debug)]
struct Words {
    handshake: Json,
    server: Json,
}

impl Described {
    pub(crate) fn new(server: &ServerInfo, capabilities: Capabilities) -> Self {
        let handshake = Handshake {
            server,
            capabilities,
        };
        Self(Revision::ALL.map(|revision| Words {
            handshake: Json::of(&handshake, revision),
            server: Json::of(&Implementation(server), revision),
        }))
    }

    /// Returns the result of `initialize`.
    pub(crate) fn handshake(&self, revision: Revision) -> &Json {
        &self.words(revision).handshake
    }

    /// Returns the JSON that names the server in other results.
    pub(crate) fn server(&self, revision: Revision) -> &Json {
        &self.words(revision).server
    }

    fn words(&self, revision: Revision) -> &Words {
        &self.0[revision as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_revision_has_its_own_words() {
        let server = ServerInfo {
            name: "s".into(),
            title: Some("Server".into()),
            version: "1".into(),
            ..ServerInfo::default()
        };
        let described = Described::new(&server, Capabilities::default());
        for revision in Revision::ALL {
            let named = format!(r#""protocolVersion":"{revision}""#);
            let handshake = described.handshake(revision).as_str();
            assert!(handshake.contains(&named), "{handshake}");
            let title = if revision >= Revision::V2025_06_18 {
                r#""title":"Server","#
            } else {
                ""
            };
            assert_eq!(
                described.server(revision).as_str(),
                format!(r#"{{"name":"s",{title}"version":"1"}}"#)
            );
        }
    }
}
