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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::EdgeToken, traffic::caller::Urgency};

    fn second(seconds: u64) -> SinceStart {
        Duration::from_secs(seconds)
    }

    fn object(number: u64) -> ObjectKey {
        ObjectKey::new::<EdgeToken>("shop", format!("edge-{number}"))
    }

    fn rank(number: u64) -> Rank {
        (Urgency::NoToken, number)
    }

    fn client(number: u8) -> ClientHash {
        [number; 32]
    }

    /// An outage in which objects failed so often.
    fn failed(times: &[u32]) -> Outage {
        let mut outage = Outage::default();
        for (number, times) in (0_u8..).zip(times) {
            for _ in 0..*times {
                outage.failed(&client(number), second(10), second(10));
                outage.count_failure(&object(number.into()));
            }
            assert!(outage.enter(&object(number.into()), rank(number.into())));
        }
        outage
    }

    fn probe(outage: &Outage, now: u64) -> Option<ObjectKey> {
        let probe = outage.probe(None, second(now));
        probe.map(|(_, object)| object.clone())
    }

    #[test]
    fn a_failure_of_what_was_sent_before_the_last_success_says_nothing() {
        let mut outage = Outage::default();
        outage.succeeded(second(5));
        outage.failed(&client(1), second(5), second(9));
        outage.count_failure(&object(1));
        assert!(!outage.has_begun() && !outage.enter(&object(1), rank(1)));
        outage.failed(&client(1), second(6), second(9));
        assert!(outage.has_begun());
    }

    #[test]
    fn it_is_of_all_once_three_clients_failed_and_no_more_are_remembered() {
        let mut outage = failed(&[5, 1]);
        assert!(outage.has_begun() && !outage.is_of_all());
        for number in 2..9 {
            outage.failed(&client(number), second(11), second(11));
            assert!(outage.is_of_all());
        }
        assert_eq!(outage.clients.len(), CLIENTS);
    }

    #[test]
    fn one_that_was_not_tried_is_asked_first_and_then_the_one_that_failed_least() {
        let mut outage = failed(&[2, 1, 1]);
        let due = second(12);
        let (rank, new) = (rank(9), object(9));
        assert_eq!(outage.probe(Some((&rank, &new)), due), Some((&rank, &new)));
        for next in [1, 2, 0] {
            assert_eq!(probe(&outage, 12), Some(object(next)));
            outage.remove(&object(next), self::rank(next));
        }
        assert!(!outage.is_waiting() && probe(&outage, 12).is_none());
    }

    #[test]
    fn probes_are_2_and_4_and_then_8_seconds_after_the_failure_and_each_other() {
        let mut outage = failed(&[1]);
        let mut sent = Vec::new();
        for now in 10..50 {
            if probe(&outage, now).is_some() {
                assert_eq!(outage.probe_at(), second(now));
                outage.probe_sent(second(now));
                sent.push(now);
            }
        }
        assert_eq!(sent, [12, 16, 24, 32, 40, 48]);
        // One that was not sent after all is sent by the next one.
        outage.probe_unsent(second(50));
        assert!(probe(&outage, 49).is_none() && probe(&outage, 50).is_some());
    }

    #[test]
    fn the_first_probe_is_two_seconds_after_a_request_was_sent_that_hung_for_less() {
        for (ended, due) in [(10, 12), (11, 12), (30, 30)] {
            let mut outage = Outage::default();
            outage.failed(&client(0), second(10), second(ended));
            assert_eq!(outage.probe_at(), second(due), "{ended}");
        }
    }

    #[test]
    fn who_failed_waits_as_new_after_a_success_and_once_after_that_of_somebody_else() {
        let all = |number| Forgiven::from([(rank(number), object(number))]);
        let fail_again = |outage: &mut Outage| {
            outage.failed(&client(0), second(30), second(30));
            outage.count_failure(&object(0));
            assert!(outage.enter(&object(0), rank(0)));
        };
        let mut outage = failed(&[3]);
        assert_eq!(outage.forgive(), all(0));
        assert!(!outage.has_begun() && !outage.enter(&object(0), rank(0)));
        fail_again(&mut outage);
        assert!(outage.forgive().is_empty() && outage.has_begun());
        assert_eq!(outage.succeeded(second(20)), all(0));
        fail_again(&mut outage);
        assert_eq!(outage.forgive(), all(0));
    }

    #[test]
    fn one_that_is_made_anew_was_not_tried() {
        let mut outage = failed(&[1, 1]);
        outage.remove(&object(0), rank(0));
        outage.forget(&object(0));
        assert!(!outage.enter(&object(0), rank(0)));
        assert_eq!(probe(&outage, 12), Some(object(1)));
    }
}
