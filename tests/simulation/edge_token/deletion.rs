//! What becomes of keys when their object is deleted, alone or with its namespace.

use std::sync::atomic::{AtomicBool, Ordering};

use kit::fake_api::NamespaceState;
use kube::{
    Api,
    api::{Patch, PatchParams},
};

use super::*;
use crate::{keys::Failure, world::credentials};

fn is_gone(world: &World) -> bool {
    world.api.get_as::<EdgeToken>(NAMESPACE, NAME).is_none()
}

fn delete(world: &World) {
    world.api.delete_object::<EdgeToken>(NAMESPACE, NAME);
}

/// Deletes the namespace: what has no finalizer is gone.
fn delete_namespace(world: &World) {
    let state = NamespaceState::Terminating;
    world.api.set_namespace(NAMESPACE, state);
    for secret in [&*credentials(NAME), NAME] {
        world.api.delete_object::<Secret>(NAMESPACE, secret);
    }
    delete(world);
}

fn is_told(world: &World, keys: usize) -> bool {
    let count = format!("edgetoken_keys_left_total {keys}");
    world.metrics().contains(&count)
}

#[tokio::test(start_paused = true)]
async fn a_namespace_may_take_the_credentials_first_and_the_key_is_revoked_all_the_same() {
    let world = begin(json!({"deletionPolicy": "Revoke"})).await;
    delete_namespace(&world);
    pass(seconds(30)).await;
    assert!(is_gone(&world));
    assert_eq!(world.keys.live(), [""; 0]);
    assert!(is_told(&world, 0));
}

#[tokio::test(start_paused = true)]
async fn a_namespace_whose_credentials_nobody_remembers_waits_for_nothing_and_the_key_is_told() {
    let mut world = begin(json!({"deletionPolicy": "Revoke"})).await;
    world.stop_operator().await;
    delete_namespace(&world);
    world.start_operator();
    pass(seconds(30)).await;
    assert!(is_gone(&world));
    assert_eq!(world.keys.live(), ["KEY0"]);
    assert!(is_told(&world, 1));
}

#[tokio::test(start_paused = true)]
async fn all_keys_are_revoked_that_work_when_the_object_is_deleted() {
    let world = begin(json!({"deletionPolicy": "Revoke"})).await;
    pass(seconds(60)).await;
    ask(&world, ROTATE_REQUESTED_AT, "now");
    pass(seconds(60)).await;
    assert_eq!(world.keys.live(), ["KEY0", "KEY1"]);
    delete(&world);
    pass(seconds(30)).await;
    assert!(is_gone(&world));
    assert_eq!(world.keys.live(), [""; 0]);
    assert_eq!(told(&world, "KeyRevoked").len(), 2, "each has its Event");
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_answer_was_lost_is_revoked_when_the_object_is_deleted() {
    let mut world = World::new();
    world.keys.fail(Call::CreateKey, Failure::hang());
    world.keys.act_though_failing(true);
    add(&world, json!({"deletionPolicy": "Revoke"}));
    world.start_operator();
    pass(seconds(5)).await;
    assert_eq!(world.keys.live(), ["KEY0"]);
    delete(&world);
    pass(seconds(30)).await;
    assert!(is_gone(&world));
    assert_eq!(world.keys.live(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_of_which_nothing_is_known_is_waited_for_and_told() {
    let mut world = World::new();
    world.keys.fail(Call::CreateKey, Failure::hang());
    add(&world, json!({"deletionPolicy": "Revoke"}));
    world.start_operator();
    pass(seconds(15)).await;
    world.keys.take_calls();
    delete(&world);
    pass(seconds(20)).await;
    assert!(!is_gone(&world), "it may be under way");
    pass(seconds(20)).await;
    assert!(is_gone(&world));
    assert!(is_told(&world, 1), "it may take effect later");
    let calls = world.keys.take_calls();
    assert!(calls.len() == 1 && calls["list"] <= 3, "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn an_outage_delays_a_deletion_until_the_key_is_revoked() {
    for call in [Call::ListKeys, Call::RevokeKey] {
        let world = begin(json!({"deletionPolicy": "Revoke"})).await;
        world.keys.fail(call, Failure::status(503));
        delete(&world);
        pass(seconds(180)).await;
        assert!(!is_gone(&world), "{call:?}");
        world.keys.recover();
        pass(seconds(30)).await;
        assert!(is_gone(&world), "{call:?}");
        assert_eq!(world.keys.live(), [""; 0], "{call:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_was_not_revoked_is_told_when_a_deletion_has_waited_for_as_long_as_it_may() {
    let world = begin(json!({"deletionPolicy": "Revoke"})).await;
    pass(seconds(60)).await;
    ask(&world, ROTATE_REQUESTED_AT, "now");
    pass(seconds(60)).await;
    world.keys.revoke("KEY0");
    world.keys.fail(Call::RevokeKey, Failure::status(503));
    delete(&world);
    pass(seconds(590)).await;
    assert!(!is_gone(&world));
    pass(seconds(60)).await;
    assert!(is_gone(&world));
    assert_eq!(world.keys.live(), ["KEY1"]);
    assert!(is_told(&world, 1), "{}", world.metrics());
}

#[tokio::test(start_paused = true)]
async fn no_key_is_revoked_where_a_copy_of_the_cluster_may_use_it_and_all_are_told_at_once() {
    let world = begin(json!({"deletionPolicy": "Revoke"})).await;
    let uid = object(&world).metadata.uid.unwrap();
    let of_the_copy = format!("edge-token/{uid}/00000000000000ff/{NAMESPACE}/{NAME}");
    world.keys.add(&of_the_copy);
    delete(&world);
    pass(seconds(10)).await;
    assert!(is_gone(&world));
    assert_eq!(world.keys.live().len(), 2);
    assert!(is_told(&world, 2), "{}", world.metrics());
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_kept_is_told_and_counts_as_no_fault() {
    for is_restarted in [false, true] {
        let mut world = begin(json!({})).await;
        if is_restarted {
            world.restart_operator().await;
            pass(seconds(10)).await;
        }
        let mark = object(&world).status.unwrap().token.unwrap().mark;
        delete(&world);
        pass(seconds(60)).await;
        let told = told(&world, "KeyLeft");
        let [(false, note)] = &told[..] else {
            panic!("restarted: {is_restarted}: {told:?}");
        };
        assert!(note.contains(&mark), "{note}");
        assert!(is_told(&world, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_is_told_whose_object_was_made_anew_at_once() {
    let world = begin(json!({})).await;
    let mark = object(&world).status.unwrap().token.unwrap().mark;
    delete(&world);
    add(&world, json!({}));
    pass(seconds(120)).await;
    assert_eq!(condition(&world, Ready), ready());
    let told = told(&world, "KeyLeft");
    assert!(told.len() == 1 && told[0].1.contains(&mark), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_key_counts_as_left_whose_finalizer_somebody_removed() {
    let world = begin(json!({"deletionPolicy": "Revoke"})).await;
    world.keys.fail(Call::ListKeys, Failure::status(503));
    delete(&world);
    pass(seconds(60)).await;
    let objects: Api<EdgeToken> = Api::namespaced(world.api.client(), NAMESPACE);
    let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    let patched = objects.patch(NAME, &PatchParams::default(), &patch).await;
    patched.unwrap();
    pass(seconds(60)).await;
    assert!(is_gone(&world));
    assert!(is_told(&world, 1), "{}", world.metrics());
}

#[tokio::test(start_paused = true)]
async fn a_key_is_kept_though_its_policy_became_keep_only_just_before_the_deletion() {
    let mut world = begin(json!({"deletionPolicy": "Revoke"})).await;
    world.stop_operator().await;
    world.api.edit::<EdgeToken>(NAMESPACE, NAME, |object| {
        object["spec"]["deletionPolicy"] = json!("Keep");
    });
    delete(&world);
    world.start_operator();
    pass(seconds(30)).await;
    assert!(is_gone(&world));
    assert_eq!(world.keys.live(), ["KEY0"]);
    assert!(is_told(&world, 0));
    assert_eq!(told(&world, "KeyLeft").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_of_another_environment_is_told_once_though_the_finalizer_is_removed_at_the_second_try()
 {
    let world = begin(json!({"deletionPolicy": "Revoke"})).await;
    world.keys.leave_environment();
    let was_refused = AtomicBool::new(false);
    world.api.on_request(move |request| {
        let is_removal = request.verb == Verb::Patch && request.resource == "edgetokens";
        if is_removal && !was_refused.swap(true, Ordering::Relaxed) {
            Fault::Status(409, "Conflict".to_owned())
        } else {
            Fault::None
        }
    });
    delete(&world);
    pass(seconds(60)).await;
    assert!(is_gone(&world));
    assert_eq!(world.keys.live(), ["KEY0"]);
    assert!(is_told(&world, 1), "{}", world.metrics());
}
