//! Somebody else writes between the operator's read and its write: what they wrote is not lost unseen, a foreign Secret
//! stays as it is, and no token is requested again.
//!
//! The stand-in withholds the token, so that what happens meanwhile comes after the operator's read and before its write,
//! each time.

use std::time::Duration;

use edge_credential_operator::api::Reason;
use edge_credential_operator::api::edge_credential::RENEW_REQUESTED_AT;
use kit::sitecore::Withheld;

use kit::harness::*;

/// Longer than the second after which the operator meets a conflict again.
const A_WHILE: Duration = Duration::from_secs(3);

/// An EdgeCredential with a token, and its renewal under way until its token is released.
async fn renewal_under_way(name: &str, watch_secrets: bool) -> (Scene, Withheld) {
    let setup = Setup {
        values: vec![("watchSecrets", watch_secrets.to_string())],
        ..Setup::default()
    };
    let scene = setup.scene(name).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    shop.create_ready("edge").await;
    let token = scene.sitecore.withhold(CLIENT, 1);
    shop.annotate("edge", RENEW_REQUESTED_AT, "now").await;
    requested(&scene, 2).await;
    (scene, token)
}

async fn requested(scene: &Scene, requests: u64) {
    let shop = &scene.namespaces[0];
    shop.until(PATIENCE, "the request is under way", async || {
        (scene.sitecore.requests(CLIENT) == requests).then_some(())
    })
    .await;
}

/// The codes with which the operator's writes of a target were answered.
fn answers(scene: &Scene, verb: &str) -> Vec<u16> {
    let events = scene.audit_events().into_iter();
    events
        .filter(|event| event.resource == "secrets" && event.verb == verb)
        .map(|event| event.code)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_was_edited_meanwhile_is_read_again_and_written_with_the_same_token() {
    let (mut scene, token) = renewal_under_way("race-edit", true).await;
    let shop = &scene.namespaces[0];
    let edited = shop
        .edit_secret("edge", |secret| {
            let labels = secret.metadata.labels.get_or_insert_default();
            labels.insert("backup".to_owned(), "daily".to_owned());
        })
        .await;
    token.release();
    let renewed = shop
        .secret_that("edge", "is renewed", |secret| {
            text(secret, "access_token") != text(&edited, "access_token")
        })
        .await;
    assert_eq!(renewed.metadata.labels, edited.metadata.labels, "kept");
    shop.ready("edge").await;
    // What was answered is logged a moment later.
    shop.until(PATIENCE, "a conflict, and a write", async || {
        (answers(&scene, "update") == [409, 200]).then_some(())
    })
    .await;
    assert_eq!(scene.sitecore.requests(CLIENT), 2);
    assert!(scene.operator.process().is_running());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_was_deleted_and_made_anew_by_somebody_else_meanwhile_is_not_touched() {
    let (mut scene, token) = renewal_under_way("race-replace", true).await;
    let shop = &scene.namespaces[0];
    shop.delete_secret("edge").await;
    let foreign = shop
        .create_secret("edge", &[("access_token", "mine")])
        .await;
    token.release();
    shop.has_reason("edge", Reason::TargetNotOwned).await;
    tokio::time::sleep(A_WHILE).await;
    let answers = answers(&scene, "update");
    assert!(matches!(answers[..], [409 | 422]), "{answers:?}");
    assert_eq!(shop.secret("edge").await, foreign);

    shop.delete_secret("edge").await;
    shop.ready("edge").await;
    assert_eq!(scene.sitecore.requests(CLIENT), 2);
    assert!(scene.operator.process().is_running());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_was_deleted_meanwhile_is_created_with_the_same_token() {
    // Where Secrets aren't watched, nothing tells of the deletion but the answer to the write.
    for watch_secrets in [true, false] {
        let name = format!("race-delete-{watch_secrets}");
        let (mut scene, token) = renewal_under_way(&name, watch_secrets).await;
        let shop = &scene.namespaces[0];
        let before = text(&shop.secret("edge").await, "access_token");
        shop.delete_secret("edge").await;
        token.release();
        let renewed = shop
            .secret_that("edge", "is renewed", |secret| {
                text(secret, "access_token") != before
            })
            .await;
        scene
            .sitecore
            .verify(&text(&renewed, "access_token"))
            .unwrap();
        shop.ready("edge").await;
        assert_eq!(scene.sitecore.requests(CLIENT), 2);
        assert!(scene.operator.process().is_running());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_somebody_else_creates_meanwhile_is_not_touched() {
    let mut scene = Scene::new("race-create", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    let token = scene.sitecore.withhold(CLIENT, 1);
    shop.create_object(&shop.edge_credential("edge")).await;
    requested(&scene, 1).await;
    let foreign = shop
        .create_secret("edge", &[("access_token", "mine")])
        .await;
    token.release();
    shop.has_reason("edge", Reason::TargetNotOwned).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(answers(&scene, "create"), [409]);
    assert_eq!(shop.secret("edge").await, foreign);

    // The token is in memory.
    shop.delete_secret("edge").await;
    shop.ready("edge").await;
    assert_eq!(scene.sitecore.requests(CLIENT), 1);
    assert!(scene.operator.process().is_running());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_credential_that_was_deleted_and_made_anew_meanwhile_takes_the_token() {
    let (mut scene, token) = renewal_under_way("race-owner", true).await;
    let shop = &scene.namespaces[0];
    let before = text(&shop.secret("edge").await, "access_token");
    shop.delete_object("edge").await;
    let again = shop.create_object(&shop.edge_credential("edge")).await;
    token.release();
    let target = shop
        .secret_that("edge", "is of the new object", |secret| {
            let owners = secret.metadata.owner_references.iter().flatten();
            owners.map(|owner| &owner.uid).eq(&again.metadata.uid)
        })
        .await;
    shop.ready("edge").await;
    // The one that was there, which is valid, or the one that was under way.
    scene
        .sitecore
        .verify(&text(&target, "access_token"))
        .expect("a valid token");
    assert!(!before.is_empty());
    assert_eq!(scene.sitecore.requests(CLIENT), 2);
    assert!(scene.operator.process().is_running());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_another_manager_applies_by_force_is_set_right() {
    let mut scene = Scene::new("race-apply", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    shop.create_ready("edge").await;
    let sound = shop.secret("edge").await;
    let takeover = format!(
        "
apiVersion: v1
kind: Secret
metadata:
  name: edge
  namespace: {}
  labels: {{team: web}}
stringData: {{access_token: theirs}}
",
        shop.name
    );
    scene.control_plane.apply(&takeover).await.unwrap();
    let healed = shop
        .secret_that("edge", "has its token again", |secret| {
            secret.data == sound.data
        })
        .await;
    assert_eq!(healed.metadata.labels.unwrap()["team"], "web", "not ours");
    assert_eq!(scene.sitecore.requests(CLIENT), 1);
    assert!(scene.operator.process().is_running());
}
