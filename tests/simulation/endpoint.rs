//! A token endpoint that fails, hangs or asks to wait, and a fleet that depends on it.

use std::{collections::BTreeMap, time::Duration};

use edge_credential_operator::{
    api::ConditionType::{Ready, Reconciling},
    http::{
        Unreachable,
        rate_limits::{Limits, Quota},
    },
    oauth::TokenError,
};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kit::fake_api::{Fault, Verb};
use serde_json::json;

use crate::world::{World, hours, pass, seconds};

pub const DOWN: TokenError = TokenError::Unreachable(Unreachable::Timeout);

const BROKEN: TokenError = TokenError::Refused {
    status: 500,
    error: None,
};

fn name(number: usize) -> String {
    format!("edge-{number}")
}

fn ready(world: &World, objects: usize) -> usize {
    let is_ready = |number: &usize| world.condition(&name(*number), Ready).0;
    (0..objects).filter(is_ready).count()
}

/// How often each verb and resource was asked for so far.
fn calls(world: &World) -> BTreeMap<(Verb, String), usize> {
    let mut calls = BTreeMap::new();
    for request in world.api.requests() {
        *calls.entry((request.verb, request.resource)).or_default() += 1;
    }
    calls
}

#[tokio::test(start_paused = true)]
async fn an_outage_costs_few_requests_and_no_writes_and_all_have_their_token_soon_after() {
    const OBJECTS: usize = 200;
    let mut world = World::new();
    world.endpoint.fail(Some(DOWN));
    for number in 0..OBJECTS {
        world.add(&name(number), json!({}));
    }
    world.start_operator();
    pass(seconds(60)).await;
    for number in 0..OBJECTS {
        let (reconciling, reason) = world.condition(&name(number), Reconciling);
        assert!(reconciling && reason == "TokenEndpointUnavailable");
    }
    let told = calls(&world);
    let writes = (Verb::Patch, "edgecredentials/status".to_owned());
    assert!(told[&writes] <= OBJECTS + 8, "{told:?}");
    pass(seconds(60)).await;
    assert_eq!(calls(&world)[&writes], told[&writes]);
    assert!(
        world.endpoint.total_requests() <= 60,
        "{}",
        world.endpoint.total_requests()
    );

    world.endpoint.fail(None);
    let before = world.endpoint.total_requests();
    pass(seconds(22)).await;
    assert_eq!(ready(&world, OBJECTS), OBJECTS);
    assert_eq!(world.endpoint.issued(), OBJECTS);
    assert!(world.endpoint.total_requests() - before <= OBJECTS + 1);
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_those_without_a_token_come_first_and_then_those_whose_token_expires_soonest()
 {
    let mut world = World::new();
    world.start_operator();
    // Issued an hour apart, in an order that is not that of their names.
    for number in [3, 1, 4, 2] {
        world.add(&name(number), json!({}));
        pass(hours(1)).await;
    }
    world.endpoint.fail(Some(DOWN));
    pass(hours(18)).await;
    world.add(&name(0), json!({}));
    pass(seconds(120)).await;
    world.endpoint.fail(None);
    pass(seconds(30)).await;
    let last = |number| *world.endpoint.requests(&name(number)).last().unwrap();
    let mut order = [0, 1, 2, 3, 4];
    order.sort_by_key(|number| last(*number));
    let probe = order[0];
    let others: Vec<_> = order
        .into_iter()
        .filter(|number| *number != probe)
        .collect();
    let expected: Vec<_> = [0, 3, 1, 4, 2]
        .into_iter()
        .filter(|number| *number != probe)
        .collect();
    assert_eq!(others, expected, "the probe was {probe}");
    assert_eq!(ready(&world, 5), 5);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_always_gets_an_error_does_not_keep_the_others_from_their_renewals() {
    let mut world = World::new();
    // The endpoint fails for this one alone, but says that it is broken.
    world.endpoint.fail_client("edge-0", BROKEN);
    for number in 0..3 {
        world.add(&name(number), json!({}));
    }
    world.start_operator();
    for _ in 0..17 {
        pass(hours(1)).await;
        for number in 1..3 {
            assert!(world.condition(&name(number), Ready).0);
        }
    }
    // One at first, and one after 14.8 to 16 hours.
    assert_eq!(world.endpoint.issued(), 2 * 2);
    assert!(!world.condition("edge-0", Ready).0);
}

#[tokio::test(start_paused = true)]
async fn a_restart_in_an_outage_begins_no_storm() {
    let mut world = World::new();
    world.endpoint.fail(Some(DOWN));
    for number in 0..100 {
        world.add(&name(number), json!({}));
    }
    world.start_operator();
    pass(seconds(60)).await;
    for _ in 0..5 {
        let before = world.endpoint.total_requests();
        world.kill_operator().await;
        world.start_operator();
        pass(seconds(30)).await;
        let requests = world.endpoint.total_requests() - before;
        assert!(requests <= 15, "{requests}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_exhausted_quota_delays_a_renewal_which_uses_the_time_that_the_old_token_has_left() {
    let mut world = World::new();
    world.add("edge", json!({}));
    world.start_operator();
    pass(hours(14)).await;
    let quota = Quota {
        limit: 10,
        remaining: 0,
    };
    let started = world.clock.now();
    world
        .endpoint
        .fail(Some(TokenError::RateLimited { quota: Some(quota) }));
    world.endpoint.set_limits(Limits {
        hold: Some(SignedDuration::from_hours(3)),
        quota: Some(quota),
        quota_reset: Some(SignedDuration::from_hours(3)),
    });
    pass(seconds(9000)).await;
    assert_eq!(
        world.condition("edge", Ready),
        (true, "RenewalFailing".into())
    );
    assert_eq!(
        world.condition("edge", Reconciling),
        (true, "RateLimited".into())
    );
    let status = world.object("edge").status.unwrap();
    let message = &status.conditions[1].message;
    assert!(message.contains("0 of 10 requests are left"), "{message}");
    let since = |requests: &[Timestamp]| requests.iter().filter(|at| **at > started).count();
    // It's asked once an hour whether it still holds.
    let tries = || since(&world.endpoint.requests("edge"));
    assert_eq!(tries(), 2);

    // Restarts do not make it ask sooner.
    for _ in 0..5 {
        world.kill_operator().await;
        world.start_operator();
        pass(seconds(60)).await;
    }
    let tries = since(&world.endpoint.requests("edge"));
    assert_eq!(tries, 2);

    world.endpoint.fail(None);
    world.endpoint.set_limits(Limits::default());
    pass(hours(4)).await;
    assert_eq!(since(&world.endpoint.requests("edge")), 3);
    assert!(!world.condition("edge", Reconciling).0);
}

#[tokio::test(start_paused = true)]
async fn many_that_wait_for_a_slow_endpoint_all_get_their_token_with_one_request_each() {
    const OBJECTS: usize = 300;
    let mut world = World::new();
    world.endpoint.set_latency(seconds(1));
    for number in 0..OBJECTS {
        world.add(&name(number), json!({}));
    }
    world.start_operator();
    // Four at a time, one of which is left for another namespace.
    pass(seconds(OBJECTS as u64 / 3 + 10)).await;
    assert_eq!(ready(&world, OBJECTS), OBJECTS);
    assert_eq!(world.endpoint.total_requests(), OBJECTS);
}

/// How long each of some new objects takes until it is ready, beside a tenant whose endpoint hangs, or without it.
async fn times_to_a_token(hanging: usize) -> Vec<SignedDuration> {
    let mut world = World::new();
    world.endpoint.hang("https://auth-beta.sitecorecloud.io");
    for number in 0..hanging {
        let url = "https://auth-beta.sitecorecloud.io/oauth/token";
        world.add(
            &format!("hanging-{number}"),
            json!({"tokenRequest": {"url": url}}),
        );
    }
    world.start_operator();
    let mut times = Vec::new();
    // Before it is known that it hangs, while it becomes known, and after.
    for number in 0..40 {
        let created = world.clock.now();
        world.add(&name(number), json!({}));
        while world.secret(&name(number)).is_none() {
            pass(Duration::from_millis(10)).await;
        }
        times.push(world.clock.now().duration_since(created));
        pass(seconds(1)).await;
    }
    times
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_hangs_leaves_the_time_of_the_others_to_their_token_unchanged() {
    assert_eq!(times_to_a_token(300).await, times_to_a_token(0).await);
}

#[tokio::test(start_paused = true)]
async fn no_place_is_idle_while_objects_read_what_they_need() {
    let mut world = World::new();
    world.endpoint.set_latency(Duration::from_millis(10));
    world.api.on_request(|request| {
        if request.verb == Verb::Get && request.resource == "secrets" {
            Fault::Delay(Duration::from_millis(30))
        } else {
            Fault::None
        }
    });
    for number in 0..60 {
        world.add(&name(number), json!({}));
    }
    world.start_operator();
    while world.endpoint.total_requests() == 0 {
        pass(Duration::from_millis(1)).await;
    }
    // One namespace alone has three places, so 60 requests take 200 ms. With a place from before it reads, each would take 40 ms.
    pass(Duration::from_millis(300)).await;
    assert_eq!(world.endpoint.total_requests(), 60);
}
