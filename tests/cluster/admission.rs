//! The chart's ValidatingAdmissionPolicy: who may not read a Secret may not have it used as credentials.

use edge_credential_operator::api::{EdgeCredential, EdgeToken};
use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Resource,
    api::{Patch, PatchParams, PostParams},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;

use kit::harness::{CREDENTIALS, PATIENCE, Scene, Setup, credentials};

/// A Secret that neither of the two may read.
const OTHER: &str = "other-client";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_read_a_secret_may_not_have_it_used_as_credentials() {
    let setup = Setup {
        values: vec![("validatingAdmissionPolicy.enabled", "true".to_owned())],
        ..Setup::default()
    };
    let scene = setup.scene("admission").await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    shop.create_secret(OTHER, &credentials("other", "secret"))
        .await;
    let people = people(&shop.name);
    scene.control_plane.apply(&people).await.unwrap();
    let reader = objects_of::<EdgeCredential>(&scene, "reader").await;
    let writer = objects_of::<EdgeCredential>(&scene, "writer").await;
    let object = shop.edge_credential("edge");

    let trial = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    shop.until(PATIENCE, "roles and policy are in force", async || {
        let refusal = refusal(writer.create(&trial, &object).await)?;
        let allowed = reader.create(&trial, &object).await.is_ok();
        (allowed && names_secret(&refusal, CREDENTIALS)).then_some(())
    })
    .await;

    // The operator may write what it has to: status and target.
    let created = reader.create(&PostParams::default(), &object).await;
    created.unwrap();
    shop.ready("edge").await;

    let reference = |name: &str| json!({"credentialsSecretRef": {"name": name}});
    let url = json!({"tokenRequest": {"url": "https://auth.sitecorecloud.io/oauth/token"}});
    for (who, of, spec, secret) in [
        ("writer", &writer, reference(OTHER), OTHER),
        ("writer", &writer, url.clone(), CREDENTIALS),
        ("reader", &reader, reference(OTHER), OTHER),
    ] {
        let refusal = refusal(change(of, &json!({ "spec": spec })).await);
        let refusal = refusal.unwrap_or_else(|| panic!("{who}: {spec}"));
        assert!(names_secret(&refusal, secret), "{who}: {refusal}");
    }
    // What decides nothing about the credentials is free, and so is everything to who may read them.
    let label = json!({"metadata": {"labels": {"team": "web"}}});
    change(&writer, &label).await.unwrap();
    let suspended = json!({"spec": {"suspend": true}});
    change(&writer, &suspended).await.unwrap();
    change(&reader, &json!({ "spec": url })).await.unwrap();

    let reader = objects_of::<EdgeToken>(&scene, "reader").await;
    let writer = objects_of::<EdgeToken>(&scene, "writer").await;
    let mut object = shop.edge_token("edge");
    object.spec.target.name = Some("edge-key".to_owned());
    object.spec.suspend = true;
    let refused = refusal(writer.create(&trial, &object).await).unwrap();
    assert!(names_secret(&refused, CREDENTIALS), "{refused}");
    let created = reader.create(&PostParams::default(), &object).await;
    created.unwrap();
    // Whoever is called gets a token, or the key.
    let delivery = json!({"deliveryURL": "https://edge.example.com/api/graphql/v1"});
    let scopes = json!({"tokenAPI": {"scopes": ["audience-preview"]}});
    for spec in [&reference(OTHER), &url, &delivery, &scopes] {
        let refused = refusal(change(&writer, &json!({ "spec": spec })).await);
        assert!(refused.is_some(), "{spec}");
    }
    change(&writer, &label).await.unwrap();
    for spec in [&delivery, &scopes] {
        change(&reader, &json!({ "spec": spec })).await.unwrap();
    }
}

async fn change<K>(objects: &Api<K>, change: &Value) -> kube::Result<K>
where
    K: Clone + Debug + DeserializeOwned,
{
    let patch = Patch::Merge(change);
    objects.patch("edge", &PatchParams::default(), &patch).await
}

/// What the API server said, where it refused.
fn refusal<K>(result: kube::Result<K>) -> Option<String> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 403 => Some(status.message),
        _ => None,
    }
}

fn names_secret(refusal: &str, secret: &str) -> bool {
    refusal.contains(&format!("you may not get the Secret {secret},"))
}

/// The objects of a kind as a ServiceAccount may handle them.
async fn objects_of<K>(scene: &Scene, account: &str) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    let namespace = &scene.namespaces[0].name;
    let control_plane = &scene.control_plane;
    let kubeconfig = control_plane.service_account_kubeconfig(namespace, account);
    let client = control_plane.client(&kubeconfig.await.unwrap()).await;
    Api::namespaced(client.unwrap(), namespace)
}

/// Two who may both write EdgeCredentials and EdgeTokens. One of them may also read the Secret [`CREDENTIALS`].
fn people(namespace: &str) -> String {
    let account = |name: &str| {
        format!(
            "---\n{{apiVersion: v1, kind: ServiceAccount, metadata: {{name: {name}, namespace: {namespace}}}}}\n"
        )
    };
    let role = |name: &str, rule: &str, accounts: &[&str]| {
        let subjects: Vec<_> = accounts
            .iter()
            .map(|account| {
                format!("{{kind: ServiceAccount, name: {account}, namespace: {namespace}}}")
            })
            .collect();
        let subjects = subjects.join(", ");
        format!(
            "---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: {name}, namespace: {namespace}}}
rules: [{rule}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: {name}, namespace: {namespace}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {name}}}
subjects: [{subjects}]
"
        )
    };
    let write = "{apiGroups: [edgecredentials.io], resources: [edgecredentials, edgetokens], verbs: [create, get, patch]}";
    let read = format!(
        "{{apiGroups: [''], resources: [secrets], resourceNames: [{CREDENTIALS}], verbs: [get]}}"
    );
    [
        account("reader"),
        account("writer"),
        role("write", write, &["reader", "writer"]),
        role("read", &read, &["reader"]),
    ]
    .concat()
}
