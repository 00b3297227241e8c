//! The official schemas, and as much of JSON Schema as they use.

use std::path::Path;

use serde_json::{Map, Value};

/// The official schema of one revision.
pub struct Official {
    revision: &'static str,
    root: Value,
    definitions: Map<String, Value>,
}

impl Official {
    /// Reads it from the folder that `MCP_SCHEMAS` names.
    pub fn read(revision: &'static str) -> Self {
        let folder = std::env::var_os("MCP_SCHEMAS").unwrap_or_else(|| {
            panic!("MCP_SCHEMAS names no folder; scripts/check-official.sh sets it")
        });
        let path = Path::new(&folder).join(format!("{revision}.json"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| {
            panic!(
                "the official schema is missing at {}: {error}",
                path.display()
            )
        });
        let root: Value = serde_json::from_str(&text).unwrap();
        let definitions = root
            .get("$defs")
            .or_else(|| root.get("definitions"))
            .unwrap();
        let definitions = definitions.as_object().unwrap().clone();
        Self {
            revision,
            root,
            definitions,
        }
    }

    pub fn has(&self, definition: &str) -> bool {
        self.definitions.contains_key(definition)
    }

    /// Checks a value against a definition.
    pub fn check(&self, definition: &str, value: &Value) {
        let schema = &self.definitions[definition];
        if let Err(reason) = self.validate(schema, value, definition) {
            panic!("{}: not a {definition}: {reason}\n{value:#}", self.revision);
        }
    }

    /// Finds the definition of the message with that method.
    pub fn of_method(&self, method: &str) -> &str {
        let found = self.definitions.iter().find(|(name, definition)| {
            definition["properties"]["method"]["const"] == method && !name.ends_with("Base")
        });
        match found {
            Some((name, _)) => name,
            None => panic!("{} has no message `{method}`", self.revision),
        }
    }

    fn validate(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        let schema = match schema {
            Value::Bool(true) => return Ok(()),
            Value::Bool(false) => return Err(format!("{at} must not be there")),
            Value::Object(schema) => schema,
            other => panic!("{other} is no schema"),
        };
        for (keyword, argument) in schema {
            self.keyword(keyword, argument, schema, value, at)?;
        }
        Ok(())
    }

    fn keyword(
        &self,
        keyword: &str,
        argument: &Value,
        schema: &Map<String, Value>,
        value: &Value,
        at: &str,
    ) -> Result<(), String> {
        let fail = |what: &str| Err(format!("{at}: {what}; got {value}"));
        match keyword {
            "description" | "$schema" | "$defs" | "definitions" | "format" => {}
            "$ref" => {
                let pointer = argument.as_str().unwrap().trim_start_matches('#');
                self.validate(self.root.pointer(pointer).unwrap(), value, at)?;
            }
            "type" => {
                let allowed = match argument {
                    Value::Array(kinds) => kinds.iter().any(|kind| is_of(kind, value)),
                    kind => is_of(kind, value),
                };
                if !allowed {
                    return fail(&format!("must be of type {argument}"));
                }
            }
            "const" if argument != value => return fail(&format!("must be {argument}")),
            "enum" if !argument.as_array().unwrap().contains(value) => {
                return fail(&format!("must be one of {argument}"));
            }
            "required" => {
                for name in argument.as_array().unwrap() {
                    let name = name.as_str().unwrap();
                    if value.is_object() && value.get(name).is_none() {
                        return fail(&format!("lacks `{name}`"));
                    }
                }
            }
            "properties" => {
                for (name, schema) in argument.as_object().unwrap() {
                    if let Some(value) = value.get(name) {
                        self.validate(schema, value, &format!("{at}/{name}"))?;
                    }
                }
            }
            "additionalProperties" => {
                let named = schema.get("properties").and_then(Value::as_object);
                for (name, value) in value.as_object().into_iter().flatten() {
                    if named.is_none_or(|named| !named.contains_key(name)) {
                        self.validate(argument, value, &format!("{at}/{name}"))?;
                    }
                }
            }
            "items" => {
                for (index, value) in value.as_array().into_iter().flatten().enumerate() {
                    self.validate(argument, value, &format!("{at}/{index}"))?;
                }
            }
            "anyOf" => {
                let tried: Vec<_> = argument
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|schema| self.validate(schema, value, at))
                    .collect();
                if tried.iter().all(Result::is_err) {
                    let reasons: Vec<_> = tried.into_iter().filter_map(Result::err).collect();
                    return Err(format!("{at}: fits none of [{}]", reasons.join(" | ")));
                }
            }
            "allOf" => {
                for schema in argument.as_array().unwrap() {
                    self.validate(schema, value, at)?;
                }
            }
            "minimum"
                if value
                    .as_f64()
                    .is_some_and(|number| number < argument.as_f64().unwrap()) =>
            {
                return fail(&format!("must be at least {argument}"));
            }
            "maximum"
                if value
                    .as_f64()
                    .is_some_and(|number| number > argument.as_f64().unwrap()) =>
            {
                return fail(&format!("must be at most {argument}"));
            }
            "maxItems" => {
                let most = argument.as_u64().unwrap();
                if value
                    .as_array()
                    .is_some_and(|items| items.len() as u64 > most)
                {
                    return fail(&format!("must have at most {most} items"));
                }
            }
            "const" | "enum" | "minimum" | "maximum" => {}
            other => panic!("the validator does not know `{other}`"),
        }
        Ok(())
    }
}

fn is_of(kind: &Value, value: &Value) -> bool {
    match kind.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        other => panic!("the validator does not know the type `{other}`"),
    }
}
