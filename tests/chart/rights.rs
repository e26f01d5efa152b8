//! What the chart grants: exactly what the operator needs, and no more where less is asked for.

use std::{collections::BTreeSet, path::Path};

use kit::control_plane::{Binaries, chart::render};
use serde_json::{Value, json};

/// The objects that the chart renders with these values.
fn objects(values: &[(&str, &str)]) -> Vec<Value> {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/edge-credential-operator");
    let binaries = Binaries::locate().unwrap();
    let manifests = render(&binaries, &chart, "edge", "operators", values).unwrap();
    manifests
        .split("\n---\n")
        .map(|document| serde_saphyr::from_str::<Value>(document).unwrap())
        .filter(|object| !object.is_null())
        .collect()
}

/// Kinds and namespaces of what grants rights.
fn grants(objects: &[Value]) -> BTreeSet<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    objects
        .iter()
        .filter(|object| object["apiVersion"] == "rbac.authorization.k8s.io/v1")
        .map(|object| {
            (
                text(&object["kind"]),
                text(&object["metadata"]["namespace"]),
            )
        })
        .collect()
}

/// Each right as `verb resource`, of all roles together.
fn rights(objects: &[Value]) -> BTreeSet<String> {
    let list = |value: &Value| -> Vec<String> {
        let items = value.as_array().cloned().unwrap_or_default();
        items
            .iter()
            .map(|item| item.as_str().unwrap().to_owned())
            .collect()
    };
    let mut rights = BTreeSet::new();
    for rule in objects
        .iter()
        .filter_map(|object| object["rules"].as_array())
        .flatten()
    {
        for resource in list(&rule["resources"]) {
            for verb in list(&rule["verbs"]) {
                rights.insert(format!("{verb} {resource}"));
            }
        }
    }
    rights
}

const ALWAYS: [&str; 12] = [
    "create events",
    "create leases",
    "create secrets",
    "get edgecredentials",
    "get leases",
    "get secrets",
    "list edgecredentials",
    "patch edgecredentials/status",
    "patch events",
    "update leases",
    "update secrets",
    "watch edgecredentials",
];

fn set<'a>(rights: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    rights.into_iter().map(Into::into).collect()
}

#[test]
fn by_default_the_rights_are_for_the_whole_cluster_and_exactly_what_is_needed() {
    let objects = objects(&[]);
    assert_eq!(
        grants(&objects),
        [
            ("ClusterRole", ""),
            ("ClusterRoleBinding", ""),
            ("Role", "operators"),
            ("RoleBinding", "operators")
        ]
        .map(|(kind, namespace)| (kind.into(), namespace.into()))
        .into()
    );
    let watching = ["list secrets", "watch secrets"];
    assert_eq!(rights(&objects), set(ALWAYS.into_iter().chain(watching)));
}

#[test]
fn with_a_list_of_namespaces_nothing_is_granted_outside_them() {
    let objects = objects(&[("namespaces", "{one,two}"), ("leaderElection", "false")]);
    assert_eq!(
        grants(&objects),
        [
            ("Role", "one"),
            ("Role", "two"),
            ("RoleBinding", "one"),
            ("RoleBinding", "two")
        ]
        .map(|(kind, namespace)| (kind.into(), namespace.into()))
        .into()
    );
}

#[test]
fn without_watching_secrets_they_can_neither_be_listed_nor_watched() {
    let objects = objects(&[("watchSecrets", "false")]);
    assert_eq!(rights(&objects), set(ALWAYS));
    let args = &deployment(&objects)["template"]["spec"]["containers"][0]["args"];
    let args = args.as_array().unwrap();
    assert!(args.contains(&"--watch-secrets=false".into()), "{args:?}");
}

/// The Deployment's spec.
fn deployment(objects: &[Value]) -> &Value {
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment");
    &deployment.unwrap()["spec"]
}

#[test]
fn leaders_are_elected_by_one_lease_which_is_the_only_one_that_can_be_read_or_written() {
    let objects = objects(&[("replicas", "2")]);
    let rules: Vec<_> = objects
        .iter()
        .filter_map(|object| object["rules"].as_array())
        .flatten()
        .filter(|rule| rule["resources"][0] == "leases")
        .collect();
    assert_eq!(rules.len(), 2);
    assert_eq!(rules[0]["verbs"], json!(["create"]));
    assert_eq!(rules[1]["verbs"], json!(["get", "update"]));
    let name = "edge-edge-credential-operator";
    assert_eq!(rules[1]["resourceNames"], json!([name]));

    let deployment = deployment(&objects);
    assert_eq!(deployment["replicas"], 2);
    assert_eq!(deployment["strategy"]["type"], "RollingUpdate");
    let args = &deployment["template"]["spec"]["containers"][0]["args"];
    for arg in [
        "--leader-election=true",
        "--lease-namespace=operators",
        &format!("--lease-name={name}"),
    ] {
        assert!(args.as_array().unwrap().contains(&arg.into()), "{args}");
    }
}

#[test]
fn without_leader_election_there_is_one_pod_at_most_and_no_right_to_leases() {
    let objects = objects(&[("leaderElection", "false")]);
    assert!(
        rights(&objects)
            .iter()
            .all(|right| !right.ends_with(" leases"))
    );
    assert_eq!(deployment(&objects)["strategy"]["type"], "Recreate");

    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/edge-credential-operator");
    let binaries = Binaries::locate().unwrap();
    let values = [("leaderElection", "false"), ("replicas", "2")];
    assert!(render(&binaries, &chart, "edge", "operators", &values).is_err());
}

#[test]
fn a_value_that_does_not_exist_or_has_the_wrong_type_is_refused() {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/edge-credential-operator");
    let binaries = Binaries::locate().unwrap();
    for value in [
        ("namespace", "one"),
        ("watchSecrets", "maybe"),
        ("replicas", "-1"),
    ] {
        let refused = render(&binaries, &chart, "edge", "operators", &[value]);
        assert!(refused.is_err(), "{value:?}");
    }
}
