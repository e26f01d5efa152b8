//! One namespace at one endpoint: who of it waits, and who may send next.

use std::collections::BTreeMap;

use super::{caller::Rank, keys::SinceStart, outage::Outage};
use crate::cluster::object_key::ObjectKey;

/// One namespace at one endpoint.
#[derive(Debug, Default)]
pub struct Tenant {
    /// Who waits and did not fail since the last success.
    fresh: BTreeMap<Rank, ObjectKey>,
    /// Who was called and waits for a place.
    ahead: BTreeMap<Rank, ObjectKey>,
    /// Who failed since then, and when one of all is tried.
    pub outage: Outage,
    /// How many requests are in flight or about to be sent.
    pub places: usize,
    /// Whether the last answer was not a good one.
    pub is_demoted: bool,
}

/// Who of a namespace may send next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate<'a> {
    pub rank: Rank,
    pub object: &'a ObjectKey,
    /// Whether it is sent to find out whether requests succeed again.
    pub is_probe: bool,
}

impl<'a> Candidate<'a> {
    fn of((rank, object): (&Rank, &'a ObjectKey), is_probe: bool) -> Self {
        Self {
            rank: *rank,
            object,
            is_probe,
        }
    }
}

impl Tenant {
    /// Lets an object wait.
    pub fn enter(&mut self, object: ObjectKey, rank: Rank) {
        if !self.outage.enter(&object, rank) {
            self.fresh.insert(rank, object);
        }
    }

    /// Lets an object wait that was called before there is a place for it.
    pub fn enter_ahead(&mut self, object: ObjectKey, rank: Rank) {
        self.ahead.insert(rank, object);
    }

    /// Takes an object out of those who wait.
    pub fn remove(&mut self, object: &ObjectKey, rank: Rank) {
        self.fresh.remove(&rank);
        self.ahead.remove(&rank);
        self.outage.remove(object, rank);
    }

    /// Who may send now. One that failed waits for the time of the next probe, and so do all once several clients failed.
    pub fn candidate(&self, now: SinceStart, may_probe: bool) -> Option<Candidate<'_>> {
        let first = [&self.ahead, &self.fresh].map(|waiting| waiting.iter().next());
        let first = first.into_iter().flatten().min();
        if !self.outage.is_of_all()
            && let Some(first) = first
        {
            return Some(Candidate::of(first, false));
        }
        let probe = self.outage.probe(first, now).filter(|_| may_probe);
        probe.map(|probe| Candidate::of(probe, true))
    }

    /// Who may be called before there is a place: nobody where a request has failed or been refused last.
    pub fn candidate_ahead(&self) -> Option<Candidate<'_>> {
        let fresh = self.fresh.iter().next().filter(|_| !self.is_demoted);
        fresh.map(|first| Candidate::of(first, false))
    }

    /// Who was called and waits for a place.
    pub fn ahead(&self) -> impl ExactSizeIterator<Item = &ObjectKey> {
        self.ahead.values()
    }

    /// When the next probe is to be sent, if anybody waits for that.
    pub fn probe_at(&self) -> Option<SinceStart> {
        let outage = &self.outage;
        let waits = outage.is_waiting() || (outage.is_of_all() && !self.fresh.is_empty());
        waits.then_some(outage.probe_at())
    }

    /// Takes a success into account: nobody has failed since.
    pub fn succeeded(&mut self, now: SinceStart) {
        self.fresh.append(&mut self.outage.succeeded(now));
    }

    /// Gives all another chance because the endpoint works for somebody else, unless they had one already.
    pub fn forgive(&mut self) {
        self.fresh.append(&mut self.outage.forgive());
    }

    /// Whether all that is known of the namespace fails.
    pub fn is_failing(&self) -> bool {
        self.outage.is_of_all()
            || (self.outage.has_begun() && self.fresh.is_empty() && self.ahead.is_empty())
    }

    /// Who waits and did not fail since the last success.
    pub fn untried(&self) -> impl Iterator<Item = ObjectKey> + '_ {
        self.fresh.values().cloned()
    }

    /// Whether anybody waits.
    pub fn is_waiting(&self) -> bool {
        !self.fresh.is_empty() || !self.ahead.is_empty() || self.outage.is_waiting()
    }

    /// Whether there is nothing to remember but that the last answer was good.
    pub fn is_idle(&self) -> bool {
        !self.is_waiting() && self.places == 0 && !self.outage.has_begun() && !self.is_demoted
    }
}
