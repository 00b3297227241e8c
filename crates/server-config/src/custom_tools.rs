//! The file of custom tools: SQL with parameters, under names chosen by the operator.

use std::{collections::HashSet, path::Path};

use serde_json::{Map, Value as Tree};

use crate::{
    BUILT_IN_TOOLS, file,
    keys::{PARAMETER_KEYS, TOOL_KEYS},
    problems::Problems,
    settings::{Place, Settings},
};

/// A tool as the file describes it, with a unique name. Its SQL is not checked here; that is up to PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomTool {
    /// The name that it is called by.
    pub name: String,
    /// The name shown to people.
    pub title: Option<String>,
    /// What it does, for the model.
    pub description: String,
    /// The configured name of the database that it runs on; `None` is the first.
    pub database: Option<String>,
    /// One statement, with `$1` for the first parameter.
    pub sql: String,
    /// Its parameters, in order.
    pub parameters: Vec<ToolParameter>,
    /// Whether it only reads.
    pub read_only: bool,
    /// The maximum number of rows that it returns or, if it writes, changes.
    pub max_rows: u32,
}

/// A parameter of a custom tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolParameter {
    /// The name of the argument.
    pub name: String,
    /// Its type in JSON Schema.
    pub kind: String,
    /// Its description, for the model.
    pub description: Option<String>,
    /// Whether it is required. An omitted parameter is NULL.
    pub required: bool,
}

impl CustomTool {
    /// Reads a file of custom tools.
    ///
    /// # Errors
    /// Every problem at once, each with its place and its fix.
    pub fn read_file(path: &Path) -> Result<Vec<CustomTool>, Problems> {
        let mut problems = Problems::default();
        let named = path.display().to_string();
        let tree = file::read(path).unwrap_or_else(|message| {
            problems.add(&*named, message);
            Map::new()
        });
        let mut tools = Vec::new();
        for (key, tree) in &tree {
            if key == "tools" {
                let read = |index, tree: &Tree, problems: &mut Problems| {
                    tool(index, tree, &named, problems)
                };
                tools = each(tree, &format!("{named}: tools"), &mut problems, read);
                check_names(&tools, &format!("{named}: tools"), &mut problems);
            } else {
                problems.add(format!("{named}: {key}"), "unknown key; known here: tools");
            }
        }
        problems.into_result(tools)
    }
}

/// Checks that tool names are valid and unique, and that each tool's parameter names are unique.
fn check_names(tools: &[CustomTool], place: &str, problems: &mut Problems) {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let mut names = HashSet::from(BUILT_IN_TOOLS);
    for tool in tools {
        let place = format!("{place}: {}", tool.name.escape_debug());
        if !(1..=128).contains(&tool.name.len()) || !tool.name.bytes().all(is_plain) {
            problems.add(
                &*place,
                "a name has 1 to 128 letters, digits, `_`, `.` or `-`",
            );
        } else if !names.insert(&tool.name) {
            let told = match BUILT_IN_TOOLS.contains(&&*tool.name) {
                true => "the server has a tool of this name; give it another",
                false => "an earlier tool has this name; give it another",
            };
            problems.add(&*place, told);
        }
        let mut parameters = HashSet::new();
        for parameter in &tool.parameters {
            if !parameters.insert(&parameter.name) {
                let name = parameter.name.escape_debug();
                problems.add(&*place, format!("two parameters are called `{name}`"));
            }
        }
    }
}

/// Reads the entries of a list.
fn each<T>(
    tree: &Tree,
    place: &str,
    problems: &mut Problems,
    read: impl Fn(usize, &Tree, &mut Problems) -> Option<T>,
) -> Vec<T> {
    match tree {
        Tree::Null => Vec::new(),
        Tree::Array(entries) => {
            let entries = entries.iter().enumerate();
            entries
                .filter_map(|(index, entry)| read(index, entry, problems))
                .collect()
        }
        _ => {
            problems.add(place, "must be a list; begin each entry with `- name:`");
            Vec::new()
        }
    }
}

fn tool(index: usize, tree: &Tree, file: &str, problems: &mut Problems) -> Option<CustomTool> {
    let inside = match tree.get("name").and_then(Tree::as_str) {
        Some(name) => format!("tools[{index}] ({})", name.escape_debug()),
        None => format!("tools[{index}]"),
    };
    let place = Place {
        file,
        inside: &inside,
    };
    let Tree::Object(map) = tree else {
        problems.add(
            format!("{file}: {inside}"),
            "must be a map with `name`, `description` and `sql`",
        );
        return None;
    };
    let mut map = map.clone();
    let parameters = map.remove("parameters").unwrap_or(Tree::Null);
    let mut settings = Settings::new(TOOL_KEYS).beside("parameters");
    settings.lay_tree(&map, &place, problems);
    let parameters = each(
        &parameters,
        &place.of("parameters"),
        problems,
        |index, tree, problems| {
            let inside = format!("{inside}.parameters[{index}]");
            parameter(
                tree,
                &Place {
                    file,
                    inside: &inside,
                },
                problems,
            )
        },
    );
    let mut required = |key: &str| {
        let text = settings.text(key).map(str::to_owned);
        if text.is_none() && !settings.is_mistaken(key) {
            problems.add(place.of(key), "is missing");
        }
        text
    };
    let (name, description, sql) = (required("name"), required("description"), required("sql"));
    Some(CustomTool {
        name: name?,
        title: settings.text("title").map(str::to_owned),
        description: description?,
        database: settings.text("database").map(str::to_owned),
        sql: sql?,
        parameters,
        read_only: settings.switch("read_only"),
        max_rows: u32::try_from(settings.count("max_rows")).unwrap_or(u32::MAX),
    })
}

fn parameter(tree: &Tree, place: &Place<'_>, problems: &mut Problems) -> Option<ToolParameter> {
    let Tree::Object(map) = tree else {
        problems.add(
            format!("{}: {}", place.file, place.inside),
            "must be a map with `name` and `type`",
        );
        return None;
    };
    let mut settings = Settings::new(PARAMETER_KEYS);
    settings.lay_tree(map, place, problems);
    let Some(name) = settings.text("name") else {
        if !settings.is_mistaken("name") {
            problems.add(place.of("name"), "is missing");
        }
        return None;
    };
    Some(ToolParameter {
        name: name.to_owned(),
        kind: settings.text("type").unwrap_or("string").to_owned(),
        description: settings.text("description").map(str::to_owned),
        required: settings.switch("required"),
    })
}
