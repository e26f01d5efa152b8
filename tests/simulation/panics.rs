//! A program that panics on one object goes on with the others.

use edge_credential_operator::{
    api::{
        ConditionType::{self, Ready, Stalled},
        EdgeCredential, EdgeToken,
        edge_credential::RENEW_REQUESTED_AT,
        edge_token::ROTATE_REQUESTED_AT,
    },
    edge_api::Call,
};
use k8s_openapi::api::events::v1::Event;
use kit::fake_api::Fault;
use serde_json::{Value, json};

use crate::world::{NAMESPACE, World, credentials, hours, pass, seconds, target};

const PANICS: &str = "edgecredential_reconcile_panics_total";

/// What differs between the kinds.
struct Kind {
    /// Adds an object of this name, and its credentials.
    add: fn(&World, &str),
    condition: fn(&World, &str, ConditionType) -> (bool, String),
    /// The object as it is stored.
    object: fn(&World, &str) -> Value,
    /// The name of its target.
    target: fn(&str) -> String,
    /// Has a person ask for another token or key.
    ask: fn(&World, &str),
}

const EDGE_CREDENTIAL: Kind = Kind {
    add: |world, name| {
        world.add(name, json!({}));
    },
    condition: World::condition,
    object: |world, name| stored(world, "edgecredentials.edgecredentials.io", name),
    target,
    ask: |world, name| {
        world.api.edit::<EdgeCredential>(NAMESPACE, name, |object| {
            object["metadata"]["annotations"] = json!({ RENEW_REQUESTED_AT: "now" });
        });
    },
};

const EDGE_TOKEN: Kind = Kind {
    add: |world, name| world.add_key(NAMESPACE, name, name, json!({})),
    condition: |world, name, type_| world.key_condition(NAMESPACE, name, type_),
    object: |world, name| stored(world, "edgetokens.edgecredentials.io", name),
    target: |name| name.to_owned(),
    ask: |world, name| world.ask_key(NAMESPACE, name, ROTATE_REQUESTED_AT, "now"),
};

impl Kind {
    fn is_ready(&self, world: &World, name: &str) -> bool {
        (self.condition)(world, name, Ready) == (true, "TokenValid".into())
            && !(self.condition)(world, name, Stalled).0
    }

    /// Whether the object says that the program failed.
    fn is_told(&self, world: &World, name: &str) -> bool {
        (self.condition)(world, name, Stalled) == (true, "InternalError".into())
    }
}

fn stored(world: &World, kind: &str, name: &str) -> Value {
    world.api.get(kind, NAMESPACE, name).expect("it is there")
}

/// Has every visit of an object panic.
fn fail_on(world: &World, name: &str) {
    let secret = credentials(name);
    world.api.on_request(move |request| {
        assert!(request.name != secret, "on purpose");
        Fault::None
    });
}

async fn a_panic_stops_no_other(kind: Kind) {
    let mut world = World::new();
    for name in ["before", "edge", "next"] {
        (kind.add)(&world, name);
    }
    fail_on(&world, "edge");
    world.start_operator();
    pass(hours(1)).await;

    for name in ["before", "next"] {
        assert!(kind.is_ready(&world, name), "{name}");
    }
    let internal = (false, "InternalError".to_owned());
    assert_eq!((kind.condition)(&world, "edge", Ready), internal);
    assert!(kind.is_told(&world, "edge"));
    let panics = world.metric(PANICS);
    assert!((2..20).contains(&panics), "{panics} in an hour");
    assert_eq!(world.endpoint.requests("edge").len(), 0);

    world.api.no_faults();
    pass(seconds(301)).await;
    assert!(kind.is_ready(&world, "edge"));
    assert_eq!(world.metric(PANICS), panics);
}

#[tokio::test(start_paused = true)]
async fn a_panic_on_one_object_is_counted_and_told_there_and_stops_no_other() {
    a_panic_stops_no_other(EDGE_CREDENTIAL).await;
    a_panic_stops_no_other(EDGE_TOKEN).await;
}

async fn a_panic_costs_nothing(kind: Kind) {
    let mut world = World::new();
    (kind.add)(&world, "edge");
    world.start_operator();
    pass(hours(1)).await;
    let secret = |world: &World| stored(world, "secrets", &(kind.target)("edge"));
    let token = (kind.object)(&world, "edge")["status"]["token"].clone();
    assert!(token.is_object());
    let before = secret(&world);

    fail_on(&world, "edge");
    world.restart_operator().await;
    world.touch_credentials("edge", "so that it is read");
    pass(hours(1)).await;
    let usable = (true, "RenewalStalled".to_owned());
    assert_eq!((kind.condition)(&world, "edge", Ready), usable);
    assert!(kind.is_told(&world, "edge"));
    assert_eq!((kind.object)(&world, "edge")["status"]["token"], token);

    world.api.no_faults();
    pass(seconds(301)).await;
    assert!(kind.is_ready(&world, "edge"));
    assert_eq!(secret(&world), before);
    assert_eq!(world.endpoint.requests("edge").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_panic_says_nothing_of_the_token_that_is_stored_and_costs_none() {
    a_panic_costs_nothing(EDGE_CREDENTIAL).await;
    a_panic_costs_nothing(EDGE_TOKEN).await;
}

async fn a_panic_in_a_token_request_is_told(kind: Kind) {
    let mut world = World::new();
    world.endpoint.panic_for(Some("edge"));
    for name in ["edge", "next"] {
        (kind.add)(&world, name);
    }
    world.start_operator();
    pass(hours(2)).await;
    assert!(kind.is_ready(&world, "next"));
    assert!(kind.is_told(&world, "edge"));
    // The answer may have had a token in it each time.
    assert_eq!(world.endpoint.requests("edge").len(), 4);
    assert_eq!(world.metric(PANICS), 0);

    world.endpoint.panic_for(None);
    (kind.ask)(&world, "edge");
    pass(seconds(1)).await;
    assert!(kind.is_ready(&world, "edge"));
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_token_request_is_told_and_repeated_every_half_hour_only() {
    a_panic_in_a_token_request_is_told(EDGE_CREDENTIAL).await;
    a_panic_in_a_token_request_is_told(EDGE_TOKEN).await;
}

/// It happens after the key was made, whose value nobody has then.
#[tokio::test(start_paused = true)]
async fn a_panic_in_a_call_of_an_api_gives_the_place_back_and_leaves_no_key_behind() {
    for call in [Call::CreateKey, Call::ProbeKey, Call::ListKeys] {
        let mut world = World::new();
        world.keys.panic_for(Some(("edge", call)));
        let others: Vec<_> = (0..10).map(|number| format!("next-{number}")).collect();
        (EDGE_TOKEN.add)(&world, "edge");
        for name in &others {
            (EDGE_TOKEN.add)(&world, name);
        }
        world.start_operator();
        pass(hours(1)).await;
        for name in &others {
            assert!(EDGE_TOKEN.is_ready(&world, name), "{call:?}: {name}");
        }
        assert!(world.metric(PANICS) > 1, "{call:?}");
        let events = world.api.list_as::<Event>();
        let is_told = |event: &Event| event.reason.as_deref() == Some("InternalError");
        assert!(events.iter().any(is_told), "{call:?}");
        // After 0, 1, 3, 7 and 12 minutes, and so on.
        let made = world.keys.all().len() - others.len();
        assert!(made <= 14, "{call:?}: {made}");

        world.keys.panic_for(None);
        pass(hours(1)).await;
        assert!(EDGE_TOKEN.is_ready(&world, "edge"), "{call:?}");
        let mut handed_out: Vec<_> = world
            .api
            .list_as::<EdgeToken>()
            .iter()
            .map(|object| object.metadata.name.clone().unwrap())
            .map(|name| world.key(NAMESPACE, &name).unwrap())
            .collect();
        handed_out.sort_unstable();
        let mut live = world.keys.live();
        live.sort_unstable();
        assert_eq!(live, handed_out, "{call:?}");
    }
}
