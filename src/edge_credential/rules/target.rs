//! The target Secret: rendered from a token, able to prove itself, and owned by one EdgeCredential.
//!
//! The Secret carries one annotation with the token's times and two message authentication codes, keyed with the
//! token itself. Whoever finds a value in the Secret that verifies knows that the token was requested so, and that
//! neither it nor its times were edited. A restart, a lost status or an edited Secret therefore costs no request. The
//! codes say nothing to somebody who does not have the token.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use k8s_openapi::{ByteString, api::core::v1::Secret, jiff::Timestamp};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use super::{
    renew_before::RenewBefore,
    schedule::{Renewal, schedule_renewal},
    spec::Plan,
};
use crate::{
    api::{
        EdgeCredential,
        target::{Source, TargetEntry},
        token_request::TokenFormat,
    },
    oauth::{
        ClientCredentials, TOKEN_TYPE, Token, jwt,
        response::{MAX_SECOND, is_scope},
    },
    rules::{
        spec::make_parameters,
        target::{Marking, SECRET_TYPE, candidates, render_metadata},
        times::is_ahead,
        token_value::{PROOF, read_value},
    },
};

/// The version of the proof. A field that is new does not change it: who does not know the field passes it over, so that a
/// rollback costs no request. It is raised only once the version before reads both.
const PROOF_VERSION: u32 = 1;

/// A token together with what the annotation says of it.
#[derive(Clone, Debug)]
pub struct ProvenToken {
    /// The token.
    pub token: Token,
    /// When it is renewed.
    pub renewal: Renewal,
    /// Whether the endpoint gave this same token again when it was to be renewed.
    pub repeated: bool,
    /// The name of the EdgeCredential that it is for.
    object: String,
    /// Binds the token to the object and to the credentials it was requested with.
    credentials_code: String,
    /// The renew request that the token answers, if any.
    pub renew_request: Option<String>,
}

/// What the annotation holds, in JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Proof {
    version: u32,
    issued_at: Timestamp,
    expires_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    /// Code over the times, the scope and the request parameters.
    request: String,
    /// Code over the times and the credentials.
    credentials: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    renew_request: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    repeated: bool,
    /// The key of a value that has the token, which is tried first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// The labels and annotations that were written for the spec, so that they go when the spec drops them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    labels: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    annotations: BTreeSet<String>,
}

impl ProvenToken {
    /// Binds a token to the object that it is for and to the credentials it was requested with.
    pub fn new(
        token: Token,
        credentials: &ClientCredentials,
        object: &EdgeCredential,
        plan: &Plan,
    ) -> Self {
        let name = object.metadata.name.clone().unwrap_or_default();
        Self {
            renewal: plan.schedule_renewal(object, &token),
            repeated: false,
            credentials_code: credentials_code(&token, &name, credentials),
            token,
            object: name,
            renew_request: object.renew_request().map(Into::into),
        }
    }

    /// The same token, which the endpoint gave again in place of another. That is no renewal, and asking again before the
    /// token expires would bring nothing but another bill (wso2/api-manager#773).
    pub fn given_again(mut self) -> Self {
        self.repeated = true;
        self.renewal.at = self.token.expires_at;
        self
    }

    /// Whether this is the token.
    pub fn is(&self, token: &Token) -> bool {
        self.token.access_token.expose_secret() == token.access_token.expose_secret()
    }

    /// Whether the token is to be renewed by now.
    pub fn is_due(&self, now: Timestamp) -> bool {
        now >= self.renewal.at || is_ahead(self.token.issued_at, now)
    }

    /// Whether the token was requested with these credentials, for the object that it was found or made for.
    pub fn is_of(&self, credentials: &ClientCredentials) -> bool {
        // Compared in the open: who can read the Secret has the token, and nothing else is at stake.
        self.credentials_code == credentials_code(&self.token, &self.object, credentials)
    }
}

/// Finds the token in a Secret: a value that the annotation proves to have been requested with the object's parameters, also
/// where something else in its spec is not sound, or they may not be sent any longer. The keys do not matter, so a changed
/// `spec.target.data` costs no request. The name of the object is part of the proof: of two objects with equal inputs, none
/// can have the other's Secret.
pub fn find_token(secret: &Secret, object: &EdgeCredential) -> Option<ProvenToken> {
    let name = object.metadata.name.as_deref()?;
    let parameters = &make_parameters(&object.spec.token_request).ok()?;
    let renew_before = RenewBefore::of(&object.spec).unwrap_or_default();
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    let proof = proof_of(secret)?;
    // Whoever can write the Secret can write a proof that verifies: its scope and times are shown in the status.
    let presentable = proof.scope.as_deref().is_none_or(is_scope)
        && proof.issued_at < proof.expires_at
        && (0..=MAX_SECOND).contains(&proof.issued_at.as_second())
        && proof.expires_at.as_second() <= MAX_SECOND;
    if proof.version != PROOF_VERSION || !presentable {
        return None;
    }
    let fingerprint = parameters.fingerprint();
    candidates(secret, proof.key.as_deref())
        .filter_map(read_value)
        .map(|access_token| Token {
            access_token,
            scope: proof.scope.clone(),
            tenant_id: None,
            organization_id: None,
            issued_at: proof.issued_at,
            expires_at: proof.expires_at,
        })
        .filter(|token| proof.request == request_code(token, name, &fingerprint))
        .find_map(|token| {
            let Some(claims) = jwt::decode_claims(token.access_token.expose_secret()) else {
                return (parameters.token_format == TokenFormat::Any).then_some(token);
            };
            Some(Token {
                tenant_id: claims.tenant_id().map(Into::into),
                organization_id: claims.organization_id().map(Into::into),
                ..token
            })
        })
        .map(|token| ProvenToken {
            renewal: schedule_renewal(renew_before, uid, token.issued_at, token.expires_at),
            repeated: false,
            token,
            object: name.into(),
            credentials_code: proof.credentials,
            renew_request: proof.renew_request,
        })
        .map(|proven| {
            if proof.repeated {
                proven.given_again()
            } else {
                proven
            }
        })
}

fn proof_of(secret: &Secret) -> Option<Proof> {
    let annotation = secret.metadata.annotations.as_ref()?.get(PROOF)?;
    serde_json::from_str(annotation).ok()
}

/// Over the fingerprint of the request parameters.
fn request_code(token: &Token, object: &str, fingerprint: &str) -> String {
    code(token, object, "request", fingerprint)
}

fn credentials_code(token: &Token, object: &str, credentials: &ClientCredentials) -> String {
    let fingerprint = credentials.fingerprint();
    code(token, object, "credentials", fingerprint.expose_secret())
}

/// HMAC-SHA-256, keyed with the token, over its times, its scope, the name of the object and one more statement.
fn code(token: &Token, object: &str, purpose: &str, statement: &str) -> String {
    let key = hmac::Key::new(
        hmac::HMAC_SHA256,
        token.access_token.expose_secret().as_bytes(),
    );
    let mut context = hmac::Context::with_key(&key);
    let bound = serde_json::json!([
        purpose,
        object,
        token.issued_at,
        token.expires_at,
        token.scope
    ])
    .to_string();
    context.update(&bound.len().to_be_bytes());
    context.update(bound.as_bytes());
    context.update(statement.as_bytes());
    STANDARD_NO_PAD.encode(context.sign())
}

/// The Secret as it should be: `existing` with everything that is ours set right and everything else left as it is,
/// or a new one. Equal to `existing` where nothing is to be done.
pub fn render(
    object: &EdgeCredential,
    plan: &Plan,
    proven: &ProvenToken,
    existing: Option<&Secret>,
) -> Secret {
    let target = &object.spec.target;
    let token = &proven.token;
    let previous = existing.and_then(proof_of);
    let has_token = |entry: &&TargetEntry| entry.from.is_some_and(Source::has_token);
    let entry = plan.entries.iter().find(has_token);
    let proof = Proof {
        version: PROOF_VERSION,
        issued_at: token.issued_at,
        expires_at: token.expires_at,
        scope: token.scope.clone(),
        request: request_code(token, &proven.object, &plan.parameters.fingerprint()),
        credentials: proven.credentials_code.clone(),
        renew_request: proven.renew_request.clone(),
        repeated: proven.repeated,
        key: entry.map(|entry| entry.key.clone()),
        labels: target.labels.keys().cloned().collect(),
        annotations: target.annotations.keys().cloned().collect(),
    };

    let metadata = render_metadata(
        object,
        Marking {
            name: object.target_name(),
            labels: &target.labels,
            annotations: &target.annotations,
            previous: previous
                .map(|previous| (previous.labels, previous.annotations))
                .unwrap_or_default(),
            // A struct of strings, times and sets has no way to fail; an empty proof would only cost a request.
            proof: (PROOF, serde_json::to_string(&proof).unwrap_or_default()),
        },
        existing,
    );
    Secret {
        metadata,
        data: Some(data(&plan.entries, token)),
        type_: Some(SECRET_TYPE.into()),
        immutable: existing.and_then(|secret| secret.immutable),
        string_data: None,
    }
}

fn data(entries: &[TargetEntry], token: &Token) -> BTreeMap<String, ByteString> {
    let value = |source: Source| -> String {
        let access_token = token.access_token.expose_secret();
        let scope = token.scope.as_deref().unwrap_or_default();
        match source {
            Source::AccessToken => access_token.into(),
            Source::Authorization => format!("{TOKEN_TYPE} {access_token}"),
            Source::TokenType => TOKEN_TYPE.into(),
            Source::Scope => scope.into(),
            Source::ExpiresAt => token.expires_at.to_string(),
            Source::ExpiresAtUnix => token.expires_at.as_second().to_string(),
            Source::IssuedAt => token.issued_at.to_string(),
            Source::TenantId => token.tenant_id.clone().unwrap_or_default(),
            Source::OrganizationId => token.organization_id.clone().unwrap_or_default(),
            Source::Json => serde_json::json!({
                "access_token": access_token,
                "token_type": TOKEN_TYPE,
                "scope": scope,
                "expires_at": token.expires_at.to_string(),
            })
            .to_string(),
        }
    };
    entries
        .iter()
        .map(|entry| {
            let bytes = match (&entry.from, &entry.value) {
                (Some(source), _) => value(*source),
                (None, constant) => constant.clone().unwrap_or_default(),
            };
            (entry.key.clone(), ByteString(bytes.into_bytes()))
        })
        .collect()
}

#[cfg(test)]
mod tests;
