//! `doctor`: whether all that has to be there is there: definition, operator, rights, and objects that are well.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anstream::eprintln;
use clap::{Args, builder::ValueHint};
use edge_credential_operator::api::EdgeCredential;
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        authorization::v1::{
            ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
        },
        coordination::v1::Lease,
        core::v1::Pod,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    jiff::Timestamp,
};
use kube::{Api, CustomResourceExt, Resource, ResourceExt, api::PostParams};
use serde_json::json;

use super::events;
use crate::{
    bundle,
    check::{Check, exit},
    cluster::{
        access::Cluster,
        errors::Action,
        objects::{EDGE_CREDENTIALS, Scope},
        operator,
    },
    error::Error,
    exit::Exit,
    output::{
        format::{Format, FormatArgs, write_json, write_yaml},
        times::since,
    },
    users::{self, Use},
    view::{State, View, summary},
};

/// What this program needs in a namespace, for all of its commands.
const RIGHTS: [(&str, &str, &str, &str); 9] = [
    ("list", "edgecredentials.io", "edgecredentials", "status"),
    (
        "patch",
        "edgecredentials.io",
        "edgecredentials",
        "renew, suspend, resume",
    ),
    ("create", "edgecredentials.io", "edgecredentials", "init"),
    ("get", "", "secrets", "tree, inspect, token, call, test"),
    ("create", "", "secrets", "init"),
    ("list", "", "pods", "status, tree"),
    ("list", "apps", "deployments", "tree"),
    ("list", "batch", "cronjobs", "tree"),
    ("list", "", "events", "events"),
];

/// The command line.
#[derive(Args, Debug)]
pub struct DoctorArgs {
    /// Look at the EdgeCredentials of all namespaces.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,

    /// Write what was seen into this archive, for who helps: no Secrets, and no fixed values of targets. It ends in .tar.gz.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub bundle: Option<PathBuf>,

    /// How to print.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// What was seen, beside what it came to.
#[derive(Default)]
struct Seen {
    checks: Vec<Check>,
    objects: Vec<EdgeCredential>,
    deployments: Vec<Deployment>,
    leases: Vec<Lease>,
}

/// Looks, and says what is not as it should be.
pub async fn run(cluster: &Cluster, args: &DoctorArgs) -> Result<Exit, Error> {
    let scope = cluster.scope(args.all_namespaces);
    let now = Timestamp::now();
    let mut seen = Seen::default();
    check_server(cluster, &mut seen).await?;
    let is_served = check_definition(cluster, &mut seen).await;
    check_operator(cluster, &mut seen, now).await;
    if is_served {
        check_rights(cluster, &mut seen).await;
        check_objects(cluster, &scope, &mut seen, now).await;
        check_workloads(cluster, &scope, &mut seen).await;
    }
    let mut out = anstream::stdout().lock();
    match args.format.output {
        Format::Json => write_json(&mut out, &seen.checks)?,
        Format::Yaml => write_yaml(&mut out, &seen.checks)?,
        Format::Table | Format::Wide | Format::Name => seen
            .checks
            .iter()
            .try_for_each(|check| check.write(&mut out))?,
    }
    if let Some(path) = &args.bundle {
        write_bundle(cluster, &scope, &seen, path).await?;
        eprintln!(
            "{} was written. It has no Secrets; look into it before you give it away.",
            path.display()
        );
    }
    Ok(exit(&seen.checks))
}

async fn check_server(cluster: &Cluster, seen: &mut Seen) -> Result<(), Error> {
    let action = Action {
        verb: "get",
        resource: "version",
        namespace: None,
        name: Some("server".into()),
    };
    let version = cluster
        .call(action, cluster.client.apiserver_version())
        .await?;
    seen.checks.push(Check::good(format!(
        "Kubernetes {} ({})",
        version.git_version, cluster.place
    )));
    Ok(())
}

/// Whether EdgeCredentials are served, and, where that may be seen, by which definition.
async fn check_definition(cluster: &Cluster, seen: &mut Seen) -> bool {
    let found = cluster
        .edge_credentials(&Scope::Namespace(cluster.namespace.clone()), None)
        .await;
    if let Err(error) = found
        && error.cause != crate::cluster::errors::Cause::Forbidden
    {
        let text = error.to_string();
        let (what, next) = text.split_once("\n  ").unwrap_or((&text, ""));
        seen.checks.push(Check::bad(what, next));
        return false;
    }
    let ours = EdgeCredential::crd();
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    let action = Action {
        verb: "get",
        resource: "customresourcedefinitions.apiextensions.k8s.io",
        namespace: None,
        name: Some(EDGE_CREDENTIALS.into()),
    };
    let version = EdgeCredential::version(&());
    let schema = |definition: &CustomResourceDefinition| {
        let versions = definition.spec.versions.iter();
        let found = versions.into_iter().find(|known| known.name == version);
        found.and_then(|known| serde_json::to_value(&known.schema).ok())
    };
    seen.checks.push(
        match cluster
            .call(action, definitions.get(EDGE_CREDENTIALS))
            .await
        {
            Ok(definition) if schema(&definition) == schema(&ours) => {
                Check::good(format!("definition {version}, as this program knows it"))
            }
            Ok(_) => Check::warning(
                format!(
                    "definition {version} is of another version than this program ({})",
                    env!("CARGO_PKG_VERSION")
                ),
                "Bring both to one version: docs/upgrade.md.",
            ),
            Err(error) => Check::unseen(format!(
                "definition {version} is served; of which version, may not be seen: cannot {}",
                error.action
            )),
        },
    );
    true
}

async fn check_operator(cluster: &Cluster, seen: &mut Seen, now: Timestamp) {
    seen.deployments = match operator::deployments(cluster).await {
        Ok(deployments) => deployments,
        Err(error) => {
            seen.checks.push(Check::unseen(format!(
                "the operator: cannot {}",
                error.action
            )));
            return;
        }
    };
    if seen.deployments.is_empty() {
        seen.checks.push(Check::bad(
            format!(
                "there is no operator: no Deployment with the label {}",
                operator::LABEL
            ),
            "Install it: docs/install.md. One that runs without a Deployment is not seen here.",
        ));
    }
    for deployment in &seen.deployments {
        let name = format!(
            "{}/{}",
            deployment.namespace().unwrap_or_default(),
            deployment.name_any()
        );
        let wanted = deployment.spec.replicas.unwrap_or(1);
        let ready = deployment
            .status
            .as_ref()
            .and_then(|status| status.ready_replicas)
            .unwrap_or_default();
        let image = image(deployment);
        seen.checks.push(if ready >= wanted && wanted > 0 {
            Check::good(format!("operator {name}, {image}, {ready}/{wanted} pods ready"))
        } else if wanted == 0 {
            Check::bad(format!("operator {name} is scaled to 0: nothing is renewed"), "Scale it up: kubectl scale deployment --replicas=1")
        } else {
            let namespace = deployment.namespace().unwrap_or_default();
            Check::bad(
                format!("operator {name}, {image}, {ready}/{wanted} pods ready"),
                format!("See `kubectl describe pods --namespace {namespace} --selector {}` and their logs.", operator::LABEL),
            )
        });
        let Some(settings) =
            operator::settings(deployment).filter(|settings| settings.leader_election)
        else {
            continue;
        };
        let namespace = settings
            .lease_namespace
            .clone()
            .or(deployment.namespace())
            .unwrap_or_default();
        let leases: Api<Lease> = cluster.namespaced(&namespace);
        let action = Action {
            verb: "get",
            resource: "leases.coordination.k8s.io",
            namespace: Some(namespace),
            name: Some(settings.lease_name.clone()),
        };
        match cluster.call(action, leases.get(&settings.lease_name)).await {
            Ok(lease) => {
                seen.checks.push(check_lease(&lease, now));
                seen.leases.push(lease);
            }
            Err(error) => seen
                .checks
                .push(Check::unseen(format!("who leads: cannot {}", error.action))),
        }
    }
}

fn image(deployment: &Deployment) -> String {
    let pod = deployment.spec.template.spec.as_ref();
    let container = pod.and_then(|pod| pod.containers.first());
    container
        .and_then(|container| container.image.clone())
        .unwrap_or_default()
}

fn check_lease(lease: &Lease, now: Timestamp) -> Check {
    let spec = lease.spec.as_ref();
    let holder = spec
        .and_then(|spec| spec.holder_identity.as_deref())
        .filter(|holder| !holder.is_empty());
    let renewed = spec
        .and_then(|spec| spec.renew_time.as_ref())
        .map(|time| time.0);
    let seconds = spec
        .and_then(|spec| spec.lease_duration_seconds)
        .unwrap_or(15);
    match (holder, renewed) {
        (Some(holder), Some(renewed))
            if now.duration_since(renewed).as_secs() <= i64::from(seconds) =>
        {
            Check::good(format!("{holder} leads"))
        }
        (_, Some(renewed)) => Check::bad(
            format!(
                "nobody leads: the lease was renewed {} ago",
                since(renewed, now)
            ),
            "See docs/runbooks/EdgeCredentialOperatorNoLeader.md.",
        ),
        _ => Check::bad(
            "nobody leads",
            "See docs/runbooks/EdgeCredentialOperatorNoLeader.md.",
        ),
    }
}

/// What the user may do here: every authenticated user may ask that.
async fn check_rights(cluster: &Cluster, seen: &mut Seen) {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
    let mut missing = Vec::new();
    for (verb, group, resource, commands) in RIGHTS {
        let question = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    namespace: Some(cluster.namespace.clone()),
                    verb: Some(verb.into()),
                    group: Some(group.into()),
                    resource: Some(resource.into()),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let action = Action {
            verb: "create",
            resource: "selfsubjectaccessreviews.authorization.k8s.io",
            namespace: None,
            name: Some(resource.into()),
        };
        match cluster
            .call(action, reviews.create(&PostParams::default(), &question))
            .await
        {
            Ok(answer) if answer.status.as_ref().is_some_and(|status| status.allowed) => {}
            Ok(_) => missing.push(format!("{verb} {resource} (for {commands})")),
            Err(error) => {
                seen.checks.push(Check::unseen(format!(
                    "your rights: cannot {}",
                    error.action
                )));
                return;
            }
        }
    }
    let namespace = &cluster.namespace;
    seen.checks.push(if missing.is_empty() {
        Check::good(format!(
            "your rights in {namespace}: all that this program needs"
        ))
    } else {
        Check::warning(
            format!(
                "your rights in {namespace}: you may not {}",
                missing.join(", ")
            ),
            "The ClusterRole edit, given there by an administrator, has all of them.",
        )
    });
}

async fn check_objects(cluster: &Cluster, scope: &Scope, seen: &mut Seen, now: Timestamp) {
    let found = match cluster.edge_credentials(scope, None).await {
        Ok(found) => found,
        Err(error) => {
            seen.checks.push(Check::unseen(format!(
                "EdgeCredentials: cannot {}",
                error.action
            )));
            return;
        }
    };
    for name in found.malformed {
        seen.checks.push(Check::warning(
            format!("{name} does not fit its definition"),
            "Correct or delete it.",
        ));
    }
    let mut views: Vec<_> = found
        .objects
        .iter()
        .map(|object| View::of(object, now))
        .collect();
    views.sort_by(|one, other| one.rank().cmp(&other.rank()));
    for view in &views {
        let name = format!("{}/{}", view.namespace, view.name);
        match view.state {
            State::Ready | State::Suspended => {}
            State::Stalled | State::Expired | State::Overdue => seen.checks.push(Check::bad(
                format!("{name} {:?}: {}", view.state, view.why),
                view.message
                    .clone()
                    .unwrap_or_else(|| "See `kubectl edgecred status`.".into()),
            )),
            State::NotReady | State::Retrying | State::Unseen => {
                seen.checks.push(Check::warning(
                    format!("{name} {:?}: {}", view.state, view.why),
                    "It passes by itself, unless it lasts.",
                ));
            }
        }
    }
    let is_well = |view: &View| matches!(view.state, State::Ready | State::Suspended);
    if views.is_empty() {
        seen.checks.push(Check::warning(
            "there are no EdgeCredentials here",
            "Make one with `kubectl edgecred init`, or look with -A.",
        ));
    } else if views.iter().all(is_well) {
        seen.checks.push(Check::good(format!(
            "EdgeCredentials: {}",
            summary(&views, now)
        )));
    }
    seen.objects = found.objects;
}

/// Who has a token that is not renewed where it is read.
async fn check_workloads(cluster: &Cluster, scope: &Scope, seen: &mut Seen) {
    let targets: BTreeMap<(String, String), String> = seen
        .objects
        .iter()
        .map(|object| {
            (
                (
                    object.namespace().unwrap_or_default(),
                    object.target_name().to_owned(),
                ),
                object.name_any(),
            )
        })
        .collect();
    let mut stuck: BTreeMap<String, String> = BTreeMap::new();
    let listed = cluster.pods(scope, |pod: Pod| {
        let Some(spec) = &pod.spec else { return };
        let namespace = pod.namespace().unwrap_or_default();
        for secret in users::secrets(spec) {
            let is_target = targets.contains_key(&(namespace.clone(), secret.to_owned()));
            let uses = users::uses(spec, secret);
            if is_target
                && let Some(use_) = uses
                    .iter()
                    .find(|use_| !use_.sees_renewals() && !matches!(use_, Use::Unmounted(_)))
            {
                stuck.insert(format!("{namespace}/{}", pod.name_any()), use_.to_string());
            }
        }
    });
    if let Err(error) = listed.await {
        seen.checks.push(Check::unseen(format!(
            "who uses the tokens: cannot {}",
            error.action
        )));
        return;
    }
    for (pod, use_) in stuck {
        seen.checks.push(Check::warning(
            format!("pod {pod} keeps the token that it began with ({use_})"),
            "Mount the whole Secret as a folder, and read the file on each call: docs/workloads.md.",
        ));
    }
}

/// Writes an archive of what was seen. Secrets are never read for it.
async fn write_bundle(
    cluster: &Cluster,
    scope: &Scope,
    seen: &Seen,
    path: &Path,
) -> Result<(), Error> {
    let events = events::list(cluster, scope, None).await.unwrap_or_default();
    let versions = json!({"plugin": env!("CARGO_PKG_VERSION"), "context": cluster.place.context, "server": cluster.place.server});
    let objects: Vec<_> = seen.objects.iter().map(bundle::without_values).collect();
    let deployments: Vec<_> = seen
        .deployments
        .iter()
        .map(bundle::without_environment)
        .collect();
    let files = [
        ("versions.json", json!(versions)),
        ("checks.json", json!(seen.checks)),
        ("edgecredentials.json", json!(objects)),
        ("deployments.json", json!(deployments)),
        ("leases.json", json!(seen.leases)),
        ("events.json", json!(events)),
    ];
    let failed = |source| Error::File {
        path: path.to_owned(),
        action: "written",
        source,
    };
    bundle::pack(path, &files).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_is_not_renewed_has_no_leader() {
        let now: Timestamp = "2026-11-26T10:00:00Z".parse().unwrap();
        let lease = |renewed: &str| -> Lease {
            serde_json::from_value(json!({"spec": {
                "holderIdentity": "pod-1", "leaseDurationSeconds": 15, "renewTime": renewed,
            }}))
            .unwrap()
        };
        assert_eq!(
            check_lease(&lease("2026-11-26T09:59:50.000000Z"), now),
            Check::good("pod-1 leads")
        );
        let late = check_lease(&lease("2026-11-26T09:59:00.000000Z"), now);
        assert!(late.found.starts_with("nobody leads"), "{late:?}");
        assert_eq!(exit(&[late]), Exit::NeedsPerson);
    }
}
