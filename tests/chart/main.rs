//! What the Helm chart renders: rights, whole manifests, values that are refused, alerts and dashboard. Helm is the real one; no
//! cluster is needed. `make test-chart` holds the same manifests against tools of others.

mod manifests;
mod monitoring;
mod notes;
mod release;
mod rights;
mod values;

use std::path::{Path, PathBuf};

use kit::control_plane::chart::{render, render_with};
use kit::programs::Binaries;
use serde_json::Value;

const RELEASE: &str = "edge";
const NAMESPACE: &str = "operators";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn chart() -> PathBuf {
    root().join("charts/edge-credential-operator")
}

/// Whether the chart renders with these values.
fn accepts(values: &[(&str, &str)]) -> bool {
    let binaries = Binaries::locate().unwrap();
    render(&binaries, &chart(), RELEASE, NAMESPACE, values).is_ok()
}

/// The objects that the chart renders with these values.
fn objects(values: &[(&str, &str)]) -> Vec<Value> {
    let binaries = Binaries::locate().unwrap();
    parse(&render(&binaries, &chart(), RELEASE, NAMESPACE, values).unwrap())
}

/// What the chart renders with a file of `tests/chart/values`.
fn rendered(set: &str) -> String {
    let values = root().join(format!("tests/chart/values/{set}.yaml"));
    let binaries = Binaries::locate().unwrap();
    render_with(&binaries, &chart(), RELEASE, NAMESPACE, &values).unwrap()
}

fn parse(manifests: &str) -> Vec<Value> {
    manifests
        .split("\n---\n")
        .map(|document| serde_saphyr::from_str::<Value>(document).unwrap())
        .filter(|object| !object.is_null())
        .collect()
}

/// The only object of a kind.
fn only<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let of_kind: Vec<_> = objects
        .iter()
        .filter(|object| object["kind"] == kind)
        .collect();
    assert_eq!(of_kind.len(), 1, "{kind}");
    of_kind[0]
}
