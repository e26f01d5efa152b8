//! What is known of one namespace at one endpoint: who of it waits, and what became of its last requests.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::{
    caller::Urgency,
    keys::{ClientHash, SinceStart},
};
use crate::cluster::object_key::ObjectKey;

/// How many clients must have failed in a row until those of the same namespace wait that have not been tried.
const CLIENTS: usize = 3;

/// How long after a failure the next try of it is sent. Doubled with each that fails.
const FIRST_PAUSE: Duration = Duration::from_secs(2);

/// The longest pause between two tries, and so the longest time until the end of an outage is noticed.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// The place in the line of a namespace: by urgency, and then in the order in which they came.
pub type Rank = (Urgency, u64);

/// One namespace at one endpoint.
#[derive(Debug, Default)]
pub struct Tenant {
    /// Who waits and did not fail since the last success.
    fresh: BTreeMap<Rank, ObjectKey>,
    /// Who was called and waits for a place.
    ahead: BTreeMap<Rank, ObjectKey>,
    /// Who waits and failed since then, those first that failed least.
    tried: BTreeMap<(u32, Rank), ObjectKey>,
    /// Who failed since the last success, and how often.
    failures: HashMap<ObjectKey, u32>,
    /// Which clients failed since the last success, [`CLIENTS`] at most.
    clients: Vec<ClientHash>,
    /// How many requests are in flight or about to be sent.
    pub places: usize,
    /// Whether the last answer was not a good one.
    pub is_demoted: bool,
    /// Whether all were given another chance because somebody else succeeded, and used it.
    pub is_forgiven: bool,
    succeeded_at: Option<SinceStart>,
    pause: Duration,
    probe_at: SinceStart,
}

/// Who of a namespace may send next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub rank: Rank,
    pub object: ObjectKey,
    /// Whether it is sent to find out whether requests succeed again.
    pub is_probe: bool,
}

impl Tenant {
    /// Lets an object wait.
    pub fn enter(&mut self, object: ObjectKey, rank: Rank) {
        match self.failures.get(&object) {
            Some(failures) => self.tried.insert((*failures, rank), object),
            None => self.fresh.insert(rank, object),
        };
    }

    /// Lets an object wait that was called before there is a place for it.
    pub fn enter_ahead(&mut self, object: ObjectKey, rank: Rank) {
        self.ahead.insert(rank, object);
    }

    /// Takes an object out of those who wait.
    pub fn remove(&mut self, object: &ObjectKey, rank: Rank) {
        self.fresh.remove(&rank);
        self.ahead.remove(&rank);
        if let Some(failures) = self.failures.get(object) {
            self.tried.remove(&(*failures, rank));
        }
    }

    /// Forgets an object that is gone.
    pub fn forget(&mut self, object: &ObjectKey) {
        self.failures.remove(object);
    }

    /// Who may send now. One that failed waits for the time of the next probe, and so do all once several clients failed.
    pub fn candidate(&self, now: SinceStart, may_probe: bool) -> Option<Candidate> {
        let first = [&self.ahead, &self.fresh].map(|waiting| waiting.iter().next());
        let first = first.into_iter().flatten().min();
        if !self.is_closed()
            && let Some((rank, object)) = first
        {
            return Some(Candidate {
                rank: *rank,
                object: object.clone(),
                is_probe: false,
            });
        }
        if !may_probe || now < self.probe_at {
            return None;
        }
        let tried = self.tried.iter().map(|((_, rank), object)| (rank, object));
        first
            .into_iter()
            .chain(tried)
            .next()
            .map(|(rank, object)| Candidate {
                rank: *rank,
                object: object.clone(),
                is_probe: true,
            })
    }

    /// Who may be called before there is a place: nobody where a request has failed or been refused last.
    pub fn candidate_ahead(&self) -> Option<Candidate> {
        let fresh = self.fresh.iter().next().filter(|_| !self.is_demoted);
        fresh.map(|(rank, object)| Candidate {
            rank: *rank,
            object: object.clone(),
            is_probe: false,
        })
    }

    /// Who was called and waits for a place.
    pub fn ahead(&self) -> impl ExactSizeIterator<Item = &ObjectKey> {
        self.ahead.values()
    }

    /// When the next probe is to be sent, if anybody waits for that.
    pub fn probe_at(&self) -> Option<SinceStart> {
        let waits = !self.tried.is_empty() || (self.is_closed() && !self.fresh.is_empty());
        waits.then_some(self.probe_at)
    }

    /// Takes into account that a probe is sent now. The pause until the next one is counted from here, however long this one
    /// takes.
    pub fn probe_sent(&mut self, now: SinceStart) {
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.probe_at = now + self.pause;
    }

    /// Has the next probe sent at once, because one was not sent after all.
    pub fn probe_unsent(&mut self, now: SinceStart) {
        self.probe_at = now;
    }

    /// Takes the failure of a client into account. One of a request that was sent before the last success says nothing new.
    pub fn failed(&mut self, client: &ClientHash, sent_at: SinceStart, now: SinceStart) {
        if self
            .succeeded_at
            .is_some_and(|succeeded_at| sent_at <= succeeded_at)
        {
            return;
        }
        if self.clients.is_empty() {
            self.pause = FIRST_PAUSE;
            self.probe_at = now.max(sent_at + FIRST_PAUSE);
        }
        if self.clients.len() < CLIENTS && !self.clients.contains(client) {
            self.clients.push(*client);
        }
    }

    /// Counts a failure of an object that does not wait at the moment.
    pub fn count_failure(&mut self, object: &ObjectKey) {
        if !self.clients.is_empty() {
            *self.failures.entry(object.clone()).or_default() += 1;
        }
    }

    /// Takes a success into account: nobody has failed since.
    pub fn succeeded(&mut self, now: SinceStart) {
        self.succeeded_at = Some(now);
        self.is_forgiven = false;
        self.clear_failures();
    }

    /// Gives all another chance because the endpoint works for somebody else, unless they had one already.
    pub fn forgive(&mut self) {
        if !std::mem::replace(&mut self.is_forgiven, true) {
            self.clear_failures();
        }
    }

    fn clear_failures(&mut self) {
        self.failures.clear();
        self.clients.clear();
        let tried = std::mem::take(&mut self.tried);
        let fresh = tried.into_iter().map(|((_, rank), object)| (rank, object));
        self.fresh.extend(fresh);
    }

    /// Whether so many clients failed in a row that the others of the namespace wait too.
    fn is_closed(&self) -> bool {
        self.clients.len() >= CLIENTS
    }

    /// Whether all that is known of the namespace fails.
    pub fn is_failing(&self) -> bool {
        self.is_closed()
            || (!self.clients.is_empty() && self.fresh.is_empty() && self.ahead.is_empty())
    }

    /// Who waits and did not fail since the last success.
    pub fn untried(&self) -> impl Iterator<Item = ObjectKey> + '_ {
        self.fresh.values().cloned()
    }

    /// Whether anybody waits.
    pub fn is_waiting(&self) -> bool {
        !self.fresh.is_empty() || !self.ahead.is_empty() || !self.tried.is_empty()
    }

    /// Whether there is nothing to remember but that the last answer was good.
    pub fn is_idle(&self) -> bool {
        !self.is_waiting() && self.places == 0 && self.clients.is_empty() && !self.is_demoted
    }
}
