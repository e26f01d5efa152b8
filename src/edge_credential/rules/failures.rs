//! Failed attempts: what their reasons mean, how they are counted, and when the next attempt is made.

use k8s_openapi::jiff::Timestamp;

use super::schedule::LEAST_INTERVAL;
use crate::{
    api::{EdgeCredential, failures::Failures},
    oauth::Token,
    rules::{
        credentials::Credentials,
        error::Error,
        failures::{Failed, count, is_possible},
    },
};

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

/// Counts one more failed attempt and plans the next: with the token that the target still holds in mind, and not before
/// the endpoint wants to be asked again.
pub fn count_failure(
    earlier: Option<&Failures>,
    error: &Error,
    object: &EdgeCredential,
    valid: Option<&Token>,
    not_before: Option<Timestamp>,
    now: Timestamp,
) -> Failures {
    let failed = Failed {
        uid: object.metadata.uid.as_deref().unwrap_or_default(),
        class: error.class(),
        reason: error.reason(),
        was_attempted: error.was_attempted(),
        // Half an hour may be more than the token has left.
        longest_wait: valid.map(|token| {
            let left = token.expires_at.duration_since(now);
            (left / 2).max(LEAST_INTERVAL)
        }),
        not_before,
    };
    count(earlier, &failed, now)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::SignedDuration;

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
