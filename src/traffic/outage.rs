//! What failed of one namespace at one endpoint since its last success, and who of it is asked again first, and when.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::{
    caller::Rank,
    keys::{ClientHash, SinceStart},
};
use crate::cluster::object_key::ObjectKey;

/// How many clients must have failed in a row until those of the same namespace wait that have not been tried.
const CLIENTS: usize = 3;

/// How long after a failure the next try of it is sent. Doubled with each that fails.
const FIRST_PAUSE: Duration = Duration::from_secs(2);

/// The longest pause between two tries, and so the longest time until the end of an outage is noticed.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// What failed since the last success.
#[derive(Debug, Default)]
pub struct Outage {
    /// Who waits and failed, those first that failed least.
    tried: BTreeMap<(u32, Rank), ObjectKey>,
    /// Who failed, and how often.
    failures: HashMap<ObjectKey, u32>,
    /// Which clients failed, [`CLIENTS`] at most.
    clients: Vec<ClientHash>,
    succeeded_at: Option<SinceStart>,
    pause: Duration,
    probe_at: SinceStart,
    /// Whether all were given another chance because somebody else succeeded, and used it.
    is_forgiven: bool,
}

/// Those who failed, and wait as if they had not.
pub type Forgiven = BTreeMap<Rank, ObjectKey>;

impl Outage {
    /// Whether anything failed.
    pub fn has_begun(&self) -> bool {
        !self.clients.is_empty()
    }

    /// Whether so many clients failed in a row that those wait too who have not been tried.
    pub fn is_of_all(&self) -> bool {
        self.clients.len() >= CLIENTS
    }

    /// Lets an object wait that failed. `false` where it did not.
    pub fn enter(&mut self, object: &ObjectKey, rank: Rank) -> bool {
        let failures = self.failures.get(object);
        if let Some(failures) = failures {
            self.tried.insert((*failures, rank), object.clone());
        }
        failures.is_some()
    }

    /// Takes an object out of those who wait.
    pub fn remove(&mut self, object: &ObjectKey, rank: Rank) {
        if let Some(failures) = self.failures.get(object) {
            self.tried.remove(&(*failures, rank));
        }
    }

    /// Forgets an object that is gone.
    pub fn forget(&mut self, object: &ObjectKey) {
        self.failures.remove(object);
    }

    /// Whether anybody waits that failed.
    pub fn is_waiting(&self) -> bool {
        !self.tried.is_empty()
    }

    /// Who is asked to find out whether requests succeed again: the first one that has not been tried, or else the one that failed
    /// least. Nobody before it is time.
    pub fn probe<'a>(
        &'a self,
        untried: Option<(&'a Rank, &'a ObjectKey)>,
        now: SinceStart,
    ) -> Option<(&'a Rank, &'a ObjectKey)> {
        let tried = self.tried.iter().next();
        let first = untried.or(tried.map(|((_, rank), object)| (rank, object)));
        first.filter(|_| self.probe_at <= now)
    }

    /// When the next probe is to be sent.
    pub fn probe_at(&self) -> SinceStart {
        self.probe_at
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
        if self.has_begun() {
            *self.failures.entry(object.clone()).or_default() += 1;
        }
    }

    /// Takes a success into account: nobody has failed since.
    pub fn succeeded(&mut self, now: SinceStart) -> Forgiven {
        self.succeeded_at = Some(now);
        self.is_forgiven = false;
        self.clear()
    }

    /// Gives all another chance because the endpoint works for somebody else, unless they had one already.
    pub fn forgive(&mut self) -> Forgiven {
        if std::mem::replace(&mut self.is_forgiven, true) {
            return Forgiven::new();
        }
        self.clear()
    }

    fn clear(&mut self) -> Forgiven {
        self.failures.clear();
        self.clients.clear();
        let tried = std::mem::take(&mut self.tried);
        let tried = tried.into_iter();
        tried.map(|((_, rank), object)| (rank, object)).collect()
    }
}
