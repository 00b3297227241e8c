//! Checks that the tables in docs/configuration.md match the code.
#![allow(clippy::unwrap_used)]

use std::{fmt::Write, fs, path::Path};

use server_config::keys::{DATABASE_KEYS, Key, PARAMETER_KEYS, SERVER_KEYS, TOOL_KEYS};

fn table(keys: &[Key]) -> String {
    let mut text = String::from(
        "| key | takes | default | variable | what for |\n| --- | --- | --- | --- | --- |\n",
    );
    for key in keys {
        let code = |text: &str| {
            if text.is_empty() {
                String::new()
            } else {
                format!("`{text}`")
            }
        };
        let takes = key.kind.describe();
        let (path, default) = (code(key.path), code(key.default));
        let variable = code(key.variable.unwrap_or_default());
        writeln!(
            text,
            "| {path} | {takes} | {default} | {variable} | {} |",
            key.help
        )
        .unwrap();
    }
    text
}

/// Run with `UPDATE_DOCS=1` to rewrite the tables.
#[test]
fn the_documented_keys_are_the_keys() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let written = fs::read_to_string(&path).unwrap();
    let mut expected = written.clone();
    for (name, keys) in [
        ("server", SERVER_KEYS),
        ("database", DATABASE_KEYS),
        ("tool", TOOL_KEYS),
        ("parameter", PARAMETER_KEYS),
    ] {
        let (begin, end) = (
            format!("<!-- {name} keys -->\n"),
            format!("<!-- end of {name} keys -->"),
        );
        let from = expected.find(&begin).expect("the mark is there") + begin.len();
        let to = expected.find(&end).expect("the mark is there");
        expected.replace_range(from..to, &format!("\n{}\n", table(keys)));
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    assert!(
        expected == fs::read_to_string(&path).unwrap(),
        "docs/configuration.md is not up to date; run: UPDATE_DOCS=1 cargo test -p server-config --test documentation"
    );
}
