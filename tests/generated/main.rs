//! What is generated from the code and checked in: equal to what the code says. `make generate` writes it anew.

mod fields;
mod json_schema;
mod reference;

use std::{fs, path::Path, process::Command};

use edge_credential_operator::api::{EdgeCredential, EdgeToken};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

#[test]
fn the_checked_in_definitions_are_those_of_the_code_and_the_chart_has_the_same() {
    for folder in ["crds", "charts/edge-credential-operator/crd"] {
        for (file, crd) in definitions() {
            let crd = serde_saphyr::to_string(&crd).unwrap();
            compare(&format!("{folder}/{file}.yaml"), &crd);
        }
    }
}

#[test]
fn the_operator_prints_the_checked_in_definitions() {
    let printed = Command::new(env!("CARGO_BIN_EXE_edge-credential-operator"))
        .arg("crd")
        .output()
        .unwrap();
    let files = definitions()
        .map(|(file, _)| fs::read_to_string(path(&format!("crds/{file}.yaml"))).unwrap());
    assert_eq!(
        String::from_utf8(printed.stdout).unwrap(),
        files.join("---\n")
    );
}

/// The definition of each kind, with the name of its file.
fn definitions() -> [(&'static str, CustomResourceDefinition); 2] {
    [
        ("edgecredentials", EdgeCredential::crd()),
        ("edgetokens", EdgeToken::crd()),
    ]
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

/// A table in Markdown.
fn table(heads: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let heads: Vec<_> = heads.iter().map(|&head| head.to_owned()).collect();
    let rule = format!("|{}\n", "---|".repeat(heads.len()));
    let rows = rows.into_iter().map(|row| {
        let cells: Vec<_> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        line(&cells)
    });
    [line(&heads), rule].into_iter().chain(rows).collect()
}

fn compare(file: &str, expected: &str) {
    kit::generated::compare(&path(file), expected);
}

fn path(file: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}
