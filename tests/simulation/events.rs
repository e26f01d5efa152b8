//! What is told by Events, how soon, and to whom a crowd is a nuisance.

use edge_credential_operator::api::{ConditionType::Ready, EdgeCredential};
use k8s_openapi::{
    api::events::v1::Event, apimachinery::pkg::apis::meta::v1::ObjectMeta, jiff::Timestamp,
};
use kit::fake_api::Fault;
use serde_json::json;

use crate::world::{NAMESPACE, World, days, pass, seconds};

const CROWDED: &str = "crowded";

const CROWD: usize = 1000;

/// The Events of an object, by the time of their creation.
fn events(world: &World, namespace: &str, name: &str) -> Vec<Event> {
    let mut events = world.api.list_as::<Event>();
    events.retain(|event| {
        let regarding = event.regarding.as_ref().unwrap();
        (regarding.namespace.as_deref(), regarding.name.as_deref()) == (Some(namespace), Some(name))
    });
    events.sort_by_key(created_at);
    events
}

fn created_at(event: &Event) -> Timestamp {
    event.metadata.creation_timestamp.as_ref().unwrap().0
}

fn reasons(events: &[Event]) -> Vec<&str> {
    let reasons = events.iter().map(|event| event.reason.as_deref().unwrap());
    reasons.collect()
}

fn suspend(world: &World, namespace: &str, name: &str, suspend: bool) {
    world.api.edit::<EdgeCredential>(namespace, name, |object| {
        object["spec"]["suspend"] = json!(suspend)
    });
}

fn add_crowd(world: &World) {
    for number in 0..CROWD {
        world.add_in(CROWDED, &format!("edge-{number}"), json!({}));
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_event_after_a_thousand_new_objects_is_told_within_a_minute() {
    let mut world = World::new();
    world.endpoint.set_latency(seconds(0));
    world.start_operator();
    add_crowd(&world);
    let started = world.clock.now();
    pass(seconds(120)).await;
    let told = world.api.list_as::<Event>();
    assert_eq!(told.len(), CROWD);
    let last = told.iter().map(created_at).max().unwrap();
    let took = last.duration_since(started).as_secs();
    assert!((45..=60).contains(&took), "{took} s");
}

#[tokio::test(start_paused = true)]
async fn a_tenant_whose_thousand_objects_flap_neither_delays_nor_displaces_the_events_of_others() {
    let mut world = World::new();
    world.start_operator();
    add_crowd(&world);
    pass(seconds(120)).await;
    for round in 0..4 {
        for number in 0..CROWD {
            suspend(&world, CROWDED, &format!("edge-{number}"), round % 2 == 0);
        }
        let calm = format!("calm-{round}");
        world.add(&calm, json!({}));
        pass(seconds(2)).await;
        assert!(world.condition(&calm, Ready).0);
        let told = events(&world, NAMESPACE, &calm);
        assert_eq!(
            reasons(&told),
            ["TokenValid"],
            "within 2 s of round {round}"
        );
        pass(seconds(8)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_namespace_where_events_are_not_answered_delays_those_of_no_other() {
    let mut world = World::new();
    world.api.on_request(|request| {
        if request.resource == "events" && request.namespace == CROWDED {
            Fault::Delay(days(1))
        } else {
            Fault::None
        }
    });
    world.start_operator();
    for number in 0..60 {
        world.add_in(CROWDED, &format!("edge-{number}"), json!({}));
    }
    pass(seconds(15)).await;
    world.add("calm", json!({}));
    pass(seconds(2)).await;
    let told = events(&world, NAMESPACE, "calm");
    assert_eq!(reasons(&told), ["TokenValid"]);
}

/// What waits for ten minutes is old news, and what is old news is counted.
#[tokio::test(start_paused = true)]
async fn events_that_could_not_be_told_in_time_are_dropped_and_counted() {
    let mut world = World::new();
    world.api.on_request(|request| {
        if request.resource == "events" {
            Fault::Delay(days(1))
        } else {
            Fault::None
        }
    });
    world.start_operator();
    for number in 0..200 {
        world.add(&format!("edge-{number}"), json!({}));
    }
    pass(seconds(20 * 60)).await;
    assert_eq!(world.api.list_as::<Event>().len(), 0);
    // One in ten seconds for ten minutes.
    let failed = world.metric("edgecredential_events_total{outcome=\"Failed\"}");
    assert!((60..=62).contains(&failed), "{failed}");
    let expired = world.metric("edgecredential_events_total{outcome=\"Expired\"}");
    assert_eq!(failed + expired, 200);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_flaps_is_told_of_by_two_events_that_count() {
    let mut world = World::new();
    world.add("edge", json!({}));
    world.start_operator();
    pass(seconds(60)).await;
    for _ in 0..20 {
        for suspended in [true, false] {
            suspend(&world, NAMESPACE, "edge", suspended);
            pass(seconds(15)).await;
        }
    }
    let told = events(&world, NAMESPACE, "edge");
    assert_eq!(reasons(&told), ["TokenValid", "Suspended"]);
    let counts = told
        .iter()
        .map(|event| event.series.as_ref().unwrap().count);
    assert_eq!(counts.collect::<Vec<_>>(), [21, 20]);
    let last = told[0].series.as_ref().unwrap().last_observed_time.0;
    let ago = world.clock.now().duration_since(last).as_secs();
    assert!((14..=15).contains(&ago), "{ago} s ago");
}

/// kubernetes-sigs/controller-runtime#3511: the name of an Event is made of that of its object.
#[tokio::test(start_paused = true)]
async fn an_object_with_the_longest_name_there_can_be_is_told_of() {
    let mut world = World::new();
    let template = world.add("edge", json!({"suspend": true}));
    // Cut anywhere, the last two do not end as a name must.
    let names = [
        "a".repeat(253),
        "a-".repeat(126) + "a",
        "a.".repeat(126) + "a",
    ];
    for name in &names {
        let mut object = template.clone();
        object.metadata = ObjectMeta {
            namespace: Some(NAMESPACE.into()),
            name: Some(name.clone()),
            ..ObjectMeta::default()
        };
        world.api.apply_object(&object);
    }
    world.start_operator();
    pass(seconds(60)).await;
    for name in &names {
        let told = events(&world, NAMESPACE, name);
        assert_eq!(reasons(&told), ["Suspended"], "{name}");
    }
}
