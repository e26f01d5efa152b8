//! How fast those follow that waited for an endpoint until it worked again.

use std::time::Duration;

use super::keys::SinceStart;

/// How many requests a second are sent at first, and at least.
const SLOWEST: u32 = 20;

/// From here on the places of the endpoint are what limits.
const FAST_ENOUGH: u32 = 640;

/// How long answers must succeed until the pace is doubled.
const STEP: Duration = Duration::from_secs(1);

/// A slow start: an endpoint that has just come back is not sent everything at once.
#[derive(Debug)]
pub struct Pace {
    a_second: u32,
    next_at: SinceStart,
    changed_at: SinceStart,
}

impl Pace {
    /// The pace right after an outage.
    pub fn slow_start(now: SinceStart) -> Self {
        Self {
            a_second: SLOWEST,
            next_at: now,
            changed_at: now,
        }
    }

    /// When the next request may be sent.
    pub fn next_at(&self) -> SinceStart {
        self.next_at
    }

    /// Takes one request into account.
    pub fn sent(&mut self, now: SinceStart) {
        self.next_at = self.next_at.max(now) + Duration::from_secs(1) / self.a_second;
    }

    /// Goes faster while requests succeed.
    pub fn succeeded(&mut self, now: SinceStart) {
        if now >= self.changed_at + STEP {
            self.a_second = self.a_second.saturating_mul(2);
            self.changed_at = now;
        }
    }

    /// Goes slower when one fails.
    pub fn failed(&mut self, now: SinceStart) {
        self.a_second = (self.a_second / 2).max(SLOWEST);
        self.changed_at = now;
    }

    /// Whether the endpoint may be treated as ever again.
    pub fn is_over(&self) -> bool {
        self.a_second >= FAST_ENOUGH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many are sent in a time, if each is answered at once.
    fn sent_in(pace: &mut Pace, from: u64, to: u64) -> u64 {
        let mut sent = 0;
        for millisecond in from..to {
            let now = Duration::from_millis(millisecond);
            if now >= pace.next_at() && !pace.is_over() {
                pace.sent(now);
                pace.succeeded(now);
                sent += 1;
            }
        }
        sent
    }

    #[test]
    fn twenty_are_sent_in_the_first_second_and_twice_as_many_in_each_further_one() {
        let mut pace = Pace::slow_start(Duration::ZERO);
        let sent = [0, 1, 2].map(|second| sent_in(&mut pace, second * 1000, (second + 1) * 1000));
        assert!(sent[0].abs_diff(20) <= 1, "{sent:?}");
        assert!(sent[1].abs_diff(40) <= 2, "{sent:?}");
        assert!(sent[2].abs_diff(80) <= 4, "{sent:?}");
        sent_in(&mut pace, 3000, 6000);
        assert!(pace.is_over());
    }

    #[test]
    fn one_that_fails_halves_the_pace_and_never_below_the_first() {
        let mut pace = Pace::slow_start(Duration::ZERO);
        sent_in(&mut pace, 0, 2100);
        let now = Duration::from_millis(2100);
        pace.failed(now);
        assert_eq!(pace.a_second, 40);
        pace.failed(now);
        pace.failed(now);
        assert_eq!(pace.a_second, SLOWEST);
    }
}
