//! Secrets that lost their owner, as a restored backup or a migrated cluster brings them back: taken over if they prove
//! for whom they were made, and left alone otherwise. Neither costs a request.

use std::time::Duration;

use edge_credential_operator::api::{EdgeCredential, Reason};
use k8s_openapi::api::core::v1::Secret;
use kit::harness::*;
use kube::api::{ObjectMeta, PostParams};

const EDGE: &str = "edge";

/// What a backup keeps of a Secret.
fn back_up(secret: &Secret, name: &str) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: secret.metadata.labels.clone(),
            annotations: secret.metadata.annotations.clone(),
            ..ObjectMeta::default()
        },
        data: secret.data.clone(),
        type_: secret.type_.clone(),
        ..Secret::default()
    }
}

async fn restore(shop: &Namespace, secret: &Secret) -> Secret {
    let restored = shop.secrets.create(&PostParams::default(), secret).await;
    restored.unwrap()
}

/// Deletes the EdgeCredential, and waits until its Secret has gone with it.
async fn delete_with_target(shop: &Namespace, name: &str) {
    shop.delete_object(name).await;
    shop.until(PATIENCE, "the target is collected", async || {
        shop.secrets
            .get_opt(name)
            .await
            .ok()?
            .is_none()
            .then_some(())
    })
    .await;
}

fn owner(secret: &Secret) -> Option<&str> {
    let owners = secret.metadata.owner_references.as_deref()?;
    owners.first().map(|owner| owner.uid.as_str())
}

async fn is_owned(shop: &Namespace, object: &EdgeCredential) -> Secret {
    let uid = object.metadata.uid.as_deref();
    shop.secret_that(EDGE, "belongs to the object", |secret| owner(secret) == uid)
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_secret_is_taken_over_without_a_request() {
    let mut scene = Scene::new("restored", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    shop.create_ready(EDGE).await;
    let backup = back_up(&shop.secret(EDGE).await, EDGE);

    delete_with_target(shop, EDGE).await;
    // What was in memory is lost too.
    scene.operator.kill();
    let restored = restore(shop, &backup).await;
    scene.operator.start().await;
    let shop = &scene.namespaces[0];
    shop.create_object(&shop.edge_credential(EDGE)).await;
    let object = shop.ready(EDGE).await;
    let adopted = is_owned(shop, &object).await;
    assert_eq!(adopted.metadata.uid, restored.metadata.uid);
    assert_eq!(adopted.data, backup.data);
    assert_eq!(scene.sitecore.requests(CLIENT), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_of_an_earlier_object_of_the_same_name_is_taken_over_without_a_request() {
    let scene = Scene::new("migrated", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    let object = shop.create_ready(EDGE).await;
    let before = shop.secret(EDGE).await;

    shop.edit_secret(EDGE, |secret| {
        let owners = secret.metadata.owner_references.as_mut().unwrap();
        owners[0].uid = "00000000-0000-0000-0000-000000000000".to_owned();
    })
    .await;
    // The collector may be faster, and delete what belongs to nobody: then it is written again from memory.
    let adopted = is_owned(shop, &object).await;
    assert_eq!(adopted.data, before.data);
    assert_eq!(scene.sitecore.requests(CLIENT), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_secret_whose_token_has_expired_is_taken_over_and_renewed() {
    let mut scene = Scene::new("restored-late", 1).await;
    let lifetime = Duration::from_secs(12);
    scene.sitecore.set_lifetime(CLIENT, lifetime);
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    shop.create_ready(EDGE).await;
    scene.operator.kill();
    let shop = &scene.namespaces[0];
    let backup = back_up(&shop.secret(EDGE).await, EDGE);
    let requests = scene.sitecore.requests(CLIENT);
    delete_with_target(shop, EDGE).await;
    let restored = restore(shop, &backup).await;
    shop.create_object(&shop.edge_credential(EDGE)).await;
    tokio::time::sleep(lifetime).await;

    scene
        .sitecore
        .set_lifetime(CLIENT, Duration::from_secs(3600));
    scene.operator.start().await;
    let shop = &scene.namespaces[0];
    let object = shop.ready(EDGE).await;
    let adopted = is_owned(shop, &object).await;
    assert_eq!(adopted.metadata.uid, restored.metadata.uid);
    assert_ne!(
        text(&adopted, "access_token"),
        text(&restored, "access_token")
    );
    assert_eq!(scene.sitecore.requests(CLIENT), requests + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_prove_that_it_was_made_for_this_object_is_left_alone_with_no_request() {
    let scene = Scene::new("claimed", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    shop.create_ready(EDGE).await;
    let sound = shop.secret(EDGE).await;

    // Each is claimed by an EdgeCredential with the very inputs of `edge`.
    let claimed_by_another_name = back_up(&sound, "stolen");
    let mut forged = back_up(&sound, "forged");
    for value in forged.metadata.annotations.as_mut().unwrap().values_mut() {
        *value = value.replacen("\"version\":1", "\"version\":1,\"name\":\"forged\"", 1);
    }
    let mut of_another_type = back_up(&sound, "typed");
    of_another_type.type_ = Some("example.com/token".to_owned());
    for secret in [claimed_by_another_name, forged, of_another_type] {
        let left = restore(shop, &secret).await;
        let name = left.metadata.name.clone().unwrap();
        shop.create_object(&shop.edge_credential(&name)).await;
        shop.has_reason(&name, Reason::TargetNotOwned).await;
        assert_eq!(shop.secret(&name).await, left, "{name}");
    }
    assert_eq!(scene.sitecore.requests(CLIENT), 1);
}
