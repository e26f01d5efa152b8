//! A person with the ClusterRole `edit` in one namespace, in which something is well and something is not.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec},
    batch::v1::CronJob,
    core::v1::Pod,
};
use kit::{
    harness::{CLIENT, Namespace, PATIENCE, SECRET, Scene, Setup, credentials, find, text},
    sitecore::Sitecore,
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

/// What a command came to.
#[derive(Debug)]
pub struct Printed {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A scene, and a person in it.
pub struct Stage {
    pub scene: Scene,
    pub kubeconfig: PathBuf,
    /// Where the person is, with files of their own.
    pub folder: tempfile::TempDir,
}

impl Stage {
    /// An EdgeCredential that is ready and used by two workloads, one whose credentials are malformed, one that is suspended, and an
    /// EdgeToken that is ready and used by a workload.
    pub async fn new(name: &str) -> Self {
        Self::set(name, Setup::default()).await
    }

    /// The same, in a cluster that has nothing else.
    pub async fn alone(name: &str) -> Self {
        let setup = Setup {
            own_control_plane: true,
            ..Setup::default()
        };
        Self::set(name, setup).await
    }

    async fn set(name: &str, setup: Setup) -> Self {
        let scene = setup.scene(name).await;
        let shop = &scene.namespaces[0];
        scene
            .sitecore
            .configure(CLIENT, |client| client.tenant_id = Some("acme-prod".into()));
        shop.create_credentials().await;
        shop.create_secret(
            "edge-old-client",
            &credentials(CLIENT, &format!("{SECRET}\n")),
        )
        .await;
        shop.create_ready("edge-admin").await;
        let mut legacy = shop.edge_credential("edge-legacy");
        legacy.spec.credentials_secret_ref.name = "edge-old-client".into();
        shop.create_object(&legacy).await;
        let mut preview = shop.edge_credential("edge-preview");
        preview.spec.suspend = true;
        shop.create_object(&preview).await;
        let mut content = shop.edge_token("storefront-content");
        content.spec.rotation.every = Some("2160h".into());
        shop.create_edge_token(&content).await;
        shop.edge_token_ready("storefront-content").await;
        shop.object_that("edge-legacy", "is seen", |_| true).await;
        shop.object_that("edge-preview", "is seen", |_| true).await;
        create_workloads(&scene).await;
        report_pods_ready(&scene, name).await;
        let kubeconfig = edit_rights(&scene).await;
        let folder = tempfile::tempdir().unwrap();
        Self {
            scene,
            kubeconfig,
            folder,
        }
    }

    pub fn shop(&self) -> &Namespace {
        &self.scene.namespaces[0]
    }

    pub fn sitecore(&self) -> &Sitecore {
        &self.scene.sitecore
    }

    /// The key in the target of the EdgeToken.
    pub async fn key(&self) -> String {
        text(
            &self.shop().secret("storefront-content").await,
            "SITECORE_API_KEY",
        )
    }

    /// Starts the operator anew: a process leaves a minute between two keys that it makes for one object.
    pub async fn restart_operator(&mut self) {
        self.scene.operator.kill();
        self.scene.operator.start().await;
    }

    /// The command, to be run or put on a terminal.
    pub fn command(&self, args: &[&str]) -> Command {
        command(self.folder.path(), &self.kubeconfig, args)
    }

    /// Enters a command, and returns what it printed.
    pub async fn enter(&self, args: &[&str]) -> Printed {
        run(self.command(args)).await
    }
}

/// The plugin, with nothing of this machine's environment but what a person would have.
pub fn command(folder: &Path, kubeconfig: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-edgecred"));
    command
        .args(args)
        .current_dir(folder)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", folder)
        .env("KUBECONFIG", kubeconfig);
    command
}

/// Runs a command to its end, without keeping this thread from what else is to be done.
pub async fn run(mut command: Command) -> Printed {
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    Printed {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A Deployment that mounts the token, a CronJob that reads it from a variable, and a Deployment that has the key in its environment.
/// Nothing runs them here; each Deployment has a pod all the same.
async fn create_workloads(scene: &Scene) {
    let mounts = json!({
        "containers": [{
            "name": "app", "image": "app",
            "volumeMounts": [{"name": "edge-token", "mountPath": "/var/run/edge", "readOnly": true}],
        }],
        "volumes": [{"name": "edge-token", "secret": {"secretName": "edge-admin"}}],
    });
    create_deployment(scene, "edge-settings-watcher", &mounts).await;
    let reads = json!({
        "containers": [{
            "name": "app", "image": "app",
            "envFrom": [{"secretRef": {"name": "storefront-content"}}],
        }],
    });
    create_deployment(scene, "storefront", &reads).await;
    let cron_job = json!({
        "apiVersion": "batch/v1", "kind": "CronJob",
        "metadata": {"name": "reindex"},
        "spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": {"spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "app", "image": "app", "env": [{
                "name": "EDGE_TOKEN",
                "valueFrom": {"secretKeyRef": {"name": "edge-admin", "key": "access_token"}},
            }]}],
        }}}}},
    });
    let namespace = &scene.namespaces[0].name;
    Api::<CronJob>::namespaced(scene.client.clone(), namespace)
        .create(
            &PostParams::default(),
            &serde_json::from_value(cron_job).unwrap(),
        )
        .await
        .unwrap();
}

/// A Deployment with a ReplicaSet and a pod.
async fn create_deployment(scene: &Scene, name: &str, spec: &Value) {
    let namespace = &scene.namespaces[0].name;
    let (client, params) = (&scene.client, PostParams::default());
    let workload = json!({
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": spec},
    });
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": workload});
    Api::<Deployment>::namespaced(client.clone(), namespace)
        .create(&params, &serde_json::from_value(deployment).unwrap())
        .await
        .unwrap();
    let set_name = format!("{name}-5d8c7f9b4d");
    let set = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": set_name}, "spec": workload});
    let set = Api::<ReplicaSet>::namespaced(client.clone(), namespace)
        .create(&params, &serde_json::from_value(set).unwrap())
        .await
        .unwrap();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("{set_name}-x7k2p"),
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": set_name, "uid": set.metadata.uid, "controller": true,
            }],
        },
        "spec": spec,
    });
    Api::<Pod>::namespaced(client.clone(), namespace)
        .create(&params, &serde_json::from_value(pod).unwrap())
        .await
        .unwrap();
}

/// Nothing runs the operator's pods here, and it runs all the same.
async fn report_pods_ready(scene: &Scene, name: &str) {
    let deployments =
        Api::<Deployment>::namespaced(scene.client.clone(), &format!("{name}-operator"));
    let deployment = deployments
        .list(&Default::default())
        .await
        .unwrap()
        .items
        .remove(0);
    let replicas = deployment.spec.replicas.unwrap_or(1);
    let patch = json!({"status": {"replicas": replicas, "readyReplicas": replicas}});
    let name = deployment.metadata.name.unwrap();
    deployments
        .patch_status(&name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
}

/// The kubeconfig of somebody with the ClusterRole `edit` in the namespace.
async fn edit_rights(scene: &Scene) -> PathBuf {
    let namespace = &scene.namespaces[0].name;
    let plane = &scene.control_plane;
    plane
        .kubectl(&[
            "create",
            "serviceaccount",
            "person",
            "--namespace",
            namespace,
        ])
        .await
        .unwrap();
    let account = format!("--serviceaccount={namespace}:person");
    plane
        .kubectl(&[
            "create",
            "rolebinding",
            "person",
            "--clusterrole=edit",
            &account,
            "--namespace",
            namespace,
        ])
        .await
        .unwrap();
    let kubeconfig = plane
        .service_account_kubeconfig(namespace, "person")
        .await
        .unwrap();
    let client = plane.client(&kubeconfig).await.unwrap();
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                namespace: Some(namespace.clone()),
                verb: Some("patch".into()),
                group: Some("edgecredentials.io".into()),
                resource: Some("edgecredentials".into()),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let granted = find(PATIENCE, async || {
        let reviews = Api::<SelfSubjectAccessReview>::all(client.clone());
        let answer = reviews.create(&PostParams::default(), &review).await.ok()?;
        answer.status?.allowed.then_some(())
    });
    assert!(
        granted.await.is_some(),
        "edit has no rights on EdgeCredentials"
    );
    kubeconfig
}

/// Writes the files that the documentation's commands read.
pub fn write_files(stage: &Stage) {
    let folder = stage.folder.path();
    fs::create_dir_all(folder.join("k8s")).unwrap();
    let manifest = "apiVersion: edgecredentials.io/v1alpha1
kind: EdgeCredential
metadata:
  name: edge-admin
  namespace: storefront
spec:
  credentialsSecretRef:
    name: edge-client
  target:
    name: edge-client
    label: {team: web}
---
apiVersion: edgecredentials.io/v1alpha1
kind: EdgeCredential
metadata:
  name: edge-search
  namespace: storefront
spec:
  credentialsSecretRef:
    name: edge-client
  target:
    name: edge-client
";
    fs::write(folder.join("k8s/edge.yaml"), manifest).unwrap();
    fs::write(folder.join("id.txt"), CLIENT).unwrap();
    fs::write(folder.join("secret.txt"), format!("{SECRET}\n")).unwrap();
}
