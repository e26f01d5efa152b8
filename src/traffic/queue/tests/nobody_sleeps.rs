//! Any schedule of asking, answering, losing and leaving: everybody who wants a token has one in the end.

use std::collections::BTreeMap;

use proptest::{prelude::*, sample::Index};

use super::*;

/// What can happen to an object, or to time.
#[derive(Clone, Debug)]
enum Step {
    Ask(Index, usize),
    /// It wants a token to go on with.
    AskToGoOn(Index),
    /// As many of its namespace as there is room for ask where those go on to.
    Crowd(Index),
    /// It uses the turn that it was woken for.
    Send(Index),
    /// It has read all that it needs, and waits for its place.
    BeReady(Index),
    /// It joins the request of another one.
    Join(Index, Index),
    Answer(Index, End),
    /// Its request is lost, with the task that made it.
    Crash(Index),
    Suspend(Index),
    Delete(Index),
    Park(Index),
    /// All wake-ups up to now are lost.
    LoseWakeups,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    let end = prop_oneof![
        Just(End::Succeeded),
        Just(End::Refused),
        Just(End::Garbled),
        Just(End::Failed),
        Just(End::Failed),
    ];
    prop_oneof![
        4 => (index(), 0..3_usize).prop_map(|(object, endpoint)| Step::Ask(object, endpoint)),
        2 => index().prop_map(Step::AskToGoOn),
        1 => index().prop_map(Step::Crowd),
        4 => index().prop_map(Step::Send),
        2 => index().prop_map(Step::BeReady),
        1 => (index(), index()).prop_map(|(object, other)| Step::Join(object, other)),
        4 => (index(), end).prop_map(|(object, end)| Step::Answer(object, end)),
        1 => index().prop_map(Step::Crash),
        1 => index().prop_map(Step::Suspend),
        1 => index().prop_map(Step::Delete),
        1 => index().prop_map(Step::Park),
        1 => Just(Step::LoseWakeups),
        3 => (0..9000_u64).prop_map(Step::Pass),
    ]
}

/// A queue, and the objects around it.
struct Model {
    queue: Queue,
    now: SinceStart,
    in_flight: Vec<(Place, ObjectKey, Vec<ObjectKey>)>,
    /// Who wants a token, and from where.
    wanting: BTreeMap<ObjectKey, usize>,
    /// Who goes on with it.
    goes_on: BTreeSet<ObjectKey>,
}

impl Model {
    fn new() -> Self {
        Self {
            queue: Queue::new(PLACES),
            now: second(0),
            in_flight: Vec::new(),
            wanting: BTreeMap::new(),
            goes_on: BTreeSet::new(),
        }
    }

    fn ask(&mut self, object: &ObjectKey, at: usize) {
        self.wanting.insert(object.clone(), at);
        let mut caller = caller(object, Urgency::NoToken);
        caller.endpoint = endpoint(at);
        caller.then = self.goes_on.contains(object).then(|| endpoint(2));
        self.queue.ask(&caller, self.now);
    }

    fn send(&mut self, object: &ObjectKey) {
        if let Some(place) = self.queue.send(object, self.now) {
            self.in_flight
                .push((place, object.clone(), vec![object.clone()]));
        }
    }

    fn end(&mut self, number: usize, how: End) {
        let (place, sender, objects) = self.in_flight.swap_remove(number);
        if how == End::Succeeded {
            for object in &objects {
                self.wanting.remove(object);
            }
        }
        self.queue
            .end(place, &client(&sender), &objects, how, self.now);
        self.queue.advance(self.now);
        for object in objects {
            if how == End::Succeeded && self.goes_on.remove(&object) {
                self.ask(&object, 2);
            }
        }
    }

    fn take(&mut self, step: Step) {
        let objects: Vec<_> = (0..3)
            .flat_map(|namespace| (0..4).map(move |number| key(namespace, number)))
            .collect();
        let object = |index: Index| index.get(&objects).clone();
        match step {
            Step::Ask(index, at) => {
                self.goes_on.remove(&object(index));
                self.ask(&object(index), at);
            }
            Step::AskToGoOn(index) => {
                self.goes_on.insert(object(index));
                self.ask(&object(index), 0);
            }
            Step::Crowd(index) => {
                let namespace = index.index(3);
                for number in 4..4 + ROOM + PLACES {
                    self.ask(&key(namespace, number), 2);
                }
            }
            Step::Send(index) => self.send(&object(index)),
            Step::BeReady(index) => {
                self.queue.be_ready(&object(index));
            }
            Step::Join(index, other) if !self.in_flight.is_empty() => {
                let number = other.index(self.in_flight.len());
                let (place, _, joined) = &mut self.in_flight[number];
                let object = object(index);
                let caller = Caller {
                    endpoint: place.endpoint.clone(),
                    ..caller(&object, Urgency::NoToken)
                };
                if !joined.contains(&object) {
                    joined.push(object.clone());
                }
                self.queue.join(&caller, self.now);
                self.queue.advance(self.now);
                let at = (0..3)
                    .find(|number| endpoint(*number) == caller.endpoint)
                    .unwrap();
                self.wanting.insert(object, at);
            }
            Step::Answer(index, how) if !self.in_flight.is_empty() => {
                self.end(index.index(self.in_flight.len()), how);
            }
            Step::Crash(index) if !self.in_flight.is_empty() => {
                self.end(index.index(self.in_flight.len()), End::Unknown);
            }
            Step::Join(..) | Step::Answer(..) | Step::Crash(_) => {}
            Step::Suspend(index) => {
                self.wanting.remove(&object(index));
                self.queue.leave(&object(index), self.now);
                self.queue.advance(self.now);
            }
            Step::Delete(index) => {
                self.wanting.remove(&object(index));
                self.queue.forget(&object(index), self.now);
                self.queue.advance(self.now);
            }
            Step::Park(index) => {
                let object = object(index);
                if self.wanting.contains_key(&object) {
                    self.queue.park(
                        &caller(&object, Urgency::NoToken),
                        Parked::UntilUsable,
                        self.now,
                    );
                    self.wanting.insert(object, 0);
                    self.queue.advance(self.now);
                }
            }
            Step::LoseWakeups => {
                self.queue.take_woken();
            }
            Step::Pass(milliseconds) => {
                self.now += Duration::from_millis(milliseconds);
                self.queue.advance(self.now);
            }
        }
    }

    /// What must hold at any time.
    fn check(&self) {
        let queue = &self.queue;
        let turns = queue.turns.len();
        let ahead: usize = queue.lines.values().map(Line::ahead).sum();
        assert_eq!(
            queue.in_flight,
            turns - ahead + self.in_flight.len(),
            "no place is lost"
        );
        let called = queue
            .entries
            .values()
            .filter(|entry| matches!(entry.state, State::Called { .. }));
        assert_eq!(called.count(), turns);
        assert!(queue.in_flight <= IN_ALL.into());
        for line in queue.lines.values() {
            assert!(line.places <= WHILE_RECOVERING, "{line:?}");
            assert!(line.ahead() <= PER_PLACE * PLACES, "{line:?}");
            assert_eq!(
                line.places,
                line.tenants
                    .values()
                    .map(|tenant| tenant.places)
                    .sum::<usize>()
            );
        }
        self.check_counts();
    }

    /// What is counted is what there is.
    fn check_counts(&self) {
        let queue = &self.queue;
        let called = queue
            .entries
            .values()
            .filter_map(|entry| match &entry.state {
                State::Called { place, .. } => place.as_ref(),
                _ => None,
            });
        let in_flight = self.in_flight.iter().map(|(place, ..)| place);
        let places: Vec<_> = called.chain(in_flight).collect();
        let check = |usage: &Usage, is_its: &dyn Fn(&Place) -> bool| {
            let its: Vec<_> = places.iter().filter(|place| is_its(place)).collect();
            assert_eq!(usage.places, its.len());
            let demoted = its.iter().filter(|place| place.is_demoted).count();
            assert_eq!(usage.demoted, demoted);
        };
        for (namespace, usage) in &queue.namespaces {
            assert!(usage.places <= PER_NAMESPACE);
            check(usage, &|place| place.namespace == *namespace);
        }
        for (origin, usage) in &queue.origins {
            assert!(usage.places <= PER_ORIGIN);
            check(usage, &|place| place.endpoint.origin() == origin);
        }
        for (endpoint, line) in &queue.lines {
            let probes = places
                .iter()
                .filter(|place| place.is_probe && place.endpoint == *endpoint);
            assert_eq!(line.probes, probes.count());
        }
    }
}

/// How many schedules are tried: very many, unless something else is asked for.
fn cases() -> u32 {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default().cases,
        None => 10_000,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    /// Whatever happened, with wake-ups lost and requests crashed: once the endpoints work, everybody who wants a token has
    /// one soon, if it looks again when its own time has come.
    #[test]
    fn nobody_sleeps(steps in prop::collection::vec(step(), 1..60)) {
        let mut model = Model::new();
        for step in steps {
            model.take(step);
            model.check();
        }
        while !model.in_flight.is_empty() {
            model.end(0, End::Failed);
            model.check();
        }
        // The net: those who were told to wait look again, whatever was lost.
        for (object, at) in model.wanting.clone() {
            model.ask(&object, at);
        }
        let began = model.now;
        while !model.wanting.is_empty() {
            prop_assert!(model.now - began < second(60), "{:?} waits: {:?}", model.wanting, model.queue);
            for object in model.wanting.keys().cloned().collect::<Vec<_>>() {
                model.send(&object);
            }
            while !model.in_flight.is_empty() {
                model.end(0, End::Succeeded);
            }
            model.now += Duration::from_millis(50);
            model.queue.advance(model.now);
            model.check();
        }
    }
}
