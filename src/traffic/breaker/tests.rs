use proptest::prelude::*;

use super::*;

fn at(seconds: f64) -> SinceStart {
    SinceStart::from_secs_f64(seconds)
}

/// A caller whose token expires in so many seconds since 1970, or who has none.
fn caller(name: &str, expires_at: Option<i64>) -> Caller {
    Caller {
        object: ObjectKey::new("shop", name),
        expires_at: expires_at.map(|second| Timestamp::from_second(second).unwrap()),
    }
}

fn call(name: &str) -> Next {
    Next::Wake(caller(name, None).object)
}

/// A breaker that five failures of "a" have opened at this moment.
fn opened(moment: SinceStart) -> Breaker {
    let mut breaker = Breaker::default();
    for _ in 0..FAILURES {
        assert!(breaker.admit(&caller("a", None), moment));
        breaker.failed(&caller("a", None), moment);
    }
    assert!(breaker.is_open());
    breaker
}

#[test]
fn it_takes_five_failures_in_a_row_to_open_the_circuit() {
    let mut breaker = Breaker::default();
    let a = caller("a", None);
    for round in 0..20 {
        assert!(breaker.admit(&a, at(0.0)), "round {round}");
        if round % 5 == 4 {
            breaker.answered(&a.object.clone(), at(0.0));
        } else {
            breaker.failed(&a, at(0.0));
        }
    }
    assert!(!breaker.is_open());
    assert_eq!(breaker.next(at(0.0)), Next::Nobody);
}

#[test]
fn while_it_is_open_one_probe_is_sent_after_2_4_8_and_then_each_10_seconds() {
    let mut breaker = opened(at(0.0));
    let mut now = at(0.0);
    let mut pauses = Vec::new();
    for _ in 0..6 {
        let Next::At(probe_at) = breaker.next(now) else {
            panic!("a probe is planned");
        };
        pauses.push((probe_at - now).as_secs());
        now = probe_at;
        assert_eq!(breaker.next(now), call("a"));
        assert!(!breaker.admit(&caller("b", None), now), "one at a time");
        assert!(breaker.admit(&caller("a", None), now));
        breaker.failed(&caller("a", None), now);
        breaker.parked.retain(|name, _| name.name == "a");
    }
    assert_eq!(pauses, [2, 4, 8, 10, 10, 10]);
}

#[test]
fn a_failure_of_a_request_that_was_sent_earlier_delays_no_probe() {
    let mut breaker = opened(at(0.0));
    breaker.failed(&caller("late", None), at(1.9));
    assert_eq!(breaker.next(at(1.9)), Next::At(at(2.0)));
}

#[test]
fn one_that_fails_for_its_own_reasons_does_not_keep_the_others_from_trying() {
    // "a" has no token and so would be first, again and again.
    let mut breaker = opened(at(0.0));
    assert!(!breaker.admit(&caller("b", Some(500)), at(1.0)));
    assert_eq!(breaker.next(at(2.0)), call("b"));
    assert!(breaker.admit(&caller("b", Some(500)), at(2.0)));
    breaker.answered(&caller("b", None).object, at(2.1));
    assert_eq!(breaker.next(at(2.1)), call("a"));
}

#[test]
fn one_that_does_not_come_is_passed_over_after_a_while() {
    let mut breaker = opened(at(0.0));
    assert!(!breaker.admit(&caller("deleted", None), at(1.0)));
    assert!(!breaker.admit(&caller("there", Some(9)), at(1.0)));
    assert_eq!(breaker.next(at(2.0)), call("deleted"));
    assert_eq!(breaker.next(at(2.0)), Next::At(at(2.0) + NO_SHOW));
    assert_eq!(breaker.next(at(2.0) + NO_SHOW), call("there"));
}

#[test]
fn without_anybody_waiting_the_first_who_comes_is_the_probe() {
    let mut breaker = opened(at(0.0));
    breaker.parked.clear();
    assert_eq!(breaker.next(at(5.0)), Next::Nobody);
    assert!(breaker.admit(&caller("b", None), at(5.0)));
    assert!(!breaker.admit(&caller("c", None), at(5.0)));
}

#[test]
fn after_an_outage_all_are_let_through_one_by_one_and_the_most_urgent_first() {
    let mut breaker = opened(at(0.0));
    for (name, expires_at) in [("d", Some(30)), ("c", Some(20)), ("b", None)] {
        assert!(!breaker.admit(&caller(name, expires_at), at(0.0)));
    }
    assert_eq!(breaker.next(at(2.0)), call("b"));
    assert!(breaker.admit(&caller("b", None), at(2.0)));
    breaker.answered(&caller("b", None).object, at(3.0));

    assert_eq!(breaker.next(at(3.0)), call("c"));
    assert_eq!(breaker.next(at(3.0)), Next::At(at(3.05)));
    assert!(
        !breaker.admit(&caller("new", None), at(3.0)),
        "not its turn"
    );
    assert!(breaker.admit(&caller("c", None), at(3.0)));
    assert!(!breaker.circuit_open(&caller("c", None).object));
    assert!(breaker.circuit_open(&caller("d", None).object));
    assert_eq!(breaker.next(at(3.05)), call("new"));
    assert_eq!(breaker.next(at(3.10)), call("d"));
    assert_eq!(breaker.next(at(3.15)), call("a"), "it has had its try");
    assert_eq!(breaker.next(at(3.20)), Next::Nobody);
    assert!(!breaker.is_open());
}

#[test]
fn one_that_was_let_through_and_failed_waits_by_its_own_back_off() {
    let mut breaker = opened(at(0.0));
    assert!(!breaker.admit(&caller("b", None), at(0.0)));
    assert!(!breaker.admit(&caller("c", Some(1)), at(0.0)));
    assert_eq!(breaker.next(at(2.0)), call("b"));
    breaker.answered(&caller("b", None).object, at(2.0));
    assert_eq!(breaker.next(at(2.0)), call("c"));
    breaker.failed(&caller("c", Some(1)), at(2.0));
    assert!(!breaker.circuit_open(&caller("c", None).object));
    assert!(breaker.admit(&caller("c", Some(1)), at(9.0)), "it may");
    assert_eq!(breaker.next(at(9.0)), call("a"), "and is not called again");
}

#[test]
fn five_failures_while_it_recovers_open_it_again() {
    let mut breaker = opened(at(0.0));
    assert_eq!(breaker.next(at(2.0)), call("a"));
    for name in ["b", "c", "d", "e", "f", "g"] {
        assert!(!breaker.admit(&caller(name, None), at(2.0)));
    }
    breaker.answered(&caller("a", None).object, at(2.0));
    for name in ["b", "c", "d", "e", "f"] {
        breaker.failed(&caller(name, None), at(2.0));
    }
    assert_eq!(breaker.next(at(2.0)), Next::At(at(4.0)));
}

/// What happens to a breaker.
#[derive(Clone, Debug)]
enum Step {
    Ask(u8),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..12_u8).prop_map(Step::Ask),
        1 => (1..3000_u64).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    /// Whoever is turned away is called, and during an outage hardly anything is sent.
    #[test]
    fn nobody_is_forgotten_and_an_outage_costs_few_requests(steps in steps()) {
        let mut breaker = Breaker::default();
        let mut now = at(0.0);
        let mut waiting = BTreeSet::new();
        let mut sent = 0_u32;
        let ask = |breaker: &mut Breaker, number: u8, now, down, sent: &mut u32, waiting: &mut BTreeSet<ObjectKey>| {
            let caller = caller(&number.to_string(), None);
            if !breaker.admit(&caller, now) {
                waiting.insert(caller.object.clone());
                return;
            }
            waiting.remove(&caller.object);
            *sent += 1;
            if down {
                breaker.failed(&caller, now);
                if breaker.is_open() {
                    waiting.insert(caller.object.clone());
                }
            } else {
                breaker.answered(&caller.object, now);
            }
        };
        for step in steps {
            match step {
                Step::Ask(number) => ask(&mut breaker, number, now, true, &mut sent, &mut waiting),
                Step::Pass(milliseconds) => now += Duration::from_millis(milliseconds),
            }
            while let Next::Wake(name) = breaker.next(now) {
                ask(&mut breaker, name.name.parse().unwrap(), now, true, &mut sent, &mut waiting);
            }
        }
        let probes = u32::try_from(now.as_secs() / 10).unwrap() + 4;
        prop_assert!(sent <= FAILURES + probes, "{sent} requests in {now:?}");

        // The endpoint is back: everyone who waits is called within a bounded time.
        let until = now + LONGEST_PAUSE + NO_SHOW + Duration::from_secs(2);
        while now < until {
            match breaker.next(now) {
                Next::Wake(name) => {
                    ask(&mut breaker, name.name.parse().unwrap(), now, false, &mut sent, &mut waiting);
                }
                Next::At(then) => now = then,
                Next::Nobody => break,
            }
        }
        prop_assert!(!breaker.is_open());
        prop_assert!(waiting.is_empty(), "{waiting:?}");
    }
}
