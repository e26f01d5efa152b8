//! Alerts and dashboard. That the alerts fire when they should is tested with promtool, by `make test-chart`; that every
//! metric in them exists, on a running operator.

use std::collections::BTreeSet;
use std::fs;

use kit::generated::compare;
use serde_json::Value;

use super::{chart, objects, only, parse, rendered, root};

/// The PrometheusRule of the set of values that has everything.
fn rule() -> Value {
    only(&parse(&rendered("production")), "PrometheusRule").clone()
}

/// Every alert of it.
fn alerts() -> Vec<Value> {
    let groups = rule()["spec"]["groups"].as_array().unwrap().clone();
    let rules = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap());
    rules.cloned().collect()
}

#[test]
fn the_rules_that_promtool_tests_are_those_of_the_chart() {
    let rules = serde_json::to_string_pretty(&rule()["spec"]).unwrap();
    compare(
        &root().join("tests/chart/alerts/rules.json"),
        &format!("{rules}\n"),
    );
}

#[test]
fn every_alert_has_its_runbook_and_every_runbook_its_alert() {
    let runbooks = root().join("docs/runbooks");
    let pages: BTreeSet<_> = fs::read_dir(&runbooks)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "README.md")
        .collect();
    let index = fs::read_to_string(runbooks.join("README.md")).unwrap();
    let mut named = BTreeSet::new();
    for alert in alerts() {
        let page = format!("{}.md", alert["alert"].as_str().unwrap());
        let url = alert["annotations"]["runbook_url"].as_str().unwrap();
        assert!(url.ends_with(&format!("/docs/runbooks/{page}")), "{url}");
        assert!(index.contains(&page), "{page} is not in the index");
        named.insert(page);
    }
    assert_eq!(named, pages);
}

#[test]
fn every_alert_says_how_bad_it_is_and_of_which_release_it_is() {
    let alerts = alerts();
    assert_eq!(alerts.len(), 14);
    for alert in alerts {
        let labels = &alert["labels"];
        let severity = labels["severity"].as_str().unwrap();
        assert!(
            ["critical", "warning", "info"].contains(&severity),
            "{alert}"
        );
        assert_eq!(labels["job"], "operators/edge-edge-credential-operator");
        assert_eq!(labels["team"], "platform");
        for text in ["summary", "description"] {
            assert!(alert["annotations"][text].is_string(), "{alert}");
        }
        let expression = alert["expr"].as_str().unwrap();
        assert!(!expression.contains('$'), "{expression}");
    }
}

/// The labels `namespace` and `name` of a series are an EdgeCredential's. Without `honorLabels` Prometheus would put the
/// operator's own namespace there, and all alerts would be about the wrong one.
#[test]
fn a_monitor_keeps_the_labels_of_edge_credentials_and_names_the_release() {
    for (kind, value, list) in [
        (
            "ServiceMonitor",
            "metrics.serviceMonitor.create",
            "endpoints",
        ),
        (
            "PodMonitor",
            "metrics.podMonitor.create",
            "podMetricsEndpoints",
        ),
    ] {
        let objects = objects(&[(value, "true")]);
        let endpoint = &only(&objects, kind)["spec"][list][0];
        assert_eq!(endpoint["honorLabels"], true);
        let job = &endpoint["relabelings"][0];
        assert_eq!(job["targetLabel"], "job");
        assert_eq!(
            job["replacement"],
            "operators/edge-edge-credential-operator"
        );
    }
}

#[test]
fn the_dashboard_in_the_config_map_is_the_file() {
    let file = fs::read_to_string(chart().join("monitoring/dashboard.json")).unwrap();
    let file: Value = serde_json::from_str(&file).unwrap();
    let objects = objects(&[("metrics.dashboard.create", "true")]);
    let data = &only(&objects, "ConfigMap")["data"]["edge-credential-operator.json"];
    let shown: Value = serde_json::from_str(data.as_str().unwrap()).unwrap();
    assert_eq!(shown, file);
    for panel in file["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            assert!(expression.contains("job=\"$job\""), "{expression}");
        }
    }
}
