//! What became of a reconciliation.

use k8s_openapi::jiff::Timestamp;

use super::{
    decide::{Obstacle, Record},
    ledger::Ledger,
    survey::Survey,
};
use crate::{
    api::failures::Failures,
    rules::{error::Error, versions::Versions},
};

/// What became of a reconciliation, after everything that could be done was done.
#[derive(Debug)]
pub struct Outcome {
    /// The attempts there are.
    pub ledger: Ledger,
    /// What the target proves, where its key may be used.
    pub usable: Option<Record>,
    /// When the current key is replaced, if ever.
    pub rotate_at: Option<Timestamp>,
    /// The list of keys, if one was had.
    pub survey: Option<Survey>,
    /// When the Delivery API took the current key, if it was asked.
    pub verified_at: Option<Timestamp>,
    /// What keeps the object from being all right.
    pub problem: Problem,
    /// When something is to be done next, if that is known.
    pub next: Option<Timestamp>,
    /// Whether the object waits in a line, and is woken when it may send.
    pub is_in_line: bool,
    /// The Secrets on which this rests. `None` where they could not be read.
    pub versions: Option<Versions>,
}

impl Outcome {
    /// That of an object that has no key and waits for its turn.
    pub fn in_line(ledger: Ledger, error: Error) -> Self {
        Self {
            ledger,
            usable: None,
            rotate_at: None,
            survey: None,
            verified_at: None,
            problem: Problem::Found(error),
            next: None,
            is_in_line: true,
            versions: None,
        }
    }

    /// Whether there is nothing to say but that the object waits for its turn.
    pub fn is_wait(&self) -> bool {
        let waits = matches!(
            &self.problem,
            Problem::Found(Error::InLine { fails: false } | Error::InApiLine { fails: false })
        );
        waits && self.is_in_line && self.usable.is_none()
    }
}

/// What keeps an EdgeToken from being all right.
#[derive(Debug)]
pub enum Problem {
    /// Nothing.
    None,
    /// `spec.suspend`.
    Suspended,
    /// What was decided on. Whether it is there for so long that a person should look.
    Obstacle(Obstacle, bool),
    /// Found before anything was attempted.
    Found(Error),
    /// An attempt failed just now.
    Failed(Error, Failures),
    /// The last attempt failed, and the next one is not due: what the status says of it still holds.
    BackingOff(Failures),
}
