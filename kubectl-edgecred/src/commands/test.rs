//! `test`: one token request as the operator would send it, and nothing written.

use std::path::{Path, PathBuf};

use anstream::eprintln;
use clap::{Args, builder::ValueHint};
use clap_complete::ArgValueCandidates;
use edge_credential_operator::{
    api::{EdgeCredential, Reason},
    clock::Clock,
    cluster::retry::Class,
    edge_credential::rules::spec::check_spec,
    http::{
        origin::{AllowedOrigins, Origin, SITECORE_ORIGINS},
        route::{Deadlines, HttpClient, Route},
    },
    oauth::{Token, TokenRequest, TokenSource, client::HttpTokenSource},
    rules::{credentials::extract_credentials, spec::check_names},
};
use kube::{Resource, ResourceExt};

use super::completion::object_names;
use crate::{
    check::{Check, exit},
    cluster::{
        access::{AccessArgs, Cluster},
        operator,
    },
    error::Error,
    exit::Exit,
    manifest::read,
    output::{progress::during, times::short},
};

/// The command line.
#[derive(Args, Debug)]
pub struct TestArgs {
    /// The EdgeCredential of the cluster.
    #[arg(value_name = "NAME", required_unless_present = "filename", add = ArgValueCandidates::new(object_names))]
    pub name: Option<String>,

    /// The manifest of an EdgeCredential that need not be in the cluster; - for standard input.
    #[arg(short, long, value_name = "FILE", conflicts_with = "name", value_hint = ValueHint::FilePath)]
    pub filename: Option<PathBuf>,

    /// A token origin that the operator allows; give it several times for several. By default those of the operator in the cluster, or,
    /// where it may not be seen, Sitecore's.
    #[arg(
        long = "allowed-token-origin",
        value_name = "ORIGIN",
        value_delimiter = ','
    )]
    pub origins: Vec<Origin>,

    /// Trust the CA certificates in this PEM file too, as the operator does with --token-ca-file.
    #[arg(long, value_name = "PEM", value_hint = ValueHint::FilePath)]
    pub token_ca_file: Option<PathBuf>,
}

/// Sends one request from this machine. The token is thrown away.
pub async fn run(access: &AccessArgs, args: &TestArgs) -> Result<Exit, Error> {
    let mut cluster = access.connect().await?;
    let object = match (&args.name, &args.filename) {
        (Some(name), _) => cluster.edge_credential(name).await?,
        (None, Some(path)) => from_file(path)?,
        (None, None) => return Err(Error::Unanswered),
    };
    if let (None, Some(namespace)) = (&access.namespace, object.namespace()) {
        cluster.namespace = namespace;
    }
    let (origins, whose) = find_origins(&cluster, &args.origins).await;
    let checks = check(&cluster, args, &object, &origins, whose).await?;
    let mut out = anstream::stdout().lock();
    checks.iter().try_for_each(|check| check.write(&mut out))?;
    eprintln!(
        "Nothing was written. From this machine the way to the endpoint may be another one than from the operator's pod."
    );
    Ok(exit(&checks))
}

fn from_file(path: &Path) -> Result<EdgeCredential, Error> {
    let documents = read(path)?;
    let mut objects = documents
        .iter()
        .filter_map(|document| document.root.as_ref().ok());
    let root = objects.find(|root| root.text(&["kind"]) == Some(&*EdgeCredential::kind(&())));
    let object = root.and_then(|root| serde_json::from_value(root.to_value()).ok());
    object.ok_or_else(|| {
        Error::refused(
            format!("{} has no EdgeCredential that can be read", path.display()),
            format!(
                "See what is wrong with `kubectl edgecred validate -f {}`.",
                path.display()
            ),
        )
    })
}

/// The origins that are allowed, and by whose word.
async fn find_origins(cluster: &Cluster, given: &[Origin]) -> (AllowedOrigins, &'static str) {
    if !given.is_empty() {
        return (given.iter().cloned().collect(), "the command line");
    }
    let deployments = operator::deployments(cluster).await.unwrap_or_default();
    match deployments.iter().find_map(operator::settings) {
        Some(settings) => (operator::allowed_origins(&settings), "the operator"),
        None => {
            let origins = SITECORE_ORIGINS
                .iter()
                .filter_map(|origin| origin.parse().ok());
            (
                origins.collect(),
                "the operator's default, since it may not be seen",
            )
        }
    }
}

/// The checks, in the order of the operator's own; the first one that fails is the last.
async fn check(
    cluster: &Cluster,
    args: &TestArgs,
    object: &EdgeCredential,
    origins: &AllowedOrigins,
    whose: &str,
) -> Result<Vec<Check>, Error> {
    let mut checks = Vec::new();
    let plan = match check_names(&object.spec.credentials_secret_ref, object.target_name())
        .and_then(|()| check_spec(object, origins))
    {
        Ok(plan) => plan,
        Err(problem) => {
            checks.push(failed(problem.reason(), &problem.to_string()));
            return Ok(checks);
        }
    };
    checks.push(Check::good("schema and rules"));
    checks.push(Check::good(format!(
        "origin {} allowed by {whose}",
        plan.parameters.token_url.origin().ascii_serialization()
    )));
    let reference = &object.spec.credentials_secret_ref;
    let secret = cluster.secret(&cluster.namespace, &reference.name).await?;
    let credentials = match extract_credentials(secret.as_ref(), reference) {
        Ok(credentials) => credentials,
        Err(problem) => {
            checks.push(failed(
                problem.reason(),
                &format!("Secret {}: {problem}", reference.name),
            ));
            return Ok(checks);
        }
    };
    checks.push(Check::good(format!("Secret {}", reference.name)));
    let client =
        HttpClient::new(&route(args)?, Deadlines::default()).map_err(|_| Error::HttpClient)?;
    let source = HttpTokenSource::new(origins.clone(), client, Clock::system());
    let request = TokenRequest {
        parameters: plan.parameters,
        credentials: credentials.client,
    };
    let reply = during("waiting for the token endpoint", source.request(&request)).await;
    checks.push(match reply.result {
        Ok(token) => Check::good(describe(&token)),
        Err(error) => failed(error.reason(), &error.to_string()),
    });
    if let Some(quota) = reply.limits.quota {
        checks.push(Check::good(format!(
            "{} of {} requests are left",
            quota.remaining, quota.limit
        )));
    }
    if let Some(skew) = reply.clock_skew.filter(|skew| skew.as_secs().abs() > 30) {
        checks.push(Check::warning(
            format!(
                "the endpoint's clock differs from the one here by {}",
                short(skew)
            ),
            "Set the clock of the machine that is wrong.",
        ));
    }
    Ok(checks)
}

fn route(args: &TestArgs) -> Result<Route, Error> {
    let Some(path) = &args.token_ca_file else {
        return Ok(Route::default());
    };
    let pem = std::fs::read(path).map_err(|source| Error::File {
        path: path.clone(),
        action: "read",
        source,
    })?;
    Ok(Route {
        authorities: Some(pem.into()),
        proxy: None,
    })
}

fn describe(token: &Token) -> String {
    let tenant = token
        .tenant_id
        .as_ref()
        .map_or(String::new(), |tenant| format!(", tenant {tenant}"));
    let scope = token
        .scope
        .as_ref()
        .map_or(String::new(), |scope| format!(", scopes {scope}"));
    format!(
        "a token was issued, valid for {}{tenant}{scope}",
        short(token.lifetime())
    )
}

/// A check that failed, with what the operator's table says of its reason.
fn failed(reason: Reason, what: &str) -> Check {
    let text = format!("{what} → {reason}: {}", reason.meaning());
    if Class::of(reason).is_stalled(i32::MAX) {
        Check::bad(text, reason.remedy())
    } else {
        Check::warning(text, reason.remedy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Verdict;

    #[test]
    fn what_fails_is_explained_in_the_operators_own_words() {
        let check = failed(
            Reason::ClientNotAllowed,
            "the token endpoint answered HTTP 403",
        );
        assert_eq!(check.verdict, Verdict::Bad);
        assert_eq!(
            check.found,
            "the token endpoint answered HTTP 403 → ClientNotAllowed: The token endpoint knows the client but refuses the request (HTTP \
             403): wrong kind of client, audience or scope."
        );
        assert_eq!(
            check.next.as_deref(),
            Some(Reason::ClientNotAllowed.remedy())
        );
        assert_eq!(
            failed(Reason::TokenEndpointUnavailable, "x").verdict,
            Verdict::Warning
        );
    }
}
