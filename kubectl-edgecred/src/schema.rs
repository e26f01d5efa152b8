//! What an API server checks of an object by its schema, but for patterns and rules in CEL: those the operator checks as well, in
//! functions of its own, because objects can be older than a rule.

use serde_json::Value;

use crate::manifest::{Content, Node};

/// A field that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The path of the field.
    pub field: String,
    /// The line that it is in.
    pub line: u64,
    /// What is wrong with it.
    pub problem: String,
}

/// Checks a value against a schema, and returns all that does not fit.
pub fn check(schema: &Value, node: &Node, field: &str) -> Vec<Misfit> {
    let mut misfits = Vec::new();
    Checker {
        misfits: &mut misfits,
    }
    .check(schema, node, field);
    misfits
}

struct Checker<'a> {
    misfits: &'a mut Vec<Misfit>,
}

impl Checker<'_> {
    fn report(&mut self, node: &Node, field: &str, problem: impl Into<String>) {
        self.misfits.push(Misfit {
            field: field.into(),
            line: node.line,
            problem: problem.into(),
        });
    }

    fn check(&mut self, schema: &Value, node: &Node, field: &str) {
        match (text(schema, "type"), &node.content) {
            ("object", Content::Map(entries)) => self.check_map(schema, node, entries, field),
            ("array", Content::List(items)) => self.check_list(schema, node, items, field),
            ("string", Content::Scalar(Value::String(value))) => {
                self.check_text(schema, node, value, field)
            }
            ("integer", Content::Scalar(Value::Number(number)))
                if number.is_i64() || number.is_u64() =>
            {
                let value = number.as_f64().unwrap_or_default();
                let most = schema.get("maximum").and_then(Value::as_f64);
                let least = schema.get("minimum").and_then(Value::as_f64);
                if most.is_some_and(|most| value > most) || least.is_some_and(|least| value < least)
                {
                    let bound =
                        |bound: Option<f64>| bound.map_or("…".into(), |bound| bound.to_string());
                    self.report(
                        node,
                        field,
                        format!("must be from {} to {}", bound(least), bound(most)),
                    );
                }
            }
            ("boolean", Content::Scalar(Value::Bool(_))) => {}
            // An API server leaves such a field out, and takes its default.
            (_, Content::Scalar(Value::Null)) => {}
            (expected, _) => self.report(node, field, format!("must be of type {expected}")),
        }
    }

    fn check_map(&mut self, schema: &Value, node: &Node, entries: &[(String, Node)], field: &str) {
        let below = |name: &str| {
            if field.is_empty() {
                name.to_owned()
            } else {
                format!("{field}.{name}")
            }
        };
        if let Some(values) = schema
            .get("additionalProperties")
            .filter(|values| values.is_object())
        {
            if exceeds(schema, "maxProperties", entries.len()) {
                self.report(
                    node,
                    field,
                    format!("has more than {} entries", schema["maxProperties"]),
                );
            }
            for (name, value) in entries {
                self.check(values, value, &below(name));
            }
            return;
        }
        let Some(properties) = schema.get("properties") else {
            return;
        };
        for (name, value) in entries {
            match properties.get(name) {
                Some(schema) => self.check(schema, value, &below(name)),
                None => self.report(value, &below(name), "unknown field"),
            }
        }
        let required = schema.get("required").and_then(Value::as_array);
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            let value = node.get(name).map(|value| &value.content);
            if matches!(value, None | Some(Content::Scalar(Value::Null))) {
                self.report(node, &below(name), "is required");
            }
        }
    }

    fn check_list(&mut self, schema: &Value, node: &Node, items: &[Node], field: &str) {
        if exceeds(schema, "maxItems", items.len()) {
            self.report(
                node,
                field,
                format!("has more than {} entries", schema["maxItems"]),
            );
        }
        if falls_short(schema, "minItems", items.len()) {
            self.report(
                node,
                field,
                format!("has fewer than {} entries", schema["minItems"]),
            );
        }
        let keys = schema
            .get("x-kubernetes-list-map-keys")
            .and_then(Value::as_array);
        let identity = |item: &Node| match (text(schema, "x-kubernetes-list-type"), keys) {
            ("set", _) => Some(vec![item.to_value()]),
            ("map", Some(keys)) => {
                let value = item.to_value();
                Some(
                    keys.iter()
                        .filter_map(|key| value.get(key.as_str()?).cloned())
                        .collect(),
                )
            }
            _ => None,
        };
        let mut seen: Vec<Vec<Value>> = Vec::new();
        for (at, item) in items.iter().enumerate() {
            let path = format!("{field}[{at}]");
            if let Some(identity) = identity(item) {
                if seen.contains(&identity) {
                    self.report(item, &path, "is there twice");
                }
                seen.push(identity);
            }
            if let Some(schema) = schema.get("items") {
                self.check(schema, item, &path);
            }
        }
    }

    fn check_text(&mut self, schema: &Value, node: &Node, value: &str, field: &str) {
        let length = value.chars().count();
        if exceeds(schema, "maxLength", length) {
            self.report(
                node,
                field,
                format!("has more than {} characters", schema["maxLength"]),
            );
        }
        if falls_short(schema, "minLength", length) {
            self.report(node, field, "must not be empty");
        }
        let values = schema.get("enum").and_then(Value::as_array);
        if let Some(values) = values.filter(|values| !values.iter().any(|known| known == value)) {
            let known: Vec<_> = values.iter().filter_map(Value::as_str).collect();
            self.report(node, field, format!("must be one of {}", known.join(", ")));
        }
    }
}

fn text<'a>(schema: &'a Value, keyword: &str) -> &'a str {
    schema
        .get(keyword)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn bound(schema: &Value, keyword: &str) -> Option<usize> {
    usize::try_from(schema.get(keyword)?.as_u64()?).ok()
}

fn exceeds(schema: &Value, keyword: &str, size: usize) -> bool {
    bound(schema, keyword).is_some_and(|most| size > most)
}

fn falls_short(schema: &Value, keyword: &str, size: usize) -> bool {
    bound(schema, keyword).is_some_and(|least| size < least)
}
