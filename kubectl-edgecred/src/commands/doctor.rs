//! `doctor`: whether all that has to be there is there: definitions, operator, rights, and objects that are well.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anstream::eprintln;
use clap::{Args, builder::ValueHint};
use edge_credential_operator::api::{EdgeCredential, EdgeToken};
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
use kube::{Api, ResourceExt, api::PostParams};
use serde_json::json;

use super::events;
use crate::{
    bundle,
    check::{Check, exit},
    cluster::{
        access::Cluster,
        errors::{Action, Cause},
        objects::Scope,
        operator,
    },
    error::Error,
    exit::Exit,
    kind::{Kind, Object},
    output::{
        format::{Format, FormatArgs, write_json, write_yaml},
        times::{since, to_the_minute},
    },
    users::{self, Use},
    view::{State, View, summary},
};

/// A resource that a cluster need not have.
const EDGE_TOKENS: &str = "edgetokens";

/// What this program needs in a namespace, for all of its commands.
const RIGHTS: [(&str, &str, &str, &str); 11] = [
    ("list", "edgecredentials.io", "edgecredentials", "status"),
    (
        "patch",
        "edgecredentials.io",
        "edgecredentials",
        "renew, suspend, resume",
    ),
    ("create", "edgecredentials.io", "edgecredentials", "init"),
    ("list", "edgecredentials.io", EDGE_TOKENS, "status"),
    (
        "patch",
        "edgecredentials.io",
        EDGE_TOKENS,
        "rotate, end-overlap, suspend, resume",
    ),
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
    /// Look at the objects of all namespaces.
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
    credentials: Vec<EdgeCredential>,
    keys: Vec<EdgeToken>,
    deployments: Vec<Deployment>,
    leases: Vec<Lease>,
}

/// Looks, and says what is not as it should be.
pub async fn run(cluster: &Cluster, args: &DoctorArgs) -> Result<Exit, Error> {
    let scope = cluster.scope(args.all_namespaces);
    let now = Timestamp::now();
    let mut seen = Seen::default();
    check_server(cluster, &mut seen).await?;
    let is_served = check_definition::<EdgeCredential>(cluster, &mut seen).await;
    let has_keys = is_served && check_definition::<EdgeToken>(cluster, &mut seen).await;
    check_operator(cluster, &mut seen, now).await;
    if is_served {
        check_rights(cluster, has_keys, &mut seen).await;
        check_objects(cluster, &scope, &mut seen, now).await;
        check_workloads(cluster, &scope, &mut seen, now).await;
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

/// Whether a kind is served, and, where that may be seen, by which definition.
async fn check_definition<K: Object>(cluster: &Cluster, seen: &mut Seen) -> bool {
    let found = cluster.list::<K>(&cluster.scope(false), None).await;
    match found {
        Err(error) if error.cause == Cause::NoSuchKind && K::KIND == Kind::EdgeToken => {
            let found = format!("no definition of {}s, which is optional", K::KIND);
            seen.checks.push(Check::good(found));
            return false;
        }
        Err(error) if error.cause != Cause::Forbidden => {
            let text = error.to_string();
            let (what, next) = text.split_once("\n  ").unwrap_or((&text, ""));
            seen.checks.push(Check::bad(what, next));
            return false;
        }
        _ => {}
    }
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    let name = K::KIND.resource();
    let action = Action {
        verb: "get",
        resource: "customresourcedefinitions.apiextensions.k8s.io",
        namespace: None,
        name: Some(name.into()),
    };
    let version = K::version(&());
    let schema = |definition: &CustomResourceDefinition| {
        let mut versions = definition.spec.versions.iter();
        let found = versions.find(|known| known.name == version);
        found.and_then(|known| serde_json::to_value(&known.schema).ok())
    };
    let what = format!("definition {} {version}", K::KIND);
    seen.checks
        .push(match cluster.call(action, definitions.get(name)).await {
            Ok(definition) if schema(&definition) == schema(&K::crd()) => {
                Check::good(format!("{what}, as this program knows it"))
            }
            Ok(_) => Check::warning(
                format!(
                    "{what} is of another version than this program ({})",
                    env!("CARGO_PKG_VERSION")
                ),
                "Bring both to one version: docs/upgrade.md.",
            ),
            Err(error) => Check::unseen(format!(
                "{what} is served; of which version, may not be seen: cannot {}",
                error.action
            )),
        });
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
async fn check_rights(cluster: &Cluster, has_keys: bool, seen: &mut Seen) {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
    let mut missing = Vec::new();
    for (verb, group, resource, commands) in RIGHTS {
        if resource == EDGE_TOKENS && !has_keys {
            continue;
        }
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
    let credentials = list::<EdgeCredential>(cluster, scope, seen).await;
    let keys = list::<EdgeToken>(cluster, scope, seen).await;
    let is_seen = credentials.is_some() && keys.is_some();
    seen.credentials = credentials.unwrap_or_default();
    seen.keys = keys.unwrap_or_default();
    let credentials = seen.credentials.iter();
    let mut views: Vec<_> = credentials.map(|object| View::of(object, now)).collect();
    views.extend(seen.keys.iter().map(|object| View::of(object, now)));
    views.sort_by(|one, other| one.rank().cmp(&other.rank()));
    for view in &views {
        let what = format!("{} {:?}: {}", view.title(), view.state, view.why);
        match view.state {
            State::Ready | State::Suspended => {}
            State::Stalled | State::Expired | State::Overdue => seen.checks.push(Check::bad(
                what,
                view.message
                    .clone()
                    .unwrap_or_else(|| "See `kubectl edgecred status`.".into()),
            )),
            State::NotReady | State::Retrying | State::Unseen => {
                let next = "It passes by itself, unless it lasts.";
                seen.checks.push(Check::warning(what, next));
            }
        }
    }
    let is_well = |view: &View| matches!(view.state, State::Ready | State::Suspended);
    if views.is_empty() && is_seen {
        seen.checks.push(Check::warning(
            "there are no EdgeCredentials and no EdgeTokens here",
            "Make one with `kubectl edgecred init`, or look with -A.",
        ));
    } else if !views.is_empty() && views.iter().all(is_well) {
        let summary = summary(&views, now);
        seen.checks.push(Check::good(format!("objects: {summary}")));
    }
}

/// The objects of a kind; `None` where they may not be seen.
async fn list<K: Object>(cluster: &Cluster, scope: &Scope, seen: &mut Seen) -> Option<Vec<K>> {
    match cluster.list_if_served::<K>(scope, None).await {
        Ok(found) => {
            let malformed = found.malformed.iter().map(|name| {
                let found = format!("{name} does not fit its definition");
                Check::warning(found, "Correct or delete it.")
            });
            seen.checks.extend(malformed);
            Some(found.objects)
        }
        Err(error) => {
            let found = format!("{}s: cannot {}", K::KIND, error.action);
            seen.checks.push(Check::unseen(found));
            None
        }
    }
}

/// Who has a token that is not renewed where it is read, or the former key while its overlap runs.
async fn check_workloads(cluster: &Cluster, scope: &Scope, seen: &mut Seen, now: Timestamp) {
    fn place<K: Object>(object: &K) -> (String, String) {
        let namespace = object.namespace().unwrap_or_default();
        (namespace, object.target().to_owned())
    }
    let tokens: BTreeSet<_> = seen.credentials.iter().map(place).collect();
    let overlaps = seen.keys.iter().filter_map(|object| {
        let made_at = object.status.as_ref()?.token.as_ref()?.created_at.0;
        let until = object.said().overlap_until.filter(|until| now < *until)?;
        Some((place(object), (made_at, until)))
    });
    let overlaps: BTreeMap<_, _> = overlaps.collect();
    let mut stuck: BTreeMap<String, Check> = BTreeMap::new();
    let listed = cluster.pods(scope, |pod: Pod| {
        let Some(spec) = &pod.spec else { return };
        let namespace = pod.namespace().unwrap_or_default();
        let name = format!("{namespace}/{}", pod.name_any());
        let began_at = pod.metadata.creation_timestamp.as_ref();
        for secret in users::secrets(spec) {
            let uses = users::uses(spec, secret);
            let mut uses = uses
                .iter()
                .filter(|use_| !use_.sees_renewals() && !matches!(use_, Use::Unmounted(_)));
            let Some(use_) = uses.next() else { continue };
            let place = (namespace.clone(), secret.to_owned());
            if tokens.contains(&place) {
                let check = Check::warning(
                    format!("pod {name} keeps the token that it began with ({use_})"),
                    "Mount the whole Secret as a folder, and read the file on each call: docs/workloads.md.",
                );
                stuck.insert(name.clone(), check);
            } else if let Some((made_at, until)) = overlaps.get(&place)
                && began_at.is_some_and(|began_at| began_at.0 <= *made_at)
            {
                let check = Check::warning(
                    format!("pod {name} began before the key in Secret {secret} was made ({use_})"),
                    format!(
                        "It has the former one: restart it before {}, unless its containers were since.",
                        to_the_minute(*until)
                    ),
                );
                stuck.insert(name.clone(), check);
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
    seen.checks.extend(stuck.into_values());
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
    let credentials = seen.credentials.iter().map(bundle::without_values);
    let keys = seen.keys.iter().map(bundle::without_values);
    let deployments: Vec<_> = seen
        .deployments
        .iter()
        .map(bundle::without_environment)
        .collect();
    let files = [
        ("versions.json", json!(versions)),
        ("checks.json", json!(seen.checks)),
        ("edgecredentials.json", credentials.collect()),
        ("edgetokens.json", keys.collect()),
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
