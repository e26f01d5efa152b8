//! Failed attempts: how they are counted, and when the next attempt is made.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};

use super::times::{CLOCK_LEEWAY, fraction};
use crate::{
    api::{Reason, failures::Failures},
    cluster::back_off::Class,
    http::rate_limits::LONGEST_QUOTA_HOLD,
};

/// Over how long those are spread that an endpoint asked to wait.
const LONGEST_SPREAD: SignedDuration = SignedDuration::from_secs(60);

/// Times in a status have whole seconds.
const WHOLE_SECOND: SignedDuration = SignedDuration::from_secs(1);

/// An attempt that failed.
pub struct Failed<'a> {
    /// The uid of its object.
    pub uid: &'a str,
    pub class: Class,
    pub reason: Reason,
    /// Whether anything was sent. What was not counts as no attempt.
    pub was_attempted: bool,
    /// How long the next attempt can wait, if not for as long as its class says.
    pub longest_wait: Option<SignedDuration>,
    /// When the endpoint wants to be asked again.
    pub not_before: Option<Timestamp>,
}

/// Whether failures have times that the rules could have set.
pub fn is_possible(failures: &Failures, now: Timestamp) -> bool {
    let (last, next) = (failures.last_attempt_at.0, failures.next_attempt_at.0);
    last.duration_since(now) <= CLOCK_LEEWAY
        && next.duration_since(last) <= LONGEST_QUOTA_HOLD + LONGEST_SPREAD + WHOLE_SECOND
}

/// Counts one more failed attempt and plans the next.
pub fn count(earlier: Option<&Failures>, failed: &Failed<'_>, now: Timestamp) -> Failures {
    let class = failed.class;
    // A long outage is no reason to take the first refusal after it for the hundredth.
    let same_kind =
        |earlier: &&Failures| class == Class::Transient || class == Class::of(earlier.reason);
    let count = earlier
        .filter(same_kind)
        .map_or(0, |failures| failures.count)
        .saturating_add(i32::from(failed.was_attempted))
        .max(1);
    let uid = failed.uid;
    let wait = class.wait(count, fraction(&[uid, &count.to_string()]));
    let wait = failed
        .longest_wait
        .map_or(wait, |longest| wait.min(longest));
    let mut next = now.saturating_add(wait).unwrap_or(Timestamp::MAX);
    if let Some(not_before) = failed.not_before {
        // Objects that have to wait for the same time do not all try again at that time.
        let hold = not_before.duration_since(now);
        let spread = (hold / 20).min(LONGEST_SPREAD).mul_f64(fraction(&[uid]));
        // What the status leaves out would be too early.
        let later = spread + WHOLE_SECOND;
        next = next.max(not_before.saturating_add(later).unwrap_or(Timestamp::MAX));
    }
    let time = |time: Timestamp| Time(Timestamp::from_second(time.as_second()).unwrap_or(time));
    Failures {
        count,
        reason: failed.reason,
        last_attempt_at: time(now),
        next_attempt_at: time(next),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LAST: Timestamp = Timestamp::UNIX_EPOCH;

    fn planned_after(wait: SignedDuration) -> Failures {
        Failures {
            count: 1,
            reason: Reason::RateLimited,
            last_attempt_at: Time(LAST),
            next_attempt_at: Time(LAST + wait),
        }
    }

    #[test]
    fn an_attempt_in_the_future_or_days_before_the_next_was_not_planned_here() {
        let day = SignedDuration::from_hours(24);
        assert!(is_possible(&planned_after(day), LAST));
        let never = planned_after(day + SignedDuration::from_secs(62));
        assert!(!is_possible(&never, LAST));
        let soon = planned_after(SignedDuration::from_secs(1));
        assert!(is_possible(&soon, LAST - CLOCK_LEEWAY));
        let before = LAST - CLOCK_LEEWAY - SignedDuration::from_secs(1);
        assert!(!is_possible(&soon, before));
    }

    proptest! {
        #[test]
        fn whatever_is_planned_here_is_possible(
            uid in "[0-9a-f]{8}",
            millis in 0..1000_i64,
            hold in prop_oneof![Just(LONGEST_QUOTA_HOLD), (0..86_400_i64).prop_map(SignedDuration::from_secs)],
            earlier in prop::option::of(1..1000_i32),
            class in prop_oneof![Just(Class::Transient), Just(Class::of(Reason::RateLimited))],
        ) {
            let now = LAST + SignedDuration::from_millis(millis);
            let earlier = earlier.map(|count| Failures { count, ..planned_after(hold) });
            let failed = Failed {
                uid: &uid,
                class,
                reason: Reason::RateLimited,
                was_attempted: true,
                longest_wait: None,
                not_before: Some(now + hold),
            };
            let failures = count(earlier.as_ref(), &failed, now);
            prop_assert!(is_possible(&failures, now), "{failures:?}");
        }
    }
}
