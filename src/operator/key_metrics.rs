//! Metrics of EdgeTokens: series per object that are read from the store at scrape time, and what is counted of calls.

use std::{fmt, time::Duration};

use kube::runtime::reflector::Store;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet},
    metrics::{
        counter::Counter,
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use super::{
    series::{SUCCESS, encode_gauge},
    watched::{Summary, Watched},
};
use crate::{
    api::{ConditionType, EdgeToken, EdgeTokenStatus, Reason, conditions},
    cluster::object_key::ObjectKey,
    edge_api::Call,
    traffic::measured_api::ApiMetrics,
};

/// What is counted and timed of calls of Sitecore's APIs.
#[derive(Clone, Debug)]
pub struct KeyMetrics {
    requests: Family<CallLabels, Counter>,
    request_duration: Family<OperationLabels, Histogram, fn() -> Histogram>,
    keys_left: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    origin: String,
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    operation: &'static str,
}

impl KeyMetrics {
    /// Registers everything that is counted and timed.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            // From 10 ms to 10 s, which is the deadline.
            request_duration: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.01, 2.0, 11))
            }),
            keys_left: Counter::default(),
        };
        registry.register(
            "edgetoken_api_requests",
            "Calls of Sitecore's APIs for keys. The operation is `create`, `list`, `revoke`, `obtain` or `probe`, the outcome is `Success` or the reason of the failure",
            metrics.requests.clone(),
        );
        registry.register(
            "edgetoken_api_request_duration_seconds",
            "How long calls of Sitecore's APIs for keys took",
            metrics.request_duration.clone(),
        );
        registry.register(
            "edgetoken_keys_left",
            "Keys that may work on though they were to be revoked: their EdgeToken was deleted with the policy `Revoke`, or its credentials are of another environment now",
            metrics.keys_left.clone(),
        );
        metrics
    }

    /// Counts keys that were left behind.
    pub fn left(&self, keys: u64) {
        self.keys_left.inc_by(keys);
    }
}

impl ApiMetrics for KeyMetrics {
    fn called(&self, origin: &str, call: Call, took: Duration, failure: Option<Reason>) {
        let operation = call.as_str();
        self.request_duration
            .get_or_create(&OperationLabels { operation })
            .observe(took.as_secs_f64());
        let labels = CallLabels {
            origin: origin.into(),
            operation,
            outcome: failure.map_or(SUCCESS, Reason::as_str),
        };
        self.requests.get_or_create(&labels).inc();
    }
}

/// The series of each object.
pub struct KeyCollector(pub Vec<Store<Watched<EdgeToken>>>);

impl fmt::Debug for KeyCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyCollector")
    }
}

/// What the series say of one object, as numbers: of ten thousand of them all at once.
struct Row {
    object: ObjectKey,
    ready: bool,
    stalled: bool,
    suspended: bool,
    keys: usize,
    /// In seconds since the UNIX epoch.
    rotate_at: Option<i64>,
    revoke_at: Option<i64>,
}

impl Row {
    fn of(object: &Watched<EdgeToken>) -> Option<Self> {
        let Summary { spec, status } = object.summary::<EdgeTokenStatus>()?;
        let status = status.unwrap_or_default();
        let token = status.token.as_ref();
        let rotate_at = token.and_then(|token| token.rotate_at.as_ref());
        let retired = status.retired.iter();
        let revoke_at = retired.map(|retired| retired.revoke_at.0.as_second()).min();
        let is_served = !spec.suspend;
        Some(Self {
            object: object.key(),
            ready: conditions::holds(&status.conditions, ConditionType::Ready),
            stalled: conditions::holds(&status.conditions, ConditionType::Stalled),
            suspended: spec.suspend,
            keys: usize::from(token.is_some())
                + usize::from(status.pending.is_some())
                + status.retired.len(),
            rotate_at: rotate_at
                .filter(|_| is_served)
                .map(|time| time.0.as_second()),
            revoke_at: revoke_at.filter(|_| is_served),
        })
    }
}

impl Collector for KeyCollector {
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
            "edgetoken_ready",
            "1 where the condition `Ready` of the EdgeToken is true, else 0.",
            |row| Some(row.ready.into()),
        )?;
        family(
            "edgetoken_stalled",
            "1 where the condition `Stalled` of the EdgeToken is true, that is where a person must act. Absent elsewhere.",
            |row| row.stalled.then_some(1),
        )?;
        family(
            "edgetoken_suspended",
            "1 where `spec.suspend` of the EdgeToken is true. Absent elsewhere.",
            |row| row.suspended.then_some(1),
        )?;
        family(
            "edgetoken_keys",
            "How many keys the status of the EdgeToken records: the current one, one that is being made, and those that are to be revoked.",
            |row| i64::try_from(row.keys).ok(),
        )?;
        family(
            "edgetoken_rotation_timestamp_seconds",
            "When the key is replaced, in seconds since 1970. Absent where it is not, and while suspended.",
            |row| row.rotate_at,
        )?;
        family(
            "edgetoken_revocation_timestamp_seconds",
            "When the first of the former keys is to be revoked, in seconds since 1970. Absent where there is none, and while suspended.",
            |row| row.revoke_at,
        )
    }
}
