//! When a token is renewed.

use aws_lc_rs::digest;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::renew_before::RenewBefore;
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
    let spread = lifetime / 20;
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    let mut age = wanted_age(object, lifetime).max(least_age(lifetime) + spread)
        - spread.mul_f64(fraction(&[uid]));
    if lifetime > LEAST_MARGIN * 2 {
        age = age.min(lifetime - LEAST_MARGIN);
    }
    let renew_at = token
        .issued_at
        .saturating_add(age)
        .unwrap_or(token.expires_at);
    Timestamp::from_second(renew_at.as_second()).unwrap_or(renew_at)
}

/// How old a token has to be at least where the spec wants it renewed earlier than that: then the renewals come at this
/// age or a little later, and not when the spec says.
pub fn cut_to(object: &EdgeCredential, token: &Token) -> Option<SignedDuration> {
    let least = least_age(token.lifetime());
    (wanted_age(object, token.lifetime()) < least).then_some(least)
}

fn wanted_age(object: &EdgeCredential, lifetime: SignedDuration) -> SignedDuration {
    let rule = RenewBefore::of(&object.spec).unwrap_or_default();
    rule.age(lifetime)
}

/// The least age of a token that is renewed: a tenth of its lifetime and a minute, or half of a lifetime so short that
/// a minute would be too much of it.
fn least_age(lifetime: SignedDuration) -> SignedDuration {
    (lifetime / 10).max(LEAST_INTERVAL.min(lifetime / 2))
}

/// A number from 0 to 1 that is the same for the same words, and spread evenly over different ones.
pub fn fraction(words: &[&str]) -> f64 {
    let hash = digest::digest(&digest::SHA256, words.join("\0").as_bytes());
    let first = hash.as_ref().iter().take(4);
    let number = first.fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    f64::from(number) / f64::from(u32::MAX)
}
