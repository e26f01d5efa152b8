//! `test`: one token request as the operator would send it, and nothing written.

use std::path::{Path, PathBuf};

use anstream::eprintln;
use clap::{Args, builder::ValueHint};
use clap_complete::ArgValueCandidates;
use edge_credential_operator::{
    api::{EdgeCredential, EdgeToken, Reason, credentials::CredentialsSecretRef},
    clock::Clock,
    cluster::back_off::Class,
    edge_credential, edge_token,
    edge_token::rules::spec::Allowed,
    http::{
        origin::{AllowedOrigins, Origin, SITECORE_API_ORIGINS, SITECORE_ORIGINS},
        route::{Deadlines, HttpClient, Route},
    },
    oauth::{RequestParameters, Token, TokenRequest, TokenSource, client::HttpTokenSource},
    rules::{
        credentials::extract_credentials,
        spec::{SpecProblem, check_names},
    },
};
use kube::ResourceExt;

use super::completion::object_names;
use crate::{
    check::{Check, exit},
    cluster::{
        access::{AccessArgs, Cluster},
        operator,
    },
    error::Error,
    exit::Exit,
    kind::{Kind, Object},
    manifest::{Node, read},
    name::{Entered, ObjectName},
    output::{progress::during, times::short},
};

/// The command line.
#[derive(Args, Debug)]
pub struct TestArgs {
    /// NAME for an EdgeCredential of the cluster, edgetoken/NAME for an EdgeToken.
    #[arg(value_name = "NAME", required_unless_present = "filename", add = ArgValueCandidates::new(object_names))]
    pub name: Option<Entered>,

    /// The manifest of an EdgeCredential or an EdgeToken that need not be in the cluster; - for standard input.
    #[arg(short, long, value_name = "FILE", conflicts_with = "name", value_hint = ValueHint::FilePath)]
    pub filename: Option<PathBuf>,

    /// A token origin that the operator allows; give it several times for several. By default those of the operator in the cluster, or,
    /// where it may not be seen, Sitecore's.
    #[arg(
        long = "allowed-token-origin",
        value_name = "ORIGIN",
        value_delimiter = ','
    )]
    pub token_origins: Vec<Origin>,

    /// An origin of Sitecore's APIs that the operator allows, for an EdgeToken; as with --allowed-token-origin. Nothing is sent there.
    #[arg(
        long = "allowed-api-origin",
        value_name = "ORIGIN",
        value_delimiter = ','
    )]
    pub api_origins: Vec<Origin>,

    /// Trust the CA certificates in this PEM file too, as the operator does with --token-ca-file.
    #[arg(long, value_name = "PEM", value_hint = ValueHint::FilePath)]
    pub token_ca_file: Option<PathBuf>,
}

/// What is tried.
enum Subject {
    Credential(Box<EdgeCredential>),
    Key(Box<EdgeToken>),
}

/// Who would ask the token endpoint for what.
struct Trial {
    credentials: CredentialsSecretRef,
    /// What would be asked for, or what is wrong with the spec.
    parameters: Result<RequestParameters, SpecProblem>,
}

/// Sends one request from this machine. The token is thrown away.
pub async fn run(access: &AccessArgs, args: &TestArgs) -> Result<Exit, Error> {
    let mut cluster = access.connect().await?;
    let subject = match (&args.name, &args.filename) {
        (Some(name), _) => {
            let ObjectName { kind, name } = name.of_any_kind();
            match kind {
                Kind::EdgeCredential => Subject::Credential(Box::new(cluster.get(&name).await?)),
                Kind::EdgeToken => Subject::Key(Box::new(cluster.get(&name).await?)),
            }
        }
        (None, Some(path)) => from_file(path)?,
        (None, None) => return Err(Error::Unanswered),
    };
    if let (None, Some(namespace)) = (&access.namespace, subject.namespace()) {
        cluster.namespace = namespace;
    }
    let (allowed, whose) = find_allowed(&cluster, args).await;
    let checks = check(&cluster, args, subject.trial(&allowed), allowed, whose).await?;
    let mut out = anstream::stdout().lock();
    checks.iter().try_for_each(|check| check.write(&mut out))?;
    eprintln!(
        "Nothing was written. From this machine the way to the endpoint may be another one than from the operator's pod."
    );
    Ok(exit(&checks))
}

impl Subject {
    /// An object of a manifest, if it is one of these.
    fn of(root: &Node) -> Option<Self> {
        let value = root.to_value();
        match root.text(&["kind"])? {
            kind if kind == Kind::EdgeCredential.as_str() => {
                serde_json::from_value(value).ok().map(Self::Credential)
            }
            kind if kind == Kind::EdgeToken.as_str() => {
                serde_json::from_value(value).ok().map(Self::Key)
            }
            _ => None,
        }
    }

    fn namespace(&self) -> Option<String> {
        match self {
            Self::Credential(object) => object.namespace(),
            Self::Key(object) => object.namespace(),
        }
    }

    fn trial(&self, allowed: &Allowed) -> Trial {
        match self {
            Self::Credential(object) => {
                let origins = &allowed.token_endpoints;
                let plan = edge_credential::rules::spec::check_spec(object, origins);
                Trial::new(&**object, plan.map(|plan| plan.parameters))
            }
            Self::Key(object) => {
                let plan = edge_token::rules::spec::check_spec(object, allowed);
                Trial::new(&**object, plan.map(|plan| plan.parameters))
            }
        }
    }
}

impl Trial {
    fn new<K: Object>(object: &K, parameters: Result<RequestParameters, SpecProblem>) -> Self {
        let credentials = object.credentials().clone();
        let names = check_names(&credentials, object.target());
        Self {
            credentials,
            parameters: names.and(parameters),
        }
    }
}

fn from_file(path: &Path) -> Result<Subject, Error> {
    let documents = read(path)?;
    let mut roots = documents
        .iter()
        .filter_map(|document| document.root.as_ref().ok());
    roots.find_map(Subject::of).ok_or_else(|| {
        Error::refused(
            format!(
                "{} has no EdgeCredential and no EdgeToken that can be read",
                path.display()
            ),
            format!(
                "See what is wrong with `kubectl edgecred validate -f {}`.",
                path.display()
            ),
        )
    })
}

/// What is allowed, and by whose word token endpoints are.
async fn find_allowed(cluster: &Cluster, args: &TestArgs) -> (Allowed, &'static str) {
    let deployments = operator::deployments(cluster).await.unwrap_or_default();
    let settings = deployments.iter().find_map(operator::settings);
    let (otherwise, whose) = match settings {
        Some(settings) => (operator::allowed(&settings), "the operator"),
        None => (
            Allowed {
                token_endpoints: parse(&SITECORE_ORIGINS),
                apis: parse(&SITECORE_API_ORIGINS),
            },
            "the operator's default, since it may not be seen",
        ),
    };
    let given = |origins: &[Origin]| -> Option<AllowedOrigins> {
        (!origins.is_empty()).then(|| origins.iter().cloned().collect())
    };
    let token_endpoints = given(&args.token_origins);
    let whose = token_endpoints
        .as_ref()
        .map_or(whose, |_| "the command line");
    let allowed = Allowed {
        token_endpoints: token_endpoints.unwrap_or(otherwise.token_endpoints),
        apis: given(&args.api_origins).unwrap_or(otherwise.apis),
    };
    (allowed, whose)
}

fn parse(origins: &[&str]) -> AllowedOrigins {
    let origins = origins
        .iter()
        .filter_map(|origin| origin.parse::<Origin>().ok());
    origins.collect()
}

/// The checks, in the order of the operator's own; the first one that fails is the last.
async fn check(
    cluster: &Cluster,
    args: &TestArgs,
    trial: Trial,
    allowed: Allowed,
    whose: &str,
) -> Result<Vec<Check>, Error> {
    let mut checks = Vec::new();
    let parameters = match trial.parameters {
        Ok(parameters) => parameters,
        Err(problem) => {
            checks.push(failed(problem.reason(), &problem.to_string()));
            return Ok(checks);
        }
    };
    checks.push(Check::good("schema and rules"));
    checks.push(Check::good(format!(
        "origin {} allowed by {whose}",
        parameters.token_url.origin().ascii_serialization()
    )));
    let reference = &trial.credentials;
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
    let source = HttpTokenSource::new(allowed.token_endpoints, client, Clock::system());
    let request = TokenRequest {
        parameters,
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
