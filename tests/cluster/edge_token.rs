//! What an API server makes of EdgeTokens: which it refuses, with which rule, and what it fills in.

use edge_credential_operator::api::{EdgeToken, edge_token::RetirementCause};
use kube::{
    Api, CustomResourceExt,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    core::ApiResource,
};
use serde_json::{Value, json};

use kit::harness::*;

/// A control plane of its own, so that no operator and no other test sees a second kind.
async fn scene(name: &str) -> Scene {
    let setup = Setup {
        start: false,
        own_control_plane: true,
        ..Setup::default()
    };
    let scene = setup.scene(name).await;
    let definition = serde_json::to_string(&EdgeToken::crd()).unwrap();
    scene.control_plane.apply(&definition).await.unwrap();
    scene.control_plane.wait_for_definitions().await.unwrap();
    scene
}

fn objects(scene: &Scene) -> Api<DynamicObject> {
    let kind = ApiResource::erase::<EdgeToken>(&());
    let namespace = &scene.namespaces[0].name;
    Api::namespaced_with(scene.client.clone(), namespace, &kind)
}

/// Creates the usual object with this in its spec, and returns it, or what the API server said.
async fn create(scene: &Scene, name: &str, spec: Value) -> Result<DynamicObject, String> {
    let mut all = json!({"credentialsSecretRef": {"name": "edge-client"}});
    for (field, value) in spec.as_object().unwrap() {
        all[field] = value.clone();
    }
    let object = json!({
        "apiVersion": "edgecredentials.io/v1alpha1", "kind": "EdgeToken",
        "metadata": {"name": name}, "spec": all,
    });
    let object = serde_json::from_value(object).unwrap();
    let created = objects(scene).create(&PostParams::default(), &object).await;
    created.map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_token_that_breaks_a_rule_is_refused_with_the_rule() {
    let scene = scene("edge-token").await;
    let deploy = json!({"environmentID": "abc"});
    let url_rule = "must be an http or https URL without user information and fragment";
    let mut surprises = Vec::new();
    for (spec, message) in [
        (
            json!({"tokenAPI": {}, "deployAPI": deploy}),
            "set at most one of tokenAPI and deployAPI",
        ),
        (
            json!({"deployAPI": deploy, "deletionPolicy": "Revoke"}),
            "deletionPolicy must be Keep",
        ),
        (
            json!({"deployAPI": deploy, "rotation": {"every": "48h"}}),
            "keys of the Deploy API are not rotated",
        ),
        (
            json!({"deployAPI": {"environmentID": "a/b"}}),
            "environmentID",
        ),
        (json!({"deployAPI": {}}), "environmentID: Required value"),
        (
            json!({"tokenAPI": {"url": "https://user@edge.example"}}),
            url_rule,
        ),
        (
            json!({"deliveryURL": "https://edge.example/#part"}),
            url_rule,
        ),
        (json!({"tokenAPI": {"scopes": []}}), "spec.tokenAPI.scopes"),
        (
            json!({"tokenAPI": {"scopes": ["a b"]}}),
            "spec.tokenAPI.scopes[0]",
        ),
        (
            json!({"tokenAPI": {"createdBy": ""}}),
            "spec.tokenAPI.createdBy",
        ),
        (
            json!({"rotation": {"every": "30m"}}),
            "must be from 1h to 8760h",
        ),
        (
            json!({"rotation": {"every": "9000h"}}),
            "must be from 1h to 8760h",
        ),
        (
            json!({"rotation": {"every": "soon"}}),
            "spec.rotation.every",
        ),
        (
            json!({"rotation": {"overlap": "1m"}}),
            "must be from 5m to 720h",
        ),
        (
            json!({"rotation": {"every": "47h", "overlap": "24h"}}),
            "overlap must be at most half of every",
        ),
        (json!({"verify": "Maybe"}), "spec.verify"),
        (json!({"deletionPolicy": "Delete"}), "spec.deletionPolicy"),
        (
            json!({"target": {"name": "edge-client"}}),
            "the target must not be the credentials Secret",
        ),
        (
            json!({"target": {"data": [{"key": "url", "from": "DeliveryURL"}]}}),
            "at least one entry must carry the token: from EdgeToken",
        ),
        (
            json!({"target": {"data": [{"key": "key", "from": "AccessToken"}]}}),
            "spec.target.data[0].from",
        ),
        (
            json!({"target": {"annotations": {"edgecredentials.io/edge-token": "x"}}}),
            "keys of kubernetes.io, k8s.io and edgecredentials.io are reserved",
        ),
    ] {
        let said = create(&scene, "edge", spec.clone()).await.err();
        let said = said.unwrap_or_else(|| "accepted".to_owned());
        if !said.contains(message) {
            surprises.push(format!("{spec}: expected {message:?}, got {said}"));
        }
    }
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));

    // Everything that is left out is filled in, but for what stands for the Token API.
    let stored = create(&scene, "edge", json!({})).await.unwrap().data;
    assert_eq!(
        stored["spec"]["deliveryURL"],
        "https://edge.sitecorecloud.io/api/graphql/v1"
    );
    assert_eq!(stored["spec"]["rotation"], json!({"overlap": "24h"}));
    assert_eq!(stored["spec"]["deletionPolicy"], "Keep");
    assert_eq!(stored["status"], json!({"observedGeneration": -1}));

    let change = async |name: &str, spec: Value| {
        let patch = Patch::Merge(json!({"spec": spec}));
        let changed = objects(&scene)
            .patch(name, &PatchParams::default(), &patch)
            .await;
        changed.map(drop).map_err(|error| error.to_string())
    };
    let refused = async |name: &str, spec: Value, message: &str| {
        let said = change(name, spec).await.unwrap_err();
        assert!(said.contains(message), "{said}");
    };
    let said = "the API that the key is from is immutable";
    refused("edge", json!({"deployAPI": deploy}), said).await;
    let said = "the URL of the Token API is immutable";
    refused(
        "edge",
        json!({"tokenAPI": {"url": "https://edge-beta.sitecorecloud.io"}}),
        said,
    )
    .await;
    let said = "the target's name is immutable";
    refused("edge", json!({"target": {"name": "other"}}), said).await;
    // What it has anyway is no change.
    change(
        "edge",
        json!({"tokenAPI": {"scopes": ["audience-delivery"]}}),
    )
    .await
    .unwrap();
    change(
        "edge",
        json!({"target": {"name": "edge"}, "rotation": {"every": "48h"}}),
    )
    .await
    .unwrap();

    let explained = ["explain", "edgetoken.status.retired.cause"];
    let explained = scene.control_plane.kubectl(&explained).await.unwrap();
    let cause = serde_json::to_value(RetirementCause::OverlapEnded).unwrap();
    for text in [cause.as_str().unwrap(), "A person ended its overlap"] {
        assert!(explained.contains(text), "{explained}");
    }
}
