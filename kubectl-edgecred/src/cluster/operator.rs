//! The operator in a cluster, as far as the user may see it.

use clap::Parser;
use edge_credential_operator::{
    edge_token::rules::spec::Allowed,
    operator::flags::{Cli as OperatorCli, Command as OperatorCommand, Settings},
};
use k8s_openapi::api::apps::v1::Deployment;

use super::{access::Cluster, errors::CallError, objects::Scope};

/// What the chart's objects are labelled with.
pub const LABEL: &str = "app.kubernetes.io/name=edge-credential-operator";

/// Its Deployments: in all namespaces, or, where those may not be seen, in that of the command line.
pub async fn deployments(cluster: &Cluster) -> Result<Vec<Deployment>, CallError> {
    let mut found = Vec::new();
    let everywhere = cluster
        .each("deployments.apps", &Scope::All, Some(LABEL), |object| {
            found.push(object)
        })
        .await;
    if everywhere.is_ok() {
        return Ok(found);
    }
    found.clear();
    let scope = Scope::Namespace(cluster.namespace.clone());
    let here = cluster
        .each("deployments.apps", &scope, Some(LABEL), |object| {
            found.push(object)
        })
        .await;
    // One that was not found here may be elsewhere.
    match here {
        Ok(()) if !found.is_empty() => Ok(found),
        _ => everywhere.map(|()| found),
    }
}

/// What it was started with, read by its own parser.
pub fn settings(deployment: &Deployment) -> Option<Settings> {
    let pod = deployment.spec.template.spec.as_ref()?;
    let args = pod.containers.first()?.args.as_ref()?;
    let parsed = OperatorCli::try_parse_from(
        [&"edge-credential-operator".to_owned()]
            .into_iter()
            .chain(args),
    )
    .ok()?;
    match parsed.command {
        OperatorCommand::Run(settings) => Some(*settings),
        _ => None,
    }
}

/// Where it sends client secrets, tokens and keys.
pub fn allowed(settings: &Settings) -> Allowed {
    Allowed {
        token_endpoints: settings.allowed_token_origins.iter().cloned().collect(),
        apis: settings.allowed_api_origins.iter().cloned().collect(),
    }
}
