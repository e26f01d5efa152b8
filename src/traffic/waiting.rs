//! How an object waits for its turn: for how long it is left alone, and when its status says that it waits.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{
    caller::{Caller, Urgency},
    endpoint::Endpoint,
    requests::TokenRequests,
};
use crate::cluster::{calls::Calls, object_key::ObjectKey};

/// How long a new object waits for its turn before its status says so.
const UNTOLD_WAIT: Duration = Duration::from_secs(1);

/// How long it waits to say so while those who have a turn need the calls.
const UNTOLD_WAIT_BUSY: Duration = Duration::from_secs(5);

/// How long an object that waits to be woken is left alone, at most and at least. A wake-up may be lost by a fault.
pub const LONGEST_UNWOKEN: SignedDuration = SignedDuration::from_mins(5);
const SHORTEST_UNWOKEN: SignedDuration = SignedDuration::from_secs(10);

/// An object that is certain to need a request, as far as its status tells.
#[derive(Clone, Copy, Debug)]
pub struct Waiter<'a> {
    pub object: &'a ObjectKey,
    pub urgency: Urgency,
    /// Whether its status says that it waits.
    pub is_told: bool,
    /// From 0 to 1, other for other objects: not all of those who came together write together.
    pub fraction: f64,
}

/// What is to be done about an object that waits in the line of its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Nothing for so long: it is woken.
    Leave(Duration),
    /// It has no token and has waited for a while, and its status does not say so yet.
    Tell,
}

impl Waiter<'_> {
    /// Asks for a turn before anything is read, where the object does not wait yet: at the first endpoint of its `way`, from which it
    /// goes on to the second. `None` where there is a turn, or where more has to be known. However many are due at once, only those
    /// read that may send.
    pub fn ask(
        &self,
        way: impl FnOnce() -> Option<(Endpoint, Option<Endpoint>)>,
        tokens: &TokenRequests,
        calls: &Calls,
        now: Timestamp,
    ) -> Option<Waiting> {
        let object = self.object;
        if tokens.is_known(object) {
            let waits = !tokens.may_ask(object) && !tokens.waits_for_recovery(object);
            return (self.is_new() && waits).then(|| self.wait_on(calls, now));
        }
        let (endpoint, then) = way()?;
        let caller = Caller {
            object: object.clone(),
            endpoint,
            then,
            urgency: self.urgency,
        };
        // Where requests fail, that is to be told, and a token may be at hand.
        let waits = !tokens.ask(&caller) && !tokens.waits_for_recovery(object);
        waits.then(|| Waiting::Leave(self.first_wait(now)))
    }

    /// How long it is left alone that waits from now on.
    pub fn first_wait(&self, now: Timestamp) -> Duration {
        if self.is_new() && !self.is_told {
            self.spread(UNTOLD_WAIT)
        } else {
            wait_unwoken(self.urgency.expires_at(), now)
        }
    }

    fn wait_on(&self, calls: &Calls, now: Timestamp) -> Waiting {
        if self.is_told {
            Waiting::Leave(wait_unwoken(None, now))
        } else if calls.is_busy() {
            Waiting::Leave(self.spread(UNTOLD_WAIT_BUSY))
        } else {
            Waiting::Tell
        }
    }

    fn is_new(&self) -> bool {
        self.urgency == Urgency::NoToken
    }

    fn spread(&self, wait: Duration) -> Duration {
        wait.mul_f64(1.0 + self.fraction)
    }
}

/// How long a new object waits in the line of its endpoint that says so later, since others need the calls. It's woken when it's
/// its turn.
pub fn rest_in_line(object: &ObjectKey, tokens: &TokenRequests, calls: &Calls) -> Option<Duration> {
    let waits = calls.is_busy() && tokens.waits_for_first_token(object);
    waits.then_some(UNTOLD_WAIT_BUSY)
}

/// How long to leave an object alone that waits to be woken: no longer than half of what its token has left.
pub fn wait_unwoken(expires_at: Option<Timestamp>, now: Timestamp) -> Duration {
    let left = expires_at.map(|expires_at| expires_at.duration_since(now));
    let left = left.filter(SignedDuration::is_positive);
    let wait = left.map_or(LONGEST_UNWOKEN, |left| (left / 2).min(LONGEST_UNWOKEN));
    wait.max(SHORTEST_UNWOKEN).unsigned_abs()
}
