//! Whole manifests, as they are checked in for reviews, and rules that hold for all of them.

use std::fs;

use kit::control_plane::chart::{render, render_with};
use kit::generated::compare;
use kit::markdown::blocks;
use kit::programs::Binaries;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{NAMESPACE, RELEASE, chart, objects, only, parse, rendered, root};

/// The files in `tests/chart/values`, each with its manifests in `tests/chart/golden`.
const SETS: [&str; 4] = ["defaults", "namespaced", "production", "openshift"];

#[test]
fn the_manifests_of_each_set_of_values_are_the_checked_in_ones() {
    for set in SETS {
        let golden = root().join(format!("tests/chart/golden/{set}.yaml"));
        compare(&golden, &rendered(set));
    }
}

/// `kubectl apply -k deploy` installs them.
#[test]
fn the_plain_manifests_are_the_charts_defaults_without_definition_and_test() {
    let name = "edge-credential-operator";
    let binaries = Binaries::locate().unwrap();
    let values = [("crds.enabled", "false")];
    let manifests = render(&binaries, &chart(), name, name, &values).unwrap();
    let kept: String = manifests
        .split_inclusive("\n---\n")
        .filter(|document| !document.contains("helm.sh/hook"))
        .collect();
    let kept = kept.trim_end_matches("---\n").trim_end();
    compare(&root().join("deploy/operator.yaml"), &format!("{kept}\n"));
}

#[test]
fn every_pod_satisfies_the_restricted_pod_security_standard_on_a_read_only_file_system() {
    for set in SETS {
        for pod in pods(&parse(&rendered(set))) {
            let context = &pod["securityContext"];
            assert_eq!(context["runAsNonRoot"], true, "{set}");
            // OpenShift admits only a user that it has chosen.
            assert_eq!(context["runAsUser"], Value::Null, "{set}");
            assert_eq!(context["runAsGroup"], Value::Null, "{set}");
            assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault", "{set}");
            for key in ["hostNetwork", "hostPID", "hostIPC"] {
                assert!(pod[key].is_null(), "{set}");
            }
            for container in pod["containers"].as_array().unwrap() {
                let context = &container["securityContext"];
                assert_eq!(context["allowPrivilegeEscalation"], false, "{set}");
                assert_eq!(context["readOnlyRootFilesystem"], true, "{set}");
                assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}), "{set}");
                assert!(container["resources"]["limits"]["memory"].is_string());
            }
        }
    }
}

/// The host name of a pod is its name cut to 63 characters. A release with a long name would have pods of the same host
/// name, and the holder of the Lease and the source of an Event could not be told.
#[test]
fn the_operator_is_told_the_whole_name_of_its_pod() {
    for set in SETS {
        let objects = parse(&rendered(set));
        let host = env(&objects)
            .iter()
            .find(|variable| variable["name"] == "HOSTNAME");
        let source = &host.unwrap()["valueFrom"]["fieldRef"]["fieldPath"];
        assert_eq!(source, "metadata.name", "{set}");
    }
}

#[test]
fn every_object_has_the_labels_of_the_release_and_those_of_the_user() {
    for set in SETS {
        for object in parse(&rendered(set)) {
            let labels = &object["metadata"]["labels"];
            assert_eq!(labels["app.kubernetes.io/instance"], "edge", "{object}");
            assert_eq!(labels["app.kubernetes.io/managed-by"], "Helm", "{object}");
            let team = (set == "production").then_some("platform");
            assert_eq!(labels["team"].as_str(), team, "{object}");
        }
    }
}

#[test]
fn labels_of_the_user_replace_none_of_the_charts_own() {
    let name = "app\\.kubernetes\\.io/instance";
    let objects = objects(&[
        (&format!("commonLabels.{name}"), "other"),
        (&format!("podLabels.{name}"), "other"),
    ]);
    for object in &objects {
        let labels = &object["metadata"]["labels"];
        assert_eq!(labels["app.kubernetes.io/instance"], "edge");
    }
    let template = &only(&objects, "Deployment")["spec"]["template"];
    let labels = &template["metadata"]["labels"];
    assert_eq!(labels["app.kubernetes.io/instance"], "edge");
}

#[test]
fn labels_of_one_object_take_the_place_of_those_of_all() {
    let objects = objects(&[
        ("commonLabels.release", "all"),
        ("metrics.serviceMonitor.enabled", "true"),
        ("metrics.serviceMonitor.labels.release", "prometheus"),
        ("podLabels.release", "pod"),
    ]);
    let label = |kind, of: fn(&Value) -> &Value| {
        let labels = &of(only(&objects, kind))["metadata"]["labels"];
        labels["release"].as_str().unwrap().to_owned()
    };
    assert_eq!(label("Service", |object| object), "all");
    assert_eq!(label("ServiceMonitor", |object| object), "prometheus");
    let template = label("Deployment", |object| &object["spec"]["template"]);
    assert_eq!(template, "pod");
}

#[test]
fn the_definitions_are_kept_when_the_release_goes_and_can_be_left_out() {
    let definitions = |values: &[(&str, &str)]| -> Vec<Value> {
        let kind = "CustomResourceDefinition";
        let mut objects = objects(values);
        objects.retain(|object| object["kind"] == kind);
        objects
    };
    let installed = definitions(&[]);
    let names: Vec<_> = installed
        .iter()
        .map(|definition| definition["spec"]["names"]["kind"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["EdgeCredential", "EdgeToken"]);
    for definition in installed {
        let annotations = &definition["metadata"]["annotations"];
        assert_eq!(annotations["helm.sh/resource-policy"], "keep");
    }
    for definition in definitions(&[("crds.keep", "false")]) {
        assert_eq!(definition["metadata"]["annotations"], Value::Null);
    }
    assert!(definitions(&[("crds.enabled", "false")]).is_empty());
}

#[test]
fn several_pods_prefer_different_nodes_and_are_evicted_one_at_a_time() {
    let objects = objects(&[("replicaCount", "3")]);
    assert_eq!(
        only(&objects, "PodDisruptionBudget")["spec"]["maxUnavailable"],
        1
    );
    let affinity = &only(&objects, "Deployment")["spec"]["template"]["spec"]["affinity"];
    let preferred = &affinity["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"];
    let topology = &preferred[0]["podAffinityTerm"]["topologyKey"];
    assert_eq!(topology, "kubernetes.io/hostname");
}

#[test]
fn one_pod_keeps_no_node_from_being_drained() {
    let objects = objects(&[]);
    let budget = objects
        .iter()
        .find(|object| object["kind"] == "PodDisruptionBudget");
    assert!(budget.is_none());
}

/// API servers, token endpoints and proxies have too many ports to guess, wherever they come from. DNS listens on 5353 in
/// OpenShift, and policies there are about the address after it was translated.
#[test]
fn traffic_goes_out_to_dns_and_by_tcp_or_to_what_is_listed() {
    let dns = json!({"ports": [
        {"port": 53, "protocol": "UDP"},
        {"port": 53, "protocol": "TCP"},
        {"port": 5353, "protocol": "UDP"},
        {"port": 5353, "protocol": "TCP"},
    ]});
    let egress = |values: &[(&str, &str)]| {
        let objects = objects(values);
        let policy = objects
            .iter()
            .find(|object| object["kind"] == "NetworkPolicy");
        policy.unwrap()["spec"]["egress"].clone()
    };
    let tcp = json!({"ports": [{"protocol": "TCP"}]});
    assert_eq!(egress(&[]), json!([dns, tcp]));
    let listed = [
        ("networkPolicy.egress[0].ports[0].port", "443"),
        ("networkPolicy.egress[0].to[0].ipBlock.cidr", "192.0.2.0/24"),
    ];
    let rule = json!({"ports": [{"port": 443}], "to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]});
    assert_eq!(egress(&listed), json!([dns, rule]));
}

/// Policies are about the port of the pod, not that of the Service.
#[test]
fn where_traffic_is_limited_the_rule_of_the_documentation_leads_to_the_stand_in_of_the_example() {
    let page = blocks("docs/try.md");
    let rule = page.iter().find(|block| block.language == "yaml").unwrap();
    let folder = TempDir::new().unwrap();
    let values = folder.path().join("values.yaml");
    fs::write(&values, &rule.text).unwrap();
    let binaries = Binaries::locate().unwrap();
    let manifests = render_with(&binaries, &chart(), RELEASE, NAMESPACE, &values).unwrap();
    let objects = parse(&manifests);
    let policy = objects
        .iter()
        .find(|object| object["kind"] == "NetworkPolicy");
    let rule = &policy.unwrap()["spec"]["egress"][1];

    let example = fs::read_to_string(root().join("examples/try/stand-in.yaml")).unwrap();
    let example = parse(&example);
    let stand_in = only(&example, "Deployment");
    let pod = &stand_in["spec"]["template"]["spec"];
    let port = &pod["containers"][0]["ports"][0]["containerPort"];
    assert_eq!(rule["ports"], json!([{"protocol": "TCP", "port": port}]));
    let namespace = &stand_in["metadata"]["namespace"];
    let selected = json!({"matchLabels": {"kubernetes.io/metadata.name": namespace}});
    assert_eq!(rule["to"], json!([{"namespaceSelector": selected}]));
}

/// On IPv6 alone or with both families: the operator listens on all addresses, and the cluster chooses the Service's.
#[test]
fn no_object_names_an_address_or_its_family() {
    let objects = objects(&[]);
    let service = &only(&objects, "Service")["spec"];
    for key in ["clusterIP", "ipFamilies", "ipFamilyPolicy"] {
        assert_eq!(service[key], Value::Null);
    }
    let pod = &only(&objects, "Deployment")["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    for probe in ["livenessProbe", "readinessProbe"] {
        assert_eq!(container[probe]["httpGet"]["host"], Value::Null);
    }
    let args = container["args"].as_array().unwrap();
    let listens = |arg: &&Value| arg.as_str().unwrap().starts_with("--listen");
    assert_eq!(args.iter().find(listens), None);
}

#[test]
fn a_proxy_with_a_password_is_a_file_from_a_secret_that_may_change() {
    let objects = objects(&[("proxy.secret.name", "proxy"), ("proxy.secret.key", "it")]);
    let pod = &only(&objects, "Deployment")["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let volume = json!({"name": "token-proxy", "secret": {
        "secretName": "proxy", "items": [{"key": "it", "path": "it"}],
    }});
    assert_eq!(pod["volumes"], json!([volume]));
    // Without subPath, with which a kubelet would not bring changes.
    let folder = "/etc/edge-credential-operator/token-proxy";
    let mount = json!({"name": "token-proxy", "mountPath": folder, "readOnly": true});
    assert_eq!(container["volumeMounts"], json!([mount]));
    let args = container["args"].as_array().unwrap();
    assert!(args.contains(&json!(format!("--token-proxy-file={folder}/it"))));
    let is_proxy = |variable: &Value| variable["name"].as_str().unwrap().contains("PROXY");
    assert!(!env(&objects).iter().any(is_proxy));
}

#[test]
fn each_variable_is_there_once_and_that_of_the_user_wins() {
    let names = |values: &[(&str, &str)]| -> Vec<String> {
        let objects = objects(values);
        let fixed = env(&objects)
            .iter()
            .filter(|variable| variable["valueFrom"].is_null());
        let shown = fixed.map(|variable| {
            format!(
                "{}={}",
                variable["name"].as_str().unwrap(),
                variable["value"].as_str().unwrap()
            )
        });
        shown.collect()
    };
    let name = |name| ("extraEnv[0].name", name);
    let value = ("extraEnv[0].value", "mine");
    let proxy = [("proxy.url", "http://a:1"), ("proxy.noProxy", "b")];
    let [url, no_proxy] = proxy;
    let replaced = |by| names(&[url, no_proxy, name(by), value]);
    let (log, https, http, no) = (
        "RUST_LOG=info",
        "HTTPS_PROXY=http://a:1",
        "HTTP_PROXY=http://a:1",
        "NO_PROXY=b",
    );
    assert_eq!(names(&proxy), [log, https, http, no]);
    assert_eq!(replaced("OTHER"), [log, https, http, no, "OTHER=mine"]);
    assert_eq!(replaced("RUST_LOG"), [https, http, no, "RUST_LOG=mine"]);
    assert_eq!(replaced("HTTPS_PROXY"), [log, http, no, "HTTPS_PROXY=mine"]);
    // The operator reads the capital letters first.
    assert_eq!(replaced("https_proxy"), [log, http, no, "https_proxy=mine"]);
    assert_eq!(replaced("no_proxy"), [log, https, http, "no_proxy=mine"]);
}

#[test]
fn all_pods_run_on_linux_whatever_else_their_nodes_must_have() {
    let zone = ("nodeSelector.zone", "a");
    for (values, expected) in [
        (&[][..], json!({"kubernetes.io/os": "linux"})),
        (&[zone], json!({"kubernetes.io/os": "linux", "zone": "a"})),
    ] {
        for pod in pods(&objects(values)) {
            assert_eq!(pod["nodeSelector"], expected);
        }
    }
}

#[test]
fn names_are_resolved_as_the_user_says() {
    let spec = |values: &[(&str, &str)]| {
        let objects = objects(values);
        only(&objects, "Deployment")["spec"]["template"]["spec"]["dnsConfig"].clone()
    };
    assert_eq!(spec(&[]), Value::Null);
    let options = [
        ("dnsConfig.options[0].name", "ndots"),
        ("dnsConfig.options[0].value", "a"),
    ];
    assert_eq!(
        spec(&options),
        json!({"options": [{"name": "ndots", "value": "a"}]})
    );
}

#[test]
fn an_injected_sidecar_can_be_switched_off_for_the_test_of_a_release() {
    let objects = objects(&[
        ("test.podLabels.inject", "off"),
        ("test.podLabels.app\\.kubernetes\\.io/component", "other"),
        ("test.podAnnotations.mesh", "off"),
        ("test.podAnnotations.helm\\.sh/hook", "none"),
    ]);
    let metadata = &only(&objects, "Pod")["metadata"];
    assert_eq!(metadata["labels"]["inject"], "off");
    assert_eq!(metadata["labels"]["app.kubernetes.io/component"], "test");
    assert_eq!(metadata["annotations"]["mesh"], "off");
    assert_eq!(metadata["annotations"]["helm.sh/hook"], "test");
}

#[test]
fn all_pods_have_their_traffic_limited_unless_somebody_says_otherwise() {
    let policies = |values: &[(&str, &str)]| {
        let objects = objects(values);
        objects
            .iter()
            .filter(|object| object["kind"] == "NetworkPolicy")
            .count()
    };
    // The operator's, and that of its test.
    assert_eq!(policies(&[]), 2);
    assert_eq!(policies(&[("networkPolicy.enabled", "false")]), 0);
}

#[test]
fn the_kubelet_asks_the_operator_whether_it_lives_and_whether_it_is_ready() {
    let objects = objects(&[]);
    let pod = &only(&objects, "Deployment")["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/livez");
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz");
}

#[test]
fn the_test_of_a_release_is_no_pod_of_the_service() {
    let objects = objects(&[]);
    let labels = &only(&objects, "Pod")["metadata"]["labels"];
    let selector = &only(&objects, "Service")["spec"]["selector"];
    let matches = selector
        .as_object()
        .unwrap()
        .iter()
        .all(|(key, value)| labels[key] == *value);
    assert!(!matches, "{labels}");
}

/// The operator's environment.
fn env(objects: &[Value]) -> &[Value] {
    let pod = &only(objects, "Deployment")["spec"]["template"]["spec"];
    pod["containers"][0]["env"].as_array().unwrap()
}

/// The specs of all pods: those of Deployments and those by themselves.
fn pods(objects: &[Value]) -> Vec<&Value> {
    let pods: Vec<_> = objects
        .iter()
        .filter_map(|object| match object["kind"].as_str() {
            Some("Deployment") => Some(&object["spec"]["template"]["spec"]),
            Some("Pod") => Some(&object["spec"]),
            _ => None,
        })
        .collect();
    assert_eq!(pods.len(), 2, "the operator and its test");
    pods
}
