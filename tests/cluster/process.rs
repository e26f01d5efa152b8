//! The operator's process, as an administrator sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use edge_credential_operator::api::{EdgeCredential, Reason};
use k8s_openapi::api::events::v1::Event;
use kit::sitecore::Scenario;
use kube::Api;
use kube::api::ListParams;

use kit::harness::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_nothing_is_due_it_asks_and_writes_nothing() {
    let scene = Scene::new("quiet", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    shop.create_ready("good").await;
    let mut object = shop.edge_credential("bad");
    object.spec.credentials_secret_ref.name = "missing".to_owned();
    shop.create_object(&object).await;
    shop.has_reason("bad", Reason::CredentialsNotFound).await;
    let events = || async {
        let list = Api::<Event>::namespaced(scene.client.clone(), &shop.name)
            .list(&ListParams::default())
            .await;
        list.unwrap().items
    };
    shop.until(PATIENCE, "two Events", async || {
        (events().await.len() == 2).then_some(())
    })
    .await;

    let settled = scene.rests().await;
    let versions = |object: &EdgeCredential| object.metadata.resource_version.clone();
    let before = (
        versions(&shop.object("good").await),
        versions(&shop.object("bad").await),
    );
    tokio::time::sleep(Duration::from_secs(5)).await;
    let after = (
        versions(&shop.object("good").await),
        versions(&shop.object("bad").await),
    );
    assert_eq!(before, after);
    assert_eq!(scene.rests().await[settled.len()..], []);
    assert_eq!(scene.sitecore.total_requests(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_tell_of_changes_and_not_of_each_retry() {
    let mut scene = Scene::new("events", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    scene
        .sitecore
        .set_scenario(CLIENT, Scenario::server_error());
    let object = shop.create_object(&shop.edge_credential("edge")).await;
    shop.until(PATIENCE, "three requests have failed", async || {
        (scene.sitecore.requests(CLIENT) >= 3).then_some(())
    })
    .await;
    scene.sitecore.back_to_normal();
    shop.ready("edge").await;
    let events = Api::<Event>::namespaced(scene.client.clone(), &shop.name);
    let told = async || {
        let list = events.list(&ListParams::default()).await.unwrap().items;
        let mut told: Vec<_> = list
            .into_iter()
            .map(|event| {
                let regarding = event.regarding.unwrap();
                assert_eq!(regarding.uid, object.metadata.uid);
                assert_eq!(
                    event.reporting_controller.as_deref(),
                    Some("edge-credential-operator")
                );
                assert_eq!(event.series.map(|series| series.count), None);
                (event.type_.unwrap(), event.reason.unwrap())
            })
            .collect();
        told.sort();
        told
    };
    let event = |type_: &str, reason: &str| (type_.to_owned(), reason.to_owned());
    let expected = [
        event("Normal", "TokenValid"),
        event("Warning", "TokenEndpointUnavailable"),
    ];
    shop.until(PATIENCE, "two Events", async || {
        (told().await == expected).then_some(())
    })
    .await;

    // A renewal that goes well and a restart are no news.
    shop.annotate("edge", "edgecredentials.io/renew-requested-at", "now")
        .await;
    shop.object_that("edge", "is renewed", |object| {
        object
            .status
            .as_ref()
            .unwrap()
            .last_handled_renew_request
            .is_some()
    })
    .await;
    scene.operator.kill();
    scene.operator.start().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(told().await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_event_is_counted_on_the_first_one() {
    let scene = Scene::new("repeats", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    shop.create_ready("edge").await;
    let events = Api::<Event>::namespaced(scene.client.clone(), &shop.name);
    for count in 2..=3 {
        shop.edit("edge", |object| object.spec.suspend = true).await;
        shop.has_reason("edge", Reason::Suspended).await;
        shop.edit("edge", |object| object.spec.suspend = false)
            .await;
        shop.has_reason("edge", Reason::TokenValid).await;
        let told = [("Suspended", count - 1), ("TokenValid", count)];
        shop.until(PATIENCE, "two Events that count", async || {
            let list = events.list(&ListParams::default()).await.unwrap().items;
            let counts: BTreeMap<_, _> = list
                .iter()
                .map(|event| {
                    let count = event.series.as_ref().map_or(1, |series| series.count);
                    (event.reason.as_deref().unwrap(), count)
                })
                .collect();
            (list.len() == 2 && counts == told.into()).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_and_metrics_answer() {
    let scene = Scene::new("metrics", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    scene.sitecore.next(CLIENT, 1, Scenario::server_error());
    let object = shop.create_ready("edge").await;
    let mut other = shop.edge_credential("other");
    other.spec.credentials_secret_ref.name = "missing".to_owned();
    shop.create_object(&other).await;
    shop.has_reason("other", Reason::CredentialsNotFound).await;

    let get = async |path: &str| scene.operator.get(path).await.unwrap();
    assert_eq!(get("/livez").await.0, 200);
    assert_eq!(get("/readyz").await.0, 200);
    assert_eq!(get("/elsewhere").await.0, 404);

    let token = object.status.unwrap().token.unwrap();
    let (origin, namespace) = (scene.sitecore.url(), &shop.name);
    let of_object = |name| format!("{{namespace=\"{namespace}\",name=\"{name}\"}}");
    let outcome = |outcome| format!("{{origin=\"{origin}\",outcome=\"{outcome}\"}}");
    let expected = [
        (format!("edgecredential_ready{}", of_object("edge")), 1),
        (format!("edgecredential_ready{}", of_object("other")), 0),
        (
            format!(
                "edgecredential_token_expiration_timestamp_seconds{}",
                of_object("edge")
            ),
            token.expires_at.0.as_second(),
        ),
        (
            format!(
                "edgecredential_token_renewal_timestamp_seconds{}",
                of_object("edge")
            ),
            token.renew_at.0.as_second(),
        ),
        (
            format!("edgecredential_token_requests_total{}", outcome("Success")),
            1,
        ),
        (
            format!(
                "edgecredential_token_requests_total{}",
                outcome("TokenEndpointUnavailable")
            ),
            1,
        ),
        (
            format!("edgecredential_token_request_duration_seconds_count{{origin=\"{origin}\"}}"),
            2,
        ),
        ("edgecredential_renewal_delay_seconds_count".to_owned(), 0),
        (
            format!(
                "edgecredential_build_info{{version=\"{}\"}}",
                env!("CARGO_PKG_VERSION")
            ),
            1,
        ),
    ];
    // The store behind the metrics is a moment behind the API server.
    shop.until(PATIENCE, "metrics as expected", async || {
        let series = series(&get("/metrics").await.1);
        let wrong = expected
            .iter()
            .find(|(name, value)| series.get(name) != Some(&(*value as f64)));
        wrong.is_none().then_some(())
    })
    .await;
    let text = get("/metrics").await.1;
    let counted = series(&text);
    for name in [
        "edgecredential_reconciliations_total{outcome=\"Success\"}",
        "edgecredential_reconciliations_total{outcome=\"CredentialsNotFound\"}",
        "edgecredential_reconcile_duration_seconds_count",
    ] {
        assert!(
            counted.get(name).is_some_and(|value| *value >= 1.0),
            "{name} in\n{text}"
        );
    }
    assert!(
        text.contains("# TYPE edgecredential_token_requests_total counter"),
        "{text}"
    );

    // What a person must see to, and what is not renewed, can be told apart.
    shop.edit("edge", |object| object.spec.suspend = true).await;
    shop.edit("other", |object| {
        object.spec.token_request.url = "https://elsewhere.example/token".to_owned();
    })
    .await;
    shop.until(
        PATIENCE,
        "one is suspended, the other stalled",
        async || {
            let series = series(&get("/metrics").await.1);
            let value = |metric: &str, name| series.get(&format!("{metric}{}", of_object(name)));
            let suspended = value("edgecredential_suspended", "edge") == Some(&1.0)
                && value("edgecredential_suspended", "other").is_none()
                && value("edgecredential_token_renewal_timestamp_seconds", "edge").is_none();
            let stalled = value("edgecredential_stalled", "other") == Some(&1.0)
                && value("edgecredential_stalled", "edge").is_none();
            (suspended && stalled).then_some(())
        },
    )
    .await;

    // A series goes with its object.
    shop.delete_object("other").await;
    shop.until(
        PATIENCE,
        "the series of a deleted object is gone",
        async || (!get("/metrics").await.1.contains("name=\"other\"")).then_some(()),
    )
    .await;
}

/// What the pod of `helm test` does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_succeeds_while_the_operator_serves_the_cluster_and_fails_with_a_reason_when_not() {
    let mut scene = Scene::new("check", 1).await;
    let url = format!("{}/readyz", scene.operator.url());
    let check = async |url: &str, patience: u32| {
        let program = env!("CARGO_BIN_EXE_edge-credential-operator");
        let mut command = tokio::process::Command::new(program);
        command.args(["check", &format!("--url={url}")]);
        command.arg(format!("--patience={patience}"));
        let output = command.output().await.unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), stderr)
    };
    assert_eq!(check(&url, 60).await, (Some(0), String::new()));

    let (code, said) = check(&url.replace("readyz", "elsewhere"), 1).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("answers 404 Not Found"), "{said}");

    scene.operator.terminate().await;
    let (code, said) = check(&url, 1).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("/readyz does not answer"), "{said}");
}

/// Each sample of a Prometheus text.
fn series(text: &str) -> BTreeMap<String, f64> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            (name.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

/// How long the operator takes at most from SIGTERM to its end.
const PROMISED: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_ends_it_within_10_seconds_with_code_0() {
    let mut scene = Scene::new("sigterm", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    shop.create_ready("edge").await;
    // Several times: what ends first is a matter of chance.
    for _ in 0..10 {
        let (code, took) = scene.operator.terminate().await;
        assert_eq!(code, 0, "{}", scene.operator.log_tail());
        assert!(took < PROMISED, "idle, and it took {took:?}");
        scene.operator.start().await;
    }

    // A token request that is under way is finished, and its token written: it is paid for.
    let shop = &scene.namespaces[0];
    let before = text(&shop.secret("edge").await, "access_token");
    scene
        .sitecore
        .next(CLIENT, 1, Scenario::Delay(Duration::from_secs(2)));
    shop.annotate("edge", "edgecredentials.io/renew-requested-at", "now")
        .await;
    shop.until(PATIENCE, "the request is under way", async || {
        (scene.sitecore.requests(CLIENT) == 2).then_some(())
    })
    .await;
    let (code, took) = scene.operator.terminate().await;
    assert_eq!(code, 0, "{}", scene.operator.log_tail());
    assert!(took < PROMISED, "it took {took:?}");
    assert!(scene.operator.finished_in_time());
    let shop = &scene.namespaces[0];
    assert_ne!(text(&shop.secret("edge").await, "access_token"), before);

    // An endpoint that hangs does not keep it.
    scene.operator.start().await;
    let shop = &scene.namespaces[0];
    scene.sitecore.set_scenario(CLIENT, Scenario::Hang);
    shop.annotate("edge", "edgecredentials.io/renew-requested-at", "again")
        .await;
    shop.until(PATIENCE, "the request is under way", async || {
        (scene.sitecore.requests(CLIENT) == 3).then_some(())
    })
    .await;
    let (code, took) = scene.operator.terminate().await;
    assert_eq!(code, 0, "{}", scene.operator.log_tail());
    assert!(took < PROMISED, "it took {took:?}");
    assert!(!scene.operator.finished_in_time());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_line_of_a_json_log_is_an_object() {
    let setup = Setup {
        values: vec![("log.format", "json".to_owned())],
        ..Setup::default()
    };
    let mut scene = setup.scene("json-log").await;
    let shop = &scene.namespaces[0];
    shop.create_object(&shop.edge_credential("edge")).await;
    shop.has_reason("edge", Reason::CredentialsNotFound).await;
    shop.create_credentials().await;
    shop.ready("edge").await;
    let namespace = shop.name.clone();
    scene.operator.terminate().await;

    let log = scene.operator.log();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    for line in &lines {
        for key in ["timestamp", "level", "target", "message"] {
            assert!(line[key].is_string(), "{key} is missing: {line}");
        }
    }
    let written = lines
        .iter()
        .find(|line| line["message"] == "token written")
        .expect("a line");
    assert_eq!(written["namespace"], namespace);
    assert_eq!(written["name"], "edge");
    assert_eq!(written["secret"], "edge");
    assert_eq!(log.matches("\"target\":").count(), lines.len(), "twice");
    let reasons: BTreeSet<_> = lines
        .iter()
        .filter_map(|line| line["reason"].as_str())
        .collect();
    assert_eq!(reasons, ["CredentialsNotFound", "TokenValid"].into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timings_of_the_lease_with_which_two_could_lead_stop_the_start() {
    let setup = Setup {
        start: false,
        values: vec![
            ("leaderElection", "true".to_owned()),
            ("lease.renewDeadline", "15s".to_owned()),
        ],
        ..Setup::default()
    };
    let mut scene = setup.scene("timings").await;
    scene.operator.spawn();
    assert_eq!(scene.operator.exit_code().await, 1);
    let said = "--lease-duration (15s) must be longer than --renew-deadline (15s)";
    let log = scene.operator.log();
    assert!(log.trim_end().ends_with(said), "{log}");
}
