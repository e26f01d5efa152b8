//! Many who share a token endpoint that hangs, fails or is slow: nobody sleeps, and nobody starves.

use std::{cell::Cell, time::Duration};

use edge_credential_operator::{
    api::{
        ConditionType::{Ready, Stalled},
        EdgeCredential,
        edge_credential::RENEW_REQUESTED_AT,
    },
    http::rate_limits::Limits,
    oauth::{Defect, TokenError, TokenRequest},
};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret;
use serde_json::json;

use crate::world::{Behaviour, NAMESPACE, World, days, hours, pass, seconds};

pub const BROKEN: TokenError = TokenError::Refused {
    status: 500,
    error: None,
};

/// Tokens of an hour.
const SHORT: SignedDuration = SignedDuration::from_hours(1);

pub fn client(request: &TokenRequest) -> &str {
    request.credentials.client_id.expose_secret()
}

/// What every request gets until `end`.
fn until(
    end: Timestamp,
    behaviour: Behaviour,
) -> impl Fn(&TokenRequest, Timestamp) -> Option<Behaviour> {
    move |_, now| (now < end).then(|| behaviour.clone())
}

fn later(world: &World, by: u64) -> Timestamp {
    world.clock.now() + seconds(by)
}

/// Waits until this holds of all objects, one after the other, and returns how long that took.
pub async fn until_all(
    objects: &[(String, String)],
    most: Duration,
    holds: impl Fn(&str, &str) -> bool,
) -> Duration {
    let step = Duration::from_millis(250);
    let mut waited = Duration::ZERO;
    for (namespace, name) in objects {
        while !holds(namespace, name) {
            assert!(
                waited < most,
                "{namespace}/{name} still waits {waited:?} later"
            );
            pass(step).await;
            waited += step;
        }
    }
    waited
}

/// Waits until all objects have a token, and returns how long that took.
async fn until_all_have_tokens(
    world: &World,
    objects: &[(String, String)],
    most: Duration,
) -> Duration {
    until_all(objects, most, |namespace, name| {
        world.has_token(namespace, name)
    })
    .await
}

/// Watches the tokens of some objects for a time, and returns how many seconds one of them was expired or missing. One that
/// expires before the next look counts too: who slept until then would have another one by then.
pub async fn seconds_without_a_token(
    world: &World,
    objects: &[(String, String)],
    time: Duration,
) -> u64 {
    const STEP: u64 = 5;
    let mut expired = 0;
    for _ in 0..time.as_secs() / STEP {
        pass(seconds(STEP)).await;
        let is_missing = |(namespace, name): &&(String, String)| {
            !world.has_token_for(namespace, name, seconds(STEP))
        };
        expired += STEP * u64::from(objects.iter().any(|object| is_missing(&object)));
    }
    expired
}

pub fn objects(namespace: &str, prefix: &str, number: usize) -> Vec<(String, String)> {
    let name = |number| (namespace.to_owned(), format!("{prefix}-{number}"));
    (0..number).map(name).collect()
}

/// Adds objects, each with a client of its own.
fn add_all(world: &World, objects: &[(String, String)]) {
    for (namespace, name) in objects {
        world.add_tenants(namespace, name, &format!("{namespace}/{name}"), json!({}));
    }
}

/// Starts the operator beside an endpoint that hangs at first, and expects all tokens 20 seconds after its end.
async fn have_tokens_soon_after_it_hung_for(
    time: u64,
    mut world: World,
    objects: &[(String, String)],
) {
    world
        .endpoint
        .behave(until(later(&world, time), Behaviour::hang()));
    world.start_operator();
    pass(seconds(time)).await;
    until_all_have_tokens(&world, objects, seconds(20)).await;
}

#[tokio::test(start_paused = true)]
async fn two_objects_at_an_endpoint_that_hangs_for_40_seconds_have_their_tokens_20_seconds_after_its_end()
 {
    let world = World::new();
    let both = objects("shop", "edge", 2);
    add_all(&world, &both);
    have_tokens_soon_after_it_hung_for(40, world, &both).await;
}

#[tokio::test(start_paused = true)]
async fn two_tokens_are_renewed_20_seconds_after_an_endpoint_that_hung_for_40_seconds_at_their_renewal()
 {
    let mut world = World::new();
    world.endpoint.set_lifetime(SHORT);
    let mut all = objects("shop", "edge", 20);
    add_all(&world, &all);
    world.start_operator();
    until_all_have_tokens(&world, &all, seconds(10)).await;
    let renew_at = |namespace: &str, name: &str| {
        let object: EdgeCredential = world.api.get_as(namespace, name).unwrap();
        object.status.unwrap().token.unwrap().renew_at.0
    };
    all.sort_by_cached_key(|(namespace, name)| renew_at(namespace, name));
    // Of the two that are renewed at nearly the same time, requests hang together.
    let times = |pair: &[(String, String)]| [0, 1].map(|of| renew_at(&pair[of].0, &pair[of].1));
    let distance = |pair: &&[(String, String)]| {
        let [first, second] = times(pair);
        second.duration_since(first)
    };
    let both = all.windows(2).min_by_key(distance).unwrap();
    for (namespace, name) in all.iter().filter(|object| !both.contains(object)) {
        world.delete(namespace, name);
    }
    let [start, _] = times(both);
    let end = start + seconds(40);
    world
        .endpoint
        .behave(move |_, now| (start <= now && now < end).then(Behaviour::hang));
    pass(end.duration_since(world.clock.now()).unsigned_abs()).await;
    for (namespace, name) in both {
        let requests = world.endpoint.requests(&format!("{namespace}/{name}"));
        assert!(requests.len() >= 4, "three of them hang: {requests:?}");
    }
    until_all(both, seconds(20), |namespace, name| {
        renew_at(namespace, name) > end
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn three_objects_with_equal_inputs_have_their_tokens_20_seconds_after_the_end_of_an_outage() {
    let world = World::new();
    let all = objects("shop", "edge", 3);
    for (namespace, name) in &all {
        world.add_tenants(namespace, name, "client", json!({}));
    }
    have_tokens_soon_after_it_hung_for(75, world, &all).await;
}

#[tokio::test(start_paused = true)]
async fn objects_that_are_deleted_in_an_outage_keep_nobody_waiting_after_it() {
    let mut world = World::new();
    let live = objects("shop", "edge", 8);
    // Those that are gone come before the others by their names.
    let gone = objects("shop", "deleted", 30);
    add_all(&world, &live);
    let end = later(&world, 120);
    world.endpoint.behave(until(end, Behaviour::hang()));
    world.start_operator();
    for object in gone {
        add_all(&world, std::slice::from_ref(&object));
        pass(seconds(2)).await;
        world.delete(&object.0, &object.1);
        pass(seconds(1)).await;
    }
    let rest = end.duration_since(world.clock.now());
    pass(rest.unsigned_abs()).await;
    until_all_have_tokens(&world, &live, seconds(20)).await;
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_creates_and_deletes_objects_beside_failing_ones_lets_nobodys_token_expire() {
    let mut world = World::new();
    world.api.keep_requests(false);
    world.endpoint.set_lifetime(SHORT);
    let good = objects("shop", "edge", 12);
    add_all(&world, &good);
    add_all(&world, &objects("failing", "edge", 20));
    world.endpoint.behave(|request, _| {
        let client = client(request);
        let fails = client.starts_with("failing") || client.starts_with("flapping");
        fails.then(|| Behaviour::fail(BROKEN))
    });
    world.start_operator();
    until_all_have_tokens(&world, &good, seconds(10)).await;
    let flaps = async {
        for number in 0.. {
            let object = objects("flapping", &format!("run-{number}"), 1);
            add_all(&world, &object);
            pass(seconds(3 + number * 7 % 13)).await;
            world.delete(&object[0].0, &object[0].1);
        }
    };
    tokio::select! {
        () = flaps => unreachable!("it goes on"),
        expired = seconds_without_a_token(&world, &good, hours(3)) => assert_eq!(expired, 0),
    }
}

/// Some hours beside tenants whose objects are answered with an error of their own. The good ones renew their tokens in
/// time, and a new one has its first token soon.
async fn beside_failing_tenants(failing: &[(String, String)], paths: bool, hours_of_it: u64) {
    let mut world = World::new();
    world.api.keep_requests(false);
    world.endpoint.set_lifetime(SHORT);
    let good: Vec<_> = (0..3)
        .flat_map(|number| objects(&format!("good-{number}"), "edge", 1))
        .collect();
    add_all(&world, &good);
    for (number, (namespace, name)) in failing.iter().enumerate() {
        let url = format!("https://auth.sitecorecloud.io/oauth/token?tenant={number}");
        let spec = if paths {
            json!({"tokenRequest": {"url": url}})
        } else {
            json!({})
        };
        world.add_tenants(namespace, name, &format!("{namespace}/{name}"), spec);
    }
    world.endpoint.behave(|request, _| {
        let fails = client(request).starts_with("failing");
        fails.then(|| Behaviour::fail(BROKEN))
    });
    world.start_operator();
    let mut objects = good;
    for hour in 0..hours_of_it {
        let newcomer = (format!("new-{hour}"), "edge".to_owned());
        add_all(&world, std::slice::from_ref(&newcomer));
        objects.push(newcomer);
        until_all_have_tokens(&world, &objects, seconds(5)).await;
        let expired = seconds_without_a_token(&world, &objects, hours(1) - seconds(10)).await;
        assert_eq!(expired, 0, "in hour {hour}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tenant_with_120_failing_objects_delays_nobody() {
    beside_failing_tenants(&objects("failing", "edge", 120), false, 6).await;
}

#[tokio::test(start_paused = true)]
async fn fifty_tenants_with_failing_objects_delay_nobody() {
    let failing: Vec<_> = (0..50)
        .flat_map(|number| objects(&format!("failing-{number}"), "edge", 4))
        .collect();
    beside_failing_tenants(&failing, false, 6).await;
}

#[tokio::test(start_paused = true)]
async fn a_tenant_with_300_failing_objects_on_300_paths_delays_nobody() {
    beside_failing_tenants(&objects("failing", "edge", 300), true, 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_tenant_whose_answers_take_8_seconds_delays_nobody() {
    let mut world = World::new();
    world.api.keep_requests(false);
    world.endpoint.set_lifetime(SHORT);
    let slow = objects("slow", "edge", 100);
    add_all(&world, &slow);
    let sent = Cell::new(0);
    world.endpoint.behave(move |request, _| {
        sent.set(sent.get() + 1);
        let after = seconds(6 + sent.get() % 4);
        client(request).starts_with("slow").then(|| Behaviour {
            after: Some(after),
            ..Behaviour::default()
        })
    });
    world.start_operator();
    pass(seconds(5)).await;
    let good = objects("shop", "edge", 5);
    add_all(&world, &good);
    until_all_have_tokens(&world, &good, seconds(10)).await;
    assert_eq!(seconds_without_a_token(&world, &good, hours(4)).await, 0);
}

/// How long objects of one endpoint take to their token, beside equal ones at another endpoint, which hangs.
async fn times_beside_equal_ones(hanging: usize) -> Vec<Duration> {
    const ELSEWHERE: &str = "https://auth-beta.sitecorecloud.io";
    let mut world = World::new();
    world.endpoint.hang(ELSEWHERE);
    for (namespace, name) in objects("hanging", "edge", hanging) {
        let spec = json!({"tokenRequest": {"url": format!("{ELSEWHERE}/oauth/token")}});
        world.add_tenants(&namespace, &name, "client", spec);
    }
    world.start_operator();
    pass(seconds(1)).await;
    let mut times = Vec::new();
    for object in objects("shop", "edge", 40) {
        add_all(&world, std::slice::from_ref(&object));
        let mut waited = Duration::ZERO;
        while !world.has_token(&object.0, &object.1) {
            pass(Duration::from_millis(10)).await;
            waited += Duration::from_millis(10);
        }
        times.push(waited);
        pass(seconds(1)).await;
    }
    times
}

#[tokio::test(start_paused = true)]
async fn objects_with_equal_inputs_at_an_endpoint_that_hangs_take_nothing_from_another_endpoint() {
    assert_eq!(
        times_beside_equal_ones(300).await,
        times_beside_equal_ones(0).await
    );
}

#[tokio::test(start_paused = true)]
async fn a_hold_of_other_credentials_with_the_same_client_id_holds_nobody() {
    let mut world = World::new();
    world.put_credentials_of("other", "edge", "client", "wrong");
    world.add_object("other", "edge", json!({}));
    world.endpoint.behave(|request, _| {
        let is_wrong = request.credentials.client_secret.expose_secret() == "wrong";
        is_wrong.then(|| Behaviour {
            failure: Some(TokenError::RateLimited { quota: None }),
            limits: Limits {
                hold: Some(SignedDuration::from_hours(1)),
                ..Limits::default()
            },
            ..Behaviour::default()
        })
    });
    world.start_operator();
    pass(seconds(5)).await;
    let right = objects("shop", "edge", 1);
    world.add_tenants("shop", &right[0].1, "client", json!({}));
    until_all_have_tokens(&world, &right, seconds(2)).await;
}

#[tokio::test(start_paused = true)]
async fn answers_that_cannot_be_used_or_read_are_asked_for_at_most_60_times_a_day() {
    let garbled = TokenError::Malformed {
        status: 200,
        content: "JSON",
    };
    for odd in [TokenError::Unusable(Defect::UnsupportedTokenType), garbled] {
        let mut world = World::new();
        world.add("edge", json!({}));
        let reason = odd.reason().as_str().to_owned();
        world.endpoint.fail(Some(odd));
        world.start_operator();
        pass(hours(1)).await;
        assert_eq!(world.condition("edge", Stalled), (true, reason));
        pass(days(1) - hours(1)).await;
        let requests = world.endpoint.total_requests();
        assert!((40..=60).contains(&requests), "{requests}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_proxy_that_cut_all_answers_for_3_minutes_all_have_their_tokens_within_one() {
    const OBJECTS: usize = 200;
    let mut world = World::new();
    let all = objects("shop", "edge", OBJECTS);
    add_all(&world, &all);
    let cut = TokenError::Malformed {
        status: 200,
        content: "cut off",
    };
    world
        .endpoint
        .behave(until(later(&world, 180), Behaviour::fail(cut)));
    world.start_operator();
    pass(seconds(180)).await;
    // Each of them may have spent a token.
    let spent = world.endpoint.total_requests();
    assert!(spent <= 4 * OBJECTS, "{spent}");
    until_all_have_tokens(&world, &all, seconds(60)).await;
}

#[tokio::test(start_paused = true)]
async fn a_renew_annotation_that_changes_each_half_second_costs_at_most_8_tokens_in_30_seconds() {
    let mut world = World::new();
    world.add("edge", json!({}));
    world.start_operator();
    pass(hours(1)).await;
    let before = world.endpoint.total_requests();
    for number in 0..60 {
        world
            .api
            .edit::<EdgeCredential>(NAMESPACE, "edge", |object| {
                let value = number.to_string();
                object["metadata"]["annotations"] = json!({ RENEW_REQUESTED_AT: value });
            });
        pass(Duration::from_millis(500)).await;
    }
    let requests = world.endpoint.total_requests() - before;
    assert!((2..=8).contains(&requests), "{requests}");
    // The last one is not lost.
    pass(seconds(120)).await;
    let status = world.object("edge").status.unwrap();
    assert_eq!(status.last_handled_renew_request.as_deref(), Some("59"));
    assert!(world.condition("edge", Ready).0);
}

#[tokio::test(start_paused = true)]
async fn a_spec_that_changes_each_half_second_costs_at_most_8_tokens_in_30_seconds() {
    let mut world = World::new();
    world.add("edge", json!({}));
    world.start_operator();
    pass(hours(1)).await;
    let before = world.endpoint.total_requests();
    for number in 0..60 {
        world
            .api
            .edit::<EdgeCredential>(NAMESPACE, "edge", |object| {
                let scope = format!("scope-{number}");
                object["spec"]["tokenRequest"]["scopes"] = json!([scope]);
            });
        pass(Duration::from_millis(500)).await;
    }
    let requests = world.endpoint.total_requests() - before;
    assert!((2..=8).contains(&requests), "{requests}");
    pass(seconds(120)).await;
    assert!(world.condition("edge", Ready).0);
    assert_eq!(world.condition("edge", Ready).1, "TokenValid");
}

/// How many requests an outage of two minutes costs that begins so long after the operator did, and how long it takes until
/// all have their tokens after it.
async fn outage_of_two_minutes(phase: Duration) -> (usize, Duration) {
    const OBJECTS: usize = 200;
    let mut world = World::new();
    world.endpoint.set_latency(Duration::from_millis(50));
    let end = world.clock.now() + seconds(120) + phase;
    world.endpoint.behave(until(end, Behaviour::hang()));
    world.start_operator();
    pass(phase).await;
    let all = objects("shop", "edge", OBJECTS);
    add_all(&world, &all);
    pass(seconds(120)).await;
    let requests = world.endpoint.total_requests();
    (
        requests,
        until_all_have_tokens(&world, &all, seconds(60)).await,
    )
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_two_minutes_costs_24_requests_and_all_have_their_tokens_12_seconds_after_it()
{
    let mut measured = Vec::new();
    for number in 0..20 {
        // Not in step with anything that the operator does.
        measured.push(outage_of_two_minutes(Duration::from_millis(number * 397)).await);
    }
    let mut requests: Vec<_> = measured.iter().map(|(requests, _)| *requests).collect();
    let mut times: Vec<_> = measured.iter().map(|(_, time)| *time).collect();
    requests.sort_unstable();
    times.sort_unstable();
    println!(
        "requests: median {}, most {}; all ready after: median {:?}, worst {:?}",
        requests[10], requests[19], times[10], times[19]
    );
    assert!(requests[19] <= 24, "{requests:?}");
    assert!(times[19] <= seconds(12), "{times:?}");
}

/// How many requests an outage of two minutes costs, with so many namespaces of two new objects each.
async fn requests_in_an_outage(namespaces: usize) -> usize {
    let mut world = World::new();
    world.endpoint.behave(|_, _| Some(Behaviour::fail(BROKEN)));
    for number in 0..namespaces {
        add_all(&world, &objects(&format!("shop-{number}"), "edge", 2));
    }
    world.start_operator();
    pass(seconds(120)).await;
    world.endpoint.total_requests()
}

#[tokio::test(start_paused = true)]
async fn an_outage_costs_a_try_a_second_at_most_after_the_first_of_each_object() {
    let mut measured = Vec::new();
    for namespaces in [1, 10, 100] {
        let requests = requests_in_an_outage(namespaces).await;
        assert!(requests <= 2 * namespaces + 121, "{requests}");
        measured.push(requests);
    }
    println!("requests with 1, 10 and 100 namespaces: {measured:?}");
    assert!(measured[0] <= 24, "{measured:?}");
}
