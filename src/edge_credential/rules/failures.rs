//! Failed attempts: what their reasons mean, how they are counted, and when the next attempt is made.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};

use super::{
    credentials::Credentials,
    error::Error,
    schedule::{CLOCK_LEEWAY, LEAST_INTERVAL, fraction},
};
use crate::{
    api::{EdgeCredential, failures::Failures},
    cluster::retry::Class,
    oauth::{Token, limits::LONGEST_QUOTA_HOLD},
};

/// Over how long those are spread that an endpoint asked to wait.
const LONGEST_SPREAD: SignedDuration = SignedDuration::from_secs(60);

/// The failures that count: for this generation and these credentials, and with times that the rules could have set.
/// Where any of that is otherwise, all begins anew: a forged status, or one from a clock that was wrong, must not keep an
/// object waiting for ever.
pub fn counted_failures<'a>(
    object: &'a EdgeCredential,
    credentials: &Credentials,
    now: Timestamp,
) -> Option<&'a Failures> {
    let status = object.status.as_ref()?;
    let failures = status.failures.as_ref()?;
    let same_spec = status.observed_generation == object.metadata.generation;
    let same_credentials = status.credentials == credentials.version;
    (same_spec && same_credentials && is_possible(failures, now)).then_some(failures)
}

/// Whether failures have times that the rules could have set.
pub fn is_possible(failures: &Failures, now: Timestamp) -> bool {
    let (last, next) = (failures.last_attempt_at.0, failures.next_attempt_at.0);
    last.duration_since(now) <= CLOCK_LEEWAY
        && next.duration_since(last) <= LONGEST_QUOTA_HOLD + LONGEST_SPREAD
}

/// Counts one more failed attempt and plans the next: with the token that the target still holds in mind, and not before
/// the endpoint wants to be asked again. What was not even sent counts as none.
pub fn count_failure(
    earlier: Option<&Failures>,
    error: &Error,
    object: &EdgeCredential,
    valid: Option<&Token>,
    not_before: Option<Timestamp>,
    now: Timestamp,
) -> Failures {
    let class = error.class();
    // A long outage is no reason to take the first refusal after it for the hundredth.
    let same_kind =
        |earlier: &&Failures| class == Class::Transient || class == Class::of(earlier.reason);
    let count = earlier
        .filter(same_kind)
        .map_or(0, |failures| failures.count)
        .saturating_add(i32::from(error.was_attempted()))
        .max(1);
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    let mut wait = class.wait(count, fraction(&[uid, &count.to_string()]));
    if let Some(token) = valid {
        // Half an hour may be more than the token has left.
        let left = token.expires_at.duration_since(now);
        wait = wait.min((left / 2).max(LEAST_INTERVAL));
    }
    let mut next = now.saturating_add(wait).unwrap_or(Timestamp::MAX);
    if let Some(not_before) = not_before {
        // Objects that have to wait for the same time do not all try again at that time.
        let hold = not_before.duration_since(now);
        let spread = (hold / 20).min(LONGEST_SPREAD).mul_f64(fraction(&[uid]));
        // Status has whole seconds, and one less would be too early.
        let later = spread + SignedDuration::from_secs(1);
        next = next.max(not_before.saturating_add(later).unwrap_or(Timestamp::MAX));
    }
    let time = |time: Timestamp| Time(Timestamp::from_second(time.as_second()).unwrap_or(time));
    Failures {
        count,
        reason: error.reason(),
        last_attempt_at: time(now),
        next_attempt_at: time(next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        edge_credential::{
            rules::{
                outcome::{Outcome, Problem},
                status::describe_status,
            },
            testing::{at, endpoint_down, failures, object, rejected, token},
        },
        oauth::TokenError,
    };

    #[test]
    fn a_failure_is_counted_on_top_of_those_before() {
        let mut object = object();
        let first = count_failure(None, &rejected(), &object, None, None, at(0));
        assert_eq!((first.count, first.next_attempt_at.0), (1, at(5)));
        assert_eq!(first.last_attempt_at.0, at(0));

        stands(&mut object, rejected(), &first);
        let second = count_failure(Some(&first), &rejected(), &object, None, None, at(5));
        assert_eq!((second.count, second.next_attempt_at.0), (2, at(35)));
        let last = Failures {
            count: i32::MAX,
            ..first
        };
        let count = count_failure(Some(&last), &rejected(), &object, None, None, at(5)).count;
        assert_eq!(count, i32::MAX);
    }

    #[test]
    fn a_failure_of_another_kind_is_the_first_of_its_kind() {
        let mut object = object();
        let hundred = failures(100, 0);
        stands(&mut object, endpoint_down(), &hundred);
        let refused = count_failure(Some(&hundred), &rejected(), &object, None, None, at(0));
        assert_eq!((refused.count, refused.next_attempt_at.0), (1, at(5)));

        // The other way round it goes on, so that an endpoint that does both in turn is not tried each second.
        stands(&mut object, rejected(), &hundred);
        let unreachable =
            count_failure(Some(&hundred), &endpoint_down(), &object, None, None, at(0));
        assert_eq!(unreachable.count, 101);
    }

    #[test]
    fn who_was_asked_to_wait_comes_back_after_that_and_not_all_at_once() {
        // How long they were asked to wait, and over how long they are spread at most: 5 %, up to a minute.
        for (hold, spread) in [(100, 5), (600, 30), (3600, 60), (86_400, 60)] {
            let mut waits: Vec<_> = (0..100)
                .map(|number| {
                    let mut object = object();
                    object.metadata.uid = Some(format!("uid-{number}"));
                    let limited = Error::RequestToken(TokenError::RateLimited { quota: None });
                    let until = Some(at(hold));
                    let failures = count_failure(None, &limited, &object, None, until, at(0));
                    failures.next_attempt_at.0.duration_since(at(0)).as_secs()
                })
                .collect();
            waits.sort_unstable();
            assert!(waits[0] >= hold, "{hold} s: {} s", waits[0]);
            let last = waits[99] - hold;
            assert!(
                (spread / 2..=spread).contains(&last),
                "{hold} s: {last} s more"
            );
        }
    }

    #[test]
    fn a_wait_leaves_half_of_the_time_that_the_token_has_left() {
        let redirected = || Error::RequestToken(TokenError::Redirected { status: 302 });
        let wait = |left| {
            let token = token(0, 3600);
            let now = token.expires_at - SignedDuration::from_secs(left);
            let failures = count_failure(None, &redirected(), &object(), Some(&token), None, now);
            failures.next_attempt_at.0.duration_since(now).as_secs()
        };
        assert_eq!([3600, 1200, 120, 30].map(wait), [1800, 600, 60, 60]);
    }

    /// Has the status tell of failures as they stand.
    fn stands(object: &mut EdgeCredential, error: Error, failures: &Failures) {
        let outcome = Outcome::untouched(None, Problem::Failed(error, failures.clone()));
        object.status = Some(describe_status(object, &outcome, at(0)));
    }
}
