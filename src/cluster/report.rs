//! The result of a reconciliation of any kind.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{back_off::Class, transition::Transition};
use crate::api::Reason;

/// The result of a reconciliation, for logs, events and metrics.
#[derive(Debug)]
pub struct Report {
    /// When to look again.
    pub requeue_after: Duration,
    /// The reason of the problem that the object has, if it has one.
    pub problem: Option<Reason>,
    /// What changed in the object's conditions.
    pub transitions: Vec<Transition>,
    /// The token that was written to the target, if one was.
    pub written: Option<WrittenToken>,
    /// How late a renewal that was due by time began.
    pub renewal_delay: Option<SignedDuration>,
}

impl Report {
    /// Nothing was done, and there is nothing to publish.
    pub fn nothing() -> Self {
        Self::look_again_after(Class::Blocked.wait(0, 0.0).unsigned_abs())
    }

    /// As [`nothing`](Self::nothing), with the time of the next look.
    pub fn look_again_after(requeue_after: Duration) -> Self {
        Self {
            requeue_after,
            problem: None,
            transitions: Vec::new(),
            written: None,
            renewal_delay: None,
        }
    }
}

/// A token that was written to the target.
#[derive(Debug)]
pub struct WrittenToken {
    /// The name of the Secret.
    pub secret: String,
    pub expires_at: Timestamp,
    pub renew_at: Timestamp,
    /// Whether it was requested for this object now, rather than found in the target or in memory.
    pub requested: bool,
}
