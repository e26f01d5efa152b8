//! What is made of answers of the stand-in, in the ways in which documentation and observation have them.

use std::time::Duration;

use edge_credential_operator::{
    api::Reason,
    edge_api::{Cause, Verdict},
};
use kit::sitecore::{ApiFailure, DeliveryStyle, Refusal, TokenApiStyle};
use secrecy::ExposeSecret;

use super::{
    CREATE, ENVIRONMENT, OBTAIN, PREFIX, PROBE, REVOKE, TENANT, World, assert_harmless, raw,
};

#[tokio::test]
async fn a_key_is_made_used_listed_and_revoked_in_each_style_of_the_token_api() {
    for style in [
        TokenApiStyle::default(),
        TokenApiStyle {
            answers_true: true,
            pascal_case: true,
            quotes_key: true,
            ..TokenApiStyle::default()
        },
    ] {
        let world = World::new().await;
        world.sitecore.set_token_api_style(style);
        let label = format!("{PREFIX}1/shop/edge");
        let made = world.create(&label).await;
        let key = made.result.unwrap();
        assert!(made.date.is_some());
        assert_eq!(world.probe(&key).await, Ok(Verdict::Accepted));

        let listed = world.list().await.unwrap();
        let [listed] = &listed[..] else {
            panic!("{} keys", listed.len());
        };
        assert_eq!((&*listed.label, listed.is_revoked), (&*label, false));
        assert_eq!(listed.tenant_id.as_deref(), Some(TENANT));
        assert_eq!(world.revoke(&listed.hash).await, Ok(()));
        assert!(world.list().await.unwrap()[0].is_revoked);
        assert_eq!(world.probe(&key).await, Ok(Verdict::Refused));

        let [known] = &world.sitecore.keys()[..] else {
            panic!("one key");
        };
        assert_eq!((known.uses, known.uses_after_revocation), (1, 1));
        assert_eq!(known.created_by, "edge-credential-operator");
        assert_eq!(known.scopes.len(), 2);
    }
}

#[tokio::test]
async fn a_success_without_a_usable_key_leaves_open_whether_one_was_made() {
    for (status, body) in [
        (200, String::new()),
        (201, "CANARY key".into()),
        (201, r#"{"CANARY":"key"}"#.into()),
        (202, "<html>CANARY</html>".into()),
        (204, String::new()),
        (201, "k".repeat(4097)),
    ] {
        let world = World::failing(CREATE, raw(status, body)).await;
        let error = world.create("label").await.result.unwrap_err();
        assert_eq!(error.cause, Cause::Malformed, "{status}");
        assert_eq!(error.reason(), Reason::InvalidResponse);
        assert!(!error.is_not_created() && !error.is_outage());
        assert_harmless(&format!("{error} {error:?}"));
    }
}

#[tokio::test]
async fn a_revocation_can_be_denied() {
    for body in ["false", "False"] {
        let world = World::failing(REVOKE, raw(200, body)).await;
        let error = world.revoke("hash").await.unwrap_err();
        assert_eq!(error.cause, Cause::NotRevoked);
        assert_eq!(error.reason(), Reason::KeyNotRevoked);
    }
    for (status, body) in [(200, "CANARY"), (202, ""), (204, "")] {
        let world = World::failing(REVOKE, raw(status, body)).await;
        assert_eq!(world.revoke("hash").await, Ok(()), "{status}");
    }
    let world = World::new().await;
    let unknown = world.revoke("unknown").await.unwrap_err();
    assert_eq!(unknown.cause, Cause::Refused { status: 404 });
}

#[tokio::test]
async fn a_key_is_obtained_from_the_deploy_api() {
    let world = World::new().await;
    let key = world.obtain().await.unwrap();
    assert_eq!(world.probe(&key).await, Ok(Verdict::Accepted));
    let again = world.obtain().await.unwrap();
    assert_eq!(again.expose_secret(), key.expose_secret());
    let change = |change: fn(&mut kit::sitecore::Environment)| {
        world.sitecore.configure_environment(ENVIRONMENT, change);
    };
    change(|environment| environment.mints_each_time = true);
    let another = world.obtain().await.unwrap();
    assert_ne!(another.expose_secret(), key.expose_secret());
    assert_eq!(world.sitecore.keys().len(), 2);

    change(|environment| environment.has_no_url = true);
    world.obtain().await.unwrap();
    change(|environment| environment.has_no_key = true);
    let error = world.obtain().await.unwrap_err();
    assert_eq!(error.cause, Cause::NoKey);
    assert_eq!(error.reason(), Reason::EdgeAPIRefused);
    assert_eq!(world.sitecore.keys().len(), 3);
}

#[tokio::test]
async fn what_the_deploy_api_does_not_answer_as_documented_is_no_key() {
    for body in [
        "CANARY",
        r#"{"apiKey":"CANARY key"}"#,
        r#"{"apiKey":{"CANARY":1}}"#,
        r#"["CANARY"]"#,
        "",
    ] {
        let world = World::failing(OBTAIN, raw(200, body)).await;
        let error = world.obtain().await.unwrap_err();
        assert_eq!(error.cause, Cause::Malformed, "{body}");
        assert_harmless(&format!("{error} {error:?}"));
    }
}

#[tokio::test]
async fn a_key_is_refused_by_two_statuses_and_an_error_of_graphql_says_nothing() {
    let world = World::new().await;
    for (refusal, verdict) in [
        (Refusal::Unauthorized, Verdict::Refused),
        (Refusal::Forbidden, Verdict::Refused),
        (Refusal::Errors, Verdict::Unknown),
    ] {
        world.sitecore.set_delivery_style(DeliveryStyle {
            refusal,
            ..DeliveryStyle::default()
        });
        assert_eq!(world.probe(&world.key).await, Ok(verdict), "{refusal:?}");
    }
    for status in [400, 404, 422] {
        let world = World::failing(PROBE, ApiFailure::Status(status)).await;
        assert_eq!(world.probe(&world.key).await, Ok(Verdict::Unknown));
    }
    for body in ["", "<html>CANARY</html>", "{}", r#"{"data":null}"#] {
        let world = World::failing(PROBE, raw(200, body)).await;
        assert_eq!(world.probe(&world.key).await, Ok(Verdict::Unknown));
    }
}

#[tokio::test]
async fn a_key_can_be_active_late_and_be_accepted_after_its_revocation() {
    let world = World::new().await;
    let style = |active_after, revoked_after| {
        world.sitecore.set_delivery_style(DeliveryStyle {
            active_after,
            revoked_after,
            ..DeliveryStyle::default()
        });
    };
    let key = world.create(PREFIX).await.result.unwrap();
    style(Duration::MAX, Duration::MAX);
    assert_eq!(world.probe(&key).await, Ok(Verdict::Refused));
    style(Duration::ZERO, Duration::MAX);
    let hash = world.sitecore.keys()[0].hash.clone();
    world.revoke(&hash).await.unwrap();
    assert_eq!(world.probe(&key).await, Ok(Verdict::Accepted));
    style(Duration::ZERO, Duration::ZERO);
    assert_eq!(world.probe(&key).await, Ok(Verdict::Refused));
}
