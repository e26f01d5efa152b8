//! What others do to EdgeTokens, to their keys and to Sitecore's services.

use k8s_openapi::api::events::v1::Event;
use kube::api::{ListParams, Patch, PatchParams};

use super::*;

const LIST: &str = "GET /api/apikey/v1";

/// A scene with an EdgeToken `edge` that is ready, whose keys are revoked with it, and of which a key can be asked for at once: a
/// process leaves a minute between two keys that it makes for one object.
async fn revocable_scene(name: &str) -> Scene {
    let mut scene = Scene::new(name, 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    let mut object = shop.edge_token("edge");
    object.spec.deletion_policy = DeletionPolicy::Revoke;
    shop.create_edge_token(&object).await;
    shop.edge_token_ready("edge").await;
    scene.operator.kill();
    scene.operator.start().await;
    scene
}

async fn rotate(shop: &Namespace, name: &str) {
    shop.annotate_edge_token(name, ROTATE_REQUESTED_AT, "now")
        .await;
}

async fn has_former_key(shop: &Namespace, name: &str) -> EdgeToken {
    shop.edge_token_that(name, "is rotated", |object| {
        object.status.as_ref().unwrap().retired.len() == 1
    })
    .await
}

/// Waits for an Event of this reason that names a mark, and returns whether it warns.
async fn is_warned_of(scene: &Scene, reason: &str, mark: &str) -> bool {
    let shop = &scene.namespaces[0];
    let events: kube::Api<Event> = kube::Api::namespaced(scene.client.clone(), &shop.name);
    shop.until(PATIENCE, "the Event is there", async || {
        let events = events.list(&ListParams::default()).await.ok()?;
        let found = events.items.into_iter().find(|event| {
            let note = event.note.as_deref().unwrap_or_default();
            event.reason.as_deref() == Some(reason) && note.contains(mark)
        })?;
        Some(found.type_.as_deref() == Some("Warning"))
    })
    .await
}

fn mark(object: &EdgeToken) -> String {
    object
        .status
        .as_ref()
        .unwrap()
        .token
        .as_ref()
        .unwrap()
        .mark
        .clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_layout_is_written_and_another_client_secret_used_later_and_neither_costs_a_call() {
    let scene = ready_scene("key-layout").await;
    let shop = &scene.namespaces[0];
    let first = key(shop, "edge").await;
    let before = asked(&scene);
    shop.edit_edge_token("edge", |object| {
        let data = json!([{"key": "api-key", "from": "EdgeToken"}]);
        object.spec.target.data = serde_json::from_value(data).unwrap();
    })
    .await;
    let target = shop
        .secret_that("edge", "has the other layout", |target| {
            target.data.as_ref().unwrap().contains_key("api-key")
        })
        .await;
    assert_eq!(text(&target, "api-key"), first);
    scene
        .sitecore
        .rotate_secret(CLIENT, "another-secret", Duration::ZERO);
    shop.replace_data(CREDENTIALS, &credentials(CLIENT, "another-secret"))
        .await;
    scene.rests().await;
    assert_eq!(asked(&scene), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_former_key_that_somebody_revoked_is_forgotten_without_a_further_revocation() {
    let scene = revocable_scene("key-revoked").await;
    let shop = &scene.namespaces[0];
    scene.sitecore.revoke_key(&live(&scene)[0].hash);
    rotate(shop, "edge").await;
    let rotated = has_former_key(shop, "edge").await;
    shop.annotate_edge_token("edge", END_OVERLAP_REQUESTED_AT, "now")
        .await;
    shop.edge_token_that("edge", "has one key", |object| {
        let status = object.status.as_ref().unwrap();
        status.retired.is_empty() && status.token.as_ref().unwrap().hash.is_some()
    })
    .await;
    let counts = scene.sitecore.calls();
    let revocations = counts
        .iter()
        .filter(|(route, ..)| route.starts_with("PUT "));
    assert_eq!(revocations.map(|(.., count)| count).sum::<u64>(), 0);
    let live = live(&scene);
    assert!(live.len() == 1 && live[0].label.starts_with(&mark(&rotated)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_down_or_asks_to_wait_leaves_the_key_and_another_one_is_made_later() {
    let mut scene = Scene::new("key-outage", 1).await;
    let limited = ApiFailure::RateLimited;
    let unavailable = Reason::EdgeAPIUnavailable;
    let rows = [
        ("down", ApiFailure::Status(503), unavailable),
        ("reset", ApiFailure::Reset, unavailable),
        (
            "retry-after",
            limited(RateHeaders::RetryAfter(2)),
            Reason::RateLimited,
        ),
        ("until", limited(RateHeaders::Until(2)), Reason::RateLimited),
        (
            "from-now",
            limited(RateHeaders::FromNow(2)),
            Reason::RateLimited,
        ),
    ];
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    for (name, ..) in &rows {
        shop.create_edge_token(&shop.edge_token(name)).await;
        shop.edge_token_ready(name).await;
    }
    scene.operator.kill();
    scene.operator.start().await;
    let shop = &scene.namespaces[0];
    for (name, failure, reason) in rows {
        let former = key(shop, name).await;
        // Until it was seen what is told: a busy machine looks seldom.
        scene.sitecore.fail_route(LIST, u64::MAX, failure.clone());
        rotate(shop, name).await;
        let told = shop.edge_token_says(name, Reconciling, reason).await;
        scene.sitecore.fail_route(LIST, 0, failure);
        let ready = edge_token_condition(&told, Ready);
        assert_eq!(ready.status, "True", "{name}: {ready:?}");
        let rotated = has_former_key(shop, name).await;
        assert_eq!(rotated.status.unwrap().pending, None, "{name}");
        // That it is the former one was recorded before the target was written.
        shop.secret_that(name, "has another key", |target| {
            text(target, "SITECORE_API_KEY") != former
        })
        .await;
        assert!(works(&scene, &former).await, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_operator_an_object_whose_keys_are_to_be_revoked_waits_for_it_or_for_a_person() {
    let mut scene = revocable_scene("key-waits").await;
    scene.operator.kill();
    let shop = &scene.namespaces[0];
    let revoked = key(shop, "edge").await;
    shop.delete_edge_token("edge").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let waiting = shop.edge_tokens.get("edge").await.unwrap();
    assert!(waiting.metadata.deletion_timestamp.is_some());
    scene.operator.start().await;
    let shop = &scene.namespaces[0];
    is_gone(shop, "edge").await;
    assert!(!works(&scene, &revoked).await);

    // As the documentation says where the operator is gone for good.
    let mut object = shop.edge_token("second");
    object.spec.deletion_policy = DeletionPolicy::Revoke;
    shop.create_edge_token(&object).await;
    shop.edge_token_ready("second").await;
    scene.operator.kill();
    let shop = &scene.namespaces[0];
    shop.delete_edge_token("second").await;
    let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    let params = PatchParams::default();
    let patched = shop.edge_tokens.patch("second", &params, &patch).await;
    patched.unwrap();
    is_gone(shop, "second").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_copy_of_the_cluster_made_stops_rotations_and_revocations_and_is_told() {
    let scene = revocable_scene("key-copied").await;
    let shop = &scene.namespaces[0];
    let object = shop.edge_token_ready("edge").await;
    let uid = object.metadata.uid.clone().unwrap();
    let of_the_copy = format!("edge-token/{uid}/00000000000000ff");
    let tenant = format!("tenant-{CLIENT}");
    let label = format!("{of_the_copy}/{}/edge", shop.name);
    scene.sitecore.make_key(&tenant, &label);
    let first = key(shop, "edge").await;
    rotate(shop, "edge").await;
    let told = shop
        .edge_token_says("edge", Stalled, Reason::UnrecordedKeys)
        .await;
    assert_eq!(edge_token_condition(&told, Ready).status, "True");
    assert_eq!(key(shop, "edge").await, first);

    shop.delete_edge_token("edge").await;
    is_gone(shop, "edge").await;
    assert_eq!(live(&scene).len(), 2, "either may be in use there");
    for mark in [&mark(&object), &of_the_copy] {
        assert!(is_warned_of(&scene, "KeyLeft", mark).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_kept_is_told_when_its_object_is_gone_also_after_a_restart() {
    let mut scene = ready_scene("key-kept").await;
    scene.operator.kill();
    scene.operator.start().await;
    scene.rests().await;
    let shop = &scene.namespaces[0];
    let mark = mark(&shop.edge_token_ready("edge").await);
    let kept = key(shop, "edge").await;
    shop.delete_edge_token("edge").await;
    is_gone(shop, "edge").await;
    assert!(
        !is_warned_of(&scene, "KeyLeft", &mark).await,
        "it was wanted"
    );
    assert!(works(&scene, &kept).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_manifest_in_another_namespace_has_keys_of_its_own() {
    let scene = Scene::new("key-cloned", 2).await;
    for shop in &scene.namespaces {
        shop.create_credentials().await;
        let mut object = shop.edge_token("edge");
        object.spec.deletion_policy = DeletionPolicy::Revoke;
        shop.create_edge_token(&object).await;
        shop.edge_token_ready("edge").await;
    }
    let [first, second] = &scene.namespaces[..] else {
        panic!("two namespaces");
    };
    let kept = key(second, "edge").await;
    assert_ne!(key(first, "edge").await, kept);
    first.delete_edge_token("edge").await;
    is_gone(first, "edge").await;
    assert_eq!(live(&scene).len(), 1);
    assert!(works(&scene, &kept).await);
}
