//! The objects of one endpoint that wait, and what is known of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    keys::{ClientHash, SinceStart},
    pace::Pace,
    tenant::Tenant,
};
use crate::cluster::object_key::ObjectKey;

/// How many may be in flight to an endpoint that has just come back, at most. Answers may take long then.
pub const WHILE_RECOVERING: usize = 16;

/// How many of those in flight to one endpoint may be probes: one that hangs must not keep the next one from being sent.
const PROBES: usize = 2;

/// How long requests may take for objects to be called ahead of their places. Those [`PER_PLACE`] wait for twice as long at most
/// then, with what they have read.
pub const QUICK: Duration = Duration::from_millis(250);

/// How many objects may be called ahead for each request that may be in flight.
pub const PER_PLACE: usize = 2;

/// The objects of one endpoint that wait, and what is known of it.
#[derive(Debug, Default)]
pub struct Line {
    pub tenants: BTreeMap<String, Tenant>,
    pub places: usize,
    pub probes: usize,
    /// Whether the last request succeeded, and soon.
    is_quick: bool,
    /// The namespaces that began to fail since the last success.
    pub failing: BTreeSet<String>,
    pub pace: Option<Pace>,
    pub parked: BTreeSet<ObjectKey>,
}

impl Line {
    /// How many requests may be in flight.
    pub fn capacity(&self, per_endpoint: usize) -> usize {
        match self.pace {
            Some(_) => per_endpoint
                .saturating_mul(4)
                .min(WHILE_RECOVERING)
                .max(per_endpoint),
            None => per_endpoint,
        }
    }

    /// How many were called that have no place yet.
    pub fn ahead(&self) -> usize {
        self.tenants
            .values()
            .map(|tenant| tenant.ahead().len())
            .sum()
    }

    /// Whether another one may be called before there is a place for it: where it gets one soon.
    pub fn may_call_ahead(&self, per_endpoint: usize) -> bool {
        self.is_quick
            && self.pace.is_none()
            && self.ahead() < per_endpoint.saturating_mul(PER_PLACE)
    }

    /// Takes into account how long a request took that succeeded; `None` for any other.
    pub fn note_duration(&mut self, took: Option<Duration>) {
        self.is_quick = took.is_some_and(|took| took <= QUICK);
    }

    /// Takes an answer into account. Where the endpoint was down, those who waited for that follow at a pace.
    pub fn succeeded(&mut self, namespaces: &BTreeSet<String>, is_refusal: bool, now: SinceStart) {
        let was_down = self.is_down();
        for namespace in namespaces {
            let tenant = self.tenants.entry(namespace.clone()).or_default();
            tenant.is_demoted = is_refusal;
            tenant.succeeded(now);
            self.failing.remove(namespace);
        }
        let failing = std::mem::take(&mut self.failing);
        if was_down {
            self.pace.get_or_insert_with(|| Pace::slow_start(now));
            for namespace in failing {
                if let Some(tenant) = self.tenants.get_mut(&namespace) {
                    tenant.forgive();
                }
            }
        }
        if let Some(pace) = &mut self.pace {
            pace.succeeded(now);
        }
        if !self.is_waiting() || self.pace.as_ref().is_some_and(Pace::is_over) {
            self.pace = None;
        }
    }

    /// Takes the failure of a client into account that sent for these namespaces.
    pub fn failed(
        &mut self,
        namespaces: &BTreeSet<String>,
        client: &ClientHash,
        sent_at: SinceStart,
        now: SinceStart,
    ) {
        if let Some(pace) = &mut self.pace {
            pace.failed(now);
        }
        for namespace in namespaces {
            let tenant = self.tenants.entry(namespace.clone()).or_default();
            tenant.is_demoted = true;
            tenant.outage.failed(client, sent_at, now);
        }
    }

    /// Counts a failure of an object that does not wait at the moment.
    pub fn count_failure(&mut self, object: &ObjectKey) {
        if let Some(tenant) = self.tenants.get_mut(&object.namespace) {
            tenant.outage.count_failure(object);
        }
    }

    /// Notes which namespaces fail altogether by now, and returns who waits there and was not told so yet.
    pub fn note_failing(&mut self, namespaces: &BTreeSet<String>) -> Vec<ObjectKey> {
        let mut unaware = Vec::new();
        for namespace in namespaces {
            if let Some(tenant) = self.tenants.get(namespace)
                && tenant.is_failing()
                && self.failing.insert(namespace.clone())
            {
                unaware.extend(tenant.untried().cloned());
            }
        }
        unaware
    }

    /// Whether the endpoint fails for two namespaces, or for all that are known, and has succeeded for none since.
    fn is_down(&self) -> bool {
        let is_failing = |namespace: &String| self.failing.contains(namespace);
        self.failing.len() > 1 || (!self.failing.is_empty() && self.tenants.keys().all(is_failing))
    }

    /// The times from which on somebody may send who waits.
    pub fn due_times(&self, next_probe_at: SinceStart) -> impl Iterator<Item = SinceStart> + '_ {
        let pace = self.pace.as_ref();
        let probes = self.tenants.values().filter_map(Tenant::probe_at);
        let probes = probes.map(move |probe_at| probe_at.max(next_probe_at));
        pace.map(Pace::next_at).into_iter().chain(probes)
    }

    /// Whether anybody waits for a turn.
    pub fn is_waiting(&self) -> bool {
        self.tenants.values().any(Tenant::is_waiting)
    }

    /// Whether another probe may be in flight.
    pub fn may_probe(&self) -> bool {
        self.probes < PROBES
    }

    /// Whether there is nothing to remember.
    pub fn is_idle(&self) -> bool {
        self.places == 0 && self.parked.is_empty() && self.tenants.values().all(Tenant::is_idle)
    }
}
