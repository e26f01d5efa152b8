//! When a token is renewed.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::renew_before::RenewBefore;
use crate::rules::times::fraction;

/// The least time between renewal and expiry, where the lifetime allows: a kubelet takes up to 83 s to bring a changed
/// Secret into a pod (measured with its defaults).
const LEAST_MARGIN: SignedDuration = SignedDuration::from_secs(120);

/// The least time between two renewals, however large `renewBefore` is. Each one is billed.
pub const LEAST_INTERVAL: SignedDuration = SignedDuration::from_secs(60);

/// When a token is renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    pub at: Timestamp,
    /// How old the token is at least then, where the spec wants it renewed earlier than that: the renewals come at this age or a
    /// little later, and not when the spec says.
    pub cut_to: Option<SignedDuration>,
}

/// Schedules the renewal of a token: as long before its expiry as `renew_before` says, less up to 5 % of the lifetime by the
/// object's uid, so that tokens issued together are not renewed together.
pub fn schedule_renewal(
    renew_before: RenewBefore,
    uid: &str,
    issued_at: Timestamp,
    expires_at: Timestamp,
) -> Renewal {
    let lifetime = expires_at.duration_since(issued_at);
    let spread = lifetime / 20;
    let (wanted, least) = (renew_before.age(lifetime), least_age(lifetime));
    let mut age = wanted.max(least + spread) - spread.mul_f64(fraction(&[uid]));
    if lifetime > LEAST_MARGIN * 2 {
        age = age.min(lifetime - LEAST_MARGIN);
    }
    let at = issued_at.saturating_add(age).unwrap_or(expires_at);
    Renewal {
        at: Timestamp::from_second(at.as_second()).unwrap_or(at),
        cut_to: (wanted < least).then_some(least),
    }
}

/// The least age of a token that is renewed: a tenth of its lifetime and a minute, or half of a lifetime so short that
/// a minute would be too much of it.
fn least_age(lifetime: SignedDuration) -> SignedDuration {
    (lifetime / 10).max(LEAST_INTERVAL.min(lifetime / 2))
}

#[cfg(test)]
mod tests {
    use proptest::{option, prelude::*};
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        api::EdgeCredential,
        edge_credential::testing::{NOW, object, object_with, token},
        oauth::Token,
    };

    fn renew_at(object: &EdgeCredential, token: &Token) -> Timestamp {
        schedule(object, token).at
    }

    fn schedule(object: &EdgeCredential, token: &Token) -> Renewal {
        let renew_before = RenewBefore::of(&object.spec).unwrap_or_default();
        let uid = object.metadata.uid.as_deref().unwrap();
        schedule_renewal(renew_before, uid, token.issued_at, token.expires_at)
    }

    fn renewal(spec: Value, lifetime: i64) -> i64 {
        let renew_at = renew_at(&object_with(spec), &token(0, lifetime));
        renew_at.as_second() - NOW
    }

    #[test]
    fn a_token_is_renewed_after_two_thirds_less_a_little() {
        let range = |latest: i64, lifetime: i64| latest - lifetime / 20..=latest;
        for (renew_before, lifetime, latest) in [
            (None, 86_400, 57_600),
            (Some("8h"), 86_400, 57_600),
            (Some("1h"), 86_400, 82_800),
            (Some("1ms"), 86_400, 86_280),
            (Some("0s"), 86_400, 86_280),
            // Not shorter than the lifetime.
            (Some("24h"), 86_400, 57_600),
            (Some("999999999h"), 86_400, 57_600),
            // An object older than the rule.
            (Some("soon"), 86_400, 57_600),
            (None, 900, 600),
            (Some("1s"), 900, 780),
            (None, 240, 160),
            (None, 60, 40),
            (None, 2, 1),
        ] {
            let spec = renew_before.map_or(json!({}), |before| json!({"renewBefore": before}));
            let renewal = renewal(spec, lifetime);
            assert!(
                range(latest, lifetime).contains(&renewal),
                "{renew_before:?} of {lifetime}: {renewal}"
            );
        }
    }

    #[test]
    fn a_percentage_is_one_of_the_lifetime() {
        for (percentage, lifetime, latest) in [
            (1, 86_400, 85_536),
            (34, 86_400, 57_024),
            (50, 3600, 1800),
            // As long before its expiry as a kubelet needs.
            (1, 3600, 3480),
            // Older than the rule.
            (0, 3600, 2400),
            (100, 3600, 2400),
        ] {
            let renewal = renewal(json!({"renewBeforePercentage": percentage}), lifetime);
            let range = latest - lifetime / 20..=latest;
            assert!(range.contains(&renewal), "{percentage} % of {lifetime}");
        }
    }

    #[test]
    fn a_renewal_comes_after_a_tenth_of_the_lifetime_at_the_earliest_and_that_can_be_told() {
        for (spec, lifetime, least, is_cut) in [
            (json!({"renewBefore": "59m"}), 3600, 360, true),
            (json!({"renewBefore": "54m1s"}), 3600, 360, true),
            (json!({"renewBefore": "54m"}), 3600, 360, false),
            (json!({"renewBeforePercentage": 95}), 3600, 360, true),
            (json!({"renewBefore": "23h59m59s"}), 86_400, 8640, true),
            // A minute is more than a tenth, and half of the lifetime less than a minute.
            (json!({"renewBefore": "299s"}), 300, 60, true),
            (json!({"renewBefore": "99s"}), 100, 50, true),
            (json!({}), 100, 50, false),
        ] {
            let mut renewals: Vec<_> = (0..100)
                .map(|number| {
                    let mut object = object_with(spec.clone());
                    object.metadata.uid = Some(format!("uid-{number}"));
                    let token = token(0, lifetime);
                    let cut = schedule(&object, &token).cut_to;
                    assert_eq!(cut, is_cut.then(|| SignedDuration::from_secs(least)));
                    renew_at(&object, &token).as_second() - NOW
                })
                .collect();
            renewals.sort_unstable();
            assert!(renewals[0] >= least, "{spec} of {lifetime}: {renewals:?}");
            if is_cut {
                let latest = least + lifetime / 20;
                assert!(renewals[99] <= latest, "{spec} of {lifetime}: {renewals:?}");
                assert!(renewals[0] < renewals[99], "not all at once");
            }
        }
    }

    #[test]
    fn tokens_issued_together_are_not_renewed_together() {
        let mut seconds: Vec<_> = (0..1000)
            .map(|number| {
                let mut object = object();
                object.metadata.uid = Some(format!("uid-{number}"));
                renew_at(&object, &token(0, 86_400)).as_second() - NOW
            })
            .collect();
        seconds.sort_unstable();
        // 5 % of a day are 4320 s; spread evenly, each tenth of it has about 100 of them.
        for tenth in seconds.chunks(100) {
            let span = tenth[99] - tenth[0];
            assert!((300..600).contains(&span), "{span}");
        }
    }

    proptest! {
        #[test]
        fn a_renewal_is_always_within_the_lifetime_and_at_a_whole_second(
            lifetime in prop_oneof![1..600_i64, 1..10_000_000_i64, Just(200_000_000_000)],
            renew_before in option::of((0..200_000_u64, prop::sample::select(vec!["ms", "s", "m", "h", "%"]))),
            uid in "[a-z0-9-]{0,36}",
        ) {
            let spec = renew_before.map_or(json!({}), |(number, unit)| {
                match unit {
                    "%" => json!({"renewBeforePercentage": number % 99 + 1}),
                    unit => json!({"renewBefore": format!("{number}{unit}")}),
                }
            });
            let mut object = object_with(spec);
            object.metadata.uid = Some(uid);
            let token = token(0, lifetime);
            let renewal = renew_at(&object, &token);
            prop_assert!(token.issued_at <= renewal && renewal <= token.expires_at);
            prop_assert_eq!(renewal.subsec_nanosecond(), 0);
            prop_assert_eq!(renewal, renew_at(&object, &token), "it does not move");
            if lifetime > 240 {
                prop_assert!(renewal <= token.expires_at - SignedDuration::from_secs(120));
                prop_assert!(renewal >= token.issued_at + SignedDuration::from_secs(60));
            }
            let lifetime = token.lifetime();
            let least = (lifetime / 10).max(SignedDuration::from_secs(60).min(lifetime / 2));
            prop_assert!(renewal >= token.issued_at + least - SignedDuration::from_secs(1));
            let wanted = RenewBefore::of(&object.spec).unwrap().age(lifetime);
            prop_assert!(renewal <= token.issued_at + wanted.max(least + lifetime / 20));
            if schedule(&object, &token).cut_to.is_none() {
                let earliest = wanted.min(lifetime - SignedDuration::from_secs(120)) - lifetime / 20;
                prop_assert!(renewal >= token.issued_at + earliest - SignedDuration::from_secs(1));
            }
        }
    }
}
