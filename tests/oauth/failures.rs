//! Refusals, redirects, and no answer at all.

use std::time::{Duration, Instant};

use edge_credential_operator::{
    api::Reason,
    http::{Unreachable, route::Deadlines},
    oauth::{TokenError, TokenSource},
};
use kit::sitecore::{RetryAfter, Scenario, Sitecore, hostile::nowhere};

use super::{CANARY, ID, SHORT, ask, raw, request_to, sitecore, sitecore_with, source};

#[track_caller]
fn check(row: &str, error: &TokenError, expected: &TokenError, reason: Reason) {
    assert_eq!(error, expected, "{row}");
    assert_eq!(error.reason(), reason, "{row}");
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains(CANARY), "{row}: {shown}");
}

#[tokio::test]
async fn a_refusal_is_told_apart_by_its_status_and_a_known_error_only() {
    use Reason::{ClientNotAllowed, CredentialsRejected, RequestRefused, TokenEndpointUnavailable};
    let error = |status, error| Scenario::oauth_error(status, error, CANARY);
    let known = |status, error| (status, Some(error));
    let html = |status| Scenario::Html { status };
    let json = Some("application/json");
    for (scenario, (status, error), reason) in [
        (
            Scenario::invalid_request(),
            known(400, "invalid_request"),
            RequestRefused,
        ),
        (
            error(400, "invalid_scope"),
            known(400, "invalid_scope"),
            RequestRefused,
        ),
        (
            error(400, "invalid_client"),
            known(400, "invalid_client"),
            CredentialsRejected,
        ),
        (
            error(400, "unauthorized_client"),
            known(400, "unauthorized_client"),
            ClientNotAllowed,
        ),
        (error(400, CANARY), (400, None), RequestRefused),
        (
            Scenario::access_denied(),
            known(401, "access_denied"),
            CredentialsRejected,
        ),
        (html(401), (401, None), CredentialsRejected),
        (
            Scenario::grant_not_allowed(),
            known(403, "unauthorized_client"),
            ClientNotAllowed,
        ),
        (
            Scenario::no_client_grant("https://other.example"),
            known(403, "access_denied"),
            ClientNotAllowed,
        ),
        (html(403), (403, None), ClientNotAllowed),
        (html(404), (404, None), RequestRefused),
        (html(408), (408, None), TokenEndpointUnavailable),
        (
            Scenario::server_error(),
            known(500, "server_error"),
            TokenEndpointUnavailable,
        ),
        (
            error(500, "access_denied"),
            known(500, "access_denied"),
            TokenEndpointUnavailable,
        ),
        (html(500), (500, None), TokenEndpointUnavailable),
        (
            Scenario::Unavailable(RetryAfter::None),
            (503, None),
            TokenEndpointUnavailable,
        ),
        (
            raw(502, json, r#"{"error":["CANARY"]}"#),
            (502, None),
            TokenEndpointUnavailable,
        ),
        (
            raw(401, json, r#"{"error":"CANARY","#),
            (401, None),
            CredentialsRejected,
        ),
        (
            raw(999, json, "CANARY"),
            (999, None),
            TokenEndpointUnavailable,
        ),
    ] {
        let row = format!("{scenario:?}");
        let sitecore = sitecore_with(scenario);
        let refusal = ask(&sitecore).await.expect_err(&row);
        check(
            &row,
            &refusal,
            &TokenError::Refused { status, error },
            reason,
        );
        assert_eq!(sitecore.requests(ID), 1, "{row}");
    }
}

#[tokio::test]
async fn the_status_of_a_refusal_counts_however_long_its_body_is() {
    let page = || "CANARY".repeat(20_000);
    for (status, reason) in [
        (401, Reason::CredentialsRejected),
        (503, Reason::TokenEndpointUnavailable),
    ] {
        let sitecore = sitecore_with(raw(status, Some("text/html"), page()));
        let expected = TokenError::Refused {
            status,
            error: None,
        };
        check(
            "long",
            &ask(&sitecore).await.unwrap_err(),
            &expected,
            reason,
        );
    }
    let sitecore = sitecore_with(raw(302, Some("text/html"), page()));
    assert_eq!(
        ask(&sitecore).await.unwrap_err(),
        TokenError::Redirected { status: 302 }
    );
}

#[tokio::test]
async fn another_success_than_200_or_201_is_no_token_answer() {
    for status in [202, 204, 206] {
        let body = r#"{"access_token":"CANARY","token_type":"Bearer","expires_in":60}"#;
        // 204 has no body by definition.
        let body = if status == 204 { "" } else { body };
        let error = ask(&sitecore_with(raw(status, Some("application/json"), body)))
            .await
            .unwrap_err();
        let expected = TokenError::Malformed {
            status,
            content: "JSON",
        };
        check(
            &status.to_string(),
            &error,
            &expected,
            Reason::InvalidResponse,
        );
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_even_to_an_allowed_origin() {
    let elsewhere = sitecore();
    for status in [301, 302, 303, 307, 308] {
        let sitecore = sitecore_with(Scenario::Redirect {
            status,
            location: elsewhere.token_url(),
        });
        let error = source(&[sitecore.url(), elsewhere.url()], Deadlines::default())
            .request(&request_to(&sitecore.token_url()))
            .await
            .result
            .unwrap_err();
        let expected = TokenError::Redirected { status };
        check(
            &status.to_string(),
            &error,
            &expected,
            Reason::RedirectRefused,
        );
        assert_eq!(sitecore.requests(ID), 1);
    }
    assert_eq!(elsewhere.total_requests(), 0);
    assert_eq!(elsewhere.calls().iter().count(), 0);
}

/// Asks, and expects to be told in time that there is no answer.
async fn unreachable(sitecore: &Sitecore, token_url: &str, expected: Unreachable) {
    let origin = token_url.strip_suffix("/oauth/token").unwrap();
    let started = Instant::now();
    let deadlines = match expected {
        Unreachable::Timeout => SHORT,
        _ => Deadlines::default(),
    };
    let error = source(&[sitecore.url(), origin], deadlines)
        .request(&request_to(token_url))
        .await
        .result
        .unwrap_err();
    check(
        token_url,
        &error,
        &TokenError::Unreachable(expected),
        Reason::TokenEndpointUnavailable,
    );
    // Sooner than with the usual deadline, which is for answers that are late.
    assert!(
        started.elapsed() < Deadlines::default().total,
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_refused_connection_is_told_apart() {
    let sitecore = sitecore();
    sitecore.go_down();
    unreachable(&sitecore, &sitecore.token_url(), Unreachable::Refused).await;
}

#[tokio::test]
async fn a_host_whose_name_is_not_found_is_told_apart() {
    let unknown = format!("{}/oauth/token", nowhere());
    unreachable(&sitecore(), &unknown, Unreachable::NameNotFound).await;
}

#[test]
fn each_cause_of_no_answer_has_a_message_of_its_own() {
    use Unreachable::{
        Broken, Connect, Expired, NameNotFound, NotYetValid, OtherName, ProxyRefused,
        ProxyUnreachable, Refused, Timeout, Untrusted,
    };
    for (cause, message) in [
        (
            NameNotFound,
            "the name of the token endpoint's host could not be resolved",
        ),
        (Refused, "the connection to the token endpoint was refused"),
        (Untrusted, "the token endpoint's certificate is not trusted"),
        (
            OtherName,
            "the token endpoint's certificate is for another name",
        ),
        (Expired, "the token endpoint's certificate has expired"),
        (
            NotYetValid,
            "the token endpoint's certificate is not valid yet",
        ),
        (
            ProxyRefused,
            "the proxy refused to connect to the token endpoint",
        ),
        (
            ProxyUnreachable,
            "the proxy before the token endpoint could not be connected to",
        ),
        (Connect, "the token endpoint could not be connected to"),
        (Timeout, "the token endpoint did not answer in time"),
        (Broken, "the connection to the token endpoint broke"),
    ] {
        assert_eq!(TokenError::Unreachable(cause).to_string(), message);
    }
}

#[tokio::test]
async fn an_endpoint_that_does_not_speak_tls_gets_no_secret() {
    let sitecore = sitecore();
    let https = sitecore.token_url().replacen("http:", "https:", 1);
    unreachable(&sitecore, &https, Unreachable::Connect).await;
    assert_eq!(sitecore.total_requests(), 0);
}

#[tokio::test]
async fn a_broken_connection_is_not_asked_over_again() {
    for scenario in [Scenario::Reset, Scenario::IssueThenReset] {
        let sitecore = sitecore_with(scenario);
        unreachable(&sitecore, &sitecore.token_url(), Unreachable::Broken).await;
        assert_eq!(sitecore.requests(ID), 1);
    }
}

#[tokio::test]
async fn a_connection_that_was_used_before_is_not_asked_over_again_either() {
    let sitecore = sitecore();
    let source = source(&[sitecore.url()], Deadlines::default());
    let request = request_to(&sitecore.token_url());
    source.request(&request).await.result.unwrap();
    sitecore.set_scenario(ID, Scenario::IssueThenReset);
    assert_eq!(
        source.request(&request).await.result.unwrap_err(),
        TokenError::Unreachable(Unreachable::Broken)
    );
    assert_eq!((sitecore.requests(ID), sitecore.issued(ID)), (2, 2));
}

#[tokio::test]
async fn the_total_deadline_ends_silence_and_a_slow_drip() {
    for scenario in [
        Scenario::Hang,
        Scenario::Drip(Duration::from_millis(20)),
        Scenario::Delay(Duration::from_secs(30)),
    ] {
        let sitecore = sitecore_with(scenario);
        unreachable(&sitecore, &sitecore.token_url(), Unreachable::Timeout).await;
        assert_eq!(sitecore.requests(ID), 1);
    }
}

#[tokio::test]
async fn a_slow_answer_is_taken_within_the_deadline() {
    let sitecore = sitecore_with(Scenario::Delay(Duration::from_millis(150)));
    ask(&sitecore).await.unwrap();
}

#[test]
fn the_deadlines_are_those_that_the_documents_state() {
    let deadlines = Deadlines::default();
    assert_eq!(
        (deadlines.connect, deadlines.total),
        (Duration::from_secs(5), Duration::from_secs(10))
    );
}
