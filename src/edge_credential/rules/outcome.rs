//! What became of a reconciliation.

use k8s_openapi::jiff::SignedDuration;

use super::target::ProvenToken;
use crate::{
    api::failures::Failures,
    rules::{error::Error, versions::Versions},
};

/// What became of a reconciliation, after everything that could be done was done.
#[derive(Debug)]
pub struct Outcome {
    /// The valid token that the target holds now.
    pub token: Option<ProvenToken>,
    /// What keeps the object from being all right.
    pub problem: Problem,
    /// Whether a token was requested, and with that a renew request acted on, if there is one.
    pub requested: bool,
    /// Whether the target was written.
    pub wrote: bool,
    /// Whether a target that had been deleted was written again with the token that it held.
    pub restored: bool,
    /// Whether the object waits in the line of its endpoint, and is woken when it may ask.
    pub is_in_line: bool,
    /// Whether to look again soon, for what no count of failures tells of.
    pub requeue_soon: bool,
    /// How late a renewal that was due by time began.
    pub renewal_delay: Option<SignedDuration>,
    /// The Secrets on which this rests. `None` where they could not be read, or where something is left to do now.
    pub versions: Option<Versions>,
}

impl Outcome {
    /// The outcome where nothing was done.
    pub fn untouched(token: Option<ProvenToken>, problem: Problem) -> Self {
        Self {
            token,
            problem,
            requested: false,
            wrote: false,
            restored: false,
            is_in_line: false,
            requeue_soon: false,
            renewal_delay: None,
            versions: None,
        }
    }
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
