//! What was observed of one EdgeCredential.

use k8s_openapi::api::core::v1::Secret;

use super::{credentials::Credentials, error::Error, target::ProvenToken};
use crate::{
    api::EdgeCredential,
    oauth::{RequestParameters, Token},
};

/// Everything that a decision rests on.
#[derive(Debug)]
pub struct Observed<'a> {
    /// The EdgeCredential.
    pub object: &'a EdgeCredential,
    /// What to ask for, or what is wrong with the spec.
    pub parameters: Result<RequestParameters, Error>,
    /// Who asks, or what is wrong with the credentials Secret.
    pub credentials: Result<Credentials, Error>,
    /// The target Secret if it is there, or why it must not be written.
    pub target: Result<Option<ObservedTarget>, Error>,
    /// A valid token in memory that an equal request brought.
    pub held: Option<Token>,
    /// Whether that token was requested because of the renew request that the object has now.
    pub answered: bool,
    /// Whether the token endpoint fails for everybody: then it is not this object's back-off that says when it may try
    /// again, but whose turn it is.
    pub circuit_open: bool,
}

/// A target Secret that is ours.
#[derive(Clone)]
pub struct ObservedTarget {
    /// The Secret as it is.
    pub secret: Secret,
    /// The token in it, if it proves itself.
    pub stored: Option<ProvenToken>,
}

/// Leaves the Secret out: its own `Debug` prints the bytes.
impl std::fmt::Debug for ObservedTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObservedTarget")
            .field("stored", &self.stored)
            .finish_non_exhaustive()
    }
}

/// Whether a person asked for a renewal that was not handled yet. The target knows too, in case the operator was
/// killed between its write and that of the status.
pub fn renew_requested(object: &EdgeCredential, stored: Option<&ProvenToken>) -> bool {
    let Some(request) = object.renew_request() else {
        return false;
    };
    let handled = object
        .status
        .as_ref()
        .and_then(|status| status.last_handled_renew_request.as_deref());
    let answered = stored.and_then(|stored| stored.renew_request.as_deref());
    handled != Some(request) && answered != Some(request)
}
