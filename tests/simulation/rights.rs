//! Rights to write targets: a token that could not be stored is not requested.

use edge_credential_operator::api::{
    ConditionType::{Ready, Reconciling, Stalled},
    EdgeCredential,
};
use k8s_openapi::api::core::v1::Secret;
use kit::fake_api::{Fault, Verb};
use kube::Resource;
use serde_json::json;

use crate::world::{NAMESPACE, World, days, hours, pass, seconds, target};

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
async fn a_renewal_that_may_not_be_written_is_requested_once_kept_and_written_when_it_may_be() {
    let mut world = World::new();
    world.add("edge", json!({}));
    world.start_operator();
    pass(hours(1)).await;
    let reviews = world.api.count(Verb::Create, REVIEWS);
    world.api.deny(Verb::Update, "secrets", None);
    pass(hours(22)).await;
    assert_eq!(
        world.condition("edge", Ready),
        (true, "RenewalFailing".into())
    );
    let refused = (true, "TargetWriteForbidden".to_owned());
    assert_eq!(world.condition("edge", Reconciling), refused);
    pass(hours(2)).await;
    assert!(!world.condition("edge", Ready).0);
    assert_eq!(world.endpoint.total_requests(), 2);
    assert_eq!(world.api.count(Verb::Create, REVIEWS), reviews);

    world.api.allow_all();
    pass(seconds(301)).await;
    assert_eq!(world.condition("edge", Ready), (true, "TokenValid".into()));
    assert_eq!(world.endpoint.total_requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_the_right_to_update_no_token_is_requested_in_place_of_one_for_another_spec() {
    let mut world = World::new();
    world.add("edge", json!({}));
    world.start_operator();
    pass(hours(1)).await;
    world.api.deny(Verb::Update, "secrets", None);
    let audience = json!({"audience": ""});
    world
        .api
        .edit::<EdgeCredential>(NAMESPACE, "edge", |object| {
            object["spec"]["tokenRequest"] = audience;
            object["metadata"]["generation"] = json!(2);
        });
    // What was proven by a write is relied on, until a write is refused.
    pass(hours(1)).await;
    assert_eq!(world.condition("edge", Stalled), missing());
    assert_eq!(world.endpoint.total_requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_right_to_update_that_names_the_target_is_seen() {
    let mut world = World::new();
    let (names, targets) = (["one", "two"], [target("one"), target("two")]);
    let targets = targets.each_ref().map(String::as_str);
    world
        .api
        .deny_all_but(Verb::Update, "secrets", None, &targets);
    for name in names {
        world.add(name, json!({}));
        world
            .api
            .apply_object(&empty_target(name, &world.object(name)));
    }
    world.start_operator();
    pass(seconds(5)).await;
    for name in names {
        assert_eq!(world.condition(name, Ready), (true, "TokenValid".into()));
    }
    // Renewals as well.
    pass(days(3)).await;
    for name in names {
        assert_eq!(world.condition(name, Ready), (true, "TokenValid".into()));
        assert_eq!(world.condition(name, Stalled), (false, String::new()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_right_to_update_that_names_another_secret_is_none() {
    let mut world = World::new();
    let other = target("other");
    world
        .api
        .deny_all_but(Verb::Update, "secrets", None, &[&other]);
    world.add("edge", json!({}));
    world
        .api
        .apply_object(&empty_target("edge", &world.object("edge")));
    world.start_operator();
    pass(hours(1)).await;
    assert_eq!(world.condition("edge", Stalled), missing());
    assert_eq!(world.endpoint.total_requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_question_is_enough_where_a_right_is_granted_everywhere() {
    let mut world = World::new();
    for number in 0..50 {
        let (namespace, name) = (format!("shop-{number}"), format!("edge-{number}"));
        world.add_in(&namespace, &name, json!({}));
    }
    world.start_operator();
    pass(days(10)).await;
    assert!(world.endpoint.total_requests() > 500);
    assert_eq!(world.api.count(Verb::Create, REVIEWS), 1);
}

#[tokio::test(start_paused = true)]
async fn a_right_that_is_missing_in_one_namespace_is_asked_for_by_namespace() {
    let mut world = World::new();
    world.api.deny(Verb::Create, "secrets", Some("dark"));
    for number in 0..20 {
        for namespace in ["shop", "dark"] {
            world.add_in(namespace, &format!("{namespace}-{number}"), json!({}));
        }
    }
    world.start_operator();
    pass(seconds(60)).await;
    assert_eq!(world.endpoint.total_requests(), 20);
    // Once everywhere, once in the one, and in the other each 5 to 10 seconds.
    let reviews = world.api.count(Verb::Create, REVIEWS);
    assert!((8..=14).contains(&reviews), "{reviews}");
}

/// A target that is the object's, and has no token yet.
fn empty_target(name: &str, owner: &EdgeCredential) -> Secret {
    serde_json::from_value(json!({
        "metadata": {
            "namespace": NAMESPACE,
            "name": target(name),
            "ownerReferences": [owner.controller_owner_ref(&()).unwrap()],
        },
        "type": "Opaque",
    }))
    .unwrap()
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
