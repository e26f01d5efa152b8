//! What changes around a key, and what that costs.

use k8s_openapi::api::events::v1::Event;

use super::*;

/// The text under a key of the target.
fn text(world: &World, key: &str) -> Option<String> {
    let secret: Secret = world.api.get_as(NAMESPACE, NAME)?;
    let value = secret.data?.remove(key)?;
    Some(String::from_utf8(value.0).unwrap())
}

fn mark(world: &World) -> String {
    object(world).status.unwrap().token.unwrap().mark
}

/// What Events with this reason say.
fn told(world: &World, reason: &str) -> Vec<String> {
    let events = world.api.list_as::<Event>().into_iter();
    let events = events.filter(|event| event.reason.as_deref() == Some(reason));
    events.filter_map(|event| event.note).collect()
}

#[tokio::test(start_paused = true)]
async fn another_layout_of_the_data_is_written_without_a_call() {
    let world = begin(json!({})).await;
    world.keys.take_calls();
    let writes = world.api.count(Verb::Update, "secrets");
    world.api.edit::<EdgeToken>(NAMESPACE, NAME, |object| {
        object["spec"]["target"] = json!({
            "labels": {"team": "web"},
            "data": [{"key": "token", "from": "EdgeToken"}, {"key": "made", "from": "CreatedAt"}],
        });
    });
    pass(hours(5)).await;
    assert_eq!(text(&world, "token"), Some("KEY0".into()));
    assert!(text(&world, "made").is_some() && key(&world).is_none());
    assert_eq!(condition(&world, Ready), ready());
    assert_eq!(world.keys.take_calls(), BTreeMap::new());
    assert_eq!(world.endpoint.total_requests(), 1);
    assert_eq!(world.api.count(Verb::Update, "secrets"), writes + 1);
}

#[tokio::test(start_paused = true)]
async fn another_client_secret_costs_nothing_and_is_used_at_the_next_rotation() {
    let mut world = begin(json!({})).await;
    world.keys.take_calls();
    let writes = world.api.writes();
    world.put_credentials(NAME, "another");
    pass(hours(5)).await;
    assert_eq!(condition(&world, Ready), ready());
    assert_eq!(world.keys.take_calls(), BTreeMap::new());
    assert_eq!(world.endpoint.total_requests(), 1);
    // The status names the version of the credentials.
    assert!(world.api.writes() <= writes + 1);
    world.restart_operator().await;
    ask(&world, ROTATE_REQUESTED_AT, "now");
    pass(seconds(120)).await;
    assert_eq!(key(&world), Some("KEY1".into()));
    assert_eq!(world.endpoint.total_requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn other_scopes_mean_another_key_with_an_overlap() {
    let world = begin(json!({"rotation": {"overlap": "1h"}})).await;
    pass(seconds(60)).await;
    world.api.edit::<EdgeToken>(NAMESPACE, NAME, |object| {
        object["spec"]["tokenAPI"] = json!({"scopes": ["audience-preview"]});
    });
    pass(seconds(120)).await;
    assert_eq!(key(&world), Some("KEY1".into()));
    assert_eq!(world.keys.live(), ["KEY0", "KEY1"]);
    pass(hours(2)).await;
    assert_eq!(world.keys.live(), ["KEY1"]);
}

#[tokio::test(start_paused = true)]
async fn in_another_environment_nothing_is_made_until_a_person_confirms_and_the_old_key_is_told() {
    let world = begin(json!({"rotation": {"every": "48h", "overlap": "1h"}})).await;
    let former = mark(&world);
    world.keys.leave_environment();
    world.put_credentials_of(NAMESPACE, NAME, "elsewhere", "secret");
    pass(hours(24)).await;
    assert_eq!(condition(&world, Ready), ready(), "it is not looked for");
    world.keys.take_calls();
    pass(hours(72)).await;
    let changed = (true, "EnvironmentChanged".into());
    assert_eq!(condition(&world, Stalled), changed);
    assert!(condition(&world, Ready).0, "the old key works");
    assert_eq!(key(&world), Some("KEY0".into()));
    let calls = world.keys.take_calls();
    assert_eq!(calls.keys().copied().collect::<Vec<_>>(), ["list"]);
    assert!(calls["list"] <= 24, "{calls:?}");

    ask(&world, ROTATE_REQUESTED_AT, "now");
    pass(seconds(120)).await;
    assert_eq!(key(&world), Some("KEY1".into()));
    assert_eq!(condition(&world, Ready), ready());
    pass(hours(2)).await;
    assert_eq!(world.keys.live(), ["KEY0", "KEY1"]);
    assert!(object(&world).status.unwrap().retired.is_empty());
    let told = told(&world, "KeyLeft");
    assert!(told.len() == 1 && told[0].contains(&former), "{told:?}");
    assert!(world.metrics().contains("edgetoken_keys_left_total 1"));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_a_list_shows_revoked_by_chance_is_replaced_then() {
    let world = begin(json!({"rotation": {"overlap": "1h"}})).await;
    pass(seconds(60)).await;
    ask(&world, ROTATE_REQUESTED_AT, "now");
    pass(seconds(120)).await;
    assert_eq!(key(&world), Some("KEY1".into()));
    world.keys.revoke("KEY1");
    pass(seconds(3300)).await;
    assert_eq!(key(&world), Some("KEY1".into()), "nothing is polled");
    // The list at the end of the former one's overlap.
    pass(seconds(600)).await;
    assert_eq!(key(&world), Some("KEY2".into()));
    assert_eq!(condition(&world, Ready), ready());
    assert_eq!(world.keys.live(), ["KEY0", "KEY2"]);
    pass(hours(2)).await;
    assert_eq!(world.keys.live(), ["KEY2"]);
    assert!(object(&world).status.unwrap().retired.is_empty());
}
