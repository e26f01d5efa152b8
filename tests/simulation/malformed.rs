//! Objects that were stored under an older schema, and do not fit the present one.

use edge_credential_operator::api::{
    ConditionType::{self, Ready, Stalled},
    EdgeCredential, EdgeCredentialStatus, conditions,
};
use k8s_openapi::jiff::SignedDuration;
use kit::fake_api::{Fault, Verb};
use kube::core::PartialObjectMeta;
use serde_json::{Value, json};

use crate::world::{NAMESPACE, World, credentials, days, hours, pass, seconds, target};

const OBJECTS: &str = "edgecredentials.edgecredentials.io";

/// A value of a type that the field had never.
fn break_object(world: &World, name: &str) {
    put_reference(world, name, json!(credentials(name)));
}

fn mend_object(world: &World, name: &str) {
    put_reference(world, name, json!({"name": credentials(name)}));
}

fn put_reference(world: &World, name: &str, reference: Value) {
    let edit = |object: &mut Value| object["spec"]["credentialsSecretRef"] = reference;
    let _: PartialObjectMeta<EdgeCredential> = world.api.edit(NAMESPACE, name, edit);
}

/// A condition of an object that cannot be read as one.
fn condition(world: &World, name: &str, type_: ConditionType) -> (bool, String) {
    let object = world.api.get(OBJECTS, NAMESPACE, name).unwrap();
    let status: EdgeCredentialStatus = serde_json::from_value(object["status"].clone()).unwrap();
    let condition = conditions::find(&status.conditions, type_).unwrap();
    (condition.status == "True", condition.reason.clone())
}

fn invalid() -> String {
    "InvalidSpec".to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_malformed_object_is_told_of_once_and_the_others_are_served() {
    let mut world = World::new();
    for name in ["before", "edge", "next"] {
        world.add(name, json!({}));
    }
    break_object(&world, "edge");
    world.start_operator();
    pass(days(1)).await;
    for name in ["before", "next"] {
        assert_eq!(world.condition(name, Ready), (true, "TokenValid".into()));
    }
    assert_eq!(condition(&world, "edge", Ready), (false, invalid()));
    assert_eq!(condition(&world, "edge", Stalled), (true, invalid()));
    assert_eq!(world.api.count(Verb::Create, "events"), 3);

    world.restart_operator().await;
    pass(seconds(600)).await;
    let told = world.api.count(Verb::Create, "events");
    assert_eq!(told, 3, "a restart is no news");
    assert_eq!(world.endpoint.requests("edge").len(), 0);

    mend_object(&world, "edge");
    pass(seconds(5)).await;
    assert_eq!(world.condition("edge", Ready), (true, "TokenValid".into()));
    assert!(!world.condition("edge", Stalled).0);
    assert_eq!(world.endpoint.requests("edge").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_malformed_object_keeps_its_target_and_costs_no_token_when_it_is_mended() {
    let mut world = World::new();
    world.add("edge", json!({}));
    world.start_operator();
    pass(seconds(5)).await;
    let secret = world.secret("edge").unwrap();

    break_object(&world, "edge");
    pass(seconds(600)).await;
    assert_eq!(condition(&world, "edge", Ready), (false, invalid()));
    assert_eq!(world.secret("edge").as_ref(), Some(&secret));

    mend_object(&world, "edge");
    pass(seconds(5)).await;
    assert_eq!(world.condition("edge", Ready), (true, "TokenValid".into()));
    assert_eq!(world.secret("edge"), Some(secret));
    assert_eq!(world.endpoint.requests("edge").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_a_newer_operator_cannot_read_stays_ready_until_its_token_expires() {
    let mut world = World::new();
    world.add("edge", json!({}));
    world.start_operator();
    pass(seconds(5)).await;
    world.stop_operator().await;

    // Nobody changed it: it is the type that is another one.
    break_object(&world, "edge");
    see_as_unchanged(&world, "edge");
    world.start_operator();
    let stalled = || (true, "RenewalStalled".to_owned());
    pass(hours(1)).await;
    assert_eq!(condition(&world, "edge", Ready), stalled());
    assert_eq!(condition(&world, "edge", Stalled), (true, invalid()));
    pass(hours(22)).await;
    assert_eq!(condition(&world, "edge", Ready), stalled());
    pass(hours(1)).await;
    let expired = (false, "TokenExpired".to_owned());
    assert_eq!(condition(&world, "edge", Ready), expired);
    assert_eq!(world.endpoint.requests("edge").len(), 1);
    // Ready, then in need of a person, then expired.
    assert_eq!(world.api.count(Verb::Create, "events"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_malformed_object_whose_status_is_refused_is_told_of_once_all_the_same() {
    let mut world = World::new();
    world.add("edge", json!({}));
    break_object(&world, "edge");
    world.api.on_request(|request| {
        if request.resource == "edgecredentials/status" {
            Fault::Status(422, "Invalid".to_owned())
        } else {
            Fault::None
        }
    });
    world.start_operator();
    pass(days(1)).await;
    assert_eq!(world.api.count(Verb::Create, "events"), 1);
    assert_eq!(world.api.count(Verb::Patch, "edgecredentials/status"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_malformed_object_is_told_of_as_soon_as_the_api_server_lets_it() {
    let mut world = World::new();
    world.add("edge", json!({}));
    break_object(&world, "edge");
    world.api.on_request(|request| {
        if request.resource == "edgecredentials/status" {
            Fault::Status(500, "InternalError".to_owned())
        } else {
            Fault::None
        }
    });
    world.start_operator();
    pass(seconds(60)).await;
    world.api.no_faults();
    pass(seconds(10)).await;
    assert_eq!(condition(&world, "edge", Stalled), (true, invalid()));
    assert_eq!(world.api.count(Verb::Create, "events"), 1);
}

#[tokio::test(start_paused = true)]
async fn what_the_api_server_would_refuse_once_the_token_was_paid_for_is_refused_before() {
    let mut world = World::new();
    // Older than the schema's rules, as `add` leaves the schema out.
    let token = json!({"key": "token", "from": "AccessToken"});
    for (name, spec) in [
        (
            "key",
            json!({"target": {"data": [{"key": "..data", "from": "AccessToken"}]}}),
        ),
        ("target", json!({"target": {"name": "a..b"}})),
        ("label", json!({"target": {"labels": {"a..b/c": "x"}}})),
        (
            "value",
            json!({"target": {"labels": {"team": "not a value"}}}),
        ),
        (
            "size",
            json!({"target": {"data": [token, {"key": "x", "value": "x".repeat(8193)}]}}),
        ),
    ] {
        world.add(name, spec);
    }
    world.start_operator();
    pass(days(1)).await;
    for name in ["key", "target", "label", "value", "size"] {
        assert_eq!(world.condition(name, Ready), (false, invalid()), "{name}");
        assert_eq!(world.condition(name, Stalled), (true, invalid()), "{name}");
    }
    assert_eq!(world.endpoint.total_requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_spec_that_becomes_unsound_leaves_the_token_ready_until_it_expires() {
    let mut world = World::new();
    world.endpoint.set_lifetime(SignedDuration::from_hours(1));
    world.add("edge", json!({}));
    world.start_operator();
    pass(seconds(5)).await;
    let stalled = || (true, "RenewalStalled".to_owned());
    let origin = || "TokenOriginNotAllowed".to_owned();

    // For the same parameters.
    edit_spec(
        &world,
        "edge",
        "target",
        json!({"name": target("edge"), "labels": {"a..b/c": "x"}}),
    );
    pass(seconds(60)).await;
    assert_eq!(world.condition("edge", Ready), stalled());
    assert_eq!(world.condition("edge", Stalled), (true, invalid()));
    // For others.
    let elsewhere = json!({"url": "https://evil.example/oauth/token"});
    edit_spec(&world, "edge", "tokenRequest", elsewhere);
    pass(seconds(60)).await;
    assert_eq!(world.condition("edge", Ready), (false, invalid()));
    edit_spec(&world, "edge", "target", json!({"name": target("edge")}));
    pass(seconds(60)).await;
    assert_eq!(world.condition("edge", Ready), (false, origin()));
    assert_eq!(world.condition("edge", Stalled), (true, origin()));

    // Set right, it holds what it held.
    edit_spec(&world, "edge", "tokenRequest", json!({}));
    pass(seconds(60)).await;
    assert_eq!(world.condition("edge", Ready), (true, "TokenValid".into()));
    assert_eq!(world.endpoint.requests("edge").len(), 1);

    edit_spec(&world, "edge", "renewBefore", json!("soon"));
    pass(seconds(3000)).await;
    assert_eq!(world.condition("edge", Ready), stalled());
    pass(seconds(600)).await;
    assert_eq!(
        world.condition("edge", Ready),
        (false, "TokenExpired".into())
    );
    assert_eq!(world.condition("edge", Stalled), (true, invalid()));
    assert_eq!(world.endpoint.requests("edge").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_a_newer_rule_refuses_leaves_the_token_ready_until_it_expires() {
    let mut world = World::new();
    world.endpoint.set_lifetime(SignedDuration::from_hours(1));
    world.add("edge", json!({}));
    world.start_operator();
    pass(seconds(5)).await;
    world.stop_operator().await;

    // Nobody changed it: it is the rule that is new.
    edit_spec(
        &world,
        "edge",
        "tokenRequest",
        json!({"audience": "\u{e9}"}),
    );
    see_as_unchanged(&world, "edge");
    world.start_operator();
    pass(seconds(3590)).await;
    assert_eq!(
        world.condition("edge", Ready),
        (true, "RenewalStalled".into())
    );
    pass(seconds(8)).await;
    assert_eq!(
        world.condition("edge", Ready),
        (false, "TokenExpired".into())
    );
    assert_eq!(world.condition("edge", Stalled), (true, invalid()));
    assert_eq!(world.endpoint.requests("edge").len(), 1);
}

/// Has the status name the generation that there is now.
fn see_as_unchanged(world: &World, name: &str) {
    let edit = |object: &mut Value| {
        object["status"]["observedGeneration"] = object["metadata"]["generation"].clone();
    };
    let _: PartialObjectMeta<EdgeCredential> = world.api.edit(NAMESPACE, name, edit);
}

fn edit_spec(world: &World, name: &str, field: &str, value: Value) {
    let edit = |object: &mut Value| object["spec"][field] = value;
    let _: PartialObjectMeta<EdgeCredential> = world.api.edit(NAMESPACE, name, edit);
}
