//! Servers that mean harm: what they send costs a bounded time and little memory, is asked for once, and is not repeated.

use edge_credential_operator::{
    api::Reason,
    http::Unreachable,
    oauth::{Defect, TokenError, TokenSource, jwt},
};
use futures::future::join_all;
use kit::sitecore::{
    AUDIENCE, CLAIMS_PREFIX, Member, Scenario, TokenShape, Wire, gzip,
    hostile::{
        CONTROL, HEADERS, LITTLE, OK, PATIENT, bodies, cut_off, flood, heads, no_http, slow,
        unasked,
    },
};
use secrecy::ExposeSecret;
use serde_json::json;

use super::{
    CANARY, ID, SECRET, SHORT, ask_for_any, raw, request_to, sitecore, sitecore_with, source,
};

/// A success, for a client that takes any token.
const SUCCESS: &str = r#"{"access_token":"CANARY","token_type":"Bearer","expires_in":3600}"#;

/// Asks an endpoint that does so, and expects this error: at once, at the cost of one request and of little memory.
async fn fails(row: &str, scenario: impl Into<Scenario>, error: TokenError) {
    let sitecore = sitecore_with(scenario);
    let refused = source(&[sitecore.url()], PATIENT)
        .request(&request_to(&sitecore.token_url()))
        .await
        .result
        .expect_err(row);
    assert_eq!(refused, error, "{row}");
    assert_harmless(&format!("{refused} {refused:?}"));
    assert_eq!(sitecore.requests(ID), 1, "{row}");
    assert!(sitecore.wire_bytes() < LITTLE, "{row}");
}

fn assert_harmless(shown: &str) {
    assert!(
        !shown.contains(CANARY) && !shown.contains(SECRET),
        "{shown}"
    );
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
}

/// Asks endpoints that are so slow, all at the same time, and expects the deadline to end it.
async fn time_out(rows: Vec<(&str, Wire)>) {
    let endpoints: Vec<_> = rows
        .into_iter()
        .map(|(row, wire)| (row, sitecore_with(wire)))
        .collect();
    let origins: Vec<_> = endpoints
        .iter()
        .map(|(_, endpoint)| endpoint.url())
        .collect();
    // Made before the first deadline begins: it takes longer than a request.
    let source = source(&origins, SHORT);
    let asked = endpoints.iter().map(async |(row, endpoint)| {
        let request = request_to(&endpoint.token_url());
        let refused = source.request(&request).await.result.expect_err(row);
        let error = TokenError::Unreachable(Unreachable::Timeout);
        assert_eq!(refused, error, "{row}");
        assert_eq!(endpoint.requests(ID), 1, "{row}");
    });
    join_all(asked).await;
}

#[tokio::test]
async fn slowness_ends_with_the_deadline_wherever_it_is() {
    let refusal =
        "HTTP/1.1 401 CANARY\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n";
    let refusal = ("a refusal's body", Wire::bytes(refusal).then_silence());
    time_out([slow(SUCCESS), vec![refusal]].concat()).await;
}

#[tokio::test]
async fn a_flood_of_interim_answers_ends_with_the_deadline() {
    time_out(vec![("a flood", flood())]).await;
}

#[tokio::test]
async fn what_is_not_http_or_has_a_head_without_end_is_a_broken_connection() {
    for (row, wire) in [heads(), no_http(SUCCESS)].concat() {
        let error = TokenError::Unreachable(Unreachable::Broken);
        fails(row, wire, error).await;
    }
}

#[tokio::test]
async fn an_endpoint_that_breaks_off_has_said_that_a_token_was_issued() {
    for (row, wire) in cut_off(SUCCESS) {
        let (status, content) = (200, "cut off");
        fails(row, wire, TokenError::Malformed { status, content }).await;
    }
}

#[tokio::test]
async fn a_body_without_end_is_read_up_to_64_kib() {
    for (row, wire) in bodies() {
        fails(row, wire, TokenError::TooLarge).await;
    }
}

#[tokio::test]
async fn a_length_that_is_shorter_leaves_half_an_answer() {
    let wire = Wire::bytes(format!("{OK}content-length: 20\r\n\r\n{SUCCESS}"));
    let error = TokenError::Malformed {
        status: 200,
        content: "JSON",
    };
    fails("shorter", wire, error).await;
}

#[tokio::test]
async fn what_follows_an_answer_is_not_taken_for_the_next_one() {
    let sitecore = sitecore();
    sitecore.next(ID, 1, unasked(SUCCESS).into());
    let source = source(&[sitecore.url()], PATIENT);
    let mut request = request_to(&sitecore.token_url());
    request.parameters.token_format =
        edge_credential_operator::api::token_request::TokenFormat::Any;
    let refused = source.request(&request).await.result.unwrap_err();
    assert_eq!(refused.reason(), Reason::TokenEndpointUnavailable);
    let token = source.request(&request).await.result.unwrap();
    assert_ne!(token.access_token.expose_secret(), CANARY);
    sitecore.verify(token.access_token.expose_secret()).unwrap();
    assert_eq!(sitecore.requests(ID), 2);
}

#[tokio::test]
async fn nothing_is_decompressed() {
    let success = gzip(SUCCESS.as_bytes());
    for (row, scenario) in [
        ("a bomb", Scenario::compressed_bomb()),
        ("an answer", Scenario::compressed("gzip", success.clone())),
        ("twice", Scenario::compressed("gzip, gzip", gzip(&success))),
        ("deflate", Scenario::compressed("deflate", success.clone())),
        ("br", Scenario::compressed("br", success.clone())),
        ("zstd", Scenario::compressed("zstd", success)),
    ] {
        let error = TokenError::Malformed {
            status: 200,
            content: "JSON",
        };
        fails(row, scenario, error).await;
    }
    // Plain JSON, whatever it is said to be.
    let plain = sitecore_with(Scenario::compressed("gzip", SUCCESS.into()));
    ask_for_any(&plain).await.unwrap();
}

#[tokio::test]
async fn an_error_with_control_bytes_in_every_string_is_told_by_its_status() {
    let body = json!({
        "error": CONTROL,
        "error_description": CONTROL,
        "error_uri": CONTROL,
        CONTROL: CONTROL,
    });
    for status in [400, 401, 403, 429, 500, 503] {
        let scenario = Scenario::Raw {
            status,
            headers: HEADERS
                .map(|(name, value)| (name.into(), value.into()))
                .into(),
            body: body.to_string().into_bytes(),
        };
        let error = match status {
            429 => TokenError::RateLimited { quota: None },
            _ => TokenError::Refused {
                status,
                error: None,
            },
        };
        fails(&status.to_string(), scenario, error).await;
    }
}

#[tokio::test]
async fn a_success_with_control_bytes_in_every_string_is_refused_or_shows_none_of_them() {
    let text = Member::text(CONTROL);
    let usual = TokenShape::default();
    for (row, shape, defect) in [
        (
            "the token",
            TokenShape {
                access_token: text.clone(),
                ..usual.clone()
            },
            Defect::InvalidTokenBytes,
        ),
        (
            "the type",
            TokenShape {
                token_type: text.clone(),
                ..usual.clone()
            },
            Defect::UnsupportedTokenType,
        ),
        (
            "the lifetime",
            TokenShape {
                expires_in: text.clone(),
                ..usual.clone()
            },
            Defect::InvalidLifetime,
        ),
        (
            "the audience",
            TokenShape {
                claims: vec![("aud".into(), json!([CONTROL, {CONTROL: CONTROL}]))],
                ..usual.clone()
            },
            Defect::WrongAudience,
        ),
    ] {
        fails(row, shape, TokenError::Unusable(defect)).await;
    }

    let claims = ["tenant_id", "org_id", "tenant_name", "client_name"]
        .map(|claim| (format!("{CLAIMS_PREFIX}{claim}"), json!(CONTROL)));
    let sitecore = sitecore_with(TokenShape {
        scope: text.clone(),
        more: vec![("refresh_token".into(), json!(CONTROL).to_string())],
        claims: [
            claims.into(),
            vec![
                ("scope".into(), json!(CONTROL)),
                (CONTROL.into(), json!(CONTROL)),
            ],
        ]
        .concat(),
        ..usual
    });
    let token = super::ask(&sitecore).await.unwrap();
    assert_harmless(&format!("{token:?}"));
    assert_eq!(token.scope, None);
    let claims = jwt::decode_claims(token.access_token.expose_secret()).unwrap();
    assert!(claims.is_for(AUDIENCE));
    assert_eq!((claims.tenant_id(), claims.organization_id()), (None, None));
}

#[tokio::test]
async fn an_answer_that_no_token_endpoint_gives_is_none() {
    let error = |status| TokenError::Malformed {
        status,
        content: "JSON",
    };
    let switch = "HTTP/1.1 101 CANARY\r\ncontent-type: application/json\r\nupgrade: CANARY\r\nconnection: upgrade\r\n\r\n";
    fails("101", Wire::bytes(switch), error(101)).await;
    let deep = format!("{{\"access_token\":{}", "[".repeat(60_000));
    fails("deep", raw(200, Some("application/json"), deep), error(200)).await;
}
