//! A restart with very many objects: nothing is requested that is there, and what is due comes by its urgency.

use std::time::Duration;

use edge_credential_operator::api::ConditionType::Ready;
use serde_json::json;
use tokio::time::Instant;

use crate::world::{World, days, hours, pass, seconds};

fn name(number: usize) -> String {
    format!("edge-{number}")
}

#[tokio::test(start_paused = true)]
async fn a_restart_with_2000_valid_tokens_requests_none_and_writes_nothing() {
    const OBJECTS: usize = 2_000;
    let mut world = World::new();
    world.api.keep_requests(false);
    for number in 0..OBJECTS {
        world.add(&name(number), json!({}));
    }
    world.start_operator();
    pass(hours(1)).await;
    assert_eq!(world.endpoint.total_requests(), OBJECTS);
    let writes = world.api.writes();

    world.kill_operator().await;
    world.start_operator();
    pass(seconds(10)).await;
    // Each was visited, and found well.
    let visits = world.metric("edgecredential_reconciliations_total{outcome=\"Success\"}");
    assert!(visits >= OBJECTS as u64, "{visits} visits");
    assert_eq!(world.endpoint.total_requests(), OBJECTS);
    assert_eq!(world.api.writes(), writes, "something was written");
}

#[tokio::test(start_paused = true)]
async fn at_a_restart_the_renewals_that_are_overdue_come_by_the_soonest_expiry() {
    const OBJECTS: usize = 200;
    let mut world = World::new();
    world.start_operator();
    // One a minute. 77 and 200 have no common factor, so the order of the names says nothing.
    for turn in 0..OBJECTS {
        world.add(&name(turn * 77 % OBJECTS), json!({}));
        pass(seconds(60)).await;
    }
    world.stop_operator().await;
    // All are due, and none has expired.
    pass(days(1) - hours(4)).await;
    world.endpoint.set_latency(Duration::from_secs(1));
    world.start_operator();
    pass(seconds(90)).await;

    let requested = |turn: usize| {
        let requests = world.endpoint.requests(&name(turn * 77 % OBJECTS));
        assert_eq!(requests.len(), 2, "a first token, and one renewal");
        requests[1]
    };
    let mut order: Vec<_> = (0..OBJECTS).collect();
    order.sort_by_key(|turn| requested(*turn));
    let places: Vec<_> = order.iter().enumerate().collect();
    let late: Vec<_> = places
        .iter()
        .filter(|(place, turn)| **turn + 40 < *place)
        .collect();
    assert!(
        late.is_empty(),
        "served too late (place, urgency): {late:?}"
    );
    for number in 0..OBJECTS {
        assert!(world.condition(&name(number), Ready).0);
    }
}

#[tokio::test(start_paused = true)]
async fn after_sigterm_what_is_under_way_is_written_and_nothing_more_is_sent() {
    let mut world = World::new();
    world.endpoint.set_latency(seconds(3));
    let names: Vec<_> = (0..20).map(name).collect();
    for name in &names {
        world.add(name, json!({}));
    }
    world.start_operator();
    pass(seconds(1)).await;
    let under_way = world.endpoint.total_requests();
    assert!((1..names.len()).contains(&under_way), "{under_way}");
    let asked = Instant::now();
    world.stop_operator().await;
    assert!(asked.elapsed() < seconds(8), "{:?}", asked.elapsed());
    assert_eq!(world.endpoint.total_requests(), under_way);
    let written = names.iter().filter(|name| world.secret(name).is_some());
    assert_eq!(written.count(), under_way);

    // Those that were not sent are, by the next process.
    world.start_operator();
    pass(seconds(60)).await;
    assert_eq!(world.endpoint.total_requests(), names.len());
}
