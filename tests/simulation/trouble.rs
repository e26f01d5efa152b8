//! Outages and refusals: what is kept, what is said, and how often it is tried.

use edge_credential_operator::{
    api::ConditionType::{Ready, Reconciling, Stalled},
    oauth::{TokenError, Unreachable},
};
use serde_json::json;

use crate::world::{World, days, hours, pass, seconds};

const DOWN: TokenError = TokenError::Unreachable(Unreachable::Connect);

const WRONG_SECRET: TokenError = TokenError::Refused {
    status: 401,
    error: Some("access_denied"),
};

#[tokio::test(start_paused = true)]
async fn an_outage_leaves_the_token_in_place_and_is_told_until_it_is_over() {
    let mut world = World::new();
    world.add("edge", json!({}));
    world.start_operator();
    pass(hours(1)).await;
    let secret = world.secret("edge").unwrap();

    world.endpoint.fail(Some(DOWN));
    pass(hours(16)).await;
    assert_eq!(world.condition("edge", Ready), (true, "TokenValid".into()));
    assert_eq!(
        world.condition("edge", Reconciling),
        (true, "TokenEndpointUnavailable".into())
    );
    assert!(!world.condition("edge", Stalled).0);

    pass(hours(8)).await;
    assert_eq!(
        world.condition("edge", Ready),
        (false, "TokenExpired".into())
    );
    assert_eq!(
        world.secret("edge").unwrap().data,
        secret.data,
        "never blanked"
    );

    world.endpoint.fail(None);
    pass(seconds(61)).await;
    assert_eq!(world.condition("edge", Ready), (true, "TokenValid".into()));
    assert!(!world.condition("edge", Reconciling).0);
    assert!(world.object("edge").status.unwrap().failures.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_tried_at_most_every_second_and_at_least_every_minute() {
    let mut world = World::new();
    world.endpoint.fail(Some(DOWN));
    world.add("edge", json!({}));
    world.start_operator();
    pass(hours(1)).await;

    let requests = world.endpoint.requests("edge");
    let gaps: Vec<_> = requests
        .windows(2)
        .map(|pair| pair[1].duration_since(pair[0]).as_secs_f64())
        .collect();
    assert!(
        gaps.iter().all(|gap| (0.9..=61.5).contains(gap)),
        "{gaps:?}"
    );
    assert!((60..240).contains(&requests.len()), "{}", requests.len());
}

#[tokio::test(start_paused = true)]
async fn a_wrong_secret_is_tried_four_times_and_then_every_half_hour() {
    let mut world = World::new();
    world.endpoint.fail(Some(WRONG_SECRET));
    world.add("edge", json!({}));
    world.start_operator();
    pass(seconds(60)).await;
    assert_eq!(
        world.condition("edge", Ready),
        (false, "CredentialsRejected".into())
    );
    assert!(
        !world.condition("edge", Stalled).0,
        "an identity provider may need a minute"
    );

    pass(hours(2)).await;
    assert!(world.condition("edge", Stalled).0);
    let requests = world.endpoint.requests("edge");
    let gaps: Vec<_> = requests
        .windows(2)
        .map(|pair| pair[1].duration_since(pair[0]).as_secs_f64().round() as i64)
        .collect();
    assert_eq!(gaps, [5, 30, 120, 1800, 1800, 1800]);
}

#[tokio::test(start_paused = true)]
async fn right_credentials_are_tried_at_once() {
    let mut world = World::new();
    world.endpoint.fail(Some(WRONG_SECRET));
    world.add("edge", json!({}));
    world.start_operator();
    pass(hours(1)).await;
    let before = world.endpoint.requests("edge").len();

    world.endpoint.fail(None);
    world.put_credentials("edge", "right");
    pass(seconds(1)).await;
    assert_eq!(world.endpoint.requests("edge").len(), before + 1);
    assert_eq!(world.condition("edge", Ready), (true, "TokenValid".into()));
    assert!(!world.condition("edge", Stalled).0);
}

#[tokio::test(start_paused = true)]
async fn a_restart_does_not_bring_the_next_attempt_forward() {
    let mut world = World::new();
    world.endpoint.fail(Some(WRONG_SECRET));
    world.add("edge", json!({}));
    world.start_operator();
    pass(seconds(300)).await;
    let before = world.endpoint.requests("edge").len();
    assert_eq!(before, 4);

    for _ in 0..10 {
        world.kill_operator().await;
        world.start_operator();
        pass(seconds(60)).await;
    }
    assert_eq!(world.endpoint.requests("edge").len(), before);
}

#[tokio::test(start_paused = true)]
async fn a_failed_attempt_costs_one_status_write_and_no_event_after_the_first() {
    let mut world = World::new();
    world.endpoint.fail(Some(DOWN));
    world.add("edge", json!({}));
    world.start_operator();
    pass(days(1)).await;

    let attempts = world.endpoint.requests("edge").len() as u64;
    let statuses = world
        .api
        .count(kit::fake_api::Verb::Patch, "edgecredentials/status");
    let events = world.api.count(kit::fake_api::Verb::Create, "events");
    assert_eq!(statuses, attempts);
    assert_eq!(events, 1);
    assert_eq!(world.api.writes(), statuses + events);
}
