//! An endpoint that asks to wait is not asked before, by nobody with the same client.

use std::time::{Duration, Instant};

use edge_credential_operator::{
    api::Reason,
    clock::Clock,
    http::{rate_limits::Quota, route::Deadlines},
    oauth::{TokenError, TokenRequest, TokenSource},
    traffic::requests::TokenRequests,
};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kit::sitecore::{RetryAfter, Scenario, Sitecore};

use super::{CANARY, ID, SECRET, ask, raw, request_to, sitecore, sitecore_with, source, take};

fn shared(sitecores: &[&Sitecore]) -> TokenRequests {
    let origins: Vec<_> = sitecores.iter().map(|sitecore| sitecore.url()).collect();
    TokenRequests::new(source(&origins, Deadlines::default()), Clock::system(), 4)
}

/// A request of a client that is equal to no other one with another scope.
fn of(sitecore: &Sitecore, client: &str, scope: &str) -> TokenRequest {
    let mut request = request_to(&sitecore.token_url());
    request.credentials.client_id = client.into();
    request.parameters.scopes = vec![scope.into()];
    request
}

fn too_many(retry_after: RetryAfter, client_quota: Option<&str>) -> Scenario {
    Scenario::TooManyRequests {
        retry_after,
        client_quota: client_quota.map(Into::into),
    }
}

/// How much less than it was told a client has to wait when a test comes to look, in seconds.
const LATER: i64 = 20;

/// How long the client has to wait yet, in seconds.
fn wait(not_before: Option<Timestamp>) -> i64 {
    let not_before = not_before.expect("a time to wait for");
    not_before.duration_since(Timestamp::now()).as_secs()
}

#[tokio::test]
async fn a_client_that_is_asked_to_wait_is_held_back_at_that_origin_and_no_other_is() {
    let (busy, other) = (sitecore(), sitecore());
    busy.add_client("client-2", SECRET);
    let shared = shared(&[&busy, &other]);
    busy.next(ID, 1, too_many(RetryAfter::Seconds(120), None));
    let first = take(&shared, of(&busy, ID, "edge.admin:manage"), |_| true);
    let refused = first.await.unwrap_err();
    assert!(matches!(refused.error, TokenError::RateLimited { .. }));
    assert!((120 - LATER..=120).contains(&wait(refused.not_before)));

    // With other inputs, and so another request.
    let second = take(&shared, of(&busy, ID, "edge.token:manage"), |_| true);
    let held_back = second.await.unwrap_err();
    assert!(matches!(held_back.error, TokenError::RateLimited { .. }) && !held_back.was_sent);
    assert_eq!(held_back.error.reason(), Reason::RateLimited);
    assert!((120 - LATER..=120).contains(&wait(held_back.not_before)));
    assert_eq!(busy.requests(ID), 1);

    let another = of(&busy, "client-2", "edge.admin:manage");
    take(&shared, another, |_| true).await.unwrap();
    let elsewhere = of(&other, ID, "edge.admin:manage");
    take(&shared, elsewhere, |_| true).await.unwrap();
}

#[tokio::test]
async fn an_unavailable_endpoint_may_ask_to_wait_too() {
    let sitecore = sitecore_with(Scenario::Unavailable(RetryAfter::Seconds(60)));
    let shared = shared(&[&sitecore]);
    for _ in 0..3 {
        let asked = take(&shared, of(&sitecore, ID, "a"), |_| true);
        asked.await.unwrap_err();
    }
    assert_eq!(sitecore.requests(ID), 1);
}

#[tokio::test]
async fn the_wait_ends_by_itself() {
    let sitecore = sitecore();
    let shared = shared(&[&sitecore]);
    sitecore.next(ID, 1, too_many(RetryAfter::Seconds(1), None));
    let asked = || take(&shared, of(&sitecore, ID, "edge.admin:manage"), |_| true);
    let start = Instant::now();
    asked().await.unwrap_err();
    while let Err(held_back) = asked().await {
        assert!(matches!(held_back.error, TokenError::RateLimited { .. }) && !held_back.was_sent);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(sitecore.requests(ID), 2);
}

#[tokio::test]
async fn a_token_that_uses_a_quota_up_is_taken_and_the_next_request_waits_for_its_reset() {
    let sitecore = sitecore();
    let token = {
        let donor = sitecore_with(Scenario::opaque_token());
        let reply = source(&[donor.url()], Deadlines::default());
        let mut request = request_to(&donor.token_url());
        request.parameters.token_format =
            edge_credential_operator::api::token_request::TokenFormat::Any;
        reply.request(&request).await.result.unwrap()
    };
    use secrecy::ExposeSecret;
    let body = format!(
        r#"{{"access_token":"{}","token_type":"Bearer","expires_in":86400}}"#,
        token.access_token.expose_secret()
    );
    let mut answer = raw(200, Some("application/json"), body);
    if let Scenario::Raw { headers, .. } = &mut answer {
        let quota = "b=per_hour;q=10;r=0;t=3540,b=per_day;q=50;r=40;t=40000";
        headers.push(("auth0-client-quota-limit".into(), quota.into()));
    }
    sitecore.set_scenario(ID, answer);
    let shared = shared(&[&sitecore]);
    let any = |scope| {
        let mut request = of(&sitecore, ID, scope);
        request.parameters.token_format =
            edge_credential_operator::api::token_request::TokenFormat::Any;
        request
    };
    take(&shared, any("a"), |_| true).await.unwrap();
    let refused = take(&shared, any("b"), |_| true).await;
    let refused = refused.unwrap_err();
    let quota = Some(Quota {
        limit: 10,
        remaining: 0,
    });
    assert_eq!(refused.error, TokenError::RateLimited { quota });
    assert!(!refused.was_sent);
    assert!((3540 - LATER..=3540).contains(&wait(refused.not_before)));
    assert_eq!(sitecore.requests(ID), 1);
}

#[tokio::test]
async fn a_message_says_what_is_left_and_nothing_of_the_servers_text() {
    let quota = "b=per_hour;q=10;r=0;t=3540";
    let sitecore = sitecore_with(too_many(RetryAfter::None, Some(quota)));
    let error = ask(&sitecore).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.ends_with("(HTTP 429): 0 of 10 requests are left"),
        "{text}"
    );
    assert!(!format!("{text}{error:?}").contains(CANARY));

    let sitecore = sitecore_with(raw(
        429,
        Some("application/json"),
        r#"{"statusCode":429,"error":"Too Many Requests","message":"CANARY"}"#,
    ));
    let error = ask(&sitecore).await.unwrap_err();
    assert_eq!(error, TokenError::RateLimited { quota: None });
    assert!(error.to_string().ends_with("(HTTP 429)"));
    assert_eq!(sitecore.requests(ID), 1);
}

#[tokio::test]
async fn a_clock_that_differs_is_measured_and_does_not_change_a_wait() {
    let sitecore = sitecore();
    sitecore.set_clock_offset(-7200);
    let source = source(&[sitecore.url()], Deadlines::default());
    let request = request_to(&sitecore.token_url());
    let reply = source.request(&request).await;
    reply.result.unwrap();
    let skew = reply.clock_skew.unwrap().as_secs();
    assert!((-7201 - LATER..=-7198).contains(&skew), "{skew}");

    sitecore.set_scenario(ID, too_many(RetryAfter::Date(90), None));
    let hold = source.request(&request).await.limits.hold.unwrap();
    let expected = SignedDuration::from_secs(89 - LATER)..=SignedDuration::from_secs(91);
    assert!(expected.contains(&hold), "{hold}");
}
