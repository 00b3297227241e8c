//! What a client says about itself.

use std::borrow::Cow;
use std::sync::Arc;

use hyper::header::{HeaderMap, USER_AGENT};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::jsonrpc;
use crate::revision::Revision;

/// The extension that lets calls continue as tasks.
pub(crate) const TASKS: &str = "io.modelcontextprotocol/tasks";

/// How many characters of a client's name are kept.
const LONGEST_NAME: usize = 100;

/// Reads what a client calls itself, as `name/version`. Nobody has checked it; anything that is not
/// a name counts as none.
pub(crate) fn name(info: Option<&RawValue>) -> Option<Arc<str>> {
    #[derive(Deserialize)]
    struct Implementation<'a> {
        #[serde(borrow)]
        name: Cow<'a, str>,
        #[serde(borrow, default)]
        version: Cow<'a, str>,
    }
    let info = info.filter(|info| jsonrpc::is_object(info))?;
    let Implementation { name, version } = serde_json::from_str(info.get()).ok()?;
    match &*version {
        "" => shortened(&name),
        version => shortened(&[&name, "/", version].concat()),
    }
}

/// Reads the name of the program from a request without a handshake.
pub(crate) fn program(headers: &HeaderMap) -> Option<Arc<str>> {
    shortened(headers.get(USER_AGENT)?.to_str().ok()?)
}

/// Cuts a name to the length that is kept; an empty name counts as none.
fn shortened(name: &str) -> Option<Arc<str>> {
    let end = name.char_indices().nth(LONGEST_NAME);
    let short = end.map_or(name, |(end, _)| &name[..end]);
    (!short.is_empty()).then(|| short.into())
}

/// What a client can be asked for, as it declared for this request or for its session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientCapabilities {
    /// Its model can be asked to write a message.
    pub sampling: bool,
    /// Its user can be asked to fill in a form (since 2025-06-18).
    pub elicitation: bool,
    /// Its user can be sent to a web page (since 2025-11-25).
    pub elicitation_url: bool,
    /// It can list the folders that the server may look at.
    pub roots: bool,
    /// It can follow tasks (the extension of 2026-07-28).
    pub tasks: bool,
}

impl ClientCapabilities {
    /// Reads the declaration of a client that speaks `revision`.
    pub(crate) fn read(declared: &Value, revision: Revision) -> Self {
        let has = |name: &str| declared.get(name).is_some_and(Value::is_object);
        let elicitation = declared
            .get("elicitation")
            .filter(|modes| modes.is_object());
        let elicitation = elicitation.filter(|_| revision >= Revision::V2025_06_18);
        let mode = |name: &str| elicitation.is_some_and(|modes| modes.get(name).is_some());
        Self {
            sampling: has("sampling"),
            // An empty declaration means forms.
            elicitation: elicitation.is_some() && (mode("form") || !mode("url")),
            elicitation_url: mode("url") && revision >= Revision::V2025_11_25,
            roots: has("roots"),
            tasks: revision.is_modern() && declared["extensions"].get(TASKS).is_some(),
        }
    }
}

/// A capability that a client lacks, as it would have to declare it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lacking {
    Sampling,
    Elicitation,
    ElicitationUrl,
    Roots,
    Tasks,
}

impl Lacking {
    pub(crate) fn declaration(self) -> Value {
        match self {
            Self::Sampling => json!({ "sampling": {} }),
            Self::Elicitation => json!({ "elicitation": {} }),
            Self::ElicitationUrl => json!({ "elicitation": { "url": {} } }),
            Self::Roots => json!({ "roots": {} }),
            Self::Tasks => json!({ "extensions": { TASKS: {} } }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_called_what_it_calls_itself() {
        let long = "x".repeat(500);
        for (info, expected) in [
            (r#"{"name":"cursor","version":"1.9"}"#, Some("cursor/1.9")),
            (r#"{"name":"curl"}"#, Some("curl")),
            (r#"{"name":""}"#, None),
            (r#"{"name":7}"#, None),
            (r#""curl""#, None),
            (
                &format!(r#"{{"name":"{long}"}}"#),
                Some(&long[..LONGEST_NAME]),
            ),
        ] {
            let raw: &RawValue = serde_json::from_str(info).expect("the table holds JSON");
            assert_eq!(name(Some(raw)).as_deref(), expected, "{info}");
        }
        assert_eq!(name(None), None);
    }

    #[test]
    fn elicitation_without_a_mode_means_forms() {
        let read = |declared| ClientCapabilities::read(&declared, Revision::V2026_07_28);
        for (declared, form, url) in [
            (json!({}), false, false),
            (json!({ "elicitation": {} }), true, false),
            (json!({ "elicitation": { "form": {} } }), true, false),
            (json!({ "elicitation": { "url": {} } }), false, true),
            (
                json!({ "elicitation": { "form": {}, "url": {} } }),
                true,
                true,
            ),
            (json!({ "elicitation": null }), false, false),
        ] {
            let read = read(declared.clone());
            assert_eq!(
                (read.elicitation, read.elicitation_url),
                (form, url),
                "{declared}"
            );
        }
    }

    #[test]
    fn a_revision_without_elicitation_cannot_declare_it() {
        let declared = json!({ "elicitation": {}, "sampling": {} });
        let read = ClientCapabilities::read(&declared, Revision::V2025_03_26);
        assert!(read.sampling && !read.elicitation);
    }
}
