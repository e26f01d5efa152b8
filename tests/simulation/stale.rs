//! An API server whose lists lag behind.

use std::sync::atomic::{AtomicBool, Ordering};

use edge_credential_operator::api::{ConditionType::Ready, EdgeCredential, EdgeToken};
use k8s_openapi::api::core::v1::Secret;
use kit::fake_api::{Fault, Verb};
use serde_json::{Value, json};

use crate::world::{NAMESPACE, World, hours, pass, seconds, target};

#[tokio::test(start_paused = true)]
async fn a_list_from_before_a_change_of_spec_does_not_cost_the_token_that_came_of_it() {
    let mut world = World::new();
    // A list that is streamed is as new as the store.
    world.api.stream_no_lists();
    world.add("edge", json!({}));
    world.start_operator();
    pass(seconds(5)).await;
    let earlier = world.api.revision();
    world
        .api
        .edit::<EdgeCredential>(NAMESPACE, "edge", |object| {
            object["spec"]["tokenRequest"]["scopes"] = json!(["edge.admin:manage"]);
        });
    pass(seconds(5)).await;
    assert_eq!(world.endpoint.total_requests(), 2);
    let target = world.secret("edge");

    world.kill_operator().await;
    serve_once(&world, "edgecredentials", earlier);
    world.start_operator();
    pass(seconds(60)).await;
    assert_eq!(world.endpoint.total_requests(), 2);
    assert_eq!(world.secret("edge"), target);
    assert_eq!(world.condition("edge", Ready), (true, "TokenValid".into()));
}

/// The process that begins with it writes the target as the spec was, with the token and the key that it has.
#[tokio::test(start_paused = true)]
async fn a_list_from_before_a_change_of_what_the_targets_have_beside_their_tokens_is_made_up_for() {
    let mut world = World::new();
    world.api.stream_no_lists();
    world.start_operator();
    world.add("edge", json!({}));
    world.add_key(NAMESPACE, "key", "key", json!({}));
    pass(seconds(60)).await;
    let earlier = world.api.revision();
    world
        .api
        .edit::<EdgeCredential>(NAMESPACE, "edge", set_label);
    world.api.edit::<EdgeToken>(NAMESPACE, "key", set_label);
    let has_label = |world: &World, name: &str| {
        let secret: Secret = world.api.get_as(NAMESPACE, name).unwrap();
        secret.metadata.labels.unwrap().contains_key("team")
    };
    let targets = [&*target("edge"), "key"];
    pass(seconds(60)).await;
    assert!(targets.iter().all(|name| has_label(&world, name)));

    for kind in ["edgecredentials", "edgetokens"] {
        let written = world.api.count(Verb::Update, "secrets");
        world.kill_operator().await;
        serve_once(&world, kind, earlier);
        world.start_operator();
        pass(hours(1)).await;
        for name in targets {
            assert!(has_label(&world, name), "{kind}: {name}");
        }
        assert!(world.api.count(Verb::Update, "secrets") > written, "{kind}");
    }
}

fn set_label(object: &mut Value) {
    object["spec"]["target"]["labels"] = json!({"team": "web"});
}

/// Has the first list of a kind be one from before, and the watch that goes on from there begin later.
fn serve_once(world: &World, kind: &'static str, revision: u64) {
    let served = AtomicBool::new(false);
    world.api.on_request(move |request| {
        if request.resource != kind {
            return Fault::None;
        }
        match request.verb {
            Verb::List if !served.swap(true, Ordering::Relaxed) => Fault::Stale(revision),
            Verb::Watch if served.load(Ordering::Relaxed) => Fault::Delay(seconds(10)),
            _ => Fault::None,
        }
    });
}
