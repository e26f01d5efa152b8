//! The schema of each kind as a whole: bounded everywhere, and without a way into another namespace.

use edge_credential_operator::api::{EdgeCredential, EdgeToken};
use kube::CustomResourceExt;
use serde_json::Value;

/// Every schema below `schema`, with its path.
fn walk(path: &str, schema: &Value, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(&format!("{path}.{name}"), property, visit);
    }
    for (key, suffix) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[key].is_object() {
            walk(&format!("{path}{suffix}"), &schema[key], visit);
        }
    }
}

fn problems(mut problem: impl FnMut(&str, &Value) -> Option<&'static str>) -> Vec<String> {
    let mut problems = Vec::new();
    for definition in [EdgeCredential::crd(), EdgeToken::crd()] {
        let kind = definition.spec.names.kind.clone();
        let crd = serde_json::to_value(definition).unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let mut seen = 0;
        for part in ["spec", "status"] {
            walk(part, &schema["properties"][part], &mut |path, schema| {
                seen += 1;
                let found = problem(path, schema);
                problems.extend(found.map(|problem| format!("{kind}.{path}: {problem}")));
            });
        }
        assert!(seen > 40, "only {seen} schemas of {kind} were looked at");
    }
    problems
}

#[test]
fn every_string_list_map_and_number_is_bounded() {
    let unbounded = problems(|_, schema| {
        let has = |keyword: &str| !schema[keyword].is_null();
        let bounded = match schema["type"].as_str()? {
            "string" => has("maxLength") || has("enum") || schema["format"] == "date-time",
            "array" => has("maxItems"),
            "object" => has("properties") || has("maxProperties"),
            "integer" | "number" => {
                has("minimum") && (has("maximum") || schema["format"] == "int64")
            }
            _ => true,
        };
        (!bounded).then_some("is not bounded")
    });
    assert_eq!(unbounded, [""; 0]);
}

#[test]
fn every_field_is_described() {
    let silent = problems(|path, schema| {
        let is_field = !path.ends_with("[]") && !path.ends_with("{}");
        (is_field && schema["description"].is_null()).then_some("has no description")
    });
    assert_eq!(silent, [""; 0]);
}

#[test]
fn no_field_can_be_null() {
    let nullable = problems(|_, schema| schema["nullable"].is_boolean().then_some("is nullable"));
    assert_eq!(nullable, [""; 0]);
}

#[test]
fn every_value_of_an_enum_is_described() {
    let mut enums = 0;
    let silent = problems(|path, schema| {
        // Those of `metav1.Condition` mean what they say.
        let values = schema["enum"]
            .as_array()
            .filter(|_| path.starts_with("spec"))?;
        enums += 1;
        let description = schema["description"].as_str()?;
        let is_told = |value: &Value| {
            let value = value.as_str().unwrap();
            description.contains(&format!("\n- `{value}`: "))
        };
        (!values.iter().all(is_told)).then_some("has a value without a meaning")
    });
    assert_eq!(silent, [""; 0]);
    assert_eq!(enums, 4 + 6);
}

#[test]
fn no_field_names_a_namespace() {
    // Six CVEs in other operators began with such a field.
    let leaks = problems(|path, _| {
        path.to_lowercase()
            .contains("namespace")
            .then_some("names a namespace")
    });
    assert_eq!(leaks, [""; 0]);
}
