//! Values that are refused, and that all of them are told of.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use super::{accepts, chart};

#[test]
fn a_value_that_does_not_exist_or_has_the_wrong_type_is_refused() {
    for value in [
        ("namespace", "one"),
        ("watchSecrets", "maybe"),
        ("replicas", "-1"),
        ("image.digest", "sha256:0"),
        ("image.name", "a"),
        ("allowedTokenOrigins", "{https://a.example/path}"),
        ("proxy.url", "http://user:password@proxy.example.com"),
        ("metrics.serviceMonitor.interval", "often"),
        ("metrics.prometheusRule.runbooks", "https://a.example"),
        ("networkPolicy.apiServerPorts", "{}"),
        ("tolerations", "none"),
        ("commonLabels.a", "{b}"),
        ("lease.duration", "15"),
        ("lease.duration", "1500ms"),
        ("lease.renewDeadline", "-10s"),
        ("lease.retryPeriod", "soon"),
        ("proxy.port", "0"),
        ("dnsConfig", "none"),
        ("test.podLabels.a", "{b}"),
    ] {
        assert!(!accepts(&[value]), "{value:?}");
    }
}

#[test]
fn more_than_one_pod_needs_leader_election() {
    assert!(accepts(&[("replicas", "2")]));
    assert!(!accepts(&[("leaderElection", "false"), ("replicas", "2")]));
}

#[test]
fn a_variable_that_is_given_twice_is_refused() {
    let names = [("extraEnv[0].name", "A"), ("extraEnv[1].name", "B")];
    assert!(accepts(&names));
    assert!(!accepts(&[names[0], ("extraEnv[1].name", "A")]));
}

#[test]
fn a_proxy_whose_port_is_not_known_is_refused_where_traffic_is_limited() {
    let key = "extraEnv[0].valueFrom.secretKeyRef.key";
    let secret = [("extraEnv[0].name", "https_proxy"), (key, "url")];
    let name = ("extraEnv[0].name", "HTTPS_PROXY");
    let variable = [name, ("extraEnv[0].value", "http://$(PROXY)")];
    for proxy in [secret, variable] {
        assert!(!accepts(&proxy));
        assert!(accepts(&[proxy[0], proxy[1], ("proxy.port", "3128")]));
        let unlimited = ("networkPolicy.create", "false");
        assert!(accepts(&[proxy[0], proxy[1], unlimited]));
    }
}

#[test]
fn only_one_kind_of_monitor_is_made() {
    let both = [
        ("metrics.serviceMonitor.create", "true"),
        ("metrics.podMonitor.create", "true"),
    ];
    assert!(!accepts(&both));
}

#[test]
fn the_schema_knows_exactly_the_values_that_there_are() {
    let values = fs::read_to_string(chart().join("values.yaml")).unwrap();
    let schema = fs::read_to_string(chart().join("values.schema.json")).unwrap();
    let values = serde_saphyr::from_str(&values).unwrap();
    let schema = serde_json::from_str(&schema).unwrap();
    let mut known = known(&schema, "");
    // Helm's own, for charts that this one is a part of.
    assert!(known.remove("global"));
    // What Kubernetes has beside the defaults.
    assert!(known.remove("resources.claims"));
    let mut there = BTreeSet::new();
    paths(&values, &schema, "", &mut there);
    assert_eq!(there, known);
}

/// The paths of all values in the schema that are no objects of a closed shape.
fn known(schema: &Value, path: &str) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for (key, schema) in schema["properties"].as_object().unwrap() {
        let path = format!("{path}{key}");
        if schema["properties"].is_object() {
            known.extend(self::known(schema, &format!("{path}.")));
        } else {
            known.insert(path);
        }
    }
    known
}

/// The paths of all values down to where the schema's closed shapes end.
fn paths(values: &Value, schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    for (key, value) in values.as_object().unwrap() {
        let schema = &schema["properties"][key];
        let path = format!("{path}{key}");
        if schema["properties"].is_object() {
            paths(value, schema, &format!("{path}."), found);
        } else {
            found.insert(path);
        }
    }
}
