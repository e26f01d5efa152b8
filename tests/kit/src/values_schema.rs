//! The JSON Schema of a Helm chart's values, made from the defaults and the comments in `values.yaml`.
//!
//! A type follows from the default, a description from the comment above a key, in which helm-docs' mark `-- ` counts for nothing. A
//! line `@schema` of the comment adds JSON Schema in YAML, and takes the place of what follows from the default. A group knows exactly
//! the keys that it has, unless it has `additionalProperties`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// What a comment says.
#[derive(Default)]
struct Comment {
    description: String,
    schema: String,
}

/// The schema of a chart's values.
///
/// # Errors
///
/// If the text or a line `@schema` is no YAML, or a value has no description.
pub fn values_schema(title: &str, values: &str) -> Result<Value, String> {
    let comments = comments(values);
    let values: Map<String, Value> = parse("values", values)?;
    let mut properties = properties("", &values, &comments)?;
    for (key, type_, of) in [
        ("enabled", "boolean", "condition"),
        ("tags", "object", "tags"),
    ] {
        let description = format!("A parent chart's {of} for this one. Not used here.");
        let schema = json!({"description": description, "type": type_});
        properties.insert(key.to_owned(), schema);
    }
    Ok(json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": title,
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
        // YAML's anchors, for what a file of values has more than once.
        "patternProperties": {"^x-": {}},
    }))
}

fn properties(
    parent: &str,
    values: &Map<String, Value>,
    comments: &BTreeMap<String, Comment>,
) -> Result<Map<String, Value>, String> {
    let property = |(key, value): (&String, &Value)| {
        let path = format!("{parent}{key}");
        Ok((key.clone(), schema(&path, value, comments)?))
    };
    values.iter().map(property).collect()
}

fn schema(
    path: &str,
    value: &Value,
    comments: &BTreeMap<String, Comment>,
) -> Result<Value, String> {
    let comment = comments.get(path).filter(|it| !it.description.is_empty());
    let comment = comment.ok_or_else(|| format!("{path} has no description"))?;
    let mut added: Map<String, Value> = parse(path, &comment.schema)?;
    let mut schema = Map::new();
    schema.insert("description".to_owned(), json!(comment.description));
    schema.insert("type".to_owned(), json!(type_of(value)));
    match value.as_object().filter(|group| !group.is_empty()) {
        Some(group) if !added.contains_key("additionalProperties") => {
            let properties = properties(&format!("{path}."), group, comments)?;
            schema.insert("properties".to_owned(), Value::Object(properties));
            schema.insert("additionalProperties".to_owned(), json!(false));
        }
        _ => {
            schema.insert("default".to_owned(), value.clone());
        }
    }
    schema.append(&mut added);
    Ok(Value::Object(schema))
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The comment right above each key, by the key's path.
fn comments(values: &str) -> BTreeMap<String, Comment> {
    let mut comments = BTreeMap::new();
    let mut comment = Comment::default();
    // The keys that the present line is below, with their indentations.
    let mut above: Vec<(usize, &str)> = Vec::new();
    for line in values.lines() {
        let text = line.trim_start();
        if let Some(said) = text.strip_prefix('#').map(str::trim) {
            let (part, said) = match said.strip_prefix("@schema ") {
                Some(schema) => (&mut comment.schema, schema),
                None => (
                    &mut comment.description,
                    said.strip_prefix("-- ").unwrap_or(said),
                ),
            };
            if !part.is_empty() {
                part.push(' ');
            }
            part.push_str(said);
            continue;
        }
        let comment = std::mem::take(&mut comment);
        if let Some((key, _)) = text.split_once(':') {
            let indentation = line.len() - text.len();
            above.retain(|(of_other, _)| *of_other < indentation);
            above.push((indentation, key));
            let path: Vec<_> = above.iter().map(|(_, key)| *key).collect();
            comments.insert(path.join("."), comment);
        }
    }
    comments
}

fn parse(of: &str, yaml: &str) -> Result<Map<String, Value>, String> {
    if yaml.is_empty() {
        return Ok(Map::new());
    }
    serde_saphyr::from_str(yaml).map_err(|error| format!("{of}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &str) -> Value {
        values_schema("Values", values).unwrap()["properties"].clone()
    }

    #[test]
    fn a_type_follows_from_the_default_and_a_description_from_the_comment() {
        let values = "# Not of a key.\n\n# -- How many,\n# at most.\ncount: 1\n";
        assert_eq!(
            of(values)["count"],
            json!({"description": "How many, at most.", "type": "integer", "default": 1})
        );
    }

    #[test]
    fn a_line_of_schema_is_added_and_takes_precedence() {
        let values = "# @schema {type: [integer, 'null'],\n# @schema minimum: 1}\n# -- A.\na: 1\n";
        let a = &of(values)["a"];
        assert_eq!(a["type"], json!(["integer", "null"]));
        assert_eq!(a["minimum"], 1);
    }

    #[test]
    fn a_group_knows_exactly_its_keys_unless_it_says_otherwise() {
        let open = "# @schema {additionalProperties: {type: string}}\n";
        let group = "# A.\na:\n  # -- B.\n  b: true\n# C.\nc:\n  # D.\n  d: x\n";
        let closed = of(group);
        assert_eq!(closed["a"]["additionalProperties"], false);
        assert_eq!(closed["a"]["properties"]["b"]["type"], "boolean");
        assert_eq!(closed["c"]["properties"]["d"]["description"], "D.");
        let open = of(&format!("{open}{group}"));
        assert_eq!(open["a"]["additionalProperties"], json!({"type": "string"}));
        assert_eq!(open["a"]["default"], json!({"b": true}));
    }

    #[test]
    fn a_value_without_a_description_is_an_error() {
        let error = values_schema("Values", "# A.\na:\n  b: 1\n").unwrap_err();
        assert_eq!(error, "a.b has no description");
    }
}
