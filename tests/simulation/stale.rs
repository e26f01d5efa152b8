//! An API server whose lists lag behind.

use std::sync::atomic::{AtomicBool, Ordering};

use edge_credential_operator::api::{ConditionType::Ready, EdgeCredential};
use kit::fake_api::{Fault, Verb};
use serde_json::json;

use crate::world::{NAMESPACE, World, pass, seconds};

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
    let served = AtomicBool::new(false);
    world.api.on_request(move |request| {
        let is_first = request.resource == "edgecredentials"
            && request.verb == Verb::List
            && !served.swap(true, Ordering::Relaxed);
        if is_first {
            Fault::Stale(earlier)
        } else {
            Fault::None
        }
    });
    world.start_operator();
    pass(seconds(60)).await;
    assert_eq!(world.endpoint.total_requests(), 2);
    assert_eq!(world.secret("edge"), target);
    assert_eq!(world.condition("edge", Ready), (true, "TokenValid".into()));
}
