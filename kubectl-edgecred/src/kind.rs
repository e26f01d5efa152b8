//! The kinds of objects, and what commands need of an object whatever its kind.

use std::fmt::{self, Debug};

use edge_credential_operator::api::{
    EdgeCredential, EdgeToken, credentials::CredentialsSecretRef, edge_token::RetirementCause,
    failures::Failures, token_request::TokenRequestSpec,
};
use k8s_openapi::{
    NamespaceResourceScope,
    apimachinery::pkg::apis::meta::v1::Condition,
    jiff::{SignedDuration, Timestamp},
};
use kube::{CustomResourceExt, Resource};
use serde::{Serialize, de::DeserializeOwned};

/// A kind of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Kind {
    /// Keeps a token.
    EdgeCredential,
    /// Keeps a key of the Delivery API.
    EdgeToken,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::EdgeCredential, Self::EdgeToken];

    /// The name that manifests have.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EdgeCredential => "EdgeCredential",
            Self::EdgeToken => "EdgeToken",
        }
    }

    /// The name that kubectl puts before that of an object.
    pub fn singular(self) -> &'static str {
        match self {
            Self::EdgeCredential => "edgecredential",
            Self::EdgeToken => "edgetoken",
        }
    }

    /// The resource, as roles name it, with its group.
    pub fn resource(self) -> &'static str {
        match self {
            Self::EdgeCredential => EdgeCredential::crd_name(),
            Self::EdgeToken => EdgeToken::crd_name(),
        }
    }

    /// The short names that kubectl knows.
    pub fn short_names(self) -> &'static [&'static str] {
        match self {
            Self::EdgeCredential => EdgeCredential::shortnames(),
            Self::EdgeToken => EdgeToken::shortnames(),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An object of one of the kinds.
pub trait Object:
    CustomResourceExt
    + Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
{
    /// Its kind.
    const KIND: Kind;

    /// How long after its time a renewal or rotation is late, and the operator probably not at work.
    const OVERDUE_AFTER: SignedDuration;

    /// The Secret that is written.
    fn target(&self) -> &str;

    /// The Secret with the client credentials.
    fn credentials(&self) -> &CredentialsSecretRef;

    /// What is asked of the token endpoint.
    fn token_request(&self) -> &TokenRequestSpec;

    /// Whether everything is to be left as it is.
    fn is_suspended(&self) -> bool;

    /// What the operator last said of it; nothing where there is no status yet.
    fn said(&self) -> Said<'_>;
}

/// What the operator last said of an object.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said<'a> {
    /// The generation of the spec that this is about.
    pub observed_generation: Option<i64>,
    /// How it stands.
    pub conditions: &'a [Condition],
    /// Attempts that failed in a row.
    pub failures: Option<&'a Failures>,
    /// Whether there is a token, or a key.
    pub has_token: bool,
    /// When the token expires. A key does not.
    pub expires_at: Option<Timestamp>,
    /// When the token is renewed, or the key rotated. A key is not, unless that is asked for.
    pub renews_at: Option<Timestamp>,
    /// Until when a former key works.
    pub overlap_until: Option<Timestamp>,
    /// Sitecore's tenant that the token or the key opens.
    pub tenant: Option<&'a str>,
}

impl Object for EdgeCredential {
    const KIND: Kind = Kind::EdgeCredential;

    /// A renewal mostly starts within a second.
    const OVERDUE_AFTER: SignedDuration = SignedDuration::from_mins(5);

    fn target(&self) -> &str {
        self.target_name()
    }

    fn credentials(&self) -> &CredentialsSecretRef {
        &self.spec.credentials_secret_ref
    }

    fn token_request(&self) -> &TokenRequestSpec {
        &self.spec.token_request
    }

    fn is_suspended(&self) -> bool {
        self.spec.suspend
    }

    fn said(&self) -> Said<'_> {
        let Some(status) = &self.status else {
            return Said::default();
        };
        let token = status.token.as_ref();
        Said {
            observed_generation: status.observed_generation,
            conditions: &status.conditions,
            failures: status.failures.as_ref(),
            has_token: token.is_some(),
            expires_at: token.map(|token| token.expires_at.0),
            renews_at: token.map(|token| token.renew_at.0),
            overlap_until: None,
            tenant: token.and_then(|token| token.tenant_id.as_deref()),
        }
    }
}

impl Object for EdgeToken {
    const KIND: Kind = Kind::EdgeToken;

    /// What became of an attempt whose answer was lost is known after a quarter of an hour. The alert waits as long as this.
    const OVERDUE_AFTER: SignedDuration = SignedDuration::from_hours(1);

    fn target(&self) -> &str {
        self.target_name()
    }

    fn credentials(&self) -> &CredentialsSecretRef {
        &self.spec.credentials_secret_ref
    }

    fn token_request(&self) -> &TokenRequestSpec {
        &self.spec.token_request
    }

    fn is_suspended(&self) -> bool {
        self.spec.suspend
    }

    fn said(&self) -> Said<'_> {
        let Some(status) = &self.status else {
            return Said::default();
        };
        let key = status.token.as_ref();
        let replaced = status
            .retired
            .iter()
            .filter(|former| former.cause == RetirementCause::Replaced);
        Said {
            observed_generation: status.observed_generation,
            conditions: &status.conditions,
            failures: status.failures.as_ref(),
            has_token: key.is_some(),
            expires_at: None,
            renews_at: key.and_then(|key| Some(key.rotate_at.as_ref()?.0)),
            overlap_until: replaced.map(|former| former.revoke_at.0).max(),
            tenant: key.and_then(|key| key.tenant_id.as_deref()),
        }
    }
}
