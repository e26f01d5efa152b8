//! What stands in the way: people are told what to do, nothing is written, nothing is requested in vain, and all is well as
//! soon as the cause is gone.

use std::time::{Duration, Instant};

use edge_credential_operator::api::ConditionType::{self, Ready, Reconciling, Stalled};
use edge_credential_operator::api::{EdgeCredential, Reason};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kit::sitecore::Scenario;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};

use kit::harness::*;

/// Long enough for the operator to do what it should not.
const A_WHILE: Duration = Duration::from_millis(1500);

/// Waits until `edge` is not ready for this reason, and checks what people and programs are told: that it is `Stalled` where
/// a person has to act, and `Reconciling` where it is tried again by itself.
pub async fn is_told(shop: &Namespace, state: ConditionType, reason: Reason, words: &[&str]) {
    let object = shop.has_reason("edge", reason).await;
    let ready = condition(&object, Ready);
    assert_eq!(ready.status, "False");
    assert_eq!(ready.observed_generation, object.metadata.generation);
    for word in words {
        let message = &ready.message;
        assert!(message.contains(word), "{word:?} is not in {message:?}");
    }
    for type_ in [Reconciling, Stalled] {
        let expected = if type_ == state { "True" } else { "False" };
        assert_eq!(condition(&object, type_).status, expected, "{type_:?}");
    }
    assert_eq!(condition(&object, state).reason, reason.as_str());
    assert_eq!(object.status.unwrap().token, None);
}

/// Waits until the object is ready, and fails where that takes too long.
async fn is_ready_at_once(shop: &Namespace, name: &str) -> EdgeCredential {
    let start = Instant::now();
    let object = shop.ready(name).await;
    let took = start.elapsed();
    assert!(took < AT_ONCE, "ready only after {took:?}");
    for type_ in [Reconciling, Stalled] {
        assert_eq!(condition(&object, type_).status, "False");
    }
    object
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_that_cannot_be_meant_so_are_never_sent() {
    let scene = Scene::new("malformed", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_object(&shop.edge_credential("edge")).await;
    let words = ["\"edge-client\"", "does not exist", "create it"];
    is_told(shop, Reconciling, Reason::CredentialsNotFound, &words).await;

    shop.create_secret(CREDENTIALS, &[("client_id", CLIENT)])
        .await;
    let words = [
        "\"client_secret\"",
        "is missing",
        "spec.credentialsSecretRef",
    ];
    is_told(shop, Stalled, Reason::CredentialsMalformed, &words).await;

    for (secret, word) in [
        ("edge-client-secret\n", "newline"),
        (" edge-client-secret", "white space"),
        ("", "is empty"),
        ("edge\0client", "printable ASCII"),
    ] {
        shop.replace_data(CREDENTIALS, &credentials(CLIENT, secret))
            .await;
        let what = format!("says {word:?}");
        shop.object_that("edge", &what, |object| {
            condition(object, Ready).message.contains(word)
        })
        .await;
        let words = ["\"client_secret\"", word];
        is_told(shop, Stalled, Reason::CredentialsMalformed, &words).await;
    }

    shop.delete_secret(CREDENTIALS).await;
    shop.has_reason("edge", Reason::CredentialsNotFound).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(scene.sitecore.total_requests(), 0);
    assert_eq!(shop.secrets.get_opt("edge").await.unwrap(), None);

    shop.create_credentials().await;
    is_ready_at_once(shop, "edge").await;
    assert_eq!(scene.sitecore.total_requests(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_client_secret_is_tried_once_and_again_at_once_when_it_changes() {
    let scene = Scene::new("wrong-secret", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_secret(CREDENTIALS, &credentials(CLIENT, "wrong"))
        .await;
    shop.create_object(&shop.edge_credential("edge")).await;
    // Identity providers take a moment to agree on a new secret, so it's tried some more times before a person is called.
    let words = ["401", "Attempt 1 failed", "next one is at"];
    is_told(shop, Reconciling, Reason::CredentialsRejected, &words).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(scene.sitecore.requests(CLIENT), 1);
    assert_eq!(shop.secrets.get_opt("edge").await.unwrap(), None);

    shop.replace_data(CREDENTIALS, &credentials(CLIENT, SECRET))
        .await;
    let object = is_ready_at_once(shop, "edge").await;
    assert_eq!(object.status.unwrap().failures, None);
    assert_eq!(scene.sitecore.requests(CLIENT), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_not_repeated_after_a_restart_and_ends_with_a_changed_spec() {
    let mut scene = Scene::new("refused", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    let mut object = shop.edge_credential("edge");
    object.spec.token_request.audience = "https://not-granted.example.com".to_owned();
    scene.sitecore.set_scenario(
        CLIENT,
        Scenario::no_client_grant(&object.spec.token_request.audience),
    );
    shop.create_object(&object).await;
    let words = ["403", "Attempt 1"];
    is_told(shop, Reconciling, Reason::ClientNotAllowed, &words).await;

    scene.operator.kill();
    scene.operator.start().await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(scene.sitecore.requests(CLIENT), 1);

    scene.sitecore.back_to_normal();
    let audience = shop.edge_credential("edge").spec.token_request.audience;
    shop.edit("edge", |object| {
        object.spec.token_request.audience.clone_from(&audience)
    })
    .await;
    is_ready_at_once(shop, "edge").await;
    assert_eq!(scene.sitecore.requests(CLIENT), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_is_down_is_tried_again_until_it_is_back() {
    let scene = Scene::new("down", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    scene.sitecore.go_down();
    shop.create_object(&shop.edge_credential("edge")).await;
    let words = ["refused", "tried again every few seconds"];
    is_told(shop, Reconciling, Reason::TokenEndpointUnavailable, &words).await;
    assert_eq!(scene.sitecore.requests(CLIENT), 0);

    scene.sitecore.come_back().unwrap();
    shop.ready("edge").await;
    assert_eq!(scene.sitecore.requests(CLIENT), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_secret_is_never_touched() {
    let scene = Scene::new("foreign", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    let foreign = shop
        .create_secret("edge", &[("access_token", "mine")])
        .await;
    shop.create_object(&shop.edge_credential("edge")).await;
    let words = [
        "\"edge\"",
        "left alone",
        "delete or rename it",
        "spec.target.name",
    ];
    is_told(shop, Stalled, Reason::TargetNotOwned, &words).await;

    // Not even when a person insists.
    shop.annotate("edge", "edgecredentials.io/renew-requested-at", "now")
        .await;
    shop.edit("edge", |object| {
        object.spec.target.labels = [("team".to_owned(), "web".to_owned())].into()
    })
    .await;
    shop.has_reason("edge", Reason::TargetNotOwned).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(shop.secret("edge").await, foreign);
    assert_eq!(scene.sitecore.requests(CLIENT), 0);

    shop.delete_secret("edge").await;
    is_ready_at_once(shop, "edge").await;
    assert_eq!(scene.sitecore.requests(CLIENT), 1);

    // A target that lost its owner, and with it what proves for whom it was made, is foreign too.
    let orphan = shop
        .edit_secret("edge", |secret| {
            secret.metadata.owner_references = None;
            secret.metadata.annotations = None;
        })
        .await;
    let object = shop.has_reason("edge", Reason::TargetNotOwned).await;
    assert_eq!(condition(&object, Stalled).status, "True");
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(shop.secret("edge").await, orphan);
    assert_eq!(scene.sitecore.requests(CLIENT), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_objects_cannot_have_the_same_target() {
    let scene = Scene::new("conflict", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    shop.create_ready("first").await;
    let target = shop.secret("first").await;

    let mut second = shop.edge_credential("edge");
    second.spec.target.name = Some("first".to_owned());
    shop.create_object(&second).await;
    let words = ["\"first\"", "another object", "spec.target.name"];
    is_told(shop, Stalled, Reason::TargetConflict, &words).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(shop.secret("first").await, target);
    assert_eq!(scene.sitecore.requests(CLIENT), 1);

    // The first goes, its target with it, and the second takes over with the token that is in memory.
    shop.delete_object("first").await;
    shop.ready("edge").await;
    assert_eq!(scene.sitecore.requests(CLIENT), 1);
    let owners = shop
        .secret("first")
        .await
        .metadata
        .owner_references
        .unwrap();
    assert_eq!(owners[0].name, "edge");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_immutable_target_is_written_again_once_it_is_deleted() {
    let scene = Scene::new("frozen", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    shop.create_ready("edge").await;
    shop.edit_secret("edge", |secret| secret.immutable = Some(true))
        .await;
    let object = shop
        .object_that("edge", "is stalled", |object| {
            let stalled = condition(object, Stalled);
            stalled.status == "True" && stalled.reason == Reason::TargetImmutable.as_str()
        })
        .await;
    // Its token is as good as before.
    assert_eq!(condition(&object, Ready).status, "True");

    shop.delete_secret("edge").await;
    shop.object_that("edge", "has nothing in its way", |object| {
        condition(object, Stalled).status == "False"
    })
    .await;
    is_ready_at_once(shop, "edge").await;
    assert_eq!(scene.sitecore.requests(CLIENT), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_is_not_allowed_is_sent_nothing() {
    let scene = Scene::new("origin", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    let elsewhere = kit::sitecore::Sitecore::start().unwrap();
    elsewhere.add_client(CLIENT, SECRET);
    let allowed = shop.edge_credential("edge").spec.token_request.url;
    let mut object = shop.edge_credential("edge");
    object.spec.token_request.url = elsewhere.token_url();
    shop.create_object(&object).await;
    let words = [
        elsewhere.url(),
        "--allowed-token-origin",
        "spec.tokenRequest.url",
    ];
    is_told(shop, Stalled, Reason::TokenOriginNotAllowed, &words).await;

    // The same host by another name is another origin.
    let by_name = allowed.replace("127.0.0.1", "localhost");
    shop.edit("edge", |object| {
        object.spec.token_request.url.clone_from(&by_name)
    })
    .await;
    is_told(shop, Stalled, Reason::TokenOriginNotAllowed, &["localhost"]).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(elsewhere.calls().iter().count(), 0);
    assert_eq!(scene.sitecore.total_requests(), 0);
    assert_eq!(shop.secrets.get_opt("edge").await.unwrap(), None);

    shop.edit("edge", |object| {
        object.spec.token_request.url.clone_from(&allowed)
    })
    .await;
    is_ready_at_once(shop, "edge").await;
    assert_eq!(scene.sitecore.requests(CLIENT), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_right_is_named_and_its_grant_is_noticed() {
    let setup = Setup {
        start: false,
        ..Setup::default()
    };
    let mut scene = setup.scene("rights").await;
    scene.may_be_refused = |event| event.resource == "secrets";
    let shop = &scene.namespaces[0];
    // Of the rights on Secrets only those that a watch needs.
    set_verbs(&scene, &["list", "watch"]).await;
    cannot(&scene, "get").await;
    shop.create_credentials().await;
    shop.create_object(&shop.edge_credential("edge")).await;
    scene.operator.start().await;
    let shop = &scene.namespaces[0];
    let words = [
        "\"edge-client\"",
        "get secrets",
        "HTTP 403: the operator lacks the right",
    ];
    is_told(shop, Stalled, Reason::RBACMissing, &words).await;

    // Two Secrets cannot be read, but the status does not go back and forth between them.
    let told = shop.object("edge").await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(shop.object("edge").await, told);
    assert_eq!(scene.sitecore.total_requests(), 0);

    set_verbs(&scene, &["get", "create", "update", "list", "watch"]).await;
    shop.ready("edge").await;
    assert_eq!(scene.sitecore.total_requests(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_to_write_that_is_missing_is_known_before_a_token_is_requested() {
    let mut scene = Scene::new("write-rights", 1).await;
    scene.may_be_refused = |event| event.verb == "update" && event.resource == "secrets";
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    set_verbs(&scene, &["get", "update", "list", "watch"]).await;
    cannot(&scene, "create").await;
    shop.create_object(&shop.edge_credential("edge")).await;
    let words = ["\"edge\"", "may not create secrets"];
    is_told(shop, Stalled, Reason::RBACMissing, &words).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(scene.sitecore.total_requests(), 0);

    set_verbs(&scene, &["get", "create", "list", "watch"]).await;
    shop.ready("edge").await;
    assert_eq!(scene.sitecore.total_requests(), 1);

    // A renewal is not asked about: the token that is there stays, and the new one is kept.
    cannot(&scene, "update").await;
    shop.annotate("edge", "edgecredentials.io/renew-requested-at", "now")
        .await;
    let told = shop
        .object_that("edge", "could not be written", |object| {
            condition(object, Reconciling).reason == Reason::TargetWriteForbidden.as_str()
        })
        .await;
    assert_eq!(condition(&told, Ready).status, "True");
    assert_eq!(scene.sitecore.total_requests(), 2);

    // In place of a token for another spec, none is requested.
    shop.edit("edge", |object| {
        object.spec.token_request.scopes = vec!["edge.token:manage".to_owned()];
    })
    .await;
    let words = ["\"edge\"", "may not update secrets"];
    is_told(shop, Stalled, Reason::RBACMissing, &words).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(scene.sitecore.total_requests(), 2);

    set_verbs(&scene, &["get", "create", "update", "list", "watch"]).await;
    shop.ready("edge").await;
    assert_eq!(scene.sitecore.total_requests(), 3);
}

/// Waits until the operator may not do this with Secrets: roles take a moment.
pub async fn cannot(scene: &Scene, verb: &str) {
    let shop = &scene.namespaces[0];
    let user = &scene.operator.user;
    let may_i = [
        "auth", "can-i", verb, "secrets", "-n", &shop.name, "--as", user,
    ];
    shop.until(PATIENCE, "the role is in force", async || {
        // kubectl fails where the answer is no.
        scene
            .control_plane
            .kubectl(&may_i)
            .await
            .is_err()
            .then_some(())
    })
    .await;
}

/// Changes what the operator may do with Secrets.
pub async fn set_verbs(scene: &Scene, verbs: &[&str]) {
    let shop = &scene.namespaces[0];
    let roles = Api::<Role>::namespaced(scene.client.clone(), &shop.name);
    let mut all = roles.list(&ListParams::default()).await.unwrap().items;
    let role = &mut all[0];
    let rules = role.rules.as_mut().unwrap().iter_mut();
    for rule in rules.filter(|rule| rule.resources == Some(vec!["secrets".to_owned()])) {
        rule.verbs = verbs.iter().map(|verb| (*verb).to_owned()).collect();
    }
    let name = role.metadata.name.clone().unwrap();
    roles
        .replace(&name, &PostParams::default(), role)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_taken_away_in_one_namespace_stop_its_objects_only_and_until_they_are_given_back() {
    let mut scene = Scene::new("revoked", 2).await;
    scene.may_be_refused = |event| event.namespace == "revoked-1";
    let [shop, other] = &scene.namespaces[..] else {
        panic!("two namespaces");
    };
    for namespace in [shop, other] {
        namespace.create_credentials().await;
        let mut object = namespace.edge_credential("edge");
        // Else they would share a token.
        object.spec.token_request.scopes = vec![namespace.name.clone()];
        namespace.create_object(&object).await;
        namespace.ready("edge").await;
    }
    let bindings = Api::<RoleBinding>::namespaced(scene.client.clone(), &shop.name);
    let mut binding = bindings.list(&ListParams::default()).await.unwrap().items;
    let mut binding = binding.pop().expect("the chart's RoleBinding");
    let name = binding.metadata.name.clone().unwrap();
    bindings
        .delete(&name, &DeleteParams::default())
        .await
        .unwrap();
    cannot(&scene, "get").await;

    for namespace in [shop, other] {
        namespace
            .annotate("edge", "edgecredentials.io/renew-requested-at", "now")
            .await;
    }
    other
        .object_that("edge", "is renewed", |object| {
            let status = object.status.as_ref().unwrap();
            status.last_handled_renew_request.is_some()
        })
        .await;
    shop.until(PATIENCE, "the operator has tried twice", async || {
        let refused = scene.audit_events().into_iter().filter(|event| {
            event.code == 403 && event.namespace == shop.name && event.verb == "patch"
        });
        (refused.count() >= 2).then_some(())
    })
    .await;
    let handled = |object: &EdgeCredential| {
        let status = object.status.as_ref().unwrap();
        status.last_handled_renew_request.is_some()
    };
    assert!(!handled(&shop.object("edge").await));
    assert_eq!(scene.sitecore.requests(CLIENT), 3, "two at first, and one");

    binding.metadata.resource_version = None;
    bindings
        .create(&PostParams::default(), &binding)
        .await
        .unwrap();
    let object = shop.object_that("edge", "is renewed", handled).await;
    assert_eq!(condition(&object, Stalled).status, "False");
    assert_eq!(scene.sitecore.requests(CLIENT), 4);
    assert!(scene.operator.process().is_running());
}
