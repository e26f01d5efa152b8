use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::api::names::is_subdomain;

const CAPACITY: usize = 40;

fn object(namespace: &str, name: &str) -> ObjectReference {
    ObjectReference {
        kind: Some("EdgeCredential".into()),
        namespace: Some(namespace.into()),
        name: Some(name.into()),
        uid: Some(format!("uid of {name}")),
        ..ObjectReference::default()
    }
}

fn transition(reason: &str, message: &str) -> Transition {
    Transition {
        warning: false,
        reason: reason.into(),
        message: message.into(),
        part: None,
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Pushes that an object became ready.
fn push(queue: &mut EventQueue, namespace: &str, name: &str, now: Duration) -> bool {
    let seen = Timestamp::UNIX_EPOCH + now;
    queue.push(
        object(namespace, name),
        transition("TokenValid", ""),
        seen,
        now,
    )
}

/// Publishes what may be published now, at once, and returns whose it was.
fn publish(queue: &mut EventQueue, now: Duration) -> Vec<String> {
    let mut names = Vec::new();
    while let Next::Publish(due) = queue.next(now) {
        queue.finish(&due, Outcome::Published, now);
        names.push(due.regarding.name.unwrap());
    }
    names
}

fn take(queue: &mut EventQueue, now: Duration) -> Box<Due> {
    match queue.next(now) {
        Next::Publish(due) => due,
        next => panic!("{next:?}"),
    }
}

#[test]
fn fifty_go_at_once_and_then_twenty_a_second() {
    let mut queue = EventQueue::new(CAPACITY * 10);
    for number in 0..200 {
        push(&mut queue, "shop", &number.to_string(), seconds(0));
    }
    let told = publish(&mut queue, seconds(0));
    let expected: Vec<_> = (0..50).map(|number| number.to_string()).collect();
    assert_eq!(told, expected);
    assert!(matches!(queue.next(seconds(0)), Next::Wait(wait) if wait == INTERVAL));
    assert_eq!(publish(&mut queue, INTERVAL).len(), 1);
    assert_eq!(publish(&mut queue, seconds(1)).len(), 19);
    assert_eq!(
        publish(&mut queue, seconds(4)).len(),
        50,
        "no more than a burst"
    );
}

#[test]
fn namespaces_take_turns_whatever_they_have() {
    let mut queue = EventQueue::new(CAPACITY);
    for number in 0..9 {
        push(&mut queue, "crowd", &format!("crowd-{number}"), seconds(0));
    }
    for name in ["b-0", "b-1"] {
        push(&mut queue, "b", name, seconds(0));
    }
    push(&mut queue, "d", "d-0", seconds(0));
    let told = publish(&mut queue, seconds(0));
    let first = ["b-0", "crowd-0", "d-0", "b-1", "crowd-1", "crowd-2"];
    assert_eq!(told[..6], first);
    assert_eq!(told.len(), 12);
}

#[test]
fn what_happens_to_different_parts_of_an_object_is_no_repeat() {
    let mut queue = EventQueue::new(CAPACITY);
    for part in ["first", "second", "first"] {
        let revoked = Transition {
            part: Some(part.into()),
            ..transition("KeyRevoked", part)
        };
        let seen = Timestamp::UNIX_EPOCH;
        queue.push(object("shop", "edge"), revoked, seen, seconds(0));
    }
    for (part, count) in [("first", 2), ("second", 1)] {
        let due = take(&mut queue, seconds(0));
        assert_eq!((&*due.transition.message, due.count), (part, count));
        queue.finish(&due, Outcome::Published, seconds(0));
    }
    assert!(matches!(queue.next(seconds(0)), Next::Nothing));
}

#[test]
fn repeats_that_wait_are_one_event_with_the_last_message() {
    let mut queue = EventQueue::new(CAPACITY);
    for (second, reason, message) in [
        (1, "TokenValid", "first"),
        (2, "Suspended", "between"),
        (3, "TokenValid", "last"),
    ] {
        let seen = Timestamp::from_second(second).unwrap();
        let now = seconds(second.unsigned_abs());
        queue.push(
            object("shop", "edge"),
            transition(reason, message),
            seen,
            now,
        );
    }
    let due = take(&mut queue, seconds(3));
    assert_eq!((due.count, due.is_repeat), (2, false));
    assert_eq!(due.transition.message, "last");
    assert_eq!(due.first_seen, Timestamp::from_second(1).unwrap());
    assert_eq!(due.last_seen, Timestamp::from_second(3).unwrap());
    queue.finish(&due, Outcome::Published, seconds(3));
    assert_eq!(take(&mut queue, seconds(3)).transition.reason, "Suspended");
    assert!(matches!(queue.next(seconds(3)), Next::Nothing));
}

#[test]
fn what_differs_in_object_reason_or_kind_is_no_repeat() {
    let mut queue = EventQueue::new(CAPACITY);
    let mut warning = transition("TokenValid", "");
    warning.warning = true;
    let mut anew = object("shop", "edge");
    anew.uid = Some("another".into());
    for (object, transition) in [
        (object("shop", "edge"), transition("TokenValid", "")),
        (object("shop", "edge"), transition("Suspended", "")),
        (object("shop", "edge"), warning),
        (object("shop", "other"), transition("TokenValid", "")),
        (anew, transition("TokenValid", "")),
    ] {
        queue.push(object, transition, Timestamp::UNIX_EPOCH, seconds(0));
    }
    assert_eq!(publish(&mut queue, seconds(0)).len(), 5);
}

#[test]
fn a_repeat_of_a_published_event_is_counted_on_it_for_ten_minutes() {
    let mut queue = EventQueue::new(CAPACITY);
    let mut told = |now: Duration, outcome| {
        push(&mut queue, "shop", "edge", now);
        let due = take(&mut queue, now);
        queue.finish(&due, outcome, now);
        (due.name, due.count, due.is_repeat)
    };
    let (name, count, is_repeat) = told(seconds(0), Outcome::Published);
    assert_eq!((count, is_repeat), (1, false));
    assert_eq!(
        told(seconds(600), Outcome::Published),
        (name.clone(), 2, true)
    );
    assert_eq!(
        told(seconds(1200), Outcome::Failed),
        (name.clone(), 3, true)
    );
    // Nobody knows whether the Event is still there.
    let (other, count, is_repeat) = told(seconds(1201), Outcome::Published);
    assert_eq!((count, is_repeat), (1, false));
    assert_ne!(other, name);
    let (_, count, is_repeat) = told(seconds(1802), Outcome::Published);
    assert_eq!(
        (count, is_repeat),
        (1, false),
        "after more than ten minutes"
    );
}

#[test]
fn what_waited_for_more_than_ten_minutes_is_dropped() {
    let mut queue = EventQueue::new(CAPACITY);
    push(&mut queue, "shop", "old", seconds(0));
    push(&mut queue, "shop", "repeated", seconds(0));
    push(&mut queue, "shop", "repeated", seconds(1));
    let later = seconds(601);
    assert!(matches!(queue.next(later), Next::Expired));
    assert_eq!(publish(&mut queue, later), ["repeated"]);
    assert!(matches!(queue.next(later), Next::Nothing));
}

#[test]
fn a_namespace_has_one_event_on_its_way_and_delays_no_other_with_it() {
    let mut queue = EventQueue::new(CAPACITY);
    push(&mut queue, "a", "slow", seconds(0));
    push(&mut queue, "a", "next", seconds(0));
    let slow = take(&mut queue, seconds(0));
    push(&mut queue, "b", "other", seconds(1));
    assert_eq!(publish(&mut queue, seconds(1)), ["other"]);
    assert!(matches!(queue.next(seconds(1)), Next::Nothing));
    queue.finish(&slow, Outcome::Failed, seconds(2));
    assert_eq!(publish(&mut queue, seconds(2)), ["next"]);
}

#[test]
fn a_full_queue_takes_room_from_the_namespace_that_fills_it() {
    let mut queue = EventQueue::new(10);
    assert!(!push(&mut queue, "calm", "calm", seconds(0)));
    for number in 0..9 {
        assert!(!push(&mut queue, "crowd", &number.to_string(), seconds(0)));
    }
    // Whoever asks for room.
    assert!(push(&mut queue, "new", "new", seconds(0)));
    assert!(push(&mut queue, "crowd", "9", seconds(0)));
    assert_eq!(queue.waiting, 10);
    let told: BTreeSet<_> = publish(&mut queue, seconds(0)).into_iter().collect();
    let expected = ["2", "3", "4", "5", "6", "7", "8", "9", "calm", "new"];
    assert_eq!(told, expected.map(str::to_owned).into());
}

#[test]
fn where_all_have_as_much_the_one_that_asks_makes_room_itself() {
    let mut queue = EventQueue::new(2);
    push(&mut queue, "a", "a", seconds(0));
    push(&mut queue, "b", "b", seconds(0));
    assert!(push(&mut queue, "0", "0", seconds(0)));
    assert_eq!(publish(&mut queue, seconds(0)), ["a", "b"]);
}

#[test]
fn a_namespace_that_is_being_deleted_is_left_alone_for_a_minute() {
    let mut queue = EventQueue::new(CAPACITY);
    for name in ["one", "two"] {
        push(&mut queue, "ending", name, seconds(0));
    }
    let due = take(&mut queue, seconds(0));
    queue.finish(&due, Outcome::NamespaceGone, seconds(0));
    push(&mut queue, "ending", "three", seconds(59));
    push(&mut queue, "other", "other", seconds(59));
    assert_eq!(publish(&mut queue, seconds(59)), ["other"]);
    push(&mut queue, "ending", "four", seconds(60));
    assert_eq!(publish(&mut queue, seconds(60)), ["four"]);
    assert!(queue.lines.is_empty() && queue.waiting == 0);
}

#[test]
fn of_several_namespaces_that_are_being_deleted_each_is_left_alone_for_its_minute() {
    let mut queue = EventQueue::new(CAPACITY);
    for (namespace, second) in [("one", 0), ("two", 30), ("three", 60)] {
        push(&mut queue, namespace, "edge", seconds(second));
        let due = take(&mut queue, seconds(second));
        queue.finish(&due, Outcome::NamespaceGone, seconds(second));
    }
    for namespace in ["one", "two", "three"] {
        push(&mut queue, namespace, namespace, seconds(60));
    }
    assert_eq!(publish(&mut queue, seconds(60)), ["one"]);
    assert_eq!(queue.closed.len(), 2);
}

#[test]
fn what_was_published_is_forgotten_in_time() {
    let mut queue = EventQueue::new(CAPACITY);
    for number in 0..30 {
        push(&mut queue, "shop", &number.to_string(), seconds(0));
    }
    publish(&mut queue, seconds(0));
    assert_eq!(queue.published.len(), 30);
    push(&mut queue, "shop", "last", seconds(601));
    publish(&mut queue, seconds(601));
    assert_eq!(queue.published.len(), 1);
}

#[test]
fn the_name_of_an_event_is_one_that_the_api_takes_whatever_its_object_is_called() {
    let long = "a".repeat(253);
    let (dashes, dots) = ("a-".repeat(126) + "a", "a.".repeat(126) + "a");
    let other = format!("{}b", &long[..252]);
    let mut names = BTreeSet::new();
    for object in [
        "a",
        &long[..236],
        &long[..237],
        &long,
        &other,
        &dashes,
        &dots,
    ] {
        for (subject, second) in [(1, 1), (1, 2), (2, 1)] {
            // The subject stands for the object.
            let subject = hash(&format!("{object}{subject}"));
            let name = event_name(object, subject, Timestamp::from_second(second).unwrap());
            assert!(is_subdomain(&name), "{name}");
            let shared = name.bytes().zip(object.bytes());
            let shared = shared.take_while(|(here, there)| here == there).count();
            // One more may end with a hyphen or a dot.
            assert!(shared >= object.len().min(235), "{name}");
            assert!(names.insert(name), "{object}");
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Something happens to an object of a namespace.
    Push(u8, u8, bool),
    /// So many milliseconds go by.
    Pass(u64),
    /// The publisher looks.
    Next,
    /// One of the calls under way is answered.
    Finish(u8, u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        // The first namespace has more to say than others.
        6 => (0..30_u8, any::<bool>()).prop_map(|(object, ready)| Step::Push(0, object, ready)),
        2 => (1..4_u8, 0..4_u8, any::<bool>())
            .prop_map(|(namespace, object, ready)| Step::Push(namespace, object, ready)),
        3 => (0..200_u64).prop_map(Step::Pass),
        1 => (0..400_000_u64).prop_map(Step::Pass),
        5 => Just(Step::Next),
        4 => (any::<u8>(), 0..8_u8).prop_map(|(flight, outcome)| Step::Finish(flight, outcome)),
    ];
    vec(step, 1..400)
}

fn waiting_in(queue: &EventQueue, namespace: &str) -> usize {
    queue
        .lines
        .get(namespace)
        .map_or(0, |line| line.waiting.len())
}

fn is_free(queue: &EventQueue, namespace: &str) -> bool {
    let waits = |line: &Line| !line.is_in_flight && !line.waiting.is_empty();
    queue.lines.get(namespace).is_some_and(waits)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn whatever_happens_the_queue_is_bounded_paced_and_fair(steps in steps()) {
        let capacity = 20;
        let namespaces = ["a", "b", "c", "d"];
        let mut queue = EventQueue::new(capacity);
        let mut now = Duration::ZERO;
        let mut in_flight: Vec<Box<Due>> = Vec::new();
        let mut started: Vec<Duration> = Vec::new();
        // The turns of others since a namespace waits for its own.
        let mut overtaken: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Push(namespace, name, ready) => {
                    let namespace = namespaces[usize::from(namespace)];
                    let before = namespaces.map(|namespace| waiting_in(&queue, namespace));
                    let reason = if ready { "TokenValid" } else { "Suspended" };
                    let displaced = queue.push(
                        object(namespace, &name.to_string()),
                        transition(reason, ""),
                        Timestamp::UNIX_EPOCH + now,
                        now,
                    );
                    let after = namespaces.map(|namespace| waiting_in(&queue, namespace));
                    let most = *before.iter().max().unwrap();
                    for ((name, before), after) in namespaces.iter().zip(before).zip(after) {
                        if after < before {
                            prop_assert!(displaced && before == most, "{name} lost its place");
                        }
                    }
                }
                Step::Pass(millis) => now += Duration::from_millis(millis),
                Step::Next => match queue.next(now) {
                    Next::Publish(due) => {
                        let namespace = due.regarding.namespace.clone().unwrap();
                        for name in namespaces {
                            let turns = overtaken.entry(name).or_default();
                            if name == namespace || !is_free(&queue, name) {
                                turns.clear();
                            } else {
                                prop_assert!(!turns.contains(&namespace), "{name} was passed over");
                                turns.push(namespace.clone());
                            }
                        }
                        let mut others = in_flight.iter().map(|due| &due.regarding.namespace);
                        prop_assert!(!others.any(|other| *other == due.regarding.namespace));
                        prop_assert!(now - due.last_seen.duration_since(Timestamp::UNIX_EPOCH).unsigned_abs() <= MAX_AGE);
                        started.push(now);
                        in_flight.push(due);
                    }
                    Next::Wait(wait) => prop_assert!(!wait.is_zero() && wait <= INTERVAL),
                    Next::Nothing => prop_assert!(!namespaces.iter().any(|name| is_free(&queue, name))),
                    Next::Expired => {}
                },
                Step::Finish(flight, outcome) => {
                    if !in_flight.is_empty() {
                        let due = in_flight.swap_remove(usize::from(flight) % in_flight.len());
                        let outcome = match outcome {
                            0 => Outcome::NamespaceGone,
                            1 => Outcome::Failed,
                            _ => Outcome::Published,
                        };
                        queue.finish(&due, outcome, now);
                    }
                }
            }
            let waiting: usize = namespaces.iter().map(|name| waiting_in(&queue, name)).sum();
            prop_assert_eq!(waiting, queue.waiting);
            prop_assert!(waiting <= capacity);
            prop_assert!(queue.lines.values().all(|line| line.is_in_flight || !line.waiting.is_empty()));
            prop_assert!(queue.published.len() <= started.len());
        }
        for (number, first) in started.iter().enumerate() {
            for (count, last) in started[number..].iter().enumerate() {
                let allowed = u128::from(BURST) + (*last - *first).as_millis() / 50;
                prop_assert!(count < usize::try_from(allowed).unwrap(), "{count} too soon");
            }
        }
    }
}
