//! Failed attempts: what their reasons mean, how they are counted, and when the next attempt is made.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::{SignedDuration, Timestamp},
};

use super::{
    credentials::Credentials,
    error::Error,
    schedule::{LEAST_INTERVAL, fraction},
};
use crate::{
    api::{ConditionType, EdgeCredential, Reason, conditions, failures::Failures},
    oauth::Token,
};

/// Over how long those are spread that an endpoint asked to wait.
const LONGEST_SPREAD: SignedDuration = SignedDuration::from_secs(60);

/// What a reason means for the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It passes by itself: tried again, with back-off to a minute.
    Transient,
    /// The API server refuses a write: tried again, with back-off to five minutes. The token is kept in memory.
    Write,
    /// It looks like a person must act, but identity providers take a minute to agree after a change: tried again
    /// after 5 s, 30 s and 2 min, then every 30 minutes.
    Terminal,
    /// As `Terminal`, but nothing that passes by itself: every 30 minutes from the start.
    Final,
    /// Something is not there yet. Looked at when it changes.
    Waiting,
    /// A person must act before anything is tried. Looked at when it changes.
    Blocked,
}

impl Class {
    /// The class of a reason.
    pub fn of(reason: Reason) -> Self {
        match reason {
            Reason::TokenValid
            | Reason::RenewalFailing
            | Reason::RenewalStalled
            | Reason::TokenExpired
            | Reason::KubernetesUnavailable
            | Reason::TokenEndpointUnavailable
            | Reason::RateLimited
            | Reason::InvalidResponse
            | Reason::ResponseTooLarge => Self::Transient,
            Reason::TargetWriteForbidden | Reason::TargetWriteFailed => Self::Write,
            Reason::CredentialsRejected
            | Reason::ClientNotAllowed
            | Reason::RequestRefused
            | Reason::UnsupportedTokenType
            | Reason::InvalidTokenBytes
            | Reason::NotAJWT
            | Reason::InvalidLifetime
            | Reason::ExpiredOnArrival
            | Reason::WrongAudience => Self::Terminal,
            Reason::InternalError | Reason::RedirectRefused | Reason::UnknownLifetime => {
                Self::Final
            }
            Reason::CredentialsNotFound => Self::Waiting,
            Reason::Suspended
            | Reason::InvalidSpec
            | Reason::TokenOriginNotAllowed
            | Reason::CredentialsMalformed
            | Reason::TargetNotOwned
            | Reason::TargetConflict
            | Reason::TargetImmutable
            | Reason::RBACMissing => Self::Blocked,
        }
    }

    /// Whether a person must act, after so many failed attempts in a row.
    pub fn is_stalled(self, attempts: i32) -> bool {
        match self {
            Self::Transient | Self::Write | Self::Waiting => false,
            Self::Terminal => attempts > 3,
            Self::Final | Self::Blocked => true,
        }
    }
}

/// The failures that still count: a new generation, changed credentials or a renew request begin anew.
pub fn counted_failures(
    object: &EdgeCredential,
    credentials: &Credentials,
    requested: bool,
) -> Option<Failures> {
    let status = object.status.as_ref()?;
    let failures = status.failures.as_ref()?;
    let same_spec = status.observed_generation == object.metadata.generation;
    let same_credentials = failures.credentials_resource_version == credentials.resource_version;
    (same_spec && same_credentials && !requested).then(|| failures.clone())
}

/// The condition of the status that tells what is in the way, by default why its failures happened.
pub fn standing_condition(object: &EdgeCredential) -> Option<&Condition> {
    let conditions = &object.status.as_ref()?.conditions;
    [ConditionType::Stalled, ConditionType::Reconciling]
        .into_iter()
        .find(|type_| conditions::holds(conditions, *type_))
        .and_then(|type_| conditions::find(conditions, type_))
}

/// The reason that the status gives for its failures.
pub fn standing_reason(object: &EdgeCredential) -> Reason {
    let status = object.status.as_ref();
    let failures = status.and_then(|status| status.failures.as_ref());
    failures.map_or(Reason::TokenEndpointUnavailable, |failures| failures.reason)
}

/// Counts one more failed attempt and plans the next: with the token that the target still holds in mind, and not before
/// the endpoint wants to be asked again. What was not even sent counts as none.
pub fn failed(
    earlier: Option<&Failures>,
    error: &Error,
    object: &EdgeCredential,
    credentials: Option<&Credentials>,
    valid: Option<&Token>,
    not_before: Option<Timestamp>,
    now: Timestamp,
) -> Failures {
    let class = Class::of(error.reason());
    // A long outage is no reason to take the first refusal after it for the hundredth.
    let same_kind = class == Class::Transient || class == Class::of(standing_reason(object));
    let count = earlier
        .filter(|_| same_kind)
        .map_or(0, |failures| failures.count)
        .saturating_add(i32::from(error.was_attempted()))
        .max(1);
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    let mut wait = back_off(class, count, fraction(&[uid, &count.to_string()]));
    if let Some(token) = valid {
        // Half an hour may be more than the token has left.
        let left = token.expires_at.duration_since(now);
        wait = wait.min((left / 2).max(LEAST_INTERVAL));
    }
    let mut next = now.saturating_add(wait).unwrap_or(Timestamp::MAX);
    if let Some(not_before) = not_before {
        // What is held back together does not come back together.
        let hold = not_before.duration_since(now);
        let spread = (hold / 20).min(LONGEST_SPREAD).mul_f64(fraction(&[uid]));
        next = next.max(not_before.saturating_add(spread).unwrap_or(Timestamp::MAX));
    }
    let time = |time: Timestamp| Time(Timestamp::from_second(time.as_second()).unwrap_or(time));
    Failures {
        count,
        reason: error.reason(),
        last_attempt_at: time(now),
        next_attempt_at: time(next),
        credentials_resource_version: credentials
            .and_then(|credentials| credentials.resource_version.clone()),
    }
}

/// How long to wait after so many failed attempts in a row. `jitter` is from 0 to 1.
pub fn back_off(class: Class, attempts: i32, jitter: f64) -> SignedDuration {
    let seconds = |seconds| SignedDuration::from_secs(seconds);
    let doubled = |first: i64, most: i64| {
        let doublings = u32::try_from(attempts.saturating_sub(1))
            .unwrap_or(0)
            .min(30);
        (first << doublings).min(most)
    };
    match class {
        // Full jitter (AWS, "Exponential Backoff And Jitter"), but a second at least: status has whole seconds.
        Class::Transient | Class::Waiting | Class::Blocked => {
            seconds(1) + seconds(doubled(1, 60)).mul_f64(jitter)
        }
        Class::Write => seconds(doubled(5, 300)),
        Class::Terminal => seconds(match attempts {
            ..=1 => 5,
            2 => 30,
            3 => 120,
            4.. => 1800,
        }),
        Class::Final => seconds(1800),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_class() {
        let classes = [
            (Class::Transient, "TokenValid"),
            (Class::Transient, "RenewalFailing"),
            (Class::Transient, "RenewalStalled"),
            (Class::Blocked, "Suspended"),
            (Class::Transient, "TokenExpired"),
            (Class::Blocked, "InvalidSpec"),
            (Class::Blocked, "TokenOriginNotAllowed"),
            (Class::Waiting, "CredentialsNotFound"),
            (Class::Blocked, "CredentialsMalformed"),
            (Class::Blocked, "TargetNotOwned"),
            (Class::Blocked, "TargetConflict"),
            (Class::Blocked, "TargetImmutable"),
            (Class::Write, "TargetWriteForbidden"),
            (Class::Write, "TargetWriteFailed"),
            (Class::Transient, "KubernetesUnavailable"),
            (Class::Final, "InternalError"),
            (Class::Blocked, "RBACMissing"),
            (Class::Transient, "TokenEndpointUnavailable"),
            (Class::Transient, "RateLimited"),
            (Class::Terminal, "CredentialsRejected"),
            (Class::Terminal, "ClientNotAllowed"),
            (Class::Terminal, "RequestRefused"),
            (Class::Final, "RedirectRefused"),
            (Class::Transient, "InvalidResponse"),
            (Class::Transient, "ResponseTooLarge"),
            (Class::Terminal, "UnsupportedTokenType"),
            (Class::Terminal, "InvalidTokenBytes"),
            (Class::Terminal, "NotAJWT"),
            (Class::Final, "UnknownLifetime"),
            (Class::Terminal, "InvalidLifetime"),
            (Class::Terminal, "ExpiredOnArrival"),
            (Class::Terminal, "WrongAudience"),
        ];
        let of_reasons: Vec<_> = Reason::ALL
            .iter()
            .map(|reason| (Class::of(*reason), reason.as_str()))
            .collect();
        assert_eq!(of_reasons, classes);
    }

    #[test]
    fn a_person_must_act_at_once_or_after_three_attempts_or_never() {
        for (class, stalled) in [
            (Class::Transient, [false, false, false]),
            (Class::Write, [false, false, false]),
            (Class::Waiting, [false, false, false]),
            (Class::Terminal, [false, false, true]),
            (Class::Final, [true, true, true]),
            (Class::Blocked, [true, true, true]),
        ] {
            assert_eq!(
                [0, 3, 4].map(|attempts| class.is_stalled(attempts)),
                stalled
            );
        }
    }
}
