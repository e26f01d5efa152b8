//! When again? What a failure means for the next attempt, in one table.

use k8s_openapi::jiff::SignedDuration;

use crate::api::Reason;

/// What a failure means for the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The cause passes by itself.
    Transient,
    /// The API server refuses a write. The token is kept in memory meanwhile.
    Write,
    /// It looks like a person must act, but identity providers take a minute to agree after a change.
    Terminal,
    /// A person must act, and only another attempt can show that they did.
    Final,
    /// Something does not exist yet. A watch reports its creation, mostly before this wait is over.
    Waiting,
    /// A person must act before anything is tried. A watch reports what they change, mostly before this wait is over.
    Blocked,
    /// A right is missing. No watch reports that it was granted, and an API server that has just started refuses
    /// everything until it knows the roles (seen on Kubernetes 1.37).
    Forbidden,
    /// Another client changed what was read.
    Conflict,
    /// The API server did not answer, or failed.
    Unavailable,
    /// Another process leads, or may lead.
    Standby,
    /// A token was issued that cannot be used, and paid for. A person must act, unless it was a whim of the endpoint.
    Unusable,
    /// The answer cannot be read, so a token may have been issued and paid for. Mostly something on the way is at fault, and
    /// that passes by itself.
    Unreadable,
}

impl Class {
    /// The class of a reason.
    pub fn of(reason: Reason) -> Self {
        match reason {
            Reason::TokenValid
            | Reason::RenewalFailing
            | Reason::RenewalStalled
            | Reason::TokenExpired
            | Reason::TokenEndpointUnavailable
            | Reason::WaitingForTurn
            | Reason::RateLimited
            | Reason::EdgeAPIUnavailable
            | Reason::DeliveryUnavailable => Self::Transient,
            Reason::InvalidResponse | Reason::ResponseTooLarge => Self::Unreadable,
            Reason::TargetWriteForbidden | Reason::TargetWriteFailed => Self::Write,
            Reason::CredentialsRejected
            | Reason::ClientNotAllowed
            | Reason::RequestRefused
            | Reason::EdgeAPIUnauthorized
            | Reason::EdgeAPIForbidden
            | Reason::EdgeAPIRefused
            | Reason::EnvironmentNotFound
            | Reason::KeyNotRevoked
            | Reason::DeliveryRefused => Self::Terminal,
            Reason::UnsupportedTokenType
            | Reason::InvalidTokenBytes
            | Reason::NotAJWT
            | Reason::InvalidLifetime
            | Reason::ExpiredOnArrival
            | Reason::WrongAudience => Self::Unusable,
            Reason::InternalError
            | Reason::RedirectRefused
            | Reason::UnknownLifetime
            | Reason::EnvironmentChanged
            | Reason::UnrecordedKeys
            | Reason::KeyNotListed
            | Reason::TooManyKeys => Self::Final,
            Reason::CredentialsNotFound => Self::Waiting,
            Reason::Suspended
            | Reason::InvalidSpec
            | Reason::TokenOriginNotAllowed
            | Reason::EdgeAPIOriginNotAllowed
            | Reason::CredentialsMalformed
            | Reason::TargetNotOwned
            | Reason::TargetConflict
            | Reason::TargetImmutable => Self::Blocked,
            Reason::RBACMissing => Self::Forbidden,
            Reason::KubernetesUnavailable => Self::Unavailable,
        }
    }

    /// How long to wait after so many failed attempts in a row. `jitter` is from 0 to 1.
    pub fn wait(self, attempts: i32, jitter: f64) -> SignedDuration {
        let doubled = |first: i64, most: i64| {
            let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(0);
            (first << doublings.min(30)).min(most)
        };
        match self {
            // Full jitter (AWS, "Exponential Backoff And Jitter"), but a second at least: status has whole seconds.
            Self::Transient => {
                SignedDuration::from_secs(1)
                    + SignedDuration::from_secs(doubled(1, 60)).mul_f64(jitter)
            }
            Self::Write => SignedDuration::from_secs(doubled(5, 300)),
            Self::Terminal => match attempts {
                ..=1 => SignedDuration::from_secs(5),
                2 => SignedDuration::from_secs(30),
                3 => SignedDuration::from_mins(2),
                4.. => SignedDuration::from_mins(30),
            },
            Self::Final => SignedDuration::from_mins(30),
            Self::Waiting | Self::Blocked => SignedDuration::from_mins(5),
            Self::Forbidden => SignedDuration::from_secs(10),
            Self::Conflict => SignedDuration::from_secs(1),
            Self::Unavailable | Self::Standby => SignedDuration::from_secs(5),
            // Up to a quarter more or less, so that of many that failed together some find out soon that it is over.
            Self::Unusable | Self::Unreadable => match attempts {
                ..=1 => SignedDuration::from_secs(5),
                2 => SignedDuration::from_secs(30),
                3 => SignedDuration::from_mins(2),
                4 => SignedDuration::from_mins(5),
                5 => SignedDuration::from_mins(10),
                6.. => SignedDuration::from_mins(30),
            }
            .mul_f64(0.75 + jitter / 2.0),
        }
    }

    /// Whether a person must act, after so many failed attempts in a row.
    pub fn is_stalled(self, attempts: i32) -> bool {
        match self {
            Self::Transient
            | Self::Write
            | Self::Waiting
            | Self::Conflict
            | Self::Unavailable
            | Self::Standby => false,
            Self::Terminal | Self::Unusable => attempts > 3,
            Self::Unreadable => attempts > 5,
            Self::Final | Self::Blocked | Self::Forbidden => true,
        }
    }

    /// Whether this happens in normal operation, so that the log has it at the level debug only.
    pub fn is_usual(self) -> bool {
        matches!(self, Self::Waiting | Self::Conflict | Self::Standby)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Class; 12] = [
        Class::Transient,
        Class::Write,
        Class::Terminal,
        Class::Final,
        Class::Waiting,
        Class::Blocked,
        Class::Forbidden,
        Class::Conflict,
        Class::Unavailable,
        Class::Standby,
        Class::Unusable,
        Class::Unreadable,
    ];

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
            (Class::Unavailable, "KubernetesUnavailable"),
            (Class::Final, "InternalError"),
            (Class::Forbidden, "RBACMissing"),
            (Class::Transient, "TokenEndpointUnavailable"),
            (Class::Transient, "WaitingForTurn"),
            (Class::Transient, "RateLimited"),
            (Class::Terminal, "CredentialsRejected"),
            (Class::Terminal, "ClientNotAllowed"),
            (Class::Terminal, "RequestRefused"),
            (Class::Final, "RedirectRefused"),
            (Class::Unreadable, "InvalidResponse"),
            (Class::Unreadable, "ResponseTooLarge"),
            (Class::Unusable, "UnsupportedTokenType"),
            (Class::Unusable, "InvalidTokenBytes"),
            (Class::Unusable, "NotAJWT"),
            (Class::Final, "UnknownLifetime"),
            (Class::Unusable, "InvalidLifetime"),
            (Class::Unusable, "ExpiredOnArrival"),
            (Class::Unusable, "WrongAudience"),
            (Class::Transient, "EdgeAPIUnavailable"),
            (Class::Terminal, "EdgeAPIUnauthorized"),
            (Class::Terminal, "EdgeAPIForbidden"),
            (Class::Terminal, "EdgeAPIRefused"),
            (Class::Blocked, "EdgeAPIOriginNotAllowed"),
            (Class::Terminal, "EnvironmentNotFound"),
            (Class::Final, "EnvironmentChanged"),
            (Class::Final, "UnrecordedKeys"),
            (Class::Final, "KeyNotListed"),
            (Class::Terminal, "KeyNotRevoked"),
            (Class::Final, "TooManyKeys"),
            (Class::Terminal, "DeliveryRefused"),
            (Class::Transient, "DeliveryUnavailable"),
        ];
        let of_reasons: Vec<_> = Reason::ALL
            .iter()
            .map(|reason| (Class::of(*reason), reason.as_str()))
            .collect();
        assert_eq!(of_reasons, classes);
    }

    #[test]
    fn people_are_warned_of_all_that_is_not_in_the_usual_course_of_things() {
        let usual = ALL.into_iter().filter(|class| class.is_usual());
        let expected = [Class::Waiting, Class::Conflict, Class::Standby];
        assert_eq!(usual.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_person_must_act_at_once_or_after_some_attempts_or_never() {
        for (class, stalled) in [
            (Class::Transient, [false, false, false]),
            (Class::Write, [false, false, false]),
            (Class::Waiting, [false, false, false]),
            (Class::Terminal, [false, false, true]),
            (Class::Final, [true, true, true]),
            (Class::Blocked, [true, true, true]),
            (Class::Forbidden, [true, true, true]),
            (Class::Conflict, [false, false, false]),
            (Class::Unavailable, [false, false, false]),
            (Class::Standby, [false, false, false]),
            (Class::Unusable, [false, false, true]),
            (Class::Unreadable, [false, false, false]),
        ] {
            assert_eq!(
                [0, 3, 4].map(|attempts| class.is_stalled(attempts)),
                stalled
            );
        }
        assert_eq!(
            [5, 6].map(|attempts| Class::Unreadable.is_stalled(attempts)),
            [false, true]
        );
    }

    #[test]
    fn the_waits_after_failures_are_those_of_the_documents() {
        let waits = |class: Class, jitter| {
            [1, 2, 3, 4, 7, 100, i32::MAX].map(|attempts| class.wait(attempts, jitter).as_secs())
        };
        assert_eq!(waits(Class::Transient, 0.0), [1, 1, 1, 1, 1, 1, 1]);
        assert_eq!(waits(Class::Transient, 1.0), [2, 3, 5, 9, 61, 61, 61]);
        for jitter in [0.0, 0.5, 1.0] {
            assert_eq!(waits(Class::Write, jitter), [5, 10, 20, 40, 300, 300, 300]);
            assert_eq!(
                waits(Class::Terminal, jitter),
                [5, 30, 120, 1800, 1800, 1800, 1800]
            );
            for (class, wait) in [
                (Class::Final, 1800),
                (Class::Waiting, 300),
                (Class::Blocked, 300),
                (Class::Forbidden, 10),
                (Class::Conflict, 1),
                (Class::Unavailable, 5),
                (Class::Standby, 5),
            ] {
                assert_eq!(waits(class, jitter), [wait; 7], "{class:?}");
            }
        }
        for class in [Class::Unusable, Class::Unreadable] {
            assert_eq!(waits(class, 0.0), [3, 22, 90, 225, 1350, 1350, 1350]);
            assert_eq!(waits(class, 0.5), [5, 30, 120, 300, 1800, 1800, 1800]);
            assert_eq!(waits(class, 1.0), [6, 37, 150, 375, 2250, 2250, 2250]);
        }
    }

    proptest! {
        #[test]
        fn a_wait_is_within_its_bounds(attempts in any::<i32>(), jitter in 0.0..=1.0_f64) {
            for class in ALL {
                let wait = class.wait(attempts, jitter).as_secs();
                prop_assert!((1..=2250).contains(&wait));
                let more = class.wait(attempts.saturating_add(1), jitter).as_secs();
                prop_assert!(more >= wait);
            }
        }

    }
}
