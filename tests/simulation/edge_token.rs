//! EdgeTokens: keys that are made, handed out, rotated and revoked.

mod calls;
mod changes;
mod deletion;
mod outages;
mod rights;
mod tenants;

use std::{collections::BTreeMap, time::Duration};

use edge_credential_operator::{
    api::{
        ConditionType::{self, Ready, Reconciling, Stalled},
        EdgeToken,
        edge_token::{END_OVERLAP_REQUESTED_AT, ROTATE_REQUESTED_AT},
    },
    edge_api::{Call, Cause, Verdict},
    http::Unreachable,
};
use k8s_openapi::{
    api::{core::v1::Secret, events::v1::Event},
    jiff::SignedDuration,
};
use kit::fake_api::{Fault, Verb};
use serde_json::{Value, json};

use crate::world::{NAMESPACE, World, hours, pass, seconds};

const NAME: &str = "edge-key";

/// Adds client credentials and an EdgeToken that uses them.
fn add(world: &World, spec: Value) {
    world.add_key(NAMESPACE, NAME, NAME, spec);
}

fn object(world: &World) -> EdgeToken {
    world.edge_token(NAMESPACE, NAME)
}

/// The key in the target, if it is there.
fn key(world: &World) -> Option<String> {
    world.key(NAMESPACE, NAME)
}

fn condition(world: &World, type_: ConditionType) -> (bool, String) {
    world.key_condition(NAMESPACE, NAME, type_)
}

fn ready() -> (bool, String) {
    (true, "TokenValid".into())
}

/// The notes of the Events with this reason, and whether they warn.
fn told(world: &World, reason: &str) -> Vec<(bool, String)> {
    let events = world.api.list_as::<Event>().into_iter();
    let events = events.filter(|event| event.reason.as_deref() == Some(reason));
    let is_warning = |event: &Event| event.type_.as_deref() == Some("Warning");
    let told = events.map(|event| (is_warning(&event), event.note.unwrap_or_default()));
    told.collect()
}

/// Has a person ask for something.
fn ask(world: &World, annotation: &str, value: &str) {
    world.ask_key(NAMESPACE, NAME, annotation, value);
}

fn calls<const N: usize>(calls: [(&'static str, usize); N]) -> BTreeMap<&'static str, usize> {
    calls.into()
}

/// A world with an EdgeToken that is ready.
async fn begin(spec: Value) -> World {
    let mut world = World::new();
    add(&world, spec);
    world.start_operator();
    pass(seconds(10)).await;
    assert_eq!(
        condition(&world, Ready),
        ready(),
        "{:?}",
        object(&world).status
    );
    world
}

#[tokio::test(start_paused = true)]
async fn a_key_is_made_and_handed_out_with_three_calls_and_one_token_and_costs_nothing_after_that()
{
    let mut world = begin(json!({})).await;
    let first = calls([("create", 1), ("list", 1), ("probe", 1)]);
    assert_eq!(world.keys.take_calls(), first);
    assert_eq!(world.endpoint.total_requests(), 1);
    assert_eq!(key(&world), Some("KEY0".into()));
    let token = object(&world).status.unwrap().token.unwrap();
    assert!(token.hash.is_some() && token.verified_at.is_some());
    assert_eq!(token.tenant_id.as_deref(), Some("tenant-1"));

    pass(hours(24)).await;
    world.restart_operator().await;
    pass(hours(24)).await;
    assert_eq!(world.keys.take_calls(), BTreeMap::new());
    assert_eq!(world.endpoint.total_requests(), 1);
    assert_eq!(condition(&world, Ready), ready());
}

#[tokio::test(start_paused = true)]
async fn a_rotation_hands_out_another_key_and_revokes_the_former_one_after_the_overlap() {
    let world = begin(json!({"rotation": {"overlap": "1h"}})).await;
    world.keys.take_calls();
    ask(&world, ROTATE_REQUESTED_AT, "now");
    pass(seconds(120)).await;
    assert_eq!(key(&world), Some("KEY1".into()));
    assert_eq!(world.keys.live(), ["KEY0", "KEY1"], "both work");
    let status = object(&world).status.unwrap();
    assert_eq!(status.last_handled_rotate_request.as_deref(), Some("now"));
    assert_eq!(status.retired.len(), 1);
    assert!(
        status.token.is_some_and(|token| token.hash.is_some()),
        "the list that shows the new key is later than the key"
    );

    pass(seconds(3500)).await;
    assert_eq!(world.keys.live(), ["KEY0", "KEY1"]);
    pass(seconds(200)).await;
    assert_eq!(world.keys.live(), ["KEY1"]);
    assert!(object(&world).status.unwrap().retired.is_empty());
    let total: usize = world.keys.take_calls().values().sum();
    assert!(total <= 8, "{total} calls");
    assert!(world.endpoint.total_requests() <= 3);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_rotated_when_it_is_old_enough() {
    let world = begin(json!({"rotation": {"every": "48h", "overlap": "1h"}})).await;
    pass(hours(45)).await;
    assert_eq!(key(&world), Some("KEY0".into()));
    pass(hours(4)).await;
    assert_eq!(key(&world), Some("KEY1".into()));
    pass(hours(2)).await;
    assert_eq!(world.keys.live(), ["KEY1"]);
}

#[tokio::test(start_paused = true)]
async fn a_person_can_end_the_overlap() {
    let world = begin(json!({})).await;
    ask(&world, ROTATE_REQUESTED_AT, "now");
    pass(seconds(120)).await;
    assert_eq!(world.keys.live().len(), 2);
    ask(&world, END_OVERLAP_REQUESTED_AT, "now");
    pass(seconds(60)).await;
    assert_eq!(world.keys.live(), ["KEY1"]);
}

#[tokio::test(start_paused = true)]
async fn an_overlap_that_is_ended_in_the_second_of_the_rotation_ends_at_once() {
    let world = begin(json!({})).await;
    ask(&world, ROTATE_REQUESTED_AT, "now");
    while key(&world) != Some("KEY1".into()) {
        pass(Duration::from_millis(50)).await;
    }
    ask(&world, END_OVERLAP_REQUESTED_AT, "now");
    pass(seconds(5)).await;
    assert_eq!(world.keys.live(), ["KEY1"]);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_target_is_written_again_from_memory_without_a_call() {
    let world = begin(json!({})).await;
    world.keys.take_calls();
    world.api.delete_object::<Secret>(NAMESPACE, NAME);
    pass(seconds(5)).await;
    assert_eq!(key(&world), Some("KEY0".into()));
    assert_eq!(world.keys.take_calls(), BTreeMap::new());
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_answer_was_lost_is_found_and_revoked_before_another_one_is_made() {
    let mut world = World::new();
    let lost = Cause::Unreachable(Unreachable::Timeout);
    world.keys.fail(Call::CreateKey, lost);
    world.keys.act_though_failing(true);
    add(&world, json!({}));
    world.start_operator();
    pass(seconds(5)).await;
    assert_eq!(condition(&world, Ready).1, "EdgeAPIUnavailable");
    world.keys.recover();
    pass(seconds(180)).await;
    assert_eq!(condition(&world, Ready), ready());
    let live = world.keys.live();
    assert_eq!(live, [key(&world).unwrap()], "{:?}", world.keys.all());
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_is_told_and_tried_ever_more_rarely() {
    let mut world = World::new();
    let refused = Cause::Refused { status: 403 };
    world.keys.fail(Call::CreateKey, refused);
    add(&world, json!({}));
    world.start_operator();
    pass(hours(1)).await;
    assert_eq!(
        condition(&world, Stalled),
        (true, "EdgeAPIForbidden".into())
    );
    let tries = world.keys.take_calls()["create"];
    assert!((3..=6).contains(&tries), "{tries}");
    assert_eq!(world.endpoint.total_requests(), 1);
    let status = object(&world).status.unwrap();
    assert!(status.retired.is_empty() && status.pending.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_refused_because_it_is_old_is_replaced_once() {
    let world = begin(json!({})).await;
    pass(hours(1)).await;
    world.keys.refuse_newest();
    ask(&world, ROTATE_REQUESTED_AT, "now");
    pass(seconds(120)).await;
    assert_eq!(key(&world), Some("KEY1".into()));
    assert_eq!(world.endpoint.total_requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_does_not_work_yet_is_kept_back_while_the_former_one_is_in_use() {
    let world = begin(json!({})).await;
    world.keys.say(Some(Verdict::Refused));
    ask(&world, ROTATE_REQUESTED_AT, "now");
    pass(seconds(300)).await;
    assert_eq!(key(&world), Some("KEY0".into()));
    assert_eq!(condition(&world, Ready), (true, "RenewalFailing".into()));
    assert_eq!(condition(&world, Reconciling).1, "DeliveryRefused");
    world.keys.say(None);
    pass(seconds(300)).await;
    assert_eq!(key(&world), Some("KEY1".into()));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_object_leaves_its_key_or_revokes_it_as_its_policy_says() {
    for (policy, live) in [("Keep", 1), ("Revoke", 0)] {
        let world = begin(json!({"deletionPolicy": policy})).await;
        world.api.delete_object::<EdgeToken>(NAMESPACE, NAME);
        pass(seconds(30)).await;
        assert!(world.api.get_as::<EdgeToken>(NAMESPACE, NAME).is_none());
        assert_eq!(world.keys.live().len(), live, "{policy}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_that_is_lost_comes_back_from_the_target_without_a_key() {
    let mut world = begin(json!({})).await;
    world.stop_operator().await;
    world.api.edit::<EdgeToken>(NAMESPACE, NAME, |object| {
        object["status"] = json!({});
    });
    world.start_operator();
    pass(seconds(60)).await;
    assert_eq!(condition(&world, Ready), ready());
    assert_eq!(world.keys.live(), ["KEY0"]);
    assert_eq!(key(&world), Some("KEY0".into()));
}

/// A mark means something in the status of the object alone whose uid it has.
#[tokio::test(start_paused = true)]
async fn a_forged_status_has_keys_of_its_own_object_revoked_and_of_no_other() {
    let mut world = begin(json!({})).await;
    let other = "edge-token/another-uid/00000000000000aa";
    world.keys.add(&format!("{other}/storefront/other"));
    world.stop_operator().await;
    world.api.edit::<EdgeToken>(NAMESPACE, NAME, |object| {
        let token = object["status"]["token"].clone();
        let since = &token["createdAt"];
        let retired = |mark: &Value| json!({"mark": mark, "since": since, "cause": "Discarded", "revokeAt": since});
        object["status"]["retired"] = json!([retired(&token["mark"]), retired(&json!(other))]);
    });
    world.start_operator();
    pass(hours(1)).await;
    assert_eq!(world.keys.live(), ["KEY1", "KEY2"]);
    assert_eq!(key(&world), Some("KEY2".into()), "its own was replaced");
}

#[tokio::test(start_paused = true)]
async fn a_key_of_ours_that_no_record_explains_stops_rotations_and_is_not_touched() {
    let world = begin(json!({})).await;
    let uid = object(&world).metadata.uid.unwrap();
    world.keys.add(&format!(
        "edge-token/{uid}/00000000000000aa/storefront/copy"
    ));
    ask(&world, ROTATE_REQUESTED_AT, "now");
    pass(hours(2)).await;
    assert_eq!(key(&world), Some("KEY0".into()));
    assert_eq!(world.keys.live(), ["KEY0", "KEY1"]);
    assert_eq!(condition(&world, Stalled), (true, "UnrecordedKeys".into()));
    assert!(condition(&world, Ready).0);
}

#[tokio::test(start_paused = true)]
async fn a_key_of_the_deploy_api_is_obtained_once_and_again_when_a_person_asks() {
    let spec = json!({"deployAPI": {"environmentID": "env-1"}});
    let mut world = begin(spec).await;
    let first = calls([("obtain", 1), ("probe", 1)]);
    assert_eq!(world.keys.take_calls(), first);
    pass(hours(48)).await;
    world.restart_operator().await;
    pass(hours(4)).await;
    assert_eq!(world.keys.take_calls(), BTreeMap::new());
    ask(&world, ROTATE_REQUESTED_AT, "now");
    pass(seconds(60)).await;
    assert_eq!(key(&world), Some("KEY1".into()));
    assert_eq!(world.keys.take_calls(), first);
    assert!(object(&world).status.unwrap().retired.is_empty());
    let obtained = (false, "The Deploy API gave a key.".to_owned());
    assert_eq!(told(&world, "KeyCreated"), [obtained.clone(), obtained]);
    world.api.delete_object::<EdgeToken>(NAMESPACE, NAME);
    pass(seconds(60)).await;
    assert_eq!(told(&world, "KeyLeft"), [], "it has no label of ours");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_somebody_revoked_is_replaced_when_that_is_seen() {
    let world = begin(json!({"rotation": {"overlap": "1h"}})).await;
    world.keys.revoke("KEY0");
    pass(hours(5)).await;
    assert_eq!(key(&world), Some("KEY0".into()), "nothing is polled");
    ask(&world, ROTATE_REQUESTED_AT, "now");
    pass(seconds(120)).await;
    assert_eq!(key(&world), Some("KEY1".into()));
    pass(hours(2)).await;
    assert!(object(&world).status.unwrap().retired.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_target_that_was_deleted_while_no_operator_ran_is_written_again_from_the_history() {
    let mut world = begin(json!({})).await;
    world.stop_operator().await;
    world.keys.take_calls();
    world.api.delete_object::<Secret>(NAMESPACE, NAME);
    world.start_operator();
    pass(seconds(10)).await;
    assert_eq!(key(&world), Some("KEY0".into()));
    assert_eq!(world.keys.take_calls(), BTreeMap::new());
    assert_eq!(condition(&world, Ready), ready());
}

#[tokio::test(start_paused = true)]
async fn while_secrets_cannot_be_watched_a_deleted_target_is_back_within_five_minutes() {
    let world = begin(json!({})).await;
    for verb in [Verb::List, Verb::Watch] {
        world.api.deny(verb, "secrets", None);
    }
    world.api.cut_watches();
    for _ in 0..3 {
        pass(seconds(77)).await;
        world.api.delete_object::<Secret>(NAMESPACE, NAME);
        pass(seconds(301)).await;
        assert_eq!(key(&world), Some("KEY0".into()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_nowhere_any_more_is_replaced_and_revoked_after_the_overlap() {
    let mut world = begin(json!({"rotation": {"overlap": "1h"}})).await;
    world.stop_operator().await;
    world.api.delete_object::<Secret>(NAMESPACE, NAME);
    pass(hours(1)).await;
    world.api.expire_history();
    world.start_operator();
    pass(seconds(120)).await;
    assert_eq!(key(&world), Some("KEY1".into()));
    assert_eq!(
        world.keys.live(),
        ["KEY0", "KEY1"],
        "somebody may have read it"
    );
    pass(hours(2)).await;
    assert_eq!(world.keys.live(), ["KEY1"]);
}

#[tokio::test(start_paused = true)]
async fn a_rotation_that_is_refused_leaves_the_key_ready_and_is_tried_ever_more_rarely() {
    let world = begin(json!({"rotation": {"every": "1h", "overlap": "5m"}})).await;
    world.keys.take_calls();
    world
        .keys
        .fail(Call::CreateKey, Cause::Refused { status: 403 });
    pass(hours(4)).await;
    assert_eq!(condition(&world, Ready), (true, "RenewalStalled".into()));
    assert_eq!(
        condition(&world, Stalled),
        (true, "EdgeAPIForbidden".into())
    );
    assert_eq!(key(&world), Some("KEY0".into()));
    let tries = world.keys.take_calls()["create"];
    assert!((4..=12).contains(&tries), "{tries}");
    world.keys.recover();
    pass(seconds(2400)).await;
    assert_eq!(key(&world), Some("KEY1".into()));
    assert_eq!(condition(&world, Ready), ready());
}

#[tokio::test(start_paused = true)]
async fn a_target_that_may_not_be_written_is_tried_ever_more_rarely_and_its_key_is_kept() {
    let world = begin(json!({"rotation": {"overlap": "48h"}})).await;
    world.api.on_request(|request| match request.verb {
        Verb::Update if request.resource == "secrets" => Fault::Status(403, "Forbidden".to_owned()),
        _ => Fault::None,
    });
    ask(&world, ROTATE_REQUESTED_AT, "now");
    pass(hours(1)).await;
    assert_eq!(key(&world), Some("KEY0".into()));
    assert!(condition(&world, Ready).0, "the former key works");
    let tries = world.api.count(Verb::Update, "secrets");
    assert!((5..=25).contains(&tries), "{tries}");
    assert_eq!(world.keys.all().len(), 2);
    world.api.no_faults();
    pass(seconds(400)).await;
    assert_eq!(key(&world), Some("KEY1".into()));
    assert_eq!(world.keys.all().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_object_whose_keys_cannot_be_revoked_is_deleted_after_ten_minutes() {
    let world = begin(json!({"deletionPolicy": "Revoke"})).await;
    world
        .keys
        .fail(Call::ListKeys, Cause::Refused { status: 403 });
    world.api.delete_object::<EdgeToken>(NAMESPACE, NAME);
    pass(seconds(500)).await;
    assert!(world.api.get_as::<EdgeToken>(NAMESPACE, NAME).is_some());
    pass(seconds(200)).await;
    assert!(world.api.get_as::<EdgeToken>(NAMESPACE, NAME).is_none());
    assert_eq!(world.keys.live(), ["KEY0"]);
    assert!(world.metrics().contains("edgetoken_keys_left_total 1"));
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_api_costs_few_calls_and_all_have_their_key_soon_after() {
    let mut world = World::new();
    let down = Cause::Unreachable(Unreachable::Timeout);
    for call in [Call::CreateKey, Call::ListKeys] {
        world.keys.fail(call, down);
    }
    add(&world, json!({}));
    world.start_operator();
    pass(hours(1)).await;
    assert_eq!(condition(&world, Reconciling).1, "EdgeAPIUnavailable");
    let calls: usize = world.keys.take_calls().values().sum();
    assert!(calls <= 3600 / 8 + 10, "{calls}");
    world.keys.recover();
    pass(seconds(120)).await;
    assert_eq!(condition(&world, Ready), ready());
}

/// Another process may have given it up meanwhile, and forgotten it: nobody would find its key.
#[tokio::test(start_paused = true)]
async fn an_attempt_that_was_recorded_long_ago_is_not_made_though_the_clock_was_set_back() {
    let mut world = World::new();
    add(&world, json!({}));
    world.api.on_request(|request| match request.verb {
        Verb::Patch if request.resource == "edgetokens/status" => Fault::Delay(seconds(12)),
        _ => Fault::None,
    });
    world.start_operator();
    pass(seconds(6)).await;
    assert_eq!(
        world.endpoint.total_requests(),
        1,
        "the attempt is being recorded"
    );
    world.jump(SignedDuration::from_secs(-60));
    world.api.no_faults();
    pass(seconds(8)).await;
    assert_eq!(world.keys.take_calls().get("create"), None);
    pass(seconds(180)).await;
    assert_eq!(condition(&world, Ready), ready());
    assert_eq!(world.keys.live(), [key(&world).expect("a key")]);
}

#[tokio::test(start_paused = true)]
async fn the_token_of_an_edge_credential_with_equal_inputs_is_taken_from_its_secret() {
    let mut world = World::new();
    world.add(NAME, json!({}));
    world.start_operator();
    pass(seconds(60)).await;
    assert!(world.has_token(NAMESPACE, NAME));
    add(&world, json!({}));
    pass(seconds(60)).await;
    assert_eq!(condition(&world, Ready), ready());
    assert_eq!(world.endpoint.total_requests(), 1);
}
