//! What the metrics say on which alerts are built: of an endpoint, and of its quotas.

use edge_credential_operator::{
    http::{
        Unreachable,
        rate_limits::{Limits, Quota},
    },
    oauth::TokenError,
};
use k8s_openapi::jiff::SignedDuration;
use serde_json::json;

use crate::world::{World, hours, pass, seconds};

const DOWN: TokenError = TokenError::Unreachable(Unreachable::Timeout);

/// How many objects the endpoint has, and how many it fails.
fn endpoint(world: &World) -> (u64, u64) {
    let value = |name| world.metric(&of_sitecore(name));
    (
        value("edgecredential_token_endpoint_edgecredentials"),
        value("edgecredential_token_endpoint_failing"),
    )
}

fn of_sitecore(name: &str) -> String {
    format!("{name}{{origin=\"https://auth.sitecorecloud.io\"}}")
}

#[tokio::test(start_paused = true)]
async fn a_client_that_fails_alone_is_not_taken_for_the_endpoint_that_has_few_long_tokens() {
    let mut world = World::new();
    for name in ["one", "two", "three"] {
        world.add(name, json!({}));
    }
    world.start_operator();
    pass(seconds(60)).await;
    world.endpoint.fail_client("own", DOWN);
    world.add("own", json!({}));
    pass(hours(10)).await;
    assert_eq!(endpoint(&world), (4, 1));
    world.restart_operator().await;
    pass(hours(1)).await;
    assert_eq!(endpoint(&world), (4, 1), "a restart forgets nothing");
    // The others were renewed.
    pass(hours(8)).await;
    assert_eq!(endpoint(&world), (4, 0));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_fails_all_that_ask_is_told_of_until_it_is_back() {
    let mut world = World::new();
    world.add("one", json!({}));
    world.start_operator();
    pass(seconds(60)).await;
    world.endpoint.fail(Some(DOWN));
    for name in ["two", "three"] {
        world.add(name, json!({}));
    }
    pass(seconds(60)).await;
    assert_eq!(endpoint(&world), (3, 2));
    world.endpoint.fail(None);
    pass(seconds(120)).await;
    assert_eq!(endpoint(&world), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_quota_is_told_until_it_is_reset() {
    let mut world = World::new();
    world.endpoint.set_limits(Limits {
        hold: None,
        quota: Some(Quota {
            limit: 50,
            remaining: 3,
        }),
        quota_reset: Some(SignedDuration::from_hours(1)),
    });
    world.add("edge", json!({}));
    world.start_operator();
    pass(seconds(60)).await;
    let remaining = of_sitecore("edgecredential_token_quota_remaining");
    assert_eq!(world.metric(&remaining), 3);
    assert_eq!(
        world.metric(&of_sitecore("edgecredential_token_quota_limit")),
        50
    );
    pass(hours(1)).await;
    assert!(!world.metrics().contains(&remaining));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_starts_on_time_is_counted_and_timed() {
    let mut world = World::new();
    world.add("edge", json!({}));
    world.start_operator();
    let count = "edgecredential_renewal_delay_seconds_count";
    pass(hours(14)).await;
    assert_eq!(world.metric(count), 0, "the first token is no renewal");
    pass(hours(3)).await;
    assert_eq!(world.metric(count), 1);
    let requests = of_sitecore("edgecredential_token_request_duration_seconds_sum");
    assert!(world.metrics().contains(&format!("{requests} 0.4")));
}
