//! What an object costs in calls of the Kubernetes API: three for a new one, and none as long as nothing happens to it.

use std::{collections::BTreeMap, time::Duration};

use edge_credential_operator::api::{ConditionType::Ready, EdgeCredential};
use k8s_openapi::{api::core::v1::Secret, jiff::SignedDuration};
use kit::fake_api::{FakeApi, Request, Verb};
use serde_json::json;

use crate::world::{NAMESPACE, World, credentials, days, hours, pass, seconds, target};

pub const OBJECTS: u64 = 20;

pub fn name(number: u64) -> String {
    format!("edge-{number}")
}

/// The calls so far by verb and resource, without Events, which have a pace of their own, and without lists and watches.
pub fn calls(api: &FakeApi) -> BTreeMap<String, u64> {
    let counts = api.counts().into_iter();
    let counts = counts.filter(|((verb, resource), count)| {
        !matches!(verb, Verb::List | Verb::Watch) && resource != "events" && *count > 0
    });
    counts
        .map(|((verb, resource), count)| (format!("{} {resource}", verb.as_str()), count))
        .collect()
}

/// An operator with objects that have their tokens.
async fn settled() -> World {
    let mut world = World::new();
    world.endpoint.set_latency(Duration::from_millis(5));
    for number in 0..OBJECTS {
        world.add(&name(number), json!({}));
    }
    world.start_operator();
    pass(seconds(60)).await;
    world
}

#[tokio::test(start_paused = true)]
async fn a_new_object_takes_three_calls() {
    let world = settled().await;
    let each = |call: &str| (call.to_owned(), OBJECTS);
    let once = ("create selfsubjectaccessreviews".to_owned(), 1);
    let expected = BTreeMap::from([
        each("create secrets"),
        each("get secrets"),
        each("patch edgecredentials/status"),
        once,
    ]);
    assert_eq!(calls(&world.api), expected);
    assert_eq!(world.endpoint.total_requests() as u64, OBJECTS);
}

#[tokio::test(start_paused = true)]
async fn who_reads_before_there_is_a_place_for_its_request_keeps_what_it_read() {
    let mut world = World::new();
    // The longest at which any do so.
    world.endpoint.set_latency(Duration::from_millis(250));
    for number in 0..OBJECTS {
        world.add(&name(number), json!({}));
    }
    world.start_operator();
    pass(seconds(60)).await;
    assert_eq!(world.api.count(Verb::Create, "secrets"), OBJECTS);
    assert_eq!(world.api.count(Verb::Get, "secrets"), OBJECTS);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_takes_four_calls() {
    let world = settled().await;
    let before = calls(&world.api);
    pass(hours(20)).await;
    assert_eq!(world.endpoint.total_requests() as u64, 2 * OBJECTS);
    let after = calls(&world.api);
    let of = |call: &str| after.get(call).unwrap_or(&0) - before.get(call).unwrap_or(&0);
    assert_eq!(of("get secrets"), 2 * OBJECTS);
    assert_eq!(of("update secrets"), OBJECTS);
    assert_eq!(of("patch edgecredentials/status"), OBJECTS);
    assert_eq!(
        after.values().sum::<u64>() - before.values().sum::<u64>(),
        4 * OBJECTS
    );
}

/// Lets happen what is nothing to objects that are settled, and sees that nothing is called for it.
pub async fn nothing_is_called_in_an_idle_hour(world: &World) {
    let before = calls(&world.api);
    world.put_credentials("unrelated", "s3cret");
    world.api.cut_watches();
    pass(seconds(30)).await;
    let lists = world.api.count(Verb::Watch, "secrets");
    world.api.expire_history();
    world.api.cut_watches();
    pass(seconds(30)).await;
    let listed = world.api.count(Verb::Watch, "secrets") > lists;
    assert!(listed, "it was listed anew");
    world.jump(SignedDuration::from_secs(60));
    pass(hours(1)).await;
    assert_eq!(calls(&world.api), before);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_called_for_an_echo_a_list_a_jump_of_the_clock_another_secret_or_an_idle_hour() {
    let world = settled().await;
    nothing_is_called_in_an_idle_hour(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_label_on_a_secret_costs_one_look_at_the_object_that_names_it() {
    let world = settled().await;
    let before = world.api.count(Verb::Get, "secrets");
    world.touch_credentials(&name(0), "one");
    world.touch(&target(&name(1)), "one");
    pass(hours(1)).await;
    // Its two Secrets are read, and then it is known that nothing has come of it.
    assert_eq!(world.api.count(Verb::Get, "secrets"), before + 4);
    nothing_is_called_in_an_idle_hour(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_many_objects_name_is_read_once_for_all_of_them() {
    let many = 60;
    let mut world = World::new();
    world.put_credentials("client", "secret");
    for number in 0..many {
        let spec = json!({"credentialsSecretRef": {"name": credentials("client")}});
        world.add_object(NAMESPACE, &name(number), spec);
    }
    world.start_operator();
    pass(seconds(60)).await;
    world.api.take_requests();
    world.touch_credentials("client", "one");
    pass(hours(1)).await;
    let requests = world.api.take_requests();
    let reads = |secret: &str| {
        let is_read = |request: &&Request| request.verb == Verb::Get && request.name == secret;
        requests.iter().filter(is_read).count()
    };
    assert_eq!(reads(&credentials("client")), 1);
    for number in 0..many {
        assert_eq!(reads(&target(&name(number))), 1, "{number}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_calls_nothing_for_tokens_that_are_valid_and_attempts_that_are_not_due() {
    let mut world = settled().await;
    world.endpoint.fail(Some(crate::trouble::WRONG_SECRET));
    world.add("failing", json!({}));
    world.add("suspended", json!({"suspend": true}));
    pass(seconds(300)).await;
    let before = calls(&world.api);
    let listed = world.api.count(Verb::Watch, "secrets");
    world.restart_operator().await;
    pass(seconds(300)).await;
    assert_eq!(calls(&world.api), before);
    let lists = world.api.count(Verb::Watch, "secrets") - listed;
    assert!(lists <= 2, "{lists}");
}

#[tokio::test(start_paused = true)]
async fn what_happened_while_no_operator_ran_is_seen_at_the_start() {
    let mut world = settled().await;
    world.stop_operator().await;
    let deleted = world
        .api
        .delete_object::<Secret>(NAMESPACE, &target("edge-1"));
    assert!(deleted);
    world
        .api
        .edit::<Secret>(NAMESPACE, &target("edge-2"), |secret| {
            secret["data"] = json!({});
        });
    world.put_credentials("edge-3", "another");
    world
        .api
        .edit::<EdgeCredential>(NAMESPACE, "edge-4", |object| {
            object["spec"]["tokenRequest"]["scopes"] = json!(["edge.admin:manage"]);
        });
    let (reads, requests) = (
        world.api.count(Verb::Get, "secrets"),
        world.endpoint.total_requests(),
    );
    world.start_operator();
    pass(seconds(60)).await;
    for number in 0..OBJECTS {
        assert!(world.condition(&name(number), Ready).0, "{number}");
        assert!(world.has_token(NAMESPACE, &name(number)), "{number}");
    }
    assert_eq!(world.endpoint.total_requests(), requests + 2);
    let reads = world.api.count(Verb::Get, "secrets") - reads;
    assert!(reads <= 16, "{reads} reads for four objects");
}

#[tokio::test(start_paused = true)]
async fn a_target_that_an_earlier_version_wrote_is_written_anew_with_its_renewal_or_when_a_secret_is_touched()
 {
    let mut world = settled().await;
    world.stop_operator().await;
    for number in [1, 2] {
        write_as_an_earlier_version(&world, &name(number));
    }
    let has_type = |world: &World, number| {
        let data = world.secret(&name(number)).unwrap().data.unwrap();
        data.contains_key("token_type")
    };
    let requests = world.endpoint.total_requests();
    world.start_operator();
    pass(hours(5)).await;
    assert!(
        !has_type(&world, 1) && !has_type(&world, 2),
        "neither is read"
    );
    world.touch_credentials(&name(1), "one");
    pass(seconds(60)).await;
    assert!(has_type(&world, 1) && !has_type(&world, 2));
    assert_eq!(world.endpoint.total_requests(), requests);
    pass(hours(12)).await;
    assert!(has_type(&world, 2), "it is renewed");
}

/// Leaves a key out of a target, in the version that the status names.
fn write_as_an_earlier_version(world: &World, name: &str) {
    let secret = world
        .api
        .edit::<Secret>(NAMESPACE, &target(name), |secret| {
            secret["data"].as_object_mut().unwrap().remove("token_type");
        });
    let version = secret.metadata.resource_version;
    world.api.edit::<EdgeCredential>(NAMESPACE, name, |object| {
        object["status"]["target"]["resourceVersion"] = json!(version);
    });
}

#[tokio::test(start_paused = true)]
async fn where_lists_cannot_be_streamed_they_are_read_page_by_page() {
    let mut world = World::new();
    world.api.stream_no_lists();
    for number in 0..120 {
        world.add(&name(number), json!({}));
    }
    world.start_operator();
    pass(seconds(60)).await;
    for number in 0..120 {
        assert!(world.has_token(NAMESPACE, &name(number)), "{number}");
    }
    assert_eq!(world.api.count(Verb::Get, "secrets"), 120);
    // Three pages of objects, and three of their Secrets.
    for resource in ["edgecredentials", "secrets"] {
        assert_eq!(world.api.count(Verb::List, resource), 3, "{resource}");
    }
    world.api.expire_history();
    world.api.cut_watches();
    pass(days(2)).await;
    for number in 0..120 {
        assert!(world.condition(&name(number), Ready).0, "{number}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_object_that_waits_longer_than_a_second_says_so_with_a_fourth_call_and_no_event() {
    const OBJECTS: u64 = 40;
    let mut world = World::new();
    world.endpoint.set_latency(Duration::from_secs(3));
    for number in 0..OBJECTS {
        world.add(&name(number), json!({}));
    }
    world.start_operator();
    pass(seconds(5)).await;
    let waiting = (0..OBJECTS).map(|number| world.condition(&name(number), Ready));
    let waiting = waiting.filter(|ready| *ready == (false, "WaitingForTurn".to_owned()));
    let waiting = waiting.count() as u64;
    assert!(waiting > OBJECTS / 2, "{waiting}");
    pass(hours(1)).await;
    for number in 0..OBJECTS {
        assert!(world.condition(&name(number), Ready).0, "{number}");
    }
    let calls = calls(&world.api);
    assert_eq!(calls["get secrets"], OBJECTS);
    assert_eq!(calls["create secrets"], OBJECTS);
    let patches = calls["patch edgecredentials/status"];
    assert!(
        (OBJECTS + waiting..=2 * OBJECTS).contains(&patches),
        "{patches}"
    );
    let events = world.api.list_as::<k8s_openapi::api::events::v1::Event>();
    let mut reasons = events.iter().filter_map(|event| event.reason.as_deref());
    assert!(reasons.all(|reason| reason == "TokenValid"));
}

/// Ten thousand of 60 KB kept an API server busy with reads, and so waited for an hour.
#[tokio::test(start_paused = true)]
async fn an_object_that_is_too_large_to_be_held_is_not_read_again_while_it_waits_for_its_turn() {
    const LARGE: u64 = 200;
    let mut world = World::new();
    world.endpoint.set_latency(Duration::from_millis(500));
    // Busy with the calls for those that have a turn.
    world.delay_calls(Duration::from_millis(500));
    let notes = "x".repeat(1000);
    let parameters = json!({"a": notes, "b": notes, "c": notes, "d": notes});
    for number in 0..LARGE {
        let request = json!({"extraParameters": parameters});
        world.add(&name(number), json!({"tokenRequest": request}));
    }
    world.start_operator();
    pass(seconds(180)).await;
    let has_token = |number: &u64| world.has_token(NAMESPACE, &name(*number));
    assert!((0..LARGE).all(|number| has_token(&number)));
    let reads = world.api.count(Verb::Get, "edgecredentials");
    // When it is new, when it says that it waits, when it has its turn, and after each of its two statuses.
    assert!(reads <= 5 * LARGE, "{reads}");
}
