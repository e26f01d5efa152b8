//! Deleted targets on a real API server that forgets early: what it still knows, and what it does not.

use std::time::Duration;

use edge_credential_operator::api::Reason;
use k8s_openapi::api::core::v1::ConfigMap;
use kit::harness::{CLIENT, Namespace, PATIENCE, Scene, Setup, text};
use kube::{Api, api::PostParams};
use serde_json::json;
use tokio::time::sleep;

use crate::refusals::{cannot, set_verbs};

/// How often the API server forgets what was before the last time.
const COMPACTION: Duration = Duration::from_secs(20);

const TARGET: &str = "edge";

/// Long enough for the operator to do what it would do.
const A_WHILE: Duration = Duration::from_secs(3);

/// Waits until the target is there again, and returns its token.
async fn token(shop: &Namespace) -> Vec<u8> {
    let is_back = async || {
        let secret = shop.secrets.get_opt(TARGET).await.unwrap()?;
        Some(secret.data?.remove("access_token")?.0)
    };
    shop.until(PATIENCE, "the target is there", is_back).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_target_comes_back_from_the_history_though_it_was_written_before_two_compactions()
{
    let setup = Setup {
        own_control_plane: true,
        compaction_interval: Some(COMPACTION),
        values: vec![("leaderElection", "true".to_owned())],
        ..Setup::default()
    };
    let mut scene = setup.scene("history").await;
    scene.namespaces[0].create_credentials().await;
    scene.namespaces[0].create_ready(TARGET).await;
    let before = token(&scene.namespaces[0]).await;
    sleep(COMPACTION * 5 / 2).await;

    scene.namespaces[0].delete_secret(TARGET).await;
    assert_eq!(token(&scene.namespaces[0]).await, before, "at once");

    // The next process has the version of the lease, which the one before has renewed until its end.
    sleep(COMPACTION * 5 / 2).await;
    scene.operator.kill();
    scene.namespaces[0].delete_secret(TARGET).await;
    scene.operator.start().await;
    assert_eq!(token(&scene.namespaces[0]).await, before, "after a restart");
    assert_eq!(scene.sitecore.requests(CLIENT), 1);

    // What the API server has forgotten costs one request.
    scene.operator.kill();
    scene.namespaces[0].delete_secret(TARGET).await;
    sleep(COMPACTION * 5 / 2).await;
    scene.operator.start().await;
    assert_ne!(token(&scene.namespaces[0]).await, before);
    assert_eq!(scene.sitecore.requests(CLIENT), 2);
}

/// Creates an EdgeCredential that shares its token with none, and returns the token.
async fn create_alone(shop: &Namespace, name: &str) -> String {
    let mut object = shop.edge_credential(name);
    object.spec.token_request.scopes = vec![name.to_owned()];
    shop.create_object(&object).await;
    shop.ready(name).await;
    text(&shop.secret(name).await, "access_token")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_target_comes_back_to_whom_it_belongs_and_to_nobody_else() {
    let mut scene = Scene::new("history-whose", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    let plain = create_alone(shop, "plain").await;
    let suspended = create_alone(shop, "suspended").await;
    for name in ["taken", "gone"] {
        create_alone(shop, name).await;
    }
    shop.edit("suspended", |object| object.spec.suspend = true)
        .await;
    shop.has_reason("suspended", Reason::Suspended).await;
    // No token is in the memory of a new process.
    scene.operator.kill();
    scene.operator.start().await;
    scene.rests().await;

    scene.operator.process().signal("STOP").unwrap();
    let shop = &scene.namespaces[0];
    shop.delete_object("gone").await;
    for name in ["plain", "suspended", "taken"] {
        shop.delete_secret(name).await;
    }
    let gone = async || {
        let secret = shop.secrets.get_opt("gone").await.unwrap();
        secret.is_none().then_some(())
    };
    shop.until(PATIENCE, "the collector has deleted it", gone)
        .await;
    let foreign = shop
        .create_secret("taken", &[("access_token", "mine")])
        .await;
    scene.operator.process().signal("CONT").unwrap();

    let shop = &scene.namespaces[0];
    let back = shop.secret_that("plain", "is back", |_| true).await;
    assert_eq!(text(&back, "access_token"), plain);
    shop.has_reason("taken", Reason::TargetNotOwned).await;
    sleep(A_WHILE).await;
    assert_eq!(shop.secret("taken").await, foreign);
    for name in ["gone", "suspended"] {
        assert!(
            shop.secrets.get_opt(name).await.unwrap().is_none(),
            "{name}"
        );
    }
    shop.edit("suspended", |object| object.spec.suspend = false)
        .await;
    let back = shop.secret_that("suspended", "is back", |_| true).await;
    assert_eq!(text(&back, "access_token"), suspended);
    assert_eq!(scene.sitecore.requests(CLIENT), 4, "one for each at first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_is_deleted_in_a_gap_of_the_watch_comes_back_with_its_token() {
    let setup = Setup {
        own_control_plane: true,
        ..Setup::default()
    };
    let mut scene = setup.scene("history-gap").await;
    scene.namespaces[0].create_credentials().await;
    scene.namespaces[0].create_ready(TARGET).await;
    let before = token(&scene.namespaces[0]).await;
    scene.operator.kill();
    scene.operator.start().await;
    scene.rests().await;

    // An API server knows no events from before its start, and these move what it begins with past what the watch has seen.
    scene.operator.process().signal("STOP").unwrap();
    let others = Api::<ConfigMap>::default_namespaced(scene.client.clone());
    for number in 0..20 {
        let other = json!({"metadata": {"name": format!("other-{number}")}});
        let other: ConfigMap = serde_json::from_value(other).unwrap();
        others.create(&PostParams::default(), &other).await.unwrap();
    }
    scene.control_plane.restart_api_server().await.unwrap();
    scene.namespaces[0].delete_secret(TARGET).await;
    scene.operator.process().signal("CONT").unwrap();
    assert_eq!(token(&scene.namespaces[0]).await, before);
    assert_eq!(scene.sitecore.requests(CLIENT), 1);
    let log = scene.operator.log();
    assert!(log.contains("the watch has expired (HTTP 410)"), "no gap");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_right_to_list_a_deleted_target_costs_one_request_at_once() {
    let mut scene = Scene::new("history-list", 1).await;
    scene.may_be_refused = |event| event.verb == "list" && event.resource == "secrets";
    scene.namespaces[0].create_credentials().await;
    scene.namespaces[0].create_ready(TARGET).await;
    let before = token(&scene.namespaces[0]).await;
    set_verbs(&scene, &["get", "create", "update", "watch"]).await;
    cannot(&scene, "list").await;
    scene.operator.kill();
    scene.operator.start().await;
    scene.rests().await;

    scene.namespaces[0].delete_secret(TARGET).await;
    assert_ne!(token(&scene.namespaces[0]).await, before);
    scene.namespaces[0].ready(TARGET).await;
    assert_eq!(scene.sitecore.requests(CLIENT), 2);
}
