//! Rights that the operator lacks: nothing is made that could not be recorded or stored, and what there is stays.

use super::*;

fn missing() -> (bool, String) {
    (true, "RBACMissing".into())
}

/// Whether no API was called, and no JSON Web Token requested for it.
fn is_idle(world: &World) -> bool {
    world.keys.take_calls().is_empty() && world.endpoint.total_requests() == 0
}

/// Gives the right back, and sees that the EdgeToken is ready so many seconds later.
async fn give_back(world: &World, after: u64) {
    world.api.allow_all();
    pass(seconds(after)).await;
    assert_eq!(condition(world, Ready), ready());
}

#[tokio::test(start_paused = true)]
async fn without_the_right_to_create_the_target_nothing_is_called() {
    let mut world = World::new();
    world.api.deny(Verb::Create, "secrets", None);
    add(&world, json!({}));
    world.start_operator();
    pass(hours(1)).await;
    assert_eq!(condition(&world, Stalled), missing());
    assert!(is_idle(&world));
    give_back(&world, 20).await;
}

#[tokio::test(start_paused = true)]
async fn without_the_right_to_replace_the_target_no_key_is_made_for_another_spec() {
    let world = begin(json!({})).await;
    world.keys.take_calls();
    world.api.deny(Verb::Update, "secrets", None);
    world.api.edit::<EdgeToken>(NAMESPACE, NAME, |object| {
        object["spec"]["tokenAPI"] = json!({"scopes": ["audience-preview"]});
    });
    pass(hours(1)).await;
    assert_eq!(condition(&world, Stalled), missing());
    assert!(!world.keys.take_calls().contains_key("create"));
    give_back(&world, 20).await;
    assert_eq!(key(&world), Some("KEY1".into()));
}

#[tokio::test(start_paused = true)]
async fn without_the_right_to_read_secrets_the_key_stays_ready_and_nothing_is_called() {
    let mut world = begin(json!({})).await;
    world.keys.take_calls();
    world.api.deny(Verb::Get, "secrets", None);
    world.restart_operator().await;
    let before = object(&world).status.unwrap();
    ask(&world, ROTATE_REQUESTED_AT, "now");
    pass(hours(1)).await;
    assert_eq!(condition(&world, Stalled), missing());
    assert_eq!(condition(&world, Ready), (true, "RenewalStalled".into()));
    let status = object(&world).status.unwrap();
    assert_eq!(status.token, before.token);
    assert_eq!(status.target, before.target);
    assert_eq!(world.keys.take_calls(), BTreeMap::new());
    give_back(&world, 120).await;
    assert_eq!(key(&world), Some("KEY1".into()));
}

#[tokio::test(start_paused = true)]
async fn without_the_right_to_read_secrets_a_deletion_ends_after_ten_minutes() {
    let mut world = begin(json!({"deletionPolicy": "Revoke"})).await;
    world.api.deny(Verb::Get, "secrets", None);
    world.restart_operator().await;
    world.api.delete_object::<EdgeToken>(NAMESPACE, NAME);
    pass(seconds(590)).await;
    assert!(world.api.get_as::<EdgeToken>(NAMESPACE, NAME).is_some());
    pass(seconds(30)).await;
    assert!(world.api.get_as::<EdgeToken>(NAMESPACE, NAME).is_none());
    assert!(world.metrics().contains("edgetoken_keys_left_total 1"));
}

#[tokio::test(start_paused = true)]
async fn without_the_right_to_set_the_finalizer_no_key_is_made_that_is_to_be_revoked() {
    let mut world = World::new();
    world.api.deny(Verb::Patch, "edgetokens", None);
    add(&world, json!({"deletionPolicy": "Revoke"}));
    world.start_operator();
    pass(hours(1)).await;
    assert_eq!(condition(&world, Stalled), missing());
    assert!(is_idle(&world));
    give_back(&world, 20).await;
    assert_eq!(object(&world).metadata.finalizers.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_the_right_to_remove_the_finalizer_the_key_is_revoked_and_few_calls_are_made() {
    let world = begin(json!({"deletionPolicy": "Revoke"})).await;
    world.keys.take_calls();
    world.api.deny(Verb::Patch, "edgetokens", None);
    world.api.delete_object::<EdgeToken>(NAMESPACE, NAME);
    pass(hours(1)).await;
    assert_eq!(world.keys.live(), [""; 0]);
    let calls = world.keys.take_calls();
    assert!(calls["revoke"] == 1 && calls["list"] <= 25, "{calls:?}");
    world.api.allow_all();
    pass(seconds(40)).await;
    assert!(world.api.get_as::<EdgeToken>(NAMESPACE, NAME).is_none());
}

#[tokio::test(start_paused = true)]
async fn without_the_right_to_write_the_status_no_key_is_made() {
    let mut world = World::new();
    world.api.deny(Verb::Patch, "edgetokens/status", None);
    add(&world, json!({}));
    world.start_operator();
    pass(hours(1)).await;
    assert_eq!(world.keys.take_calls(), BTreeMap::new());
    assert!(world.endpoint.total_requests() <= 1);
    give_back(&world, 40).await;
}

#[tokio::test(start_paused = true)]
async fn without_the_right_to_write_the_status_a_rotation_waits_and_few_calls_are_made() {
    let world = begin(json!({})).await;
    pass(seconds(60)).await;
    world.keys.take_calls();
    world.api.deny(Verb::Patch, "edgetokens/status", None);
    ask(&world, ROTATE_REQUESTED_AT, "now");
    pass(hours(1)).await;
    assert_eq!(key(&world), Some("KEY0".into()));
    let calls = world.keys.take_calls();
    assert_eq!(calls.keys().copied().collect::<Vec<_>>(), ["list"]);
    assert!(calls["list"] <= 125, "{calls:?}");
    give_back(&world, 120).await;
    assert_eq!(key(&world), Some("KEY1".into()));
}

#[tokio::test(start_paused = true)]
async fn without_the_right_to_read_the_object_nothing_is_called() {
    let world = begin(json!({})).await;
    pass(seconds(60)).await;
    world.keys.take_calls();
    world.api.deny(Verb::Get, "edgetokens", None);
    ask(&world, ROTATE_REQUESTED_AT, "now");
    pass(hours(1)).await;
    assert_eq!(world.keys.take_calls(), BTreeMap::new());
    assert_eq!(key(&world), Some("KEY0".into()));
    world.api.allow_all();
    pass(seconds(120)).await;
    assert_eq!(key(&world), Some("KEY1".into()));
}
