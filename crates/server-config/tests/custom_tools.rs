//! The file of custom tools.
#![allow(clippy::unwrap_used)]

use std::fs;

use server_config::{CustomTool, ToolParameter};

fn read(text: &str) -> Result<Vec<CustomTool>, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tools.yaml");
    fs::write(&path, text).unwrap();
    CustomTool::read_file(&path).map_err(|problems| problems.to_string())
}

#[test]
fn a_tool_is_read_with_its_defaults() {
    assert_eq!(read(""), Ok(Vec::new()));
    assert_eq!(read("tools:"), Ok(Vec::new()));
    let read = read(
        "tools:\n  - name: a\n    description: d\n    sql: SELECT $1\n    parameters:\n      - {name: x, type: integer}\n      - {name: other, required: false, description: z}\n",
    );
    let parameter = |name: &str, kind: &str, description: Option<&str>, required| ToolParameter {
        name: name.into(),
        kind: kind.into(),
        description: description.map(str::to_owned),
        required,
    };
    assert_eq!(
        read.unwrap(),
        [CustomTool {
            name: "a".into(),
            title: None,
            description: "d".into(),
            database: None,
            sql: "SELECT $1".into(),
            parameters: vec![
                parameter("x", "integer", None, true),
                parameter("other", "string", Some("z"), false)
            ],
            read_only: true,
            max_rows: 100,
        }]
    );
}

#[test]
fn every_mistake_is_told_with_its_place() {
    for (text, parts) in [
        ("tool: []", &["tool: unknown key", "tools"][..]),
        ("tools: {}", &["tools: must be a list"]),
        ("tools: [x]", &["tools[0]: must be a map"]),
        (
            "tools: [{name: a}]",
            &[
                "tools[0] (a).description: is missing",
                "tools[0] (a).sql: is missing",
            ],
        ),
        (
            "tools: [{name: a, description: d, sql: s, readonly: true}]",
            &["tools[0] (a).readonly", "`read_only`"],
        ),
        (
            "tools: [{name: a, description: d, sql: s, max_rows: 0}]",
            &["max_rows", "from 1 to 10000"],
        ),
        (
            "tools: [{name: a, description: d, sql: s, parameters: {x: integer}}]",
            &["tools[0] (a).parameters: must be a list"],
        ),
        (
            "tools: [{name: a, description: d, sql: s, parameters: [{type: integer}]}]",
            &["tools[0] (a).parameters[0].name: is missing"],
        ),
        (
            "tools: [{name: a, description: d, sql: s, parameters: [{name: x, type: int}]}]",
            &["parameters[0].type", "one of string, integer"],
        ),
        (
            "tools: [{name: a, description: d, sql: s, paramters: []}]",
            &["tools[0] (a).paramters", "`parameters`"],
        ),
        (
            "tools: [{name: a b, description: d, sql: s}]",
            &["tools: a b: a name has 1 to 128"],
        ),
        (
            "tools: [{name: a, description: d, sql: s}, {name: a, description: d, sql: s}]",
            &["tools: a: an earlier tool has this name"],
        ),
        (
            "tools: [{name: execute_write, description: d, sql: s}]",
            &["tools: execute_write: the server has a tool of this name"],
        ),
        (
            "tools: [{name: a, description: d, sql: s, parameters: [{name: x}, {name: x}]}]",
            &["tools: a: two parameters are called `x`"],
        ),
        ("tools: [", &["YAML", "line 1"]),
    ] {
        let told = read(text).unwrap_err();
        for part in parts {
            assert!(told.contains(part), "{text}: no {part:?} in {told}");
        }
    }
}

#[test]
fn a_misspelt_key_of_a_tool_is_not_told_to_be_missing_as_well() {
    for text in [
        "tools: [{nam: a, description: d, sql: s}]",
        "tools: [{name: a, description: d, sql: s, parameters: [{nam: x}]}]",
    ] {
        let told = read(text).unwrap_err();
        assert!(
            told.contains("nam: unknown key; did you mean `name`?"),
            "{told}"
        );
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}
