//! What is damaged or changed is set right at once, and with no token request that can be done without.

use std::time::Instant;

use edge_credential_operator::api::target::{Source, TargetEntry};
use edge_credential_operator::rules::token_value::PROOF;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use kit::harness::*;

const TARGET: &str = "edge-admin";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

type Damage = (&'static str, fn(&mut Secret));

const DAMAGES: [Damage; 9] = [
    ("all data removed", |secret| secret.data = None),
    ("one byte of the token changed", |secret| {
        let token = &mut secret
            .data
            .as_mut()
            .unwrap()
            .get_mut("access_token")
            .unwrap()
            .0;
        let middle = token.len() / 2;
        token[middle] = if token[middle] == b'A' { b'B' } else { b'A' };
    }),
    ("another key's value changed", |secret| {
        let data = secret.data.as_mut().unwrap();
        data.insert("expires_at".to_owned(), ByteString(b"never".to_vec()));
    }),
    ("a key removed", |secret| {
        secret.data.as_mut().unwrap().remove("token_type");
    }),
    ("a key added", |secret| {
        let data = secret.data.as_mut().unwrap();
        data.insert("mine".to_owned(), ByteString(b"x".to_vec()));
    }),
    ("the annotation's times changed", |secret| {
        let proof = secret
            .metadata
            .annotations
            .as_mut()
            .unwrap()
            .get_mut(PROOF)
            .unwrap();
        *proof = proof.replacen("\"expiresAt\":\"20", "\"expiresAt\":\"21", 1);
    }),
    ("all annotations removed", |secret| {
        secret.metadata.annotations = None
    }),
    ("the operator's label changed", |secret| {
        let labels = secret.metadata.labels.as_mut().unwrap();
        labels.insert(MANAGED_BY.to_owned(), "me".to_owned());
    }),
    ("the spec's label removed", |secret| {
        secret.metadata.labels.as_mut().unwrap().remove("team");
    }),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_target_is_set_right_at_once_and_costs_no_request() {
    let scene = Scene::new("damage", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    // Each of an object of its own: a target that is damaged again and again is set right less often.
    let deleted = ("deleted", None);
    let damages = DAMAGES.iter().map(|(damage, apply)| (*damage, Some(apply)));
    for (number, (damage, apply)) in damages.chain([deleted]).enumerate() {
        let name = format!("{TARGET}-{number}");
        let mut object = shop.edge_credential(&name);
        object.spec.target.labels = [("team".to_owned(), "web".to_owned())].into();
        object.spec.target.annotations =
            [("example.com/reload".to_owned(), "true".to_owned())].into();
        shop.create_object(&object).await;
        shop.ready(&name).await;
        let sound = shop.secret(&name).await;
        match apply {
            Some(apply) => drop(shop.edit_secret(&name, apply).await),
            None => shop.delete_secret(&name).await,
        }
        is_set_right(shop, &sound, damage).await;
        assert_eq!(shop.object(&name).await.metadata.generation, Some(1));
    }
    assert_eq!(scene.sitecore.requests(CLIENT), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_and_annotations_of_others_are_kept() {
    let scene = Scene::new("others", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    shop.create_ready(TARGET).await;
    shop.edit_secret(TARGET, |secret| {
        let labels = secret.metadata.labels.get_or_insert_default();
        labels.insert("backup".to_owned(), "daily".to_owned());
        let annotations = secret.metadata.annotations.get_or_insert_default();
        annotations.insert("example.com/seen".to_owned(), "yes".to_owned());
    })
    .await;
    let sound = shop.secret(TARGET).await;

    shop.edit_secret(TARGET, |secret| secret.data = None).await;
    is_set_right(shop, &sound, "all data removed").await;
    assert_eq!(scene.sitecore.requests(CLIENT), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_who_damages_the_target_all_the_time_causes_no_request() {
    let scene = Scene::new("fight", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    shop.create_ready(TARGET).await;
    let sound = shop.secret(TARGET).await;
    for _ in 0..100 {
        shop.edit_secret(TARGET, |secret| secret.data = None).await;
    }
    // The last repair may have to wait for ten seconds.
    is_restored(shop, &sound, "after a fight").await;
    let object = shop.object(TARGET).await;
    assert_eq!(object.status.unwrap().failures, None);
    assert_eq!(scene.sitecore.requests(CLIENT), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_target_in_the_spec_costs_no_request() {
    let scene = Scene::new("respec", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    shop.create_ready(TARGET).await;
    let token = text(&shop.secret(TARGET).await, "access_token");

    shop.edit(TARGET, |object| {
        let target = &mut object.spec.target;
        let entry = |key: &str, from| TargetEntry {
            key: key.to_owned(),
            from: Some(from),
            value: None,
        };
        target.data = vec![
            entry("AUTHORIZATION", Source::Authorization),
            entry("tenant", Source::TenantId),
        ];
        target.data.push(TargetEntry {
            key: "URL".to_owned(),
            from: None,
            value: Some("https://edge.example.com".to_owned()),
        });
        target.labels.insert("team".to_owned(), "web".to_owned());
        target
            .annotations
            .insert("example.com/reload".to_owned(), "true".to_owned());
    })
    .await;
    shop.ready(TARGET).await;
    let changed = shop.secret(TARGET).await;
    let keys: Vec<_> = changed
        .data
        .as_ref()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(keys, ["AUTHORIZATION", "URL", "tenant"]);
    assert_eq!(text(&changed, "AUTHORIZATION"), format!("Bearer {token}"));
    assert_eq!(text(&changed, "URL"), "https://edge.example.com");
    assert_eq!(text(&changed, "tenant"), format!("tenant-{CLIENT}"));
    assert_eq!(changed.metadata.labels.as_ref().unwrap()["team"], "web");
    assert_eq!(
        changed.metadata.annotations.as_ref().unwrap()["example.com/reload"],
        "true"
    );

    // What the spec no longer names goes, and what it names anew is taken from the token that is there.
    shop.edit(TARGET, |object| {
        object.spec.target.labels.clear();
        object.spec.target.annotations.clear();
        object.spec.target.data.truncate(1);
    })
    .await;
    shop.ready(TARGET).await;
    let changed = shop.secret(TARGET).await;
    assert_eq!(changed.data.as_ref().unwrap().len(), 1);
    assert!(
        !changed
            .metadata
            .labels
            .as_ref()
            .unwrap()
            .contains_key("team")
    );
    assert!(
        !changed
            .metadata
            .annotations
            .as_ref()
            .unwrap()
            .contains_key("example.com/reload")
    );
    assert_eq!(scene.sitecore.requests(CLIENT), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_a_token_that_is_still_in_the_target_is_used_and_a_lost_one_is_found_in_the_history()
 {
    let mut scene = Scene::new("restart", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    let mut object = shop.edge_credential(TARGET);
    // Beside the default ones.
    object.spec.target.data = object.spec.target.entries().into_owned();
    object.spec.target.data.push(TargetEntry {
        key: "AUTHORIZATION".to_owned(),
        from: Some(Source::Authorization),
        value: None,
    });
    shop.create_object(&object).await;
    shop.ready(TARGET).await;
    let sound = shop.secret(TARGET).await;

    // Nothing is in memory now, but one of the two keys with the token is whole.
    scene.operator.kill();
    shop.edit_secret(TARGET, |secret| {
        secret.data.as_mut().unwrap().remove("access_token");
        secret.metadata.labels = None;
    })
    .await;
    scene.operator.start().await;
    is_set_right(shop, &sound, "a key removed").await;
    assert_eq!(scene.sitecore.requests(CLIENT), 1);

    // A lost status is made anew from the target.
    scene.operator.kill();
    let before = shop.object(TARGET).await.status;
    wipe_status(&scene, TARGET).await;
    scene.operator.start().await;
    let after = shop.ready(TARGET).await.status;
    assert_eq!(after.unwrap().token, before.unwrap().token);
    assert_eq!(scene.sitecore.requests(CLIENT), 1);

    let losses: [Damage; 2] = [
        ("all data removed", |secret| secret.data = None),
        ("data and annotations removed", |secret| {
            secret.data = None;
            secret.metadata.annotations = None;
        }),
    ];
    for (damage, apply) in losses {
        scene.operator.kill();
        shop.edit_secret(TARGET, apply).await;
        scene.operator.start().await;
        is_set_right(shop, &sound, damage).await;
    }

    scene.operator.kill();
    shop.delete_secret(TARGET).await;
    scene.operator.start().await;
    is_set_right(shop, &sound, "deleted").await;
    assert_eq!(scene.sitecore.requests(CLIENT), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_is_deleted_some_time_after_a_restart_costs_no_request() {
    let mut scene = Scene::new("remembered", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    shop.create_ready(TARGET).await;
    let sound = shop.secret(TARGET).await;
    scene.operator.kill();
    scene.operator.start().await;
    let shop = &scene.namespaces[0];
    shop.until(PATIENCE, "the object has been looked at", async || {
        let metrics = scene.operator.get("/metrics").await.ok()?.1;
        let series = "edgecredential_reconciliations_total{outcome=\"Success\"}";
        metrics.contains(series).then_some(())
    })
    .await;

    shop.delete_secret(TARGET).await;
    is_set_right(shop, &sound, "deleted").await;
    assert_eq!(scene.sitecore.requests(CLIENT), 1);
}

/// Waits until a target is as it was, and fails where that takes too long.
async fn is_set_right(shop: &Namespace, sound: &Secret, damage: &str) {
    let start = Instant::now();
    is_restored(shop, sound, damage).await;
    let took = start.elapsed();
    assert!(took < AT_ONCE, "{damage}: set right only after {took:?}");
}

/// Waits until a target is as it was.
async fn is_restored(shop: &Namespace, sound: &Secret, damage: &str) {
    let name = sound.metadata.name.as_deref().unwrap();
    let healed = shop
        .until(PATIENCE, &format!("set right: {damage}"), async || {
            let secret = shop.secrets.get_opt(name).await.unwrap()?;
            (content(&secret) == content(sound)).then_some(secret)
        })
        .await;
    assert_eq!(
        healed.metadata.owner_references,
        sound.metadata.owner_references
    );
}

/// What is in a Secret, apart from what the API server adds.
fn content(secret: &Secret) -> impl PartialEq + use<> {
    let metadata = &secret.metadata;
    (
        secret.data.clone(),
        secret.type_.clone(),
        metadata.labels.clone(),
        metadata.annotations.clone(),
    )
}

async fn wipe_status(scene: &Scene, name: &str) {
    let namespace = &scene.namespaces[0].name;
    let patch = r#"{"status": null}"#;
    let args = [
        "patch",
        "ecred",
        name,
        "--subresource=status",
        "--type=merge",
        "-n",
        namespace,
        "-p",
        patch,
    ];
    scene.control_plane.kubectl(&args).await.unwrap();
    let wiped = scene.namespaces[0].object(name).await.status.unwrap();
    assert_eq!((wiped.observed_generation, wiped.token), (Some(-1), None));
}
