//! What an EdgeToken costs in calls of the Kubernetes API: five for a new one, and none as long as nothing happens to it.

use super::*;
use crate::{
    calls::{OBJECTS, calls as calls_so_far, name, nothing_is_called_in_an_idle_hour},
    keys::Failure,
    world::credentials,
};

/// The calls since they were counted from 0.
fn kubernetes_calls(world: &World) -> BTreeMap<String, u64> {
    calls_so_far(&world.api)
}

/// So many calls of each kind for each object.
fn each<const N: usize>(calls: [(&str, u64); N]) -> BTreeMap<String, u64> {
    let calls = calls.into_iter();
    calls
        .map(|(call, count)| (call.to_owned(), count * OBJECTS))
        .collect()
}

/// What the first keys of all take. Whether the targets may be written is asked once.
fn five_of_each() -> BTreeMap<String, u64> {
    let mut calls = each([
        ("get secrets", 1),
        ("create secrets", 1),
        // The attempt, that it is the current one, and what there is to say.
        ("patch edgetokens/status", 3),
    ]);
    calls.insert("create selfsubjectaccessreviews".into(), 1);
    calls
}

/// Has something happen to each object, one after the other so that none waits for another.
async fn one_by_one(act: impl Fn(&str)) {
    for number in 0..OBJECTS {
        act(&name(number));
        pass(seconds(1)).await;
    }
}

/// An operator with objects that have their keys.
async fn settled(spec: Value) -> World {
    let mut world = World::new();
    world.start_operator();
    pass(seconds(1)).await;
    one_by_one(|name| world.add_key(NAMESPACE, name, name, spec.clone())).await;
    pass(seconds(60)).await;
    world
}

#[tokio::test(start_paused = true)]
async fn a_new_object_takes_five_calls() {
    let world = settled(json!({})).await;
    assert_eq!(kubernetes_calls(&world), five_of_each());
    let objects = OBJECTS as usize;
    let first = calls([("create", objects), ("list", objects), ("probe", objects)]);
    assert_eq!(world.keys.take_calls(), first);
    assert_eq!(world.endpoint.total_requests(), objects);
}

#[tokio::test(start_paused = true)]
async fn a_rotation_takes_seven_calls_and_the_revocation_after_it_five() {
    let world = settled(json!({"rotation": {"overlap": "5m"}})).await;
    world.api.reset_counts();
    world.keys.take_calls();
    one_by_one(|name| world.ask_key(NAMESPACE, name, ROTATE_REQUESTED_AT, "now")).await;
    pass(seconds(60)).await;
    let rotated = each([
        ("get secrets", 2),
        // What a watch has shown of it may be old.
        ("get edgetokens", 1),
        ("update secrets", 1),
        ("patch edgetokens/status", 3),
    ]);
    assert_eq!(kubernetes_calls(&world), rotated);
    world.api.reset_counts();
    pass(seconds(1200)).await;
    let revoked = each([
        ("get secrets", 2),
        ("get edgetokens", 1),
        // That the former key is revoked, and that nobody waits for that any more.
        ("patch edgetokens/status", 2),
    ]);
    assert_eq!(kubernetes_calls(&world), revoked);
    let of_each = [("create", 1), ("list", 4), ("probe", 2), ("revoke", 1)];
    let of_all = of_each.map(|(call, count)| (call, count * OBJECTS as usize));
    assert_eq!(world.keys.take_calls(), calls(of_all));
    assert_eq!(
        world.endpoint.total_requests() as u64,
        OBJECTS,
        "the JSON Web Token of the first key serves for all of it"
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_called_for_an_echo_a_list_a_jump_of_the_clock_another_secret_or_an_idle_hour() {
    let world = settled(json!({})).await;
    nothing_is_called_in_an_idle_hour(&world).await;
    // With a former key that works on for a day.
    one_by_one(|name| world.ask_key(NAMESPACE, name, ROTATE_REQUESTED_AT, "now")).await;
    pass(seconds(60)).await;
    nothing_is_called_in_an_idle_hour(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_label_on_a_secret_costs_one_look_at_the_object_that_names_it_and_one_status() {
    let world = settled(json!({})).await;
    world.api.reset_counts();
    world.touch_credentials(&name(0), "one");
    pass(hours(1)).await;
    world.api.cut_watches();
    pass(hours(1)).await;
    let expected = [("get secrets", 2), ("patch edgetokens/status", 1)];
    let expected = expected.map(|(call, count)| (call.to_owned(), count));
    assert_eq!(kubernetes_calls(&world), BTreeMap::from(expected));
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_many_objects_name_is_read_once_for_all_of_them() {
    let mut world = World::new();
    world.put_credentials("client", "secret");
    world.start_operator();
    pass(seconds(1)).await;
    let spec = json!({"credentialsSecretRef": {"name": credentials("client")}});
    one_by_one(|name| {
        world.add_key_object(NAMESPACE, name, spec.clone());
    })
    .await;
    pass(seconds(60)).await;
    assert_eq!(world.endpoint.total_requests(), 1, "one for all of them");
    world.api.reset_counts();
    world.touch_credentials("client", "one");
    pass(hours(1)).await;
    assert_eq!(world.api.count(Verb::Get, "secrets"), 1 + OBJECTS);
    assert_eq!(world.api.count(Verb::Patch, "edgetokens/status"), OBJECTS);
}

#[tokio::test(start_paused = true)]
async fn a_restart_calls_nothing_for_keys_that_work_and_attempts_that_are_not_due() {
    let mut world = settled(json!({})).await;
    world
        .keys
        .fail(Call::CreateKey, Cause::Refused { status: 403 });
    for (name, spec) in [
        ("failing", json!({})),
        ("suspended", json!({"suspend": true})),
    ] {
        world.add_key(NAMESPACE, name, name, spec);
    }
    // The fourth attempt has been made, and the next one comes in half an hour.
    pass(seconds(400)).await;
    let told = world.key_condition(NAMESPACE, "failing", Stalled);
    assert_eq!(told, (true, "EdgeAPIForbidden".into()));
    world.api.reset_counts();
    world.keys.take_calls();
    world.restart_operator().await;
    pass(seconds(300)).await;
    assert_eq!(kubernetes_calls(&world), BTreeMap::new());
    assert_eq!(world.keys.take_calls(), BTreeMap::new());
}

/// An operator that finds so many new objects at once.
fn crowded(count: u64) -> World {
    let mut world = World::new();
    world.delay_calls(Duration::from_millis(5));
    for number in 0..count {
        world.add_key(NAMESPACE, &name(number), &name(number), json!({}));
    }
    world.start_operator();
    world
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_turn_for_a_moment_takes_five_calls_as_if_alone() {
    let world = crowded(OBJECTS);
    pass(seconds(60)).await;
    assert_eq!(kubernetes_calls(&world), five_of_each());
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_long_says_so_once_and_reads_once() {
    const CROWD: u64 = 200;
    let world = crowded(CROWD);
    world.keys.delay_by(|_| seconds(1) / 10);
    pass(seconds(60)).await;
    assert_eq!(world.keys.live().len() as u64, CROWD);
    let calls = kubernetes_calls(&world);
    assert_eq!(calls["get secrets"], CROWD, "{calls:?}");
    let statuses = calls["patch edgetokens/status"];
    let told = statuses - 3 * CROWD;
    assert!((CROWD / 2..=CROWD).contains(&told), "{calls:?}");
    assert_eq!(calls.get("get edgetokens"), None, "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn the_status_says_in_which_line_a_new_object_waits() {
    let lines = [
        (
            seconds(8),
            Duration::ZERO,
            "others wait for the token endpoint too",
        ),
        (Duration::ZERO, seconds(8), "others wait for the API too"),
    ];
    for (of_endpoint, of_api, said) in lines {
        let world = crowded(OBJECTS);
        world.endpoint.set_latency(of_endpoint);
        world.keys.delay_by(move |_| of_api);
        pass(seconds(6)).await;
        let objects = (0..OBJECTS).map(|number| world.edge_token(NAMESPACE, &name(number)));
        let conditions = objects.flat_map(|object| object.status.unwrap_or_default().conditions);
        let waiting: Vec<_> = conditions
            .filter(|condition| condition.reason == "WaitingForTurn")
            .collect();
        assert!(!waiting.is_empty());
        for condition in waiting {
            assert!(
                condition
                    .message
                    .to_lowercase()
                    .contains(&said.to_lowercase()),
                "{condition:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_read_before_a_wait_is_read_again_where_it_has_changed() {
    let world = crowded(OBJECTS);
    world.keys.delay_by(|_| seconds(8));
    pass(seconds(20)).await;
    assert_eq!(world.api.count(Verb::Get, "secrets"), OBJECTS);
    assert_eq!(world.endpoint.total_requests() as u64, OBJECTS);
    let waits = |name: &String| {
        let told = world.key_condition(NAMESPACE, name, Ready);
        told == (false, "WaitingForTurn".into())
    };
    let mut waiting = (0..OBJECTS).map(name).filter(waits);
    let [touched, edited] = [(); 2].map(|()| waiting.next().unwrap());
    world.api.edit::<EdgeToken>(NAMESPACE, &edited, |object| {
        object["spec"]["credentialsSecretRef"]["clientSecretKey"] = json!("another");
    });
    pass(seconds(1)).await;
    let told = world.key_condition(NAMESPACE, &edited, Ready);
    assert_eq!(told, (false, "CredentialsMalformed".into()));
    world.api.reset_counts();
    world.api.delete_object::<EdgeToken>(NAMESPACE, &edited);
    world.touch_credentials(&touched, "one");
    pass(seconds(200)).await;
    assert_eq!(world.keys.live().len() as u64, OBJECTS - 1);
    assert_eq!(world.api.count(Verb::Get, "secrets"), 1);
    assert_eq!(world.endpoint.total_requests() as u64, OBJECTS);
}

#[tokio::test(start_paused = true)]
async fn a_finalizer_costs_one_call_and_the_deletion_of_its_object_four() {
    let world = settled(json!({"deletionPolicy": "Revoke"})).await;
    assert_eq!(world.api.count(Verb::Patch, "edgetokens"), OBJECTS);
    assert_eq!(
        world.api.count(Verb::Patch, "edgetokens/status"),
        3 * OBJECTS
    );
    world.api.reset_counts();
    one_by_one(|name| {
        world.api.delete_object::<EdgeToken>(NAMESPACE, name);
    })
    .await;
    pass(hours(1)).await;
    assert_eq!(world.keys.live(), [""; 0]);
    let expected = each([
        ("get secrets", 2),
        ("get edgetokens", 1),
        ("patch edgetokens", 1),
    ]);
    assert_eq!(kubernetes_calls(&world), expected);
}

#[tokio::test(start_paused = true)]
async fn the_deletion_of_an_object_whose_key_is_kept_costs_nothing() {
    let world = settled(json!({})).await;
    world.api.reset_counts();
    one_by_one(|name| {
        world.api.delete_object::<EdgeToken>(NAMESPACE, name);
    })
    .await;
    pass(hours(1)).await;
    assert_eq!(kubernetes_calls(&world), BTreeMap::new());
}

/// More than stay in memory unused.
const MANY: u64 = 300;

#[tokio::test(start_paused = true)]
async fn a_json_web_token_that_many_others_were_used_after_is_requested_again_when_it_is_needed() {
    let mut world = World::new();
    world.start_operator();
    let refused = name(MANY);
    let label = refused.clone();
    world.keys.fail_by(move |of, call| {
        let is_its = of.contains(&label) && call == Call::CreateKey;
        is_its.then(|| Failure::status(403))
    });
    world.add_key(NAMESPACE, &refused, &refused, json!({}));
    pass(seconds(1)).await;
    for number in 0..MANY {
        let name = name(number);
        world.add_key(NAMESPACE, &name, &name, json!({}));
        pass(seconds(1)).await;
    }
    pass(seconds(1800)).await;
    let total = || world.endpoint.total_requests() as u64;
    assert_eq!(total(), MANY + 1, "who tries again keeps the one it has");
    for (number, requests) in [(MANY - 1, 0), (0, 1), (0, 1), (1, 2)] {
        let request = format!("{number} {requests} {}", total());
        world.ask_key(NAMESPACE, &name(number), ROTATE_REQUESTED_AT, &request);
        pass(seconds(60)).await;
        assert_eq!(total(), MANY + 1 + requests, "{number}");
    }
}
