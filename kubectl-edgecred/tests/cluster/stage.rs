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
    harness::{CLIENT, Namespace, PATIENCE, SECRET, Scene, Setup, credentials, find},
    sitecore::Sitecore,
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

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
    /// An EdgeCredential that is ready and used by two workloads, one whose credentials are malformed, and one that is suspended.
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

/// A Deployment that mounts the token, with a pod, and a CronJob that reads it from a variable. Nothing runs them here.
async fn create_workloads(scene: &Scene) {
    let namespace = &scene.namespaces[0].name;
    let mounts = json!({
        "containers": [{
            "name": "app", "image": "app",
            "volumeMounts": [{"name": "edge-token", "mountPath": "/var/run/edge", "readOnly": true}],
        }],
        "volumes": [{"name": "edge-token", "secret": {"secretName": "edge-admin"}}],
    });
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "edge-settings-watcher"},
        "spec": {
            "selector": {"matchLabels": {"app": "watcher"}},
            "template": {"metadata": {"labels": {"app": "watcher"}}, "spec": mounts},
        },
    });
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
    let set = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": "edge-settings-watcher-5d8c7f9b4d"},
        "spec": {
            "selector": {"matchLabels": {"app": "watcher"}},
            "template": {"metadata": {"labels": {"app": "watcher"}}, "spec": mounts},
        },
    });
    let params = PostParams::default();
    let sets = Api::<ReplicaSet>::namespaced(scene.client.clone(), namespace);
    let set = sets
        .create(&params, &serde_json::from_value(set).unwrap())
        .await
        .unwrap();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "edge-settings-watcher-5d8c7f9b4d-x7k2p",
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "edge-settings-watcher-5d8c7f9b4d",
                "uid": set.metadata.uid, "controller": true,
            }],
        },
        "spec": mounts,
    });
    let deployments = Api::<Deployment>::namespaced(scene.client.clone(), namespace);
    deployments
        .create(&params, &serde_json::from_value(deployment).unwrap())
        .await
        .unwrap();
    let cron_jobs = Api::<CronJob>::namespaced(scene.client.clone(), namespace);
    cron_jobs
        .create(&params, &serde_json::from_value(cron_job).unwrap())
        .await
        .unwrap();
    let pods = Api::<Pod>::namespaced(scene.client.clone(), namespace);
    pods.create(&params, &serde_json::from_value(pod).unwrap())
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
