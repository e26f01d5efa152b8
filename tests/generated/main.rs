//! What is generated from the code and checked in: equal to what the code says. `make generate` writes it anew.

mod fields;
mod json_schema;
mod reference;

use std::{fs, path::Path};

use edge_credential_operator::api::EdgeCredential;
use kube::CustomResourceExt;

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

fn crd() -> String {
    serde_saphyr::to_string(&EdgeCredential::crd()).unwrap()
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
