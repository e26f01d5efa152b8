//! The token in the target of an EdgeCredential.

use edge_credential_operator::{
    api::{EdgeCredential, token_request::TokenFormat},
    edge_credential::rules::target::{ProvenToken, find_token},
    oauth::jwt,
    rules::{
        credentials::extract_credentials,
        target::{Ownership, check_ownership},
    },
};
use k8s_openapi::{api::core::v1::Secret, jiff::Timestamp};
use secrecy::ExposeSecret;
use serde::Serialize;

use super::{
    report::{Described, Inspection, UNKNOWN},
    signature::verify,
};
use crate::{
    check::Check,
    cluster::{access::Cluster, errors::CallError},
    error::Error,
    output::times::{short, since, to_the_minute, until},
};

/// What a token says of itself, as far as it may be shown.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Token {
    issued_at: Timestamp,
    expires_at: Timestamp,
    renews_at: Timestamp,
    audience: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    organization: Option<String>,
    size: usize,
}

impl Described for Token {
    fn lines(&self, now: Timestamp) -> Vec<(&'static str, String)> {
        let time = |time, past| format!("{}, {}", to_the_minute(time), until(time, now, past));
        let issued_at = to_the_minute(self.issued_at);
        let known = |text: &Option<String>| text.clone().unwrap_or_else(|| UNKNOWN.into());
        vec![
            (
                "issued",
                format!("{issued_at}, {} ago", since(self.issued_at, now)),
            ),
            ("renews", time(self.renews_at, "due for")),
            ("expires", time(self.expires_at, "expired")),
            ("audience", self.audience.clone()),
            ("scopes", known(&self.scope)),
            ("tenant", known(&self.tenant)),
            ("organization", known(&self.organization)),
            ("size", format!("{} bytes", self.size)),
        ]
    }
}

/// Looks into the target, and checks what is there.
pub(super) async fn inspect(
    cluster: &Cluster,
    name: &str,
    verifies: bool,
) -> Result<Inspection<Token>, Error> {
    let object: EdgeCredential = cluster.get(name).await?;
    let target = cluster
        .secret(&cluster.namespace, object.target_name())
        .await?;
    let reference = &object.spec.credentials_secret_ref;
    let credentials = cluster.secret(&cluster.namespace, &reference.name).await;
    let proven = target
        .as_ref()
        .and_then(|secret| find_token(secret, &object));
    let mut checks = check(&object, target.as_ref(), credentials, Timestamp::now());
    if verifies && let Some(proven) = &proven {
        checks.push(verify(&object, proven).await?);
    }
    let token = proven.map(|proven| describe(&object, &proven));
    Ok(Inspection::new(&object, token, checks))
}

fn describe(object: &EdgeCredential, proven: &ProvenToken) -> Token {
    let token = &proven.token;
    Token {
        issued_at: token.issued_at,
        expires_at: token.expires_at,
        renews_at: proven.renewal.at,
        audience: object.spec.token_request.audience.clone(),
        scope: token.scope.clone(),
        tenant: token.tenant_id.clone(),
        organization: token.organization_id.clone(),
        size: token.access_token.expose_secret().len(),
    }
}

/// What the two Secrets show, by the rules of the operator.
fn check(
    object: &EdgeCredential,
    target: Option<&Secret>,
    credentials: Result<Option<Secret>, CallError>,
    now: Timestamp,
) -> Vec<Check> {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let see = || format!("See why with `kubectl edgecred status {name}`.");
    let Some(target) = target else {
        return vec![Check::bad(
            format!("the Secret \"{}\" is not there", object.target_name()),
            see(),
        )];
    };
    let mut checks = vec![match check_ownership(target, object) {
        Ok(Ownership::Ours) => Check::good("the Secret belongs to this EdgeCredential"),
        Ok(Ownership::Adoptable(problem)) | Err(problem) => Check::bad(
            format!("the Secret is not this EdgeCredential's: {problem}"),
            "The operator leaves it alone until then.",
        ),
    }];
    let Some(proven) = find_token(target, object) else {
        checks.push(Check::bad(
            "no value in it proves to be a token for the spec as it is",
            "It was edited, or the spec was changed. The operator replaces it: see `kubectl edgecred status`.",
        ));
        return checks;
    };
    checks.push(Check::good(
        "the proof is good: neither the token nor its times were edited",
    ));
    let token = &proven.token;
    checks.push(if token.is_valid(now) {
        Check::good(format!(
            "valid for {}",
            short(token.expires_at.duration_since(now))
        ))
    } else {
        Check::bad(
            format!("expired {} ago", since(token.expires_at, now)),
            see(),
        )
    });
    if proven.is_due(now) {
        checks.push(Check::warning(
            format!(
                "its renewal is {}",
                until(proven.renewal.at, now, "due for")
            ),
            see(),
        ));
    }
    let claims = jwt::decode_claims(token.access_token.expose_secret());
    let audience = &object.spec.token_request.audience;
    match claims {
        None if object.spec.token_request.token_format == TokenFormat::Any => {
            checks.push(Check::unseen(
                "the token is opaque, so it says nothing of whom it is for",
            ));
        }
        None => checks.push(Check::bad("the token is not a JSON Web Token", see())),
        Some(_) if audience.is_empty() => {}
        Some(claims) if claims.is_for(audience) => {
            checks.push(Check::good(format!("it is for {audience}")))
        }
        Some(_) => checks.push(Check::bad(
            format!("it is not for {audience}"),
            "Check spec.tokenRequest.audience.",
        )),
    }
    checks.push(match credentials {
        Err(error) => Check::unseen(format!(
            "whether the credentials are still those that it was requested with: cannot {}",
            error.action
        )),
        Ok(secret) => {
            match extract_credentials(secret.as_ref(), &object.spec.credentials_secret_ref) {
                Err(problem) => {
                    let secret = &object.spec.credentials_secret_ref.name;
                    Check::bad(
                        format!("credentials Secret \"{secret}\": {problem}"),
                        "The token stays valid, and cannot be renewed.",
                    )
                }
                Ok(credentials) if proven.is_of(&credentials.client) => {
                    Check::good("requested with the credentials as they are now")
                }
                Ok(_) => Check::warning(
                    "requested with other credentials than those that are there now",
                    "The operator renews it: see `kubectl edgecred status`.",
                ),
            }
        }
    });
    checks
}
