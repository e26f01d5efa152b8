//! What a release is installed from: the packaged chart, manifests for kubectl, and one version in all of them.

use std::fs;
use std::path::Path;
use std::process::Command;

use kit::programs::Binaries;
use serde_json::Value;
use tempfile::TempDir;

use super::{chart, only, parse, root};

const DIGEST: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";

const VERSION: &str = env!("CARGO_PKG_VERSION");

#[test]
fn chart_and_operator_have_one_version_which_guides_and_examples_name() {
    let about = fs::read_to_string(chart().join("Chart.yaml")).unwrap();
    let about: Value = serde_saphyr::from_str(&about).unwrap();
    assert_eq!(about["version"], VERSION);
    assert_eq!(about["appVersion"], VERSION);
    let images = about["annotations"]["artifacthub.io/images"].as_str();
    assert!(images.unwrap().contains(&format!("operator:{VERSION}\n")));
    for (file, before) in [
        ("docs/install.md", "--version "),
        ("docs/try.md", "edge-credential-operator:"),
        ("docs/try.md", "sitecore-stand-in:"),
        ("examples/try/stand-in.yaml", "sitecore-stand-in:"),
        ("examples/gitops/argocd/operator.yaml", "targetRevision: "),
        ("examples/gitops/flux/operator.yaml", "tag: "),
    ] {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let named = text.split(before).skip(1);
        let named: Vec<_> = named
            .map(|rest| rest.split_whitespace().next().unwrap())
            .collect();
        assert!(!named.is_empty(), "{file}");
        assert!(named.iter().all(|it| *it == VERSION), "{file}: {named:?}");
    }
}

#[test]
fn a_release_names_its_image_by_digest_in_chart_and_manifests() {
    let out = TempDir::new().unwrap();
    let out = out.path();
    let made = make(DIGEST, out);
    assert!(made.status.success(), "{made:?}");
    let manifests = |name: &str| parse(&fs::read_to_string(out.join(name)).unwrap());

    let all = manifests("install.yaml");
    let one = manifests("install-namespaced.yaml");
    for (objects, home) in [
        (&all, "edge-credential-operator"),
        (&one, "edge-credentials"),
    ] {
        let namespace = &only(objects, "Namespace")["metadata"];
        assert_eq!(namespace["name"], home);
        assert!(namespace["labels"]["pod-security.kubernetes.io/enforce"].is_string());
        let pod = &only(objects, "Deployment")["spec"]["template"]["spec"];
        let image = pod["containers"][0]["image"].as_str().unwrap();
        assert!(image.ends_with(&format!("@{DIGEST}")), "{image}");
        for object in objects {
            let metadata = &object["metadata"];
            assert!(
                metadata["annotations"]["helm.sh/hook"].is_null(),
                "{object}"
            );
            let by = &metadata["labels"]["app.kubernetes.io/managed-by"];
            assert_ne!(by, "Helm", "{object}");
        }
    }
    let is_definition = |object: &&Value| object["kind"] == "CustomResourceDefinition";
    assert_eq!(all.iter().filter(is_definition).count(), 2);
    let in_cluster = |object: &&Value| object["metadata"]["namespace"].is_null();
    let in_cluster: Vec<_> = one.iter().filter(in_cluster).collect();
    assert_eq!(in_cluster.len(), 1, "only the Namespace: {in_cluster:?}");

    let package = out.join(format!("edge-credential-operator-{VERSION}.tgz"));
    let about = Command::new("tar")
        .args(["--extract", "--to-stdout", "--file"])
        .args([&*package, Path::new("edge-credential-operator/Chart.yaml")])
        .output()
        .unwrap();
    let about = String::from_utf8(about.stdout).unwrap();
    assert!(about.contains(&format!(":{VERSION}@{DIGEST}")), "{about}");
    let about: Value = serde_saphyr::from_str(&about).unwrap();
    tells_the_changes(
        about["annotations"]["artifacthub.io/changes"]
            .as_str()
            .unwrap(),
    );
    let package = kit::control_plane::chart::render(
        &Binaries::locate().unwrap(),
        &package,
        "edge",
        "operators",
        &[],
    );
    let objects = parse(&package.unwrap());
    let pod = &only(&objects, "Deployment")["spec"]["template"]["spec"];
    let image = pod["containers"][0]["image"].as_str().unwrap();
    assert!(image.ends_with(&format!("@{DIGEST}")), "{image}");

    for (published, source) in [
        ("edgecredentials-crd.yaml", "crds/edgecredentials.yaml"),
        ("edgetokens-crd.yaml", "crds/edgetokens.yaml"),
        (
            "edgecredential_v1alpha1.json",
            "crds/edgecredential_v1alpha1.json",
        ),
        ("edgetoken_v1alpha1.json", "crds/edgetoken_v1alpha1.json"),
    ] {
        let published = fs::read(out.join(published)).unwrap();
        assert_eq!(published, fs::read(root().join(source)).unwrap());
    }
}

/// Each point of the changelog's newest section under a heading that Artifact Hub knows, in its words, and nothing else.
fn tells_the_changes(annotation: &str) {
    let changelog = fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    let newest = changelog.split("\n## ").nth(1).unwrap();
    let mut points = Vec::new();
    for part in newest.split("\n### ").skip(1) {
        let (heading, text) = part.split_once('\n').unwrap();
        if heading == "Documentation" {
            continue;
        }
        for point in text.split("\n- ").skip(1) {
            let (point, _) = point.split_once("\n\n").unwrap_or((point, ""));
            let words: Vec<_> = point.split_whitespace().collect();
            points.push((heading.to_lowercase(), words.join(" ")));
        }
    }
    let told: Vec<Value> = serde_saphyr::from_str(annotation).unwrap();
    let told: Vec<_> = told
        .iter()
        .map(|change| {
            let text = |key: &str| change[key].as_str().unwrap().to_owned();
            (text("kind"), text("description"))
        })
        .collect();
    assert!(points.len() > 20, "{points:#?}");
    assert_eq!(told, points);
}

#[test]
fn nothing_is_made_without_a_digest() {
    let out = TempDir::new().unwrap();
    assert!(!make("latest", out.path()).status.success());
}

/// What the workflow of releases calls.
fn make(digest: &str, out: &Path) -> std::process::Output {
    let helm = Binaries::locate().unwrap().helm;
    let path = format!(
        "{}:{}",
        helm.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    Command::new(root().join(".ci/release-manifests.sh"))
        .arg(digest)
        .arg(out)
        .env("PATH", path)
        .output()
        .unwrap()
}
