//! Whether a status is within the bounds of the CRD: beyond them an API server refuses it.

use std::sync::LazyLock;

use edge_credential_operator::api::EdgeCredential;
use k8s_openapi::jiff::Timestamp;
use kube::CustomResourceExt;
use serde_json::Value;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let crd = serde_json::to_value(EdgeCredential::crd()).expect("a CRD can be serialised");
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"].clone()
});

/// The first field of a status that is out of bounds. Patterns are not looked at.
pub fn out_of_bounds(status: &Value) -> Option<String> {
    check("status", &SCHEMA, status)
}

fn check(path: &str, schema: &Value, value: &Value) -> Option<String> {
    let at_most = |keyword: &str, actual: usize| {
        schema[keyword]
            .as_u64()
            .is_none_or(|limit| actual as u64 <= limit)
    };
    let at_least = |keyword: &str, actual: usize| {
        schema[keyword]
            .as_u64()
            .is_none_or(|limit| actual as u64 >= limit)
    };
    let permitted = match value {
        Value::Null => schema["nullable"] == true,
        Value::String(text) => {
            let length = text.chars().count();
            let variants = schema["enum"].as_array();
            at_most("maxLength", length)
                && at_least("minLength", length)
                && variants.is_none_or(|variants| variants.contains(value))
                && (schema["format"] != "date-time" || text.parse::<Timestamp>().is_ok())
        }
        Value::Array(items) => at_most("maxItems", items.len()),
        Value::Object(fields) => {
            let required = schema["required"].as_array().into_iter().flatten();
            at_most("maxProperties", fields.len())
                && required
                    .filter_map(Value::as_str)
                    .all(|field| fields.contains_key(field))
        }
        Value::Number(number) => {
            let number = number.as_f64();
            let within = |keyword: &str, limited: fn(f64, f64) -> bool| {
                let limit = schema[keyword].as_f64();
                limit
                    .zip(number)
                    .is_none_or(|(limit, number)| limited(number, limit))
            };
            within("minimum", |number, limit| number >= limit)
                && within("maximum", |number, limit| number <= limit)
        }
        Value::Bool(_) => true,
    };
    if !permitted {
        return Some(path.to_owned());
    }
    match value {
        Value::Array(items) => items
            .iter()
            .find_map(|item| check(&format!("{path}[]"), &schema["items"], item)),
        Value::Object(fields) => fields.iter().find_map(|(name, field)| {
            let schema = match &schema["properties"][name] {
                Value::Null => &schema["additionalProperties"],
                property => property,
            };
            check(&format!("{path}.{name}"), schema, field)
        }),
        _ => None,
    }
}
