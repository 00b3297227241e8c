//! Reading the YAML file into a tree of bounded size.

use std::path::Path;

use serde_json::{Map, Value as Tree};

use crate::read_regular;

/// A configuration is a page or two; a file anywhere near this size (in bytes) is a mistake.
const LARGEST_FILE: u64 = 1 << 20;

/// The maximum nesting depth. The deepest key of a configuration is at the fourth level.
const MOST_DEPTH: usize = 32;

/// The maximum number of values in a file, and of values repeated by aliases.
const MOST_NODES: usize = 20_000;

/// Reads a configuration file as a map; an empty file is an empty map.
///
/// # Errors
/// A sentence that says what to do, without the file's name.
pub(crate) fn read(path: &Path) -> Result<Map<String, Tree>, String> {
    let text = text(path)?;
    let tree = parse(&text).map_err(|error| format!("this is not valid YAML: {error}"))?;
    match tree {
        None | Some(Tree::Null) => Ok(Map::new()),
        Some(Tree::Object(map)) => Ok(map),
        Some(_) => {
            Err("a configuration is a map with keys such as `http:` and `databases:`".into())
        }
    }
}

fn parse(text: &str) -> Result<Option<Tree>, String> {
    let options = serde_yaml::options! {
        // A snippet could show a password near the mistake.
        with_snippet: false,
        budget: serde_yaml::budget! {
            max_depth: MOST_DEPTH,
            flow_nesting_limit: MOST_DEPTH,
            max_nodes: MOST_NODES,
            max_documents: 1,
        },
        // What an alias stands for counts each time it is used.
        alias_limits: serde_yaml::alias_limits! { max_total_replayed_events: MOST_NODES },
    };
    serde_yaml::from_str_with_options(text, options).map_err(|error| {
        let message = error.to_string();
        let end = message
            .find(", set DuplicateKeyPolicy")
            .unwrap_or(message.len());
        let line = error
            .location()
            .map_or_else(String::new, |at| format!(" at line {}", at.line()));
        let told = reworded(&message[..end]);
        let line = match told.contains(" line ") {
            true => "",
            false => &line,
        };
        let remedy = match told.starts_with("tabs ") {
            true => "; indent with spaces",
            false => "",
        };
        format!("{told}{line}{remedy}")
    })
}

/// Messages of the parser, and what they mean here.
const REWORDED: [(&str, &str); 4] = [
    (
        "budget breached: Documents",
        "there is more than one document; take out the `---`",
    ),
    ("budget breached", "it is larger than any configuration"),
    (
        "recursion limit exceeded",
        "it is deeper than any configuration",
    ),
    (
        "recursive references",
        "an alias stands for what it is a part of",
    ),
];

fn reworded(told: &str) -> &str {
    let found = REWORDED.iter().find(|(begin, _)| told.starts_with(begin));
    found.map_or(told, |(_, meaning)| meaning)
}

fn text(path: &Path) -> Result<String, String> {
    let unreadable = |error| format!("cannot be read: {error}");
    let bytes = read_regular(path, LARGEST_FILE).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|_| "cannot be read: it is not in UTF-8; save it so".into())
}
