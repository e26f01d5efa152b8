//! Rate limits and quotas: whatever the headers say, a wait is bounded, and what asks for none is not waited for.

use edge_credential_operator::http::rate_limits::read_limits;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::answer::Answer;

const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

/// Checks the headers of one answer.
pub fn check(input: &[u8]) {
    let Some(answer) = Answer::read(input) else {
        return;
    };
    let read = |status| read_limits(status, &answer.headers, answer.date(), NOW);
    let limits = read(answer.status);
    if let Some(hold) = limits.hold {
        let quotas = answer
            .headers
            .keys()
            .any(|name| name.as_str().contains("quota"));
        let longest = SignedDuration::from_hours(if quotas { 24 } else { 1 });
        assert!(
            (SignedDuration::from_secs(1)..=longest).contains(&hold),
            "{hold}"
        );
    }
    // What is left does not depend on the status, and a success does not ask for more than a refusal.
    let refused = read(429);
    assert_eq!(read(200).quota, refused.quota);
    assert!(read(200).hold <= refused.hold);
    let names = ["retry-after", "x-ratelimit-reset", "x-rate-limit-reset"];
    let says_nothing =
        names.iter().all(|name| !answer.headers.contains_key(*name)) && limits.quota.is_none();
    if says_nothing {
        assert_eq!(limits.hold, None);
    }
}
