//! Alerts and dashboard. That the alerts fire when they should is tested with promtool, by `make test-chart`; that every
//! metric in them exists, on a running operator.

use std::collections::BTreeSet;
use std::fs;

use kit::generated::compare;
use serde_json::Value;

use super::{accepts, chart, objects, only, parse, rendered, root};

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
        assert_eq!(url, format!("https://runbooks.example.com/{page}"));
        assert!(index.contains(&page), "{page} is not in the index");
        named.insert(page);
    }
    assert_eq!(named, pages);
}

#[test]
fn every_alert_says_how_bad_it_is_and_of_which_release_it_is() {
    let alerts = alerts();
    assert_eq!(alerts.len(), 20);
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

/// The reference is what the code says.
#[test]
fn every_metric_of_an_edge_token_in_an_alert_is_in_the_reference() {
    let reference = fs::read_to_string(root().join("docs/reference/metrics.md")).unwrap();
    let mut metrics = BTreeSet::new();
    for alert in alerts() {
        let expression = alert["expr"].as_str().unwrap();
        let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let ours = words.filter(|word| word.starts_with("edgetoken_"));
        metrics.extend(ours.map(str::to_owned));
    }
    assert!(metrics.len() >= 6, "{metrics:?}");
    for metric in metrics {
        assert!(reference.contains(&format!("| `{metric}` |")), "{metric}");
    }
}

/// A page of another version may be about another alert of that name.
#[test]
fn the_runbooks_are_those_of_the_version() {
    let objects = objects(&[("metrics.prometheusRule.enabled", "true")]);
    let rule = &only(&objects, "PrometheusRule")["spec"]["groups"][0]["rules"][0];
    let version = env!("CARGO_PKG_VERSION");
    let expected = format!("/blob/v{version}/docs/runbooks/EdgeCredentialTokenExpired.md");
    let url = rule["annotations"]["runbook_url"].as_str().unwrap();
    assert!(url.ends_with(&expected), "{url}");
}

#[test]
fn alerts_can_be_switched_off_tuned_and_added_to() {
    let base = "metrics.prometheusRule";
    let value = |path: &str, value: &'static str| (format!("{base}.{path}"), value);
    let soon = "overrides.EdgeCredentialTokenExpiresSoon";
    let values = [
        value("enabled", "true"),
        value("disabled", "{EdgeCredentialStalled,EdgeCredentialQuotaLow}"),
        value(&format!("{soon}.threshold"), "1800"),
        value(&format!("{soon}.for"), "3m"),
        value(&format!("{soon}.labels.severity"), "page"),
        value("overrides.EdgeCredentialNotReady.for", "1h"),
        value("additionalRules[0].alert", "Mine"),
    ];
    let values: Vec<_> = values.iter().map(|(key, value)| (&**key, *value)).collect();
    let objects = objects(&values);
    let groups = only(&objects, "PrometheusRule")["spec"]["groups"].as_array();
    let rules: Vec<_> = groups
        .unwrap()
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap())
        .collect();
    assert_eq!(rules.len(), alerts().len() - 2 + 1);
    let rule = |name| rules.iter().find(|rule| rule["alert"] == name).copied();
    assert_eq!(rule("EdgeCredentialStalled"), None);
    assert_eq!(rule("EdgeCredentialQuotaLow"), None);
    assert!(rule("Mine").is_some());
    let soon = rule("EdgeCredentialTokenExpiresSoon").unwrap();
    assert!(soon["expr"].as_str().unwrap().contains("time() < 1800"));
    assert_eq!(soon["for"], "3m");
    assert_eq!(soon["labels"]["severity"], "page");
    assert!(soon["threshold"].is_null());
    let not_ready = &rule("EdgeCredentialNotReady").unwrap()["annotations"];
    assert!(
        not_ready["description"]
            .as_str()
            .unwrap()
            .contains("for 1h.")
    );
}

#[test]
fn what_is_tuned_must_be_there() {
    let base = "metrics.prometheusRule";
    let enabled = ("metrics.prometheusRule.enabled", "true");
    for (path, value) in [
        ("disabled", "{EdgeCredentialMissing}"),
        ("overrides.EdgeCredentialMissing.for", "1m"),
        ("overrides.EdgeCredentialStalled.threshold", "1"),
    ] {
        assert!(!accepts(&[enabled, (&format!("{base}.{path}"), value)]));
    }
}

/// The labels `namespace` and `name` of a series are an EdgeCredential's. Without `honorLabels` Prometheus would put the
/// operator's own namespace there, and all alerts would be about the wrong one.
#[test]
fn a_monitor_keeps_the_labels_of_edge_credentials_and_names_the_release() {
    for (kind, value, list) in [
        (
            "ServiceMonitor",
            "metrics.serviceMonitor.enabled",
            "endpoints",
        ),
        (
            "PodMonitor",
            "metrics.podMonitor.enabled",
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

/// The text of the dashboard.
fn dashboard() -> String {
    fs::read_to_string(chart().join("monitoring/dashboard.json")).unwrap()
}

/// Its panels, without the rows' headings.
fn panels() -> Vec<Value> {
    let dashboard: Value = serde_json::from_str(&dashboard()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    panels
        .filter(|panel| panel["type"] != "row")
        .cloned()
        .collect()
}

fn expressions(panel: &Value) -> impl Iterator<Item = &str> {
    let targets = panel["targets"].as_array().unwrap().iter();
    targets.map(|target| target["expr"].as_str().unwrap())
}

#[test]
fn the_dashboard_in_the_config_map_is_the_file_with_the_runbooks_of_the_version() {
    let objects = objects(&[("metrics.dashboard.enabled", "true")]);
    let data = &only(&objects, "ConfigMap")["data"]["edge-credential-operator.json"];
    let shown: Value = serde_json::from_str(data.as_str().unwrap()).unwrap();
    let version = format!("/blob/v{}/docs/", env!("CARGO_PKG_VERSION"));
    let file = dashboard().replace("/blob/main/docs/", &version);
    assert_eq!(shown, serde_json::from_str::<Value>(&file).unwrap());
}

#[test]
fn each_panel_is_about_one_release_and_says_what_it_shows_in_which_unit() {
    for panel in panels() {
        for expression in expressions(&panel) {
            assert!(expression.contains("job=\"$job\""), "{expression}");
        }
        let defaults = &panel["fieldConfig"]["defaults"];
        for text in [&panel["title"], &panel["description"], &defaults["unit"]] {
            assert!(
                text.as_str().is_some_and(|text| !text.is_empty()),
                "{panel}"
            );
        }
    }
}

/// A token of a day is renewed 1.5 times a day: what looks back for minutes would mostly find nothing.
#[test]
fn what_happens_rarely_is_counted_for_an_hour_at_least() {
    for panel in panels() {
        for expression in expressions(&panel) {
            for range in expression.split('[').skip(1) {
                let (range, _) = range.split_once(']').unwrap();
                let is_long = range == "$__range"
                    || range == "$__interval" && panel["interval"] == "1h"
                    || expression.starts_with("rate(process_");
                assert!(is_long, "{range} in {expression}");
            }
        }
    }
}

#[test]
fn the_dashboard_links_to_runbooks_that_exist() {
    let dashboard = dashboard();
    let pages: BTreeSet<_> = dashboard
        .split(r#"\"runbook\", \""#)
        .skip(1)
        .map(|rest| rest.split('\\').next().unwrap())
        .collect();
    assert!(pages.len() > 5, "{pages:?}");
    for page in pages {
        let page = root().join(format!("docs/runbooks/{page}.md"));
        assert!(page.exists(), "{}", page.display());
    }
}

#[test]
fn no_two_panels_of_the_dashboard_overlap() {
    let mut taken = BTreeSet::new();
    for panel in panels() {
        let place = |name| panel["gridPos"][name].as_u64().unwrap();
        let (x, y) = (place("x"), place("y"));
        assert!(x + place("w") <= 24, "{panel}");
        for cell in (x..x + place("w")).flat_map(|x| (y..y + place("h")).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{} at {cell:?}", panel["title"]);
        }
    }
}
