//! Times as a person takes them in: how long until or since then, and no more digits than matter.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// A duration in its two largest units: `12d`, `1d03h`, `3h12m`, `12m`, `2m05s`, `45s`.
pub fn short(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().unsigned_abs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match seconds {
        864_000.. => format!("{days}d"),
        86_400.. => format!("{days}d{hours:02}h"),
        3600.. => format!("{hours}h{minutes:02}m"),
        600.. => format!("{minutes}m"),
        60.. => format!("{minutes}m{:02}s", seconds % 60),
        _ => format!("{seconds}s"),
    }
}

/// How long until a time to come, or, behind a word, since it is past: `3h12m`, `overdue 5m00s`.
pub fn until(time: Timestamp, now: Timestamp, past: &str) -> String {
    let left = time.duration_since(now);
    if left.is_positive() {
        short(left)
    } else {
        format!("{past} {}", short(left))
    }
}

/// How long since a time; one to come, by a clock that is ahead, is now.
pub fn since(time: Timestamp, now: Timestamp) -> String {
    short(now.duration_since(time).max(SignedDuration::ZERO))
}

/// A time in UTC without its seconds: `2026-11-26 10:02 UTC`.
pub fn to_the_minute(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// An ordinal: `1st`, `2nd`, `11th`.
pub fn ordinal(number: i32) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_the_digits_that_matter() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m00s"),
            (599, "9m59s"),
            (600, "10m"),
            (3599, "59m"),
            (3600, "1h00m"),
            (11_520, "3h12m"),
            (86_399, "23h59m"),
            (97_200, "1d03h"),
            (864_000, "10d"),
            (i64::MAX, "106751991167300d"),
        ] {
            assert_eq!(short(SignedDuration::from_secs(seconds)), text);
            assert_eq!(short(SignedDuration::from_secs(-seconds)), text);
        }
    }

    #[test]
    fn what_is_past_has_its_word() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let at = |seconds: i64| Timestamp::from_second(1_000_000 + seconds).unwrap();
        assert_eq!(until(at(60), now, "overdue"), "1m00s");
        assert_eq!(until(at(0), now, "overdue"), "overdue 0s");
        assert_eq!(until(at(-60), now, "expired"), "expired 1m00s");
        assert_eq!(since(at(-60), now), "1m00s");
        assert_eq!(since(at(60), now), "0s");
        assert_eq!(to_the_minute(now), "1970-01-12 13:46 UTC");
    }

    #[test]
    fn numbers_are_counted_as_people_do() {
        for (number, text) in [
            (1, "1st"),
            (2, "2nd"),
            (3, "3rd"),
            (7, "7th"),
            (11, "11th"),
            (12, "12th"),
            (113, "113th"),
            (21, "21st"),
        ] {
            assert_eq!(ordinal(number), text);
        }
    }
}
