use k8s_openapi::jiff::Timestamp;

use super::*;
use crate::{
    api::EdgeCredential,
    traffic::{
        caller::Urgency,
        line::{PER_PLACE, QUICK, WHILE_RECOVERING},
        tenant::ROOM,
    },
};

mod nobody_sleeps;

const PLACES: usize = 4;

fn second(seconds: u64) -> SinceStart {
    Duration::from_secs(seconds)
}

fn endpoint(number: usize) -> Endpoint {
    // Two endpoints at one origin, and one elsewhere.
    let url = [
        "https://a.example/1",
        "https://a.example/2",
        "https://b.example/1",
    ][number];
    Endpoint::of(&url.parse().unwrap()).unwrap()
}

fn key(namespace: usize, number: usize) -> ObjectKey {
    ObjectKey::new::<EdgeCredential>(format!("ns-{namespace}"), format!("edge-{number}"))
}

fn client(object: &ObjectKey) -> ClientHash {
    let mut hash = [0; 32];
    let text = format!("{}/{}", object.namespace, object.name);
    for (byte, of_text) in hash.iter_mut().zip(text.bytes()) {
        *byte = of_text;
    }
    hash
}

fn caller(object: &ObjectKey, urgency: Urgency) -> Caller {
    Caller {
        object: object.clone(),
        endpoint: endpoint(0),
        then: None,
        urgency,
    }
}

/// Has an object ask, and send if it is its turn.
fn send(queue: &mut Queue, object: &ObjectKey, now: SinceStart) -> Option<Place> {
    queue.ask(&caller(object, Urgency::NoToken), now);
    queue.send(object, now)
}

fn end(queue: &mut Queue, place: Place, object: &ObjectKey, end: End, now: SinceStart) {
    queue.end(
        place,
        &client(object),
        std::slice::from_ref(object),
        end,
        now,
    );
    queue.advance(now);
}

/// Sends all turns until `until`, which all end so after a time, and returns when each was sent.
fn run(
    queue: &mut Queue,
    from: SinceStart,
    until: SinceStart,
    takes: Duration,
    how: impl Fn(&ObjectKey, SinceStart) -> End,
) -> Vec<(SinceStart, ObjectKey)> {
    let step = Duration::from_millis(5);
    let mut now = from;
    let mut in_flight: Vec<(SinceStart, Place, ObjectKey, End)> = Vec::new();
    let mut sent = Vec::new();
    while now < until {
        let (ended, rest): (Vec<_>, Vec<_>) =
            in_flight.into_iter().partition(|(at, ..)| *at <= now);
        in_flight = rest;
        for (_, place, object, how) in ended {
            end(queue, place, &object, how, now);
        }
        queue.advance(now);
        for (_, object) in queue.turns.clone() {
            if let Some(place) = queue.send(&object, now) {
                sent.push((now, object.clone()));
                let how = how(&object, now);
                in_flight.push((now + takes, place, object, how));
            }
        }
        now += step;
    }
    sent
}

#[test]
fn who_leaves_one_endpoint_keeps_its_turn_at_another() {
    let mut queue = Queue::new(PLACES);
    let object = key(0, 0);
    assert!(queue.ask(&caller(&object, Urgency::NoToken), second(0)));
    queue.leave_endpoint(&object, &endpoint(1), second(0));
    assert!(queue.has_turn(&object));
    queue.leave_endpoint(&object, &endpoint(0), second(0));
    assert!(!queue.contains(&object));
}

#[test]
fn namespaces_take_turns_whatever_they_have_waiting() {
    let mut queue = Queue::new(1);
    let first = send(&mut queue, &key(0, 0), second(0)).unwrap();
    for number in 1..20 {
        assert!(!queue.ask(
            &caller(&key(0, number), Urgency::Endangered(Timestamp::MIN)),
            second(0)
        ));
    }
    for namespace in 1..3 {
        assert!(!queue.ask(&caller(&key(namespace, 0), Urgency::NoToken), second(0)));
    }
    end(&mut queue, first, &key(0, 0), End::Succeeded, second(0));
    let sent = run(&mut queue, second(0), second(6), second(1), |_, _| {
        End::Succeeded
    });
    let namespaces: Vec<_> = sent
        .iter()
        .map(|(_, object)| object.namespace.as_str())
        .collect();
    assert_eq!(namespaces[..4], ["ns-1", "ns-2", "ns-0", "ns-0"]);
}

#[test]
fn one_namespace_leaves_a_place_also_while_it_is_alone() {
    let mut queue = Queue::new(PLACES);
    let taken = (0..10).filter(|number| send(&mut queue, &key(0, *number), second(0)).is_some());
    assert_eq!(taken.count(), PLACES - 1);
    assert!(send(&mut queue, &key(1, 0), second(0)).is_some());
}

#[test]
fn in_a_namespace_the_most_urgent_comes_first() {
    let mut queue = Queue::new(1);
    let first = send(&mut queue, &key(0, 0), second(0)).unwrap();
    let at = |second| Timestamp::from_second(second).unwrap();
    let urgencies = [
        Urgency::Forced,
        Urgency::Renewal(at(2)),
        Urgency::Renewal(at(1)),
        Urgency::NoToken,
        Urgency::Begun,
        Urgency::Endangered(at(9)),
    ];
    for (number, urgency) in urgencies.into_iter().enumerate() {
        queue.ask(&caller(&key(0, number + 1), urgency), second(0));
    }
    end(&mut queue, first, &key(0, 0), End::Succeeded, second(0));
    let sent = run(&mut queue, second(0), second(10), second(1), |_, _| {
        End::Succeeded
    });
    let names: Vec<_> = sent
        .iter()
        .map(|(_, object)| object.name.as_str())
        .collect();
    let order = ["edge-6", "edge-5", "edge-4", "edge-3", "edge-2", "edge-1"];
    assert_eq!(names, order);
}

#[test]
fn in_an_outage_one_is_tried_after_2_and_4_and_then_every_8_seconds_and_all_in_turn() {
    let mut queue = Queue::new(PLACES);
    for number in 0..10 {
        queue.ask(&caller(&key(0, number), Urgency::NoToken), second(0));
    }
    let sent = run(
        &mut queue,
        second(0),
        second(120),
        Duration::from_millis(50),
        |_, _| End::Failed,
    );
    // Three clients of the namespace fail until the others wait, and two took their places meanwhile.
    assert_eq!(sent[4].0.as_secs(), 0);
    let gaps: Vec<_> = sent[4..]
        .windows(2)
        .map(|pair| (pair[1].0 - pair[0].0).as_secs_f64())
        .collect();
    assert!((1.9..=2.0).contains(&gaps[0]), "{gaps:?}");
    assert_eq!(gaps[1], 4.0);
    assert!(gaps[2..].iter().all(|gap| *gap == 8.0), "{gaps:?}");
    let tried: BTreeSet<_> = sent.iter().map(|(_, object)| object).collect();
    assert_eq!(
        tried.len(),
        10,
        "whoever fails for reasons of its own hides nothing"
    );
}

#[test]
fn a_probe_that_hangs_does_not_keep_the_next_one() {
    let mut queue = Queue::new(PLACES);
    for number in 0..10 {
        queue.ask(&caller(&key(0, number), Urgency::NoToken), second(0));
    }
    let sent = run(&mut queue, second(0), second(100), second(10), |_, _| {
        End::Failed
    });
    // The last ones that were sent before it was known take their places for 10 s.
    let gaps: Vec<_> = sent[6..]
        .windows(2)
        .map(|pair| (pair[1].0 - pair[0].0).as_secs())
        .collect();
    assert!(gaps.iter().all(|gap| *gap <= 8), "{gaps:?}");
}

#[test]
fn a_client_that_fails_alone_keeps_nobody_of_its_namespace_waiting() {
    let mut queue = Queue::new(PLACES);
    let place = send(&mut queue, &key(0, 0), second(0)).unwrap();
    end(&mut queue, place, &key(0, 0), End::Failed, second(0));
    assert!(send(&mut queue, &key(0, 1), second(0)).is_some());
    assert!(send(&mut queue, &key(0, 0), second(0)).is_none());
}

#[test]
fn after_an_outage_all_follow_slowly_at_first() {
    let mut queue = Queue::new(PLACES);
    for number in 0..200 {
        queue.ask(
            &caller(&key(number / 20, number), Urgency::NoToken),
            second(0),
        );
    }
    let works_from = second(60);
    let sent = run(
        &mut queue,
        second(0),
        second(90),
        Duration::from_millis(50),
        |_, now| {
            if now < works_from {
                End::Failed
            } else {
                End::Succeeded
            }
        },
    );
    let after: Vec<_> = sent
        .iter()
        .map(|(at, _)| *at)
        .filter(|at| *at >= works_from)
        .collect();
    let (first, last) = (after[0], after[after.len() - 1]);
    assert!(first - works_from <= second(8), "{first:?}");
    let in_the_first_second = after.iter().filter(|at| **at < first + second(1)).count();
    assert!(
        (15..=25).contains(&in_the_first_second),
        "{in_the_first_second}"
    );
    assert!(last - first <= second(5), "{:?}", last - first);
}

/// A namespace in which three clients failed, and the probe of a fourth that is sent after two seconds.
fn probed_after_failures() -> (Queue, Place, ObjectKey) {
    let mut queue = Queue::new(PLACES);
    let objects: Vec<_> = (0..3).map(|number| key(0, number)).collect();
    let failed: Vec<_> = objects
        .iter()
        .map(|object| (object, send(&mut queue, object, second(0)).unwrap()))
        .collect();
    for (object, place) in failed {
        end(&mut queue, place, object, End::Failed, second(0));
    }
    let probes = key(0, 3);
    queue.ask(&caller(&probes, Urgency::NoToken), second(0));
    queue.advance(second(2));
    let probe = queue.send(&probes, second(2)).unwrap();
    (queue, probe, probes)
}

#[test]
fn those_of_the_only_namespace_that_there_is_follow_slowly_too_as_long_as_any_waits() {
    let has_pace = |queue: &Queue| queue.lines.values().any(|line| line.pace.is_some());
    let (mut queue, probe, object) = probed_after_failures();
    end(&mut queue, probe, &object, End::Succeeded, second(2));
    assert!(has_pace(&queue), "three wait");
    let sent = run(&mut queue, second(2), second(3), second(0), |_, _| {
        End::Succeeded
    });
    assert!(sent.len() == 3 && !has_pace(&queue), "nobody waits");
}

#[test]
fn the_first_of_those_who_follow_has_its_turn_at_once_and_the_next_to_the_millisecond() {
    let (mut queue, probe, object) = probed_after_failures();
    end(&mut queue, probe, &object, End::Succeeded, second(3));
    let next = second(3) + Duration::from_millis(50);
    assert_eq!(called(&queue), 1);
    assert_eq!(queue.next_change(second(3)), Some(next));
    queue.advance(next - Duration::from_millis(1));
    assert_eq!(called(&queue), 1);
    queue.advance(next);
    assert_eq!(called(&queue), 2);
}

#[test]
fn what_fails_for_one_namespace_alone_does_not_slow_the_others_when_it_ends() {
    let mut queue = Queue::new(PLACES);
    let good = send(&mut queue, &key(1, 0), second(0)).unwrap();
    end(&mut queue, good, &key(1, 0), End::Succeeded, second(0));
    let bad = send(&mut queue, &key(0, 0), second(1)).unwrap();
    end(&mut queue, bad, &key(0, 0), End::Failed, second(1));
    let good = send(&mut queue, &key(1, 1), second(2)).unwrap();
    end(&mut queue, good, &key(1, 1), End::Succeeded, second(2));
    assert!(queue.lines.values().all(|line| line.pace.is_none()));
}

#[test]
fn a_failure_is_forgotten_with_its_object_and_not_when_that_leaves() {
    let mut queue = Queue::new(PLACES);
    let object = key(0, 0);
    let place = send(&mut queue, &object, second(0)).unwrap();
    end(&mut queue, place, &object, End::Failed, second(0));
    queue.leave(&object, second(0));
    assert!(!queue.ask(&caller(&object, Urgency::NoToken), second(0)));
    queue.forget(&object, second(0));
    assert!(!queue.contains(&object));
    assert!(queue.ask(&caller(&object, Urgency::NoToken), second(0)));
}

#[test]
fn a_failure_that_was_sent_before_a_success_says_nothing() {
    let mut queue = Queue::new(PLACES);
    let late = send(&mut queue, &key(0, 0), second(0)).unwrap();
    let good = send(&mut queue, &key(0, 1), second(1)).unwrap();
    end(&mut queue, good, &key(0, 1), End::Succeeded, second(2));
    end(&mut queue, late, &key(0, 0), End::Failed, second(10));
    assert!(queue.has_turn(&key(0, 0)), "it may try again at once");
}

#[test]
fn a_turn_that_is_not_used_goes_to_the_next() {
    let mut queue = Queue::new(1);
    assert!(queue.ask(&caller(&key(0, 0), Urgency::NoToken), second(0)));
    assert!(!queue.ask(&caller(&key(1, 0), Urgency::NoToken), second(0)));
    queue.advance(second(4));
    assert!(!queue.has_turn(&key(1, 0)));
    queue.advance(second(5));
    assert!(queue.has_turn(&key(1, 0)));
    // Whoever leaves gives it back at once.
    queue.leave(&key(1, 0), second(6));
    queue.advance(second(6));
    assert!(queue.has_turn(&key(0, 0)));
}

#[test]
fn who_asks_again_keeps_its_place_in_the_line() {
    let mut queue = Queue::new(1);
    let first = send(&mut queue, &key(0, 0), second(0)).unwrap();
    let (before, after) = (key(0, 1), key(0, 2));
    for object in [&before, &after, &before] {
        assert!(!queue.ask(&caller(object, Urgency::NoToken), second(0)));
    }
    end(&mut queue, first, &key(0, 0), End::Succeeded, second(1));
    assert!(queue.has_turn(&before) && !queue.has_turn(&after));
}

#[test]
fn who_asks_at_another_endpoint_gives_back_its_turn_at_the_first() {
    let mut queue = Queue::new(1);
    let moves = key(0, 0);
    let elsewhere = Caller {
        endpoint: endpoint(2),
        ..caller(&moves, Urgency::NoToken)
    };
    assert!(queue.ask(&caller(&moves, Urgency::NoToken), second(0)));
    assert!(!queue.ask(&caller(&key(1, 0), Urgency::NoToken), second(0)));
    assert_eq!(queue.endpoint_of(&moves), Some(&endpoint(0)));
    assert!(queue.ask(&elsewhere, second(0)));
    assert_eq!(queue.endpoint_of(&moves), Some(&endpoint(2)));
    assert!(queue.has_turn(&key(1, 0)));
    assert_eq!(queue.endpoint_of(&key(2, 0)), None);
}

#[test]
fn who_learns_of_its_turn_by_asking_is_not_woken_for_it_and_others_are() {
    let mut queue = Queue::new(1);
    let (expires, waits, asks) = (key(0, 0), key(1, 0), key(2, 0));
    assert!(queue.ask(&caller(&expires, Urgency::NoToken), second(0)));
    assert!(!queue.ask(&caller(&waits, Urgency::NoToken), second(0)));
    assert!(queue.take_woken().is_empty());
    assert!(queue.ask(
        &Caller {
            endpoint: endpoint(2),
            ..caller(&asks, Urgency::NoToken)
        },
        second(5)
    ));
    assert_eq!(queue.take_woken(), [waits]);
}

#[test]
fn who_waits_for_its_turn_who_for_recovery_and_who_for_its_first_token() {
    let mut queue = Queue::new(1);
    let (sends, starts, renews) = (key(0, 0), key(1, 0), key(1, 1));
    let place = send(&mut queue, &sends, second(0)).unwrap();
    queue.ask(&caller(&starts, Urgency::NoToken), second(0));
    queue.ask(
        &caller(&renews, Urgency::Renewal(Timestamp::MAX)),
        second(0),
    );
    let waits = |queue: &Queue, object: &ObjectKey| {
        (
            queue.waits_for_first_token(object),
            queue.waits_for_recovery(object),
        )
    };
    assert_eq!(waits(&queue, &starts), (true, false));
    assert_eq!(waits(&queue, &renews), (false, false));
    assert_eq!(waits(&queue, &sends), (false, false), "it is in flight");
    assert_eq!(waits(&queue, &key(9, 9)), (false, false), "it is not here");
    assert!(queue.contains(&sends) && !queue.contains(&key(9, 9)));
    end(&mut queue, place, &sends, End::Failed, second(0));
    assert_eq!(waits(&queue, &sends), (false, true));
    assert_eq!(waits(&queue, &starts), (false, false), "it has its turn");
}

#[test]
fn who_joins_a_request_ends_with_it() {
    let mut queue = Queue::new(PLACES);
    let (sends, joins) = (key(0, 0), key(0, 1));
    let place = send(&mut queue, &sends, second(0)).unwrap();
    queue.join(&caller(&joins, Urgency::NoToken), second(0));
    assert!(queue.contains(&joins));
    assert!(!queue.ask(&caller(&joins, Urgency::NoToken), second(0)));
    let objects = [sends, joins];
    queue.end(
        place,
        &client(&objects[0]),
        &objects,
        End::Succeeded,
        second(1),
    );
    assert!(objects.iter().all(|object| !queue.contains(object)));
}

/// An endpoint that has answered one request after a time, of a namespace of its own, with others that have asked.
fn answered(after: Duration, how: End, asking: &[ObjectKey]) -> Queue {
    let mut queue = Queue::new(PLACES);
    let other = key(99, 0);
    let first = send(&mut queue, &other, second(0)).unwrap();
    for object in asking {
        queue.ask(&caller(object, Urgency::NoToken), second(0));
    }
    end(&mut queue, first, &other, how, after);
    queue
}

fn called(queue: &Queue) -> usize {
    queue.turns.len()
}

#[test]
fn while_requests_end_soon_some_are_called_before_there_is_a_place_for_them() {
    let asking: Vec<_> = (0..40).map(|number| key(number % 4, number)).collect();
    let mut queue = answered(QUICK, End::Succeeded, &asking);
    let ahead = PER_PLACE * PLACES;
    assert_eq!((called(&queue), queue.in_flight), (PLACES + ahead, PLACES));
    let may_send = |queue: &mut Queue| {
        let of = asking.iter().cloned();
        of.filter(|object| queue.be_ready(object)).count()
    };
    assert_eq!(may_send(&mut queue), PLACES);
    let late = QUICK + Duration::from_millis(1);
    assert_eq!(called(&answered(late, End::Succeeded, &asking)), PLACES);
    assert_eq!(called(&answered(QUICK, End::Refused, &asking)), PLACES);
}

#[test]
fn who_was_called_ahead_gets_the_next_place_and_is_woken_for_it_if_it_is_ready() {
    let asking: Vec<_> = (0..6).map(|number| key(number, 0)).collect();
    let mut queue = answered(second(0), End::Succeeded, &asking);
    queue.take_woken();
    let (sending, ahead) = asking.split_at(PLACES);
    assert!(!queue.be_ready(&ahead[0]) && queue.send(&ahead[0], second(1)).is_none());
    for object in &sending[..2] {
        let place = queue.send(object, second(1)).unwrap();
        end(&mut queue, place, object, End::Succeeded, second(1));
    }
    assert_eq!(queue.take_woken(), [ahead[0].clone()]);
    assert!(queue.send(&ahead[0], second(1)).is_some());
    assert!(
        queue.send(&ahead[1], second(1)).is_some(),
        "it comes by itself"
    );
}

#[test]
fn who_was_called_ahead_goes_before_nobody_of_another_namespace() {
    let asking: Vec<_> = (0..8).map(|number| key(0, number)).collect();
    let mut queue = answered(second(0), End::Succeeded, &asking);
    queue.ask(&caller(&key(1, 0), Urgency::NoToken), second(1));
    queue.ask(&caller(&key(1, 1), Urgency::NoToken), second(1));
    assert!(queue.be_ready(&key(1, 0)), "a place is left for others");
    let place = queue.send(&asking[0], second(1)).unwrap();
    end(&mut queue, place, &asking[0], End::Succeeded, second(1));
    assert!(queue.be_ready(&asking[3]), "they take turns");
    let place = queue.send(&asking[1], second(1)).unwrap();
    end(&mut queue, place, &asking[1], End::Succeeded, second(1));
    assert!(queue.be_ready(&key(1, 1)));
}

#[test]
fn who_was_called_ahead_and_does_not_come_goes_to_the_end_of_the_line() {
    let asking: Vec<_> = (0..20).map(|number| key(number, 0)).collect();
    let mut queue = answered(second(0), End::Succeeded, &asking);
    assert!(queue.has_turn(&asking[11]) && !queue.has_turn(&asking[12]));
    queue.advance(TURN);
    assert!(asking[12..].iter().all(|object| queue.has_turn(object)));
    assert_eq!(called(&queue), PLACES * 3);
    // Whoever leaves makes room at once.
    let last = queue.turns.last().unwrap().1.clone();
    assert!(!queue.be_ready(&last));
    queue.leave(&last, TURN);
    queue.advance(TURN);
    assert_eq!(called(&queue), PLACES * 3);
}

#[test]
fn when_requests_begin_to_fail_who_was_called_ahead_waits_and_is_told() {
    let asking: Vec<_> = (0..9).map(|number| key(0, number)).collect();
    let mut queue = answered(second(0), End::Succeeded, &asking);
    let sent: Vec<_> = asking[..3]
        .iter()
        .map(|object| (object, queue.send(object, second(1)).unwrap()))
        .collect();
    assert!(queue.has_turn(&asking[8]) && !queue.be_ready(&asking[8]));
    queue.take_woken();
    for (object, place) in sent {
        end(&mut queue, place, object, End::Failed, second(2));
    }
    assert!(queue.waits_for_recovery(&asking[8]));
    assert!(queue.take_woken().contains(&asking[8]));
}

#[test]
fn many_endpoints_together_call_no_more_ahead_than_there_are_places_in_all() {
    let mut queue = Queue::new(PLACES);
    let mut ask_at = |number: usize| {
        for namespace in 0..20 {
            let mut caller = caller(&key(20 * number + namespace, 0), Urgency::NoToken);
            let url = format!("https://{number}.example/");
            caller.endpoint = Endpoint::of(&url.parse().unwrap()).unwrap();
            queue.ask(&caller, second(0));
            if namespace == 0 {
                let place = queue.send(&caller.object, second(0)).unwrap();
                end(&mut queue, place, &caller.object, End::Succeeded, second(0));
            }
        }
        (queue.in_flight, queue.turns.len())
    };
    let ahead = PER_PLACE * PLACES;
    for number in 0..4 {
        let places = PLACES * (number + 1);
        assert_eq!(ask_at(number), (places, places + ahead * (number + 1)));
    }
    assert_eq!(4 * (2 * PLACES + ahead), usize::from(IN_ALL));
    for number in 4..6 {
        let places = PLACES * (number + 1);
        assert_eq!(ask_at(number), (places, places + ahead * 4));
    }
}

#[test]
fn who_was_not_answered_well_takes_one_place_of_an_origin_while_others_wait() {
    let mut queue = Queue::new(PLACES);
    let place = send(&mut queue, &key(0, 0), second(0)).unwrap();
    end(&mut queue, place, &key(0, 0), End::Refused, second(0));
    let others: Vec<_> = (0..PLACES).map(|number| key(1 + number, 0)).collect();
    let mut places: Vec<_> = others
        .iter()
        .map(|other| (other, send(&mut queue, other, second(1)).unwrap()))
        .collect();
    let waiting = [key(0, 1), key(0, 2), key(9, 0)];
    for object in &waiting {
        assert!(!queue.ask(&caller(object, Urgency::NoToken), second(1)));
    }
    // Namespace 9 was never served, and namespace 0 before all others.
    let order = [&waiting[2], &waiting[0]];
    for object in order {
        let (other, place) = places.pop().unwrap();
        end(&mut queue, place, other, End::Succeeded, second(2));
        assert!(queue.has_turn(object));
    }
    // It has its place now. Those who were served since go first.
    let again = key(1, 1);
    queue.ask(&caller(&again, Urgency::NoToken), second(2));
    let (other, place) = places.pop().unwrap();
    end(&mut queue, place, other, End::Succeeded, second(2));
    assert!(queue.has_turn(&again) && !queue.has_turn(&waiting[1]));
}

#[test]
fn who_was_not_answered_well_goes_last_only_while_another_such_has_a_place() {
    let mut queue = Queue::new(2);
    let served = [
        (key(0, 0), End::Refused),
        (key(1, 0), End::Refused),
        (key(2, 0), End::Succeeded),
    ];
    for (object, how) in &served {
        let place = send(&mut queue, object, second(0)).unwrap();
        end(&mut queue, place, object, *how, second(1));
    }
    let others = [key(3, 0), key(4, 0)]
        .map(|object| (send(&mut queue, &object, second(1)).unwrap(), object));
    for (object, _) in &served {
        assert!(!queue.ask(&caller(object, Urgency::NoToken), second(1)));
    }
    let [refused, refused_too, answered] = served.map(|(object, _)| object);
    let [first, second_place] = others;
    end(&mut queue, first.0, &first.1, End::Succeeded, second(2));
    assert!(queue.has_turn(&refused), "it was served longest ago");
    let (place, object) = second_place;
    end(&mut queue, place, &object, End::Succeeded, second(2));
    assert!(queue.has_turn(&answered) && !queue.has_turn(&refused_too));
}

#[test]
fn a_namespace_where_nothing_failed_waits_for_no_probe() {
    let mut tenant = Tenant::default();
    assert!(!tenant.is_failing() && tenant.is_idle());
    tenant.enter(key(0, 0), (Urgency::NoToken, 1), None);
    assert!(!tenant.is_failing() && tenant.is_waiting());
    assert_eq!(tenant.probe_at(), None);
}

#[test]
fn two_probes_of_one_origin_are_a_second_apart() {
    let mut queue = Queue::new(PLACES);
    let objects = [(key(0, 0), endpoint(0)), (key(1, 0), endpoint(1))];
    for (object, endpoint) in &objects {
        let mut caller = caller(object, Urgency::NoToken);
        caller.endpoint = endpoint.clone();
        assert!(queue.ask(&caller, second(5)));
        let place = queue.send(object, second(5)).unwrap();
        end(&mut queue, place, object, End::Failed, second(5));
    }
    let sent = run(&mut queue, second(5), second(60), second(0), |_, _| {
        End::Failed
    });
    let gaps = sent.windows(2).map(|pair| pair[1].0 - pair[0].0);
    assert!(sent.len() > 10 && gaps.min() == Some(BETWEEN_PROBES));
}

#[test]
fn what_was_garbled_is_tried_again_once_anybody_has_a_usable_answer() {
    let mut queue = Queue::new(PLACES);
    let place = send(&mut queue, &key(0, 0), second(0)).unwrap();
    end(&mut queue, place, &key(0, 0), End::Garbled, second(0));
    assert!(!queue.has_turn(&key(0, 0)));
    let place = send(&mut queue, &key(1, 0), second(1)).unwrap();
    end(&mut queue, place, &key(1, 0), End::Succeeded, second(2));
    assert!(queue.has_turn(&key(0, 0)));
}

/// A caller that goes on to another endpoint with its token.
fn goes_on(object: &ObjectKey) -> Caller {
    Caller {
        then: Some(endpoint(2)),
        ..caller(object, Urgency::NoToken)
    }
}

/// As many of a namespace wait at the other endpoint as there is room for, and are so urgent. The places of those who send there.
fn crowd(queue: &mut Queue, urgency: Urgency) -> Vec<(ObjectKey, Place)> {
    let objects = (100..).map(|number| key(0, number));
    let mut sent = Vec::new();
    for object in objects.take(PLACES - 1 + ROOM) {
        let caller = Caller {
            endpoint: endpoint(2),
            ..caller(&object, urgency)
        };
        if queue.ask(&caller, second(0)) {
            let place = queue.send(&object, second(0)).unwrap();
            sent.push((object, place));
        }
    }
    assert_eq!(sent.len(), PLACES - 1);
    sent
}

#[test]
fn who_goes_on_to_where_many_of_its_namespace_wait_has_its_turn_once_there_is_room() {
    let mut queue = Queue::new(PLACES);
    let mut sent = crowd(&mut queue, Urgency::Begun);
    let (goes_on_later, stays, elsewhere) = (key(0, 0), key(0, 1), key(1, 0));
    assert!(!queue.ask(&goes_on(&goes_on_later), second(0)));
    assert_eq!(queue.endpoint_of(&goes_on_later), Some(&endpoint(2)));
    assert!(queue.ask(&caller(&stays, Urgency::NoToken), second(0)));
    assert!(queue.ask(&goes_on(&elsewhere), second(0)));
    assert_eq!(queue.endpoint_of(&elsewhere), Some(&endpoint(0)));
    queue.take_woken();
    let (object, place) = sent.pop().unwrap();
    end(&mut queue, place, &object, End::Succeeded, second(1));
    assert!(queue.has_turn(&goes_on_later));
    assert!(queue.take_woken().contains(&goes_on_later));
    assert_eq!(queue.endpoint_of(&goes_on_later), Some(&endpoint(0)));
}

#[test]
fn who_goes_on_to_where_only_those_wait_who_come_after_it_has_its_turn_at_once() {
    let mut queue = Queue::new(PLACES);
    crowd(&mut queue, Urgency::Forced);
    let (first, another) = (key(0, 0), key(0, 1));
    assert!(queue.ask(&goes_on(&first), second(0)));
    let rotates = Caller {
        urgency: Urgency::Forced,
        ..goes_on(&another)
    };
    assert!(!queue.ask(&rotates, second(0)));
}

#[test]
fn who_goes_on_to_where_requests_fail_waits_for_that_and_is_told() {
    let mut queue = Queue::new(PLACES);
    let sent = crowd(&mut queue, Urgency::Begun);
    let goes_on_later = key(0, 0);
    assert!(!queue.ask(&goes_on(&goes_on_later), second(0)));
    assert!(!queue.waits_for_recovery(&goes_on_later));
    queue.take_woken();
    for (object, place) in sent {
        let objects = std::slice::from_ref(&object);
        queue.end(place, &client(&object), objects, End::Failed, second(1));
    }
    queue.advance(second(1));
    assert!(queue.waits_for_recovery(&goes_on_later));
    assert!(queue.take_woken().contains(&goes_on_later));
}

#[test]
fn those_who_wait_are_woken_when_requests_begin_to_fail() {
    let mut queue = Queue::new(PLACES);
    let sent: Vec<_> = (0..3)
        .map(|number| {
            (
                number,
                send(&mut queue, &key(0, number), second(0)).unwrap(),
            )
        })
        .collect();
    queue.ask(&caller(&key(0, 9), Urgency::NoToken), second(0));
    queue.take_woken();
    for (number, place) in sent {
        let object = key(0, number);
        let objects = std::slice::from_ref(&object);
        queue.end(place, &client(&object), objects, End::Failed, second(1));
    }
    queue.advance(second(1));
    assert!(queue.waits_for_recovery(&key(0, 9)));
    assert!(queue.take_woken().contains(&key(0, 9)));
}

#[test]
fn the_room_of_thousands_who_waited_is_given_back() {
    let mut queue = Queue::new(PLACES);
    let (first, others) = (key(0, 0), (1..5000).map(|number| key(1, number)));
    let place = send(&mut queue, &first, second(0)).unwrap();
    for object in others.clone() {
        queue.ask(&caller(&object, Urgency::NoToken), second(0));
    }
    for object in others {
        queue.leave(&object, second(1));
    }
    end(&mut queue, place, &first, End::Succeeded, second(1));
    assert!(queue.entries.capacity() < REMEMBERED);
}

/// Sends a request of each of so many namespaces, each to where `endpoint` says, and has all of them answered.
fn pass(queue: &mut Queue, namespaces: std::ops::Range<usize>, endpoint: fn(usize) -> String) {
    for number in namespaces {
        let object = key(number, 0);
        let mut caller = caller(&object, Urgency::NoToken);
        caller.endpoint = Endpoint::of(&endpoint(number).parse().unwrap()).unwrap();
        queue.ask(&caller, second(0));
        let place = queue.send(&object, second(0)).unwrap();
        end(queue, place, &object, End::Succeeded, second(0));
    }
}

#[test]
fn what_is_idle_is_remembered_up_to_a_number_and_then_forgotten() {
    let own = |number| format!("https://{number}.example/");
    let shared = |_| "https://a.example/1".to_owned();
    let tenants = |queue: &Queue| queue.lines.values().map(|line| line.tenants.len()).sum();
    let sizes = |queue: &Queue| -> [usize; 4] {
        [
            queue.namespaces.len(),
            queue.origins.len(),
            queue.lines.len(),
            tenants(queue),
        ]
    };
    for (endpoint, endpoints) in [(own as fn(usize) -> String, REMEMBERED), (shared, 1)] {
        let mut queue = Queue::new(PLACES);
        let busy = key(5000, 0);
        let place = send(&mut queue, &busy, second(0)).unwrap();
        pass(&mut queue, 1..REMEMBERED, endpoint);
        let remembered = [REMEMBERED, endpoints, endpoints, REMEMBERED];
        assert_eq!(sizes(&queue), remembered);
        pass(&mut queue, REMEMBERED..REMEMBERED + 1, endpoint);
        assert_eq!(sizes(&queue), [1, 1, 1, 1]);
        assert!(queue.entries.len() == 1 && queue.turns.is_empty());
        end(&mut queue, place, &busy, End::Succeeded, second(0));
        assert_eq!((queue.in_flight, queue.entries.len()), (0, 0));
    }
}

#[test]
fn the_room_of_those_who_wait_is_kept_while_it_is_needed() {
    let fill = |waiting: usize, left: usize| {
        let mut queue = Queue::new(PLACES);
        let first = key(0, 0);
        let place = send(&mut queue, &first, second(0)).unwrap();
        for number in 0..waiting {
            let caller = caller(&key(1, number), Urgency::NoToken);
            queue.park(&caller, Parked::UntilUsable, second(0));
        }
        for number in left..waiting {
            queue.leave(&key(1, number), second(0));
        }
        let room = queue.entries.capacity();
        end(&mut queue, place, &first, End::Refused, second(0));
        // Whoever leaves takes the room for one along, or does not, as the hashes fall.
        queue.entries.capacity() > room / 2
    };
    assert!(fill(REMEMBERED * 2, REMEMBERED));
    assert!(fill(REMEMBERED * 2, REMEMBERED / 4));
    assert!(!fill(REMEMBERED * 2, REMEMBERED / 4 - 1));
    assert!(fill(REMEMBERED / 2, 1), "it is not worth the while");
}

#[test]
fn the_next_change_is_the_end_of_a_turn_or_the_next_probe_that_somebody_waits_for() {
    let mut queue = Queue::new(PLACES);
    assert_eq!(queue.next_change(second(0)), None);
    let objects: Vec<_> = (0..3).map(|number| key(0, number)).collect();
    let places: Vec<_> = objects
        .iter()
        .map(|object| send(&mut queue, object, second(0)).unwrap())
        .collect();
    assert_eq!(queue.next_change(second(0)), None);
    for (object, place) in objects.iter().zip(places) {
        end(&mut queue, place, object, End::Failed, second(1));
    }
    assert_eq!(queue.next_change(second(1)), Some(second(2)));
    for object in &objects {
        queue.leave(object, second(1));
    }
    assert_eq!(queue.next_change(second(1)), None);
    // So many clients failed that one that is new waits for the probe too.
    assert!(!queue.ask(&caller(&key(0, 9), Urgency::NoToken), second(1)));
    assert_eq!(queue.next_change(second(1)), Some(second(2)));
    assert_eq!(queue.next_change(second(2)), None, "that is now");
    queue.advance(second(2));
    assert_eq!(queue.next_change(second(2)), Some(second(2) + TURN));
    // It does not come: the next one is sent at once.
    assert!(!queue.ask(&caller(&objects[0], Urgency::NoToken), second(2)));
    queue.leave(&key(0, 9), second(3));
    queue.advance(second(3));
    assert!(queue.has_turn(&objects[0]));
}

#[test]
fn a_line_is_idle_only_where_nobody_is_in_it_in_any_way() {
    let mut line = Line::default();
    assert!(line.is_idle() && line.may_probe());
    line.places = 1;
    assert!(!line.is_idle());
    line.places = 0;
    line.parked.insert(key(0, 0));
    assert!(!line.is_idle());
    line.parked.clear();
    let tenant = line.tenants.entry("ns-0".into()).or_default();
    tenant.is_demoted = true;
    assert!(!line.is_idle());
    line.probes = 2;
    assert!(!line.may_probe(), "one may hang, and not all");
}
