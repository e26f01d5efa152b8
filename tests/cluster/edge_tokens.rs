//! EdgeTokens on a real API server: which keys are made and revoked, with exactly how many calls, and what is told.

mod others;

use edge_credential_operator::api::{
    ConditionType::{Ready, Reconciling, Stalled},
    EdgeToken, Reason,
    edge_token::{DeletionPolicy, END_OVERLAP_REQUESTED_AT, ROTATE_REQUESTED_AT, TokenApi},
};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kit::{
    control_plane::AuditEvent,
    sitecore::{Api, ApiFailure, DeliveryStyle, EdgeKey, RateHeaders},
};
use kube::api::PostParams;
use serde_json::json;
use std::time::Duration;

use kit::harness::*;

const CREATE: &str = "POST /api/apikey/v1";

/// The requests about a namespace that a first key takes: the credentials are read, the attempt, its success and what was listed are
/// recorded, and the target is created, which a watch has shown not to be there.
const FIRST_KEY: usize = 5;

/// The calls of the Token API, the Deploy API and the Delivery API so far, whatever was answered.
fn calls(scene: &Scene) -> u64 {
    let calls = scene.sitecore.calls();
    let apis = calls.iter().filter(|(route, ..)| route.contains("/api/"));
    apis.map(|(.., count)| count).sum()
}

/// The calls of the APIs and the token requests so far.
fn asked(scene: &Scene) -> (u64, u64) {
    (calls(scene), scene.sitecore.total_requests())
}

fn live(scene: &Scene) -> Vec<EdgeKey> {
    let mut keys = scene.sitecore.keys();
    keys.retain(|key| !key.is_revoked);
    keys
}

/// The key in the target.
async fn key(shop: &Namespace, name: &str) -> String {
    text(&shop.secret(name).await, "SITECORE_API_KEY")
}

/// Whether the stand-in's Delivery API takes the key in the target.
async fn works(scene: &Scene, key: &str) -> bool {
    let url = format!("{}/api/graphql/v1", scene.sitecore.url());
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let query = http.post(url).header("sc_apikey", key);
    let query = query.json(&json!({"query": "{__typename}"}));
    query.send().await.unwrap().status().is_success()
}

/// A scene with an EdgeToken `edge` that is ready.
async fn ready_scene(name: &str) -> Scene {
    let scene = Scene::new(name, 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    shop.create_edge_token(&shop.edge_token("edge")).await;
    shop.edge_token_ready("edge").await;
    scene
}

/// What was asked of the API server about one namespace, but for watches and Events.
fn kubernetes_calls(events: &[AuditEvent], namespace: &str) -> Vec<String> {
    let ours = events.iter().filter(|event| {
        event.namespace == namespace && !event.name.is_empty() | (event.verb == "create")
    });
    let ours = ours.filter(|event| event.verb != "watch" && event.resource != "events");
    ours.filter_map(AuditEvent::right).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_key_takes_three_calls_and_one_token_request_and_nothing_more_is_asked_after_that()
 {
    let mut scene = ready_scene("key-first").await;
    assert_eq!(asked(&scene), (3, 1));
    let counts = scene.sitecore.calls();
    assert_eq!(counts.ok(Api::Token), 2);
    assert_eq!(counts.ok(Api::Delivery), 1);
    let events = scene.rests().await;
    let shop = &scene.namespaces[0];
    let kubernetes = kubernetes_calls(&events, &shop.name);
    assert_eq!(kubernetes.len(), FIRST_KEY, "{kubernetes:#?}");

    // Ready for envFrom.
    let target = shop.secret("edge").await;
    let data = target.data.as_ref().unwrap();
    let names: Vec<_> = data.keys().map(String::as_str).collect();
    assert_eq!(names, ["GRAPH_QL_ENDPOINT", "SITECORE_API_KEY"]);
    let endpoint = format!("{}/api/graphql/v1", scene.sitecore.url());
    assert_eq!(text(&target, "GRAPH_QL_ENDPOINT"), endpoint);
    assert!(works(&scene, &text(&target, "SITECORE_API_KEY")).await);
    let object = shop.edge_token_ready("edge").await;
    let mark = object.status.unwrap().token.unwrap().mark;
    let label = format!("{mark}/{}/edge", shop.name);
    assert_eq!(live(&scene)[0].label, label);

    let before = (asked(&scene), target.metadata.resource_version);
    scene.operator.kill();
    scene.operator.start().await;
    scene.rests().await;
    let shop = &scene.namespaces[0];
    let target = shop.secret("edge").await;
    assert_eq!((asked(&scene), target.metadata.resource_version), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_is_handed_out_and_the_former_key_is_revoked_when_its_overlap_is_ended() {
    let mut scene = ready_scene("key-rotated").await;
    // A process leaves a minute between two keys that it makes for one object.
    scene.operator.kill();
    scene.operator.start().await;
    let shop = &scene.namespaces[0];
    let former = key(shop, "edge").await;
    shop.annotate_edge_token("edge", ROTATE_REQUESTED_AT, "now")
        .await;
    let rotated = shop
        .edge_token_that("edge", "is rotated", |object| {
            let status = object.status.as_ref().unwrap();
            status.retired.len() == 1 && status.token.as_ref().unwrap().hash.is_some()
        })
        .await;
    let said = edge_token_condition(&rotated, Ready).message;
    assert!(said.contains("The former one works until"), "{said}");
    let present = key(shop, "edge").await;
    assert_ne!(present, former);
    assert!(works(&scene, &former).await && works(&scene, &present).await);
    assert_eq!(live(&scene).len(), 2);

    shop.annotate_edge_token("edge", END_OVERLAP_REQUESTED_AT, "now")
        .await;
    shop.edge_token_that("edge", "has one key", |object| {
        object.status.as_ref().unwrap().retired.is_empty()
    })
    .await;
    assert!(!works(&scene, &former).await && works(&scene, &present).await);
    // What this test asked is not the operator's.
    let asked_here = 4;
    let (calls, tokens) = asked(&scene);
    assert_eq!((calls - 3 - asked_here, tokens), (8, 2));
    assert_eq!(
        shop.edge_token_ready("edge").await.status.unwrap().failures,
        None
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_scopes_mean_another_key_with_an_overlap() {
    let mut scene = ready_scene("key-scopes").await;
    scene.operator.kill();
    scene.operator.start().await;
    let shop = &scene.namespaces[0];
    let former = key(shop, "edge").await;
    shop.edit_edge_token("edge", |object| {
        let api: &mut TokenApi = object.spec.token_api.as_mut().unwrap();
        api.scopes.push("audience-preview".to_owned());
    })
    .await;
    let object = shop.edge_token_ready("edge").await;
    assert_eq!(object.status.unwrap().retired.len(), 1);
    assert_ne!(key(shop, "edge").await, former);
    let keys = live(&scene);
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[1].scopes.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_is_deleted_or_edited_is_set_right_without_a_call() {
    let mut scene = ready_scene("key-damaged").await;
    let shop = &scene.namespaces[0];
    let first = key(shop, "edge").await;
    let before = asked(&scene);
    let is_back = async |scene: &Scene, what: &str| {
        let shop = &scene.namespaces[0];
        shop.secret_that("edge", what, |target| {
            text(target, "SITECORE_API_KEY") == first
        })
        .await;
        scene.rests().await;
        assert_eq!(asked(scene), before, "{what}");
    };
    shop.delete_secret("edge").await;
    is_back(&scene, "is back").await;
    shop.edit_secret("edge", |target| {
        let data = target.data.as_mut().unwrap();
        data.insert("SITECORE_API_KEY".to_owned(), ByteString(b"other".to_vec()));
    })
    .await;
    is_back(&scene, "has its key again").await;
    shop.edit_edge_token("edge", |object| {
        let labels = &mut object.spec.target.labels;
        labels.insert("team".to_owned(), "web".to_owned());
    })
    .await;
    shop.secret_that("edge", "has the label", |target| {
        target
            .metadata
            .labels
            .as_ref()
            .unwrap()
            .contains_key("team")
    })
    .await;
    is_back(&scene, "has another label").await;

    // Nothing is in memory: the API server's history shows what the target was.
    scene.operator.kill();
    let shop = &scene.namespaces[0];
    shop.delete_secret("edge").await;
    scene.operator.start().await;
    is_back(&scene, "is back after a restart").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_that_is_wiped_comes_back_without_a_call_for_a_key() {
    let scene = ready_scene("key-wiped").await;
    let shop = &scene.namespaces[0];
    let before = shop.edge_token_ready("edge").await.status.unwrap();
    let first = key(shop, "edge").await;
    let patch = r#"{"status": null}"#;
    let args = format!(
        "patch etoken edge --subresource=status --type=merge -n {} -p",
        shop.name
    );
    let args: Vec<_> = args.split(' ').chain([patch]).collect();
    scene.control_plane.kubectl(&args).await.unwrap();
    let object = shop
        .edge_token_says("edge", Ready, Reason::TokenValid)
        .await;
    let (before, after) = (before.token.unwrap(), object.status.unwrap().token.unwrap());
    assert_eq!(
        (after.mark, after.created_at),
        (before.mark, before.created_at)
    );
    assert_eq!(key(shop, "edge").await, first);
    assert_eq!(live(&scene).len(), 1);
    assert_eq!(asked(&scene), (3, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_was_restored_or_belongs_to_another_object_is_left_alone_without_a_call() {
    let scene = ready_scene("key-owners").await;
    let shop = &scene.namespaces[0];
    let first = key(shop, "edge").await;
    let before = asked(&scene);
    // Either kind, with the same target.
    let mut second = shop.edge_token("second");
    second.spec.target.name = Some("edge".to_owned());
    shop.create_edge_token(&second).await;
    let mut other = shop.edge_credential("other");
    other.spec.target.name = Some("edge".to_owned());
    shop.create_object(&other).await;
    shop.edge_token_says("second", Stalled, Reason::TargetConflict)
        .await;
    shop.object_that("other", "is stalled", |object| {
        let stalled = condition(object, Stalled);
        stalled.status == "True" && stalled.reason == Reason::TargetConflict.as_str()
    })
    .await;
    assert_eq!((asked(&scene), key(shop, "edge").await), (before, first));

    // As a backup brings it back: without the owner, which has another uid now.
    let mut restored = shop.secret("edge").await;
    restored.metadata = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
        name: Some("restored".to_owned()),
        annotations: restored.metadata.annotations,
        labels: restored.metadata.labels,
        ..Default::default()
    };
    create(shop, &restored).await;
    let mut object = shop.edge_token("restored");
    object.status = shop.edge_token_ready("edge").await.status;
    shop.create_edge_token(&object).await;
    shop.edge_token_says("restored", Stalled, Reason::TargetNotOwned)
        .await;
    assert_eq!(asked(&scene), before);
    shop.delete_secret("restored").await;
    shop.edge_token_ready("restored").await;
    assert_ne!(key(shop, "restored").await, key(shop, "edge").await);
    assert_eq!(live(&scene).len(), 2);
}

async fn create(shop: &Namespace, secret: &Secret) {
    let created = shop.secrets.create(&PostParams::default(), secret).await;
    created.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_object_keeps_or_revokes_its_key_as_its_policy_says() {
    let scene = Scene::new("key-deleted", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    shop.create_edge_token(&shop.edge_token("keep")).await;
    let mut revoke = shop.edge_token("revoke");
    revoke.spec.deletion_policy = DeletionPolicy::Revoke;
    shop.create_edge_token(&revoke).await;
    shop.edge_token_ready("keep").await;
    shop.edge_token_ready("revoke").await;
    let foreign = scene
        .sitecore
        .make_key(&format!("tenant-{CLIENT}"), "by hand");
    let revoked = key(shop, "revoke").await;
    let kept = key(shop, "keep").await;
    let before = calls(&scene);
    shop.delete_edge_token("revoke").await;
    is_gone(shop, "revoke").await;
    // One list, one key, one list that shows it revoked.
    assert_eq!(calls(&scene) - before, 3);
    shop.delete_edge_token("keep").await;
    is_gone(shop, "keep").await;
    assert!(!works(&scene, &revoked).await);
    assert!(works(&scene, &kept).await && works(&scene, &foreign).await);
}

/// With a ClusterRole: a namespace that is deleted takes its Roles first, and with them the right to remove a finalizer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_that_is_deleted_does_not_wait_for_a_key_and_the_key_is_revoked() {
    let setup = Setup {
        cluster_wide: true,
        own_control_plane: true,
        ..Setup::default()
    };
    let mut scene = setup.scene("key-namespace").await;
    scene.may_be_refused = |event| event.verb == "create";
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    let mut revoke = shop.edge_token("revoke");
    revoke.spec.deletion_policy = DeletionPolicy::Revoke;
    shop.create_edge_token(&revoke).await;
    shop.edge_token_ready("revoke").await;
    let revoked = key(shop, "revoke").await;
    let delete = ["delete", "namespace", &shop.name, "--wait=false"];
    scene.control_plane.kubectl(&delete).await.unwrap();
    is_gone(shop, "revoke").await;
    assert!(!works(&scene, &revoked).await);
}

async fn is_gone(shop: &Namespace, name: &str) {
    shop.until(PATIENCE, "the object is gone", async || {
        let found = shop.edge_tokens.get_opt(name).await.ok()?;
        found.is_none().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_token_api_refuses_is_told_and_tried_again() {
    let scene = Scene::new("key-refused", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    for (name, failure, reason) in [
        (
            "unauthorized",
            ApiFailure::Status(401),
            Reason::EdgeAPIUnauthorized,
        ),
        (
            "forbidden",
            ApiFailure::Status(403),
            Reason::EdgeAPIForbidden,
        ),
        ("not-found", ApiFailure::Status(404), Reason::EdgeAPIRefused),
        (
            "limited",
            ApiFailure::RateLimited(RateHeaders::RetryAfter(3)),
            Reason::RateLimited,
        ),
    ] {
        scene.sitecore.fail_route(CREATE, 1, failure);
        shop.create_edge_token(&shop.edge_token(name)).await;
        let told = shop.edge_token_says(name, Reconciling, reason).await;
        let status = told.status.unwrap();
        assert!(
            status.pending.is_none() && status.retired.is_empty(),
            "{name}"
        );
    }
    for name in ["unauthorized", "forbidden", "not-found", "limited"] {
        shop.edge_token_ready(name).await;
    }
    assert_eq!(scene.sitecore.keys().len(), 4);
    // All of them share one token, but the one that was refused is not shown again by whom it was refused.
    assert_eq!(scene.sitecore.total_requests(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_was_made_although_the_answer_says_500_is_revoked_and_another_one_made() {
    let scene = Scene::new("key-lost", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    let failure = ApiFailure::ActThenStatus(500);
    scene.sitecore.fail_route(CREATE, 1, failure);
    shop.create_edge_token(&shop.edge_token("edge")).await;
    shop.edge_token_says("edge", Reconciling, Reason::EdgeAPIUnavailable)
        .await;
    let object = shop.edge_token_ready("edge").await;
    let keys = scene.sitecore.keys();
    assert_eq!(keys.len(), 2);
    assert!(keys[0].is_revoked && !keys[1].is_revoked);
    let mark = object.status.unwrap().token.unwrap().mark;
    assert!(keys[1].label.starts_with(&mark));
    assert!(works(&scene, &key(shop, "edge").await).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_delivery_takes_only_later_is_handed_out_only_then() {
    let scene = Scene::new("key-late", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    let late = DeliveryStyle {
        active_after: Duration::from_secs(3600),
        ..DeliveryStyle::default()
    };
    scene.sitecore.set_delivery_style(late);
    shop.create_edge_token(&shop.edge_token("edge")).await;
    shop.edge_token_says("edge", Reconciling, Reason::DeliveryRefused)
        .await;
    assert_eq!(shop.secrets.get_opt("edge").await.unwrap(), None);
    scene.sitecore.set_delivery_style(DeliveryStyle::default());
    shop.edge_token_ready("edge").await;
    assert_eq!(scene.sitecore.keys().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_the_deploy_api_is_fetched_once() {
    let mut scene = Scene::new("key-deploy", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    let tenant = format!("tenant-{CLIENT}");
    scene.sitecore.add_environment("live", &tenant);
    shop.create_edge_token(&shop.deployed_edge_token("edge", "live"))
        .await;
    shop.edge_token_ready("edge").await;
    assert_eq!(asked(&scene), (2, 1));
    scene.operator.kill();
    scene.operator.start().await;
    scene.rests().await;
    assert_eq!(asked(&scene), (2, 1));

    let shop = &scene.namespaces[0];
    shop.create_edge_token(&shop.deployed_edge_token("nowhere", "gone"))
        .await;
    shop.edge_token_says("nowhere", Reconciling, Reason::EnvironmentNotFound)
        .await;
    assert!(works(&scene, &key(shop, "edge").await).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_definition_is_not_installed_edge_credentials_are_served_and_one_line_says_so() {
    let setup = Setup {
        start: false,
        own_control_plane: true,
        ..Setup::default()
    };
    let mut scene = setup.scene("key-undefined").await;
    let delete = ["delete", "crd", "edgetokens.edgecredentials.io"];
    scene.control_plane.kubectl(&delete).await.unwrap();
    scene.operator.start().await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    shop.create_ready("edge").await;
    scene.rests().await;
    let log = scene.operator.log();
    let said = "the CustomResourceDefinition of EdgeTokens is not installed";
    assert_eq!(log.matches(said).count(), 1, "{log}");
    assert_eq!(log.matches("\"level\":\"WARN\"").count(), 0, "{log}");
    assert_eq!(log.matches("\"level\":\"ERROR\"").count(), 0, "{log}");
}
