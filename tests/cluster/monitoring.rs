//! What is seen of a running operator: every metric that the dashboard and the alerts ask for, and a clock that is wrong.

use std::collections::BTreeSet;
use std::time::Duration;

use edge_credential_operator::api::{
    edge_credential::RENEW_REQUESTED_AT, edge_token::ROTATE_REQUESTED_AT,
};
use kit::sitecore::{RetryAfter, Scenario};

use kit::harness::{PATIENCE, SECRET, Scene, credentials};

const ALERTS: &str = include_str!("../../charts/edge-credential-operator/monitoring/alerts.yaml");
const REFERENCE: &str = include_str!("../../docs/reference/metrics.md");
const DASHBOARD: &str =
    include_str!("../../charts/edge-credential-operator/monitoring/dashboard.json");

/// A client whose quota is used up.
const LIMITED: &str = "edge-limited-client-id";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_of_the_dashboard_and_the_alerts_is_one_of_the_operators() {
    let asked: BTreeSet<_> = names(ALERTS).chain(names(DASHBOARD)).collect();
    assert!(asked.len() > 15, "{asked:?}");

    let scene = Scene::new("monitoring", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    shop.create_ready("edge").await;
    let mut suspended = shop.edge_credential("suspended");
    suspended.spec.suspend = true;
    shop.create_object(&suspended).await;
    let mut stalled = shop.edge_credential("stalled");
    stalled.spec.token_request.url = "https://elsewhere.example/token".to_owned();
    shop.create_object(&stalled).await;
    let mut rotated = shop.edge_token("rotated");
    rotated.spec.rotation.every = Some("2160h".to_owned());
    shop.create_edge_token(&rotated).await;
    shop.edge_token_ready("rotated").await;
    shop.annotate_edge_token("rotated", ROTATE_REQUESTED_AT, "now")
        .await;
    let mut suspended = shop.edge_token("suspended-key");
    suspended.spec.suspend = true;
    shop.create_edge_token(&suspended).await;
    let mut stalled = shop.edge_token("stalled-key");
    stalled.spec.delivery_url = "https://elsewhere.example/graphql".to_owned();
    shop.create_edge_token(&stalled).await;
    scene.sitecore.add_client(LIMITED, SECRET);
    let refusal = Scenario::TooManyRequests {
        retry_after: RetryAfter::Seconds(60),
        client_quota: Some("b=per_hour;q=10;r=0;t=3540".to_owned()),
    };
    scene.sitecore.set_scenario(LIMITED, refusal);
    let others = "limited-client";
    shop.create_secret(others, &credentials(LIMITED, SECRET))
        .await;
    let mut limited = shop.edge_credential("limited");
    limited.spec.credentials_secret_ref.name = others.to_owned();
    shop.create_object(&limited).await;

    let missing = async || -> BTreeSet<String> {
        let metrics = scene.operator.get("/metrics").await.unwrap().1;
        let served: BTreeSet<_> = metrics
            .lines()
            .filter_map(|line| match line.strip_prefix("# TYPE ") {
                // What has had no cause to count yet is announced all the same.
                Some(announced) => announced.split(' ').next(),
                None => line.split(['{', ' ']).next(),
            })
            .map(str::to_owned)
            .collect();
        asked.difference(&served).cloned().collect()
    };
    shop.until(PATIENCE, "all metrics are served", async || {
        let missing = missing().await;
        if !missing.is_empty() {
            eprintln!("missing: {missing:?}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        missing.is_empty().then_some(())
    })
    .await;

    let metrics = scene.operator.get("/metrics").await.unwrap().1;
    let samples: BTreeSet<_> = metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(name_and_labels)
        .collect();
    assert!(samples.len() > 20, "{samples:?}");
    for (name, labels) in &samples {
        let row = format!("| `{name}` | ");
        let row = REFERENCE.lines().find(|line| line.starts_with(&row));
        let told = row.and_then(|row| row.split(" | ").nth(2));
        let told = told.unwrap_or_else(|| panic!("the reference lacks {name}"));
        let told: Vec<_> = told.split('`').skip(1).step_by(2).collect();
        assert_eq!(&told, labels, "the labels of {name}");
    }
}

/// Of a sample, without what belongs to a histogram.
fn name_and_labels(sample: &str) -> (&str, Vec<&str>) {
    let (name, rest) = sample
        .split_once('{')
        .unwrap_or((sample.split_once(' ').unwrap().0, ""));
    let parts = ["_bucket", "_sum", "_count"];
    let name = parts
        .iter()
        .find_map(|part| name.strip_suffix(part))
        .unwrap_or(name);
    let labels = rest
        .split("=\"")
        .map(|text| text.rsplit(['"', ',']).next().unwrap());
    (
        name,
        labels
            .filter(|label| !label.is_empty() && *label != "le" && !label.starts_with('}'))
            .collect(),
    )
}

/// The words that are metrics of the operator.
fn names(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| {
            let ours = ["edgecredential_", "edgetoken_", "process_"];
            ours.iter().any(|prefix| word.starts_with(prefix))
        })
        .map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_endpoint_whose_clock_is_wrong_is_told_of_once_and_its_tokens_are_used_all_the_same()
 {
    let scene = Scene::new("skew", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    scene.sitecore.set_clock_offset(120);
    shop.create_ready("edge").await;
    let renew = async |request: &str| {
        shop.annotate("edge", RENEW_REQUESTED_AT, request).await;
        shop.object_that("edge", "is renewed", |object| {
            let status = object.status.as_ref().unwrap();
            status.last_handled_renew_request.as_deref() == Some(request)
        })
        .await;
    };
    renew("one").await;
    let told = |text| scene.operator.log().matches(text).count();
    let ahead = "the token endpoint's clock is ahead of ours";
    let agree = "the token endpoint's clock and ours agree again";
    assert_eq!((told(ahead), told(agree)), (1, 0));
    let metrics = scene.operator.get("/metrics").await.unwrap().1;
    let skew = metrics
        .lines()
        .find(|line| line.starts_with("edgecredential_token_endpoint_clock_skew_seconds{"))
        .and_then(|line| line.rsplit(' ').next()?.parse::<i64>().ok());
    // Less the time that the answer took.
    assert!((100..=120).contains(&skew.unwrap()), "{skew:?}");

    scene.sitecore.set_clock_offset(0);
    renew("two").await;
    renew("three").await;
    assert_eq!((told(ahead), told(agree)), (1, 1));
}
