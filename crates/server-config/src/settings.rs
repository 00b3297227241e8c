//! One layer after the other over a table of keys.

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
    /// The key of a list, whose entries have a table of their own.
    list: Option<&'static str>,
    values: BTreeMap<&'static str, Value>,
    /// Keys that were meant, and are told to be wrong.
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

    /// Knows of a list beside its keys.
    pub(crate) fn beside(self, list: &'static str) -> Self {
        Settings {
            list: Some(list),
            ..self
        }
    }

    /// Lays a file's map over what is there. `place` names the map in messages.
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
                    // A key with nothing behind it leaves the default, as YAML users expect.
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

    /// Says whether a key was meant and is told to be wrong, so that it need not be told to be missing.
    pub(crate) fn is_mistaken(&self, path: &str) -> bool {
        self.mistaken.iter().any(|mistaken| mistaken == path)
    }

    /// Says that a key is not known, and which was meant, if one was.
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

    /// Lays the environment over what is there.
    pub(crate) fn lay_environment(
        &mut self,
        environment: &BTreeMap<String, String>,
        problems: &mut Problems,
    ) {
        self.lay_variables(|key| key.variable, environment, problems);
    }

    /// Lays the variables over what is there that `variable` names for keys. An empty one is none.
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

    /// Names the keys whose values differ, in the order of the table.
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

/// Does not show the values, of which some are secrets.
impl fmt::Debug for Settings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Settings(..)")
    }
}

/// Where a map stands: a file, and a path inside it.
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

/// Shows what is wrong about a value, and gives the part of it that is: of a list, the first entry that is none of its texts.
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

/// Says what to do about a text that YAML takes for something else.
fn quoting(key: &Key, tree: &Tree) -> &'static str {
    match (key.kind, tree) {
        (Kind::Text | Kind::Texts | Kind::Secret, Tree::Number(_) | Tree::Bool(_)) => {
            "; put it in quotes"
        }
        _ => "",
    }
}

/// Shows a wrong value shortly; a value in the wrong place may be long.
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
