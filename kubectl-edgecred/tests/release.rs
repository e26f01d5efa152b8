//! What comes with a release of the plugin: its version, the manifest for Krew, and the examples for other tools.

use std::{collections::BTreeSet, fs, process::Command};

use clap::CommandFactory;
use edge_credential_operator::api::{
    edge_credential::RENEW_REQUESTED_AT,
    edge_token::{END_OVERLAP_REQUESTED_AT, ROTATE_REQUESTED_AT},
};
use kit::workspace;
use kubectl_edgecred::cli::Cli;
use serde_json::Value;

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn read(file: &str) -> Value {
    let text = fs::read_to_string(workspace().join(file)).unwrap();
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn the_plugin_has_the_version_of_the_operator() {
    let manifest = fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
    let (_, package) = manifest.split_once("[package]").unwrap();
    let (_, version) = package.split_once("\nversion = \"").unwrap();
    assert!(
        version.starts_with(&format!("{VERSION}\"")),
        "{VERSION} and {version}"
    );
}

#[test]
fn krew_finds_an_archive_for_each_platform_that_is_released() {
    let folder = tempfile::tempdir().unwrap();
    let archives = [
        "linux-amd64.tar.gz",
        "darwin-arm64.tar.gz",
        "windows-amd64.zip",
    ];
    for archive in archives {
        fs::write(
            folder
                .path()
                .join(format!("kubectl-edgecred-{VERSION}-{archive}")),
            archive,
        )
        .unwrap();
    }
    let output = Command::new(workspace().join(".ci/krew-manifest.sh"))
        .arg(VERSION)
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let manifest: Value = serde_saphyr::from_slice(&output.stdout).unwrap();
    assert_eq!(manifest["metadata"]["name"], "edgecred");
    assert_eq!(manifest["spec"]["version"], format!("v{VERSION}"));
    let about = manifest["spec"]["shortDescription"].as_str().unwrap();
    assert!(
        about.len() <= 50 && !about.ends_with('.'),
        "Krew's guide: {about}"
    );
    let platforms = manifest["spec"]["platforms"].as_array().unwrap();
    assert_eq!(platforms.len(), archives.len());
    for (platform, archive) in platforms.iter().zip(archives) {
        let uri = platform["uri"].as_str().unwrap();
        assert!(
            uri.ends_with(&format!("/v{VERSION}/kubectl-edgecred-{VERSION}-{archive}")),
            "{uri}"
        );
        let checksum = platform["sha256"].as_str().unwrap();
        assert!(
            checksum.len() == 64 && checksum.bytes().all(|b| b.is_ascii_hexdigit()),
            "{checksum}"
        );
        let files: Vec<_> = platform["files"]
            .as_array()
            .unwrap()
            .iter()
            .map(|file| &file["from"])
            .collect();
        assert_eq!(files, [&platform["bin"], &Value::from("LICENSE")]);
    }
    // An empty release is none.
    let nothing = tempfile::tempdir().unwrap();
    let output = Command::new(workspace().join(".ci/krew-manifest.sh"))
        .arg(VERSION)
        .arg(nothing.path())
        .output()
        .unwrap();
    assert!(!output.status.success());
}

#[test]
fn the_keys_for_k9s_call_commands_that_there_are() {
    let plugins = read("examples/k9s/plugins.yaml");
    let plugins = plugins["plugins"].as_object().unwrap();
    let mut keys = BTreeSet::new();
    for (name, plugin) in plugins {
        let scope = plugin["scopes"][0].as_str().unwrap();
        assert!(
            matches!(scope, "edgecredentials" | "edgetokens"),
            "{name}: {scope}"
        );
        assert!(
            keys.insert((scope, plugin["shortCut"].as_str().unwrap())),
            "{name}: a key twice"
        );
        let args = plugin["args"]
            .as_array()
            .unwrap()
            .iter()
            .map(|arg| arg.as_str().unwrap());
        let line = args.collect::<Vec<_>>().join(" ");
        let (_, line) = line
            .split_once("edgecred ")
            .unwrap_or_else(|| panic!("{name}: {line}"));
        let line = line.split(" 2>&1").next().unwrap();
        let line = line.replace("$NAME", "edge");
        let words = line.split_whitespace().map(|word| word.trim_matches('"'));
        let parsed =
            Cli::command().try_get_matches_from(["kubectl-edgecred"].into_iter().chain(words));
        assert!(parsed.is_ok(), "{name}: {line}: {:?}", parsed.err());
        assert!(
            line.contains("--context"),
            "{name}: k9s may show another cluster than kubectl's"
        );
    }
    assert!(plugins.len() >= 11);
}

#[test]
fn the_actions_for_argo_cd_do_what_the_plugin_does() {
    let file = read("examples/gitops/argocd/actions.yaml");
    for (kind, expected) in [
        (
            "EdgeCredential",
            &[
                ("renew", Some(RENEW_REQUESTED_AT)),
                ("suspend", None),
                ("resume", None),
            ][..],
        ),
        (
            "EdgeToken",
            &[
                ("rotate", Some(ROTATE_REQUESTED_AT)),
                ("end-overlap", Some(END_OVERLAP_REQUESTED_AT)),
                ("suspend", None),
                ("resume", None),
            ][..],
        ),
    ] {
        let key = format!("resource.customizations.actions.edgecredentials.io_{kind}");
        let text = file["data"][&key].as_str().unwrap();
        let actions: Value = serde_saphyr::from_str(text).unwrap();
        let definitions = actions["definitions"].as_array().unwrap();
        assert_eq!(definitions.len(), expected.len(), "{kind}");
        let discovery = actions["discovery.lua"].as_str().unwrap();
        for (action, (name, annotation)) in definitions.iter().zip(expected) {
            assert_eq!(action["name"], *name);
            assert!(
                discovery.contains(&format!("actions[\"{name}\"]")),
                "{name} is not offered"
            );
            assert!(Cli::command().find_subcommand(name).is_some());
            let script = action["action.lua"].as_str().unwrap();
            let sets = annotation.unwrap_or("obj.spec.suspend");
            assert!(script.contains(sets), "{name} of {kind}: {script}");
        }
    }
}
