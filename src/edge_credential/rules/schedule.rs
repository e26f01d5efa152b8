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
