//! What became of a reconciliation.

use super::{error::Error, target::ProvenToken};
use crate::api::failures::Failures;

/// What became of a reconciliation, after everything that could be done was done.
#[derive(Debug)]
pub struct Outcome {
    /// The valid token that the target holds now.
    pub token: Option<ProvenToken>,
    /// What keeps the object from being all right.
    pub trouble: Problem,
    /// Whether a renew request was acted on, if there is one.
    pub attempted: bool,
}

/// What keeps an EdgeCredential from being all right.
#[derive(Debug)]
pub enum Problem {
    /// Nothing.
    None,
    /// `spec.suspend`.
    Suspended,
    /// Found before anything was attempted.
    Found(Error),
    /// An attempt failed just now.
    Failed(Error, Failures),
    /// The last attempt failed, and the next one is not due: what the status says of it still holds.
    BackingOff(Failures),
}
