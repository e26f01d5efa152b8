//! `tree`: an object with all that belongs to it: credentials, endpoint, token or keys, target, and who uses the target.

mod drawn;
mod key;
mod sharers;
mod token;

use std::io::Write;

use anstream::eprintln;
use clap::Args;
use clap_complete::ArgValueCandidates;
use edge_credential_operator::{
    api::{EdgeCredential, EdgeToken},
    http::origin::Origin,
    rules::{
        credentials::extract_credentials,
        target::{Ownership, check_ownership},
    },
};
use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, Deployment, StatefulSet},
        batch::v1::CronJob,
        core::v1::{Pod, PodTemplateSpec, Secret},
    },
    jiff::Timestamp,
};
use serde::Serialize;
use serde_json::{Map, Value};

use self::drawn::Drawn;
use super::completion::object_names;
use crate::{
    cluster::{access::Cluster, errors::CallError},
    error::Error,
    exit::Exit,
    kind::{Kind, Object},
    name::Entered,
    output::{
        format::{Format, FormatArgs, write_json, write_yaml},
        style::{BAD, GOOD, WARN, styled},
        times::{since, until},
        tree::Node,
    },
    users::{Template, Use, Workload, workloads},
    view::View,
};

/// The command line.
#[derive(Args, Debug)]
pub struct TreeArgs {
    /// NAME for an EdgeCredential, edgetoken/NAME for an EdgeToken.
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(object_names))]
    pub name: Entered,

    /// How to print.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// What was seen around an object. What may not be seen is `Err`.
struct Seen<K> {
    object: K,
    credentials: Result<Option<Secret>, CallError>,
    target: Result<Option<Secret>, CallError>,
    /// Others that share its token, with their namespaces.
    sharers: Vec<String>,
    workloads: Vec<Workload>,
    unseen: Vec<String>,
}

/// The same for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    #[serde(flatten)]
    view: View,
    credentials: &'a str,
    endpoint: &'a str,
    #[serde(flatten)]
    details: Map<String, Value>,
    shares_token_with: &'a [String],
    workloads: &'a [Workload],
}

/// Draws the tree.
pub async fn run(cluster: &Cluster, args: &TreeArgs) -> Result<Exit, Error> {
    let object = args.name.of_any_kind();
    let (name, format) = (&object.name, args.format);
    match object.kind {
        Kind::EdgeCredential => show::<EdgeCredential>(cluster, name, format).await,
        Kind::EdgeToken => show::<EdgeToken>(cluster, name, format).await,
    }
}

async fn show<K: Drawn>(cluster: &Cluster, name: &str, format: FormatArgs) -> Result<Exit, Error> {
    let seen: Seen<K> = look(cluster, name).await?;
    let now = Timestamp::now();
    let view = View::of(&seen.object, now);
    let exit = view.state.exit();
    let mut out = anstream::stdout().lock();
    let data = Data {
        view,
        credentials: &seen.object.credentials().name,
        endpoint: &seen.object.token_request().url,
        details: seen.object.details(),
        shares_token_with: &seen.sharers,
        workloads: &seen.workloads,
    };
    match format.output {
        Format::Json => write_json(&mut out, &data)?,
        Format::Yaml => write_yaml(&mut out, &data)?,
        Format::Name => writeln!(out, "{}", data.view.resource_name())?,
        Format::Table | Format::Wide => draw(&seen, now).write(&mut out)?,
    }
    for unseen in &seen.unseen {
        eprintln!("{} not seen: cannot {unseen}", styled(WARN, "!"));
    }
    Ok(exit)
}

async fn look<K: Object>(cluster: &Cluster, name: &str) -> Result<Seen<K>, Error> {
    let object: K = cluster.get(name).await?;
    let namespace = &cluster.namespace;
    let mut unseen = Vec::new();
    let credentials = cluster.secret(namespace, &object.credentials().name).await;
    let target = cluster.secret(namespace, object.target()).await;
    for secret in [&credentials, &target] {
        unseen.extend(secret.as_ref().err().map(|error| error.action.to_string()));
    }
    let ours = credentials.as_ref().ok().and_then(Option::as_ref);
    let sharers = match sharers::find(cluster, &object, ours).await {
        Ok(sharers) => sharers,
        Err(error) => {
            unseen.push(error.action.to_string());
            Vec::new()
        }
    };
    let (templates, not_listed) = templates(cluster).await;
    unseen.extend(not_listed);
    let mut pods: Vec<Pod> = Vec::new();
    let scope = cluster.scope(false);
    if let Err(error) = cluster.pods(&scope, |pod| pods.push(pod)).await {
        unseen.push(error.action.to_string());
    }
    let workloads = workloads(&templates, &pods, object.target());
    Ok(Seen {
        object,
        credentials,
        target,
        sharers,
        workloads,
        unseen,
    })
}

/// The templates of the namespace's workloads, and what may not be listed.
async fn templates(cluster: &Cluster) -> (Vec<Template>, Vec<String>) {
    let scope = cluster.scope(false);
    let mut templates: Vec<Template> = Vec::new();
    let mut unseen = Vec::new();
    let mut add = |kind, name: Option<String>, template: Option<PodTemplateSpec>| {
        if let (Some(name), Some(spec)) = (name, template.and_then(|template| template.spec)) {
            templates.push((kind, name, spec));
        }
    };
    let listed = [
        cluster
            .each("deployments.apps", &scope, None, |object: Deployment| {
                add(
                    "Deployment",
                    object.metadata.name,
                    Some(object.spec.template),
                );
            })
            .await,
        cluster
            .each("statefulsets.apps", &scope, None, |object: StatefulSet| {
                add(
                    "StatefulSet",
                    object.metadata.name,
                    Some(object.spec.template),
                );
            })
            .await,
        cluster
            .each("daemonsets.apps", &scope, None, |object: DaemonSet| {
                add(
                    "DaemonSet",
                    object.metadata.name,
                    Some(object.spec.template),
                );
            })
            .await,
        cluster
            .each("cronjobs.batch", &scope, None, |object: CronJob| {
                let template = object.spec.job_template.spec.map(|job| job.template);
                add("CronJob", object.metadata.name, template);
            })
            .await,
    ];
    unseen.extend(
        listed
            .into_iter()
            .filter_map(Result::err)
            .map(|error| error.action.to_string()),
    );
    (templates, unseen)
}

fn draw<K: Drawn>(seen: &Seen<K>, now: Timestamp) -> Node {
    let object = &seen.object;
    let view = View::of(object, now);
    let renews = view
        .renews_at
        .map(|time| format!(", {} in {}", K::RENEWED, until(time, now, "overdue")));
    let why = Some(&view.why)
        .filter(|why| !why.is_empty())
        .map(|why| format!(": {why}"));
    let leaf = |word: &str, text: String| Node::leaf(format!("{word:<12} {text}"));
    let mut children = vec![
        leaf("credentials", draw_credentials(seen, now)),
        leaf("endpoint", draw_endpoint(seen)),
    ];
    let own = object.draw(now).into_iter();
    children.extend(own.map(|(word, text)| leaf(word, text)));
    let users = seen.workloads.iter();
    children.push(Node {
        children: users
            .map(|user| Node::leaf(draw_workload::<K>(user)))
            .collect(),
        ..leaf("target", draw_target(seen, now))
    });
    Node {
        text: format!(
            "{}   {}{}",
            view.title(),
            view.state.colored(),
            why.or(renews).unwrap_or_default()
        ),
        children,
    }
}

fn draw_credentials<K: Object>(seen: &Seen<K>, now: Timestamp) -> String {
    let names = seen.object.credentials();
    let what = match &seen.credentials {
        Err(_) => styled(WARN, "not seen"),
        Ok(secret) => match extract_credentials(secret.as_ref(), names) {
            Err(problem) => styled(BAD, problem),
            Ok(_) => format!("{}, {} ok", names.client_id_key, names.client_secret_key),
        },
    };
    let secret = seen.credentials.as_ref().ok().and_then(Option::as_ref);
    let changed = secret.and_then(last_change);
    let changed = changed.map_or(String::new(), |time| {
        format!(", changed {} ago", since(time, now))
    });
    format!("Secret/{}   {what}{changed}", names.name)
}

/// When somebody last wrote a Secret, as the API server notes it.
fn last_change(secret: &Secret) -> Option<Timestamp> {
    let metadata = &secret.metadata;
    let writes = metadata.managed_fields.iter().flatten();
    let last = writes
        .filter_map(|write| Some(write.time.as_ref()?.0))
        .max();
    last.or(metadata.creation_timestamp.as_ref().map(|time| time.0))
}

fn draw_endpoint<K: Object>(seen: &Seen<K>) -> String {
    let url = &seen.object.token_request().url;
    let origin = reqwest::Url::parse(url).ok().as_ref().and_then(Origin::of);
    let origin = origin.map_or_else(|| styled(BAD, "not a URL"), |origin| origin.to_string());
    match seen.sharers.as_slice() {
        [] => origin,
        sharers => format!("{origin}   shares its token with {}", sharers.join(", ")),
    }
}

fn draw_target<K: Drawn>(seen: &Seen<K>, now: Timestamp) -> String {
    let name = seen.object.target();
    let what = match &seen.target {
        Err(_) => styled(WARN, "not seen"),
        Ok(None) => styled(BAD, "not there"),
        Ok(Some(secret)) => {
            let keys = secret.data.as_ref().map_or(0, |data| data.len());
            let proof = match check_ownership(secret, &seen.object) {
                Err(problem) | Ok(Ownership::Adoptable(problem)) => styled(BAD, problem),
                Ok(Ownership::Ours) if seen.object.is_proven(secret, now) => {
                    styled(GOOD, "proof good")
                }
                Ok(Ownership::Ours) => styled(BAD, "nothing in it proves itself"),
            };
            format!("{keys} keys, {proof}")
        }
    };
    format!("Secret/{name}   {what}")
}

fn draw_workload<K: Drawn>(workload: &Workload) -> String {
    let pods = match workload.pods {
        1 => "1 pod".to_owned(),
        pods => format!("{pods} pods"),
    };
    let uses: Vec<_> = workload.uses.iter().map(ToString::to_string).collect();
    let sees_renewals = workload.uses.iter().all(Use::sees_renewals);
    format!(
        "{}/{}   {pods}   {}   {}",
        workload.kind,
        workload.name,
        uses.join(", "),
        K::judge_use(sees_renewals)
    )
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tree_shows_what_belongs_to_an_object_and_who_does_not_see_renewals() {
        let now: Timestamp = "2026-11-26T10:00:00Z".parse().unwrap();
        let object: EdgeCredential = serde_json::from_value(json!({
            "apiVersion": "edgecredentials.io/v1alpha1",
            "kind": "EdgeCredential",
            "metadata": {"name": "edge-admin", "namespace": "storefront", "generation": 1, "uid": "1"},
            "spec": {"credentialsSecretRef": {"name": "edge-client"}},
            "status": {
                "observedGeneration": 1,
                "conditions": [{
                    "type": "Ready", "status": "True", "reason": "TokenValid", "message": "",
                    "lastTransitionTime": "2026-11-26T09:00:00Z",
                }],
                "token": {
                    "issuedAt": "2026-11-26T09:00:00Z", "expiresAt": "2026-11-27T09:00:00Z", "renewAt": "2026-11-27T01:00:00Z",
                    "audience": "https://api.sitecorecloud.io", "tenantID": "acme-prod",
                },
            },
        }))
        .unwrap();
        let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
        let credentials: Secret = serde_json::from_value(json!({
            "metadata": {"name": "edge-client", "creationTimestamp": "2026-11-14T10:00:00Z"},
        }))
        .unwrap();
        let data = [
            ("client_id".to_owned(), bytes("CANARY-ID")),
            ("client_secret".to_owned(), bytes("CANARY-SECRET")),
        ];
        let seen = Seen {
            object,
            credentials: Ok(Some(Secret {
                data: Some(data.into()),
                ..credentials
            })),
            target: Ok(None),
            sharers: vec!["search/edge-admin".into()],
            workloads: vec![
                Workload {
                    kind: "CronJob".into(),
                    name: "reindex".into(),
                    pods: 0,
                    uses: vec![Use::Variable("EDGE_TOKEN".into())],
                },
                Workload {
                    kind: "Deployment".into(),
                    name: "watcher".into(),
                    pods: 3,
                    uses: vec![Use::Folder("/var/run/edge".into())],
                },
            ],
            unseen: Vec::new(),
        };
        let mut out = Vec::new();
        draw(&seen, now).write(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            anstream::adapter::strip_str(&text).to_string(),
            "EdgeCredential storefront/edge-admin   Ready, renews in 15h00m\n\
             ├─ credentials  Secret/edge-client   client_id, client_secret ok, changed 12d ago\n\
             ├─ endpoint     https://auth.sitecorecloud.io   shares its token with search/edge-admin\n\
             ├─ token        for https://api.sitecorecloud.io   tenant acme-prod   expires in 23h00m\n\
             └─ target       Secret/edge-admin   not there\n   \
             ├─ CronJob/reindex   0 pods   env EDGE_TOKEN   ! keeps the first token for the pod's life\n   \
             └─ Deployment/watcher   3 pods   volume /var/run/edge   sees renewals\n"
        );
        assert!(!text.contains("CANARY"));
    }
}
