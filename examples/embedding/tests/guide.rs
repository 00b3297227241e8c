//! What docs/embedding.md shows is what runs.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, fs, path::Path};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Takes from lines what all of them are indented by.
fn outdented(lines: &[&str]) -> Vec<String> {
    let indent = |line: &&str| line.len() - line.trim_start().len();
    let written = lines.iter().filter(|line| !line.trim().is_empty());
    let least = written.map(indent).min().unwrap_or_default();
    let cut = |line: &&str| line.get(least..).unwrap_or_default().to_owned();
    lines.iter().map(cut).collect()
}

fn has(file: &str, block: &[&str]) -> bool {
    let lines: Vec<&str> = file.lines().collect();
    let block = outdented(block);
    let mut places = lines.windows(block.len());
    places.any(|lines| outdented(lines) == block)
}

/// Gives the name of a file of the example that a line is about.
fn named(line: &str) -> Option<&str> {
    let (_, after) = line.split_once("(../examples/embedding/src/")?;
    Some(after.split_once(')')?.0)
}

#[test]
fn every_block_of_the_guide_is_a_part_of_the_file_that_is_named_before_it() {
    let guide = read("../../docs/embedding.md");
    let mut lines = guide.lines();
    let (mut file, mut quoted) = (None, BTreeSet::new());
    while let Some(line) = lines.next() {
        file = named(line).or(file);
        let Some(language) = line.trim_start().strip_prefix("```") else {
            continue;
        };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let first = block[0];
        assert_eq!(
            language, "rust",
            "nothing runs the block that begins with {first}"
        );
        let file = file.unwrap_or_else(|| panic!("no file is named before {first}"));
        let code = read(&format!("src/{file}"));
        assert!(
            has(&code, &block),
            "{file} has no such block:\n{}",
            block.join("\n")
        );
        quoted.insert(file);
    }
    let all = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let all: BTreeSet<String> = all
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let quoted: BTreeSet<String> = quoted.into_iter().map(str::to_owned).collect();
    assert_eq!(quoted, all, "each file is shown");
}

#[test]
fn the_versions_that_the_guide_names_are_those_of_the_crates() {
    let guide = read("../../docs/embedding.md");
    let workspace = read("../../Cargo.toml");
    let version = |name: &str| {
        let entry = workspace.lines().find_map(|line| {
            let (key, value) = line.split_once(" = ")?;
            (key == name).then_some(value)
        });
        let entry = entry.unwrap_or_else(|| panic!("{name} is no dependency"));
        entry.split('"').nth(1).unwrap().to_owned()
    };
    let named = guide.split('`').filter_map(|part| {
        let (name, version) = part.split_once(" = \"")?;
        Some((name, version.strip_suffix('"')?))
    });
    let mut count = 0;
    for (name, said) in named {
        let used = version(name);
        assert!(
            format!("{used}.").starts_with(&format!("{said}.")),
            "{name}"
        );
        count += 1;
    }
    assert_eq!(count, 6);
    let rust = format!("need Rust {}, ", version("rust-version"));
    assert!(guide.contains(&rust), "{rust}");
}

#[test]
fn a_block_that_differs_in_anything_is_found() {
    let file = "fn a() {\n    if b {\n        c();\n\n        d();\n    }\n}\n";
    assert!(has(file, &["if b {", "    c();", "", "    d();", "}"]));
    assert!(has(file, &["    c();", "", "    d();"]));
    for other in [
        &["if b {", "    d();"][..],
        &["c();", "d();"],
        &["if b {", "  c();"],
        &["C();"],
    ] {
        assert!(!has(file, other), "{other:?}");
    }
}
