//! Whether this process may act: write to the cluster, and request tokens.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;

use crate::clock::{Clock, Moment};

/// This process does not lead any longer: it must not request, write or publish anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotLeading;

/// Tells whether this process leads. Asked right before each write and each token request.
#[derive(Clone, Debug)]
pub struct Leadership(Option<Arc<Elected>>);

#[derive(Debug)]
struct Elected {
    clock: Clock,
    renew_deadline: Duration,
    renewed: Mutex<Option<Moment>>,
    /// The version of the lease as it was taken over; 0 where there is none.
    taken_over_at: AtomicU64,
}

impl Leadership {
    /// Without election: this process always leads.
    pub fn always() -> Self {
        Self(None)
    }

    /// With election: this process leads once [`renew`](Self::renew) says so, for `renew_deadline` each time.
    pub fn elected(clock: Clock, renew_deadline: Duration) -> Self {
        Self(Some(Arc::new(Elected {
            clock,
            renew_deadline,
            renewed: Mutex::default(),
            taken_over_at: AtomicU64::default(),
        })))
    }

    /// The lease had this version when this process took it over.
    pub fn take_over(&self, version: u64) {
        if let Some(elected) = &self.0 {
            elected.taken_over_at.store(version, Ordering::Relaxed);
        }
    }

    /// A version of the API server's store at which the process before this one still acted, if one is known.
    pub fn taken_over_at(&self) -> Option<u64> {
        let elected = self.0.as_ref()?;
        let version = elected.taken_over_at.load(Ordering::Relaxed);
        (version > 0).then_some(version)
    }

    /// Has this process lead for the renew deadline from `began` on, when the request began that acquired or renewed the
    /// lease.
    pub fn renew(&self, began: Moment) {
        self.set(Some(began));
    }

    /// This process does not lead from now on.
    pub fn end(&self) {
        self.set(None);
    }

    fn set(&self, renewed: Option<Moment>) {
        if let Some(elected) = &self.0 {
            *elected.renewed.lock() = renewed;
        }
    }

    /// Whether this process leads. Both clocks must agree: the monotonic one stands still while a machine is suspended,
    /// and the wall clock can be set back.
    pub fn may_act(&self) -> bool {
        self.0.as_ref().is_none_or(|elected| {
            let now = elected.clock.moment();
            elected
                .renewed
                .lock()
                .is_some_and(|renewed| renewed.elapsed(&now) < elected.renew_deadline)
        })
    }

    /// [`may_act`](Self::may_act), as an error that ends a reconciliation.
    pub fn check(&self) -> Result<(), NotLeading> {
        self.may_act().then_some(()).ok_or(NotLeading)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use k8s_openapi::jiff::{SignedDuration, Timestamp};
    use tokio::time::advance;

    use super::*;

    const RENEW_DEADLINE: Duration = Duration::from_secs(10);

    /// A leadership that was just renewed, and by how many seconds its wall clock is set forward.
    fn renewed() -> (Leadership, Arc<AtomicI64>) {
        let set = Arc::new(AtomicI64::new(0));
        let started = tokio::time::Instant::now();
        let forward = set.clone();
        let clock = Clock::from_fn(move || {
            let elapsed = SignedDuration::try_from(started.elapsed()).unwrap();
            Timestamp::UNIX_EPOCH
                + elapsed
                + SignedDuration::from_secs(forward.load(Ordering::Relaxed))
        });
        let leadership = Leadership::elected(clock.clone(), RENEW_DEADLINE);
        assert!(!leadership.may_act(), "nothing is acquired yet");
        leadership.renew(clock.moment());
        (leadership, set)
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_ten_seconds_after_the_last_renewal_began() {
        let (leadership, _) = renewed();
        advance(RENEW_DEADLINE - Duration::from_millis(1)).await;
        assert!(leadership.may_act());
        advance(Duration::from_millis(1)).await;
        assert!(!leadership.may_act());
        assert!(matches!(leadership.check(), Err(NotLeading)));
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_while_a_suspended_machine_stops_the_timers() {
        let (leadership, set) = renewed();
        set.store(9, Ordering::Relaxed);
        assert!(leadership.may_act());
        set.store(10, Ordering::Relaxed);
        assert!(!leadership.may_act());
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_back_does_not_prolong_it() {
        let (leadership, set) = renewed();
        set.store(-3600, Ordering::Relaxed);
        assert!(leadership.may_act());
        advance(RENEW_DEADLINE).await;
        assert!(!leadership.may_act());
    }

    #[tokio::test(start_paused = true)]
    async fn it_can_be_ended_before_its_time() {
        let (leadership, _) = renewed();
        leadership.end();
        assert!(!leadership.may_act());
    }

    #[test]
    fn without_election_it_has_no_end() {
        let leadership = Leadership::always();
        leadership.end();
        assert!(leadership.may_act());
    }
}
