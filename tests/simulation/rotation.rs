//! Client credentials that change.

use edge_credential_operator::{
    api::ConditionType::{Ready, Stalled},
    oauth::TokenError,
};
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;

use crate::world::{World, hours, pass, seconds};

const REJECTED: TokenError = TokenError::Refused {
    status: 401,
    error: Some("access_denied"),
};

fn access_token(world: &World) -> Vec<u8> {
    let data = |secret: Secret| secret.data.expect("data")["access_token"].0.clone();
    data(world.secret("edge").expect("a target"))
}

#[tokio::test(start_paused = true)]
async fn a_minute_of_refusals_after_a_change_is_waited_out_on_schedule_and_nobody_is_called() {
    let mut world = World::new();
    world.add("edge", json!({}));
    world.start_operator();
    pass(hours(1)).await;

    // The identity provider takes a while to agree.
    world.endpoint.fail(Some(REJECTED));
    world.put_credentials("edge", "rotated");
    let before = world.endpoint.requests("edge").len();
    for _ in 0..60 {
        pass(seconds(1)).await;
        assert!(!world.condition("edge", Stalled).0);
        assert!(world.condition("edge", Ready).0, "the old token is valid");
    }
    world.endpoint.fail(None);
    pass(seconds(100)).await;
    // At once, after 5 s and after 30 s in vain, and after 2 minutes.
    assert_eq!(world.endpoint.requests("edge").len() - before, 4);
    assert_eq!(world.endpoint.issued(), 2);
    assert!(world.object("edge").status.unwrap().failures.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_stays_wrong_stalls_the_object_and_is_asked_about_twice_an_hour() {
    let mut world = World::new();
    world.add("edge", json!({}));
    world.start_operator();
    pass(hours(1)).await;
    world.endpoint.fail(Some(REJECTED));
    world.put_credentials("edge", "wrong");
    let before = world.endpoint.requests("edge").len();
    pass(hours(10)).await;
    assert!(world.condition("edge", Stalled).0);
    assert!(world.condition("edge", Ready).0, "the old token is valid");
    let requests = world.endpoint.requests("edge").len() - before;
    assert!((22..=24).contains(&requests), "{requests}");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_crosses_a_change_of_credentials_is_kept_and_the_next_is_requested_at_once() {
    let mut world = World::new();
    world.endpoint.set_latency(seconds(5));
    world.add("edge", json!({}));
    world.start_operator();
    pass(seconds(2)).await;
    assert_eq!(world.endpoint.requests("edge").len(), 1);
    world.put_credentials("edge", "rotated");
    pass(seconds(4)).await;
    assert!(world.condition("edge", Ready).0);
    let crossed = access_token(&world);
    assert_eq!(world.endpoint.requests("edge").len(), 2, "due at once");
    pass(seconds(5)).await;
    assert_ne!(access_token(&world), crossed);
    pass(hours(10)).await;
    assert_eq!(world.endpoint.requests("edge").len(), 2);
}
