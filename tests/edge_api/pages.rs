//! Lists of keys: all pages or none.

use std::time::Duration;

use edge_credential_operator::{
    api::Reason,
    edge_api::{ApiError, Cause},
};
use kit::sitecore::{ApiFailure, TokenApiStyle};
use serde_json::json;

use super::{LIST, PREFIX, TENANT, World, assert_harmless, raw};

/// A world whose client has so many keys, and as many whose labels only hold the same text further on.
async fn with_keys(count: usize, style: TokenApiStyle) -> World {
    let world = World::new().await;
    world.sitecore.set_token_api_style(style);
    for number in 0..count {
        let key = |label: &str| world.sitecore.make_key(TENANT, label);
        key(&format!("{PREFIX}{number:016x}/shop/edge"));
        key(&format!("CANARY of {PREFIX}{number:016x}"));
    }
    world
        .sitecore
        .make_key("another-tenant", &format!("{PREFIX}0"));
    world
}

#[tokio::test]
async fn all_pages_are_read_and_foreign_keys_are_left_out() {
    for (largest_page, is_unfiltered, calls) in [
        (None, false, 2),
        (Some(7), false, 9),
        (Some(7), true, 9),
        (Some(60), false, 2),
    ] {
        let style = TokenApiStyle {
            largest_page,
            is_unfiltered,
            ..TokenApiStyle::default()
        };
        let world = with_keys(30, style).await;
        let keys = world.list().await.unwrap();
        assert_eq!(keys.len(), 30, "{style:?}");
        assert!(keys.iter().all(|key| key.label.starts_with(PREFIX)));
        assert_eq!(world.calls(LIST), calls, "{style:?}");
        assert_harmless(&format!("{keys:?}"));
    }
}

#[tokio::test]
async fn a_page_that_fails_fails_the_whole_list() {
    let style = TokenApiStyle {
        largest_page: Some(7),
        ..TokenApiStyle::default()
    };
    for (failure, cause) in [
        (ApiFailure::Status(500), Cause::Refused { status: 500 }),
        (raw(200, "CANARY"), Cause::Malformed),
        (raw(200, "[]"), Cause::Malformed),
        // The first page again.
        (
            raw(200, r#"{"currentPage":1,"hasNext":true,"keys":[]}"#),
            Cause::Malformed,
        ),
        (
            raw(200, format!(r#"{{"x":"{}"}}"#, "x".repeat(64 * 1024))),
            Cause::TooLarge,
        ),
    ] {
        let row = format!("{cause:?}");
        let world = with_keys(30, style).await;
        let error = fails_at_page_3(&world, failure).await;
        assert_eq!(error.cause, cause, "{row}");
        assert_harmless(&format!("{error} {error:?}"));
    }
}

/// Lists, and has the third page fail.
async fn fails_at_page_3(world: &World, failure: ApiFailure) -> ApiError {
    let watched = async {
        while world.calls(LIST) < 2 {
            tokio::task::yield_now().await;
        }
        world.sitecore.fail_route(LIST, 1, failure);
    };
    let (listed, ()) = futures::join!(world.list(), watched);
    listed.unwrap_err()
}

#[tokio::test]
async fn a_list_without_end_is_read_for_twenty_pages() {
    let style = TokenApiStyle {
        largest_page: Some(2),
        ..TokenApiStyle::default()
    };
    let world = with_keys(21, style).await;
    let error = world.list().await.unwrap_err();
    assert_eq!(error.cause, Cause::TooManyPages);
    assert_eq!(error.reason(), Reason::TooManyKeys);
    assert_eq!(world.calls(LIST), 20);
    assert_eq!(with_keys(20, style).await.list().await.unwrap().len(), 20);
}

#[tokio::test]
async fn what_is_no_list_is_told() {
    for body in [
        "",
        "null",
        "<html>CANARY</html>",
        r#"{"currentPage":1,"hasNext":false}"#,
        r#"{"currentPage":0,"hasNext":false,"keys":[]}"#,
        r#"{"currentPage":1,"hasNext":false,"keys":[],"keys":[]}"#,
        r#"{"currentPage":1,"hasNext":false,"keys":["CANARY"]}"#,
    ] {
        let world = World::failing(LIST, raw(200, body)).await;
        let error = world.list().await.unwrap_err();
        assert_eq!(error.cause, Cause::Malformed, "{body}");
        assert_eq!(error.reason(), Reason::InvalidResponse);
        assert_harmless(&format!("{error} {error:?}"));
    }
    let odd = json!({"currentPage": 1, "hasNext": false, "keys": [
        {"label": PREFIX, "hash": "CANARY of a hash", "isRevoked": false},
    ]});
    let world = World::failing(LIST, raw(200, odd.to_string())).await;
    let error = world.list().await.unwrap_err();
    assert_eq!(error.cause, Cause::Malformed);
}

#[tokio::test]
async fn a_list_can_show_a_key_late_and_cut_its_label() {
    let style = |list_lag| TokenApiStyle {
        list_lag,
        label_length: Some(PREFIX.len() + 3),
        ..TokenApiStyle::default()
    };
    let world = World::new().await;
    world.sitecore.set_token_api_style(style(Duration::MAX));
    world
        .create(&format!("{PREFIX}abcdef"))
        .await
        .result
        .unwrap();
    assert_eq!(world.list().await.unwrap(), []);
    world.sitecore.set_token_api_style(style(Duration::ZERO));
    let keys = world.list().await.unwrap();
    assert_eq!(keys[0].label, format!("{PREFIX}abc"));
}
