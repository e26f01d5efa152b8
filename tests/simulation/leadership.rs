//! Candidates for one lease, and what a visit does when its process stops leading.

use std::{cell::Cell, time::Duration};

use edge_credential_operator::{
    cluster::leadership::Leadership,
    operator::lease::{
        candidate::{Candidate, LostLease},
        timings::Timings,
    },
};
use k8s_openapi::{api::coordination::v1::Lease, jiff::SignedDuration};
use kit::fake_api::{Fault, Verb};
use serde_json::json;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::world::{NAMESPACE, World, hours, pass, seconds};

const LEASE: &str = "operator";

const LEASE_DURATION: Duration = seconds(15);
const RENEW_DEADLINE: Duration = seconds(10);
const RETRY_PERIOD: Duration = seconds(2);

/// The longest wait between two looks at the lease.
const RETRY: Duration = RETRY_PERIOD.saturating_mul(2);

/// A process that leads when it can, for as long as it can.
struct Replica {
    leadership: Leadership,
    process: JoinHandle<LostLease>,
}

impl Replica {
    fn start(world: &World, host: &str) -> Self {
        let (leadership, mut candidate) = candidate(world, host);
        let process = tokio::spawn(async move {
            candidate.acquire(|| ()).await;
            candidate.hold().await
        });
        Self {
            leadership,
            process,
        }
    }

    fn acts(&self) -> bool {
        self.leadership.may_act()
    }
}

fn candidate(world: &World, host: &str) -> (Leadership, Candidate) {
    candidate_with(world, host, [LEASE_DURATION, RENEW_DEADLINE, RETRY_PERIOD])
}

/// As [`candidate`], with other timings.
fn candidate_with(world: &World, host: &str, timings: [Duration; 3]) -> (Leadership, Candidate) {
    let [lease_duration, renew_deadline, retry_period] = timings;
    let timings = Timings::new(lease_duration, renew_deadline, retry_period).unwrap();
    let (client, clock) = (world.api.client(), world.clock.clone());
    let candidate = Candidate::new(client, NAMESPACE, LEASE, host, timings, clock);
    (candidate.leadership(), candidate)
}

/// A first replica that leads, and a second one that stands by.
async fn two(world: &World) -> (Replica, Replica) {
    let first = Replica::start(world, "first");
    pass(seconds(1)).await;
    assert!(first.acts(), "a lease that is not there is taken at once");
    let second = Replica::start(world, "second");
    pass(seconds(60)).await;
    assert!(first.acts() && !second.acts());
    (first, second)
}

/// How long it takes until a replica acts.
async fn until_acts(replica: &Replica) -> Duration {
    let start = Instant::now();
    while !replica.acts() {
        sleep(Duration::from_millis(10)).await;
        assert!(start.elapsed() < seconds(300), "nobody leads");
    }
    start.elapsed()
}

fn transitions(world: &World) -> Option<i32> {
    let lease = world.api.get_as::<Lease>(NAMESPACE, LEASE).unwrap();
    lease.spec.unwrap().lease_transitions
}

#[tokio::test(start_paused = true)]
async fn a_killed_leader_is_replaced_within_its_lease_and_a_retry() {
    let world = World::new();
    let (first, second) = two(&world).await;
    first.process.abort();
    let took = until_acts(&second).await;
    assert!(!first.acts());
    assert!(took <= LEASE_DURATION + RETRY, "{took:?}");
    assert_eq!(transitions(&world), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_given_back_is_taken_within_a_retry() {
    let world = World::new();
    let (leadership, mut first) = candidate(&world, "first");
    first.acquire(|| ()).await;
    let second = Replica::start(&world, "second");
    pass(seconds(5)).await;
    first.release().await;
    assert!(!leadership.may_act());
    let took = until_acts(&second).await;
    assert!(took <= RETRY, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_candidate_says_that_it_stands_by_only_when_it_has_seen_somebody_else_lead() {
    let world = World::new();
    world.api.on_request(|_| Fault::DropConnection);
    let first = Replica::start(&world, "first");
    let (_, mut second) = candidate(&world, "second");
    let stands_by = Cell::new(false);
    let acquire = second.acquire(|| stands_by.set(true));
    tokio::pin!(acquire);
    let mut wait = async |time| {
        tokio::select! {
            () = &mut acquire => panic!("it leads"),
            () = pass(time) => {}
        }
    };
    wait(seconds(60)).await;
    assert!(!stands_by.get());
    world.api.no_faults();
    until_acts(&first).await;
    wait(seconds(5)).await;
    assert!(stands_by.get());
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_reaches_no_api_server_ends_when_it_may_not_act_any_longer() {
    for fault in [Fault::DropConnection, Fault::Delay(hours(24))] {
        let world = World::new();
        let (first, second) = two(&world).await;
        world.api.on_request(move |_| fault.clone());
        let cut_off = Instant::now();
        let lost = first.process.await.unwrap();
        assert!(matches!(lost, LostLease::NotRenewed { .. }), "{lost}");
        assert!(!first.leadership.may_act());
        assert!(cut_off.elapsed() <= RENEW_DEADLINE);

        // The others stand by until there is an API server again.
        pass(hours(1)).await;
        assert!(!second.process.is_finished() && !second.acts());
        world.api.no_faults();
        until_acts(&second).await;
    }
}

#[tokio::test(start_paused = true)]
async fn answers_that_do_not_arrive_keep_nobody_from_leading() {
    let world = World::new();
    // Each third request is done, but not answered.
    world.api.on_request(|request| {
        if request.number.is_multiple_of(3) {
            Fault::CrashedAfter
        } else {
            Fault::None
        }
    });
    let first = Replica::start(&world, "first");
    until_acts(&first).await;
    for _ in 0..600 {
        pass(seconds(1)).await;
        assert!(first.acts());
    }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_lease_is_made_anew_by_its_holder_and_nobody_else_acts_meanwhile() {
    let world = World::new();
    let (first, second) = two(&world).await;
    for _ in 0..20 {
        assert!(world.api.delete_object::<Lease>(NAMESPACE, LEASE));
        for _ in 0..50 {
            pass(Duration::from_millis(100)).await;
            assert!(first.acts() && !second.acts());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_ends_at_the_next_renewal_where_somebody_else_is_in_its_lease() {
    let world = World::new();
    let (first, second) = two(&world).await;
    world.api.edit::<Lease>(NAMESPACE, LEASE, |lease| {
        lease["spec"]["holderIdentity"] = json!("somebody else");
    });
    let edited = Instant::now();
    let lost = first.process.await.unwrap();
    assert!(matches!(lost, LostLease::Taken { .. }), "{lost}");
    assert!(!first.leadership.may_act());
    assert!(edited.elapsed() <= RETRY);
    let took = until_acts(&second).await;
    assert!(took >= RENEW_DEADLINE, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn after_a_suspension_a_leader_acts_again_only_when_the_lease_is_renewed() {
    let world = World::new();
    let first = Replica::start(&world, "first");
    pass(seconds(60)).await;
    assert!(first.acts());
    // The timers stood still, the wall clock did not.
    world.jump(SignedDuration::from_secs(60));
    assert!(!first.acts());
    let took = until_acts(&first).await;
    assert!(took <= RETRY, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_process_that_stops_leading_requests_writes_and_tells_nothing() {
    let mut world = World::new();
    let leadership = Leadership::elected(world.clock.clone(), RENEW_DEADLINE);
    world.leadership = leadership.clone();
    leadership.renew(world.clock.moment());
    world.start_operator();
    world.add("edge", json!({}));
    pass(seconds(5)).await;
    assert!(world.secret("edge").is_some());

    // The answer to this one's request comes when it is over.
    world.add("late", json!({}));
    pass(Duration::from_millis(100)).await;
    assert_eq!(world.endpoint.requests("late").len(), 1);
    leadership.end();
    let writes = world.api.writes();
    world.add("later", json!({}));
    let of_the_test = world.api.writes() - writes;
    world
        .api
        .delete_object::<k8s_openapi::api::core::v1::Secret>(NAMESPACE, "edge-jwt");
    pass(hours(1)).await;
    assert_eq!(world.api.writes() - writes, of_the_test);
    assert_eq!(world.endpoint.total_requests(), 2);
    assert!(world.secret("late").is_none() && world.secret("edge").is_none());

    // What was paid for is not lost where the same process leads again, and nothing is held against anybody.
    leadership.renew(world.clock.moment());
    pass(seconds(9)).await;
    for name in ["edge", "late", "later"] {
        assert!(world.secret(name).is_some(), "{name}");
        assert_eq!(world.endpoint.requests(name).len(), 1, "{name}");
        assert!(world.object(name).status.unwrap().failures.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn the_timings_that_are_set_are_those_that_hold() {
    let timings = [60, 40, 9].map(seconds);
    let world = World::new();
    let (first, mut candidate) = candidate_with(&world, "first", timings);
    candidate.acquire(|| ()).await;
    let lease = world.api.get_as::<Lease>(NAMESPACE, LEASE).unwrap();
    assert_eq!(lease.spec.unwrap().lease_duration_seconds, Some(60));
    let (second, mut standby) = candidate_with(&world, "second", timings);
    tokio::spawn(async move {
        standby.acquire(|| ()).await;
        standby.hold().await
    });
    pass(seconds(1)).await;
    let writes = world.api.count(Verb::Update, "leases");
    tokio::select! {
        lost = candidate.hold() => panic!("{lost}"),
        () = pass(seconds(600)) => {}
    }
    let writes = world.api.count(Verb::Update, "leases") - writes;
    // Every 9 to 10.8 s.
    assert!((54..=67).contains(&writes), "{writes} renewals");

    let cut_off = Instant::now();
    world.api.on_request(|_| Fault::DropConnection);
    candidate.hold().await;
    assert!(!first.may_act());
    let ended = cut_off.elapsed();
    assert!((29..=40).contains(&ended.as_secs()), "{ended:?}");
    world.api.no_faults();
    while !second.may_act() {
        pass(seconds(1)).await;
    }
    // The other one may have missed the last renewal, and sees it only now that it is answered again.
    let taken = cut_off.elapsed();
    assert!((48..=125).contains(&taken.as_secs()), "{taken:?}");
}
