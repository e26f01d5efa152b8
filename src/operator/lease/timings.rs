//! How long a lease lasts, and what depends on that.

use std::time::Duration;

/// How long the others wait after the holder's last renewal, unless `--lease-duration` says otherwise. client-go's value, as are the
/// next two.
pub const LEASE_DURATION: &str = "15s";

/// How long a leader goes on without a renewal, unless `--renew-deadline` says otherwise.
pub const RENEW_DEADLINE: &str = "10s";

/// How often the holder renews, unless `--retry-period` says otherwise.
pub const RETRY_PERIOD: &str = "2s";

/// By how much a wait is prolonged at most, so that not all candidates ask at the same time. client-go's `JitterFactor`.
pub const JITTER_FACTOR: f64 = 1.2;

/// The timings of an election, with client-go's rules between them: the lease lasts for longer than its holder acts on it
/// without a renewal, and the holder tries to renew it more than once meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    lease_duration: Duration,
    renew_deadline: Duration,
    retry_period: Duration,
}

/// Timings with which two could lead at a time, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTimings {
    /// A Lease holds whole seconds.
    #[error("--lease-duration must be in whole seconds, at least one: it is {0:?}")]
    LeaseDuration(Duration),
    /// Another process could lead while the holder still acts.
    #[error(
        "--lease-duration ({lease_duration:?}) must be longer than --renew-deadline ({renew_deadline:?})"
    )]
    RenewDeadline {
        lease_duration: Duration,
        renew_deadline: Duration,
    },
    /// The holder could not try again before it has to give up.
    #[error(
        "--renew-deadline ({renew_deadline:?}) must be longer than {JITTER_FACTOR} times --retry-period ({retry_period:?})"
    )]
    RetryPeriod {
        renew_deadline: Duration,
        retry_period: Duration,
    },
    /// There would be no end of requests.
    #[error("--retry-period must be longer than nothing")]
    NoRetryPeriod,
}

impl Timings {
    /// Checks the rules.
    pub fn new(
        lease_duration: Duration,
        renew_deadline: Duration,
        retry_period: Duration,
    ) -> Result<Self, InvalidTimings> {
        let timings = Self {
            lease_duration,
            renew_deadline,
            retry_period,
        };
        if timings.lease_duration_seconds().is_none() {
            Err(InvalidTimings::LeaseDuration(lease_duration))
        } else if lease_duration <= renew_deadline {
            Err(InvalidTimings::RenewDeadline {
                lease_duration,
                renew_deadline,
            })
        } else if renew_deadline <= retry_period.mul_f64(JITTER_FACTOR) {
            Err(InvalidTimings::RetryPeriod {
                renew_deadline,
                retry_period,
            })
        } else if retry_period.is_zero() {
            Err(InvalidTimings::NoRetryPeriod)
        } else {
            Ok(timings)
        }
    }

    /// How long the others wait for the next renewal by the holder before they take the lease.
    pub fn lease_duration(&self) -> Duration {
        self.lease_duration
    }

    /// As it stands in a Lease.
    pub fn lease_duration_seconds(&self) -> Option<i32> {
        let seconds = i32::try_from(self.lease_duration.as_secs()).ok()?;
        (seconds > 0 && self.lease_duration.subsec_nanos() == 0).then_some(seconds)
    }

    /// How long a leader may act after it began the renewal that last succeeded. Others wait for longer than that, as in
    /// client-go: their lease duration begins when they see the renewal, which is after it began.
    pub fn renew_deadline(&self) -> Duration {
        self.renew_deadline
    }

    /// How often the holder renews the lease, and the others look at it.
    pub fn retry_period(&self) -> Duration {
        self.retry_period
    }

    /// How long one call may take. Two of them fit between a renewal and its deadline.
    pub fn call_timeout(&self) -> Duration {
        self.renew_deadline / 2
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn timings(milliseconds: [u64; 3]) -> Result<Timings, InvalidTimings> {
        let [lease, deadline, retry] = milliseconds.map(Duration::from_millis);
        Timings::new(lease, deadline, retry)
    }

    fn refusal(milliseconds: [u64; 3]) -> String {
        timings(milliseconds).unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_of_client_go_and_the_shortest_that_fit_are_taken() {
        for milliseconds in [
            [15_000, 10_000, 2_000],
            [15_000, 14_999, 12_499],
            [1_000, 999, 1],
            [3_600_000, 2, 1],
        ] {
            assert!(timings(milliseconds).is_ok(), "{milliseconds:?}");
        }
    }

    #[test]
    fn what_client_go_refuses_is_refused_and_the_message_names_the_flags_and_their_values() {
        for milliseconds in [[10_000, 10_000, 2_000], [10_000, 11_000, 2_000]] {
            let refusal = refusal(milliseconds);
            assert!(
                refusal.starts_with("--lease-duration (10s) must be longer than"),
                "{refusal}"
            );
            assert!(refusal.contains("--renew-deadline (1"), "{refusal}");
        }
        assert_eq!(
            refusal([15_000, 12_000, 10_000]),
            "--renew-deadline (12s) must be longer than 1.2 times --retry-period (10s)"
        );
        assert!(refusal([15_000, 10_000, 0]).starts_with("--retry-period"));
        assert!(refusal([15_000, 0, 0]).starts_with("--renew-deadline (0ns)"));
        assert!(refusal([0, 0, 0]).starts_with("--lease-duration"));
    }

    #[test]
    fn a_lease_duration_that_a_lease_cannot_hold_is_refused() {
        // client-go writes it cut to whole seconds, and the others would take the lease before the deadline.
        assert!(refusal([1_900, 1_500, 500]).contains("whole seconds, at least one: it is 1.9s"));
        assert!(refusal([1_000 << 31, 2_000, 500]).contains("whole seconds"));
    }

    proptest! {
        #[test]
        fn whatever_is_taken_lets_a_holder_try_twice_and_end_before_its_lease(
            lease in 0..100_u64,
            deadline in 0..100_000_u64,
            retry in 0..100_000_u64,
        ) {
            if let Ok(timings) = timings([lease * 1_000, deadline, retry]) {
                let longest = timings.retry_period().mul_f64(JITTER_FACTOR);
                prop_assert!(Duration::ZERO < longest);
                prop_assert!(longest < timings.renew_deadline());
                prop_assert!(timings.renew_deadline() < timings.lease_duration());
                let written = timings.lease_duration_seconds().unwrap();
                prop_assert_eq!(u64::try_from(written).unwrap(), lease);
            }
        }
    }
}
