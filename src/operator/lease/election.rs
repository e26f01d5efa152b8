//! Decides what to do about the lease, from what was seen of it and when.

use std::time::{Duration, Instant};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};

use super::timings::Timings;

/// The seconds that a holder writes when it releases the lease, in place of the lease duration. Zero is not valid.
const RELEASED_DURATION: i32 = 1;

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nobody holds the lease: write the [`claim`](Election::claim).
    Acquire,
    /// We hold it: write the claim again.
    Renew,
    /// Somebody else holds it: look again after so long.
    Wait(Duration),
    /// We held the lease and must not act any longer.
    Lost(Loss),
}

/// How a lease is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It could not be renewed in time.
    NotRenewed,
    /// Another holder stands in it.
    Taken,
}

/// One candidate's view of the lease.
#[derive(Clone, Debug)]
pub struct Election {
    /// The lease's name.
    name: String,
    /// This candidate's identity.
    me: String,
    timings: Timings,
    /// The lease as it was seen last; `None` where it is not there.
    lease: Option<Lease>,
    /// What the last sign of life of a holder said, and when it was first seen. Outlives the lease: a holder whose lease
    /// was deleted acts on for a while.
    sign_of_life: Option<(LeaseSpec, Instant)>,
    /// When the last successful renewal began, while we lead.
    renewed_at: Option<Instant>,
}

impl Election {
    /// Nothing is known of the lease yet.
    pub fn new(name: String, me: String, timings: Timings) -> Self {
        Self {
            name,
            me,
            timings,
            lease: None,
            sign_of_life: None,
            renewed_at: None,
        }
    }

    /// The lease was read.
    pub fn saw(&mut self, lease: Option<Lease>, now: Instant) {
        let spec = lease.as_ref().and_then(|lease| lease.spec.as_ref());
        let known = self.sign_of_life.as_ref().map(|(spec, _)| spec);
        if spec.is_some() && spec != known {
            self.sign_of_life = spec.cloned().map(|spec| (spec, now));
        }
        self.lease = lease;
    }

    /// The claim was written, by a request that began at `began`.
    pub fn wrote(&mut self, lease: Lease, began: Instant, now: Instant) {
        self.saw(Some(lease), now);
        self.renewed_at = Some(began);
    }

    /// What to do next.
    pub fn step(&self, now: Instant) -> Step {
        match self.renewed_at {
            Some(renewed_at) => self.step_of_leader(renewed_at, now),
            None => self.step_of_candidate(now),
        }
    }

    fn step_of_leader(&self, renewed_at: Instant, now: Instant) -> Step {
        // Where the lease was deleted, it is created anew.
        if self.lease.is_some() && !self.is_mine() {
            Step::Lost(Loss::Taken)
        } else if now.duration_since(renewed_at) >= self.timings.renew_deadline() {
            Step::Lost(Loss::NotRenewed)
        } else {
            Step::Renew
        }
    }

    fn step_of_candidate(&self, now: Instant) -> Step {
        let Some((spec, seen_at)) = &self.sign_of_life else {
            return Step::Acquire;
        };
        // We are the holder where a claim was written whose answer did not arrive.
        if spec
            .holder_identity
            .as_ref()
            .is_none_or(|holder| *holder == self.me)
        {
            return Step::Acquire;
        }
        let duration = spec
            .lease_duration_seconds
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map_or(self.timings.lease_duration(), Duration::from_secs);
        match duration.saturating_sub(now.duration_since(*seen_at)) {
            Duration::ZERO => Step::Acquire,
            left => Step::Wait(left.min(self.timings.retry_period())),
        }
    }

    /// Who holds the lease, if it is held.
    pub fn holder(&self) -> Option<&str> {
        let spec = self.lease.as_ref()?.spec.as_ref()?;
        spec.holder_identity.as_deref()
    }

    /// Whether the lease, as it was seen last, is ours.
    pub fn is_mine(&self) -> bool {
        self.holder() == Some(&self.me)
    }

    /// Until when the lease must be renewed, while we lead.
    pub fn deadline(&self) -> Option<Instant> {
        Some(self.renewed_at? + self.timings.renew_deadline())
    }

    /// The lease that makes us its holder: to be created where there is none, else to replace the one that was seen.
    pub fn claim(&self, now: Timestamp) -> Lease {
        let mut lease = self.lease.clone().unwrap_or_else(|| Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                ..ObjectMeta::default()
            },
            spec: None,
        });
        let now = Some(MicroTime(now));
        let earlier = lease.spec.take();
        let spec = lease.spec.insert(earlier.clone().unwrap_or_default());
        if !self.is_mine() {
            spec.holder_identity = Some(self.me.clone());
            spec.acquire_time = now.clone();
            let transitions = earlier.and_then(|spec| spec.lease_transitions);
            spec.lease_transitions = Some(match self.lease {
                Some(_) => transitions.unwrap_or_default().saturating_add(1),
                None => 0,
            });
        }
        spec.lease_duration_seconds = self.timings.lease_duration_seconds();
        spec.renew_time = now;
        lease
    }

    /// Our lease without a holder, so that another process can take it at once. `None` where it isn't ours.
    pub fn release(&self, now: Timestamp) -> Option<Lease> {
        let mut lease = self.lease.clone().filter(|_| self.is_mine())?;
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = None;
        spec.lease_duration_seconds = Some(RELEASED_DURATION);
        spec.acquire_time = Some(MicroTime(now));
        spec.renew_time = Some(MicroTime(now));
        Some(lease)
    }
}

#[cfg(test)]
mod tests;
