//! Rights to write targets: a token that could not be stored is not requested.

use edge_credential_operator::api::ConditionType::{Ready, Stalled};
use kit::fake_api::{Fault, Verb};
use serde_json::json;

use crate::world::{World, hours, pass, seconds};

const REVIEWS: &str = "selfsubjectaccessreviews";

fn missing() -> (bool, String) {
    (true, "RBACMissing".to_owned())
}

#[tokio::test(start_paused = true)]
async fn without_the_right_to_create_no_token_is_requested_and_its_grant_is_noticed() {
    let mut world = World::new();
    let names = ["one", "two", "three"];
    for name in names {
        world.add(name, json!({}));
    }
    world.api.deny(Verb::Create, "secrets", None);
    world.start_operator();
    pass(hours(1)).await;
    for name in names {
        assert_eq!(world.condition(name, Stalled), missing());
        assert!(!world.condition(name, Ready).0);
    }
    assert_eq!(world.endpoint.total_requests(), 0);
    assert_eq!(world.api.count(Verb::Create, "secrets"), 0);
    let reviews = world.api.count(Verb::Create, REVIEWS);
    assert!(
        (60..=720).contains(&reviews),
        "{reviews} in an hour, for all three"
    );

    world.api.allow_all();
    pass(seconds(20)).await;
    for name in names {
        assert_eq!(world.condition(name, Ready), (true, "TokenValid".into()));
    }
    assert_eq!(world.endpoint.total_requests(), 3);
}

#[tokio::test(start_paused = true)]
async fn without_the_right_to_update_a_token_is_kept_until_it_expires() {
    let mut world = World::new();
    world.add("edge", json!({}));
    world.start_operator();
    pass(hours(1)).await;
    world.api.deny(Verb::Update, "secrets", None);
    pass(hours(22)).await;
    assert_eq!(
        world.condition("edge", Ready),
        (true, "RenewalStalled".into())
    );
    assert_eq!(world.condition("edge", Stalled), missing());
    pass(hours(2)).await;
    assert_eq!(
        world.condition("edge", Ready),
        (false, "TokenExpired".into())
    );
    assert_eq!(world.endpoint.total_requests(), 1);

    world.api.allow_all();
    pass(seconds(20)).await;
    assert_eq!(world.condition("edge", Ready), (true, "TokenValid".into()));
    assert_eq!(world.endpoint.total_requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn where_nobody_may_ask_about_rights_the_write_shows() {
    let mut world = World::new();
    world.add("edge", json!({}));
    world.api.deny(Verb::Create, REVIEWS, None);
    world.start_operator();
    pass(seconds(5)).await;
    assert_eq!(world.condition("edge", Ready), (true, "TokenValid".into()));
    assert_eq!(world.endpoint.total_requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_refused_has_the_right_asked_for_anew() {
    let mut world = World::new();
    world.add("first", json!({}));
    world.start_operator();
    pass(seconds(5)).await;
    assert_eq!(world.api.count(Verb::Create, REVIEWS), 1);

    // By a quota, say: no role has changed.
    world.api.on_request(|request| {
        if request.verb == Verb::Create && request.resource == "secrets" {
            Fault::Status(403, "Forbidden".to_owned())
        } else {
            Fault::None
        }
    });
    world.add("second", json!({}));
    pass(seconds(2)).await;
    let refused = (false, "TargetWriteForbidden".to_owned());
    assert_eq!(world.condition("second", Ready), refused);
    assert_eq!(world.api.count(Verb::Create, REVIEWS), 1);
    world.add("third", json!({}));
    pass(seconds(2)).await;
    assert_eq!(world.api.count(Verb::Create, REVIEWS), 2);

    world.api.no_faults();
    pass(hours(1)).await;
    assert_eq!(
        world.condition("second", Ready),
        (true, "TokenValid".into())
    );
    assert_eq!(world.endpoint.total_requests(), 3);
}
