//! Writes of the target that a quota, a policy or a webhook denies: which one is told, without its words, and the token is
//! kept for the next try.

use std::net::{Ipv4Addr, SocketAddr};

use axum::{Router, routing::post};
use base64::{Engine, engine::general_purpose::STANDARD};
use edge_credential_operator::api::ConditionType::Reconciling;
use edge_credential_operator::api::Reason;
use kit::sitecore::{Certificate, TlsFront};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::refusals::is_told;
use kit::harness::*;

/// What the quota, the policy or the webhook says itself, which must not come out anywhere.
const OWN_WORDS: &str = "canary-own-words";

/// A scene with credentials, in which targets may be refused.
async fn scene(prefix: &str) -> Scene {
    let mut scene = Scene::new(prefix, 1).await;
    scene.may_be_refused = |event| event.verb == "create" && event.resource == "secrets";
    scene.namespaces[0].create_credentials().await;
    scene
}

/// Creates what denies Secrets of the name `edge`, and waits until it is in force.
async fn deny(scene: &Scene, denying: &str) {
    let shop = &scene.namespaces[0];
    scene.control_plane.apply(denying).await.unwrap();
    let trial = "create secret generic edge --dry-run=server -n";
    let trial: Vec<_> = trial.split(' ').chain([&*shop.name]).collect();
    shop.until(PATIENCE, "it is in force", async || {
        let tried = scene.control_plane.kubectl(&trial).await;
        tried.is_err().then_some(())
    })
    .await;
}

/// Creates `edge`, whose token is requested once, and whose target cannot be written: that is told and tried again.
async fn is_denied_twice(scene: &Scene, reason: Reason, answer: &str) {
    let shop = &scene.namespaces[0];
    shop.create_object(&shop.edge_credential("edge")).await;
    let refused = format!(
        "Target Secret \"edge\" cannot be written (create, update secrets): the API server answered {answer}"
    );
    is_told(shop, Reconciling, reason, &[&refused, "Attempt 1"]).await;
    shop.object_that("edge", "has tried again", |object| {
        let failures = object.status.as_ref().unwrap().failures.as_ref();
        failures.is_some_and(|failures| failures.count == 2)
    })
    .await;
    assert_eq!(scene.sitecore.requests(CLIENT), 1);
    let told = format!("{:?}", shop.object("edge").await);
    assert!(!told.contains(OWN_WORDS), "{told}");
}

/// Deletes what denied, and expects that the token at hand is written then.
async fn is_written_without(scene: &Scene, denying: [&str; 2]) {
    let [kind, name] = denying;
    let delete = ["delete", kind, name];
    scene.control_plane.kubectl(&delete).await.unwrap();
    scene.namespaces[0].ready("edge").await;
    assert_eq!(scene.sitecore.requests(CLIENT), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_a_policy_denies_is_repeated_and_the_token_is_not_requested_again() {
    for (prefix, reason, code) in [
        ("policy", "reason: Forbidden", 403),
        ("policy-422", "", 422),
    ] {
        let scene = scene(prefix).await;
        let name = &scene.namespaces[0].name;
        deny(&scene, &policy(name, reason)).await;
        let answer = format!("HTTP {code}: admission policy \"{name}\" denies it");
        is_denied_twice(&scene, Reason::TargetWriteForbidden, &answer).await;
        is_written_without(&scene, ["validatingadmissionpolicybinding", name]).await;
    }
}

/// Denies a Secret of the name `edge` in a namespace.
fn policy(namespace: &str, reason: &str) -> String {
    format!(
        "
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{name: {namespace}}}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
    - {{apiGroups: [''], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [secrets]}}
  validations:
  - {{expression: 'object.metadata.name != \"edge\"', message: {OWN_WORDS}, {reason}}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{name: {namespace}}}
spec:
  policyName: {namespace}
  validationActions: [Deny]
  matchResources:
    namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {namespace}}}}}
"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_a_webhook_denies_is_repeated_and_the_token_is_not_requested_again() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let behind = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, Router::new().route("/", post(review))).await });
    let front = TlsFront::before(behind, Certificate::Valid).unwrap();

    let scene = scene("webhook").await;
    let name = &scene.namespaces[0].name;
    deny(&scene, &webhook(name, &front.url(), front.authority())).await;
    let answer = "HTTP 409: admission webhook \"secrets.example.com\" denies it";
    is_denied_twice(&scene, Reason::TargetWriteForbidden, answer).await;
    is_written_without(&scene, ["validatingwebhookconfiguration", name]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_cannot_be_asked_is_told_as_such() {
    let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let closed: SocketAddr = free.local_addr().unwrap();
    drop(free);

    let scene = scene("webhook-away").await;
    let name = &scene.namespaces[0].name;
    deny(&scene, &webhook(name, &format!("https://{closed}"), "")).await;
    let answer = "HTTP 500: admission webhook \"secrets.example.com\" cannot be asked";
    is_denied_twice(&scene, Reason::TargetWriteFailed, answer).await;
    is_written_without(&scene, ["validatingwebhookconfiguration", name]).await;
}

/// Denies what it is asked about, with a status that a conflict has too: it is the webhook's choice.
async fn review(asked: String) -> ([(&'static str, &'static str); 1], String) {
    let asked: Value = serde_json::from_str(&asked).unwrap();
    let denied = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {
            "uid": asked["request"]["uid"],
            "allowed": false,
            "status": {"code": 409, "reason": "Conflict", "message": OWN_WORDS},
        },
    });
    ([("content-type", "application/json")], denied.to_string())
}

/// Asks a webhook about Secrets of the name `edge` in a namespace.
fn webhook(namespace: &str, url: &str, authority: &str) -> String {
    let selector = json!({"matchLabels": {"kubernetes.io/metadata.name": namespace}});
    let rule = json!({
        "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["secrets"],
    });
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": namespace},
        "webhooks": [{
            "name": "secrets.example.com",
            "clientConfig": {"url": url, "caBundle": STANDARD.encode(authority)},
            "rules": [rule],
            "namespaceSelector": selector,
            "matchConditions": [{"name": "target", "expression": "object.metadata.name == 'edge'"}],
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }],
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_a_quota_denies_is_repeated_and_the_token_is_not_requested_again() {
    let scene = scene("quota").await;
    let shop = &scene.namespaces[0];
    // One Secret is there.
    allow_secrets(&scene, 1).await;
    shop.until(PATIENCE, "the quota is in force", async || {
        let trial = ["create", "secret", "generic", "trial", "-n", &shop.name];
        let created = scene.control_plane.kubectl(&trial).await;
        if created.is_ok() {
            shop.delete_secret("trial").await;
        }
        created.is_err().then_some(())
    })
    .await;

    let answer = "HTTP 403: ResourceQuota \"secrets\" would be exceeded";
    is_denied_twice(&scene, Reason::TargetWriteForbidden, answer).await;

    allow_secrets(&scene, 2).await;
    shop.ready("edge").await;
    assert_eq!(scene.sitecore.requests(CLIENT), 1);
}

/// Limits the Secrets of the scene's namespace, in which there is one. The controller that counts what is used isn't at
/// work here, so the count is given too.
async fn allow_secrets(scene: &Scene, number: u32) {
    let namespace = &scene.namespaces[0].name;
    let quota = format!(
        "
apiVersion: v1
kind: ResourceQuota
metadata: {{name: secrets, namespace: {namespace}}}
spec: {{hard: {{count/secrets: '{number}'}}}}
"
    );
    scene.control_plane.apply(&quota).await.unwrap();
    let status = format!(
        r#"{{"status": {{"hard": {{"count/secrets": "{number}"}}, "used": {{"count/secrets": "1"}}}}}}"#
    );
    let patch = [
        "patch",
        "resourcequota",
        "secrets",
        "--subresource=status",
        "--type=merge",
        "-n",
        namespace,
        "-p",
        &status,
    ];
    scene.control_plane.kubectl(&patch).await.unwrap();
}
