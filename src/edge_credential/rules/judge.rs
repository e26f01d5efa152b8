//! What was read of one EdgeCredential, and what it means.

use k8s_openapi::{api::core::v1::Secret, jiff::Timestamp};

use super::{
    credentials::{Credentials, CredentialsProblem, extract_credentials},
    failures::counted_failures,
    spec::{SpecProblem, check_spec},
    target::{ProvenToken, TargetProblem, check_ownership, find_token},
};
use crate::{
    api::{EdgeCredential, failures::Failures},
    oauth::{RequestParameters, Token, TokenRequest, origin::AllowedOrigins},
};

/// Everything that a decision rests on.
#[derive(Debug)]
pub struct Observed<'a> {
    pub object: &'a EdgeCredential,
    /// What to ask for, or what is wrong with the spec.
    pub parameters: Result<RequestParameters, SpecProblem>,
    /// Who asks, or what is wrong with the credentials Secret.
    pub credentials: Result<Credentials, CredentialsProblem>,
    /// The target Secret if it is there, or why it must not be written.
    pub target: Result<Option<ObservedTarget>, TargetProblem>,
    pub memory: Remembered,
}

/// A target Secret that is ours.
#[derive(Clone)]
pub struct ObservedTarget {
    /// The Secret as it is.
    pub secret: Secret,
    /// The token in it, if it proves itself.
    pub stored: Option<ProvenToken>,
}

/// What this process remembers, and no Secret says.
#[derive(Debug, Default)]
pub struct Remembered {
    /// A valid token that an equal request brought.
    pub token: Option<Token>,
    /// Whether that token was requested because of the renew request that the object has now.
    pub answers_renew_request: bool,
    /// Whether the token endpoint fails for everybody: then it is not this object's back-off that says when it may try
    /// again, but whose turn it is.
    pub circuit_open: bool,
}

/// Leaves the Secret out: its own `Debug` prints the bytes.
impl std::fmt::Debug for ObservedTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObservedTarget")
            .field("stored", &self.stored)
            .finish_non_exhaustive()
    }
}

/// Judges an object and the two Secrets that it names, as they were read. Nothing is remembered yet.
pub fn judge<'a>(
    object: &'a EdgeCredential,
    allowed: &AllowedOrigins,
    credentials_secret: Option<&Secret>,
    target_secret: Option<Secret>,
) -> Observed<'a> {
    let parameters = check_spec(object, allowed).map(|plan| plan.parameters);
    let target = target_secret
        .map(|secret| {
            check_ownership(&secret, object)?;
            let parameters = parameters.as_ref().ok();
            let stored = parameters.and_then(|parameters| find_token(&secret, parameters));
            Ok(ObservedTarget { secret, stored })
        })
        .transpose();
    Observed {
        object,
        parameters,
        credentials: extract_credentials(credentials_secret, &object.spec.credentials_secret_ref),
        target,
        memory: Remembered::default(),
    }
}

impl Observed<'_> {
    /// The request that brings a token, where spec and credentials are sound.
    pub fn request(&self) -> Option<TokenRequest> {
        Some(TokenRequest {
            parameters: self.parameters.as_ref().ok()?.clone(),
            credentials: self.credentials.as_ref().ok()?.client.clone(),
        })
    }

    /// The target Secret as it is, where it is ours.
    pub fn existing(&self) -> Option<&Secret> {
        let target = self.target.as_ref().ok()?.as_ref()?;
        Some(&target.secret)
    }

    /// The token that the target proves to hold, also where it has expired.
    pub fn stored(&self) -> Option<&ProvenToken> {
        self.target.as_ref().ok()?.as_ref()?.stored.as_ref()
    }

    /// The token that the target proves to hold, where it is valid.
    pub fn valid(&self, now: Timestamp) -> Option<&ProvenToken> {
        self.stored().filter(|stored| stored.token.is_valid(now))
    }

    /// Whether a person asked for a renewal that was not handled yet. The target knows too, in case the operator was
    /// killed between its write and that of the status.
    pub fn has_renew_request(&self, now: Timestamp) -> bool {
        let Some(request) = self.object.renew_request() else {
            return false;
        };
        let status = self.object.status.as_ref();
        let handled = status.and_then(|status| status.last_handled_renew_request.as_deref());
        let stored = self.valid(now);
        let answered = stored.and_then(|stored| stored.renew_request.as_deref());
        handled != Some(request) && answered != Some(request)
    }

    /// Whether a renewal that a person asked for is still to be requested: the token in memory may be the answer.
    pub fn must_request_renewal(&self, now: Timestamp) -> bool {
        let answered = self.memory.answers_renew_request && self.memory.token.is_some();
        self.has_renew_request(now) && !answered
    }

    /// The failures that still count. A new generation, changed credentials or a renew request begin anew.
    pub fn failures(&self, now: Timestamp) -> Option<&Failures> {
        if self.must_request_renewal(now) {
            return None;
        }
        counted_failures(self.object, self.credentials.as_ref().ok()?)
    }
}
