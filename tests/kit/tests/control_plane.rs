//! The kit's control plane does what a cluster does.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use k8s_openapi::jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{ConfigMap, Namespace, Secret},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kit::control_plane::{AuditEvent, ControlPlane, Server, chart, shared};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, ObjectMeta, PostParams},
};

type TestResult = Result<(), Box<dyn std::error::Error>>;

/// Far more than the controllers need.
const PATIENCE: Duration = Duration::from_secs(60);

async fn create_namespace(client: &Client, name: &str) -> kube::Result<()> {
    let namespace = Namespace {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
    let api = Api::<Namespace>::all(client.clone());
    api.create(&PostParams::default(), &namespace).await?;
    Ok(())
}

fn config_map(name: &str, owner: Option<OwnerReference>) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    }
}

/// Waits until an object is gone.
async fn gone<K>(api: &Api<K>, name: &str) -> TestResult
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let start = Instant::now();
    while api.get_opt(name).await?.is_some() {
        if start.elapsed() > PATIENCE {
            return Err(format!("{name} is still there").into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// The first event of the audit log that is wanted. A request is logged when it has been answered, which may be after its
/// answer was read.
async fn logged(
    control_plane: &ControlPlane,
    wanted: impl Fn(&AuditEvent) -> bool,
) -> Result<AuditEvent, Box<dyn std::error::Error>> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if let Some(event) = control_plane.audit_events()?.into_iter().find(&wanted) {
            return Ok(event);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err("the audit log lacks a request".into())
}

#[tokio::test]
async fn an_owned_object_goes_with_its_owner() -> TestResult {
    let client = shared().await?.admin_client().await?;
    create_namespace(&client, "garbage").await?;
    let api = Api::<ConfigMap>::namespaced(client, "garbage");
    let create = PostParams::default();
    let owner = api.create(&create, &config_map("owner", None)).await?;
    let reference = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "ConfigMap".to_owned(),
        name: owner.name_any(),
        uid: owner.uid().ok_or("no uid")?,
        ..OwnerReference::default()
    };
    let owned = config_map("owned", Some(reference));
    api.create(&create, &owned).await?;

    api.delete("owner", &Default::default()).await?;
    gone(&api, "owned").await
}

#[tokio::test]
async fn what_a_new_custom_resource_owns_is_collected_after_a_restart_of_the_controllers()
-> TestResult {
    let control_plane = ControlPlane::start().await?;
    control_plane
        .apply(
            "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: owners.example.org}
spec:
  group: example.org
  scope: Namespaced
  names: {kind: Owner, plural: owners}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
",
        )
        .await?;
    control_plane.wait_for_definitions().await?;
    control_plane.restart_controller_manager()?;
    let restarted = Timestamp::now();
    control_plane
        .apply("{apiVersion: example.org/v1, kind: Owner, metadata: {name: owner, namespace: default}}")
        .await?;
    let uid = ["get", "owner/owner", "-o", "jsonpath={.metadata.uid}"];
    let reference = OwnerReference {
        api_version: "example.org/v1".to_owned(),
        kind: "Owner".to_owned(),
        name: "owner".to_owned(),
        uid: control_plane.kubectl(&uid).await?,
        ..OwnerReference::default()
    };
    let client = control_plane.admin_client().await?;
    let api = Api::<ConfigMap>::namespaced(client, "default");
    let owned = config_map("owned", Some(reference));
    api.create(&PostParams::default(), &owned).await?;

    control_plane.kubectl(&["delete", "owner/owner"]).await?;
    gone(&api, "owned").await?;
    // Sooner than the garbage collector would have found out by itself, counted from when it runs and has something to do.
    let began = logged(&control_plane, |event| {
        event.user.ends_with(":generic-garbage-collector") && event.at > restarted
    });
    let deletion = async |name| {
        let deleted = |event: &AuditEvent| event.verb == "delete" && event.name == name;
        logged(&control_plane, deleted).await
    };
    let due = began.await?.at.max(deletion("owner").await?.at);
    let took = deletion("owned").await?.at.duration_since(due);
    assert!(took.as_secs() < 20, "it took {took}");
    Ok(())
}

#[tokio::test]
async fn a_deleted_namespace_takes_everything_with_it() -> TestResult {
    let client = shared().await?.admin_client().await?;
    create_namespace(&client, "doomed").await?;
    let objects = Api::<ConfigMap>::namespaced(client.clone(), "doomed");
    let object = config_map("object", None);
    objects.create(&PostParams::default(), &object).await?;

    let namespaces = Api::<Namespace>::all(client);
    namespaces.delete("doomed", &Default::default()).await?;
    gone(&namespaces, "doomed").await?;
    assert!(objects.get_opt("object").await?.is_none());
    Ok(())
}

#[tokio::test]
async fn a_service_account_may_do_what_its_role_lets_it_and_the_audit_log_tells() -> TestResult {
    let control_plane = shared().await?;
    control_plane
        .apply(
            "
apiVersion: v1
kind: Namespace
metadata: {name: permissions}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader, namespace: permissions}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: permissions}
rules:
- {apiGroups: [''], resources: [configmaps], verbs: [list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: permissions}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects:
- {kind: ServiceAccount, name: reader, namespace: permissions}
",
        )
        .await?;
    let kubeconfig = control_plane
        .service_account_kubeconfig("permissions", "reader")
        .await?;
    let client = control_plane.client(&kubeconfig).await?;

    let config_maps = Api::<ConfigMap>::namespaced(client.clone(), "permissions");
    let start = Instant::now();
    // A role takes a moment to reach the authorizer's cache.
    while let Err(error) = config_maps.list(&ListParams::default()).await {
        assert!(start.elapsed() < PATIENCE, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let secrets = Api::<Secret>::namespaced(client, "permissions");
    let refusal = secrets.get("any").await.unwrap_err();
    assert!(matches!(refusal, kube::Error::Api(status) if status.is_forbidden()));

    let event = logged(control_plane, |event| {
        event.resource == "secrets" && event.name == "any"
    })
    .await?;
    assert_eq!(event.user, "system:serviceaccount:permissions:reader");
    assert_eq!((event.verb.as_str(), event.code), ("get", 403));
    assert_eq!(event.namespace, "permissions");
    Ok(())
}

#[tokio::test]
async fn kubectl_and_the_server_know_their_version() -> TestResult {
    let control_plane = shared().await?;
    let text = control_plane.kubectl(&["version", "-o", "json"]).await?;
    let versions: serde_json::Value = serde_json::from_str(&text)?;
    for side in ["clientVersion", "serverVersion"] {
        let version = versions[side]["gitVersion"].as_str().ok_or(side)?;
        assert!(version.starts_with("v1."), "{side} {version}");
    }
    let error = control_plane
        .kubectl(&["get", "configmap", "none"])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("NotFound"), "{error}");
    Ok(())
}

#[tokio::test]
async fn servers_can_be_stopped_frozen_and_out_of_space_and_nothing_is_lost_or_left_behind()
-> TestResult {
    let control_plane = ControlPlane::start().await?;
    let client = control_plane.admin_client().await?;
    create_namespace(&client, "before").await?;

    control_plane.stop_api_server()?;
    let namespaces = Api::<Namespace>::all(client.clone());
    assert!(namespaces.get("before").await.is_err());
    assert!(control_plane.stop_api_server().is_err());
    control_plane.start_api_server().await?;
    namespaces.get("before").await?;

    let everything = ListParams::default();
    for server in [Server::Etcd, Server::ApiServer] {
        control_plane.pause(server)?;
        let list = namespaces.list(&everything);
        let answer = tokio::time::timeout(Duration::from_millis(500), list).await;
        // A connection that breaks is no answer: the server may have closed it before it was frozen.
        let answered = matches!(answer, Ok(Ok(_) | Err(kube::Error::Api(_))));
        assert!(!answered, "{server:?} answered");
        control_plane.resume(server)?;
        namespaces.list(&everything).await?;
    }

    control_plane.fill_etcd().await?;
    let refusal = create_namespace(&client, "after").await.unwrap_err();
    assert!(
        matches!(&refusal, kube::Error::Api(status) if status.code == 500),
        "{refusal}"
    );
    namespaces.get("before").await?;
    control_plane.free_etcd().await?;
    create_namespace(&client, "after").await?;

    let folder = control_plane.folder().to_owned();
    drop(control_plane);
    assert!(!folder.exists());
    Ok(())
}

#[tokio::test]
async fn a_chart_is_rendered_with_its_values() -> TestResult {
    let control_plane = shared().await?;
    let chart = tempfile::tempdir()?;
    write(
        chart.path(),
        "Chart.yaml",
        "apiVersion: v2\nname: c\nversion: 0.1.0\n",
    );
    write(chart.path(), "values.yaml", "greeting: hello\n");
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\n  namespace: {{ .Release.Namespace }}\ndata:\n  greeting: {{ .Values.greeting }}\n";
    write(chart.path(), "templates/config.yaml", template);

    let values = [("greeting", "goodbye")];
    let binaries = control_plane.binaries();
    let text = chart::render(binaries, chart.path(), "r", "n", &values)?;
    assert!(text.contains("name: r\n"), "{text}");
    assert!(text.contains("namespace: n\n"), "{text}");
    assert!(text.contains("greeting: goodbye\n"), "{text}");

    let values = [("greeting.too", "deep")];
    let missing = chart.path().join("none");
    let error = chart::render(binaries, &missing, "r", "n", &values).unwrap_err();
    assert!(error.to_string().contains("helm template"), "{error}");
    Ok(())
}

fn write(folder: &Path, name: &str, content: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}
