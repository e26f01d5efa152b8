//! The notes that Helm prints after an installation: what a reader pastes from them into a shell works.

use std::fs;
use std::path::Path;
use std::process::Command;

use edge_credential_operator::api::EdgeCredential;
use kit::control_plane::chart::notes;
use kit::programs::Binaries;
use kit::script;
use tempfile::TempDir;

use super::{NAMESPACE, RELEASE, chart};

/// In place of kubectl: writes down how it was called, and what it was given to read.
const KUBECTL: &str = r#"#!/bin/sh
printf '%s\n' "$*" >> calls
case "$*" in *"--filename -"*) cat > applied ;; esac
"#;

#[test]
fn what_is_pasted_from_the_notes_makes_an_edge_credential() {
    let binaries = Binaries::locate().unwrap();
    let listed = [("namespaces", "{one,two}")];
    for (values, namespace) in [(&[][..], "storefront"), (&listed, "one")] {
        let folder = TempDir::new().unwrap();
        let notes = notes(&binaries, &chart(), RELEASE, NAMESPACE, values).unwrap();
        let calls = paste(folder.path(), &notes);
        let in_namespace = |call: &str| call.contains(&format!("--namespace {namespace}"));
        let expected = [
            "create secret generic edge-client",
            "wait --for=condition=Ready",
        ];
        for call in expected {
            let found = calls.lines().find(|line| line.starts_with(call));
            assert!(in_namespace(found.unwrap()), "{calls}");
        }
        let created = calls.contains(&format!("create namespace {namespace}\n"));
        assert_eq!(created, values.is_empty(), "{calls}");
        let applied = fs::read_to_string(folder.path().join("applied")).unwrap();
        let object: EdgeCredential = serde_saphyr::from_str(&applied).unwrap();
        assert_eq!(object.metadata.namespace.as_deref(), Some(namespace));
        assert_eq!(object.spec.credentials_secret_ref.name, "edge-client");
    }
}

/// Enters each command of the notes into a shell, and returns the calls of kubectl.
fn paste(folder: &Path, notes: &str) -> String {
    let kubectl = folder.join("kubectl");
    script::write(&kubectl, KUBECTL).unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let commands = notes
        .split("\n\n")
        .filter(|paragraph| paragraph.trim_start().starts_with("kubectl "));
    for command in commands {
        let shell = Command::new("bash")
            .args(["-euc", command])
            .current_dir(folder)
            .env("PATH", &path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&shell.stderr);
        assert!(
            shell.status.success() && said.is_empty(),
            "{command}\n{said}"
        );
    }
    fs::read_to_string(folder.join("calls")).unwrap()
}
