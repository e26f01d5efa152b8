//! A program that panics on one object goes on with the others.

use edge_credential_operator::api::{
    ConditionType::{Ready, Stalled},
    edge_credential::RENEW_REQUESTED_AT,
};
use serde_json::json;

use crate::world::{NAMESPACE, World, credentials, hours, pass, seconds};

const PANICS: &str = "edgecredential_reconcile_panics_total";

/// Has every visit of an object panic.
fn fail_on(world: &World, name: &str) {
    let secret = credentials(name);
    world.api.on_request(move |request| {
        assert!(request.name != secret, "on purpose");
        kit::fake_api::Fault::None
    });
}

#[tokio::test(start_paused = true)]
async fn a_panic_on_one_object_is_counted_and_told_there_and_stops_no_other() {
    let mut world = World::new();
    for name in ["before", "edge", "next"] {
        world.add(name, json!({}));
    }
    fail_on(&world, "edge");
    world.start_operator();
    pass(hours(1)).await;

    for name in ["before", "next"] {
        assert_eq!(world.condition(name, Ready), (true, "TokenValid".into()));
    }
    let internal = || "InternalError".to_owned();
    assert_eq!(world.condition("edge", Ready), (false, internal()));
    assert_eq!(world.condition("edge", Stalled), (true, internal()));
    let panics = world.metric(PANICS);
    assert!((2..20).contains(&panics), "{panics} in an hour");
    assert_eq!(world.endpoint.requests("edge").len(), 0);

    world.api.no_faults();
    pass(seconds(301)).await;
    assert_eq!(world.condition("edge", Ready), (true, "TokenValid".into()));
    assert!(!world.condition("edge", Stalled).0);
    assert_eq!(world.metric(PANICS), panics);
}

#[tokio::test(start_paused = true)]
async fn a_panic_says_nothing_of_the_token_that_is_stored_and_costs_none() {
    let mut world = World::new();
    world.add("edge", json!({}));
    world.start_operator();
    pass(hours(1)).await;
    let token = world.object("edge").status.unwrap().token;
    let secret = world.secret("edge");

    fail_on(&world, "edge");
    world.restart_operator().await;
    world.touch_credentials("edge", "so that it is read");
    pass(hours(1)).await;
    assert_eq!(
        world.condition("edge", Ready),
        (true, "RenewalStalled".into())
    );
    assert_eq!(
        world.condition("edge", Stalled),
        (true, "InternalError".into())
    );
    assert_eq!(world.object("edge").status.unwrap().token, token);

    world.api.no_faults();
    pass(seconds(301)).await;
    assert!(!world.condition("edge", Stalled).0);
    assert_eq!(world.secret("edge"), secret);
    assert_eq!(world.endpoint.requests("edge").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_token_request_is_told_and_repeated_every_half_hour_only() {
    let mut world = World::new();
    world.endpoint.panic_for(Some("edge"));
    for name in ["edge", "next"] {
        world.add(name, json!({}));
    }
    world.start_operator();
    pass(hours(2)).await;
    assert_eq!(world.condition("next", Ready), (true, "TokenValid".into()));
    assert_eq!(
        world.condition("edge", Stalled),
        (true, "InternalError".into())
    );
    // The answer may have had a token in it each time.
    assert_eq!(world.endpoint.requests("edge").len(), 4);
    assert_eq!(world.metric(PANICS), 0);

    world.endpoint.panic_for(None);
    world
        .api
        .edit::<edge_credential_operator::api::EdgeCredential>(NAMESPACE, "edge", |object| {
            object["metadata"]["annotations"] = json!({ RENEW_REQUESTED_AT: "now" })
        });
    pass(seconds(1)).await;
    assert_eq!(world.condition("edge", Ready), (true, "TokenValid".into()));
}
