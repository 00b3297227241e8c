//! Checks arguments against the schema that clients were shown.
//!
//! It understands the part of JSON Schema that the tools' input schemas use, and says in words that
//! name the argument what is wrong.

use serde_json::{Map, Value};

/// The keywords that are understood; a test checks that the tools' schemas have no others.
#[cfg(test)]
pub(crate) const KEYWORDS: &[&str] = &[
    "additionalProperties",
    "default",
    "description",
    "enum",
    "items",
    "maxItems",
    "maximum",
    "minItems",
    "minimum",
    "properties",
    "required",
    "type",
];

/// Checks arguments; `null` counts as left out.
///
/// # Errors
/// What is wrong with the first argument that does not fit.
pub(crate) fn check(schema: &Value, given: &Map<String, Value>) -> Result<(), String> {
    let known = properties(schema);
    let required = keyword(schema, "required").and_then(Value::as_array);
    for name in required.into_iter().flatten() {
        let name = name.as_str().unwrap_or_default();
        if field(given, name).is_none_or(Value::is_null) {
            let what = known
                .and_then(|known| field(known, name))
                .map_or_else(String::new, describe);
            let missing = format!("{name} is missing; it must be {what}");
            let mut names = given.keys();
            let other = names.find(|name| known.is_none_or(|known| field(known, name).is_none()));
            return Err(match other {
                Some(other) => format!("{missing}; {}", unknown(other, known)),
                None => missing,
            });
        }
    }
    for (name, value) in given {
        match known.and_then(|known| field(known, name)) {
            Some(_) if value.is_null() => {}
            Some(wanted) => check_value(name, wanted, value)?,
            None => return Err(unknown(name, known)),
        }
    }
    Ok(())
}

fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    keyword(schema, "properties")?.as_object()
}

fn keyword<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    field(schema.as_object()?, name)
}

/// Finds a value by its name. There are so few that comparing each name costs less than hashing.
fn field<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let mut fields = fields.iter();
    let found = fields.find(|(key, _)| *key == name);
    found.map(|(_, value)| value)
}

fn unknown(name: &str, known: Option<&Map<String, Value>>) -> String {
    let known: Vec<&str> = known
        .into_iter()
        .flatten()
        .map(|(name, _)| &**name)
        .collect();
    let known = match known.as_slice() {
        [] => "none are taken".to_owned(),
        known => format!("known are {}", known.join(", ")),
    };
    format!(
        "unknown argument \"{}\"; {known}",
        crate::quoting::repeated(name)
    )
}

fn check_value(name: &str, schema: &Value, value: &Value) -> Result<(), String> {
    if !fits(schema, value) {
        return Err(format!(
            "{name} must be {}, not {}",
            describe(schema),
            shown(value)
        ));
    }
    if let Value::Array(values) = value
        && let Some(items) = keyword(schema, "items")
    {
        for (place, value) in values.iter().enumerate() {
            check_value(&format!("{name}[{place}]"), items, value)?;
        }
    }
    match value {
        Value::Object(inner) if properties(schema).is_some() => {
            check(schema, inner).map_err(|wrong| format!("{name}: {wrong}"))
        }
        _ => Ok(()),
    }
}

/// Returns whether a value has the type, the bounds and the words that a schema asks for; values inside it are not
/// checked.
fn fits(schema: &Value, value: &Value) -> bool {
    let mut types = types(schema).peekable();
    let has_type = types.peek().is_none() || types.any(|name| is_of_type(name, value));
    let is_listed = keyword(schema, "enum")
        .and_then(Value::as_array)
        .is_none_or(|words| words.contains(value));
    let bound = |name: &str| keyword(schema, name).and_then(Value::as_f64);
    let size = value.as_f64();
    let count = value.as_array().map(Vec::len);
    let count = count
        .and_then(|count| u32::try_from(count).ok())
        .map(f64::from);
    let within = |size: Option<f64>, least: &str, most: &str| {
        size.is_none_or(|size| {
            bound(least).is_none_or(|least| size >= least)
                && bound(most).is_none_or(|most| size <= most)
        })
    };
    has_type
        && is_listed
        && within(size, "minimum", "maximum")
        && within(count, "minItems", "maxItems")
}

fn types(schema: &Value) -> impl Iterator<Item = &str> {
    let names = match keyword(schema, "type") {
        Some(Value::Array(names)) => names,
        Some(name) => std::slice::from_ref(name),
        None => &[],
    };
    names.iter().filter_map(Value::as_str)
}

fn is_of_type(name: &str, value: &Value) -> bool {
    match name {
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        // 100.0 is a whole number to JSON Schema.
        "integer" => {
            value.is_i64()
                || value.is_u64()
                || value.as_f64().is_some_and(|number| number.fract() == 0.0)
        }
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        _ => false,
    }
}

/// Says what a schema wants, in words that follow "must be".
fn describe(schema: &Value) -> String {
    if let Some(words) = keyword(schema, "enum").and_then(Value::as_array) {
        let words: Vec<String> = words
            .iter()
            .map(|word| {
                word.as_str()
                    .map_or_else(|| word.to_string(), str::to_owned)
            })
            .collect();
        return format!("one of {}", words.join(", "));
    }
    let names: Vec<String> = types(schema)
        .map(|name| describe_type(name, schema))
        .collect();
    if names.is_empty() {
        "a value".into()
    } else {
        names.join(" or ")
    }
}

fn describe_type(name: &str, schema: &Value) -> String {
    let bounds = |least: &str, most: &str| match (keyword(schema, least), keyword(schema, most)) {
        (Some(least), Some(most)) => format!(" from {least} to {most}"),
        (Some(least), None) => format!(" of at least {least}"),
        (None, Some(most)) => format!(" of at most {most}"),
        (None, None) => String::new(),
    };
    match name {
        "string" => "a text".into(),
        "boolean" => "true or false".into(),
        "number" => format!("a number{}", bounds("minimum", "maximum")),
        "integer" => format!("a whole number{}", bounds("minimum", "maximum")),
        "array" => {
            let items = keyword(schema, "items")
                .map_or_else(String::new, |items| format!(", each {}", describe(items)));
            let count = bounds("minItems", "maxItems");
            format!(
                "a list{}{items}",
                if count.is_empty() {
                    count
                } else {
                    format!("{count} items")
                }
            )
        }
        "object" => "an object".into(),
        other => other.to_owned(),
    }
}

/// Shows a wrong value, shortened.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => {
            let short: String = text.chars().take(40).collect();
            format!("the text \"{}\"", short.escape_debug())
        }
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(_) => "an object".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_wrong_argument_is_named_with_what_it_must_be() {
        let schema = json!({
            "type": "object",
            "properties": {
                "q": { "type": "string" },
                "n": { "type": "integer", "minimum": 1, "maximum": 10 },
                "x": { "type": "number", "minimum": 0 },
                "b": { "type": "boolean" },
                "f": { "type": "string", "enum": ["text", "json"] },
                "v": { "type": "array", "items": { "type": "number" }, "minItems": 1, "maxItems": 2 },
                "o": { "type": "object", "properties": { "a": { "type": "string" } } },
                "u": { "type": ["string", "null"] }
            },
            "required": ["q"],
            "additionalProperties": false
        });
        for (given, wrong) in [
            (json!({ "q": "" }), None),
            (
                json!({ "q": "a", "n": 10.0, "x": 0.5, "b": true, "f": "json", "v": [1, 2.5], "o": { "a": "x" }, "u": null }),
                None,
            ),
            (json!({ "q": "a", "n": null }), None),
            (json!({}), Some("q is missing; it must be a text")),
            (
                json!({ "n": 1, "sql": "a" }),
                Some(
                    "q is missing; it must be a text; unknown argument \"sql\"; known are q, n, x, b, f, v, o, u",
                ),
            ),
            (
                json!({ "q": null }),
                Some("q is missing; it must be a text"),
            ),
            (json!({ "q": 1 }), Some("q must be a text, not 1")),
            (
                json!({ "q": "a", "n": "7" }),
                Some("n must be a whole number from 1 to 10, not the text \"7\""),
            ),
            (
                json!({ "q": "a", "n": 0 }),
                Some("n must be a whole number from 1 to 10, not 0"),
            ),
            (
                json!({ "q": "a", "n": 1.5 }),
                Some("n must be a whole number from 1 to 10, not 1.5"),
            ),
            (
                json!({ "q": "a", "n": 1e300 }),
                Some("n must be a whole number from 1 to 10, not 1e+300"),
            ),
            (
                json!({ "q": "a", "x": -1 }),
                Some("x must be a number of at least 0, not -1"),
            ),
            (
                json!({ "q": "a", "b": "true" }),
                Some("b must be true or false, not the text \"true\""),
            ),
            (
                json!({ "q": "a", "f": "xml" }),
                Some("f must be one of text, json, not the text \"xml\""),
            ),
            (
                json!({ "q": "a", "v": [] }),
                Some("v must be a list from 1 to 2 items, each a number, not a list of 0"),
            ),
            (
                json!({ "q": "a", "v": [1, "2"] }),
                Some("v[1] must be a number, not the text \"2\""),
            ),
            (
                json!({ "q": "a", "o": { "a": 1 } }),
                Some("o: a must be a text, not 1"),
            ),
            (
                json!({ "q": "a", "sql": "x" }),
                Some("unknown argument \"sql\"; known are q, n, x, b, f, v, o, u"),
            ),
        ] {
            let found = check(&schema, given.as_object().unwrap()).err();
            assert_eq!(found.as_deref(), wrong, "{given}");
        }
    }
}
