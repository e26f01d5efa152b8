//! Which workloads use a Secret, and whether they see it being renewed. Only computes.
//!
//! A kubelet renews what is in a mounted folder. It does not renew a single file of it that is mounted by `subPath`, nor a
//! variable: those keep what they had when the container started.

use std::fmt;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Volume};
use serde::Serialize;

/// How a pod comes to what is in a Secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Use {
    /// A mounted folder, at this path.
    Folder(String),
    /// A single file, mounted at this path by `subPath`.
    File(String),
    /// A variable of this name.
    Variable(String),
    /// Variables for all keys (`envFrom`).
    Variables,
    /// A volume of this name that no container mounts.
    Unmounted(String),
}

impl Use {
    /// Whether what the workload sees is renewed.
    pub fn sees_renewals(&self) -> bool {
        matches!(self, Self::Folder(_))
    }
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "volume {path}"),
            Self::File(path) => write!(f, "subPath {path}"),
            Self::Variable(name) => write!(f, "env {name}"),
            Self::Variables => f.write_str("envFrom"),
            Self::Unmounted(name) => write!(f, "volume {name}, not mounted"),
        }
    }
}

/// A workload that uses the Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// How many pods of it run now.
    pub pods: usize,
    /// How it uses the Secret.
    pub uses: Vec<Use>,
}

/// How a pod uses a Secret; empty if it does not.
pub fn uses(pod: &PodSpec, secret: &str) -> Vec<Use> {
    let containers = || {
        pod.containers
            .iter()
            .chain(pod.init_containers.iter().flatten())
    };
    let mut uses = Vec::new();
    for volume in pod
        .volumes
        .iter()
        .flatten()
        .filter(|volume| is_of(volume, secret))
    {
        let mounts = containers().flat_map(|container| container.volume_mounts.iter().flatten());
        let mounts: Vec<_> = mounts.filter(|mount| mount.name == volume.name).collect();
        if mounts.is_empty() {
            uses.push(Use::Unmounted(volume.name.clone()));
        }
        for mount in mounts {
            let path = mount.mount_path.clone();
            let is_file = mount.sub_path.is_some() || mount.sub_path_expr.is_some();
            uses.push(if is_file {
                Use::File(path)
            } else {
                Use::Folder(path)
            });
        }
    }
    uses.extend(containers().flat_map(|container| variables(container, secret)));
    uses.sort();
    uses.dedup();
    uses
}

fn is_of(volume: &Volume, secret: &str) -> bool {
    let own = volume
        .secret
        .as_ref()
        .and_then(|source| source.secret_name.as_deref());
    let projected = volume
        .projected
        .iter()
        .flat_map(|volume| volume.sources.iter().flatten());
    let mut projected = projected.filter_map(|source| source.secret.as_ref());
    own == Some(secret) || projected.any(|source| source.name == secret)
}

fn variables<'a>(container: &'a Container, secret: &'a str) -> impl Iterator<Item = Use> + 'a {
    let all = container.env_from.iter().flatten();
    let all = all.filter(move |source| {
        source
            .secret_ref
            .as_ref()
            .is_some_and(|source| source.name == secret)
    });
    let single = container.env.iter().flatten().filter(move |variable| {
        let source = variable.value_from.as_ref();
        let source = source.and_then(|source| source.secret_key_ref.as_ref());
        source.is_some_and(|source| source.name == secret)
    });
    all.map(|_| Use::Variables)
        .chain(single.map(|variable| Use::Variable(variable.name.clone())))
}

/// The Secrets that a pod uses, each once.
pub fn secrets(pod: &PodSpec) -> Vec<&str> {
    let volumes = pod.volumes.iter().flatten();
    let in_volumes = volumes.flat_map(|volume| {
        let own = volume
            .secret
            .as_ref()
            .and_then(|source| source.secret_name.as_deref());
        let projected = volume
            .projected
            .iter()
            .flat_map(|volume| volume.sources.iter().flatten());
        own.into_iter()
            .chain(projected.filter_map(|source| Some(&*source.secret.as_ref()?.name)))
    });
    let containers = pod
        .containers
        .iter()
        .chain(pod.init_containers.iter().flatten());
    let in_variables = containers.flat_map(|container| {
        let all = container
            .env_from
            .iter()
            .flatten()
            .filter_map(|source| Some(&*source.secret_ref.as_ref()?.name));
        let single = container.env.iter().flatten();
        all.chain(single.filter_map(|variable| {
            Some(&*variable.value_from.as_ref()?.secret_key_ref.as_ref()?.name)
        }))
    });
    let mut names: Vec<_> = in_volumes.chain(in_variables).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// A workload's kind, name and template.
pub type Template = (&'static str, String, PodSpec);

/// The workloads that use a Secret, by their templates and by the pods that run now. A pod that belongs to none of the templates
/// counts for whoever made it, or for itself.
pub fn workloads(templates: &[Template], pods: &[Pod], secret: &str) -> Vec<Workload> {
    let mut found: Vec<Workload> = templates
        .iter()
        .map(|(kind, name, template)| Workload {
            kind: (*kind).into(),
            name: name.clone(),
            pods: 0,
            uses: uses(template, secret),
        })
        .filter(|workload| !workload.uses.is_empty())
        .collect();
    for pod in pods {
        let Some(spec) = &pod.spec else { continue };
        let uses = uses(spec, secret);
        if uses.is_empty() {
            continue;
        }
        let (kind, name) = owner(pod);
        match found
            .iter_mut()
            .find(|workload| workload.kind == kind && workload.name == name)
        {
            Some(workload) => {
                workload.pods += 1;
                // One of an earlier template.
                workload.uses.extend(uses);
                workload.uses.sort();
                workload.uses.dedup();
            }
            None => found.push(Workload {
                kind,
                name,
                pods: 1,
                uses,
            }),
        }
    }
    found.sort_by(|one, other| (&one.kind, &one.name).cmp(&(&other.kind, &other.name)));
    found
}

/// Who made a pod. A ReplicaSet is a Deployment's, and a Job mostly a CronJob's, whose names theirs begin with: the last part, of a
/// fixed form, is left out where it has that form.
fn owner(pod: &Pod) -> (String, String) {
    let owners = pod.metadata.owner_references.iter().flatten();
    let controller = owners
        .into_iter()
        .find(|owner| owner.controller == Some(true));
    let Some(owner) = controller else {
        return ("Pod".into(), pod.metadata.name.clone().unwrap_or_default());
    };
    let of = match &*owner.kind {
        "ReplicaSet" => Some("Deployment"),
        "Job" => Some("CronJob"),
        _ => None,
    };
    let made = owner.name.rsplit_once('-').filter(|(_, last)| {
        let is_of_job = last.len() >= 8 && last.bytes().all(|b| b.is_ascii_digit());
        let is_of_set = last.len() <= 10 && last.bytes().all(|b| b.is_ascii_alphanumeric());
        match &*owner.kind {
            "Job" => is_of_job,
            _ => is_of_set,
        }
    });
    match (of, made) {
        (Some(kind), Some((name, _))) => (kind.into(), name.into()),
        _ => (owner.kind.clone(), owner.name.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(value: Value) -> PodSpec {
        serde_json::from_value(value).unwrap()
    }

    fn mounted() -> PodSpec {
        spec(json!({
            "containers": [{"name": "app", "volumeMounts": [{"name": "edge", "mountPath": "/var/run/edge"}]}],
            "volumes": [{"name": "edge", "secret": {"secretName": "edge-admin"}}],
        }))
    }

    fn pod(owner: Option<(&str, &str)>, spec: PodSpec) -> Pod {
        let owners: Vec<_> = owner
            .map(|(kind, name)| json!({"apiVersion": "v1", "kind": kind, "name": name, "uid": "1", "controller": true}))
            .into_iter()
            .collect();
        let mut pod: Pod = serde_json::from_value(
            json!({"metadata": {"name": "a-pod", "ownerReferences": owners}}),
        )
        .unwrap();
        pod.spec = Some(spec);
        pod
    }

    #[test]
    fn a_mounted_folder_sees_renewals_and_nothing_else_does() {
        for (value, expected, sees) in [
            (
                json!({
                    "containers": [{"name": "app", "volumeMounts": [{"name": "edge", "mountPath": "/var/run/edge"}]}],
                    "volumes": [{"name": "edge", "secret": {"secretName": "edge-admin"}}],
                }),
                vec![Use::Folder("/var/run/edge".into())],
                true,
            ),
            (
                json!({
                    "containers": [{"name": "app", "volumeMounts": [{"name": "all", "mountPath": "/etc/all"}]}],
                    "volumes": [{"name": "all", "projected": {"sources": [{"secret": {"name": "edge-admin"}}]}}],
                }),
                vec![Use::Folder("/etc/all".into())],
                true,
            ),
            (
                json!({
                    "containers": [{"name": "app", "volumeMounts": [{"name": "edge", "mountPath": "/token", "subPath": "access_token"}]}],
                    "volumes": [{"name": "edge", "secret": {"secretName": "edge-admin"}}],
                }),
                vec![Use::File("/token".into())],
                false,
            ),
            (
                json!({"containers": [{"name": "app", "env": [
                    {"name": "EDGE_TOKEN", "valueFrom": {"secretKeyRef": {"name": "edge-admin", "key": "access_token"}}},
                    {"name": "OTHER", "value": "edge-admin"},
                ]}]}),
                vec![Use::Variable("EDGE_TOKEN".into())],
                false,
            ),
            (
                json!({"containers": [], "initContainers": [{"name": "first", "envFrom": [{"secretRef": {"name": "edge-admin"}}]}]}),
                vec![Use::Variables],
                false,
            ),
            (
                json!({"containers": [{"name": "app"}], "volumes": [{"name": "edge", "secret": {"secretName": "edge-admin"}}]}),
                vec![Use::Unmounted("edge".into())],
                false,
            ),
            (
                json!({"containers": [{"name": "app"}], "volumes": [{"name": "edge", "secret": {"secretName": "another"}}]}),
                vec![],
                true,
            ),
        ] {
            let spec = spec(value);
            let found = uses(&spec, "edge-admin");
            assert_eq!(found, expected);
            assert_eq!(found.iter().all(Use::sees_renewals), sees);
            assert_eq!(secrets(&spec).contains(&"edge-admin"), !expected.is_empty());
        }
    }

    #[test]
    fn pods_count_for_the_workload_that_made_them() {
        let templates: Vec<Template> = vec![
            ("Deployment", "watcher".into(), mounted()),
            ("CronJob", "reindex".into(), mounted()),
            (
                "Deployment",
                "other".into(),
                spec(json!({"containers": []})),
            ),
        ];
        let pods = [
            pod(Some(("ReplicaSet", "watcher-5d8c7f9b4d")), mounted()),
            pod(Some(("ReplicaSet", "watcher-6f4b8c7d9x")), mounted()),
            pod(Some(("Job", "reindex-29400000")), mounted()),
            pod(Some(("Job", "once-more")), mounted()),
            pod(None, mounted()),
            pod(None, spec(json!({"containers": []}))),
        ];
        let found = workloads(&templates, &pods, "edge-admin");
        let found: Vec<_> = found.iter().map(|w| (&*w.kind, &*w.name, w.pods)).collect();
        assert_eq!(
            found,
            [
                ("CronJob", "reindex", 1),
                ("Deployment", "watcher", 2),
                ("Job", "once-more", 1),
                ("Pod", "a-pod", 1),
            ]
        );
    }
}
