//! Who may send a request to which endpoint when. It knows nothing of what is sent, does no I/O and has no clock.
//!
//! - Each endpoint has a line of objects that wait, and a few places for requests in flight. Namespaces take turns.
//! - Whose turn it is gets a place and is told so, see [`Queue::take_woken`]. It has [`TURN`] to send.
//! - While requests end soon, a few more are called ahead of their places: they read what they need, and then wait for a place.
//! - Those who go on to another endpoint with their token have no turn while many of their namespace wait there.
//! - Objects whose requests failed wait for the next probe of their namespace ([`Tenant`]); objects of namespaces where
//!   several clients failed do so too. There is no other circuit: an outage is just that this is so for all.
//! - Where all failed until one succeeded, the others follow at a [`Pace`](super::pace::Pace).
//!
//! Whoever is told to wait is in exactly one [`State`] here until it leaves.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use super::{
    caller::{Caller, Rank, Urgency},
    endpoint::Endpoint,
    keys::{ClientHash, SinceStart},
    line::Line,
    tenant::{Candidate, Tenant},
};
use crate::{cluster::object_key::ObjectKey, http::origin::Origin};

/// How many requests may be in flight to one origin.
const PER_ORIGIN: usize = 16;

/// How many of one namespace may be, to whatever endpoints.
const PER_NAMESPACE: usize = 8;

/// How many may be in all.
pub const IN_ALL: u16 = 64;

/// The least time between two probes of one origin, whatever the number of namespaces and of endpoints.
const BETWEEN_PROBES: Duration = Duration::from_secs(1);

/// How long an object may take to send when it's its turn: it may have been deleted, or its wake-up lost.
pub const TURN: Duration = Duration::from_secs(5);

/// How many endpoints, and namespaces of an endpoint, are remembered while nothing is going on there.
const REMEMBERED: usize = 1024;

/// The way to all endpoints.
#[derive(Debug)]
pub struct Queue {
    per_endpoint: usize,
    lines: BTreeMap<Endpoint, Line>,
    entries: HashMap<ObjectKey, Entry>,
    /// The turns that were given and not yet used, by their end.
    turns: BTreeSet<(SinceStart, ObjectKey)>,
    /// Few, and looked up for each line.
    origins: BTreeMap<Origin, Usage>,
    namespaces: HashMap<String, Usage>,
    in_flight: usize,
    /// Counts arrivals and turns, so that one comes after the other.
    count: u64,
    /// Who is to be woken: for a turn, or to tell that requests have begun to fail.
    woken: Vec<ObjectKey>,
}

/// What an origin or a namespace takes.
#[derive(Debug, Default)]
struct Usage {
    places: usize,
    /// How many of them are of namespaces whose last request did not succeed.
    demoted: usize,
    /// When it had its last turn.
    served: u64,
    /// When the next probe may be sent, of an origin.
    next_probe_at: SinceStart,
}

/// An object at its endpoint.
#[derive(Debug)]
struct Entry {
    endpoint: Endpoint,
    /// Where it goes on to.
    then: Option<Endpoint>,
    rank: Rank,
    state: State,
}

impl Entry {
    fn new(caller: &Caller, arrival: u64, state: State) -> Self {
        Self {
            endpoint: caller.endpoint.clone(),
            then: caller.then.clone(),
            rank: (caller.urgency, arrival),
            state,
        }
    }
}

/// What an object waits for.
#[derive(Debug)]
enum State {
    /// For its turn.
    Waiting,
    /// It is its turn until then.
    Called {
        until: SinceStart,
        /// `None` where it was called ahead.
        place: Option<Place>,
        /// Whether it lacks nothing but a place.
        is_ready: bool,
    },
    /// For the answer to its request, or to an equal one.
    InFlight,
    /// For a time of its own, or for what may come before that.
    Parked(Parked),
}

/// What brings an object back into the line before its own time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parked {
    /// A usable answer from its endpoint, whoever gets it.
    UntilUsable,
    /// The end of the hold of its credentials.
    UntilReleased(ClientHash),
}

/// A place among the requests in flight. To be given back to the queue.
#[derive(Debug)]
pub struct Place {
    endpoint: Endpoint,
    namespace: String,
    is_probe: bool,
    is_demoted: bool,
    sent_at: SinceStart,
}

/// Whose turn it is.
#[derive(Debug)]
struct Turn {
    endpoint: Endpoint,
    object: ObjectKey,
    is_probe: bool,
}

impl Turn {
    fn of(endpoint: &Endpoint, candidate: Candidate<'_>) -> Self {
        Self {
            endpoint: endpoint.clone(),
            object: candidate.object.clone(),
            is_probe: candidate.is_probe,
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With what was asked for.
    Succeeded,
    /// With another answer: the endpoint works.
    Refused,
    /// With what cannot be read, and may be the fault of something on the way.
    Garbled,
    /// The endpoint could not be reached, did not answer or answered that it is broken.
    Failed,
    /// It was not sent, or nobody knows.
    Unknown,
}

impl Queue {
    /// Lets at most `per_endpoint` requests at a time through to one endpoint, and four times as many, up to 16, while it
    /// recovers.
    pub fn new(per_endpoint: usize) -> Self {
        Self {
            per_endpoint,
            lines: BTreeMap::new(),
            entries: HashMap::new(),
            turns: BTreeSet::new(),
            origins: BTreeMap::new(),
            namespaces: HashMap::new(),
            in_flight: 0,
            count: 0,
            woken: Vec::new(),
        }
    }

    /// Asks for a place. `true` where it is the object's turn. Otherwise it waits in the line, or for a request in flight.
    pub fn ask(&mut self, caller: &Caller, now: SinceStart) -> bool {
        let object = &caller.object;
        let moved = self
            .entries
            .get(object)
            .is_some_and(|entry| entry.endpoint != caller.endpoint);
        if moved {
            self.leave(object, now);
        }
        let arrival = match self.entries.get(object) {
            Some(entry) => match entry.state {
                State::Called { .. } => return true,
                State::InFlight => return false,
                State::Waiting | State::Parked(_) => {
                    let arrival = entry.rank.1;
                    self.remove(object);
                    arrival
                }
            },
            None => self.next(),
        };
        self.insert(object, Entry::new(caller, arrival, State::Waiting));
        self.advance(now);
        self.woken.retain(|woken| woken != object);
        self.has_turn(object)
    }

    /// Whether it is an object's turn.
    pub fn has_turn(&self, object: &ObjectKey) -> bool {
        let entry = self.entries.get(object);
        entry.is_some_and(|entry| matches!(entry.state, State::Called { .. }))
    }

    /// Where an object waits, or has its turn. While there is no room where it goes on to, that is there.
    pub fn endpoint_of(&self, object: &ObjectKey) -> Option<&Endpoint> {
        let entry = self.entries.get(object)?;
        let then = entry.then.as_ref().filter(|then| {
            matches!(entry.state, State::Waiting)
                && !self.has_room(then, &object.namespace, entry.rank.0)
        });
        then.or(Some(&entry.endpoint))
    }

    /// Whether an object is here at all.
    pub fn contains(&self, object: &ObjectKey) -> bool {
        self.entries.contains_key(object)
    }

    /// Whether an object waits because requests failed, and not only because others are before it.
    pub fn waits_for_recovery(&self, object: &ObjectKey) -> bool {
        let entry = self.entries.get(object);
        let is_failing = |endpoint| {
            let tenant = self.tenant(endpoint, &object.namespace);
            tenant.is_some_and(Tenant::is_failing)
        };
        entry.is_some_and(|entry| {
            matches!(entry.state, State::Waiting)
                && (is_failing(&entry.endpoint) || self.endpoint_of(object).is_some_and(is_failing))
        })
    }

    fn tenant(&self, endpoint: &Endpoint, namespace: &str) -> Option<&Tenant> {
        self.lines.get(endpoint)?.tenants.get(namespace)
    }

    /// Whether one more of a namespace may have a token with which it goes on to this endpoint.
    fn has_room(&self, then: &Endpoint, namespace: &str, urgency: Urgency) -> bool {
        let tenant = self.tenant(then, namespace);
        tenant.is_none_or(|tenant| tenant.has_room(urgency))
    }

    /// Whether an object that has no token waits for nothing but its turn.
    pub fn waits_for_first_token(&self, object: &ObjectKey) -> bool {
        let entry = self.entries.get(object);
        let waits = entry.is_some_and(|entry| {
            matches!(
                (&entry.state, entry.rank),
                (State::Waiting, (Urgency::Begun | Urgency::NoToken, _))
            )
        });
        waits && !self.waits_for_recovery(object)
    }

    /// Notes that an object whose turn it is lacks nothing but a place. `true` where it has one. Otherwise it is woken as soon as
    /// it has.
    pub fn be_ready(&mut self, object: &ObjectKey) -> bool {
        let entry = self.entries.get_mut(object);
        match entry.map(|entry| &mut entry.state) {
            Some(State::Called {
                place, is_ready, ..
            }) => {
                *is_ready = true;
                place.is_some()
            }
            _ => false,
        }
    }

    /// Uses an object's turn: what is returned is its place until the request [`ends`](Self::end).
    pub fn send(&mut self, object: &ObjectKey, now: SinceStart) -> Option<Place> {
        let entry = self.entries.get_mut(object)?;
        match std::mem::replace(&mut entry.state, State::InFlight) {
            State::Called {
                until,
                place: Some(mut place),
                ..
            } => {
                self.turns.remove(&(until, object.clone()));
                place.sent_at = now;
                Some(place)
            }
            other => {
                entry.state = other;
                None
            }
        }
    }

    /// Has an object wait for an equal request that is in flight.
    pub fn join(&mut self, caller: &Caller, now: SinceStart) {
        let arrival = self.next();
        self.leave(&caller.object, now);
        self.insert(&caller.object, Entry::new(caller, arrival, State::InFlight));
    }

    /// Has an object wait for its own time, or for what may come before.
    pub fn park(&mut self, caller: &Caller, parked: Parked, now: SinceStart) {
        let arrival = self.next();
        self.leave(&caller.object, now);
        let entry = Entry::new(caller, arrival, State::Parked(parked));
        self.insert(&caller.object, entry);
    }

    /// Takes an object out, and gives back its turn if it has one. A request of it that is in flight goes on.
    pub fn leave(&mut self, object: &ObjectKey, now: SinceStart) {
        let Some(entry) = self.remove(object) else {
            return;
        };
        if let State::Called {
            place: Some(place), ..
        } = entry.state
        {
            self.give_back_unused(place, now);
        }
    }

    /// Takes an object out of the line of one endpoint. Where it waits for another one, or has its turn there, it goes on to.
    pub fn leave_endpoint(&mut self, object: &ObjectKey, endpoint: &Endpoint, now: SinceStart) {
        let entry = self.entries.get(object);
        if entry.is_some_and(|entry| entry.endpoint == *endpoint) {
            self.leave(object, now);
        }
    }

    /// Takes an object out that is gone.
    pub fn forget(&mut self, object: &ObjectKey, now: SinceStart) {
        let endpoint = self.entries.get(object).map(|entry| entry.endpoint.clone());
        self.leave(object, now);
        let line = endpoint.and_then(|endpoint| self.lines.get_mut(&endpoint));
        if let Some(tenant) = line.and_then(|line| line.tenants.get_mut(&object.namespace)) {
            tenant.outage.forget(object);
        }
    }

    /// Takes into account how a request ended that was sent for `objects`, and gives its place back. Those whose request
    /// failed wait in the line again, those whose answer was garbled for a usable one; the others are out of it.
    pub fn end(
        &mut self,
        place: Place,
        client: &ClientHash,
        objects: &[ObjectKey],
        end: End,
        now: SinceStart,
    ) {
        let (endpoint, sent_at) = (place.endpoint.clone(), place.sent_at);
        let namespace = place.namespace.clone();
        self.give_back(place);
        let ended: Vec<_> = objects
            .iter()
            .filter_map(|object| self.remove_in_flight(object, &endpoint))
            .collect();
        let mut namespaces: BTreeSet<_> = ended
            .iter()
            .map(|(object, _)| object.namespace.clone())
            .collect();
        namespaces.insert(namespace);
        let line = self.lines.entry(endpoint.clone()).or_default();
        let took = now.saturating_sub(sent_at);
        line.note_duration((end == End::Succeeded).then_some(took));
        match end {
            End::Succeeded | End::Refused | End::Garbled => {
                line.succeeded(&namespaces, end != End::Succeeded, now);
            }
            End::Failed => {
                line.failed(&namespaces, client, sent_at, now);
                for (object, _) in &ended {
                    line.count_failure(object);
                }
            }
            End::Unknown => {}
        }
        for (object, entry) in ended {
            let state = match end {
                End::Failed => State::Waiting,
                End::Garbled => State::Parked(Parked::UntilUsable),
                End::Succeeded | End::Refused | End::Unknown => continue,
            };
            self.insert(&object, Entry { state, ..entry });
        }
        match end {
            End::Failed => {
                self.call_back(&endpoint, &namespaces);
                self.tell_failing(&endpoint, &namespaces);
            }
            End::Succeeded => self.release(&endpoint, &Parked::UntilUsable),
            End::Refused | End::Garbled | End::Unknown => {}
        }
        self.prune();
    }

    /// Lets those into the line that waited for this at an endpoint.
    pub fn release(&mut self, endpoint: &Endpoint, parked: &Parked) {
        let Some(line) = self.lines.get(endpoint) else {
            return;
        };
        for object in line.parked.clone() {
            let waits = self.entries.get(&object).is_some_and(
                |entry| matches!(&entry.state, State::Parked(reason) if reason == parked),
            );
            if waits {
                self.put_back(&object);
            }
        }
    }

    /// The objects to wake since this was asked last: because it is their turn, or because requests began to fail.
    pub fn take_woken(&mut self) -> Vec<ObjectKey> {
        std::mem::take(&mut self.woken)
    }

    /// Gives turns to those who may send now, and to a few who may soon. To be called after anything that may have changed that.
    pub fn advance(&mut self, now: SinceStart) {
        self.expire(now);
        while let Some(turn) = self.choose(now) {
            let place = self.take_place(&turn, now);
            self.call(turn, Some(place), now);
        }
        while let Some(turn) = self.choose_ahead() {
            self.call(turn, None, now);
        }
    }

    /// When somebody may send by the passing of time alone, if anybody waits for that.
    pub fn next_change(&self, now: SinceStart) -> Option<SinceStart> {
        let turns = self.turns.iter().next().map(|(until, _)| *until);
        let waiting = self.lines.iter().filter(|(_, line)| line.is_waiting());
        let lines = waiting.flat_map(|(endpoint, line)| {
            let origin = self.origins.get(endpoint.origin());
            line.due_times(origin.map_or(SinceStart::ZERO, |origin| origin.next_probe_at))
        });
        // What is past waits for a place, which is given back by a request that ends.
        let is_to_come = |time: &SinceStart| now < *time;
        turns.into_iter().chain(lines).filter(is_to_come).min()
    }

    /// Takes back the turns that were not used in time. Their objects go to the end of the line.
    fn expire(&mut self, now: SinceStart) {
        while let Some((until, _)) = self.turns.first()
            && *until <= now
            && let Some((_, object)) = self.turns.pop_first()
        {
            let Some(mut entry) = self.remove(&object) else {
                continue;
            };
            let state = std::mem::replace(&mut entry.state, State::Waiting);
            if let State::Called {
                place: Some(place), ..
            } = state
            {
                self.give_back_unused(place, now);
            }
            entry.rank.1 = self.next();
            self.insert(&object, entry);
        }
    }

    /// Who is to have the next turn: of the namespace whose last one was longest ago, but those whose last request did not
    /// succeed share one place of an origin while others wait.
    fn choose(&self, now: SinceStart) -> Option<Turn> {
        if self.in_flight >= IN_ALL.into() {
            return None;
        }
        let mut best: Option<((bool, u64, Rank), &Endpoint, Candidate<'_>)> = None;
        for (endpoint, line) in self.lines.iter().filter(|(_, line)| line.is_waiting()) {
            let origin = self.origins.get(endpoint.origin());
            let capacity = line.capacity(self.per_endpoint);
            if line.places >= capacity
                || origin.is_some_and(|origin| origin.places >= PER_ORIGIN)
                || line.pace.as_ref().is_some_and(|pace| now < pace.next_at())
            {
                continue;
            }
            let may_probe =
                line.may_probe() && origin.is_none_or(|origin| now >= origin.next_probe_at);
            let demoted = origin.is_some_and(|origin| origin.demoted > 0);
            for (namespace, tenant) in &line.tenants {
                let has_room = |then: &Endpoint, urgency| self.has_room(then, namespace, urgency);
                let Some(candidate) = tenant.candidate(now, may_probe, has_room) else {
                    continue;
                };
                let usage = self.namespaces.get(namespace);
                if tenant.places >= (capacity - 1).max(1)
                    || usage.is_some_and(|usage| usage.places >= PER_NAMESPACE)
                {
                    continue;
                }
                let goes_last = demoted && tenant.is_demoted;
                let served = usage.map_or(0, |usage| usage.served);
                let key = (goes_last, served, candidate.rank);
                if best.as_ref().is_none_or(|(best, ..)| key < *best) {
                    best = Some((key, endpoint, candidate));
                }
            }
        }
        best.map(|(_, endpoint, candidate)| Turn::of(endpoint, candidate))
    }

    /// Who is to be called before there is a place: of the namespaces that have fewest who wait for one so, the one whose last
    /// turn was longest ago.
    fn choose_ahead(&self) -> Option<Turn> {
        // Each takes up a reconciliation while it waits.
        if self.in_flight + self.turns.len() >= IN_ALL.into() {
            return None;
        }
        let lines = self.lines.iter();
        let lines = lines.filter(|(_, line)| line.may_call_ahead(self.per_endpoint));
        lines
            .flat_map(|(endpoint, line)| line.tenants.iter().map(move |of| (endpoint, of)))
            .filter_map(|(endpoint, (namespace, tenant))| {
                let has_room = |then: &Endpoint, urgency| self.has_room(then, namespace, urgency);
                let candidate = tenant.candidate_ahead(has_room)?;
                let usage = self.namespaces.get(namespace);
                let served = usage.map_or(0, |usage| usage.served);
                let key = (tenant.ahead().len(), served, candidate.rank);
                Some((key, endpoint, candidate))
            })
            .min_by_key(|(key, ..)| *key)
            .map(|(_, endpoint, candidate)| Turn::of(endpoint, candidate))
    }

    /// Takes a place for an object's request.
    fn take_place(&mut self, turn: &Turn, now: SinceStart) -> Place {
        let Turn {
            endpoint,
            object,
            is_probe,
            ..
        } = turn;
        let (namespace, is_probe) = (&object.namespace, *is_probe);
        let served = self.next();
        let line = self.lines.entry(endpoint.clone()).or_default();
        line.places += 1;
        if let Some(pace) = &mut line.pace {
            pace.sent(now);
        }
        let tenant = line.tenants.entry(namespace.clone()).or_default();
        tenant.places += 1;
        if is_probe {
            line.probes += 1;
            tenant.outage.probe_sent(now);
        }
        let is_demoted = tenant.is_demoted;
        let origin = self.origins.entry(endpoint.origin().clone()).or_default();
        if is_probe {
            origin.next_probe_at = now + BETWEEN_PROBES;
        }
        let of_namespace = self.namespaces.entry(namespace.clone()).or_default();
        for usage in [origin, of_namespace] {
            usage.places += 1;
            usage.demoted += usize::from(is_demoted);
            usage.served = served;
        }
        self.in_flight += 1;
        Place {
            endpoint: endpoint.clone(),
            namespace: namespace.clone(),
            is_probe,
            is_demoted,
            sent_at: now,
        }
    }

    /// Gives an object its turn, or one that was called ahead its place.
    fn call(&mut self, turn: Turn, place: Option<Place>, now: SinceStart) {
        let object = turn.object;
        let Some(entry) = self.remove(&object) else {
            return;
        };
        // One that is not ready yet comes by itself.
        if !matches!(entry.state, State::Called { is_ready, .. } if !is_ready) {
            self.woken.push(object.clone());
        }
        let state = State::Called {
            until: now + TURN,
            place,
            is_ready: false,
        };
        self.insert(&object, Entry { state, ..entry });
    }

    /// Has those wait in the line again who were called ahead in namespaces where requests fail by now.
    fn call_back(&mut self, endpoint: &Endpoint, namespaces: &BTreeSet<String>) {
        let line = self.lines.get(endpoint);
        let tenants = namespaces
            .iter()
            .filter_map(|namespace| line?.tenants.get(namespace));
        let failing = tenants.filter(|tenant| tenant.is_failing());
        let ahead: Vec<_> = failing.flat_map(Tenant::ahead).cloned().collect();
        for object in ahead {
            self.put_back(&object);
        }
    }

    /// Wakes those who wait in namespaces where requests have begun to fail: at this endpoint, or to go on to it.
    fn tell_failing(&mut self, endpoint: &Endpoint, namespaces: &BTreeSet<String>) {
        let Some(line) = self.lines.get_mut(endpoint) else {
            return;
        };
        let unaware = line.note_failing(namespaces);
        if unaware.is_empty() {
            return;
        }
        self.woken.extend(unaware);
        let lines = self.lines.values();
        let tenants = lines.flat_map(|line| {
            namespaces
                .iter()
                .filter_map(|namespace| line.tenants.get(namespace))
        });
        let bound = tenants.flat_map(|tenant| tenant.bound_to(endpoint));
        self.woken.extend(bound.cloned());
    }

    /// Has an object wait in its line again, where it was before.
    fn put_back(&mut self, object: &ObjectKey) {
        if let Some(entry) = self.remove(object) {
            let state = State::Waiting;
            self.insert(object, Entry { state, ..entry });
        }
    }

    fn give_back(&mut self, place: Place) {
        let Place {
            endpoint,
            namespace,
            is_probe,
            is_demoted,
            ..
        } = place;
        self.in_flight = self.in_flight.saturating_sub(1);
        let usages = [
            self.origins.get_mut(endpoint.origin()),
            self.namespaces.get_mut(&namespace),
        ];
        for usage in usages.into_iter().flatten() {
            usage.places = usage.places.saturating_sub(1);
            usage.demoted = usage.demoted.saturating_sub(usize::from(is_demoted));
        }
        let Some(line) = self.lines.get_mut(&endpoint) else {
            return;
        };
        line.places = line.places.saturating_sub(1);
        line.probes = line.probes.saturating_sub(usize::from(is_probe));
        if let Some(tenant) = line.tenants.get_mut(&namespace) {
            tenant.places = tenant.places.saturating_sub(1);
        }
    }

    fn give_back_unused(&mut self, place: Place, now: SinceStart) {
        if place.is_probe {
            if let Some(origin) = self.origins.get_mut(place.endpoint.origin()) {
                origin.next_probe_at = now;
            }
            let line = self.lines.get_mut(&place.endpoint);
            let tenant = line.and_then(|line| line.tenants.get_mut(&place.namespace));
            if let Some(tenant) = tenant {
                tenant.outage.probe_unsent(now);
            }
        }
        self.give_back(place);
    }

    fn insert(&mut self, object: &ObjectKey, entry: Entry) {
        let line = self.lines.entry(entry.endpoint.clone()).or_default();
        let rank = entry.rank;
        match &entry.state {
            State::Waiting => {
                let tenant = line.tenants.entry(object.namespace.clone()).or_default();
                tenant.enter(object.clone(), rank, entry.then.as_ref());
            }
            State::Called { until, place, .. } => {
                self.turns.insert((*until, object.clone()));
                if place.is_none() {
                    let tenant = line.tenants.entry(object.namespace.clone()).or_default();
                    tenant.enter_ahead(object.clone(), rank);
                }
            }
            State::Parked(_) => {
                line.parked.insert(object.clone());
            }
            State::InFlight => {}
        }
        self.entries.insert(object.clone(), entry);
    }

    fn remove(&mut self, object: &ObjectKey) -> Option<Entry> {
        let entry = self.entries.remove(object)?;
        if let Some(line) = self.lines.get_mut(&entry.endpoint) {
            if let Some(tenant) = line.tenants.get_mut(&object.namespace) {
                tenant.remove(object, entry.rank, entry.then.as_ref());
            }
            match &entry.state {
                State::Called { until, .. } => {
                    self.turns.remove(&(*until, object.clone()));
                }
                State::Parked(_) => {
                    line.parked.remove(object);
                }
                State::Waiting | State::InFlight => {}
            }
        }
        Some(entry)
    }

    /// Removes an object if it waits for an answer from this endpoint.
    fn remove_in_flight(
        &mut self,
        object: &ObjectKey,
        endpoint: &Endpoint,
    ) -> Option<(ObjectKey, Entry)> {
        let entry = self.entries.get(object)?;
        let is_in_flight = matches!(entry.state, State::InFlight) && entry.endpoint == *endpoint;
        let entry = is_in_flight.then(|| self.remove(object)).flatten()?;
        Some((object.clone(), entry))
    }

    /// Forgets what is idle, and gives back room, where there is much of it.
    fn prune(&mut self) {
        // Thousands may have waited.
        if self.entries.capacity() > REMEMBERED && self.entries.len() < REMEMBERED / 4 {
            self.entries.shrink_to_fit();
        }
        for line in self.lines.values_mut() {
            if line.tenants.len() > REMEMBERED {
                line.tenants.retain(|_, tenant| !tenant.is_idle());
            }
        }
        if self.lines.len() > REMEMBERED {
            self.lines.retain(|_, line| !line.is_idle());
        }
        if self.namespaces.len() > REMEMBERED {
            self.namespaces.retain(|_, usage| usage.places > 0);
        }
        if self.origins.len() > REMEMBERED {
            self.origins.retain(|_, usage| usage.places > 0);
        }
    }

    fn next(&mut self) -> u64 {
        self.count += 1;
        self.count
    }
}

#[cfg(test)]
mod tests;
