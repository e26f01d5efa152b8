//! Many EdgeTokens of one tenant that are refused, fail, hang, are slow or rotate at once: nobody sleeps, and no other tenant
//! starves, neither for a key nor for a token.

use edge_credential_operator::{
    api::EdgeCredential,
    http::rate_limits::Limits,
    oauth::{TokenError, TokenRequest},
};
use k8s_openapi::jiff::Timestamp;

use super::*;
use crate::{
    fleet::due,
    keys::Failure,
    tenants::{BROKEN, client, objects, seconds_without_a_token, until_all},
    trouble::WRONG_SECRET,
    world::{Behaviour, days},
};

/// How many EdgeTokens the tenant has beside which others want to be served.
const CROWD: usize = 200;

/// Tokens of half an hour, so that those of the others are renewed meanwhile.
const SHORT: SignedDuration = SignedDuration::from_mins(30);

/// How soon the others are served.
const SOON: Duration = seconds(5);

/// Namespace and name.
type Object = (String, String);

fn is_of_crowd(client: &str) -> bool {
    client.starts_with("crowd")
}

/// Token requests of the crowd are answered so.
fn answer_crowd(
    behaviour: Behaviour,
) -> impl Fn(&TokenRequest, Timestamp) -> Option<Behaviour> + Send + 'static {
    move |request, _| is_of_crowd(client(request)).then(|| behaviour.clone())
}

/// Calls of the crowd fail so.
fn fail_crowd(world: &World, is_meant: fn(Call) -> bool, failure: Failure) {
    world
        .keys
        .fail_by(move |client, call| (is_of_crowd(client) && is_meant(call)).then_some(failure));
}

fn is_of_token_api(call: Call) -> bool {
    call != Call::ProbeKey
}

fn is_of_delivery_api(call: Call) -> bool {
    call == Call::ProbeKey
}

/// Many EdgeTokens of one tenant.
fn crowd() -> Vec<Object> {
    objects("crowd", "edge", CROWD)
}

fn client_of((namespace, name): &Object) -> String {
    format!("{namespace}/{name}")
}

/// A world in which calls take their time, with EdgeTokens that have a client each.
fn with_crowd(crowd: &[Object], spec: impl Fn(usize) -> Value) -> World {
    let world = World::new();
    world.api.keep_requests(false);
    world.delay_calls(Duration::from_millis(2));
    world.endpoint.set_lifetime(SHORT);
    for (number, object) in crowd.iter().enumerate() {
        let (namespace, name) = object;
        world.add_key(namespace, name, &client_of(object), spec(number));
    }
    world
}

fn with_crowd_of_one_client() -> (World, Vec<Object>) {
    let crowd = crowd();
    let world = with_crowd(&crowd, |_| json!({}));
    for (namespace, name) in &crowd {
        world.put_credentials_of(namespace, name, "crowd", "secret");
    }
    (world, crowd)
}

/// Adds tenants with one EdgeCredential and one EdgeToken each, which have equal inputs. The client has the name of the namespace.
fn add_both(world: &World, tenants: &[Object]) {
    for (namespace, name) in tenants {
        world.add_tenants(namespace, name, namespace, json!({}));
        world.add_key_object(namespace, name, json!({}));
    }
}

fn has_key(world: &World, namespace: &str, name: &str) -> bool {
    world.key(namespace, name).is_some() && world.key_condition(namespace, name, Ready) == ready()
}

fn has_both(world: &World, namespace: &str, name: &str) -> bool {
    world.has_token(namespace, name) && has_key(world, namespace, name)
}

async fn until_all_have_keys(world: &World, objects: &[Object], most: Duration) {
    let took = until_all(objects, most, |namespace, name| {
        has_key(world, namespace, name)
    });
    println!("all keys after {:?}", took.await);
}

/// Has all objects rotated, and waits until each has handed another key out.
async fn rotate_all(world: &World, objects: &[Object], request: &str, most: Duration) {
    for (namespace, name) in objects {
        world.ask_key(namespace, name, ROTATE_REQUESTED_AT, request);
    }
    let took = until_all(objects, most, |namespace, name| {
        let status = world.edge_token(namespace, name).status.unwrap();
        status.last_handled_rotate_request.as_deref() == Some(request)
            && has_key(world, namespace, name)
    });
    println!("all rotated after {:?}", took.await);
}

/// Forty minutes in which others come and are served beside the crowd: each has its first token and its first key, and another
/// key that a person asks for, within `most`, and its token at all times. What they ask for is counted exactly.
async fn others_are_served(world: &World, most: Duration) {
    let mut others = Vec::new();
    for number in 0..2 {
        let newcomer = objects(&format!("shop-{number}"), "edge", 1);
        add_both(world, &newcomer);
        let took = until_all(&newcomer, most, |namespace, name| {
            has_both(world, namespace, name)
        });
        println!("a token and a key after {:?}", took.await);
        others.extend(newcomer.clone());
        let mut expired = seconds_without_a_token(world, &others, seconds(300)).await;
        rotate_all(world, &newcomer, "now", most).await;
        expired += seconds_without_a_token(world, &others, seconds(900)).await;
        assert_eq!(expired, 0);
    }
    for (namespace, name) in &others {
        let calls_of = world.keys.take_calls_of(|client| client == namespace);
        // The first key takes three, and another one four.
        let expected = calls([("create", 2), ("list", 3), ("probe", 2)]);
        assert_eq!(calls_of, expected, "{namespace}");
        let object: EdgeCredential = world.api.get_as(namespace, name).unwrap();
        let requests = world.endpoint.requests(namespace);
        let due = due(&object, requests[0], SHORT, world.clock.now());
        assert_eq!(requests.len(), due.len(), "its keys need no token more");
    }
}

/// Starts the operator beside a crowd in trouble, and sees that others are served.
async fn beside(crowd: &[Object], trouble: impl FnOnce(&World), most: Duration) -> World {
    let mut world = with_crowd(crowd, |_| json!({}));
    trouble(&world);
    world.start_operator();
    pass(seconds(5)).await;
    others_are_served(&world, most).await;
    world
}

/// How often the crowd has called.
fn calls_of_crowd(world: &World) -> usize {
    let calls = world.keys.take_calls_of(is_of_crowd);
    println!("calls of the crowd: {calls:?}");
    calls.values().sum()
}

fn token_requests(world: &World, crowd: &[Object]) -> usize {
    let requests = crowd.iter().map(|object| {
        let client = client_of(object);
        world.endpoint.requests(&client).len()
    });
    let requests = requests.sum();
    println!("token requests of the crowd: {requests}");
    requests
}

/// What a person sees to with nobody having to wait for the next try.
fn mend_credentials(world: &World, crowd: &[Object]) {
    world.endpoint.behave(|_, _| None);
    for object in crowd {
        let (namespace, name) = object;
        world.put_credentials_of(namespace, name, &client_of(object), "another");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tenant_whose_credentials_are_wrong_delays_nobody() {
    let wrong = Behaviour::fail(WRONG_SECRET);
    let crowd = crowd();
    let trouble = |world: &World| world.endpoint.behave(answer_crowd(wrong));
    let world = beside(&crowd, trouble, SOON).await;
    // At once, and after 5 s, 30 s, 2 min and half an hour.
    assert_eq!(token_requests(&world, &crowd), 5 * CROWD);
    assert_eq!(calls_of_crowd(&world), 0);
    mend_credentials(&world, &crowd);
    until_all_have_keys(&world, &crowd, seconds(60)).await;
}

#[tokio::test(start_paused = true)]
async fn a_tenant_with_one_pair_of_wrong_credentials_asks_once_for_all() {
    let (mut world, crowd) = with_crowd_of_one_client();
    let wrong = Behaviour::fail(WRONG_SECRET);
    world.endpoint.behave(answer_crowd(wrong));
    world.start_operator();
    pass(seconds(5)).await;
    others_are_served(&world, SOON).await;
    assert_eq!(world.endpoint.requests("crowd").len(), 5);
    assert_eq!(calls_of_crowd(&world), 0);
    mend_credentials(&world, &crowd);
    until_all_have_keys(&world, &crowd, seconds(60)).await;
}

#[tokio::test(start_paused = true)]
async fn a_tenant_with_one_client_whom_the_token_endpoint_asks_to_wait_asks_once_for_all() {
    let mut world = with_crowd(&[], |_| json!({}));
    let limits = Limits {
        hold: Some(SignedDuration::from_mins(10)),
        ..Limits::default()
    };
    world.endpoint.behave(answer_crowd(Behaviour {
        after: Some(seconds(9)),
        limits,
        ..Behaviour::fail(TokenError::RateLimited { quota: None })
    }));
    world.start_operator();
    // One after the other, and half of them with another request: none just shares the answer to another one's.
    let crowd = objects("crowd", "edge", 10);
    for (number, (namespace, name)) in crowd.iter().enumerate() {
        let scope = ["first", "second"][number % 2];
        let spec = json!({"tokenRequest": {"scopes": [scope]}});
        world.add_key(namespace, name, "crowd", spec);
        pass(seconds(150)).await;
    }
    // At once, and each ten minutes.
    assert_eq!(world.endpoint.requests("crowd").len(), 3);
    world.endpoint.behave(|_, _| None);
    until_all_have_keys(&world, &crowd, seconds(700)).await;
    assert_eq!(world.endpoint.requests("crowd").len(), 3 + 2);
}

#[tokio::test(start_paused = true)]
async fn a_tenant_for_whom_the_token_endpoint_is_broken_delays_nobody() {
    for behaviour in [Behaviour::fail(BROKEN), Behaviour::hang()] {
        let crowd = crowd();
        let trouble = |world: &World| world.endpoint.behave(answer_crowd(behaviour));
        let world = beside(&crowd, trouble, SOON).await;
        // Three at first, and then a try every 8 seconds.
        let requests = token_requests(&world, &crowd);
        assert!(requests <= 2400 / 8 + 20, "{requests}");
        assert_eq!(calls_of_crowd(&world), 0);
        world.endpoint.behave(|_, _| None);
        until_all_have_keys(&world, &crowd, seconds(60)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_tenant_for_whom_the_token_api_is_broken_delays_nobody() {
    for failure in [Failure::status(503), Failure::hang()] {
        let crowd = crowd();
        let trouble = |world: &World| fail_crowd(world, is_of_token_api, failure);
        let world = beside(&crowd, trouble, SOON).await;
        let calls = calls_of_crowd(&world);
        assert!(calls <= 2400 / 8 + 20, "{failure:?}: {calls}");
        world.keys.recover();
        until_all_have_keys(&world, &crowd, seconds(120)).await;
        let live = world.keys.live().len();
        assert_eq!(live, CROWD + 2 * 2, "{failure:?}: none is left behind");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tenant_whom_the_token_api_asks_to_wait_delays_nobody() {
    let crowd = crowd();
    let trouble = |world: &World| fail_crowd(world, is_of_token_api, Failure::wait(600));
    let world = beside(&crowd, trouble, SOON).await;
    // Each tries at once, and then after 10, 20, 30 and 40 minutes or a little later.
    let calls = calls_of_crowd(&world);
    assert!((4 * CROWD..=5 * CROWD).contains(&calls), "{calls}");
    world.keys.recover();
    until_all_have_keys(&world, &crowd, seconds(700)).await;
}

#[tokio::test(start_paused = true)]
async fn a_tenant_with_one_client_whom_the_token_api_asks_to_wait_asks_once_for_all() {
    let (mut world, crowd) = with_crowd_of_one_client();
    fail_crowd(&world, is_of_token_api, Failure::wait(600));
    world.start_operator();
    pass(seconds(5)).await;
    others_are_served(&world, SOON).await;
    // From each of three places at once, and then after 10, 20, 30 and 40 minutes.
    let calls = calls_of_crowd(&world);
    assert!((4..=15).contains(&calls), "{calls}");
    assert_eq!(
        world.endpoint.requests("crowd").len(),
        2,
        "one in half an hour"
    );
    world.keys.recover();
    until_all_have_keys(&world, &crowd, seconds(700)).await;
}

#[tokio::test(start_paused = true)]
async fn a_tenant_whom_the_token_api_asks_to_come_less_often_delays_nobody() {
    // Each tries once a minute, so fewer are enough.
    let crowd = objects("crowd", "edge", 60);
    let limited = Failure::from(Cause::RateLimited { quota: None });
    let trouble = |world: &World| fail_crowd(world, is_of_token_api, limited);
    let world = beside(&crowd, trouble, SOON).await;
    let calls = calls_of_crowd(&world);
    assert!(calls <= 41 * crowd.len(), "{calls}");
    world.keys.recover();
    until_all_have_keys(&world, &crowd, seconds(120)).await;
}

#[tokio::test(start_paused = true)]
async fn a_tenant_for_whom_the_delivery_api_hangs_delays_nobody() {
    let crowd = crowd();
    let trouble = |world: &World| fail_crowd(world, is_of_delivery_api, Failure::hang());
    let world = beside(&crowd, trouble, SOON).await;
    let calls = world.keys.take_calls_of(is_of_crowd);
    assert!(calls["create"] <= CROWD, "{calls:?}");
    world.keys.recover();
    until_all_have_keys(&world, &crowd, seconds(360)).await;
    assert_eq!(world.keys.live().len(), CROWD + 2 * 2, "one for each");
}

#[tokio::test(start_paused = true)]
async fn a_tenant_whose_calls_take_8_seconds_delays_nobody() {
    let crowd = crowd();
    let trouble = |world: &World| {
        world.keys.delay_by(|client| {
            let is_slow = is_of_crowd(client);
            if is_slow { seconds(8) } else { seconds(1) / 10 }
        });
    };
    let world = beside(&crowd, trouble, SOON).await;
    // Three calls of eight seconds for a key, and three places.
    until_all_have_keys(&world, &crowd, Duration::ZERO).await;
}

/// A token takes more than a kilobyte of memory, and is worth no more for having waited.
#[tokio::test(start_paused = true)]
async fn tokens_are_requested_as_the_api_takes_them_and_not_all_at_once() {
    let crowd = crowd();
    for is_down in [false, true] {
        let mut world = with_crowd(&crowd, |_| json!({}));
        world.keys.delay_by(|_| seconds(8));
        if is_down {
            fail_crowd(&world, is_of_token_api, Failure::hang());
        }
        world.start_operator();
        pass(seconds(60)).await;
        // 32 who wait at the API, those who come to it with a token just then, and the few who called it so far.
        let requests = token_requests(&world, &crowd);
        assert!((32..=60).contains(&requests), "{requests}");
        world.keys.recover();
        until_all_have_keys(&world, &crowd, seconds(120)).await;
        assert_eq!(token_requests(&world, &crowd), CROWD);
    }
}

#[tokio::test(start_paused = true)]
async fn a_tenant_whose_keys_are_all_rotated_at_once_delays_nobody() {
    let crowd = crowd();
    let mut world = with_crowd(&crowd, |_| json!({"rotation": {"overlap": "5m"}}));
    world.start_operator();
    // Three places, and 0.3 seconds for each.
    until_all_have_keys(&world, &crowd, seconds(45)).await;
    let first = calls([("create", CROWD), ("list", CROWD), ("probe", CROWD)]);
    assert_eq!(world.keys.take_calls(), first);
    assert_eq!(world.endpoint.total_requests(), CROWD);
    pass(seconds(60)).await;
    tokio::join!(
        // 0.4 seconds for each.
        rotate_all(&world, &crowd, "now", seconds(60)),
        others_are_served(&world, SOON),
    );
    let each = [("create", 1), ("list", 4), ("probe", 2), ("revoke", 1)];
    let all = each.map(|(call, count)| (call, count * CROWD));
    assert_eq!(world.keys.take_calls(), calls(all), "eight for each");
    assert_eq!(token_requests(&world, &crowd), CROWD, "none for a rotation");
}

#[tokio::test(start_paused = true)]
async fn a_tenant_with_200_paths_of_the_token_api_that_hang_delays_nobody() {
    let mut world = with_crowd(&crowd(), |number| {
        let url = format!("https://edge.sitecorecloud.io/api/apikey/v1/{number}");
        json!({"tokenAPI": {"url": url}})
    });
    fail_crowd(&world, is_of_token_api, Failure::hang());
    world.start_operator();
    pass(seconds(5)).await;
    others_are_served(&world, SOON).await;
    // One try a second goes to an origin, whatever the number of its paths.
    let calls = calls_of_crowd(&world);
    assert!(calls <= 2400 + 60, "{calls}");
}

#[tokio::test(start_paused = true)]
async fn fifty_tenants_for_whom_the_token_api_is_broken_delay_nobody() {
    // Where it hangs, a place is held for ten seconds until that is known of a tenant.
    for (failure, most) in [(Failure::status(503), SOON), (Failure::hang(), seconds(15))] {
        let crowd: Vec<_> = (0..50)
            .flat_map(|number| objects(&format!("crowd-{number}"), "edge", 4))
            .collect();
        let trouble = |world: &World| fail_crowd(world, is_of_token_api, failure);
        let world = beside(&crowd, trouble, most).await;
        // One try a second goes to an origin, whatever the number of tenants; beside the first of each, and one more of each when
        // somebody else succeeds.
        let calls = calls_of_crowd(&world);
        assert!(calls <= 2410 + 2 * crowd.len(), "{failure:?}: {calls}");
    }
}

/// The crowd has a client for each namespace: as long as only one client fails, all of its objects are tried.
#[tokio::test(start_paused = true)]
async fn twenty_tenants_whose_calls_fail_slowly_share_one_place_while_another_one_waits() {
    for status in [403, 503] {
        let crowd: Vec<_> = (0..20)
            .flat_map(|number| objects(&format!("crowd-{number}"), "edge", 8))
            .collect();
        let mut world = with_crowd(&crowd, |_| json!({}));
        for (namespace, name) in &crowd {
            world.put_credentials_of(namespace, name, namespace, "secret");
        }
        fail_crowd(&world, is_of_token_api, Failure::status(status));
        world.keys.delay_by(|client| {
            let is_slow = is_of_crowd(client);
            if is_slow { seconds(2) } else { seconds(1) / 10 }
        });
        world.start_operator();
        // Each has failed by then.
        pass(seconds(20)).await;
        let newcomer = objects("shop", "edge", 1);
        add_both(&world, &newcomer);
        until_all_have_keys(&world, &newcomer, SOON).await;
        let calls = calls_of_crowd(&world);
        assert!(calls < crowd.len(), "{status}: others wait for their first");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rotate_annotation_that_changes_each_half_second_makes_one_key_a_minute_at_most() {
    let world = begin(json!({})).await;
    pass(hours(1)).await;
    world.keys.take_calls();
    for number in 0..240 {
        ask(&world, ROTATE_REQUESTED_AT, &number.to_string());
        pass(Duration::from_millis(500)).await;
    }
    // At once and after a minute.
    assert_eq!(world.keys.take_calls()["create"], 2);
    // The last one is not lost.
    pass(seconds(120)).await;
    let status = object(&world).status.unwrap();
    assert_eq!(status.last_handled_rotate_request.as_deref(), Some("239"));
    assert_eq!(world.keys.take_calls()["create"], 1);
    assert_eq!(condition(&world, Ready), ready());
}

/// Twenty tenants of both kinds, with all that they want.
async fn with_tenants() -> (World, Vec<Object>) {
    let mut world = World::new();
    world.delay_calls(Duration::from_millis(2));
    world.endpoint.set_lifetime(SHORT);
    let tenants: Vec<_> = (0..20)
        .flat_map(|number| objects(&format!("shop-{number}"), "edge", 1))
        .collect();
    add_both(&world, &tenants);
    world.start_operator();
    let took = until_all(&tenants, SOON, |namespace, name| {
        has_both(&world, namespace, name)
    });
    println!("all have both after {:?}", took.await);
    assert_eq!(world.endpoint.total_requests(), tenants.len());
    pass(seconds(60)).await;
    world.keys.take_calls();
    (world, tenants)
}

#[tokio::test(start_paused = true)]
async fn a_token_endpoint_that_hangs_holds_up_no_call_of_an_api() {
    let (world, tenants) = with_tenants().await;
    world.endpoint.behave(|_, _| Some(Behaviour::hang()));
    // Those who need a token wait in its line meanwhile.
    let waiting = objects("waiting", "edge", 20);
    for (namespace, name) in &waiting {
        world.add_key(namespace, name, &format!("{namespace}/{name}"), json!({}));
    }
    pass(seconds(20)).await;
    rotate_all(&world, &tenants, "now", SOON).await;
    let each = [("create", 1), ("list", 2), ("probe", 1)];
    let all = each.map(|(call, count)| (call, count * tenants.len()));
    assert_eq!(world.keys.take_calls(), calls(all));
}

#[tokio::test(start_paused = true)]
async fn apis_that_hang_hold_up_no_token() {
    for is_meant in [is_of_token_api, is_of_delivery_api] {
        let (world, tenants) = with_tenants().await;
        world
            .keys
            .fail_by(move |_, call| is_meant(call).then(Failure::hang));
        for (namespace, name) in &tenants {
            world.ask_key(namespace, name, ROTATE_REQUESTED_AT, "now");
        }
        pass(seconds(5)).await;
        let newcomers: Vec<_> = (0..20)
            .flat_map(|number| objects(&format!("new-{number}"), "edge", 1))
            .collect();
        add_both(&world, &newcomers);
        until_all(&newcomers, SOON, |namespace, name| {
            world.has_token(namespace, name)
        })
        .await;
        let expired = seconds_without_a_token(&world, &tenants, hours(1)).await;
        assert_eq!(expired, 0);
        world.keys.recover();
        let all = [tenants, newcomers].concat();
        until_all_have_keys(&world, &all, seconds(360)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_delivery_api_that_hangs_holds_up_the_revocation_of_a_lost_key_for_one_turn_of_all() {
    let (world, tenants) = with_tenants().await;
    // One whose answer was lost.
    let (namespace, name) = &tenants[0];
    world.keys.fail(Call::CreateKey, Failure::status(500));
    world.keys.act_though_failing(true);
    world.ask_key(namespace, name, ROTATE_REQUESTED_AT, "now");
    pass(seconds(1)).await;
    assert_eq!(world.keys.live().len(), tenants.len() + 1);
    world.keys.recover();
    world
        .keys
        .fail_by(|_, call| is_of_delivery_api(call).then(Failure::hang));
    for (namespace, name) in &tenants[1..] {
        world.ask_key(namespace, name, ROTATE_REQUESTED_AT, "now");
    }
    // Each of the others holds one of four places while its new key is tried, which takes ten seconds now.
    pass(seconds(20 / 4 * 11)).await;
    let of_first = format!("/{namespace}/{name}");
    let keys = world.keys.all().into_iter();
    let live = keys.filter(|key| key.label.ends_with(&of_first) && !key.is_revoked);
    assert_eq!(live.count(), 1, "the lost one is revoked");
}

/// How many JSON Web Tokens a fleet of equal inputs takes in a day: at first, for a rotation of all keys an hour later, and for
/// another one after a day.
async fn tokens_of_a_fleet(edge_credentials: usize, edge_tokens: usize) -> [usize; 3] {
    let mut world = World::new();
    world.api.keep_requests(false);
    world.delay_calls(Duration::from_millis(2));
    for (namespace, name) in objects("shop", "jwt", edge_credentials) {
        world.add_tenants(&namespace, &name, "client", json!({}));
    }
    let keys = objects("shop", "edge", edge_tokens);
    for (namespace, name) in &keys {
        world.add_key(namespace, name, "client", json!({}));
    }
    world.start_operator();
    let mut requests = [0; 3];
    until_all_have_keys(&world, &keys, seconds(30)).await;
    requests[0] = world.endpoint.total_requests();
    pass(hours(1)).await;
    rotate_all(&world, &keys, "first", seconds(30)).await;
    requests[1] = world.endpoint.total_requests();
    pass(days(1)).await;
    rotate_all(&world, &keys, "second", seconds(30)).await;
    requests[2] = world.endpoint.total_requests();
    requests
}

#[tokio::test(start_paused = true)]
async fn a_fleet_with_equal_inputs_takes_one_json_web_token_for_all_of_its_keys() {
    // The keys take one at first, and another one where the first has expired.
    assert_eq!(tokens_of_a_fleet(0, 50).await, [1, 1, 2]);
    // EdgeCredentials take one each 16 hours, which serves for the keys as well.
    let with_keys = tokens_of_a_fleet(20, 50).await;
    assert_eq!(with_keys, [1, 1, 2]);
}
