//! How times are judged that others set, and spread that many would share.

use aws_lc_rs::digest;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// How far a time that this program wrote may be ahead of the clock: the clocks of replicas differ a little.
pub const CLOCK_LEEWAY: SignedDuration = SignedDuration::from_secs(30);

/// Whether a token was requested while the clock was ahead, and is right by now. It expires earlier than its times say, and
/// nobody knows when (kubernetes/kubernetes#123415).
pub fn is_ahead(issued_at: Timestamp, now: Timestamp) -> bool {
    issued_at.duration_since(now) > CLOCK_LEEWAY
}

/// A number from 0 to 1 that is the same for the same words, and spread evenly over different ones.
pub fn fraction(words: &[&str]) -> f64 {
    let hash = digest::digest(&digest::SHA256, words.join("\0").as_bytes());
    let first = hash.as_ref().iter().take(4);
    let number = first.fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    f64::from(number) / f64::from(u32::MAX)
}
