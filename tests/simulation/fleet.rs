//! A fleet of EdgeCredentials over a month.

use edge_credential_operator::{
    api::{ConditionType, EdgeCredential},
    edge_credential::rules::{renew_before::RenewBefore, schedule::schedule_renewal},
};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kit::fake_api::Verb;
use serde_json::json;

use crate::world::{NAMESPACE, World, days, hours, pass, seconds};

const FLEET: usize = 50;
const DAYS: u64 = 30;

fn name(number: usize) -> String {
    format!("edge-{number:02}")
}

/// When the requests of an object are due, from its first one on, until `end`.
pub fn due(
    object: &EdgeCredential,
    first: Timestamp,
    lifetime: SignedDuration,
    end: Timestamp,
) -> Vec<Timestamp> {
    std::iter::successors(Some(first), |issued_at| {
        let renew_before = RenewBefore::of(&object.spec).unwrap();
        let uid = object.metadata.uid.as_deref().unwrap();
        Some(schedule_renewal(renew_before, uid, *issued_at, *issued_at + lifetime).at)
    })
    .take_while(|time| *time < end)
    .collect()
}

#[tokio::test(start_paused = true)]
async fn in_30_days_of_50_objects_no_token_expires_and_each_request_was_due() {
    let mut world = World::new();
    for number in 0..FLEET {
        world.add(&name(number), json!({}));
    }
    world.api.keep_requests(false);
    world.start_operator();
    pass(seconds(5)).await;

    for day in 0..DAYS {
        if day > 0 && day % 2 == 0 {
            world.restart_operator().await;
        }
        for _ in 0..24 {
            pass(hours(1)).await;
            let now = world.clock.now();
            for object in world.api.list_as::<EdgeCredential>() {
                let token = object
                    .status
                    .and_then(|status| status.token)
                    .expect("a token");
                assert!(
                    now < token.expires_at.0,
                    "{:?} expired by {now}",
                    object.metadata.name
                );
            }
        }
    }

    let end = world.clock.now();
    let mut total = 0;
    for number in 0..FLEET {
        let object = world.object(&name(number));
        let requests: Vec<_> = world
            .endpoint
            .requests(&name(number))
            .into_iter()
            .map(|time| Timestamp::from_second(time.as_second()).unwrap())
            .collect();
        let due = due(&object, requests[0], SignedDuration::from_hours(24), end);
        assert_eq!(requests, due, "{}", name(number));
        total += requests.len() as u64;
    }

    let created = world.api.count(Verb::Create, "secrets");
    let replaced = world.api.count(Verb::Update, "secrets");
    let statuses = world.api.count(Verb::Patch, "edgecredentials/status");
    let events = world.api.count(Verb::Create, "events");
    assert_eq!(created, FLEET as u64);
    assert_eq!(
        created + replaced,
        total,
        "one write of a Secret for each token"
    );
    // At the beginning most wait for their turn for longer than a second, and say so.
    let waited = statuses - total;
    assert!(
        waited < FLEET as u64,
        "one write of a status for each token, and {waited} more"
    );
    assert_eq!(
        events, FLEET as u64,
        "one Event for each object that became ready"
    );
    assert_eq!(world.api.writes(), created + replaced + statuses + events);
}

#[tokio::test(start_paused = true)]
async fn a_killed_operator_requests_nothing_for_tokens_that_are_stored() {
    let mut world = World::new();
    for number in 0..FLEET {
        world.add(&name(number), json!({}));
    }
    world.start_operator();
    pass(seconds(60)).await;
    assert_eq!(world.endpoint.total_requests(), FLEET);
    let reviews = world.api.count(Verb::Create, "selfsubjectaccessreviews");
    assert_eq!(reviews, 1, "one question about rights for all of them");

    for _ in 0..20 {
        world.kill_operator().await;
        let writes = world.api.writes();
        world.start_operator();
        pass(seconds(60)).await;
        assert_eq!(world.api.writes(), writes, "nothing was to be written");
    }
    assert_eq!(world.endpoint.total_requests(), FLEET);
}

#[tokio::test(start_paused = true)]
async fn a_wiped_status_is_healed_from_the_target_without_a_request() {
    let mut world = World::new();
    world.add("edge", json!({}));
    world.start_operator();
    pass(seconds(5)).await;
    let before = world.object("edge").status.unwrap();

    world
        .api
        .edit::<EdgeCredential>(NAMESPACE, "edge", |object| object["status"] = json!(null));
    pass(seconds(5)).await;
    let after = world.object("edge").status.unwrap();
    assert_eq!(after.token, before.token);
    assert!(world.condition("edge", ConditionType::Ready).0);
    assert_eq!(world.endpoint.total_requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_shorter_lifetime_is_followed_from_the_next_token_on() {
    let mut world = World::new();
    let object = world.add("edge", json!({}));
    world.start_operator();
    pass(hours(1)).await;
    world.endpoint.set_lifetime(SignedDuration::from_mins(15));
    pass(days(1)).await;

    let requests = world.endpoint.requests("edge");
    let short = due(
        &object,
        requests[1],
        SignedDuration::from_mins(15),
        world.clock.now(),
    );
    assert_eq!(requests[1..].len(), short.len());
    assert!(world.condition("edge", ConditionType::Ready).0);
}

/// wso2/api-manager#773: until it expires, the server gives the same token to whoever asks.
#[tokio::test(start_paused = true)]
async fn a_server_that_gives_the_same_token_until_it_expires_is_asked_twice_a_lifetime() {
    let mut world = World::new();
    world.endpoint.repeat();
    world.add("edge", json!({}));
    world.start_operator();
    pass(hours(20)).await;
    let status = world.object("edge").status.unwrap();
    let message = &status.conditions[0].message;
    assert!(message.contains("gave the same token again"), "{message}");
    assert_eq!(world.endpoint.requests("edge").len(), 2);

    // A restart does not make it ask sooner.
    world.restart_operator().await;
    pass(days(10) - hours(20)).await;
    let requests = world.endpoint.requests("edge").len();
    assert!((20..=22).contains(&requests), "{requests}");
    assert_eq!(world.endpoint.issued(), 10);
    assert!(world.condition("edge", ConditionType::Ready).0);
}
