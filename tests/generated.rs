//! What is generated from the code and checked in: equal to what the code says. `make generate` writes it anew.

use std::{fs, path::Path};

use clap::{Args, Command};
use edge_credential_operator::{
    api::{EdgeCredential, Reason},
    config::Settings,
};
use kube::{CustomResourceExt, Resource};
use serde_json::{Value, json};

#[test]
fn the_checked_in_crd_is_what_the_operator_prints() {
    compare("crds/edgecredentials.yaml", &crd());
}

#[test]
fn the_crd_in_the_chart_is_the_checked_in_one() {
    compare(
        "charts/edge-credential-operator/crd/edgecredentials.yaml",
        &crd(),
    );
}

/// For editors and for kubeconform, which know nothing of definitions.
#[test]
fn the_checked_in_json_schema_is_that_of_the_definition() {
    let schema = serde_json::to_string_pretty(&json_schema()).unwrap();
    compare("crds/edgecredential_v1alpha1.json", &format!("{schema}\n"));
}

#[test]
fn the_schema_of_the_charts_values_is_what_their_comments_say() {
    let chart = path("charts/edge-credential-operator");
    let values = fs::read_to_string(chart.join("values.yaml")).unwrap();
    let title = "Values of the edge-credential-operator chart";
    let schema = kit::values_schema::values_schema(title, &values).unwrap();
    let schema = serde_json::to_string_pretty(&schema).unwrap();
    kit::generated::compare(&chart.join("values.schema.json"), &format!("{schema}\n"));
}

#[test]
fn the_reasons_in_the_readme_are_those_of_the_code() {
    let rows = Reason::ALL.iter().map(|reason| {
        format!(
            "| `{reason}` | {} | {} |\n",
            reason.meaning(),
            reason.remedy()
        )
    });
    let table: String = ["| Reason | Meaning | What to do |\n|---|---|---|\n".to_owned()]
        .into_iter()
        .chain(rows)
        .collect();
    compare("README.md", &with_section("README.md", "reasons", &table));
}

#[test]
fn every_reason_has_a_section_in_the_guide_to_troubleshooting() {
    let guide = fs::read_to_string(path("docs/troubleshooting.md")).unwrap();
    for reason in Reason::ALL {
        let heading = |line: &str| line.starts_with('#') && line.contains(reason.as_str());
        assert!(guide.lines().any(heading), "{reason} has no section");
    }
}

#[test]
fn the_flags_in_the_readme_are_those_of_the_code() {
    let command = Settings::augment_args(Command::new("run"));
    let rows = command.get_arguments().map(|flag| {
        let name = flag.get_long().expect("every argument is a flag");
        let variable = flag
            .get_env()
            .expect("every flag has a variable")
            .to_string_lossy();
        let defaults: Vec<_> = flag
            .get_default_values()
            .iter()
            .map(|value| format!("`{}`", value.to_string_lossy()))
            .collect();
        let help = flag
            .get_long_help()
            .or(flag.get_help())
            .expect("every flag has help")
            .to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        format!(
            "| `--{name}` | `{variable}` | {} | {help} |\n",
            defaults.join(" ")
        )
    });
    let table: String =
        ["| Flag | Environment | Default | Meaning |\n|---|---|---|---|\n".to_owned()]
            .into_iter()
            .chain(rows)
            .collect();
    compare("README.md", &with_section("README.md", "flags", &table));
}

#[test]
fn the_examples_in_the_readme_are_the_files_in_examples() {
    let readme = fs::read_to_string(path("README.md")).unwrap();
    for example in ["examples/edgecredential.yaml", "examples/workload.yaml"] {
        let file = fs::read_to_string(path(example)).unwrap();
        let shown: String = file
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
            .map(|line| format!("{line}\n"))
            .collect();
        assert!(
            readme.contains(shown.trim()),
            "README.md does not show {example} as it is"
        );
    }
}

fn crd() -> String {
    serde_saphyr::to_string(&EdgeCredential::crd()).unwrap()
}

/// The definition's schema as JSON Schema: a field that the API server would drop is an error, and rules of Kubernetes are left out.
fn json_schema() -> Value {
    let crd = serde_json::to_value(EdgeCredential::crd()).unwrap();
    let version = &crd["spec"]["versions"][0];
    let mut schema = version["schema"]["openAPIV3Schema"].clone();
    close(&mut schema);
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    let names = [
        ("apiVersion", EdgeCredential::api_version(&())),
        ("kind", EdgeCredential::kind(&())),
    ];
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

/// The file with the part between its two marks replaced.
fn with_section(file: &str, name: &str, text: &str) -> String {
    let content = fs::read_to_string(path(file)).unwrap();
    let (begin, end) = (
        format!("<!-- {name}:begin -->\n"),
        format!("<!-- {name}:end -->"),
    );
    let (before, rest) = content
        .split_once(&begin)
        .expect("the mark where it begins");
    let (_, after) = rest.split_once(&end).expect("the mark where it ends");
    format!("{before}{begin}{text}{end}{after}")
}

fn compare(file: &str, expected: &str) {
    kit::generated::compare(&path(file), expected);
}

fn path(file: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}
