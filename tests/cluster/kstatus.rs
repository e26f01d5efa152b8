//! What kstatus, by which Flux and Helm wait, makes of EdgeCredentials and EdgeTokens: the tool itself, on objects as the API
//! server stores them.

use edge_credential_operator::api::ConditionType::{Ready, Stalled};
use edge_credential_operator::api::Reason;
use edge_credential_operator::api::edge_credential::RENEW_REQUESTED_AT;
use kit::harness::*;

/// The status and the message that kstatus gives an EdgeCredential.
async fn judge(scene: &Scene, name: &str) -> (String, String) {
    judge_one_of(scene, "edgecredentials", name).await
}

/// The status and the message that kstatus gives an object of this kind.
async fn judge_one_of(scene: &Scene, kind: &str, name: &str) -> (String, String) {
    let shop = &scene.namespaces[0].name;
    let judged = scene.control_plane.kstatus(shop, kind).await;
    judged.unwrap().remove(name).expect("it is judged")
}

/// Creates an EdgeCredential that uses this credentials Secret.
async fn create(shop: &Namespace, name: &str, credentials: &str, suspend: bool) {
    let mut object = shop.edge_credential(name);
    object.spec.credentials_secret_ref.name = credentials.to_owned();
    object.spec.suspend = suspend;
    shop.create_object(&object).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_is_in_progress_until_the_operator_has_seen_its_present_spec() {
    let setup = Setup {
        start: false,
        ..Setup::default()
    };
    let mut scene = setup.scene("kstatus-unseen").await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    create(shop, "edge", CREDENTIALS, false).await;
    let unseen = |generation, observed| {
        let message = format!(
            "EdgeCredential generation is {generation}, but latest observed generation is {observed}"
        );
        ("InProgress".to_owned(), message)
    };
    assert_eq!(judge(&scene, "edge").await, unseen(1, -1));

    scene.operator.start().await;
    scene.namespaces[0].ready("edge").await;
    assert_eq!(judge(&scene, "edge").await.0, "Current");

    scene.operator.kill();
    let shop = &scene.namespaces[0];
    shop.edit("edge", |object| {
        object.spec.renew_before = Some("1h".to_owned());
    })
    .await;
    assert_eq!(judge(&scene, "edge").await, unseen(2, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_current_while_nothing_is_in_the_way_and_failed_once_a_person_must_act() {
    const OTHER: &str = "other-client";
    const MALFORMED: &str = "malformed-client";
    let scene = Scene::new("kstatus", 1).await;
    let shop = &scene.namespaces[0];
    let malformed = credentials(CLIENT, "edge-client-secret\n");
    shop.create_credentials().await;
    shop.create_secret(OTHER, &credentials(CLIENT, SECRET))
        .await;
    shop.create_secret(MALFORMED, &malformed).await;
    create(shop, "waiting", "missing-client", false).await;
    create(shop, "malformed", MALFORMED, false).await;
    create(shop, "idle", CREDENTIALS, true).await;
    create(shop, "stalled", OTHER, false).await;
    shop.ready("stalled").await;
    for name in ["valid", "suspended", "failing"] {
        shop.create_ready(name).await;
    }
    shop.replace_data(OTHER, &malformed).await;
    shop.edit("suspended", |object| object.spec.suspend = true)
        .await;
    scene.sitecore.go_down();
    shop.annotate("failing", RENEW_REQUESTED_AT, "now").await;

    use Reason::*;
    let padded = "begins or ends with white space";
    for (name, reason, status, message) in [
        ("valid", TokenValid, "Current", "Resource is Ready"),
        ("suspended", Suspended, "Current", "Resource is Ready"),
        ("idle", Suspended, "InProgress", "spec.suspend"),
        ("waiting", CredentialsNotFound, "InProgress", "create it"),
        ("failing", RenewalFailing, "InProgress", "token endpoint"),
        ("malformed", CredentialsMalformed, "Failed", padded),
        ("stalled", RenewalStalled, "Failed", padded),
    ] {
        let object = shop.has_reason(name, reason).await;
        let judged = judge(&scene, name).await;
        let seen = format!("{judged:?}\n{object:#?}");
        assert_eq!(judged.0, status, "{seen}");
        assert!(judged.1.contains(message), "{seen}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_being_deleted_is_terminating_though_its_token_is_valid() {
    let scene = Scene::new("kstatus-deleted", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    let mut object = shop.edge_credential("edge");
    object.metadata.finalizers = Some(vec!["example.com/keep".to_owned()]);
    shop.create_object(&object).await;
    shop.ready("edge").await;
    shop.delete_object("edge").await;
    assert_eq!(judge(&scene, "edge").await.0, "Terminating");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_token_is_judged_as_an_edge_credential_is() {
    const MALFORMED: &str = "malformed-client";
    let scene = Scene::new("kstatus-key", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    let padded = credentials(CLIENT, "edge-client-secret\n");
    shop.create_secret(MALFORMED, &padded).await;
    for (name, credentials) in [
        ("valid", CREDENTIALS),
        ("waiting", "missing-client"),
        ("malformed", MALFORMED),
    ] {
        let mut object = shop.edge_token(name);
        object.spec.credentials_secret_ref.name = credentials.to_owned();
        shop.create_edge_token(&object).await;
    }
    shop.edge_token_ready("valid").await;
    shop.edge_token_says("malformed", Stalled, Reason::CredentialsMalformed)
        .await;
    shop.edge_token_that("waiting", "waits", |object| {
        let ready = edge_token_condition(object, Ready);
        ready.reason == Reason::CredentialsNotFound.as_str()
    })
    .await;
    let judge = async |name: &str| judge_one_of(&scene, "edgetokens", name).await.0;
    assert_eq!(judge("valid").await, "Current");
    assert_eq!(judge("malformed").await, "Failed");
    assert_eq!(judge("waiting").await, "InProgress");
    shop.edit_edge_token("valid", |object| object.spec.suspend = true)
        .await;
    shop.edge_token_says("valid", Ready, Reason::Suspended)
        .await;
    assert_eq!(judge("valid").await, "Current");
}
