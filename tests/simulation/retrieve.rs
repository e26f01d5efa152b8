//! A target that was deleted comes back from the API server's history, so that it costs no request.

use edge_credential_operator::api::{
    ConditionType::Ready, EdgeCredential, edge_credential::RENEW_REQUESTED_AT,
};
use k8s_openapi::api::core::v1::Secret;
use kit::fake_api::{Fault, Verb};
use serde_json::json;

use crate::world::{NAMESPACE, World, days, hours, pass, seconds, target};

/// A new process, an hour after the token was written: it has read no Secret.
async fn restarted() -> World {
    let mut world = World::new();
    world.add("edge", json!({}));
    world.start_operator();
    pass(hours(1)).await;
    world.restart_operator().await;
    pass(seconds(10)).await;
    world
}

fn delete_target(world: &World) {
    assert!(
        world
            .api
            .delete_object::<Secret>(NAMESPACE, &target("edge"))
    );
}

fn lists(world: &World) -> u64 {
    world.api.count(Verb::List, "secrets")
}

fn requests(world: &World) -> usize {
    world.endpoint.requests("edge").len()
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_deleted_after_a_restart_comes_back_without_a_request_and_that_is_told() {
    let world = restarted().await;
    let before = world.secret("edge").unwrap().data;
    delete_target(&world);
    pass(seconds(2)).await;
    assert_eq!(world.secret("edge").unwrap().data, before);
    assert_eq!((requests(&world), lists(&world)), (1, 1));
    pass(seconds(30)).await;
    let events = world.api.list_as::<k8s_openapi::api::events::v1::Event>();
    let told: Vec<_> = events
        .iter()
        .filter(|event| event.reason.as_deref() == Some("TargetRestored"))
        .collect();
    assert_eq!(told.len(), 1);
    assert!(
        told[0]
            .note
            .as_deref()
            .unwrap()
            .contains(RENEW_REQUESTED_AT)
    );
    // Once more.
    delete_target(&world);
    pass(seconds(2)).await;
    assert_eq!(world.secret("edge").unwrap().data, before);
    assert_eq!(requests(&world), 1);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_deleted_in_a_gap_of_the_watch_comes_back_without_a_request() {
    let world = restarted().await;
    let before = world.secret("edge").unwrap().data;
    let (resource, verb) = ("secrets", Verb::Watch);
    world.api.deny(verb, resource, None);
    world.api.cut_watches();
    pass(seconds(5)).await;
    delete_target(&world);
    world.api.allow_all();
    pass(seconds(20)).await;
    assert_eq!(world.secret("edge").unwrap().data, before);
    assert_eq!(requests(&world), 1);
}

/// Seen after a restart of a real API server: the list that ended the gap had neither the write nor the deletion, and the token
/// before was taken for the one that was lost.
#[tokio::test(start_paused = true)]
async fn a_target_that_is_renewed_and_lost_in_a_gap_of_the_watch_comes_back_without_a_request() {
    type Loss = fn(&World);
    let rows: [(&str, Loss); 2] = [
        ("deleted", delete_target),
        ("damaged", |world| {
            world
                .api
                .edit::<Secret>(NAMESPACE, &target("edge"), |secret| {
                    secret["data"] = json!({});
                });
        }),
    ];
    for (row, lose) in rows {
        let world = restarted().await;
        world.api.deny(Verb::Watch, "secrets", None);
        world.api.cut_watches();
        pass(seconds(1)).await;
        world
            .api
            .edit::<EdgeCredential>(NAMESPACE, "edge", |object| {
                object["metadata"]["annotations"] = json!({RENEW_REQUESTED_AT: row});
            });
        pass(seconds(3)).await;
        let renewed = world.secret("edge").unwrap().data;
        assert_eq!(requests(&world), 2, "{row}");
        lose(&world);
        // The watch begins anew with a list, and the history before is there.
        world.api.expire_watches();
        world.api.allow_all();
        pass(seconds(20)).await;
        assert_eq!(world.secret("edge").expect(row).data, renewed, "{row}");
        assert_eq!(requests(&world), 2, "{row}");
    }
}

/// Whoever leaked it asked for the renewal.
#[tokio::test(start_paused = true)]
async fn a_token_that_was_replaced_is_not_brought_back_in_place_of_the_one_that_came_after_it() {
    let mut world = restarted().await;
    let set = |world: &World, part: &str, field: &str, value: serde_json::Value| {
        world
            .api
            .edit::<EdgeCredential>(NAMESPACE, "edge", |object| object[part][field] = value);
    };
    let put = |world: &World, secret: &Secret| {
        world
            .api
            .edit::<Secret>(NAMESPACE, &target("edge"), |stored| {
                stored["data"] = json!(secret.data);
                stored["metadata"]["annotations"] = json!(secret.metadata.annotations);
            });
    };
    let replaced = world.secret("edge").unwrap();
    set(
        &world,
        "metadata",
        "annotations",
        json!({RENEW_REQUESTED_AT: "leaked"}),
    );
    pass(seconds(10)).await;
    let renewed = world.secret("edge").unwrap();
    // No memory has it any more.
    world.restart_operator().await;
    set(&world, "spec", "suspend", json!(true));
    pass(seconds(10)).await;
    put(&world, &Secret::default());
    put(&world, &replaced);
    delete_target(&world);
    pass(seconds(10)).await;
    set(&world, "spec", "suspend", json!(false));
    pass(seconds(10)).await;
    assert_eq!(world.secret("edge").unwrap().data, renewed.data);
    assert_eq!(requests(&world), 2);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_was_deleted_while_no_operator_ran_comes_back_if_it_was_written_of_late() {
    let mut world = World::new();
    world.add("edge", json!({}));
    world.start_operator();
    pass(seconds(60)).await;
    let before = world.secret("edge").unwrap().data;
    world.stop_operator().await;
    delete_target(&world);
    world.start_operator();
    pass(seconds(10)).await;
    assert_eq!(world.secret("edge").unwrap().data, before);
    assert_eq!(requests(&world), 1);
}

#[tokio::test(start_paused = true)]
async fn where_the_history_is_gone_or_may_not_be_read_a_token_is_requested_at_once() {
    type Change = fn(&World);
    let rows: [(&str, Change); 3] = [
        ("compacted", |world| world.api.expire_history()),
        ("no right to list", |world| {
            world.api.deny(Verb::List, "secrets", None);
        }),
        ("refused for another reason", |world| {
            world.api.on_request(|request| match request.verb {
                Verb::List if request.resource == "secrets" => {
                    Fault::Status(400, "BadRequest".to_owned())
                }
                _ => Fault::None,
            });
        }),
    ];
    for (row, change) in rows {
        let world = restarted().await;
        let before = world.secret("edge").unwrap().data;
        delete_target(&world);
        change(&world);
        pass(seconds(5)).await;
        let after = world.secret("edge").expect(row).data;
        assert_ne!(after, before, "{row}");
        assert_eq!((requests(&world), lists(&world)), (2, 1), "{row}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_fails_is_asked_three_times_for_the_history() {
    let world = restarted().await;
    delete_target(&world);
    world.api.on_request(|request| match request.verb {
        Verb::List if request.resource == "secrets" => Fault::Status(503, "No".to_owned()),
        _ => Fault::None,
    });
    pass(seconds(10)).await;
    assert!(world.has_token(NAMESPACE, "edge"));
    assert_eq!((requests(&world), lists(&world)), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn with_the_endpoint_down_a_history_without_the_target_is_asked_once() {
    let world = restarted().await;
    world.endpoint.fail(Some(crate::endpoint::DOWN));
    delete_target(&world);
    world.api.expire_history();
    pass(hours(1)).await;
    assert_eq!(lists(&world), 1);
    world.endpoint.fail(None);
    pass(seconds(60)).await;
    assert!(world.condition("edge", Ready).0);
}

#[tokio::test(start_paused = true)]
async fn the_target_of_a_deleted_object_is_not_brought_back() {
    let mut world = restarted().await;
    world.stop_operator().await;
    // The target goes with its owner.
    world.delete(NAMESPACE, "edge");
    assert!(world.secret("edge").is_none());
    world.start_operator();
    pass(seconds(60)).await;
    assert!(world.secret("edge").is_none());
    assert_eq!((requests(&world), lists(&world)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_token_for_other_credentials_or_parameters_is_not_brought_back() {
    for other in ["credentials", "parameters"] {
        let mut world = restarted().await;
        world.stop_operator().await;
        delete_target(&world);
        if other == "credentials" {
            world.put_credentials("edge", "another");
        } else {
            world
                .api
                .edit::<EdgeCredential>(NAMESPACE, "edge", |object| {
                    object["spec"]["tokenRequest"]["scopes"] = json!(["edge.admin:manage"]);
                });
        }
        world.start_operator();
        pass(seconds(60)).await;
        assert!(world.has_token(NAMESPACE, "edge"));
        assert_eq!(requests(&world), 2, "{other}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_deleted_while_suspended_comes_back_with_its_token_when_that_ends() {
    let world = restarted().await;
    let before = world.secret("edge").unwrap().data;
    let suspend = |suspend: bool| {
        world
            .api
            .edit::<EdgeCredential>(NAMESPACE, "edge", |object| {
                object["spec"]["suspend"] = json!(suspend);
            });
    };
    suspend(true);
    pass(seconds(10)).await;
    delete_target(&world);
    pass(seconds(10)).await;
    assert!(world.secret("edge").is_none(), "nothing is written");
    // By then the API server has forgotten it.
    world.api.expire_history();
    pass(hours(1)).await;
    suspend(false);
    pass(seconds(10)).await;
    assert_eq!(world.secret("edge").unwrap().data, before);
    assert_eq!(requests(&world), 1);
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_secret_of_that_name_is_left_alone() {
    let world = restarted().await;
    delete_target(&world);
    let foreign: Secret = serde_json::from_value(json!({
        "metadata": {"namespace": NAMESPACE, "name": target("edge")},
        "type": "Opaque",
    }))
    .unwrap();
    world.api.apply_object(&foreign);
    pass(days(1)).await;
    assert!(!world.has_token(NAMESPACE, "edge"));
    assert_eq!(requests(&world), 1);
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_the_same_an_hour_later_has_the_token_that_was_written_then() {
    let mut world = World::new();
    world.add_tenants("shop", "first", "client", json!({}));
    world.start_operator();
    pass(hours(1)).await;
    let reads = world.api.count(Verb::Get, "secrets");
    world.add_tenants("elsewhere", "second", "client", json!({}));
    pass(seconds(10)).await;
    assert!(world.has_token("elsewhere", "second"));
    assert_eq!(world.endpoint.requests("client").len(), 1);
    // Its credentials, and the Secret that has the token.
    assert_eq!(world.api.count(Verb::Get, "secrets"), reads + 2);

    // Whatever else is changed there: it is the very token, or it is not taken.
    world
        .api
        .edit::<Secret>("elsewhere", &target("second"), |secret| {
            secret["metadata"]["labels"]["touched"] = json!("by somebody");
        });
    pass(hours(1)).await;
    world.add_tenants("elsewhere", "third", "client", json!({}));
    pass(seconds(10)).await;
    assert!(world.has_token("elsewhere", "third"));
    assert_eq!(world.endpoint.requests("client").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_somebody_put_into_another_ones_secret_is_not_taken() {
    let mut world = World::new();
    world.add_tenants("shop", "first", "client", json!({}));
    world.start_operator();
    pass(hours(1)).await;
    // The operator cannot set it right.
    world.api.deny(Verb::Update, "secrets", Some("shop"));
    world
        .api
        .edit::<Secret>("shop", &target("first"), |secret| {
            secret["data"] = json!({"access_token": "Zm9yZ2VkLXRva2Vu"});
        });
    pass(seconds(10)).await;
    world.add_tenants("elsewhere", "second", "client", json!({}));
    pass(seconds(10)).await;
    let second = world
        .api
        .get_as::<Secret>("elsewhere", &target("second"))
        .unwrap();
    let token = &second.data.unwrap()["access_token"].0;
    assert!(!token.starts_with(b"forged"));
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_made_anew_has_the_token_of_the_one_before() {
    let world = {
        let mut world = World::new();
        world.add("edge", json!({}));
        world.start_operator();
        pass(hours(1)).await;
        world
    };
    let before = world.secret("edge").unwrap().data;
    // The target goes with its owner.
    world.delete(NAMESPACE, "edge");
    pass(seconds(10)).await;
    world.add("edge", json!({}));
    pass(seconds(10)).await;
    assert_eq!(world.secret("edge").unwrap().data, before);
    assert_eq!(requests(&world), 1);
}

/// Seen after a restart of a real API server: the look counted as made although it had not begun.
#[tokio::test(start_paused = true)]
async fn an_api_server_that_fails_before_the_history_is_asked_for_costs_no_token() {
    let world = restarted().await;
    let before = world.secret("edge").unwrap().data;
    world.api.on_request(|request| match request.verb {
        Verb::Get if request.resource == "edgecredentials" => Fault::DropConnection,
        _ => Fault::None,
    });
    delete_target(&world);
    pass(seconds(3)).await;
    world.api.no_faults();
    pass(seconds(20)).await;
    assert_eq!(world.secret("edge").unwrap().data, before);
    assert_eq!(requests(&world), 1);
}

#[tokio::test(start_paused = true)]
async fn a_target_whose_status_was_lost_in_a_crash_is_seen_at_the_start() {
    let mut world = World::new();
    world.api.on_request(|request| match request.verb {
        Verb::Patch => Fault::DropConnection,
        _ => Fault::None,
    });
    for number in 0..50 {
        world.add(&format!("edge-{number}"), json!({}));
    }
    world.start_operator();
    pass(seconds(60)).await;
    assert_eq!(world.endpoint.total_requests(), 50);
    world.kill_operator().await;
    world.api.no_faults();
    world.start_operator();
    pass(seconds(60)).await;
    for number in 0..50 {
        assert!(
            world.condition(&format!("edge-{number}"), Ready).0,
            "{number}"
        );
    }
    assert_eq!(world.endpoint.total_requests(), 50);
}

/// Seen in a test of faults: the object was looked at ten times a second.
#[tokio::test(start_paused = true)]
async fn a_repair_whose_answer_was_lost_is_over_with_the_next_attempt() {
    let mut world = World::new();
    world.add("edge", json!({}));
    world.start_operator();
    pass(hours(1)).await;
    world.api.on_request(|request| match request.verb {
        Verb::Update => Fault::CrashedAfter,
        _ => Fault::None,
    });
    world
        .api
        .edit::<Secret>(NAMESPACE, &target("edge"), |secret| {
            secret["metadata"]["labels"] = json!({});
        });
    pass(seconds(3)).await;
    world.api.no_faults();
    let reads = world.api.count(Verb::Get, "secrets");
    pass(hours(1)).await;
    let reads = world.api.count(Verb::Get, "secrets") - reads;
    assert!(reads < 10, "{reads} reads");
    assert!(world.object("edge").status.unwrap().failures.is_none());
    assert_eq!(requests(&world), 1);
}
