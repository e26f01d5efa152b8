//! What an answer says of rate limits and quotas: how long to wait, and how much is left.
//!
//! Four dialects are understood: `Retry-After` (RFC 9110 section 10.2.3), `X-RateLimit-*` of the token endpoint,
//! `X-Rate-Limit-*` of the Delivery API, and Auth0's quotas for clients and organizations.

use std::str::FromStr;

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{DATE, RETRY_AFTER},
};
use k8s_openapi::jiff::{SignedDuration, Timestamp, fmt::rfc2822};

/// The least wait, where an answer asks for one at all.
const LEAST_HOLD: SignedDuration = SignedDuration::from_secs(1);

/// The longest wait that a rate limit may ask for.
const LONGEST_HOLD: SignedDuration = SignedDuration::from_hours(1);

/// The longest wait that a quota may ask for: quotas are counted by the hour and by the day.
pub const LONGEST_QUOTA_HOLD: SignedDuration = SignedDuration::from_hours(24);

/// What is longer is no wait but a time, in seconds since 1970, or garbage.
const LONGEST_BELIEVED: SignedDuration = SignedDuration::from_hours(24 * 366);

/// The limit, what is left of it, and when it is reset: in seconds since 1970, on the server's clock.
const RATE: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit"),
    HeaderName::from_static("x-ratelimit-remaining"),
    HeaderName::from_static("x-ratelimit-reset"),
];

/// The same, but the reset is in seconds from now on.
const RATE_FROM_NOW: [HeaderName; 3] = [
    HeaderName::from_static("x-rate-limit-limit"),
    HeaderName::from_static("x-rate-limit-remaining"),
    HeaderName::from_static("x-rate-limit-reset"),
];

/// As `b=per_hour;q=10;r=7;t=3540,b=per_day;q=100;r=97;t=7140`: bucket, quota, remaining, seconds until it is reset.
const QUOTAS: [HeaderName; 2] = [
    HeaderName::from_static("auth0-client-quota-limit"),
    HeaderName::from_static("auth0-organization-quota-limit"),
];

/// What an answer says of rate limits and quotas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// How long the client should not ask again: 1 second to 1 hour, for a quota to 24 hours.
    pub hold: Option<SignedDuration>,
    /// The tightest quota, or else the rate limit.
    pub quota: Option<Quota>,
    /// When that one is reset, from now on.
    pub quota_reset: Option<SignedDuration>,
}

/// How many requests are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// How many there are in all.
    pub limit: u32,
    /// How many of them are left.
    pub remaining: u32,
}

impl Quota {
    /// What share of it is left, from 0 to 1 where it makes sense.
    pub fn share_left(self) -> f64 {
        f64::from(self.remaining) / f64::from(self.limit.max(1))
    }
}

/// Reads the limits of an answer. `date` is the server's clock, as far as it is known; `now` is ours.
///
/// A wait follows from status 429 or 503 with `Retry-After`, from status 429 with a reset of the rate limit, and, with
/// any status, from a limit or a quota that has nothing left. What is past or unreadable asks for nothing.
pub fn read_limits(
    status: u16,
    headers: &HeaderMap,
    date: Option<Timestamp>,
    now: Timestamp,
) -> Limits {
    let server_now = date.unwrap_or(now);
    let rate = rate_until(headers, server_now).or_else(|| rate_from_now(headers));
    let buckets: Vec<Bucket> = QUOTAS
        .iter()
        .flat_map(|name| headers.get_all(name))
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(bucket)
        .collect();

    let retry_after = headers
        .get(RETRY_AFTER)
        .filter(|_| matches!(status, 429 | 503))
        .and_then(|value| retry_after(value, server_now));
    let rate_hold = rate
        .filter(|rate| rate.quota.remaining == 0 || (status == 429 && retry_after.is_none()))
        .map(|rate| rate.reset)
        .filter(|reset| reset.is_positive());
    let quota_hold = buckets
        .iter()
        .filter(|bucket| bucket.quota.remaining == 0)
        .map(|bucket| bucket.reset.min(LONGEST_QUOTA_HOLD))
        .max();
    let of_rate = retry_after
        .max(rate_hold)
        .map(|hold| hold.min(LONGEST_HOLD));
    let share = |bucket: &Bucket| bucket.quota.share_left();
    let tightest = buckets
        .into_iter()
        .min_by(|one, other| share(one).total_cmp(&share(other)))
        .or(rate);
    Limits {
        hold: of_rate.max(quota_hold).map(|hold| hold.max(LEAST_HOLD)),
        quota: tightest.map(|bucket| bucket.quota),
        quota_reset: tightest.map(|bucket| bucket.reset),
    }
}

/// A count of requests that begins anew after some time.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    quota: Quota,
    reset: SignedDuration,
}

fn rate_until(headers: &HeaderMap, server_now: Timestamp) -> Option<Bucket> {
    let [quota @ .., reset] = &RATE;
    let reset = Timestamp::from_second(number(headers, reset)?).ok()?;
    Some(Bucket {
        quota: rate_quota(headers, quota)?,
        reset: reset.duration_since(server_now),
    })
}

fn rate_from_now(headers: &HeaderMap) -> Option<Bucket> {
    let [quota @ .., reset] = &RATE_FROM_NOW;
    let reset = SignedDuration::from_secs(number(headers, reset)?);
    Some(Bucket {
        quota: rate_quota(headers, quota)?,
        reset: Some(reset).filter(|reset| *reset < LONGEST_BELIEVED)?,
    })
}

fn rate_quota(headers: &HeaderMap, [limit, remaining]: &[HeaderName; 2]) -> Option<Quota> {
    Some(Quota {
        limit: number(headers, limit)?,
        remaining: number(headers, remaining)?,
    })
}

fn number<N: FromStr>(headers: &HeaderMap, name: &HeaderName) -> Option<N> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

fn bucket(text: &str) -> Option<Bucket> {
    let member = |name: &str| {
        text.split(';')
            .filter_map(|member| member.trim().split_once('='))
            .find(|(key, _)| *key == name)
            .and_then(|(_, value)| value.parse::<u32>().ok())
    };
    Some(Bucket {
        quota: Quota {
            limit: member("q")?,
            remaining: member("r")?,
        },
        reset: SignedDuration::from_secs(member("t")?.into()),
    })
}

fn retry_after(value: &HeaderValue, server_now: Timestamp) -> Option<SignedDuration> {
    let text = value.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        let wait = SignedDuration::from_secs(text.parse().ok()?);
        return Some(wait).filter(|wait| *wait < LONGEST_BELIEVED);
    }
    let wait = parse_http_date(text)?.duration_since(server_now);
    Some(wait).filter(|wait| wait.is_positive())
}

/// The server's clock, if the answer tells it.
pub fn read_date(headers: &HeaderMap) -> Option<Timestamp> {
    parse_http_date(headers.get(DATE)?.to_str().ok()?)
}

/// A date as HTTP writes it (RFC 9110 section 5.6.7): RFC 2822 with the zone `GMT`.
fn parse_http_date(text: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: &str = "2026-11-24T12:00:00Z";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                let value = HeaderValue::from_str(value).unwrap();
                (HeaderName::from_static(name), value)
            })
            .collect()
    }

    fn hold(status: u16, pairs: &[(&'static str, &str)]) -> Option<i64> {
        let now = NOW.parse().unwrap();
        let limits = read_limits(status, &headers(pairs), Some(now), now);
        limits.hold.map(|hold| hold.as_secs())
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_within_bounds() {
        for (value, expected) in [
            ("17", Some(17)),
            (" 17 ", Some(17)),
            ("0", Some(1)),
            ("3600", Some(3600)),
            ("3601", Some(3600)),
            // A time, as some servers have it.
            ("1795521600", None),
            ("99999999999999999999999999", None),
            ("Tue, 24 Nov 2026 12:00:30 GMT", Some(30)),
            ("Wed, 25 Nov 2026 12:00:00 GMT", Some(3600)),
            // Past or garbage: the normal back-off.
            ("Tue, 24 Nov 2026 12:00:00 GMT", None),
            ("Tue, 24 Nov 2026 11:00:00 GMT", None),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            for status in [429, 503] {
                assert_eq!(hold(status, &[("retry-after", value)]), expected, "{value}");
            }
            assert_eq!(hold(200, &[("retry-after", value)]), None);
            assert_eq!(hold(500, &[("retry-after", value)]), None);
        }
    }

    #[test]
    fn a_date_is_relative_to_the_servers_clock() {
        let headers = headers(&[("retry-after", "Tue, 24 Nov 2026 12:00:30 GMT")]);
        let ours = "2026-11-24T09:00:00Z".parse().unwrap();
        let of = |date| read_limits(429, &headers, date, ours).hold;
        let server = NOW.parse().unwrap();
        assert_eq!(of(Some(server)), Some(SignedDuration::from_secs(30)));
        assert_eq!(of(None), Some(SignedDuration::from_hours(1)), "capped");
    }

    #[test]
    fn a_rate_limit_holds_until_its_reset_when_nothing_is_left_or_the_answer_is_429() {
        let reset = NOW.parse::<Timestamp>().unwrap().as_second() + 40;
        let reset = reset.to_string();
        let pairs = |remaining| {
            [
                ("x-ratelimit-limit", "100"),
                ("x-ratelimit-remaining", remaining),
                ("x-ratelimit-reset", reset.as_str()),
            ]
        };
        assert_eq!(hold(200, &pairs("3")), None);
        assert_eq!(hold(200, &pairs("0")), Some(40));
        assert_eq!(hold(429, &pairs("3")), Some(40));
        let asked = [&pairs("3")[..], &[("retry-after", "5")]].concat();
        assert_eq!(hold(429, &asked), Some(5), "it is another limit");
        assert_eq!(hold(429, &[("x-ratelimit-reset", "1")]), None, "past");
    }

    #[test]
    fn the_reset_of_the_other_spelling_is_counted_from_now_on() {
        let pairs = |remaining, reset| {
            [
                ("x-rate-limit-limit", "80"),
                ("x-rate-limit-remaining", remaining),
                ("x-rate-limit-reset", reset),
            ]
        };
        assert_eq!(hold(200, &pairs("3", "40")), None);
        assert_eq!(hold(200, &pairs("0", "40")), Some(40));
        assert_eq!(hold(429, &pairs("3", "40")), Some(40));
        assert_eq!(hold(429, &pairs("0", "0")), None, "it is over");
        assert_eq!(hold(429, &pairs("0", "-1")), None);
        assert_eq!(hold(429, &pairs("0", "7200")), Some(3600));
        assert_eq!(hold(429, &pairs("0", "1795521600")), None, "a time");
        let asked = [&pairs("3", "40")[..], &[("retry-after", "5")]].concat();
        assert_eq!(hold(429, &asked), Some(5));
    }

    #[test]
    fn an_exhausted_quota_holds_for_up_to_a_day_whatever_the_status() {
        let quota = |value| hold(200, &[("auth0-client-quota-limit", value)]);
        assert_eq!(quota("b=per_hour;q=10;r=7;t=3540"), None);
        assert_eq!(quota("b=per_hour;q=10;r=0;t=3540"), Some(3540));
        assert_eq!(
            quota("b=per_hour;q=10;r=0;t=3540,b=per_day;q=50;r=0;t=7200"),
            Some(7200)
        );
        assert_eq!(quota("b=per_day;q=50;r=0;t=999999"), Some(86400));
        for garbage in [
            "",
            ",;=",
            "b=per_day;q=50;r=0",
            "r=0;t=-1;q=1",
            "r=x;t=1;q=1",
        ] {
            assert_eq!(quota(garbage), None, "{garbage}");
        }
        let organization = ("auth0-organization-quota-limit", "q=10;r=0;t=60");
        let client = ("auth0-client-quota-limit", "q=10;r=4;t=7200");
        assert_eq!(hold(200, &[organization, client]), Some(60));
    }

    #[test]
    fn the_tightest_quota_and_its_reset_are_told_and_else_the_rate_limit() {
        let now: Timestamp = NOW.parse().unwrap();
        let of = |pairs: &[(&'static str, &str)]| {
            let limits = read_limits(200, &headers(pairs), None, now);
            (limits.quota, limits.quota_reset)
        };
        let rate = [
            ("x-ratelimit-limit", "100"),
            ("x-ratelimit-remaining", "99"),
            ("x-ratelimit-reset", "1"),
        ];
        let told = |limit, remaining, reset: i64| {
            let quota = Quota { limit, remaining };
            (Some(quota), Some(SignedDuration::from_secs(reset)))
        };
        assert_eq!(of(&[]), (None, None));
        let past = 1 - now.as_second();
        assert_eq!(of(&rate), told(100, 99, past));
        let buckets = "b=per_hour;q=10;r=3;t=60,b=per_day;q=50;r=4;t=7200";
        let all = [&rate[..], &[("auth0-client-quota-limit", buckets)]].concat();
        assert_eq!(of(&all), told(50, 4, 7200), "by its share");
    }

    proptest! {
        #[test]
        fn whatever_the_headers_say_a_wait_is_from_a_second_to_a_day(
            status in 100..600_u16,
            values in prop::collection::vec((0..9_usize, "[ -~]{0,60}|[0-9]{1,20}|b=a;q=[0-9]{1,12};r=0;t=[0-9]{1,12}"), 0..8),
            server in prop::option::of(-377_705_023_201_i64..253_402_207_200),
        ) {
            let names = [&[RETRY_AFTER][..], &RATE, &RATE_FROM_NOW, &QUOTAS].concat();
            let mut headers = HeaderMap::new();
            for (name, value) in values {
                headers.append(names[name].clone(), HeaderValue::from_str(&value).unwrap());
            }
            let date = server.map(|second| Timestamp::from_second(second).unwrap());
            let limits = read_limits(status, &headers, date, NOW.parse().unwrap());
            if let Some(hold) = limits.hold {
                prop_assert!((LEAST_HOLD..=LONGEST_QUOTA_HOLD).contains(&hold), "{hold}");
            }
        }
    }
}
