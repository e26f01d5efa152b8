//! One namespace at one endpoint: who of it waits, and who may send next.

use std::collections::BTreeMap;

use super::{
    caller::{Rank, Urgency},
    endpoint::Endpoint,
    keys::SinceStart,
    outage::Outage,
};
use crate::cluster::object_key::ObjectKey;

/// How many of a namespace wait at an endpoint, at most, when one more gets a token with which it goes there. A token takes more than
/// a kilobyte, and thousands may want one at once; a few keep the endpoint busy.
pub const ROOM: usize = 32;

/// One namespace at one endpoint.
#[derive(Debug, Default)]
pub struct Tenant {
    /// Who waits and did not fail since the last success.
    fresh: BTreeMap<Rank, ObjectKey>,
    /// The same of those who go on to another endpoint, by that.
    bound: BTreeMap<Endpoint, BTreeMap<Rank, ObjectKey>>,
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
    /// Lets an object wait, which goes on to another endpoint or does not.
    pub fn enter(&mut self, object: ObjectKey, rank: Rank, then: Option<&Endpoint>) {
        if self.outage.enter(&object, rank) {
            return;
        }
        let waiting = match then {
            Some(then) => self.bound.entry(then.clone()).or_default(),
            None => &mut self.fresh,
        };
        waiting.insert(rank, object);
    }

    /// Lets an object wait that was called before there is a place for it.
    pub fn enter_ahead(&mut self, object: ObjectKey, rank: Rank) {
        self.ahead.insert(rank, object);
    }

    /// Takes an object out of those who wait.
    pub fn remove(&mut self, object: &ObjectKey, rank: Rank, then: Option<&Endpoint>) {
        self.fresh.remove(&rank);
        self.ahead.remove(&rank);
        self.outage.remove(object, rank);
        if let Some(then) = then
            && let Some(waiting) = self.bound.get_mut(then)
        {
            waiting.remove(&rank);
            if waiting.is_empty() {
                self.bound.remove(then);
            }
        }
    }

    /// Who may send now. One that failed waits for the time of the next probe, and so do all once several clients failed.
    pub fn candidate(
        &self,
        now: SinceStart,
        may_probe: bool,
        has_room: impl Fn(&Endpoint, Urgency) -> bool,
    ) -> Option<Candidate<'_>> {
        let first = [self.ahead.first_key_value(), self.first_untried(has_room)];
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
    pub fn candidate_ahead(
        &self,
        has_room: impl Fn(&Endpoint, Urgency) -> bool,
    ) -> Option<Candidate<'_>> {
        let first = self.first_untried(has_room).filter(|_| !self.is_demoted);
        first.map(|first| Candidate::of(first, false))
    }

    /// Who comes first of those who did not fail, and for whom there is room where they go on to.
    fn first_untried(
        &self,
        has_room: impl Fn(&Endpoint, Urgency) -> bool,
    ) -> Option<(&Rank, &ObjectKey)> {
        let bound = self.bound.iter().filter_map(|(then, waiting)| {
            let first = waiting.first_key_value()?;
            has_room(then, first.0.0).then_some(first)
        });
        self.fresh.first_key_value().into_iter().chain(bound).min()
    }

    /// Whether there is room here for one more that is so urgent and comes with a token. Those who are less urgent take none.
    pub fn has_room(&self, urgency: Urgency) -> bool {
        let before = [&self.fresh, &self.ahead].map(|waiting| {
            let before = waiting.keys().take_while(|(other, _)| *other <= urgency);
            before.take(ROOM).count()
        });
        before.into_iter().sum::<usize>() < ROOM
    }

    /// Who was called and waits for a place.
    pub fn ahead(&self) -> impl ExactSizeIterator<Item = &ObjectKey> {
        self.ahead.values()
    }

    /// When the next probe is to be sent, if anybody waits for that.
    pub fn probe_at(&self) -> Option<SinceStart> {
        let outage = &self.outage;
        let waits = outage.is_waiting() || (outage.is_of_all() && self.untried().next().is_some());
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
            || (self.outage.has_begun() && self.untried().next().is_none() && self.ahead.is_empty())
    }

    /// Who waits and did not fail since the last success.
    pub fn untried(&self) -> impl Iterator<Item = &ObjectKey> {
        let bound = self.bound.values().flat_map(BTreeMap::values);
        self.fresh.values().chain(bound)
    }

    /// Those of them who go on to this endpoint.
    pub fn bound_to(&self, then: &Endpoint) -> impl Iterator<Item = &ObjectKey> {
        self.bound.get(then).into_iter().flat_map(BTreeMap::values)
    }

    /// Whether anybody waits.
    pub fn is_waiting(&self) -> bool {
        self.untried().next().is_some() || !self.ahead.is_empty() || self.outage.is_waiting()
    }

    /// Whether there is nothing to remember but that the last answer was good.
    pub fn is_idle(&self) -> bool {
        !self.is_waiting() && self.places == 0 && !self.outage.has_begun() && !self.is_demoted
    }
}
