//! What token endpoints said of their quotas, as metrics: for each origin the tightest of all credentials that asked there,
//! until it is reset.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};
use secrecy::ExposeSecret;

use crate::{
    clock::Clock,
    http::rate_limits::{LONGEST_QUOTA_HOLD, Quota},
    oauth::ClientCredentials,
};

/// How many credentials are remembered. Those go first whose quota is reset first.
const REMEMBERED: usize = 1000;

/// What was said last, by origin and credentials.
#[derive(Clone, Debug)]
pub struct Quotas(Arc<State>);

#[derive(Debug)]
struct State {
    clock: Clock,
    hasher: RandomState,
    known: Mutex<HashMap<Key, Known>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    origin: String,
    /// A hash of id and secret.
    credentials: u64,
}

#[derive(Debug)]
struct Known {
    quota: Quota,
    resets_at: Timestamp,
}

impl Quotas {
    /// Nothing is known yet.
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(State {
            clock,
            hasher: RandomState::new(),
            known: Mutex::default(),
        }))
    }

    /// Takes in what an endpoint said to the owner of these credentials: what is left, and when it is reset.
    pub fn enter(
        &self,
        origin: &str,
        credentials: &ClientCredentials,
        quota: Quota,
        reset: SignedDuration,
    ) {
        let now = self.0.clock.now();
        let key = Key {
            origin: origin.into(),
            credentials: self
                .0
                .hasher
                .hash_one(credentials.fingerprint().expose_secret()),
        };
        let resets_at = now + reset.clamp(SignedDuration::ZERO, LONGEST_QUOTA_HOLD);
        let mut known = self.0.known.lock();
        known.insert(key, Known { quota, resets_at });
        known.retain(|_, known| now < known.resets_at);
        if known.len() > REMEMBERED {
            let first = known.iter().min_by_key(|(_, known)| known.resets_at);
            if let Some(first) = first.map(|(key, _)| key.clone()) {
                known.remove(&first);
            }
        }
    }

    /// The tightest quota of each origin, of those whose reset is ahead.
    fn tightest(&self) -> BTreeMap<String, Quota> {
        let now = self.0.clock.now();
        let mut tightest: BTreeMap<String, Quota> = BTreeMap::new();
        for (key, known) in self.0.known.lock().iter() {
            if now < known.resets_at {
                tightest
                    .entry(key.origin.clone())
                    .and_modify(|quota| {
                        if known.quota.share_left() < quota.share_left() {
                            *quota = known.quota;
                        }
                    })
                    .or_insert(known.quota);
            }
        }
        tightest
    }
}

impl Collector for Quotas {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let tightest = self.tightest();
        let mut family = |name, help, value: fn(&Quota) -> u32| -> Result<(), fmt::Error> {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (origin, quota) in &tightest {
                let labels = [("origin", origin.as_str())];
                let gauge = ConstGauge::new(i64::from(value(quota)));
                gauge.encode(metric.encode_family(&labels)?)?;
            }
            Ok(())
        };
        family(
            "edgecredential_token_quota_remaining",
            "How many token requests the endpoint last said are left: of the tightest quota, else of the rate limit, of the client that has the smallest share left. Absent where it says nothing, and once the quota is reset.",
            |quota| quota.remaining,
        )?;
        family(
            "edgecredential_token_quota_limit",
            "How many token requests that quota or rate limit has in all.",
            |quota| quota.limit,
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use prometheus_client::registry::Registry;

    use super::*;
    use crate::operator::exposition::prometheus_text;

    const ORIGIN: &str = "https://auth.example";

    /// Quotas on a clock that says how many seconds it shows.
    fn quotas() -> (Quotas, Arc<AtomicI64>) {
        let seconds = Arc::new(AtomicI64::new(0));
        let shown = seconds.clone();
        let clock =
            Clock::from_fn(move || Timestamp::from_second(shown.load(Ordering::Relaxed)).unwrap());
        (Quotas::new(clock), seconds)
    }

    fn enter(quotas: &Quotas, client: &str, (remaining, limit): (u32, u32), reset: i64) {
        let credentials = ClientCredentials {
            client_id: client.into(),
            client_secret: "secret".into(),
        };
        let reset = SignedDuration::from_secs(reset);
        quotas.enter(ORIGIN, &credentials, Quota { limit, remaining }, reset);
    }

    fn tightest(quotas: &Quotas) -> Option<(u32, u32)> {
        let tightest = quotas.tightest();
        tightest
            .get(ORIGIN)
            .map(|quota| (quota.remaining, quota.limit))
    }

    #[test]
    fn the_client_that_has_the_smallest_share_left_counts_until_its_quota_is_reset() {
        let (quotas, clock) = quotas();
        enter(&quotas, "plenty", (90, 100), 7200);
        enter(&quotas, "small", (4, 10), 7200);
        enter(&quotas, "low", (20, 1000), 60);
        assert_eq!(tightest(&quotas), Some((20, 1000)));
        clock.store(60, Ordering::Relaxed);
        assert_eq!(tightest(&quotas), Some((4, 10)), "the other one is reset");
        enter(&quotas, "small", (9, 10), 7200);
        enter(&quotas, "plenty", (89, 100), 7200);
        assert_eq!(tightest(&quotas), Some((89, 100)), "what was said last");
        clock.store(60 + 7200, Ordering::Relaxed);
        assert_eq!(tightest(&quotas), None);
    }

    #[test]
    fn what_is_reset_already_or_in_a_year_is_bounded() {
        let (quotas, clock) = quotas();
        enter(&quotas, "past", (0, 10), i64::MIN);
        assert_eq!(tightest(&quotas), None);
        enter(&quotas, "far", (0, 10), i64::MAX);
        clock.store(86_399, Ordering::Relaxed);
        assert_eq!(tightest(&quotas), Some((0, 10)));
        clock.store(86_400, Ordering::Relaxed);
        assert_eq!(tightest(&quotas), None);
    }

    #[test]
    fn a_thousand_credentials_are_remembered_those_that_are_reset_last() {
        let (quotas, _) = quotas();
        enter(&quotas, "first", (0, 10), 1);
        for number in 0..1000 {
            enter(&quotas, &format!("client-{number}"), (5, 10), 3600);
        }
        assert_eq!(quotas.0.known.lock().len(), REMEMBERED);
        assert_eq!(tightest(&quotas), Some((5, 10)));
    }

    #[test]
    fn remaining_and_limit_are_served_beside_each_other() {
        let (quotas, clock) = quotas();
        let mut registry = Registry::default();
        registry.register_collector(Box::new(quotas.clone()));
        enter(&quotas, "client", (3, 50), 60);
        let served = |series: &str| prometheus_text(&registry).unwrap().contains(series);
        let remaining = "edgecredential_token_quota_remaining{origin=\"https://auth.example\"} 3\n";
        let limit = "edgecredential_token_quota_limit{origin=\"https://auth.example\"} 50\n";
        assert!(served(remaining) && served(limit));
        clock.store(60, Ordering::Relaxed);
        assert!(!served("{origin="));
    }
}
