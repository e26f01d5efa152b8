//! `tree`: an EdgeCredential with all that belongs to it: credentials, endpoint, token, target, and who uses the target.

use std::io::Write;

use anstream::eprintln;
use clap::Args;
use clap_complete::ArgValueCandidates;
use edge_credential_operator::{
    api::EdgeCredential,
    edge_credential::rules::target::find_token,
    http::origin::Origin,
    rules::{
        credentials::{Credentials, extract_credentials},
        spec::make_parameters,
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
use secrecy::ExposeSecret;
use serde::Serialize;

use super::completion::object_names;
use crate::{
    cluster::{access::Cluster, errors::CallError, objects::Scope},
    error::Error,
    exit::Exit,
    output::{
        format::{Format, FormatArgs, write_json, write_yaml},
        style::{BAD, GOOD, WARN, styled},
        times::{since, until},
        tree::Node,
    },
    users::{Template, Workload, workloads},
    view::View,
};

/// The command line.
#[derive(Args, Debug)]
pub struct TreeArgs {
    /// The EdgeCredential.
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(object_names))]
    pub name: String,

    /// How to print.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// What was seen around an EdgeCredential. What may not be seen is `Err`.
struct Seen {
    object: EdgeCredential,
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
    shares_token_with: &'a [String],
    workloads: &'a [Workload],
}

/// Draws the tree.
pub async fn run(cluster: &Cluster, args: &TreeArgs) -> Result<Exit, Error> {
    let seen = look(cluster, &args.name).await?;
    let now = Timestamp::now();
    let view = View::of(&seen.object, now);
    let exit = view.state.exit();
    let mut out = anstream::stdout().lock();
    let data = Data {
        view,
        credentials: &seen.object.spec.credentials_secret_ref.name,
        endpoint: &seen.object.spec.token_request.url,
        shares_token_with: &seen.sharers,
        workloads: &seen.workloads,
    };
    match args.format.output {
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

async fn look(cluster: &Cluster, name: &str) -> Result<Seen, Error> {
    let object = cluster.edge_credential(name).await?;
    let namespace = &cluster.namespace;
    let mut unseen = Vec::new();
    let credentials = cluster
        .secret(namespace, &object.spec.credentials_secret_ref.name)
        .await;
    let target = cluster.secret(namespace, object.target_name()).await;
    for secret in [&credentials, &target] {
        unseen.extend(secret.as_ref().err().map(|error| error.action.to_string()));
    }
    let sharers = match find_sharers(cluster, &object, &credentials).await {
        Ok(sharers) => sharers,
        Err(error) => {
            unseen.push(error.action.to_string());
            Vec::new()
        }
    };
    let (templates, not_listed) = templates(cluster).await;
    unseen.extend(not_listed);
    let mut pods: Vec<Pod> = Vec::new();
    let scope = Scope::Namespace(namespace.clone());
    if let Err(error) = cluster.pods(&scope, |pod| pods.push(pod)).await {
        unseen.push(error.action.to_string());
    }
    let workloads = workloads(&templates, &pods, object.target_name());
    Ok(Seen {
        object,
        credentials,
        target,
        sharers,
        workloads,
        unseen,
    })
}

/// The others that would send an equal request, and so share its token: in all namespaces, or, where those may not be seen, in
/// its own. Of those whose credentials may not be read nothing is known.
async fn find_sharers(
    cluster: &Cluster,
    object: &EdgeCredential,
    credentials: &Result<Option<Secret>, CallError>,
) -> Result<Vec<String>, CallError> {
    let request = |object: &EdgeCredential| {
        Some(
            make_parameters(&object.spec.token_request)
                .ok()?
                .fingerprint(),
        )
    };
    let client = |object: &EdgeCredential, secret: &Option<Secret>| {
        let Credentials { client, .. } =
            extract_credentials(secret.as_ref(), &object.spec.credentials_secret_ref).ok()?;
        Some(client.fingerprint())
    };
    let Ok(secret) = credentials else {
        return Ok(Vec::new());
    };
    let (Some(ours), Some(wanted)) = (client(object, secret), request(object)) else {
        return Ok(Vec::new());
    };
    let found = match cluster.edge_credentials(&Scope::All, None).await {
        Ok(found) => found,
        Err(_) => {
            cluster
                .edge_credentials(&Scope::Namespace(cluster.namespace.clone()), None)
                .await?
        }
    };
    let mut sharers = Vec::new();
    for other in found.objects {
        if other.metadata.uid == object.metadata.uid || request(&other).as_ref() != Some(&wanted) {
            continue;
        }
        let namespace = other.metadata.namespace.as_deref().unwrap_or_default();
        let theirs = cluster
            .secret(namespace, &other.spec.credentials_secret_ref.name)
            .await;
        let theirs = theirs.ok().and_then(|secret| client(&other, &secret));
        if theirs.is_some_and(|theirs| theirs.expose_secret() == ours.expose_secret()) {
            sharers.push(format!(
                "{namespace}/{}",
                other.metadata.name.as_deref().unwrap_or_default()
            ));
        }
    }
    Ok(sharers)
}

/// The templates of the namespace's workloads, and what may not be listed.
async fn templates(cluster: &Cluster) -> (Vec<Template>, Vec<String>) {
    let scope = Scope::Namespace(cluster.namespace.clone());
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

fn draw(seen: &Seen, now: Timestamp) -> Node {
    let object = &seen.object;
    let view = View::of(object, now);
    let renews = view
        .renews_at
        .map(|time| format!(", renews in {}", until(time, now, "overdue")));
    let why = Some(&view.why)
        .filter(|why| !why.is_empty())
        .map(|why| format!(": {why}"));
    Node {
        text: format!(
            "{} {}/{}   {}{}",
            view.kind,
            view.namespace,
            view.name,
            view.state.colored(),
            why.or(renews).unwrap_or_default()
        ),
        children: vec![
            Node::leaf(format!("credentials  {}", draw_credentials(seen, now))),
            Node::leaf(format!("endpoint     {}", draw_endpoint(seen))),
            Node::leaf(format!("token        {}", draw_token(&view, object, now))),
            Node {
                text: format!("target       {}", draw_target(seen)),
                children: seen
                    .workloads
                    .iter()
                    .map(|workload| Node::leaf(draw_workload(workload)))
                    .collect(),
            },
        ],
    }
}

fn draw_credentials(seen: &Seen, now: Timestamp) -> String {
    let names = &seen.object.spec.credentials_secret_ref;
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

fn draw_endpoint(seen: &Seen) -> String {
    let url = &seen.object.spec.token_request.url;
    let origin = reqwest::Url::parse(url).ok().as_ref().and_then(Origin::of);
    let origin = origin.map_or_else(|| styled(BAD, "not a URL"), |origin| origin.to_string());
    match seen.sharers.as_slice() {
        [] => origin,
        sharers => format!("{origin}   shares its token with {}", sharers.join(", ")),
    }
}

fn draw_token(view: &View, object: &EdgeCredential, now: Timestamp) -> String {
    let token = object
        .status
        .as_ref()
        .and_then(|status| status.token.as_ref());
    let Some(token) = token else {
        return styled(BAD, "none yet");
    };
    let mut parts = Vec::new();
    if !token.audience.is_empty() {
        parts.push(format!("for {}", token.audience));
    }
    parts.extend(
        view.tenant
            .as_ref()
            .map(|tenant| format!("tenant {tenant}")),
    );
    parts.extend(token.scope.as_ref().map(|scope| format!("scopes {scope}")));
    let expires = if token.expires_at.0 > now {
        "expires in "
    } else {
        ""
    };
    parts.push(format!(
        "{expires}{}",
        until(token.expires_at.0, now, "expired")
    ));
    parts.join("   ")
}

fn draw_target(seen: &Seen) -> String {
    let name = seen.object.target_name();
    let what = match &seen.target {
        Err(_) => styled(WARN, "not seen"),
        Ok(None) => styled(BAD, "not there"),
        Ok(Some(secret)) => {
            let keys = secret.data.as_ref().map_or(0, |data| data.len());
            let proof = match check_ownership(secret, &seen.object) {
                Err(problem) | Ok(Ownership::Adoptable(problem)) => styled(BAD, problem),
                Ok(Ownership::Ours) if find_token(secret, &seen.object).is_some() => {
                    styled(GOOD, "proof good")
                }
                Ok(Ownership::Ours) => styled(BAD, "no token in it proves itself"),
            };
            format!("{keys} keys, {proof}")
        }
    };
    format!("Secret/{name}   {what}")
}

fn draw_workload(workload: &Workload) -> String {
    let pods = match workload.pods {
        1 => "1 pod".to_owned(),
        pods => format!("{pods} pods"),
    };
    let uses: Vec<_> = workload.uses.iter().map(ToString::to_string).collect();
    let verdict = if workload.uses.iter().all(|use_| use_.sees_renewals()) {
        "sees renewals".to_owned()
    } else {
        styled(WARN, "! keeps the first token for the pod's life")
    };
    format!(
        "{}/{}   {pods}   {}   {verdict}",
        workload.kind,
        workload.name,
        uses.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use serde_json::json;

    use super::*;
    use crate::users::Use;

    #[test]
    fn a_tree_shows_what_belongs_to_an_object_and_who_does_not_see_renewals() {
        let now: Timestamp = "2026-11-26T10:00:00Z".parse().unwrap();
        let object = serde_json::from_value(json!({
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
