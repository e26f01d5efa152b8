//! The target Secret: rendered from a token, able to prove itself, and owned by one EdgeCredential.
//!
//! The Secret carries one annotation with the token's times and two message authentication codes, keyed with the
//! token itself. Whoever finds a value in the Secret that verifies knows that the token was requested so, and that
//! neither it nor its times were edited. A restart, a lost status or an edited Secret therefore costs no request. The
//! codes say nothing to somebody who does not have the token.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use aws_lc_rs::{digest, hmac};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use k8s_openapi::{
    ByteString,
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
    jiff::Timestamp,
};
use kube::Resource;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::{
    renew_before::RenewBefore,
    schedule::{Renewal, is_ahead, schedule_renewal},
    spec::{Plan, make_parameters},
};
use crate::{
    api::{
        EdgeCredential, GROUP, Reason,
        names::LABEL_MAX_LENGTH,
        target::{MAX_ENTRIES, Source, TargetEntry, is_reserved_annotation, is_reserved_label},
        token_request::TokenFormat,
    },
    cluster::secret_index::MANAGED_BY,
    oauth::{
        ClientCredentials, TOKEN_TYPE, Token, jwt,
        response::{MAX_SECOND, is_bearer_token, is_scope},
    },
};

/// The annotation that proves the token.
pub const PROOF: &str = "edgecredentials.io/token";

/// The only type a target has. Any other could make the API server act on the Secret (CVE-2026-42876 in another
/// operator).
pub const SECRET_TYPE: &str = "Opaque";

/// The version of the proof. A field that is new does not change it: who does not know the field passes it over, so that a
/// rollback costs no request. It is raised only once the version before reads both.
const PROOF_VERSION: u32 = 1;

/// How many values of a Secret are tried as the token. Twice as many as a target can have: whoever changes it could otherwise
/// have tens of thousands tried each time.
const MAX_CANDIDATES: usize = 2 * MAX_ENTRIES;

/// Has the name of the EdgeCredential, so that its Secret is found by a selector.
const NAME: &str = "edgecredentials.io/name";

/// How much of a name that is too long for a label is kept, before a hyphen and as much of its hash as there is room.
const KEPT_OF_NAME: usize = 52;

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

/// Why a Secret must not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetProblem {
    /// It was not made for this EdgeCredential.
    NotOwned,
    /// It was made for another EdgeCredential.
    OwnedByAnother,
    /// It was made for an EdgeCredential of this name that is gone, and proves no token for this one.
    OwnedByPredecessor,
    /// It is marked immutable.
    Immutable,
}

impl TargetProblem {
    /// The reason that conditions show.
    pub fn reason(self) -> Reason {
        match self {
            Self::NotOwned => Reason::TargetNotOwned,
            Self::OwnedByAnother | Self::OwnedByPredecessor => Reason::TargetConflict,
            Self::Immutable => Reason::TargetImmutable,
        }
    }
}

impl fmt::Display for TargetProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotOwned => {
                "it exists and was not made for this EdgeCredential, so it is left alone: delete or rename it, or \
                 create the EdgeCredential with another spec.target.name"
            }
            Self::OwnedByAnother => {
                "it belongs to another EdgeCredential: give one of the two another spec.target.name"
            }
            Self::OwnedByPredecessor => {
                "it belongs to an EdgeCredential of this name that is gone: Kubernetes' garbage collector deletes it, and \
                 then it is made anew"
            }
            // kubernetes/kubernetes#131589: a kubelet does not look at an immutable Secret again, not even once it is gone.
            Self::Immutable => {
                "it is marked immutable: delete it, and it is written again; then replace the pods that mount it, which \
                 keep the old token otherwise"
            }
        })
    }
}

/// Whose a Secret is, as its metadata says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// It was made for this very EdgeCredential.
    Ours,
    /// It may have been: whoever owned it is gone, or it lost its owner in a backup. It becomes ours if it proves itself.
    Adoptable(TargetProblem),
}

/// Finds out whose a Secret is, by the uid of its controller. A name is not enough: whoever may create EdgeCredentials
/// could otherwise have any Secret of the namespace overwritten.
pub fn check_ownership(
    secret: &Secret,
    object: &EdgeCredential,
) -> Result<Ownership, TargetProblem> {
    if secret.type_.as_deref() != Some(SECRET_TYPE) {
        return Err(TargetProblem::NotOwned);
    }
    let controller = secret
        .metadata
        .owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller == Some(true));
    let problem = match controller {
        Some(owner) if !is_edge_credential(owner) => return Err(TargetProblem::NotOwned),
        Some(owner) if object.metadata.uid.as_ref() == Some(&owner.uid) => {
            return Ok(Ownership::Ours);
        }
        // One of this name and another uid is gone, or was in another cluster: a name stands for one object at a time.
        Some(owner)
            if object.metadata.name.as_ref() != Some(&owner.name)
                || object.metadata.uid.is_none() =>
        {
            return Err(TargetProblem::OwnedByAnother);
        }
        Some(_) => TargetProblem::OwnedByPredecessor,
        None => TargetProblem::NotOwned,
    };
    if secret.immutable == Some(true) {
        Err(problem)
    } else {
        Ok(Ownership::Adoptable(problem))
    }
}

fn is_edge_credential(owner: &OwnerReference) -> bool {
    owner.kind == EdgeCredential::kind(&())
        && owner
            .api_version
            .split_once('/')
            .is_some_and(|(group, _)| group == GROUP)
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

/// The token in a Secret that is the wanted one, whatever proves it.
pub fn find_value(
    secret: &Secret,
    is_wanted: impl Fn(&SecretString) -> bool,
) -> Option<SecretString> {
    let proof = proof_of(secret);
    let key = proof.as_ref().and_then(|proof| proof.key.as_deref());
    candidates(secret, key).find(|token| is_wanted(token))
}

fn proof_of(secret: &Secret) -> Option<Proof> {
    let annotation = secret.metadata.annotations.as_ref()?.get(PROOF)?;
    serde_json::from_str(annotation).ok()
}

/// What may be the token in a Secret: the value with this key first.
fn candidates(secret: &Secret, key: Option<&str>) -> impl Iterator<Item = SecretString> {
    let data = secret.data.as_ref();
    let first = data.and_then(|data| data.get(key?));
    let values = data.into_iter().flat_map(BTreeMap::values);
    let values = first.into_iter().chain(values).take(MAX_CANDIDATES);
    values.filter_map(token_in)
}

/// The token in a value that was written from `AccessToken`, `Authorization` or `JSON`.
fn token_in(value: &ByteString) -> Option<SecretString> {
    #[derive(Deserialize)]
    struct Json {
        access_token: SecretString,
    }
    let text = std::str::from_utf8(&value.0).ok()?;
    if text.starts_with('{') {
        let Json { access_token } = serde_json::from_str(text).ok()?;
        return Some(access_token).filter(|token| is_bearer_token(token.expose_secret()));
    }
    // No token has a space in it, but an opaque one may begin with this very word.
    let token = text
        .split_once(' ')
        .filter(|(scheme, _)| *scheme == TOKEN_TYPE)
        .map_or(text, |(_, token)| token);
    is_bearer_token(token).then(|| token.into())
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
    let name = object.metadata.name.as_deref().unwrap_or_default();
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

    let mut metadata = existing.map_or_else(
        || ObjectMeta {
            name: Some(object.target_name().into()),
            namespace: object.metadata.namespace.clone(),
            ..ObjectMeta::default()
        },
        |secret| secret.metadata.clone(),
    );
    let labels = metadata.labels.get_or_insert_default();
    let annotations = metadata.annotations.get_or_insert_default();
    if let Some(previous) = previous {
        drop_stale(labels, &previous.labels, &target.labels, is_reserved_label);
        drop_stale(
            annotations,
            &previous.annotations,
            &target.annotations,
            is_reserved_annotation,
        );
    }
    labels.extend(target.labels.clone());
    labels.insert(MANAGED_BY.0.into(), MANAGED_BY.1.into());
    labels.insert(NAME.into(), label_value(name));
    annotations.extend(target.annotations.clone());
    // A struct of strings, times and sets has no way to fail; an empty proof would only cost a request.
    annotations.insert(
        PROOF.into(),
        serde_json::to_string(&proof).unwrap_or_default(),
    );
    metadata.owner_references = Some(owners(object, metadata.owner_references.as_deref()));

    Secret {
        metadata,
        data: Some(data(&plan.entries, token)),
        type_: Some(SECRET_TYPE.into()),
        immutable: existing.and_then(|secret| secret.immutable),
        string_data: None,
    }
}

/// A name as the value of a label, which has no room for every name.
fn label_value(name: &str) -> String {
    if name.len() <= LABEL_MAX_LENGTH {
        return name.into();
    }
    let kept = name.get(..KEPT_OF_NAME).unwrap_or_default();
    let hash = digest::digest(&digest::SHA256, name.as_bytes());
    let hash = hash.as_ref().iter().take(5);
    let hash: String = hash.map(|byte| format!("{byte:02x}")).collect();
    format!("{kept}-{hash}")
}

/// Removes what was written for an earlier spec and is not in this one. Keys that others added stay.
fn drop_stale(
    map: &mut BTreeMap<String, String>,
    previous: &BTreeSet<String>,
    current: &BTreeMap<String, String>,
    is_reserved: fn(&str) -> bool,
) {
    map.retain(|key, _| {
        let ours = previous.contains(key) && !is_reserved(key);
        !ours || current.contains_key(key)
    });
}

/// The owner references with ours among them, as the only controller: an EdgeCredential of this name that is gone is
/// replaced. `blockOwnerDeletion` stays false, which needs no right on finalizers.
fn owners(object: &EdgeCredential, existing: Option<&[OwnerReference]>) -> Vec<OwnerReference> {
    let ours = OwnerReference {
        api_version: EdgeCredential::api_version(&()).into(),
        kind: EdgeCredential::kind(&()).into(),
        name: object.metadata.name.clone().unwrap_or_default(),
        uid: object.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(false),
    };
    let is_replaced = |owner: &OwnerReference| {
        owner.uid == ours.uid || (owner.controller == Some(true) && is_edge_credential(owner))
    };
    let mut owners = existing.unwrap_or_default().to_vec();
    let place = owners.iter().position(is_replaced);
    match place.and_then(|place| owners.get_mut(place)) {
        Some(owner) => *owner = ours,
        None => owners.push(ours),
    }
    owners
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
