//! Watches that the API server refuses: one of them by the rights of its own, or all of one namespace.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace as KubeNamespace;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use kit::harness::*;

/// All of a namespace, as they are stored.
async fn list<K>(client: &Client, namespace: &str) -> Vec<K>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let objects = Api::<K>::namespaced(client.clone(), namespace);
    let list = objects.list(&ListParams::default()).await;
    list.unwrap().items
}

/// Creates objects anew that were stored before.
async fn restore<K>(client: &Client, namespace: &str, stored: Vec<K>)
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Serialize,
{
    let objects = Api::<K>::namespaced(client.clone(), namespace);
    for mut object in stored {
        *object.meta_mut() = ObjectMeta {
            name: Some(object.name_any()),
            ..ObjectMeta::default()
        };
        let created = objects.create(&PostParams::default(), &object).await;
        created.unwrap();
    }
}

/// The operator's own log lines that have all these words.
fn told(scene: &Scene, words: &[&str]) -> usize {
    let has = |line: &&str| words.iter().all(|word| line.contains(word));
    scene.operator.log().lines().filter(has).count()
}

/// Waits until the metric of a watch says so.
async fn fails(scene: &Scene, resource: &str, namespace: &Namespace, fails: bool) {
    let line = format!(
        "edgecredential_watch_failing{{resource=\"{resource}\",watched_namespace=\"{}\"}} {}",
        namespace.name,
        u8::from(fails)
    );
    namespace
        .until(PATIENCE, &line, async || {
            let text = scene.operator.get("/metrics").await.ok()?.1;
            text.lines().any(|found| found == line).then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_of_the_list_that_is_gone_makes_nothing_unready_and_is_served_when_it_is_back()
{
    let mut scene = Scene::new("gone", 2).await;
    scene.may_be_refused = |event| event.namespace == "gone-2";
    scene.namespaces[0].create_credentials().await;
    scene.namespaces[0].create_ready("edge").await;
    let client = scene.client.clone();
    let name = scene.namespaces[1].name.clone();
    let roles: Vec<Role> = list(&client, &name).await;
    let bindings: Vec<RoleBinding> = list(&client, &name).await;
    scene.operator.kill();
    let namespaces = Api::<KubeNamespace>::all(client.clone());
    namespaces
        .delete(&name, &DeleteParams::default())
        .await
        .unwrap();
    let gone = find(PATIENCE, async || {
        let found = namespaces.get_opt(&name).await.unwrap();
        found.is_none().then_some(())
    });
    assert!(gone.await.is_some(), "{name} is still there");

    // Waits until it is ready.
    scene.operator.start().await;
    let shop = &scene.namespaces[0];
    shop.delete_secret("edge").await;
    shop.secret_that("edge", "is back", |_| true).await;
    fails(&scene, "edgecredentials", &scene.namespaces[1], true).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    for resource in ["secrets", "edgecredentials"] {
        let named = [
            format!("resource=\"{resource}\""),
            format!("namespace=\"{name}\""),
        ];
        let words = ["WARN", "refused with HTTP 403", &named[0], &named[1]];
        assert_eq!(told(&scene, &words), 1, "{}", scene.operator.log_tail());
    }
    assert_eq!(told(&scene, &["WARN", "watch", &shop.name]), 0);

    let namespace = KubeNamespace {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            ..ObjectMeta::default()
        },
        ..KubeNamespace::default()
    };
    let created = namespaces.create(&PostParams::default(), &namespace).await;
    created.unwrap();
    restore(&client, &name, roles).await;
    restore(&client, &name, bindings).await;
    let back = &scene.namespaces[1];
    back.create_credentials().await;
    back.create_ready("edge").await;
    for resource in ["secrets", "edgecredentials"] {
        fails(&scene, resource, back, false).await;
    }
    assert_eq!(scene.operator.get("/readyz").await.unwrap().0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_right_to_watch_secrets_everything_else_goes_on_until_it_is_given_back() {
    let setup = Setup {
        start: false,
        ..Setup::default()
    };
    let mut scene = setup.scene("watch-refused").await;
    scene.may_be_refused =
        |event| event.resource == "secrets" && ["list", "watch"].contains(&&*event.verb);
    let shop = &scene.namespaces[0];
    let set_rights = async |allowed: bool| {
        let roles = Api::<Role>::namespaced(scene.client.clone(), &shop.name);
        let mut role = list::<Role>(&scene.client, &shop.name).await.pop().unwrap();
        let rules = role.rules.iter_mut().flatten();
        for rule in rules.filter(|rule| rule.resources == Some(vec!["secrets".to_owned()])) {
            rule.verbs
                .retain(|verb| !["list", "watch"].contains(&&**verb));
            if allowed {
                rule.verbs.extend(["list", "watch"].map(str::to_owned));
            }
        }
        let (name, params) = (role.name_any(), PostParams::default());
        roles.replace(&name, &params, &role).await.unwrap();
    };
    set_rights(false).await;
    scene.operator.start().await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    fails(&scene, "secrets", shop, true).await;
    for number in 0..3 {
        shop.create_ready(&format!("edge-{number}")).await;
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(
        told(&scene, &["WARN", "refused with HTTP 403", "secrets"]),
        1
    );
    assert_eq!(told(&scene, &["WARN", "watch"]), 1);

    set_rights(true).await;
    fails(&scene, "secrets", shop, false).await;
    assert_eq!(told(&scene, &["the watch works again", "secrets"]), 1);
    shop.delete_secret("edge-0").await;
    shop.secret_that("edge-0", "is back", |_| true).await;
    assert_eq!(scene.sitecore.requests(CLIENT), 1);
}
