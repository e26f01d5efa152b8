//! Refusals, redirects, rate limits, and no answer at all.

use std::time::Duration;

use edge_credential_operator::{
    api::Reason,
    edge_api::{ApiError, Cause, EdgeApi},
    http::{Unreachable, rate_limits::Quota, route::Route},
};
use k8s_openapi::jiff::SignedDuration;
use kit::sitecore::{
    ApiFailure, End, RateHeaders, Wire,
    hostile::{OK, nowhere},
};
use secrecy::ExposeSecret;

use super::{
    CREATE, ENVIRONMENT, LIST, OBTAIN, PATIENT, PREFIX, PROBE, REVOKE, ROUTES, SHORT, World, api,
    assert_harmless, new_key, raw,
};

/// Makes the call of this route, which fails so, and expects that it is made once and tells nothing of the answer.
async fn fail(world: &World, route: &str, failure: ApiFailure) -> ApiError {
    let row = format!("{route} {failure:?}");
    let before = world.calls(route);
    world.sitecore.fail_route(route, 1, failure);
    let error = world.call(route).await.result.expect_err(&row);
    assert_harmless(&format!("{error} {error:?}"));
    assert_eq!(world.calls(route), before + 1, "{row}");
    error
}

#[tokio::test]
async fn a_refusal_is_told_apart_by_its_status_and_the_call() {
    use Reason::{
        EdgeAPIForbidden, EdgeAPIRefused, EdgeAPIUnauthorized, EdgeAPIUnavailable,
        EnvironmentNotFound,
    };
    let world = World::new().await;
    for (status, reason) in [
        (400, EdgeAPIRefused),
        (401, EdgeAPIUnauthorized),
        (403, EdgeAPIForbidden),
        (404, EdgeAPIRefused),
        (409, EdgeAPIRefused),
        (422, EdgeAPIRefused),
        (408, EdgeAPIUnavailable),
        (500, EdgeAPIUnavailable),
        (503, EdgeAPIUnavailable),
    ] {
        for route in [CREATE, LIST, REVOKE, OBTAIN] {
            let error = fail(&world, route, ApiFailure::Status(status)).await;
            assert_eq!(error.cause, Cause::Refused { status });
            let reason = match (route, status) {
                (OBTAIN, 404) => EnvironmentNotFound,
                _ => reason,
            };
            assert_eq!(error.reason(), reason, "{route} {status}");
        }
    }
    for status in [408, 500, 503] {
        let error = fail(&world, PROBE, ApiFailure::Status(status)).await;
        assert_eq!(error.reason(), Reason::DeliveryUnavailable, "{status}");
    }
}

#[tokio::test]
async fn the_status_of_a_refusal_counts_whatever_its_body_is() {
    let world = World::new().await;
    for body in ["CANARY".repeat(20_000), "{\"CANARY\"".into(), String::new()] {
        for route in [CREATE, LIST, REVOKE, OBTAIN] {
            let error = fail(&world, route, raw(403, body.clone())).await;
            assert_eq!(error.cause, Cause::Refused { status: 403 });
        }
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_even_to_an_allowed_origin() {
    let elsewhere = World::new().await;
    let location = elsewhere.url("/api/apikey/v1").to_string();
    let world = World::new().await;
    let both = [world.sitecore.url(), elsewhere.sitecore.url()];
    let world = World {
        api: api(&both, PATIENT),
        ..world
    };
    for status in [301, 302, 307, 308] {
        for route in ROUTES {
            let redirect = ApiFailure::Raw {
                status,
                headers: vec![("location".into(), location.clone())],
                body: Vec::new(),
            };
            let error = fail(&world, route, redirect).await;
            assert_eq!(error.cause, Cause::Redirected { status }, "{route}");
        }
    }
    assert!(ROUTES.iter().all(|route| elsewhere.calls(route) == 0));
}

#[tokio::test]
async fn an_origin_that_is_not_allowed_is_sent_nothing() {
    let world = World::new().await;
    let other = world.sitecore.url().replace("127.0.0.1", "localhost");
    for origins in [&[][..], &[&*other]] {
        let api = api(origins, PATIENT);
        let base = world.url("/api/apikey/v1");
        let access = world.access(&base);
        let url = world.url("/api/graphql/v1");
        let key = new_key("label");
        for error in [
            api.create_key(access, &key).await.result.unwrap_err(),
            api.list_keys(access, PREFIX).await.result.unwrap_err(),
            api.revoke_key(access, "hash").await.result.unwrap_err(),
            api.obtain_key(access, ENVIRONMENT)
                .await
                .result
                .unwrap_err(),
            api.probe_key(&url, &world.key).await.result.unwrap_err(),
        ] {
            assert_eq!(error.cause, Cause::OriginNotAllowed);
            assert_eq!(error.reason(), Reason::EdgeAPIOriginNotAllowed);
            assert!(error.is_not_created());
        }
    }
    assert!(ROUTES.iter().all(|route| world.calls(route) == 0));
}

#[tokio::test]
async fn a_rate_limit_holds_in_whatever_spelling() {
    let quota = Some(Quota {
        limit: 80,
        remaining: 0,
    });
    let world = World::new().await;
    for route in ROUTES {
        for (headers, quota, longest) in [
            (RateHeaders::RetryAfter(40), None, 40),
            (RateHeaders::FromNow(40), quota, 40),
            // Its date has whole seconds.
            (RateHeaders::Until(40), quota, 41),
        ] {
            let failure = ApiFailure::RateLimited(headers);
            world.sitecore.fail_route(route, 1, failure);
            let reply = world.call(route).await;
            let error = reply.result.unwrap_err();
            assert_eq!(error.cause, Cause::RateLimited { quota }, "{route}");
            assert_eq!(error.reason(), Reason::RateLimited);
            assert!(error.is_not_created() && !error.is_outage());
            let hold = reply.limits.hold.unwrap().as_secs();
            assert!((40..=longest).contains(&hold), "{headers:?}: {hold}");
            assert!(reply.date.is_some());
        }
    }
}

#[tokio::test]
async fn a_refusal_by_an_overloaded_server_holds_too() {
    let unavailable = ApiFailure::Raw {
        status: 503,
        headers: vec![("retry-after".into(), "17".into())],
        body: "CANARY".into(),
    };
    let world = World::failing(CREATE, unavailable).await;
    let reply = world.call(CREATE).await;
    assert_eq!(reply.limits.hold, Some(SignedDuration::from_secs(17)));
    let error = reply.result.unwrap_err();
    assert_eq!(error.reason(), Reason::EdgeAPIUnavailable);
    assert!(error.is_outage() && !error.is_not_created());
}

#[tokio::test]
async fn a_server_that_cannot_be_connected_to_is_told_apart_and_made_no_key() {
    let down = World::new().await;
    down.sitecore.go_down();
    let nowhere = World::new()
        .await
        .reached(&nowhere(), &Route::default(), PATIENT);
    let plain = World::new().await;
    let https = plain.origin.replacen("http:", "https:", 1);
    let plain = plain.reached(&https, &Route::default(), PATIENT);
    for (world, cause) in [
        (down, Unreachable::Refused),
        (nowhere, Unreachable::NameNotFound),
        (plain, Unreachable::Connect),
    ] {
        for route in ROUTES {
            let error = world.call(route).await.result.unwrap_err();
            assert_eq!(error.cause, Cause::Unreachable(cause), "{route}");
            assert!(error.is_outage() && error.is_not_created(), "{route}");
            assert_eq!(world.calls(route), 0, "{cause:?}: {route}");
        }
    }
}

#[tokio::test]
async fn no_answer_leaves_open_whether_a_key_was_made() {
    let world = World::new().await;
    for failure in [ApiFailure::Reset, ApiFailure::LoseAnswer] {
        for route in ROUTES {
            let error = fail(&world, route, failure.clone()).await;
            assert_eq!(error.cause, Cause::Unreachable(Unreachable::Broken));
            assert!(error.is_outage() && !error.is_not_created(), "{route}");
        }
    }
}

#[tokio::test]
async fn a_slow_answer_is_taken_within_the_deadline() {
    let slow = Wire {
        pieces: [&*format!("{OK}content-length: 4\r\n\r\n"), "a2V", "5"]
            .map(|piece| piece.as_bytes().to_vec())
            .into(),
        pause: Duration::from_millis(100),
        end: End::Silence,
    };
    let world = World::failing(CREATE, ApiFailure::Wire(slow)).await;
    let key = world.create("label").await.result.unwrap();
    assert_eq!(key.expose_secret(), "a2V5");
}

#[tokio::test]
async fn silence_ends_with_the_deadline() {
    let world = World::with(SHORT).await;
    for route in ROUTES {
        world.sitecore.fail_route(route, 1, ApiFailure::Hang);
    }
    let calls = ROUTES.map(|route| world.call(route));
    for reply in futures::future::join_all(calls).await {
        let error = reply.result.unwrap_err();
        assert_eq!(error.cause, Cause::Unreachable(Unreachable::Timeout));
        assert!(error.is_outage() && !error.is_not_created());
    }
}

#[tokio::test]
async fn a_key_whose_answer_is_lost_is_made_once_also_on_a_connection_that_was_used_before() {
    let world = World::new().await;
    world.create("first").await.result.unwrap();
    for failure in [ApiFailure::LoseAnswer, ApiFailure::ActThenStatus(500)] {
        let before = world.sitecore.keys().len();
        world.sitecore.fail_route(CREATE, 1, failure);
        let error = world.create("second").await.result.unwrap_err();
        assert!(!error.is_not_created(), "{error}");
        assert_eq!(world.sitecore.keys().len(), before + 1);
    }
}

#[tokio::test]
async fn a_key_can_be_made_after_its_call_was_given_up() {
    let world = World::with(SHORT).await;
    let effect = world.sitecore.put_off(CREATE, 1);
    let error = world.create("late").await.result.unwrap_err();
    assert_eq!(error.cause, Cause::Unreachable(Unreachable::Timeout));
    assert!(!error.is_not_created() && world.sitecore.keys().is_empty());
    effect.release();
    while world.sitecore.keys().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
