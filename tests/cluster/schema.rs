//! What the API server refuses by the schema and its rules, and what it tells people about it.

use std::collections::BTreeMap;

use edge_credential_operator::api::EdgeCredential;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use kit::harness::*;

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
    let long = "x".repeat(5000);
    let url_rule = "must be an http or https URL without user information and fragment";
    let standard_rule = "must not redefine a standard parameter";
    let reserved_rule = "keys of kubernetes.io, k8s.io and edgecredentials.io are reserved";
    let token = json!({"key": "token", "from": "AccessToken"});
    let mut surprises = Vec::new();
    for (patch, message) in [
        // Names of Secrets.
        (
            json!({"credentialsSecretRef": null}),
            "spec.credentialsSecretRef: Required value",
        ),
        (
            json!({"credentialsSecretRef": {"name": ""}}),
            "spec.credentialsSecretRef.name",
        ),
        (
            json!({"credentialsSecretRef": {"name": "Edge_Client"}}),
            "spec.credentialsSecretRef.name",
        ),
        (
            json!({"credentialsSecretRef": {"name": "edge"}}),
            "the target must not be the credentials Secret",
        ),
        (
            json!({"target": {"name": CREDENTIALS}}),
            "the target must not be the credentials Secret",
        ),
        (json!({"target": {"name": "../edge"}}), "spec.target.name"),
        (json!({"target": {"name": "a..b"}}), "spec.target.name"),
        (
            json!({"credentialsSecretRef": {"name": "a.-b"}}),
            "spec.credentialsSecretRef.name",
        ),
        (
            json!({"credentialsSecretRef": {"clientSecretKey": "..data"}}),
            "spec.credentialsSecretRef.clientSecretKey",
        ),
        (
            json!({"credentialsSecretRef": {"clientIDKey": "a/b"}}),
            "spec.credentialsSecretRef.clientIDKey",
        ),
        // The request.
        (
            json!({"tokenRequest": {"url": "https://user:pass@auth.example.com/token"}}),
            url_rule,
        ),
        (
            json!({"tokenRequest": {"url": "https://user@auth.example.com/token"}}),
            url_rule,
        ),
        (
            json!({"tokenRequest": {"url": "https://auth.example.com/token#part"}}),
            url_rule,
        ),
        (
            json!({"tokenRequest": {"url": "https://auth.example.com/to ken"}}),
            url_rule,
        ),
        (
            json!({"tokenRequest": {"url": "ftp://auth.example.com/token"}}),
            url_rule,
        ),
        (
            json!({"tokenRequest": {"url": "auth.example.com/token"}}),
            url_rule,
        ),
        (
            json!({"tokenRequest": {"url": ""}}),
            "spec.tokenRequest.url",
        ),
        (
            json!({"tokenRequest": {"url": format!("https://auth.example.com/{long}")}}),
            "spec.tokenRequest.url: Too long",
        ),
        (
            json!({"tokenRequest": {"audience": long}}),
            "spec.tokenRequest.audience: Too long",
        ),
        (
            json!({"tokenRequest": {"scopes": ["two words"]}}),
            "spec.tokenRequest.scopes[0]",
        ),
        (
            json!({"tokenRequest": {"scopes": ["quote\""]}}),
            "spec.tokenRequest.scopes[0]",
        ),
        (
            json!({"tokenRequest": {"scopes": [""]}}),
            "spec.tokenRequest.scopes[0]",
        ),
        (
            json!({"tokenRequest": {"scopes": ["one", "one"]}}),
            "spec.tokenRequest.scopes[1]: Duplicate value",
        ),
        (
            json!({"tokenRequest": {"scopes": names(17, 1).collect::<Vec<_>>()}}),
            "spec.tokenRequest.scopes: Too many",
        ),
        (
            json!({"tokenRequest": {"extraParameters": {"client_secret": "mine"}}}),
            standard_rule,
        ),
        (
            json!({"tokenRequest": {"extraParameters": {"grant_type": "password"}}}),
            standard_rule,
        ),
        (
            json!({"tokenRequest": {"extraParameters": {"audience": "other"}}}),
            standard_rule,
        ),
        (
            json!({"tokenRequest": {"extraParameters": {"a b": "c"}}}),
            "names are 1 to 128 letters",
        ),
        (
            json!({"tokenRequest": {"extraParameters": {"organization": long}}}),
            "spec.tokenRequest.extraParameters.organization: Too long",
        ),
        (
            json!({"tokenRequest": {"format": "XML"}}),
            "supported values: \"Form\", \"JSON\"",
        ),
        (
            json!({"tokenRequest": {"clientAuthentication": "Query"}}),
            "supported values: \"ClientSecretPost\", \"ClientSecretBasic\"",
        ),
        (
            json!({"tokenRequest": {"tokenFormat": "Opaque"}}),
            "supported values: \"JWT\", \"Any\"",
        ),
        (
            json!({"tokenRequest": {"extraParameters": {"client_assertions": "x"}}}),
            standard_rule,
        ),
        (
            json!({"tokenRequest": {"extraParameters": {"organization": "é"}}}),
            "spec.tokenRequest.extraParameters.organization",
        ),
        (
            json!({"tokenRequest": {"audience": "é"}}),
            "spec.tokenRequest.audience",
        ),
        (
            json!({"tokenRequest": {"url": "https:\\\\auth.example.com"}}),
            url_rule,
        ),
        (
            json!({"tokenRequest": {"url": "https://é.example"}}),
            url_rule,
        ),
        // The time.
        (
            json!({"renewBefore": "1h", "renewBeforePercentage": 5}),
            "set at most one of renewBefore and renewBeforePercentage",
        ),
        (
            json!({"renewBeforePercentage": 0}),
            "spec.renewBeforePercentage",
        ),
        (
            json!({"renewBeforePercentage": 100}),
            "spec.renewBeforePercentage",
        ),
        (json!({"renewBefore": "8 hours"}), "spec.renewBefore"),
        (json!({"renewBefore": "-1h"}), "spec.renewBefore"),
        (json!({"renewBefore": "90"}), "spec.renewBefore"),
        (json!({"renewBefore": ""}), "spec.renewBefore"),
        (json!({"renewBefore": 90}), "spec.renewBefore"),
        (json!({"suspend": "yes"}), "spec.suspend"),
        // The target.
        (json!({"target": {"data": []}}), "spec.target.data"),
        (
            json!({"target": {"data": [{"key": "type", "from": "TokenType"}]}}),
            "at least one entry must carry the token",
        ),
        (
            json!({"target": {"data": [{"key": "url", "value": "x"}]}}),
            "at least one entry must carry the token",
        ),
        (
            json!({"target": {"data": [token, {"key": "both", "from": "Scope", "value": "x"}]}}),
            "set exactly one of from and value",
        ),
        (
            json!({"target": {"data": [token, {"key": "neither"}]}}),
            "set exactly one of from and value",
        ),
        (
            json!({"target": {"data": [token, {"key": "secret", "from": "ClientSecret"}]}}),
            "spec.target.data[1].from: Unsupported value",
        ),
        (
            json!({"target": {"data": [token, {"key": "token", "value": "x"}]}}),
            "spec.target.data[1]: Duplicate value",
        ),
        (
            json!({"target": {"data": [token, {"key": "a/b", "value": "x"}]}}),
            "spec.target.data[1].key",
        ),
        (
            json!({"target": {"data": [token, {"key": "long", "value": long}]}}),
            "spec.target.data[1].value: Too long",
        ),
        (
            json!({"target": {"labels": {"app.kubernetes.io/managed-by": "me"}}}),
            reserved_rule,
        ),
        (
            json!({"target": {"labels": {"k8s.io/x": "y"}}}),
            reserved_rule,
        ),
        (
            json!({"target": {"annotations": {"edgecredentials.io/token": "forged"}}}),
            reserved_rule,
        ),
        (
            json!({"target": {"annotations": {"kubernetes.io/service-account.name": "x"}}}),
            reserved_rule,
        ),
        (
            json!({"target": {"labels": {"not a key": "x"}}}),
            "keys must be valid label or annotation keys",
        ),
        (
            json!({"target": {"labels": {"a..b/c": "x"}}}),
            "keys must be valid label or annotation keys",
        ),
        (
            json!({"target": {"annotations": {format!("{}/c", "a".repeat(254)): "x"}}}),
            "keys must be valid label or annotation keys",
        ),
        (
            json!({"target": {"labels": {"edgecredentials.io/name": "x"}}}),
            reserved_rule,
        ),
        (
            json!({"target": {"annotations": {"app.kubernetes.io/name": "x"}}}),
            reserved_rule,
        ),
        (
            json!({"target": {"labels": {"team": "not a value"}}}),
            "spec.target.labels",
        ),
        (
            json!({"target": {"data": [token, {"key": "..data", "value": "x"}]}}),
            "spec.target.data[1].key",
        ),
        (
            json!({"target": {"data": [token, {"key": ".", "value": "x"}]}}),
            "spec.target.data[1].key",
        ),
    ] {
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

/// So many names that are as long as they may be.
fn names(count: usize, length: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |number| format!("{number:a>length$}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_object_takes_less_than_64_kib_as_stored() {
    let scene = scene("largest").await;
    let long = |length| "a".repeat(length);
    let labels: Map<_, _> = names(16, 63)
        .map(|name| (format!("{}/{name}", long(253)), long(63).into()))
        .collect();
    // The keys of annotations, and the names of parameters, count among their bytes.
    let annotations = json!({"a": costly(4096), "b": costly(4094)});
    let parameters: Map<_, _> = names(4, 128)
        .map(|name| (name, costly(1024 - 128).into()))
        .collect();
    let mut data: Vec<_> = names(32, 253)
        .map(|key| json!({"key": key, "from": "Authorization"}))
        .collect();
    for entry in &mut data[..2] {
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
        "renewBefore": "999999999h".repeat(3),
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
            "credentialsResourceVersion": long(64),
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
    type Edit = fn(&mut Value);
    let more: [(&str, Edit); 9] = [
        ("url", |spec| {
            let url = spec["tokenRequest"]["url"].as_str().unwrap();
            spec["tokenRequest"]["url"] = json!(format!("{url}a"));
        }),
        ("audience", |spec| {
            spec["tokenRequest"]["audience"] = json!(costly(1025));
        }),
        ("scopes", |spec| {
            spec["tokenRequest"]["scopes"] = json!(names(17, 1).collect::<Vec<_>>());
        }),
        ("scope", |spec| {
            spec["tokenRequest"]["scopes"][0] = json!("a".repeat(129));
        }),
        ("extraParameters", |spec| {
            spec["tokenRequest"]["extraParameters"]["b"] = json!("");
        }),
        ("annotations", |spec| {
            spec["target"]["annotations"]["c"] = json!("");
        }),
        ("labels", |spec| {
            spec["target"]["labels"]["c"] = json!("");
        }),
        ("values", |spec| {
            spec["target"]["data"][2] = json!({"key": "a", "value": "a"});
        }),
        ("data", |spec| {
            let data = spec["target"]["data"].as_array_mut().unwrap();
            data.push(json!({"key": "a", "from": "Scope"}));
        }),
    ];
    for (what, add) in more {
        let mut larger = largest.clone();
        add(&mut larger.data["spec"]);
        let refused = objects(&scene)
            .replace("edge", &PostParams::default(), &larger)
            .await;
        let said = message(refused.expect_err(what));
        assert!(said.contains("is invalid"), "{what}: {said}");
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

fn merge(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(target.entry(key).or_insert(Value::Null), value);
            }
        }
        (target, patch) => *target = patch.clone(),
    }
}
