//! The CustomResourceDefinition changes under the operator: objects that are older than it, and none at all.

use std::time::Duration;

use edge_credential_operator::api::{ConditionType, EdgeCredential, Reason};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::api::{
    ApiResource, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams, PostParams,
};
use kube::{Api, Client, Resource};
use serde_json::{Value, json};

use kit::harness::*;

const CRD: &str = include_str!("../../crds/edgecredentials.yaml");

const CRD_NAME: &str = "edgecredentials.edgecredentials.io";

/// A definition that lets anything pass, as an early version might have.
const LAX_CRD: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: edgecredentials.edgecredentials.io}
spec:
  group: edgecredentials.io
  names: {kind: EdgeCredential, plural: edgecredentials, singular: edgecredential, shortNames: [ecred]}
  scope: Namespaced
  versions:
  - name: v1alpha1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
    subresources: {status: {}}
";

/// The malformed object that can have a status.
const FORMAT: &str = "unknown-format";

fn setup() -> Setup {
    Setup {
        own_control_plane: true,
        start: false,
        ..Setup::default()
    }
}

fn untyped(client: &Client, shop: &Namespace) -> Api<DynamicObject> {
    let resource = ApiResource::erase::<EdgeCredential>(&());
    Api::namespaced_with(client.clone(), &shop.name, &resource)
}

/// An object of any spec.
fn object(name: &str, spec: &Value) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "edgecredentials.io/v1alpha1",
        "kind": "EdgeCredential",
        "metadata": {"name": name},
        "spec": spec,
    }))
    .unwrap()
}

/// What a condition of an untyped object says: its status and its reason.
fn told(object: &DynamicObject, type_: &str) -> Option<(String, String)> {
    let conditions = object.data["status"]["conditions"].as_array()?;
    let condition = conditions.iter().find(|found| found["type"] == type_)?;
    let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
    Some((text("status"), text("reason")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_is_older_than_the_schema_is_told_of_and_all_others_are_served() {
    let mut scene = setup().scene("malformed").await;
    let shop = &scene.namespaces[0];
    let objects = untyped(&scene.client, shop);
    shop.create_credentials().await;
    let good = serde_json::to_value(shop.edge_credential("any").spec).unwrap();
    let token_url = good["tokenRequest"]["url"].clone();
    let malformed = [
        (
            FORMAT,
            json!({
                "tokenRequest": {"url": token_url, "format": "Xml"},
                "credentialsSecretRef": {"name": CREDENTIALS},
            }),
        ),
        ("no-reference", json!({"tokenRequest": {"url": token_url}})),
        (
            "other-type",
            json!({"tokenRequest": {"url": token_url}, "credentialsSecretRef": CREDENTIALS}),
        ),
    ];
    scene.control_plane.apply(LAX_CRD).await.unwrap();
    for (name, spec) in &malformed {
        shop.until(PATIENCE, "the lax schema is in force", async || {
            let object = object(name, spec);
            objects.create(&PostParams::default(), &object).await.ok()
        })
        .await;
    }
    scene.control_plane.apply(CRD).await.unwrap();
    shop.until(PATIENCE, "the strict schema is in force", async || {
        let trial = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let object = object("trial", &malformed[0].1);
        objects.create(&trial, &object).await.is_err().then_some(())
    })
    .await;
    for name in ["one", "two"] {
        shop.create_object(&shop.edge_credential(name)).await;
    }
    scene.operator.start().await;

    let shop = &scene.namespaces[0];
    for name in ["one", "two"] {
        shop.ready(name).await;
    }
    let events = Api::<Event>::namespaced(scene.client.clone(), &shop.name);
    let warnings = async || {
        let list = events.list(&ListParams::default()).await.unwrap().items;
        let mut names: Vec<_> = list
            .into_iter()
            .filter(|event| event.reason.as_deref() == Some(Reason::InvalidSpec.as_str()))
            .map(|event| event.regarding.unwrap().name.unwrap())
            .collect();
        names.sort();
        names
    };
    shop.until(PATIENCE, "an Event for each", async || {
        (warnings().await == ["no-reference", "other-type", FORMAT]).then_some(())
    })
    .await;
    // The API server refuses every status of an object whose rules cannot even be evaluated. The others tell.
    let invalid = |status: &str| Some((status.to_owned(), "InvalidSpec".to_owned()));
    shop.until(PATIENCE, "a condition says what is wrong", async || {
        let object = objects.get(FORMAT).await.ok()?;
        let conditions = ["Ready", "Stalled"].map(|type_| told(&object, type_));
        (conditions == [invalid("False"), invalid("True")]).then_some(())
    })
    .await;
    let requests = scene.sitecore.total_requests();

    // A restart is no news where a condition tells.
    scene.operator.kill();
    scene.operator.start().await;
    let shop = &scene.namespaces[0];
    for (name, _) in &malformed {
        let spec = json!({"spec": {
            "credentialsSecretRef": {"name": CREDENTIALS},
            "tokenRequest": {"format": "Form"},
        }});
        objects
            .patch(name, &PatchParams::default(), &Patch::Merge(&spec))
            .await
            .unwrap();
        let mended = shop.ready(name).await;
        assert_eq!(condition(&mended, ConditionType::Stalled).status, "False");
    }
    let told = warnings().await;
    assert_eq!(told.iter().filter(|name| *name == FORMAT).count(), 1);
    // All have the same inputs, and share one token as long as the process remembers it.
    assert_eq!((requests, scene.sitecore.total_requests()), (1, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_definition_that_is_deleted_is_waited_for_and_served_when_it_is_back() {
    let mut scene = setup().scene("crd").await;
    scene.operator.start().await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    shop.create_ready("edge").await;

    collector_knows_the_kind(shop).await;
    delete_crd(&scene).await;
    is_missing(&scene).await;
    // The garbage collector takes what belonged to the deleted objects, and nobody puts it back.
    shop.until(PATIENCE, "the target is collected", async || {
        (shop.secrets.get_opt("edge").await.unwrap().is_none()).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(shop.secrets.get_opt("edge").await.unwrap(), None);
    assert_eq!(scene.operator.get("/livez").await.unwrap().0, 200);

    install_crd(&scene).await;
    let mut object = shop.edge_credential("next");
    object.spec.token_request.scopes = vec!["edge.admin:manage".to_owned()];
    shop.create_object(&object).await;
    shop.ready("next").await;
    is_served(&scene).await;
    assert_eq!(scene.sitecore.total_requests(), 2);
    assert!(scene.operator.process().is_running());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_definition_that_is_missing_at_start_is_waited_for() {
    let mut scene = setup().scene("no-crd").await;
    delete_crd(&scene).await;
    scene.operator.spawn();
    is_missing(&scene).await;
    // It can be ended while it has nothing to do, and does not wait for it.
    let (code, _) = scene.operator.terminate().await;
    assert_eq!(code, 0, "{}", scene.operator.log_tail());
    assert!(scene.operator.finished_in_time());
    scene.operator.spawn();
    is_missing(&scene).await;

    install_crd(&scene).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    shop.create_ready("edge").await;
    is_served(&scene).await;
    assert_eq!(scene.sitecore.total_requests(), 1);
    assert!(scene.operator.process().is_running());
}

/// Waits until the garbage collector collects what an EdgeCredential owned that is gone. If the definition went while the
/// collector still gets to know all kinds, it would never learn that the objects are gone too.
async fn collector_knows_the_kind(shop: &Namespace) {
    let mut gone = shop.object("edge").await;
    gone.metadata.name = Some("gone".to_owned());
    gone.metadata.uid = Some("gone".to_owned());
    let orphan = Secret {
        metadata: ObjectMeta {
            name: Some("orphan".to_owned()),
            owner_references: gone.owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        ..Secret::default()
    };
    shop.secrets
        .create(&PostParams::default(), &orphan)
        .await
        .unwrap();
    shop.until(PATIENCE, "the garbage collector works", async || {
        (shop.secrets.get_opt("orphan").await.ok()?.is_none()).then_some(())
    })
    .await;
}

async fn delete_crd(scene: &Scene) {
    let delete = ["delete", "crd", CRD_NAME];
    scene.control_plane.kubectl(&delete).await.unwrap();
}

async fn install_crd(scene: &Scene) {
    scene.control_plane.apply(CRD).await.unwrap();
    scene.control_plane.wait_for_definitions().await.unwrap();
    // The API server says so a moment before it does.
    let shop = &scene.namespaces[0];
    shop.until(PATIENCE, "EdgeCredentials are served", async || {
        shop.objects.list(&ListParams::default()).await.ok()
    })
    .await;
}

async fn is_missing(scene: &Scene) {
    let text = "the CustomResourceDefinition of EdgeCredentials is missing\n";
    answers(scene, (503, text)).await;
}

async fn is_served(scene: &Scene) {
    answers(scene, (200, "ok\n")).await;
}

/// Waits until /readyz answers so.
async fn answers(scene: &Scene, (status, text): (u16, &str)) {
    let what = format!("/readyz answers {status}");
    scene.namespaces[0]
        .until(PATIENCE, &what, async || {
            let answer = scene.operator.get("/readyz").await.ok()?;
            (answer == (status, text.to_owned())).then_some(())
        })
        .await;
}
