//! What is down when a key is to be replaced: what there is stays, is told, and works on, and no key is made in vain.

use edge_credential_operator::oauth::TokenError;

use super::*;
use crate::keys::Failure;

/// Each way in which an API does not answer as it should, and what it is called.
fn failures() -> [(Failure, &'static str); 3] {
    [
        (Failure::status(503), "EdgeAPIUnavailable"),
        (Failure::hang(), "EdgeAPIUnavailable"),
        (Failure::wait(600), "RateLimited"),
    ]
}

/// An hour in which the former key stays, and all the time this is said.
async fn stays_and_is_told(world: &World, reason: &str, row: &str) {
    pass(seconds(20)).await;
    for minute in 0..60 {
        assert_eq!(key(world), Some("KEY0".into()), "{row}");
        let at = format!("{row}, after {minute} min");
        let failing = (true, "RenewalFailing".into());
        assert_eq!(condition(world, Ready), failing, "{at}");
        assert_eq!(condition(world, Reconciling), (true, reason.into()), "{at}");
        pass(seconds(60)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_api_that_is_down_leaves_the_key_and_one_more_is_made_when_it_is_back() {
    for call in [Call::ListKeys, Call::CreateKey] {
        for (failure, reason) in failures() {
            let row = format!("{call:?} {failure:?}");
            let world = begin(json!({})).await;
            pass(seconds(60)).await;
            world.keys.take_calls();
            world.keys.fail(call, failure);
            ask(&world, ROTATE_REQUESTED_AT, "now");
            stays_and_is_told(&world, reason, &row).await;
            let calls = world.keys.take_calls();
            let creations = calls.get("create").copied().unwrap_or_default();
            assert!(creations <= 7, "{row}: {calls:?}");
            assert!(calls["list"] <= 3600 / 8 + 10, "{row}: {calls:?}");
            if reason == "RateLimited" {
                assert!(calls["list"] <= 14, "{row}: {calls:?}");
            }
            world.keys.recover();
            // What became of the last attempt is known for sure after a quarter of an hour.
            pass(seconds(1200)).await;
            assert_eq!(key(&world), Some("KEY1".into()), "{row}");
            assert_eq!(condition(&world, Ready), ready(), "{row}");
            assert_eq!(world.keys.live(), ["KEY0", "KEY1"], "{row}");
            assert_eq!(object(&world).status.unwrap().failures, None, "{row}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_revocation_waits_for_a_token_api_that_is_down() {
    for call in [Call::ListKeys, Call::RevokeKey] {
        for (failure, reason) in failures() {
            let row = format!("{call:?} {failure:?}");
            let world = begin(json!({"rotation": {"overlap": "5m"}})).await;
            pass(seconds(60)).await;
            ask(&world, ROTATE_REQUESTED_AT, "now");
            pass(seconds(60)).await;
            world.keys.fail(call, failure);
            pass(seconds(1200)).await;
            assert_eq!(world.keys.live(), ["KEY0", "KEY1"], "{row}");
            assert_eq!(
                condition(&world, Reconciling),
                (true, reason.into()),
                "{row}"
            );
            assert!(condition(&world, Ready).0, "{row}");
            world.keys.recover();
            pass(seconds(700)).await;
            assert_eq!(world.keys.live(), ["KEY1"], "{row}");
            assert_eq!(condition(&world, Ready), ready(), "{row}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_revocation_that_no_list_could_show_is_looked_for_as_soon_as_one_can_be_had() {
    let world = begin(json!({"rotation": {"overlap": "5m"}})).await;
    pass(seconds(60)).await;
    ask(&world, ROTATE_REQUESTED_AT, "now");
    pass(seconds(60)).await;
    // The list before the revocation comes late, and the one after it fails.
    world.keys.fail(Call::ListKeys, Failure::status(503));
    pass(seconds(1200)).await;
    world.keys.recover();
    while !world.keys.take_calls().contains_key("revoke") {
        pass(seconds(1) / 20).await;
    }
    world.keys.fail(Call::ListKeys, Failure::status(503));
    pass(seconds(60)).await;
    assert_eq!(world.keys.live(), ["KEY1"]);
    assert_eq!(object(&world).status.unwrap().retired.len(), 1);
    world.keys.recover();
    pass(seconds(700)).await;
    assert_eq!(object(&world).status.unwrap().retired, []);
    assert_eq!(condition(&world, Ready), ready());
}

#[tokio::test(start_paused = true)]
async fn a_delivery_api_that_is_down_has_a_new_key_kept_back_and_it_is_the_one_handed_out_later() {
    for (failure, most) in [
        (Failure::status(503), 25),
        (Failure::hang(), 25),
        (Failure::wait(1500), 4),
    ] {
        let world = begin(json!({})).await;
        pass(seconds(60)).await;
        world.keys.take_calls();
        world.keys.fail(Call::ProbeKey, failure);
        ask(&world, ROTATE_REQUESTED_AT, "now");
        pass(seconds(120)).await;
        let told = (true, "DeliveryUnavailable".into());
        assert_eq!(condition(&world, Reconciling), told, "{failure:?}");
        pass(seconds(3480)).await;
        assert_eq!(condition(&world, Stalled), told, "{failure:?}");
        assert_eq!(key(&world), Some("KEY0".into()));
        let calls = world.keys.take_calls();
        assert_eq!(calls["create"], 1, "{failure:?}: {calls:?}");
        assert!(calls["probe"] <= most, "{failure:?}: {calls:?}");
        world.keys.recover();
        pass(seconds(1500)).await;
        assert_eq!(key(&world), Some("KEY1".into()), "{failure:?}");
        assert_eq!(world.keys.all().len(), 2);
        assert_eq!(condition(&world, Ready), ready());
    }
}

#[tokio::test(start_paused = true)]
async fn where_there_is_no_key_that_works_one_is_handed_out_though_delivery_asks_to_wait() {
    let mut world = World::new();
    world.keys.fail(Call::ProbeKey, Failure::wait(1500));
    add(&world, json!({}));
    world.start_operator();
    pass(seconds(50)).await;
    assert_eq!(key(&world), None);
    pass(seconds(40)).await;
    assert_eq!(key(&world), Some("KEY0".into()));
    assert_eq!(world.keys.take_calls()["probe"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_deploy_api_that_is_down_leaves_the_key_and_is_asked_less_and_less_up_to_every_five_minutes()
 {
    for (failure, reason) in failures() {
        let row = format!("{failure:?}");
        let world = begin(json!({"deployAPI": {"environmentID": "env-1"}})).await;
        pass(seconds(60)).await;
        world.keys.take_calls();
        world.keys.fail(Call::ObtainKey, failure);
        ask(&world, ROTATE_REQUESTED_AT, "now");
        stays_and_is_told(&world, reason, &row).await;
        let calls = world.keys.take_calls();
        // Each call may have made a key that nobody has: after 0, 1, 3, 7, and 12 minutes, and so on.
        let most = if reason == "RateLimited" { 7 } else { 14 };
        assert!(calls["obtain"] <= most, "{row}: {calls:?}");
        world.keys.recover();
        pass(seconds(700)).await;
        assert_eq!(key(&world), Some("KEY1".into()), "{row}");
        assert_eq!(condition(&world, Ready), ready(), "{row}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_happened_before_a_status_could_not_be_written_is_told_all_the_same() {
    let world = begin(json!({})).await;
    pass(seconds(60)).await;
    let keys = world.keys.clone();
    world.api.on_request(move |request| {
        let is_made = keys.all().len() == 2;
        if request.resource == "edgetokens" && request.verb == Verb::Patch && is_made {
            Fault::DropConnection
        } else {
            Fault::None
        }
    });
    ask(&world, ROTATE_REQUESTED_AT, "now");
    pass(seconds(600)).await;
    world.api.no_faults();
    pass(seconds(120)).await;
    assert_eq!(key(&world), Some("KEY1".into()));
    assert_eq!(told(&world, "KeyCreated").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_endpoint_that_is_down_leaves_the_key_and_no_api_is_called() {
    let world = begin(json!({})).await;
    // The JSON Web Token of the first key is no good any more.
    pass(hours(25)).await;
    world.keys.take_calls();
    world
        .endpoint
        .fail(Some(TokenError::Unreachable(Unreachable::Connect)));
    ask(&world, ROTATE_REQUESTED_AT, "now");
    stays_and_is_told(&world, "TokenEndpointUnavailable", "token endpoint").await;
    assert_eq!(world.keys.take_calls(), BTreeMap::new());
    world.endpoint.fail(None);
    pass(seconds(61)).await;
    assert_eq!(key(&world), Some("KEY1".into()));
    assert_eq!(condition(&world, Ready), ready());
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_down_delays_a_rotation_and_no_api_is_called() {
    let world = begin(json!({})).await;
    pass(seconds(60)).await;
    world.keys.take_calls();
    world.api.on_request(|_| Fault::DropConnection);
    ask(&world, ROTATE_REQUESTED_AT, "now");
    pass(hours(1)).await;
    assert_eq!(world.keys.take_calls(), BTreeMap::new());
    world.api.no_faults();
    pass(seconds(400)).await;
    assert_eq!(key(&world), Some("KEY1".into()));
    assert_eq!(world.keys.all().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_takes_no_writes_costs_no_key_before_it_was_made_and_none_after_that() {
    for made in [1, 2] {
        let world = begin(json!({})).await;
        pass(seconds(60)).await;
        world.keys.take_calls();
        let keys = world.keys.clone();
        world.api.on_request(move |request| {
            if request.verb.writes() && keys.all().len() == made {
                Fault::DropConnection
            } else {
                Fault::None
            }
        });
        ask(&world, ROTATE_REQUESTED_AT, "now");
        pass(hours(1)).await;
        assert_eq!(key(&world), Some("KEY0".into()));
        assert_eq!(world.keys.all().len(), made);
        let calls: usize = world.keys.take_calls().values().sum();
        assert!(calls <= 125, "{made}: {calls}");
        world.api.no_faults();
        pass(seconds(120)).await;
        assert_eq!(key(&world), Some("KEY1".into()));
        assert_eq!(world.keys.live(), ["KEY0", "KEY1"], "{made}");
        assert_eq!(condition(&world, Ready), ready());
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_takes_no_secret_costs_no_further_key() {
    let world = begin(json!({})).await;
    pass(seconds(60)).await;
    world.api.on_request(|request| {
        if request.verb == Verb::Update && request.resource == "secrets" {
            Fault::Status(503, "ServiceUnavailable".to_owned())
        } else {
            Fault::None
        }
    });
    ask(&world, ROTATE_REQUESTED_AT, "now");
    pass(hours(1)).await;
    assert_eq!(key(&world), Some("KEY0".into()));
    let told = (true, "TargetWriteFailed".into());
    assert_eq!(condition(&world, Reconciling), told);
    world.api.no_faults();
    pass(seconds(301)).await;
    assert_eq!(key(&world), Some("KEY1".into()));
    assert_eq!(world.keys.live(), ["KEY0", "KEY1"]);
    assert_eq!(condition(&world, Ready), ready());
}
