//! Servers that mean harm: what they send costs a bounded time and little memory, is asked for once, and is not repeated.

use std::time::Duration;

use edge_credential_operator::{
    api::Reason,
    http::{Unreachable, route::Deadlines},
    oauth::{Defect, TokenError, TokenSource, jwt},
};
use futures::future::join_all;
use kit::sitecore::{AUDIENCE, CLAIMS_PREFIX, Member, Scenario, TokenShape, Wire, gzip};
use secrecy::ExposeSecret;
use serde_json::json;

use super::{
    CANARY, ID, SECRET, SHORT, ask_for_any, raw, request_to, sitecore, sitecore_with, source,
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";

/// A success, for a client that takes any token.
const SUCCESS: &str = r#"{"access_token":"CANARY","token_type":"Bearer","expires_in":3600}"#;

/// What a client may take before it gives up, and what the socket buffers of a loopback connection hold beside.
const LITTLE: u64 = 16 * 1024 * 1024;

/// No test here waits for them: they only must not come first on a busy machine.
const PATIENT: Deadlines = Deadlines {
    connect: Duration::from_secs(60),
    total: Duration::from_secs(60),
};

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

async fn breaks(rows: impl IntoIterator<Item = (&str, Wire)>) {
    for (row, wire) in rows {
        let error = TokenError::Unreachable(Unreachable::Broken);
        fails(row, wire, error).await;
    }
}

/// Asks endpoints that say that a token was issued, and then break off.
async fn cuts_off(rows: impl IntoIterator<Item = (&str, Wire)>) {
    for (row, wire) in rows {
        let (status, content) = (200, "cut off");
        fails(row, wire, TokenError::Malformed { status, content }).await;
    }
}

/// Asks endpoints that are so slow, all at the same time, and expects the deadline to end it.
async fn time_out<const ROWS: usize>(rows: [(&str, Wire); ROWS]) {
    let endpoints = rows.map(|(row, wire)| (row, sitecore_with(wire)));
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

const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nlink: <CANARY>\r\n\r\n";

#[tokio::test]
async fn slowness_ends_with_the_deadline_wherever_it_is() {
    let pause = Duration::from_millis(20);
    let long_header = format!("{OK}x-canary: {CANARY}");
    let body = format!("{OK}content-length: 100\r\n\r\n");
    let body = |wire: Wire| Wire {
        pieces: [vec![body.clone().into_bytes()], wire.pieces].concat(),
        ..wire
    };
    time_out([
        ("nothing", Wire::bytes("").then_silence()),
        ("the status line", Wire::drip(&long_header[..15], pause)),
        ("the headers", Wire::drip(&long_header, pause)),
        ("half a header", Wire::bytes(&*long_header).then_silence()),
        ("the body", body(Wire::drip(SUCCESS, pause))),
        ("no body", body(Wire::bytes("")).then_silence()),
        (
            "chunks",
            Wire::endless(
                format!("{OK}transfer-encoding: chunked\r\n\r\n"),
                "1\r\n \r\n",
            )
            .every(pause),
        ),
        ("a refusal's body", {
            let refusal = "HTTP/1.1 401 CANARY\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n";
            Wire::bytes(refusal).then_silence()
        }),
        ("interim answers", Wire::endless("", HINTS).every(pause)),
    ])
    .await;
}

#[tokio::test]
async fn a_flood_of_interim_answers_ends_with_the_deadline() {
    time_out([("a flood", Wire::endless("", HINTS))]).await;
}

#[tokio::test]
async fn a_head_without_end_is_not_read_to_its_end() {
    let thousands: String = (0..5000)
        .map(|number| format!("x-{number}: {CANARY}\r\n"))
        .collect();
    // As much in one write as makes the limits come soon.
    let many = |text: &str| text.repeat(4096 / text.len());
    let lines = many(&format!("x-canary: {CANARY}\r\n"));
    breaks([
        ("headers without end", Wire::endless(OK, &*lines)),
        (
            "a header without end",
            Wire::endless(format!("{OK}x: "), many(CANARY)),
        ),
        ("a name without end", Wire::endless(OK, many(CANARY))),
        (
            "a reason without end",
            Wire::endless("HTTP/1.1 200 ", many(CANARY)),
        ),
        (
            "thousands of headers",
            Wire::bytes(format!("{OK}{thousands}content-length: 2\r\n\r\n{{}}")),
        ),
    ])
    .await;
    cuts_off([
        (
            "chunk extensions without end",
            Wire::endless(
                format!("{OK}transfer-encoding: chunked\r\n\r\n1;"),
                many("CANARY=CANARY;"),
            ),
        ),
        (
            "trailers without end",
            Wire::endless(
                format!("{OK}transfer-encoding: chunked\r\n\r\n0\r\n"),
                lines,
            ),
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_body_without_end_is_read_up_to_64_kib() {
    let chunked = format!("{OK}transfer-encoding: chunked\r\n\r\n");
    for (row, wire) in [
        (
            "tiny chunks",
            Wire::endless(&*chunked, "1\r\nx\r\n".repeat(1000)),
        ),
        (
            "large chunks",
            Wire::endless(&*chunked, format!("10000\r\n{}\r\n", "x".repeat(0x10000))),
        ),
        (
            "a chunk without end",
            Wire::endless(format!("{chunked}fffffffffffffff\r\n"), "x".repeat(8192)),
        ),
        (
            "until the connection closes",
            Wire::endless(format!("{OK}\r\n"), "x".repeat(8192)),
        ),
        (
            "an enormous length",
            Wire::endless(
                format!("{OK}content-length: 9000000000000000000\r\n\r\n"),
                "x".repeat(8192),
            ),
        ),
    ] {
        fails(row, wire, TokenError::TooLarge).await;
    }
}

#[tokio::test]
async fn what_is_not_http_is_a_broken_connection() {
    let chunked = |rest: &str| Wire::bytes(format!("{OK}transfer-encoding: chunked\r\n\r\n{rest}"));
    let with = |header: &str| Wire::bytes(format!("{OK}{header}\r\n\r\n{SUCCESS}"));
    breaks([
        ("nothing", Wire::bytes("")),
        ("HTTP/0.9", Wire::bytes(format!("{SUCCESS}\r\n"))),
        ("HTTP/9.9", Wire::bytes("HTTP/9.9 200 OK\r\n\r\n")),
        ("another protocol", Wire::bytes("220 CANARY ESMTP\r\n")),
        (
            "noise",
            Wire::bytes(*b"\x16\x03\x01\x00\xff\xfe\x00CANARY\r\n\r\n"),
        ),
        ("no number", Wire::bytes("HTTP/1.1 CANARY OK\r\n\r\n")),
        ("a NUL in a header", with("x: CANARY\0CANARY")),
        ("a bare newline in a header", with("x: CANARY\rCANARY")),
        ("a length that is none", with("content-length: CANARY")),
        ("a negative length", with("content-length: -1")),
        (
            "a length beyond 64 bits",
            with("content-length: 99999999999999999999"),
        ),
        (
            "two lengths",
            with("content-length: 2\r\ncontent-length: 66"),
        ),
    ])
    .await;
    cuts_off([
        ("no chunk size", chunked("CANARY\r\n")),
        (
            "a chunk size beyond 64 bits",
            chunked("fffffffffffffffff\r\nCANARY"),
        ),
        ("a negative chunk size", chunked("-1\r\nCANARY")),
        ("a chunk that ends early", chunked("ff\r\nCANARY")),
        (
            "a chunk without its newline",
            chunked("6\r\nCANARYCANARY\r\n0\r\n\r\n"),
        ),
        ("a length that is longer", with("content-length: 1000")),
    ])
    .await;
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
    let second = format!("{OK}content-length: {}\r\n\r\n{SUCCESS}", SUCCESS.len());
    let smuggled = format!("HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n{second}");
    sitecore.next(ID, 1, Wire::bytes(smuggled).then_silence().into());
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

/// What would move a cursor, end a log line, or turn the direction of writing.
const CONTROL: &str = "CANARY\r\nCANARY: x\u{1b}[2J\u{0}\u{85}\u{202e}";

#[tokio::test]
async fn an_error_with_control_bytes_in_every_string_is_told_by_its_status() {
    let body = json!({
        "error": CONTROL,
        "error_description": CONTROL,
        "error_uri": CONTROL,
        CONTROL: CONTROL,
    });
    for status in [400, 401, 403, 429, 500, 503] {
        let headers = [
            ("content-type", "application/json; charset=\u{e9}\tCANARY"),
            ("retry-after", "\u{e9}CANARY\t"),
            ("date", "\u{e9}CANARY"),
            ("www-authenticate", "Basic realm=\"CANARY\u{e9}\""),
            ("x-ratelimit-remaining", "CANARY\u{e9}"),
            ("auth0-client-quota-limit", "b=CANARY;q=\u{e9};r=-1;t=1e99"),
        ];
        let scenario = Scenario::Raw {
            status,
            headers: headers
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
