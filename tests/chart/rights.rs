//! What the chart grants: exactly what the operator needs, and no more where less is asked for.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{objects, only};

/// Kinds and namespaces of what grants rights.
fn grants(objects: &[Value]) -> BTreeSet<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    objects
        .iter()
        .filter(|object| object["apiVersion"] == "rbac.authorization.k8s.io/v1")
        .filter(|object| !is_for_people(object))
        .map(|object| {
            (
                text(&object["kind"]),
                text(&object["metadata"]["namespace"]),
            )
        })
        .collect()
}

/// Whether a role is added to Kubernetes' own roles for people, and not bound to the operator.
fn is_for_people(object: &Value) -> bool {
    let labels = object["metadata"]["labels"].as_object();
    labels.is_some_and(|labels| labels.keys().any(|key| key.contains("aggregate-to-")))
}

/// Each right of the operator as `verb resource`, of all roles together.
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
        .filter(|object| !is_for_people(object))
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

const ALWAYS: [&str; 17] = [
    "create events",
    "create leases",
    "create secrets",
    "get edgecredentials",
    "get edgetokens",
    "get leases",
    "get secrets",
    "list edgecredentials",
    "list edgetokens",
    "patch edgecredentials/status",
    "patch edgetokens",
    "patch edgetokens/status",
    "patch events",
    "update leases",
    "update secrets",
    "watch edgecredentials",
    "watch edgetokens",
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
fn with_a_list_of_namespaces_the_operator_is_granted_nothing_outside_them() {
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
    &only(objects, "Deployment")["spec"]
}

#[test]
fn leaders_are_elected_by_one_lease_which_is_the_only_one_that_can_be_read_or_written() {
    let objects = objects(&[("replicaCount", "2")]);
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
}

/// What the chart adds to Kubernetes' own roles: their names, and the verbs.
fn aggregated(values: &[(&str, &str)]) -> Vec<(Vec<String>, Value)> {
    let objects = objects(values);
    let roles = objects.iter().filter(|object| is_for_people(object));
    roles
        .map(|role| {
            let rules = role["rules"].as_array().unwrap();
            assert_eq!(rules.len(), 1);
            assert_eq!(rules[0]["apiGroups"], json!(["edgecredentials.io"]));
            let resources = rules[0]["resources"].as_array().unwrap();
            for kind in ["edgecredentials", "edgetokens"] {
                assert!(resources.contains(&kind.into()), "{resources:?}");
            }
            let labels = role["metadata"]["labels"].as_object().unwrap();
            let into = labels
                .keys()
                .filter_map(|key| key.split_once("aggregate-to-"));
            let into = into.map(|(_, role)| role.to_owned()).collect();
            (into, rules[0]["verbs"].clone())
        })
        .collect()
}

/// Who has `edit` may read every Secret of the namespace by Kubernetes' own roles.
#[test]
fn people_may_see_and_edit_both_kinds_where_their_roles_let_them_see_and_edit_all_else() {
    let view = (vec!["view".to_owned()], json!(["get", "list", "watch"]));
    let edit = (
        vec!["admin".to_owned(), "edit".to_owned()],
        json!(["create", "update", "patch", "delete", "deletecollection"]),
    );
    let both = [view.clone(), edit.clone()];
    assert_eq!(aggregated(&[]), both);
    assert_eq!(aggregated(&[("namespaces", "{one}")]), both);
    assert_eq!(aggregated(&[("rbac.aggregateToView", "false")]), [edit]);
    assert_eq!(aggregated(&[("rbac.aggregateToEdit", "false")]), [view]);
}

#[test]
fn without_roles_and_definition_nothing_is_made_for_the_cluster() {
    let values = [("rbac.create", "false"), ("crds.enabled", "false")];
    for object in objects(&values) {
        assert_eq!(object["metadata"]["namespace"], "operators", "{object}");
    }
}

#[test]
fn no_role_has_a_wildcard_or_lets_its_holder_gain_rights_or_delete_secrets() {
    for values in [
        &[][..],
        &[("namespaces", "{one}")],
        &[("watchSecrets", "false")],
    ] {
        for right in rights(&objects(values)) {
            assert!(!right.contains('*'), "{right}");
            for verb in ["escalate", "bind", "impersonate", "delete"] {
                assert!(!right.starts_with(verb), "{right}");
            }
        }
    }
}
