//! Whether an object has to be looked at, as long as its Secrets are as they were.

use k8s_openapi::jiff::Timestamp;

use super::{schedule::schedule_renewal, spec::check_spec};
use crate::{
    api::{
        ConditionType, EdgeCredential, EdgeCredentialStatus, Reason, conditions,
        edge_credential::TokenStatus, target::TargetStatus,
    },
    http::origin::AllowedOrigins,
    rules::{failures::is_possible, times::is_ahead, versions::Versions},
};

/// Until when nothing is to be done or to be said about an object, as long as its two Secrets are in the versions that its
/// status names. `None` where more has to be known.
///
/// Whoever can write a status can forge one: all times are computed anew from the issue and the expiry of the token, as far as
/// they can be, and names in it are never used. A forged one harms the object that it is in.
pub fn settled_until(
    object: &EdgeCredential,
    allowed: &AllowedOrigins,
    now: Timestamp,
) -> Option<Timestamp> {
    let status = object.status.as_ref()?;
    let request = object.renew_request();
    let is_news = status.observed_generation != object.metadata.generation
        || request
            .is_some_and(|request| Some(request) != status.last_handled_renew_request.as_deref());
    if is_news {
        return None;
    }
    let token = status.token.as_ref();
    let is_ready = holds(status, ConditionType::Ready);
    let is_good = token.is_some_and(|token| is_ready && is_valid(token, now));
    if is_ready != is_good {
        return None;
    }
    let expiry = token.filter(|_| is_good).map(|token| token.expires_at.0);
    if object.spec.suspend {
        let says_so = reason(status, ConditionType::Ready) == Some(Reason::Suspended.as_str());
        return says_so.then(|| expiry.unwrap_or(Timestamp::MAX));
    }
    let plan = check_spec(object, allowed).ok()?;
    let next = match &status.failures {
        Some(failures) => {
            let attempt = failures.next_attempt_at.0;
            is_possible(failures, now).then_some(attempt)?
        }
        None => {
            let token = token.filter(|_| is_good)?;
            let says_so = reason(status, ConditionType::Ready) == Some(Reason::TokenValid.as_str());
            let uid = object.metadata.uid.as_deref()?;
            let (issued_at, expires_at) = (token.issued_at.0, token.expires_at.0);
            let renewal = schedule_renewal(plan.renew_before, uid, issued_at, expires_at);
            says_so.then_some(renewal.at)?
        }
    };
    let next = expiry.map_or(next, |expiry| next.min(expiry));
    (now < next).then_some(next)
}

/// The versions that the status names, if it rests on both Secrets.
pub fn versions_of(status: &EdgeCredentialStatus) -> Versions {
    Versions {
        credentials: status.credentials.clone(),
        target: status.target.as_ref().and_then(TargetStatus::version),
    }
}

fn is_valid(token: &TokenStatus, now: Timestamp) -> bool {
    !is_ahead(token.issued_at.0, now) && now < token.expires_at.0
}

fn holds(status: &EdgeCredentialStatus, type_: ConditionType) -> bool {
    conditions::holds(&status.conditions, type_)
}

fn reason(status: &EdgeCredentialStatus, type_: ConditionType) -> Option<&str> {
    let condition = conditions::find(&status.conditions, type_)?;
    Some(&condition.reason)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::SignedDuration};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::edge_credential::{
        rules::{
            outcome::{Outcome, Problem},
            status::describe_status,
        },
        testing::{allowed, at, endpoint_down, failures, object, object_with, proven, token},
    };

    /// An object with the status that follows from an outcome.
    fn after(mut object: EdgeCredential, outcome: &Outcome) -> EdgeCredential {
        object.status = Some(describe_status(&object, outcome, at(0)));
        object
    }

    fn good() -> EdgeCredential {
        let proven = proven(token(0, 86_400));
        after(object(), &Outcome::untouched(Some(proven), Problem::None))
    }

    fn until(object: &EdgeCredential, now: i64) -> Option<Timestamp> {
        settled_until(object, &allowed(), at(now))
    }

    #[test]
    fn a_good_token_is_left_alone_until_it_is_to_be_renewed() {
        let due = proven(token(0, 86_400)).renewal.at;
        assert_eq!(until(&good(), 60), Some(due));
        let second = SignedDuration::from_secs(1);
        assert_eq!(settled_until(&good(), &allowed(), due - second), Some(due));
        assert_eq!(settled_until(&good(), &allowed(), due), None);
    }

    #[test]
    fn what_failed_is_left_alone_until_the_next_attempt_or_until_the_token_expires() {
        let failed = |token, next| {
            let problem = Problem::Failed(endpoint_down(), failures(2, next));
            let outcome = Outcome::untouched(token, problem);
            after(object(), &outcome)
        };
        assert_eq!(until(&failed(None, 120), 60), Some(at(120)));
        assert_eq!(until(&failed(None, 120), 120), None);
        let short = || Some(proven(token(0, 100)));
        assert_eq!(until(&failed(short(), 120), 60), Some(at(100)));
        assert_eq!(until(&failed(short(), 120), 100), None, "it is to be told");
    }

    #[test]
    fn what_is_suspended_is_left_alone_until_its_token_expires() {
        let suspended = |token| {
            let object = object_with(json!({"suspend": true}));
            after(object, &Outcome::untouched(token, Problem::Suspended))
        };
        assert_eq!(until(&suspended(None), 60), Some(Timestamp::MAX));
        let with_token = suspended(Some(proven(token(0, 3600))));
        assert_eq!(until(&with_token, 3000), Some(at(3600)));
        assert_eq!(until(&with_token, 3600), None);
        // The status is one of before.
        let mut before = good();
        before.spec.suspend = true;
        assert_eq!(until(&before, 60), None);
    }

    #[test]
    fn whatever_is_new_is_looked_at() {
        type Change = fn(&mut EdgeCredential);
        let rows: [(&str, Change); 7] = [
            ("no status", |object| object.status = None),
            ("another spec", |object| {
                object.metadata.generation = Some(2)
            }),
            ("a renew request", |object| {
                let request = ("edgecredentials.io/renew-requested-at".into(), "now".into());
                object.metadata.annotations = Some([request].into());
            }),
            ("an origin that is not allowed", |object| {
                object.spec.token_request.url = "https://evil.example/oauth/token".into();
            }),
            ("a rule that is newer than the object", |object| {
                object.spec.renew_before = Some("soon".into());
            }),
            ("no conditions", |object| {
                object.status.as_mut().unwrap().conditions.clear();
            }),
            ("no token", |object| {
                object.status.as_mut().unwrap().token = None;
            }),
        ];
        for (row, change) in rows {
            let mut object = good();
            change(&mut object);
            assert_eq!(until(&object, 60), None, "{row}");
        }
    }

    #[test]
    fn a_renew_request_that_was_handled_is_nothing_new() {
        let mut object = good();
        let request = ("edgecredentials.io/renew-requested-at".into(), "now".into());
        object.metadata.annotations = Some([request].into());
        object.status.as_mut().unwrap().last_handled_renew_request = Some("now".into());
        assert!(until(&object, 60).is_some());
    }

    proptest! {
        /// However a status was forged: nobody is left alone past the renewal and the expiry of the token that it tells of, or
        /// past an attempt that the rules could have planned.
        #[test]
        fn a_forged_status_leaves_nothing_alone_for_longer_than_the_rules(
            issued in -200_000_i64..200_000,
            lifetime in -10_i64..4_000_000,
            renew in -200_000_i64..10_000_000,
            failing in proptest::option::of((-200_000_i64..200_000, 0_i64..10_000_000)),
        ) {
            let mut object = good();
            let status = object.status.as_mut().unwrap();
            let token = status.token.as_mut().unwrap();
            token.issued_at = Time(at(issued));
            token.expires_at = Time(at(issued + lifetime));
            token.renew_at = Time(at(renew));
            if let Some((last, wait)) = failing {
                let mut failures = failures(1, last + wait);
                failures.last_attempt_at = Time(at(last));
                status.failures = Some(failures);
            }
            if let Some(until) = until(&object, 0) {
                prop_assert!(until > at(0) && until <= at(issued + lifetime));
                prop_assert!(issued <= 30);
                match failing {
                    None => prop_assert!(until <= at(issued + lifetime * 2 / 3 + 1)),
                    Some((last, wait)) => prop_assert!(last <= 30 && wait <= 86_400 + 60),
                }
            }
        }
    }
}
