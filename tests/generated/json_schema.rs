//! Schemas for who writes YAML: of each kind, and of the chart's values.

use std::fs;

use edge_credential_operator::api::{EdgeCredential, EdgeToken};
use kube::{CustomResourceExt, Resource};
use serde_json::{Value, json};

use super::{compare, path};

/// For editors and for kubeconform, which know nothing of definitions.
#[test]
fn the_checked_in_json_schemas_are_those_of_the_definitions() {
    for (file, schema) in [
        ("edgecredential_v1alpha1", json_schema::<EdgeCredential>()),
        ("edgetoken_v1alpha1", json_schema::<EdgeToken>()),
    ] {
        let schema = serde_json::to_string_pretty(&schema).unwrap();
        compare(&format!("crds/{file}.json"), &format!("{schema}\n"));
    }
}

#[test]
fn the_schema_of_the_charts_values_is_what_their_comments_say() {
    const CHART: &str = "charts/edge-credential-operator";
    let values = fs::read_to_string(path(CHART).join("values.yaml")).unwrap();
    let title = "Values of the edge-credential-operator chart";
    let schema = kit::values_schema::values_schema(title, &values).unwrap();
    let schema = serde_json::to_string_pretty(&schema).unwrap();
    compare(
        &format!("{CHART}/values.schema.json"),
        &format!("{schema}\n"),
    );
}

/// The definition's schema as JSON Schema: a field that the API server would drop is an error, and rules of Kubernetes are left out.
fn json_schema<K: CustomResourceExt + Resource<DynamicType = ()>>() -> Value {
    let crd = serde_json::to_value(K::crd()).unwrap();
    let version = &crd["spec"]["versions"][0];
    let mut schema = version["schema"]["openAPIV3Schema"].clone();
    close(&mut schema);
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    let names = [("apiVersion", K::api_version(&())), ("kind", K::kind(&()))];
    for (field, name) in names {
        schema["properties"][field] = json!({ "const": name });
    }
    schema["properties"]["metadata"] = json!({"type": "object"});
    schema["required"] = json!(["apiVersion", "kind", "metadata", "spec"]);
    schema
}

fn close(schema: &mut Value) {
    let Some(schema) = schema.as_object_mut() else {
        return;
    };
    schema.retain(|keyword, _| !keyword.starts_with("x-kubernetes-"));
    let fields = schema.get_mut("properties").and_then(Value::as_object_mut);
    if let Some(fields) = fields {
        fields.values_mut().for_each(close);
        schema.insert("additionalProperties".to_owned(), json!(false));
    }
    for keyword in ["items", "additionalProperties"] {
        schema.get_mut(keyword).map(close);
    }
}
