//! `inspect`: what is in the target, and whether it is as it should be. The token itself is shown by `token` alone.

use std::io::Write;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::Args;
use clap_complete::ArgValueCandidates;
use edge_credential_operator::{
    api::{EdgeCredential, token_request::TokenFormat},
    edge_credential::rules::target::{ProvenToken, find_token},
    http::origin::Origin,
    oauth::jwt,
    rules::{
        credentials::extract_credentials,
        target::{Ownership, check_ownership},
    },
};
use k8s_openapi::{api::core::v1::Secret, jiff::Timestamp};
use reqwest::Url;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use super::completion::object_names;
use crate::{
    check::{Check, exit},
    cluster::{access::Cluster, errors::CallError},
    error::Error,
    exit::Exit,
    http::{client, no_answer},
    output::{
        format::{Format, FormatArgs, write_json, write_yaml},
        progress::during,
        times::{short, since, to_the_minute, until},
    },
};

/// The command line.
#[derive(Args, Debug)]
pub struct InspectArgs {
    /// The EdgeCredential.
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(object_names))]
    pub name: String,

    /// Check the token's signature too, with the keys that the token endpoint publishes.
    #[arg(long)]
    pub verify: bool,

    /// How to print.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// What was found.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Inspection {
    namespace: String,
    name: String,
    target: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<Described>,
    checks: Vec<Check>,
}

/// What a token says of itself, as far as it may be shown.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Described {
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

/// Shows what is in the target, and checks it.
pub async fn run(cluster: &Cluster, args: &InspectArgs) -> Result<Exit, Error> {
    let object = cluster.edge_credential(&args.name).await?;
    let target = cluster
        .secret(&cluster.namespace, object.target_name())
        .await?;
    let reference = &object.spec.credentials_secret_ref;
    let credentials = cluster.secret(&cluster.namespace, &reference.name).await;
    let now = Timestamp::now();
    let proven = target
        .as_ref()
        .and_then(|secret| find_token(secret, &object));
    let mut checks = check(&object, target.as_ref(), credentials, now);
    if args.verify
        && let Some(proven) = &proven
    {
        checks.push(verify(&object, proven).await?);
    }
    let inspection = Inspection {
        namespace: cluster.namespace.clone(),
        name: args.name.clone(),
        target: object.target_name().into(),
        token: proven.map(|proven| describe(&object, &proven)),
        checks,
    };
    let mut out = anstream::stdout().lock();
    match args.format.output {
        Format::Json => write_json(&mut out, &inspection)?,
        Format::Yaml => write_yaml(&mut out, &inspection)?,
        Format::Name => writeln!(out, "secret/{}", inspection.target)?,
        Format::Table | Format::Wide => inspection.write(&mut out, now)?,
    }
    Ok(exit(&inspection.checks))
}

fn describe(object: &EdgeCredential, proven: &ProvenToken) -> Described {
    let token = &proven.token;
    Described {
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

/// The keys that an endpoint publishes (RFC 7517), as far as they matter here.
#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Key>,
}

#[derive(Deserialize)]
struct Key {
    #[serde(default)]
    kid: String,
    #[serde(default)]
    n: String,
    #[serde(default)]
    e: String,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: String,
}

/// Checks the signature with the keys that the token endpoint's host publishes.
async fn verify(object: &EdgeCredential, proven: &ProvenToken) -> Result<Check, Error> {
    let url = Url::parse(&object.spec.token_request.url).ok();
    let Some(origin) = url.as_ref().and_then(Origin::of) else {
        return Ok(Check::unseen(
            "the signature: the token endpoint has no origin",
        ));
    };
    let keys = client()?
        .get(format!("{origin}/.well-known/jwks.json"))
        .send();
    let answer = during(&format!("asking {origin} for its keys"), keys).await;
    let answer = answer.map_err(|error| no_answer(origin.as_str(), &error))?;
    let bytes = answer
        .bytes()
        .await
        .map_err(|error| no_answer(origin.as_str(), &error))?;
    let Ok(keys) = serde_json::from_slice::<KeySet>(&bytes) else {
        return Ok(Check::unseen(format!(
            "the signature: {origin} publishes no keys at /.well-known/jwks.json"
        )));
    };
    Ok(check_signature(
        proven.token.access_token.expose_secret(),
        &keys,
    ))
}

fn check_signature(token: &str, keys: &KeySet) -> Check {
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
    let parts = token.rsplit_once('.').and_then(|(signed, signature)| {
        let header = decode(signed.split_once('.')?.0)?;
        let header: Header = serde_json::from_slice(&header).ok()?;
        Some((signed, decode(signature)?, header))
    });
    let Some((signed, signature, header)) = parts else {
        return Check::unseen("the signature: the token is opaque");
    };
    if header.alg != "RS256" {
        return Check::unseen("the signature: it is of another kind than RS256");
    }
    let key = keys.keys.iter().find(|key| key.kid == header.kid);
    let Some((n, e)) = key.and_then(|key| Some((decode(&key.n)?, decode(&key.e)?))) else {
        return Check::bad(
            "the token is signed with a key that the endpoint does not publish",
            "It may have replaced its keys: have the token renewed with `kubectl edgecred renew`.",
        );
    };
    let key = RsaPublicKeyComponents { n, e };
    match key.verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature) {
        Ok(()) => Check::good("the signature is good, by the keys that the endpoint publishes"),
        Err(_) => Check::bad(
            "the signature is wrong",
            "No API takes this token: have it renewed with `kubectl edgecred renew`.",
        ),
    }
}

impl Inspection {
    fn write(&self, out: &mut dyn Write, now: Timestamp) -> std::io::Result<()> {
        writeln!(
            out,
            "EdgeCredential {}/{}, Secret \"{}\"",
            self.namespace, self.name, self.target
        )?;
        if let Some(token) = &self.token {
            let time = |time, past| format!("{}, {}", to_the_minute(time), until(time, now, past));
            let unknown = || "–".to_owned();
            for (name, value) in [
                (
                    "issued",
                    format!(
                        "{}, {} ago",
                        to_the_minute(token.issued_at),
                        since(token.issued_at, now)
                    ),
                ),
                ("renews", time(token.renews_at, "due for")),
                ("expires", time(token.expires_at, "expired")),
                ("audience", token.audience.clone()),
                ("scopes", token.scope.clone().unwrap_or_else(unknown)),
                ("tenant", token.tenant.clone().unwrap_or_else(unknown)),
                (
                    "organization",
                    token.organization.clone().unwrap_or_else(unknown),
                ),
                ("size", format!("{} bytes", token.size)),
            ] {
                writeln!(out, "  {name:<13} {value}")?;
            }
        }
        self.checks.iter().try_for_each(|check| check.write(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Verdict;

    #[test]
    fn an_opaque_token_and_a_foreign_key_are_told_apart() {
        let keys = KeySet { keys: Vec::new() };
        assert_eq!(check_signature("opaque", &keys).verdict, Verdict::Unseen);
        let token = format!(
            "{}.e30.c2ln",
            URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","kid":"1"}"#)
        );
        assert_eq!(check_signature(&token, &keys).verdict, Verdict::Bad);
        let token = format!("{}.e30.c2ln", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#));
        assert_eq!(check_signature(&token, &keys).verdict, Verdict::Unseen);
    }
}
