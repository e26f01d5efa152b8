//! Metrics: a registry, typed handles, and series per object that are read from the store at scrape time, so that
//! none outlives its object.

use std::{fmt, time::Duration};

use k8s_openapi::jiff::SignedDuration;
use kube::runtime::reflector::Store;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::Registry,
};

use super::{
    key_metrics::KeyMetrics,
    quotas::Quotas,
    series::{SUCCESS, encode_gauge},
    watched::{Summary, Watched},
};
use crate::{
    api::{ConditionType, EdgeCredential, EdgeCredentialStatus, conditions},
    clock::Clock,
    cluster::object_key::ObjectKey,
    oauth::{ClientCredentials, Reply},
    traffic::measured::TokenRequestMetrics,
};

/// What is counted and timed.
#[derive(Clone, Debug)]
pub struct Metrics {
    token_requests: Family<RequestLabels, Counter>,
    token_request_duration: Family<OriginLabels, Histogram, fn() -> Histogram>,
    quotas: Quotas,
    clock_skew: Family<OriginLabels, Gauge>,
    reconciliations: Family<OutcomeLabels, Counter>,
    reconcile_duration: Histogram,
    reconcile_panics: Counter,
    events: Family<OutcomeLabels, Counter>,
    renewal_delay: Histogram,
    leader: Gauge,
    watch_failing: Family<WatchLabels, Gauge>,
    /// Of calls of Sitecore's APIs.
    pub keys: KeyMetrics,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    origin: String,
    outcome: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OriginLabels {
    origin: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: String,
}

/// The namespace is not called so: that label is an EdgeCredential's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WatchLabels {
    resource: String,
    watched_namespace: String,
}

/// What came of an Event.
#[derive(Clone, Copy, Debug)]
pub enum EventOutcome {
    Published,
    /// The API server refused it or did not answer.
    Failed,
    /// It was dropped from a full queue.
    Displaced,
    /// It was dropped because it had waited for too long.
    Expired,
}

/// How many seconds two clocks may differ before that is logged.
const FAR_SKEW: i64 = 30;

impl Metrics {
    /// Registers everything that is counted and timed.
    pub fn register(registry: &mut Registry, clock: Clock) -> Self {
        let metrics = Self {
            token_requests: Family::default(),
            // From 10 ms to 10 s, which is the deadline.
            token_request_duration: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.01, 2.0, 11))
            }),
            quotas: Quotas::new(clock),
            clock_skew: Family::default(),
            reconciliations: Family::default(),
            reconcile_duration: Histogram::new(exponential_buckets(0.001, 4.0, 8)),
            reconcile_panics: Counter::default(),
            events: Family::default(),
            renewal_delay: Histogram::new(exponential_buckets(1.0, 4.0, 8)),
            leader: Gauge::default(),
            watch_failing: Family::default(),
            keys: KeyMetrics::register(registry),
        };
        registry.register(
            "edgecredential_token_requests",
            "Token requests. The outcome is `Success`, or the reason of the failure",
            metrics.token_requests.clone(),
        );
        registry.register(
            "edgecredential_token_request_duration_seconds",
            "How long token requests took",
            metrics.token_request_duration.clone(),
        );
        registry.register_collector(Box::new(metrics.quotas.clone()));
        registry.register(
            "edgecredential_token_endpoint_clock_skew_seconds",
            "How far the endpoint's clock is ahead of the operator's. A difference of more than 30 s is logged. Lifetimes do not depend on it",
            metrics.clock_skew.clone(),
        );
        registry.register(
            "edgecredential_reconciliations",
            "Reconciliations of an object. The outcome is `Success`, or the reason of the problem",
            metrics.reconciliations.clone(),
        );
        registry.register(
            "edgecredential_reconcile_duration_seconds",
            "How long reconciliations took",
            metrics.reconcile_duration.clone(),
        );
        registry.register(
            "edgecredential_reconcile_panics",
            "Reconciliations that ended in a panic: a fault in the operator, which stops no other object",
            metrics.reconcile_panics.clone(),
        );
        registry.register(
            "edgecredential_events",
            "Kubernetes Events: `Published`; `Failed`, where the API server refused or did not answer; `Expired` after waiting for ten minutes; `Displaced` from a full queue by others of their namespace",
            metrics.events.clone(),
        );
        registry.register(
            "edgecredential_renewal_delay_seconds",
            "How late renewals started",
            metrics.renewal_delay.clone(),
        );
        registry.register(
            "edgecredential_leader",
            "1 in the leader, 0 in a process that stands by. Always 1 without leader election",
            metrics.leader.clone(),
        );
        registry.register(
            "edgecredential_watch_failing",
            "1 where the API server refuses a watch or does not answer it, else 0. The namespace is `*` where all are watched",
            metrics.watch_failing.clone(),
        );
        registry.register(
            "edgecredential_build",
            "Always 1. The label has the version of the operator",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        #[cfg(target_os = "linux")]
        registry.register_collector(Box::new(super::process::ProcessCollector));
        metrics
    }

    /// Counts a reconciliation and its duration. `trouble` is the reason of the problem that it found, if any.
    pub fn reconciled(&self, took: Duration, trouble: Option<&str>) {
        self.reconcile_duration.observe(took.as_secs_f64());
        let outcome = trouble.unwrap_or(SUCCESS).into();
        self.reconciliations
            .get_or_create(&OutcomeLabels { outcome })
            .inc();
    }

    /// Records how far an endpoint's clock is ahead of ours, and logs when the difference becomes large or small again.
    fn clock_differs(&self, origin: &OriginLabels, skew: SignedDuration) {
        let is_far = |seconds: i64| seconds.abs() > FAR_SKEW;
        let seconds = skew.as_secs();
        let earlier = self.clock_skew.get_or_create(origin).set(seconds);
        if is_far(seconds) && !is_far(earlier) {
            tracing::warn!(
                origin = origin.origin,
                seconds,
                "the token endpoint's clock is ahead of ours (behind, where negative): lifetimes are counted from the \
                 request, but log times and expiry times will look wrong to one of the two"
            );
        } else if is_far(earlier) && !is_far(seconds) {
            tracing::info!(
                origin = origin.origin,
                "the token endpoint's clock and ours agree again"
            );
        }
    }

    /// Counts a reconciliation that panicked.
    pub fn panicked(&self) {
        self.reconcile_panics.inc();
    }

    /// A watch fails, or does not.
    pub fn watch_fails(&self, resource: &str, namespace: &str, fails: bool) {
        let labels = WatchLabels {
            resource: resource.into(),
            watched_namespace: namespace.into(),
        };
        let failing = self.watch_failing.get_or_create(&labels);
        failing.set(i64::from(fails));
    }

    /// Counts an Event, by what came of it.
    pub fn event_ended(&self, outcome: EventOutcome) {
        let outcome = match outcome {
            EventOutcome::Published => "Published",
            EventOutcome::Failed => "Failed",
            EventOutcome::Displaced => "Displaced",
            EventOutcome::Expired => "Expired",
        }
        .into();
        self.events.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// This process acts from now on.
    pub fn leads(&self) {
        self.leader.set(1);
    }

    /// Counts how late a renewal began.
    pub fn renewal_began(&self, delay: Duration) {
        self.renewal_delay.observe(delay.as_secs_f64());
    }
}

impl TokenRequestMetrics for Metrics {
    fn requested(
        &self,
        origin: &str,
        credentials: &ClientCredentials,
        took: Duration,
        reply: &Reply,
    ) {
        let of_origin = OriginLabels {
            origin: origin.into(),
        };
        self.token_request_duration
            .get_or_create(&of_origin)
            .observe(took.as_secs_f64());
        if let (Some(quota), Some(reset)) = (reply.limits.quota, reply.limits.quota_reset) {
            self.quotas.enter(origin, credentials, quota, reset);
        }
        if let Some(skew) = reply.clock_skew {
            self.clock_differs(&of_origin, skew);
        }
        let outcome = match &reply.result {
            Ok(_) => SUCCESS,
            Err(error) => error.reason().as_str(),
        };
        self.token_requests
            .get_or_create(&RequestLabels {
                origin: origin.into(),
                outcome: outcome.into(),
            })
            .inc();
    }
}

/// The series of each object: ready, stalled, suspended, expiry, renewal.
pub struct ObjectCollector(pub Vec<Store<Watched<EdgeCredential>>>);

impl fmt::Debug for ObjectCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ObjectCollector")
    }
}

/// What the series say of one object, as numbers: of ten thousand of them all at once.
struct Row {
    object: ObjectKey,
    ready: bool,
    stalled: bool,
    suspended: bool,
    /// In seconds since the UNIX epoch.
    expires_at: Option<i64>,
    renew_at: Option<i64>,
}

impl Row {
    fn of(object: &Watched<EdgeCredential>) -> Option<Self> {
        let Summary { spec, status } = object.summary::<EdgeCredentialStatus>()?;
        let status = status.unwrap_or_default();
        let token = status.token.as_ref();
        Some(Self {
            object: object.key(),
            ready: conditions::holds(&status.conditions, ConditionType::Ready),
            stalled: conditions::holds(&status.conditions, ConditionType::Stalled),
            suspended: spec.suspend,
            expires_at: token.map(|token| token.expires_at.0.as_second()),
            renew_at: token
                .filter(|_| !spec.suspend)
                .map(|token| token.renew_at.0.as_second()),
        })
    }
}

impl Collector for ObjectCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let objects = self.0.iter().flat_map(Store::state);
        let rows: Vec<Row> = objects.filter_map(|object| Row::of(&object)).collect();
        let mut family = |name, help, value: fn(&Row) -> Option<i64>| {
            let values = rows
                .iter()
                .filter_map(|row| Some((&row.object, value(row)?)));
            encode_gauge(&mut encoder, name, help, values)
        };
        family(
            "edgecredential_ready",
            "1 where the condition `Ready` is true, else 0.",
            |row| Some(row.ready.into()),
        )?;
        family(
            "edgecredential_stalled",
            "1 where the condition `Stalled` is true, that is where a person must act. Absent elsewhere.",
            |row| row.stalled.then_some(1),
        )?;
        family(
            "edgecredential_suspended",
            "1 where `spec.suspend` is true. Absent elsewhere.",
            |row| row.suspended.then_some(1),
        )?;
        family(
            "edgecredential_token_expiration_timestamp_seconds",
            "When the token in the target expires, in seconds since 1970.",
            |row| row.expires_at,
        )?;
        family(
            "edgecredential_token_renewal_timestamp_seconds",
            "When the next token is requested, in seconds since 1970. Absent while suspended.",
            |row| row.renew_at,
        )
    }
}
