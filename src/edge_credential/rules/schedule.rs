//! When a token is renewed.

use aws_lc_rs::digest;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::{api::EdgeCredential, oauth::Token};

/// The least time between renewal and expiry, where the lifetime allows: a kubelet takes up to 83 s to bring a changed
/// Secret into a pod (measured with its defaults).
const LEAST_MARGIN: SignedDuration = SignedDuration::from_secs(120);

/// The least time between two renewals, however large `renewBefore` is. Each one is billed.
pub const LEAST_INTERVAL: SignedDuration = SignedDuration::from_secs(60);

/// When a token is renewed: `renewBefore` ahead of its expiry, by default and where that is not shorter than the
/// lifetime after two thirds of it (cert-manager's rule), less up to 5 % of the lifetime so that tokens issued
/// together are not renewed together.
pub fn renew_at(object: &EdgeCredential, token: &Token) -> Timestamp {
    let lifetime = token.lifetime();
    let before = object
        .spec
        .renew_before()
        .ok()
        .flatten()
        .and_then(|before| SignedDuration::try_from(before).ok())
        .filter(|before| *before < lifetime)
        .unwrap_or(lifetime / 3);
    let mut age = lifetime - before;
    // Half the span, where the renewal is so early that 5 % of the lifetime would leave no time at all.
    let spread = (lifetime / 20).min(age / 2);
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    age -= spread.mul_f64(fraction(&[uid]));
    if lifetime > LEAST_MARGIN * 2 {
        age = age.min(lifetime - LEAST_MARGIN);
    }
    age = age.max(LEAST_INTERVAL.min(lifetime / 2));
    let renew_at = token
        .issued_at
        .saturating_add(age)
        .unwrap_or(token.expires_at);
    Timestamp::from_second(renew_at.as_second()).unwrap_or(renew_at)
}

/// A number from 0 to 1 that is the same for the same words, and spread evenly over different ones.
pub fn fraction(words: &[&str]) -> f64 {
    let hash = digest::digest(&digest::SHA256, words.join("\0").as_bytes());
    let first = hash.as_ref().iter().take(4);
    let number = first.fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    f64::from(number) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::{option, prelude::*};
    use serde_json::{Value, json};

    use super::*;
    use crate::edge_credential::testing::{NOW, object, object_with, token};

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
    fn a_renewal_before_almost_the_whole_lifetime_leaves_a_minute() {
        for renew_before in ["23h59m", "23h59m59s"] {
            assert_eq!(renewal(json!({"renewBefore": renew_before}), 86_400), 60);
        }
        assert_eq!(renewal(json!({"renewBefore": "99s"}), 100), 50);
    }

    #[test]
    fn an_early_renewal_is_brought_forward_by_half_its_time_at_most() {
        for number in 0..1000 {
            let mut object = object_with(json!({"renewBefore": "23h"}));
            object.metadata.uid = Some(format!("uid-{number}"));
            let renewal = renew_at(&object, &token(0, 86_400)).as_second() - NOW;
            assert!((1799..=3600).contains(&renewal), "{renewal}");
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
            renew_before in option::of((0..200_000_u64, prop::sample::select(vec!["ms", "s", "m", "h"]))),
            uid in "[a-z0-9-]{0,36}",
        ) {
            let spec = renew_before.map_or(json!({}), |(number, unit)| {
                json!({"renewBefore": format!("{number}{unit}")})
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
            let without_jitter = object
                .spec
                .renew_before()
                .unwrap()
                .map(|before| SignedDuration::try_from(before).unwrap())
                .filter(|before| *before < token.lifetime())
                .map_or(token.lifetime() * 2 / 3, |before| token.lifetime() - before)
                .max(SignedDuration::from_secs(60).min(token.lifetime() / 2));
            prop_assert!(renewal <= token.issued_at + without_jitter);
            let least = without_jitter.min(token.lifetime() - SignedDuration::from_secs(120)) / 2;
            prop_assert!(renewal >= token.issued_at + least - SignedDuration::from_secs(1));
        }

    }
}
