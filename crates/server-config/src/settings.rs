//! Applying one layer after the other to a table of keys.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde_json::{Map, Value as Tree};

use crate::{
    keys::{Key, nearest},
    problems::Problems,
    value::{Kind, Value, scalar},
};

/// The values of one table's keys, each from the highest layer that set it.
#[derive(Clone)]
pub(crate) struct Settings {
    keys: &'static [Key],
    /// The key of a list whose entries have their own table.
    list: Option<&'static str>,
    values: BTreeMap<&'static str, Value>,
    /// Keys already reported as wrong, misspelled ones under the name that was probably meant.
    mistaken: Vec<String>,
}

impl Settings {
    /// Starts with the defaults.
    pub(crate) fn new(keys: &'static [Key]) -> Self {
        let values = keys
            .iter()
            .filter_map(|key| {
                key.kind
                    .read_text(key.default)
                    .map(|value| (key.path, value))
            })
            .filter(|(_, value)| *value != Value::Texts(Vec::new()))
            .collect();
        Settings {
            keys,
            list: None,
            values,
            mistaken: Vec::new(),
        }
    }

    /// Adds the key of a list, to be suggested for misspelled keys.
    pub(crate) fn beside(self, list: &'static str) -> Self {
        Settings {
            list: Some(list),
            ..self
        }
    }

    /// Applies a file's map over the current values. `place` names the map in messages.
    pub(crate) fn lay_tree(
        &mut self,
        map: &Map<String, Tree>,
        place: &Place<'_>,
        problems: &mut Problems,
    ) {
        self.lay_branch(map, "", place, problems);
    }

    fn lay_branch(
        &mut self,
        map: &Map<String, Tree>,
        prefix: &str,
        place: &Place<'_>,
        problems: &mut Problems,
    ) {
        for (name, tree) in map {
            let path = if prefix.is_empty() {
                name.clone()
            } else {
                format!("{prefix}.{name}")
            };
            if let Some(key) = self.keys.iter().find(|key| key.path == path) {
                match key.kind.read_tree(tree) {
                    Some(value) => _ = self.values.insert(key.path, value),
                    // A key without a value keeps the default, as YAML users expect.
                    None if tree.is_null() => {}
                    None => {
                        let (found, tree) = culprit(key, tree);
                        problems.add(place.of(&path), wrong(key, &found) + quoting(key, tree));
                        self.mistaken.push(path);
                    }
                }
            } else if self
                .keys
                .iter()
                .any(|key| key.path.starts_with(&format!("{path}.")))
            {
                match tree {
                    Tree::Object(branch) => self.lay_branch(branch, &path, place, problems),
                    Tree::Null => {}
                    _ => problems.add(place.of(&path), "must be a map with keys of its own"),
                }
            } else {
                let (message, meant) = self.unknown(prefix, name);
                problems.add(place.of(&path), message);
                self.mistaken.extend(meant);
            }
        }
    }

    /// Says whether a key was already reported as wrong, so that it need not be reported as missing.
    pub(crate) fn is_mistaken(&self, path: &str) -> bool {
        self.mistaken.iter().any(|mistaken| mistaken == path)
    }

    /// Returns the message about an unknown key, and the key that was probably meant, if any.
    fn unknown(&self, prefix: &str, name: &str) -> (String, Option<String>) {
        let list = self.list.filter(|_| prefix.is_empty());
        let mut siblings: Vec<&str> = self
            .keys
            .iter()
            .filter_map(|key| match prefix {
                "" => Some(key.path),
                _ => key.path.strip_prefix(prefix)?.strip_prefix('.'),
            })
            .filter_map(|rest| rest.split('.').next())
            .chain(list)
            .collect();
        let is_it = |key: &&Key| key.path.rsplit('.').next() == Some(name);
        let elsewhere: Vec<&str> = (self.keys.iter().filter(is_it))
            .map(|key| key.path)
            .collect();
        match (nearest(name, siblings.iter().copied()), &elsewhere[..]) {
            (Some(meant), _) => (
                format!("unknown key; did you mean `{meant}`?"),
                Some(match prefix {
                    "" => meant.to_owned(),
                    _ => format!("{prefix}.{meant}"),
                }),
            ),
            (None, [meant]) => (
                format!("unknown key here; did you mean `{meant}`?"),
                Some((*meant).to_owned()),
            ),
            (None, _) => {
                siblings.dedup();
                let known = siblings.join(", ");
                (format!("unknown key; known here: {known}"), None)
            }
        }
    }

    /// Applies the environment over the current values.
    pub(crate) fn lay_environment(
        &mut self,
        environment: &BTreeMap<String, String>,
        problems: &mut Problems,
    ) {
        self.lay_variables(|key| key.variable, environment, problems);
    }

    /// Applies the variables that `variable` names for keys. An empty variable counts as unset.
    pub(crate) fn lay_variables(
        &mut self,
        variable: impl Fn(&Key) -> Option<&'static str>,
        environment: &BTreeMap<String, String>,
        problems: &mut Problems,
    ) {
        for key in self.keys {
            let Some((variable, text)) = variable(key)
                .and_then(|variable| Some((variable, environment.get(variable)?)))
                .filter(|(_, text)| !text.is_empty())
            else {
                continue;
            };
            match key.kind.read_text(text) {
                Some(value) => _ = self.values.insert(key.path, value),
                None => problems.add(variable, wrong(key, &shown_text(text))),
            }
        }
    }

    /// Lists the keys whose values differ, in the order of the table.
    pub(crate) fn differing(&self, other: &Self) -> Vec<&'static str> {
        let differs = |path: &&str| self.values.get(path) != other.values.get(path);
        let paths = self.keys.iter().map(|key| key.path);
        paths.filter(differs).collect()
    }

    /// Sets one key, as a flag does.
    pub(crate) fn set(&mut self, path: &'static str, value: Value) {
        self.values.insert(path, value);
    }

    pub(crate) fn switch(&self, path: &str) -> bool {
        matches!(self.values.get(path), Some(Value::Switch(true)))
    }

    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        match self.values.get(path) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn count(&self, path: &str) -> u64 {
        match self.values.get(path) {
            Some(Value::Count(number)) => *number,
            _ => 0,
        }
    }

    pub(crate) fn span(&self, path: &str) -> Duration {
        match self.values.get(path) {
            Some(Value::Span(span)) => *span,
            _ => Duration::ZERO,
        }
    }

    pub(crate) fn texts(&self, path: &str) -> Vec<String> {
        match self.values.get(path) {
            Some(Value::Texts(texts)) => texts.clone(),
            _ => Vec::new(),
        }
    }
}

/// Does not show the values, as some are secrets.
impl fmt::Debug for Settings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Settings(..)")
    }
}

/// Where a map is: a file, and a path inside it.
pub(crate) struct Place<'a> {
    pub(crate) file: &'a str,
    pub(crate) inside: &'a str,
}

impl Place<'_> {
    pub(crate) fn of(&self, path: &str) -> String {
        match self.inside {
            "" => format!("{}: {path}", self.file),
            inside => format!("{}: {inside}.{path}", self.file),
        }
    }
}

fn wrong(key: &Key, found: &str) -> String {
    match key.kind {
        Kind::Secret => format!("must be {}", key.kind.describe()),
        kind => format!("must be {}, not {found}", kind.describe()),
    }
}

/// Returns the wrong part of a value, as text and as a tree: in a list, the first entry that is not a valid text.
fn culprit<'a>(key: &Key, tree: &'a Tree) -> (String, &'a Tree) {
    let entries = match (key.kind, tree) {
        (Kind::Texts, Tree::Array(entries)) => &entries[..],
        _ => &[],
    };
    match entries.iter().position(|entry| scalar(entry).is_none()) {
        Some(place) => (
            format!(
                "one whose entry {} is {}",
                place + 1,
                shown(&entries[place])
            ),
            &entries[place],
        ),
        None => (shown(tree), tree),
    }
}

/// Says how to fix a text that YAML reads as something else.
fn quoting(key: &Key, tree: &Tree) -> &'static str {
    match (key.kind, tree) {
        (Kind::Text | Kind::Texts | Kind::Secret, Tree::Number(_) | Tree::Bool(_)) => {
            "; put it in quotes"
        }
        _ => "",
    }
}

/// Returns a wrong value in short form, as a misplaced value may be long.
fn shown(tree: &Tree) -> String {
    match tree {
        Tree::Array(_) => "a list".into(),
        Tree::Object(_) => "a map".into(),
        Tree::Null => "nothing".into(),
        Tree::String(text) => shown_text(text),
        other => other.to_string(),
    }
}

fn shown_text(text: &str) -> String {
    let start: String = text.chars().take(60).collect();
    format!("\"{}\"", start.escape_debug())
}
