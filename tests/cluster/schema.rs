//! What the API server refuses by the schema and its rules, and what it tells people about it.

use std::collections::BTreeMap;

use edge_credential_operator::api::EdgeCredential;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use kit::{
    harness::*,
    schema_corpus::{self, merge, names},
};

/// The scene has no operator: all of this is the API server's work.
async fn scene(name: &str) -> Scene {
    let setup = Setup {
        start: false,
        ..Setup::default()
    };
    setup.scene(name).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spec_that_breaks_a_rule_is_refused_with_the_rule() {
    let scene = scene("schema").await;
    let mut surprises = Vec::new();
    for (patch, message) in schema_corpus::refused() {
        let answer = create(&scene, &patch).await;
        let said = answer.err().unwrap_or_else(|| "accepted".to_owned());
        if !said.contains(message) {
            surprises.push(format!("{patch}: expected {message:?}, got {said}"));
        }
    }
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_name_of_the_target_cannot_be_changed() {
    let scene = scene("immutable").await;
    create(&scene, &json!({})).await.unwrap();
    let renamed = json!({"target": {"name": "other"}});
    let said = change(&scene, &renamed).await.unwrap_err();
    assert!(said.contains("the target's name is immutable"), "{said}");

    // To write down the name that it has anyway is no change, and everything else may change.
    for patch in [
        json!({"target": {"name": "edge"}}),
        json!({"tokenRequest": {"audience": "https://other"}}),
    ] {
        change(&scene, &patch).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_field_names_another_namespace() {
    let scene = scene("bounds").await;
    create(&scene, &json!({})).await.unwrap();
    for patch in [
        json!({"credentialsSecretRef": {"namespace": "other"}}),
        json!({"target": {"namespace": "other"}}),
    ] {
        let said = change(&scene, &patch).await.unwrap_err();
        assert!(said.contains("unknown field"), "{patch}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_explains_every_field() {
    let scene = scene("explain").await;
    let explain = async |path: &str| {
        let text = scene
            .control_plane
            .kubectl(&["explain", path])
            .await
            .unwrap();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let text = explain("edgecredential.spec.tokenRequest.url").await;
    assert!(
        text.contains("The token endpoint. Its origin (scheme, host and port) must be one"),
        "{text}"
    );
    let text = explain("edgecred.spec.target.data.from").await;
    for part in [
        "AccessToken Authorization TokenType",
        "- `Authorization`: `Bearer <token>`, the value of an `Authorization` header.",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let text = explain("ecred.status.failures.nextAttemptAt").await;
    assert!(text.contains("When the next one is made"), "{text}");

    let fields = scene
        .control_plane
        .kubectl(&["explain", "ecred.spec", "--recursive"])
        .await
        .unwrap();
    assert!(!fields.to_lowercase().contains("namespace"), "{fields}");
    let all = scene
        .control_plane
        .kubectl(&["explain", "ecred.spec"])
        .await
        .unwrap();
    assert!(!all.contains("<no description>"), "{all}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_defaults_are_sitecores() {
    let scene = scene("defaults").await;
    let shop = &scene.namespaces[0];
    let minimal = json!({
        "apiVersion": "edgecredentials.io/v1alpha1",
        "kind": "EdgeCredential",
        "metadata": {"name": "edge", "namespace": shop.name},
        "spec": {"credentialsSecretRef": {"name": CREDENTIALS}},
    });
    scene
        .control_plane
        .apply(&minimal.to_string())
        .await
        .unwrap();
    let object = shop.object("edge").await;
    let unseen = json!({"observedGeneration": -1});
    assert_eq!(serde_json::to_value(&object.status).unwrap(), unseen);
    let stored = serde_json::to_value(object.spec).unwrap();
    assert_eq!(
        stored,
        json!({
            "credentialsSecretRef": {"name": CREDENTIALS, "clientIDKey": "client_id", "clientSecretKey": "client_secret"},
            "tokenRequest": {
                "url": "https://auth.sitecorecloud.io/oauth/token",
                "audience": "https://api.sitecorecloud.io",
                "format": "Form",
                "clientAuthentication": "ClientSecretPost",
                "tokenFormat": "JWT",
            },
            "suspend": false,
            "target": {},
        })
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_are_found_by_what_they_name_and_whether_they_are_suspended() {
    let scene = scene("selectable").await;
    create(
        &scene,
        &json!({"target": {"name": "edge-jwt"}, "suspend": true}),
    )
    .await
    .unwrap();
    for (selector, found) in [
        (format!("spec.credentialsSecretRef.name={CREDENTIALS}"), 1),
        ("spec.credentialsSecretRef.name=other".into(), 0),
        ("spec.target.name=edge-jwt,spec.suspend=true".into(), 1),
        ("spec.suspend=false".into(), 0),
    ] {
        let params = ListParams::default().fields(&selector);
        let list = objects(&scene).list(&params).await.unwrap();
        assert_eq!(list.items.len(), found, "{selector}");
    }
}

/// A text of so many bytes as stored, of which no character takes one.
fn costly(size: usize) -> String {
    "<".repeat(size / 6) + &"\"".repeat(size % 6 / 2) + &"a".repeat(size % 2)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_object_takes_less_than_64_kib_as_stored() {
    let scene = scene("largest").await;
    let long = |length| "a".repeat(length);
    let labels: Map<_, _> = names(16, 63)
        .map(|name| (format!("{}/{name}", long(253)), long(63).into()))
        .collect();
    // The keys of annotations, and the names of parameters, count among their bytes.
    let of_size = |count: usize, key: usize, size: usize| -> Map<_, _> {
        names(count, key)
            .map(|name| (name, costly(size / count - key).into()))
            .collect()
    };
    let annotations = of_size(16, 63, 8192);
    let parameters = of_size(16, 128, 4096);
    let mut data: Vec<_> = names(32, 253)
        .map(|key| json!({"key": key, "from": "OrganizationID"}))
        .collect();
    data[0]["from"] = json!("Authorization");
    for entry in &mut data[1..3] {
        *entry = json!({"key": entry["key"], "value": costly(4096)});
    }
    let url = "https://a/";
    let spec = json!({
        "credentialsSecretRef": {"name": long(253), "clientIDKey": long(253), "clientSecretKey": long(253)},
        "tokenRequest": {
            "url": format!("{url}{}", long(2048 - url.len())),
            "audience": costly(1024),
            "scopes": names(16, 128).collect::<Vec<_>>(),
            "extraParameters": parameters,
            "format": "Form",
            "clientAuthentication": "ClientSecretBasic",
            "tokenFormat": "JWT",
        },
        "renewBefore": "1.11111111h".repeat(2) + "1.1111111h",
        "suspend": false,
        "target": {"name": format!("b{}", long(252)), "labels": labels, "annotations": annotations, "data": data},
    });
    let time = "2026-11-25T02:41:50.123456Z";
    let condition = |type_: String| {
        json!({
            "type": type_,
            "status": "Unknown",
            "reason": long(64),
            "message": "\"".repeat(1024),
            "observedGeneration": i64::MAX,
            "lastTransitionTime": "2026-11-25T02:41:50Z",
        })
    };
    let status = json!({
        "observedGeneration": i64::MAX,
        "conditions": names(4, 64).map(condition).collect::<Vec<_>>(),
        "token": {
            "issuedAt": time,
            "expiresAt": time,
            "renewAt": time,
            "audience": costly(1024),
            "scope": long(4096),
            "tenantID": long(128),
            "organizationID": long(128),
        },
        "credentials": {"uid": long(64), "resourceVersion": long(64)},
        "target": {"name": long(253), "uid": long(64), "resourceVersion": long(64)},
        "failures": {
            "count": i32::MAX,
            "reason": long(64),
            "lastAttemptAt": time,
            "nextAttemptAt": time,
        },
        "lastHandledRenewRequest": "<".repeat(64),
    });
    create(&scene, &spec).await.unwrap();
    let patch = Patch::Merge(json!({"status": status}));
    objects(&scene)
        .patch_status("edge", &PatchParams::default(), &patch)
        .await
        .unwrap();

    let namespace = &scene.namespaces[0].name;
    let path = format!("edgecredentials.io/edgecredentials/{namespace}/edge");
    let stored = scene.control_plane.stored_bytes(&path).await.unwrap();
    let stored = String::from_utf8(stored.expect("the object")).unwrap();
    // What the API server adds of itself, and who wrote which field, is not of the user's making.
    let parts: BTreeMap<&str, &RawValue> = serde_json::from_str(&stored).unwrap();
    let size = parts["spec"].get().len() + parts["status"].get().len();
    println!("{size} of {} bytes as stored", stored.len());
    assert!((50_000..64 * 1024).contains(&size), "{size}");

    // One more of anything is too much.
    let largest = objects(&scene).get("edge").await.unwrap();
    let many = |count| -> Map<_, _> { names(count, 2).map(|name| (name, "".into())).collect() };
    let first = |length| names(1, length).next().unwrap();
    for (path, value) in [
        (
            "/tokenRequest/url",
            json!(format!("{url}{}", long(2049 - url.len()))),
        ),
        ("/tokenRequest/audience", json!(costly(1025))),
        (
            "/tokenRequest/scopes",
            names(17, 2).collect::<Vec<_>>().into(),
        ),
        ("/tokenRequest/scopes/0", json!(long(129))),
        ("/tokenRequest/extraParameters", many(17).into()),
        (
            &format!("/tokenRequest/extraParameters/{}", first(128)),
            json!(costly(129)),
        ),
        ("/target/annotations", many(17).into()),
        (
            &format!("/target/annotations/{}", first(63)),
            json!(costly(450)),
        ),
        ("/target/labels", many(17).into()),
        ("/target/data/3", json!({"key": "a", "value": "a"})),
        (
            "/target/data",
            names(33, 2)
                .map(|key| json!({"key": key, "from": "AccessToken"}))
                .collect::<Vec<_>>()
                .into(),
        ),
    ] {
        let mut larger = largest.clone();
        *larger.data["spec"].pointer_mut(path).unwrap() = value;
        let refused = objects(&scene)
            .replace("edge", &PostParams::default(), &larger)
            .await;
        let said = message(refused.expect_err(path));
        assert!(said.contains("is invalid"), "{path}: {said}");
    }
    for (path, value) in [
        ("/conditions/0/message", json!("a".repeat(1025))),
        ("/conditions/0/message", json!("<")),
        ("/conditions/0/message", json!("é")),
        ("/conditions/0/reason", json!("a".repeat(65))),
        (
            "/conditions",
            names(5, 1).map(condition).collect::<Vec<_>>().into(),
        ),
        ("/token/scope", json!("a".repeat(4097))),
        ("/token/scope", json!("<")),
        ("/token/audience", json!(costly(1025))),
    ] {
        let mut larger = largest.clone();
        *larger.data["status"].pointer_mut(path).unwrap() = value;
        let refused = objects(&scene)
            .replace_status("edge", &PostParams::default(), &larger)
            .await;
        let said = message(refused.expect_err(path));
        assert!(said.contains("is invalid"), "{path}: {said}");
    }
}

/// Creates a sound EdgeCredential with a merge patch on its spec; in vain, returns what the API server says.
async fn create(scene: &Scene, patch: &Value) -> Result<(), String> {
    let mut spec = json!({"credentialsSecretRef": {"name": CREDENTIALS}});
    merge(&mut spec, patch);
    let mut object = DynamicObject::new("edge", &ApiResource::erase::<EdgeCredential>(&()));
    object.data = json!({"spec": spec});
    let created = objects(scene).create(&PostParams::default(), &object).await;
    created.map(drop).map_err(message)
}

/// Changes it with a merge patch.
async fn change(scene: &Scene, patch: &Value) -> Result<(), String> {
    let patch = Patch::Merge(json!({"spec": patch}));
    let params = PatchParams::default().validation_strict();
    let changed = objects(scene).patch("edge", &params, &patch).await;
    changed.map(drop).map_err(message)
}

/// Untyped: much of this does not fit the type.
fn objects(scene: &Scene) -> Api<DynamicObject> {
    let kind = ApiResource::erase::<EdgeCredential>(&());
    Api::namespaced_with(scene.client.clone(), &scene.namespaces[0].name, &kind)
}

fn message(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        error => panic!("{error}"),
    }
}
