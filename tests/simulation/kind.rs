//! A CustomResourceDefinition that is not there.

use edge_credential_operator::api::ConditionType::Ready;
use kit::fake_api::{Fault, Verb};
use serde_json::json;
use tokio::time::timeout;

use crate::world::{World, hours, pass, seconds};

/// Answers as an API server does that does not know EdgeCredentials.
fn remove_kind(world: &World) {
    world.api.on_request(|request| {
        if request.group == "edgecredentials.io" {
            Fault::Status(404, "NotFound".to_owned())
        } else {
            Fault::None
        }
    });
    world.api.cut_watches();
}

fn asked(world: &World) -> u64 {
    [Verb::List, Verb::Watch]
        .map(|verb| world.api.count(verb, "edgecredentials"))
        .iter()
        .sum()
}

#[tokio::test(start_paused = true)]
async fn while_the_kind_is_missing_it_is_looked_for_a_few_times_a_minute_and_nothing_is_done() {
    let mut world = World::new();
    world.add("edge", json!({}));
    world.start_operator();
    pass(seconds(5)).await;
    assert!(!world.crd.is_missing());

    remove_kind(&world);
    pass(seconds(60)).await;
    assert!(world.crd.is_missing());
    let before = asked(&world);
    // Past the next renewal.
    pass(hours(20)).await;
    let per_minute = (asked(&world) - before) / (20 * 60);
    assert!((4..=14).contains(&per_minute), "{per_minute} a minute");
    assert_eq!(world.endpoint.total_requests(), 1);

    world.api.no_faults();
    world.add("next", json!({}));
    pass(seconds(60)).await;
    assert!(!world.crd.is_missing());
    for name in ["edge", "next"] {
        assert_eq!(world.condition(name, Ready), (true, "TokenValid".into()));
        assert!(world.clock.now() < world.object(name).status.unwrap().token.unwrap().renew_at.0);
    }
    assert_eq!(world.endpoint.total_requests(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_is_missing_at_start_is_served_once_it_is_there() {
    let mut world = World::new();
    remove_kind(&world);
    world.start_operator();
    pass(hours(1)).await;
    assert!(world.crd.is_missing());
    let ended = timeout(seconds(1), world.restart_operator()).await;
    assert!(ended.is_ok(), "there was nothing to be finished");
    pass(seconds(60)).await;

    world.api.no_faults();
    world.add("edge", json!({}));
    pass(seconds(60)).await;
    assert!(!world.crd.is_missing());
    assert_eq!(world.condition("edge", Ready), (true, "TokenValid".into()));
}
