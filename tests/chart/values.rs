//! Values that are refused, and that all of them are told of.

use std::fs;
use std::process::Command;

use kit::control_plane::chart::{render, render_with};
use kit::programs::Binaries;
use tempfile::TempDir;

use super::{NAMESPACE, RELEASE, accepts, chart, only, parse};

#[test]
fn a_value_that_does_not_exist_or_has_the_wrong_type_is_refused() {
    for value in [
        ("namespace", "one"),
        ("watchSecrets", "maybe"),
        ("replicaCount", "-1"),
        ("image.digest", "sha256:0"),
        ("image.name", "a"),
        ("allowedTokenOrigins", "{https://a.example/path}"),
        ("allowedAPIOrigins", "{https://a.example/path}"),
        ("proxy.url", "http://user:password@proxy.example.com"),
        ("metrics.serviceMonitor.interval", "often"),
        ("metrics.prometheusRule.runbooks", "https://a.example"),
        ("networkPolicy.egress", "all"),
        ("extraArgs", "{run}"),
        ("extraVolumes[0].hostPath.path", "/"),
        ("metrics.prometheusRule.overrides.A.expr", "1"),
        ("tolerations", "none"),
        ("commonLabels.a", "{b}"),
        ("lease.duration", "15"),
        ("lease.duration", "1500ms"),
        ("lease.renewDeadline", "-10s"),
        ("lease.retryPeriod", "soon"),
        ("proxy.secret.name", "A"),
        ("dnsConfig", "none"),
        ("test.podLabels.a", "{b}"),
    ] {
        assert!(!accepts(&[value]), "{value:?}");
    }
}

#[test]
fn more_than_one_pod_needs_leader_election() {
    assert!(accepts(&[("replicaCount", "2")]));
    assert!(!accepts(&[
        ("leaderElection", "false"),
        ("replicaCount", "2")
    ]));
}

#[test]
fn a_variable_that_is_given_twice_is_refused() {
    let names = [("extraEnv[0].name", "A"), ("extraEnv[1].name", "B")];
    assert!(accepts(&names));
    assert!(!accepts(&[names[0], ("extraEnv[1].name", "A")]));
}

#[test]
fn a_flag_that_the_chart_sets_can_not_be_given_once_more() {
    assert!(accepts(&[("extraArgs", "{--listen=[::]:8080}")]));
    assert!(accepts(&[("extraArgs", "{--lease=a}")]));
    assert!(!accepts(&[("extraArgs", "{--concurrency=2}")]));
    for (value, flag) in [
        ("allowedTokenOrigins", "{--allowed-token-origin=http://a}"),
        ("allowedAPIOrigins", "{--allowed-api-origin=http://a}"),
    ] {
        assert!(accepts(&[("extraArgs", flag)]));
        assert!(!accepts(&[(value, "{http://b}"), ("extraArgs", flag)]));
    }
}

#[test]
fn a_proxy_comes_from_one_place() {
    let places = [("proxy.url", "http://a:1"), ("proxy.secret.name", "a")];
    assert!(places.iter().all(|place| accepts(&[*place])));
    assert!(!accepts(&places));
}

#[test]
fn only_one_kind_of_monitor_is_made() {
    let both = [
        ("metrics.serviceMonitor.enabled", "true"),
        ("metrics.podMonitor.enabled", "true"),
    ];
    assert!(!accepts(&both));
}

/// What Helm adds where this chart is a part of another, and what the other gives to all of its parts.
#[test]
fn a_parent_chart_may_switch_it_on_and_have_values_of_its_own() {
    assert!(accepts(&[
        ("enabled", "true"),
        ("tags.sitecore", "true"),
        ("x-anchors.a", "b"),
        ("global.of-others", "1"),
    ]));
}

/// Artifact Hub shows the chart's README, where a link into the repository leads nowhere.
#[test]
fn the_charts_readme_shows_values_that_there_are_and_links_from_everywhere() {
    let readme = fs::read_to_string(chart().join("README.md")).unwrap();
    let shown = readme.split("```yaml\n").skip(1);
    let shown: Vec<_> = shown
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(!shown.is_empty());
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("values.yaml");
    let binaries = Binaries::locate().unwrap();
    for values in shown {
        fs::write(&file, values).unwrap();
        render_with(&binaries, &chart(), RELEASE, NAMESPACE, &file).unwrap();
    }
    for link in readme.split("](").skip(1) {
        assert!(
            link.starts_with("https://") || link.starts_with('#'),
            "{link:.60}"
        );
    }
}

/// A chart of somebody else, of which this one is a part.
const PARENT: &str = "
apiVersion: v2
name: storefront
version: 1.0.0
dependencies:
  - {name: edge-credential-operator, version: '*', condition: edge-credential-operator.enabled, tags: [sitecore]}
";

const PARENTS_VALUES: &str = "
global: {imageRegistry: mirror.example.com, imagePullSecrets: [{name: mirror}], domain: example.com}
edge-credential-operator:
  enabled: true
  x-labels: &labels {team: web}
  podLabels: *labels
";

#[test]
fn a_parent_chart_has_it_as_a_part_with_its_registry_or_leaves_it_out() {
    let folder = TempDir::new().unwrap();
    let parent = folder.path().join("parent");
    fs::create_dir_all(parent.join("charts")).unwrap();
    fs::write(parent.join("Chart.yaml"), PARENT).unwrap();
    fs::write(parent.join("values.yaml"), PARENTS_VALUES).unwrap();
    let copied = Command::new("cp")
        .arg("-r")
        .args([chart(), parent.join("charts")])
        .status();
    assert!(copied.unwrap().success());
    let binaries = Binaries::locate().unwrap();
    let rendered = |values| render(&binaries, &parent, RELEASE, NAMESPACE, values).unwrap();

    let objects = parse(&rendered(&[]));
    let template = &only(&objects, "Deployment")["spec"]["template"];
    assert_eq!(template["metadata"]["labels"]["team"], "web");
    let pod = &template["spec"];
    assert_eq!(pod["imagePullSecrets"][0]["name"], "mirror");
    let image = pod["containers"][0]["image"].as_str().unwrap();
    let repository = "mirror.example.com/edge-credential-operator/edge-credential-operator:";
    assert!(image.starts_with(repository), "{image}");

    let off = [("edge-credential-operator.enabled", "false")];
    assert_eq!(rendered(&off).trim(), "");
}
