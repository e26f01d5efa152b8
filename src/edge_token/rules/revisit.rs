//! When to look at an object again: at the next time at which something is to be done or to be said.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::outcome::{Outcome, Problem};
use crate::{cluster::back_off::Class, rules::error::Error, traffic::waiting::LONGEST_UNWOKEN};

/// How long to wait where something is due already.
const AT_ONCE: SignedDuration = SignedDuration::from_millis(100);

/// The longest time between two looks at an object.
const LONGEST: SignedDuration = SignedDuration::from_hours(4);

/// How long to wait before the next reconciliation, after one that came to `outcome`.
pub fn revisit(outcome: &Outcome, now: Timestamp) -> Duration {
    let attempt = match &outcome.problem {
        Problem::Failed(_, failures) | Problem::BackingOff(failures) if !outcome.is_in_line => {
            // One whose time has come waits for what else is known to come.
            Some(failures.next_attempt_at.0).filter(|at| now < *at)
        }
        _ => None,
    };
    let class = match &outcome.problem {
        // What is waited for is known, or it is woken.
        Problem::Found(Error::InApiLine { .. }) => None,
        Problem::Found(error) if !outcome.is_in_line => Some(error.class().wait(0, 0.0)),
        _ => None,
    };
    let wait = [
        attempt.map(|at| at.duration_since(now)),
        outcome.next.map(|at| at.duration_since(now)),
        class,
        outcome.is_in_line.then_some(LONGEST_UNWOKEN),
        matches!(outcome.problem, Problem::Suspended).then(|| Class::Blocked.wait(0, 0.0)),
    ]
    .into_iter()
    .flatten()
    .map(|wait| wait.max(AT_ONCE))
    .min()
    .unwrap_or(LONGEST);
    wait.min(LONGEST).unsigned_abs()
}
