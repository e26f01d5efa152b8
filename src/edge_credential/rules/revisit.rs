//! When to look at an object again: at the next time at which something is to be done or to be said.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::outcome::{Outcome, Problem};
use crate::{cluster::back_off::Class, traffic::waiting::wait_unwoken};

/// How long to wait before a repair is written again, where something else already keeps the object from being all
/// right, and before a target is looked at again that another object was about to make.
const LOOK_WAIT: SignedDuration = SignedDuration::from_secs(10);

/// How long to wait where something is due already.
const AT_ONCE: SignedDuration = SignedDuration::from_millis(100);

/// How long to wait before the next reconciliation, after one that came to `outcome`.
pub fn revisit(outcome: &Outcome, now: Timestamp) -> Duration {
    let wait = if has_fallen_due(outcome, now) {
        AT_ONCE
    } else {
        let proven = outcome.token.as_ref();
        let missing_right = matches!(
            &outcome.problem,
            Problem::Found(error) if error.class() == Class::Forbidden
        );
        [
            proven.map(|proven| proven.renewal.at.duration_since(now)),
            proven.map(|proven| proven.token.expires_at.duration_since(now)),
            next_attempt(outcome).map(|time| time.duration_since(now)),
            missing_right.then(|| Class::Forbidden.wait(0, 0.0)),
            outcome.requeue_soon.then_some(LOOK_WAIT),
            outcome.is_in_line.then(|| {
                let expires_at = proven.map(|proven| proven.token.expires_at);
                SignedDuration::try_from(wait_unwoken(expires_at, now)).unwrap_or(LOOK_WAIT)
            }),
        ]
        .into_iter()
        .flatten()
        // What is past was acted on, or has to wait for something else.
        .filter(SignedDuration::is_positive)
        .min()
        .unwrap_or(Class::Blocked.wait(0, 0.0))
    };
    Duration::try_from(wait).unwrap_or_default()
}

/// Whether something has fallen due since it was decided that it was not. A reconciliation takes time: without this, what
/// falls due during it would wait for the next time in the list, which may be hours away.
fn has_fallen_due(outcome: &Outcome, now: Timestamp) -> bool {
    let proven = outcome.token.as_ref();
    let is_past = |time: Timestamp| time <= now;
    proven.is_some_and(|proven| is_past(proven.token.expires_at))
        || match &outcome.problem {
            Problem::None => proven.is_some_and(|proven| is_past(proven.renewal.at)),
            // One that is in the line is woken.
            Problem::Failed(_, failures) | Problem::BackingOff(failures) => {
                !outcome.is_in_line && is_past(failures.next_attempt_at.0)
            }
            Problem::Suspended | Problem::Found(_) => false,
        }
}

fn next_attempt(outcome: &Outcome) -> Option<Timestamp> {
    match &outcome.problem {
        Problem::Failed(_, failures) | Problem::BackingOff(failures) if !outcome.is_in_line => {
            Some(failures.next_attempt_at.0)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        edge_credential::testing::{at, failures, proven, token},
        oauth::TokenError,
        rules::error::Error,
    };

    /// A token of a day that is issued at [`NOW`](crate::edge_credential::testing::NOW), if any, and what is in the way.
    fn outcome(has_token: bool, problem: Problem, is_in_line: bool) -> Outcome {
        let token = has_token.then(|| proven(token(0, 86_400)));
        let mut outcome = Outcome::untouched(token, problem);
        outcome.is_in_line = is_in_line;
        outcome
    }

    fn failed(next: i64) -> Problem {
        Problem::Failed(
            Error::RequestToken(TokenError::RateLimited { quota: None }),
            failures(1, next),
        )
    }

    fn wait(outcome: &Outcome, now: i64) -> u64 {
        revisit(outcome, at(now)).as_secs()
    }

    #[test]
    fn a_valid_token_is_looked_at_again_when_it_is_to_be_renewed() {
        let due = proven(token(0, 86_400)).renewal.at;
        let wait = revisit(&outcome(true, Problem::None, false), at(0));
        assert_eq!(wait, due.duration_since(at(0)).unsigned_abs());
    }

    #[test]
    fn after_a_failure_the_next_attempt_comes_when_the_status_says() {
        assert_eq!(wait(&outcome(true, failed(60), false), 0), 60);
        let standing = Problem::BackingOff(failures(1, 60));
        assert_eq!(wait(&outcome(false, standing, false), 20), 40);
    }

    /// Seen in a test of faults: the visit that found the attempt not yet due ended after it was, and the object was
    /// left alone until the token's next renewal.
    #[test]
    fn an_attempt_that_falls_due_while_an_object_is_visited_is_not_forgotten() {
        for has_token in [true, false] {
            let standing = Problem::BackingOff(failures(1, 60));
            assert_eq!(wait(&outcome(has_token, standing, false), 60), 0);
            assert_eq!(wait(&outcome(has_token, failed(60), false), 61), 0);
        }
    }

    #[test]
    fn who_is_in_the_line_does_not_ask_all_the_time_but_trusts_no_wake_up_either() {
        let standing = || Problem::BackingOff(failures(1, 60));
        for now in [0, 61] {
            assert_eq!(wait(&outcome(false, standing(), true), now), 300);
        }
        // Half of what the token has left, and when it expires there is something to tell.
        for (left, expected) in [(1000, 300), (100, 50), (21, 10), (8, 8)] {
            assert_eq!(
                wait(&outcome(true, standing(), true), 86_400 - left),
                expected
            );
        }
    }

    #[test]
    fn a_token_that_expires_while_it_is_visited_is_told_of_at_once() {
        for trouble in [
            Problem::None,
            Problem::Suspended,
            failed(90_000),
            Problem::BackingOff(failures(1, 90_000)),
        ] {
            assert_eq!(wait(&outcome(true, trouble, false), 86_400), 0);
        }
    }

    #[test]
    fn what_only_others_can_help_with_is_looked_at_again_all_the_same() {
        let error = Error::RequestToken(TokenError::OriginNotAllowed);
        assert_eq!(wait(&outcome(false, Problem::Found(error), false), 0), 300);
        let mut soon = outcome(false, Problem::Suspended, false);
        soon.requeue_soon = true;
        assert_eq!(wait(&soon, 0), 10);
    }

    proptest! {
        /// However long a visit takes: the next one is not later than the attempt that the status announces, the
        /// renewal and the expiry, and where one of them is past already it comes at once.
        #[test]
        fn nothing_that_is_to_come_is_slept_through(
            has_token: bool,
            kind in 0..3,
            next in 1_i64..100_000,
            took in 0_i64..100_000,
        ) {
            let trouble = match kind {
                0 => Problem::None,
                1 => failed(next),
                _ => Problem::BackingOff(failures(1, next)),
            };
            let mut times = Vec::new();
            if has_token {
                times.push(86_400);
            }
            match kind {
                0 if has_token => {
                    let due = proven(token(0, 86_400)).renewal.at;
                    times.push(due.duration_since(at(0)).as_secs());
                }
                0 => {}
                _ => times.push(next),
            }
            let wait = revisit(&outcome(has_token, trouble, false), at(took));
            let most = times.iter().min().map_or(300_000, |time| (time - took).max(0) * 1000);
            prop_assert!(wait.as_millis() as i64 <= most.max(100), "{wait:?}, at most {most} ms");
            prop_assert!(!wait.is_zero());
        }
    }
}
