//! Two EdgeCredentials that name one target.

use edge_credential_operator::{
    api::{
        ConditionType::{Ready, Stalled},
        EdgeCredential,
    },
    oauth::TokenError,
};
use k8s_openapi::api::core::v1::Secret;
use kit::fake_api::Verb;
use serde_json::json;

use crate::world::{NAMESPACE, World, hours, pass, seconds, target};

const SHARED: &str = "shared-jwt";

/// Two new objects, each with credentials of its own, seen in one list.
fn two_for_one_target() -> World {
    let world = World::new();
    for name in ["one", "two"] {
        world.add(name, json!({"target": {"name": SHARED}}));
    }
    world
}

/// Who got a token, and who did not.
fn winner_and_loser(world: &World) -> (&'static str, &'static str) {
    if world.condition("one", Ready).0 {
        ("one", "two")
    } else {
        ("two", "one")
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_new_objects_for_one_target_one_requests_a_token_and_the_other_takes_over_later() {
    let mut world = two_for_one_target();
    world.endpoint.set_latency(seconds(9));
    world.start_operator();
    pass(seconds(5)).await;
    assert_eq!(world.endpoint.total_requests(), 1, "under way");
    pass(hours(1)).await;
    let (winner, loser) = winner_and_loser(&world);
    assert_eq!(world.condition(winner, Ready), (true, "TokenValid".into()));
    let conflict = || "TargetConflict".to_owned();
    assert_eq!(world.condition(loser, Ready), (false, conflict()));
    assert_eq!(world.condition(loser, Stalled), (true, conflict()));
    assert_eq!(world.endpoint.requests(winner).len(), 1);
    assert_eq!(world.endpoint.requests(loser).len(), 0);

    world.restart_operator().await;
    pass(hours(10)).await;
    assert_eq!(world.endpoint.total_requests(), 1);

    assert!(world.api.delete_object::<EdgeCredential>(NAMESPACE, winner));
    assert!(world.api.get_as::<Secret>(NAMESPACE, SHARED).is_none());
    pass(seconds(15)).await;
    assert_eq!(world.condition(loser, Ready), (true, "TokenValid".into()));
    assert_eq!(world.endpoint.requests(loser).len(), 1);
    assert_eq!(world.endpoint.total_requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn where_the_first_gets_no_token_the_second_is_not_held_up() {
    let mut world = two_for_one_target();
    world.endpoint.set_latency(seconds(2));
    let refused = TokenError::Redirected { status: 302 };
    world.endpoint.fail(Some(refused));
    world.start_operator();
    pass(seconds(5)).await;
    assert_eq!(world.endpoint.total_requests(), 1);

    world.endpoint.fail(None);
    pass(seconds(15)).await;
    let (winner, loser) = winner_and_loser(&world);
    assert_eq!(world.condition(winner, Ready), (true, "TokenValid".into()));
    assert_eq!(world.endpoint.total_requests(), 2);

    // The first one notices, when its turn comes.
    pass(hours(1)).await;
    assert_eq!(
        world.condition(loser, Stalled),
        (true, "TargetConflict".into())
    );
    assert_eq!(world.endpoint.total_requests(), 2);
}

/// datawire/ambassador-operator#48, external-secrets/external-secrets#2033: both wrote as fast as they could, and nothing was said.
#[tokio::test(start_paused = true)]
async fn somebody_who_changes_or_deletes_the_target_all_the_time_is_answered_every_ten_seconds_and_told_of_once()
 {
    for deletes in [false, true] {
        let mut world = World::new();
        world.add("edge", json!({}));
        world.start_operator();
        pass(hours(1)).await;
        let writes =
            || world.api.count(Verb::Update, "secrets") + world.api.count(Verb::Create, "secrets");
        let (before, told) = (writes(), world.api.count(Verb::Create, "events"));
        for _ in 0..600 {
            if deletes {
                world
                    .api
                    .delete_object::<Secret>(NAMESPACE, &target("edge"));
            } else if world.secret("edge").is_some() {
                world
                    .api
                    .edit::<Secret>(NAMESPACE, &target("edge"), |secret| {
                        secret["data"] = json!({});
                    });
            }
            pass(std::time::Duration::from_millis(100)).await;
        }
        let repairs = writes() - before;
        assert!((7..=10).contains(&repairs), "{repairs}");
        pass(seconds(60)).await;
        // That it is contested, and that what was deleted is there again.
        let events = 1 + u64::from(deletes);
        assert_eq!(world.api.count(Verb::Create, "events") - told, events);
        // It's set right in the end, and has cost nothing.
        assert!(world.condition("edge", Ready).0);
        assert!(
            world
                .secret("edge")
                .unwrap()
                .data
                .is_some_and(|data| !data.is_empty())
        );
        assert_eq!(world.endpoint.total_requests(), 1);
    }
}
