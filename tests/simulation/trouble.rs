//! Outages and refusals: what is kept, what is said, and how often it is tried.

use edge_credential_operator::{
    api::{
        ConditionType::{Ready, Reconciling, Stalled},
        EdgeCredential,
        edge_credential::RENEW_REQUESTED_AT,
    },
    http::Unreachable,
    oauth::TokenError,
};
use k8s_openapi::jiff::SignedDuration;
use kit::fake_api::{Fault, Verb};
use serde_json::json;

use crate::world::{NAMESPACE, World, days, hours, pass, seconds};

const DOWN: TokenError = TokenError::Unreachable(Unreachable::Connect);

pub const WRONG_SECRET: TokenError = TokenError::Refused {
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
    assert_eq!(
        world.condition("edge", Ready),
        (true, "RenewalFailing".into())
    );
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
async fn an_outage_is_tried_after_2_and_4_and_then_every_8_seconds() {
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
    assert_eq!(gaps[..2], [2.0, 4.0]);
    assert!(gaps[2..].iter().all(|gap| *gap == 8.0), "{gaps:?}");
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
async fn a_credentials_secret_that_is_only_touched_is_not_tried_again() {
    let mut world = World::new();
    world.endpoint.fail(Some(WRONG_SECRET));
    world.add("edge", json!({}));
    world.start_operator();
    pass(seconds(300)).await;
    let before = world.endpoint.requests("edge").len();
    assert_eq!(before, 4);
    for label in ["one", "two", "three"] {
        world.touch_credentials("edge", label);
        pass(seconds(30)).await;
    }
    assert_eq!(world.endpoint.requests("edge").len(), before);

    world.endpoint.fail(None);
    world.put_credentials("edge", "right");
    pass(seconds(1)).await;
    assert_eq!(world.endpoint.requests("edge").len(), before + 1);
    assert_eq!(world.condition("edge", Ready), (true, "TokenValid".into()));
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
async fn an_outage_is_told_by_one_event_and_one_status_write() {
    let mut world = World::new();
    world.endpoint.fail(Some(DOWN));
    world.add("edge", json!({}));
    world.start_operator();
    pass(hours(1)).await;

    let statuses = world.api.count(Verb::Patch, "edgecredentials/status");
    let events = world.api.count(Verb::Create, "events");
    assert_eq!((statuses, events), (1, 1));
    assert_eq!(world.api.writes(), statuses + events);
}

#[tokio::test(start_paused = true)]
async fn a_renew_request_costs_one_token_though_nothing_can_be_written_for_a_while() {
    let mut world = World::new();
    world.add("edge", json!({}));
    world.start_operator();
    pass(hours(1)).await;

    world.api.on_request(|request| {
        if request.verb.writes() {
            Fault::DropConnection
        } else {
            Fault::None
        }
    });
    world
        .api
        .edit::<EdgeCredential>(NAMESPACE, "edge", |object| {
            object["metadata"]["annotations"] = json!({ RENEW_REQUESTED_AT: "now" });
        });
    pass(hours(1)).await;
    assert_eq!(world.endpoint.requests("edge").len(), 2);
    let secret = world.secret("edge").unwrap();

    world.api.no_faults();
    // The longest wait between two tries to write.
    pass(seconds(301)).await;
    assert_ne!(
        world.secret("edge").unwrap().data,
        secret.data,
        "the new one"
    );
    assert_eq!(world.endpoint.requests("edge").len(), 2);
    let status = world.object("edge").status.unwrap();
    assert_eq!(status.last_handled_renew_request.as_deref(), Some("now"));
}

#[tokio::test(start_paused = true)]
async fn a_right_that_is_missing_for_a_while_says_nothing_of_the_token() {
    let mut world = World::new();
    world.add("edge", json!({}));
    world.start_operator();
    pass(hours(1)).await;
    let token = world.object("edge").status.unwrap().token;

    world.api.deny(Verb::Get, "secrets", None);
    world.restart_operator().await;
    world.touch_credentials("edge", "so that it is read");
    pass(hours(1)).await;
    assert_eq!(
        world.condition("edge", Ready),
        (true, "RenewalStalled".into())
    );
    assert_eq!(
        world.condition("edge", Stalled),
        (true, "RBACMissing".into())
    );
    assert_eq!(world.object("edge").status.unwrap().token, token);

    pass(days(1)).await;
    assert_eq!(
        world.condition("edge", Ready),
        (false, "TokenExpired".into())
    );

    world.api.allow_all();
    pass(seconds(15)).await;
    assert_eq!(world.condition("edge", Ready), (true, "TokenValid".into()));
    assert!(!world.condition("edge", Stalled).0);
}

#[tokio::test(start_paused = true)]
async fn a_right_that_is_missing_for_a_while_does_not_bring_the_next_attempt_forward() {
    let mut world = World::new();
    world.endpoint.fail(Some(WRONG_SECRET));
    world.add("edge", json!({}));
    world.start_operator();
    pass(seconds(300)).await;
    let rejected = || (true, "CredentialsRejected".to_owned());
    assert_eq!(world.condition("edge", Stalled), rejected());
    let failures = world.object("edge").status.unwrap().failures;

    world.api.deny(Verb::Get, "secrets", None);
    world.touch_credentials("edge", "so that it is read");
    pass(seconds(60)).await;
    let missing = (true, "RBACMissing".to_owned());
    assert_eq!(world.condition("edge", Stalled), missing);
    world.api.allow_all();
    pass(seconds(60)).await;
    assert_eq!(world.condition("edge", Stalled), rejected());
    let status = world.object("edge").status.unwrap();
    assert_eq!(status.failures, failures);
    let message = &status.conditions[0].message;
    assert!(
        message.contains("client secret") && message.contains("Attempt 4"),
        "{message}"
    );
    assert_eq!(world.endpoint.requests("edge").len(), 4);

    // A spec that is corrected meanwhile is tried as soon as that is possible.
    world.api.deny(Verb::Get, "secrets", None);
    world.restart_operator().await;
    world
        .api
        .edit::<EdgeCredential>(NAMESPACE, "edge", |object| {
            object["spec"]["tokenRequest"]["scopes"] = json!(["edge.admin:manage"]);
        });
    pass(seconds(60)).await;
    assert_eq!(world.object("edge").status.unwrap().failures, None);
    world.endpoint.fail(None);
    world.api.allow_all();
    pass(seconds(15)).await;
    assert_eq!(world.condition("edge", Ready), (true, "TokenValid".into()));
    assert_eq!(world.endpoint.requests("edge").len(), 5);
}

#[tokio::test(start_paused = true)]
async fn attempts_keep_their_pace_though_the_status_cannot_be_written() {
    let mut world = World::new();
    world.endpoint.fail(Some(WRONG_SECRET));
    world.api.on_request(|request| {
        if request.resource == "edgecredentials/status" {
            Fault::Status(500, "InternalError".to_owned())
        } else {
            Fault::None
        }
    });
    world.add("edge", json!({}));
    world.start_operator();
    pass(hours(1)).await;
    let requests = world.endpoint.requests("edge").len();
    assert!((4..=6).contains(&requests), "{requests}");

    world.api.no_faults();
    pass(seconds(60)).await;
    assert!(world.condition("edge", Stalled).0);
    assert_eq!(world.endpoint.requests("edge").len(), requests);
}

#[tokio::test(start_paused = true)]
async fn the_first_refusal_after_an_outage_is_taken_for_the_first() {
    let mut world = World::new();
    world.endpoint.fail(Some(DOWN));
    world.add("edge", json!({}));
    world.start_operator();
    pass(hours(1)).await;

    world.endpoint.fail(Some(WRONG_SECRET));
    pass(seconds(61)).await;
    assert!(!world.condition("edge", Stalled).0);
    world.endpoint.fail(None);
    pass(seconds(121)).await;
    assert!(world.condition("edge", Ready).0);
}

#[tokio::test(start_paused = true)]
async fn a_short_token_is_not_left_to_expire_while_a_refusal_is_waited_out() {
    let mut world = World::new();
    world.endpoint.set_lifetime(SignedDuration::from_mins(30));
    world.add("edge", json!({}));
    world.start_operator();
    pass(seconds(18 * 60)).await;
    world
        .endpoint
        .fail(Some(TokenError::Redirected { status: 302 }));
    pass(seconds(4 * 60)).await;
    assert!(world.condition("edge", Stalled).0, "due after 20 min");

    world.endpoint.fail(None);
    pass(seconds(6 * 60)).await;
    let token = world.object("edge").status.unwrap().token.unwrap();
    let left = token.expires_at.0.duration_since(world.clock.now());
    assert!(left.as_mins() > 10, "{left:?}: renewed before it expired");
    assert!(!world.condition("edge", Stalled).0);
}

#[tokio::test(start_paused = true)]
async fn a_clock_set_forward_or_a_machine_suspended_brings_renewals_forward_at_once() {
    let mut world = World::new();
    world.add("edge", json!({}));
    world.start_operator();
    pass(hours(1)).await;

    world.jump(SignedDuration::from_hours(3));
    pass(seconds(30)).await;
    assert_eq!(world.endpoint.requests("edge").len(), 1, "not due yet");

    world.jump(SignedDuration::from_hours(15));
    pass(seconds(11)).await;
    assert_eq!(world.endpoint.requests("edge").len(), 2, "due");
    let token = world.object("edge").status.unwrap().token.unwrap();
    assert!(world.clock.now() < token.renew_at.0);
}

/// kubernetes/kubernetes#123415: a token that was stored while the clock was ahead expires long before its times say.
#[tokio::test(start_paused = true)]
async fn a_token_that_was_stored_while_the_clock_was_ahead_is_replaced_by_one_request() {
    for (lifetime, ahead) in [(24, 12 * 60), (1, 30), (24, 1)] {
        let mut world = World::new();
        world
            .endpoint
            .set_lifetime(SignedDuration::from_hours(lifetime));
        world.add("edge", json!({}));
        world.jump(SignedDuration::from_mins(ahead));
        world.start_operator();
        pass(seconds(10)).await;
        world.jump(SignedDuration::from_mins(-ahead));
        pass(seconds(30)).await;
        assert_eq!(world.endpoint.requests("edge").len(), 2, "{ahead} min");
        let token = world.object("edge").status.unwrap().token.unwrap();
        assert!(token.issued_at.0 <= world.clock.now());
        world.restart_operator().await;
        pass(seconds(60)).await;
        assert_eq!(world.endpoint.requests("edge").len(), 2, "{ahead} min");
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_set_back_costs_no_request_and_delays_no_renewal_beyond_expiry() {
    let mut world = World::new();
    world.add("edge", json!({}));
    world.start_operator();
    pass(hours(1)).await;

    world.jump(SignedDuration::from_hours(-1));
    pass(hours(1)).await;
    assert_eq!(world.endpoint.requests("edge").len(), 1);
    pass(days(1)).await;
    assert_eq!(world.endpoint.requests("edge").len(), 2);
    assert_eq!(world.condition("edge", Ready), (true, "TokenValid".into()));
}
