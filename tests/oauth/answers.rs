//! What is made of a success: the token and its times, or the one defect for which it is refused.

use edge_credential_operator::{
    api::Reason,
    oauth::{Defect, TokenError},
};
use kit::sitecore::{Member, Scenario, TokenShape};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::{CANARY, ID, ask, ask_for_any, raw, sitecore, sitecore_with};

/// A table of scenarios, each of which must end in this error and this reason.
async fn refused(rows: impl IntoIterator<Item = (&str, Scenario)>, error: TokenError, why: Reason) {
    for (row, scenario) in rows {
        let sitecore = sitecore_with(scenario);
        let refused = ask(&sitecore).await.expect_err(row);
        assert_eq!(refused, error, "{row}");
        assert_eq!(refused.reason(), why, "{row}");
        let shown = format!("{refused} {refused:?}");
        assert!(!shown.contains(CANARY), "{row}: {shown}");
        assert_eq!(sitecore.requests(ID), 1, "{row}");
    }
}

async fn unusable(
    rows: impl IntoIterator<Item = (&str, Scenario)>,
    defect: Defect,
    reason: Reason,
) {
    refused(rows, TokenError::Unusable(defect), reason).await;
}

async fn malformed(rows: impl IntoIterator<Item = (&str, Scenario)>, content: &'static str) {
    let error = TokenError::Malformed {
        status: 200,
        content,
    };
    refused(rows, error, Reason::InvalidResponse).await;
}

fn without_any_lifetime(expires_in: Member) -> Scenario {
    TokenShape {
        expires_in,
        claims: vec![("exp".into(), Value::Null)],
        ..TokenShape::default()
    }
    .into()
}

#[tokio::test]
async fn a_token_is_taken_with_the_times_of_our_own_clock() {
    let sitecore = sitecore();
    let before = k8s_openapi::jiff::Timestamp::now();
    let token = ask(&sitecore).await.unwrap();
    let after = k8s_openapi::jiff::Timestamp::now();
    assert!(before.as_second() <= token.issued_at.as_second() && token.issued_at <= after);
    assert_eq!(token.issued_at.subsec_nanosecond(), 0);
    assert!((86_399..=86_400).contains(&token.lifetime().as_secs()));
    assert_eq!(
        token.scope.as_deref(),
        Some("edge.admin:manage edge.token:manage")
    );
    let claims = sitecore.verify(token.access_token.expose_secret()).unwrap();
    assert!(token.expires_at.as_second() <= claims.exp as i64);
    assert!(token.tenant_id.is_some());
    assert_eq!(token.tenant_id, claims.tenant_id);
    assert_eq!(token.organization_id.as_deref(), Some("org_stand_in"));
    let shown = format!("{token:?}");
    assert!(!shown.contains(token.access_token.expose_secret()));
}

#[tokio::test]
async fn a_clock_that_is_off_does_not_change_how_long_a_token_is_thought_to_live() {
    for offset in [-7200, 7200] {
        let sitecore = sitecore();
        sitecore.set_clock_offset(offset);
        let token = ask(&sitecore).await.unwrap();
        assert!((86_399..=86_400).contains(&token.lifetime().as_secs()));
        assert!(token.issued_at <= k8s_openapi::jiff::Timestamp::now());
    }
}

#[tokio::test]
async fn expires_in_is_read_as_servers_write_it() {
    for (json, seconds) in [
        ("900", 900),
        ("3600.0", 3600),
        ("3600.9", 3600),
        ("36e2", 3600),
        ("\"3600\"", 3600),
        ("\"3600.9\"", 3600),
        ("10", 10),
    ] {
        let sitecore = sitecore_with(Scenario::expires_in(json));
        let token = ask(&sitecore).await.expect(json);
        assert_eq!(token.lifetime().as_secs(), seconds, "{json}");
    }
}

#[tokio::test]
async fn the_earlier_of_expires_in_and_the_tokens_own_expiry_counts() {
    for (scenario, seconds) in [
        (Scenario::jwt_lifetime(100), 100),
        (Scenario::expires_in("50"), 50),
        (Scenario::without_expires_in(), 86_400),
        (without_any_lifetime(Member::Json("70".into())), 70),
        // A token that the server had in a cache for an hour.
        (
            TokenShape {
                issued_at: -3600,
                jwt_lifetime: Some(600),
                ..TokenShape::default()
            }
            .into(),
            600,
        ),
    ] {
        let row = format!("{scenario:?}");
        let token = ask(&sitecore_with(scenario)).await.expect(&row);
        // The second may have changed between the claims and the header `Date`.
        assert!(
            (seconds - 1..=seconds).contains(&token.lifetime().as_secs()),
            "{row}: {token:?}"
        );
    }
}

#[tokio::test]
async fn a_lifetime_that_is_not_a_positive_number_is_refused() {
    let rows = [
        ("zero", "0"),
        ("minus zero", "-0.0"),
        ("less than a second", "0.9"),
        ("negative", "-5"),
        ("a word", "\"soon\""),
        ("an empty string", "\"\""),
        ("NaN in a string", "\"NaN\""),
        ("infinity in a string", "\"inf\""),
        ("blanks", "\" 3600\""),
        ("hexadecimal", "\"0x10\""),
        ("true", "true"),
        ("a list", "[3600]"),
        ("an object", "{\"seconds\":3600}"),
        ("beyond any number", "1e400"),
        ("far below any number", "-1e400"),
        ("beyond 64 bits", "9223372036854775808"),
        ("the last of 64 bits", "9223372036854775807"),
        ("beyond the year 9999", "300000000000"),
    ]
    .map(|(row, json)| (row, Scenario::expires_in(json)));
    unusable(rows, Defect::InvalidLifetime, Reason::InvalidLifetime).await;

    let rows = [
        ("exp is text", Scenario::claim("exp", json!("tomorrow"))),
        ("exp is huge", Scenario::claim("exp", json!(1e300))),
        ("iat is a list", Scenario::claim("iat", json!([1]))),
        ("nbf is text", Scenario::claim("nbf", json!("now"))),
    ];
    unusable(rows, Defect::InvalidLifetime, Reason::InvalidLifetime).await;
}

#[tokio::test]
async fn a_token_without_any_lifetime_is_refused() {
    let rows = [
        ("neither is there", without_any_lifetime(Member::Absent)),
        (
            "expires_in is null",
            without_any_lifetime(Member::Json("null".into())),
        ),
    ];
    unusable(rows, Defect::UnknownLifetime, Reason::UnknownLifetime).await;

    let opaque = TokenShape {
        access_token: Member::text("opaque"),
        expires_in: Member::Absent,
        ..TokenShape::default()
    };
    let error = ask_for_any(&sitecore_with(opaque)).await.unwrap_err();
    assert_eq!(error, TokenError::Unusable(Defect::UnknownLifetime));
}

#[tokio::test]
async fn a_token_that_is_expired_or_not_valid_yet_is_refused() {
    let rows = [
        ("expired a minute ago", Scenario::expired_on_arrival()),
        ("expires as it is issued", Scenario::jwt_lifetime(0)),
        ("expires in a moment", Scenario::jwt_lifetime(9)),
        ("said to expire in a moment", Scenario::expires_in("9.9")),
        ("valid in two minutes", Scenario::not_valid_for(120)),
    ];
    unusable(rows, Defect::ExpiredOnArrival, Reason::ExpiredOnArrival).await;

    let machines_behind_one_balancer = Scenario::not_valid_for(15);
    ask(&sitecore_with(machines_behind_one_balancer))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_token_for_another_audience_is_refused() {
    let rows = [
        ("another", json!("https://other.example")),
        ("a longer one", json!("https://api.sitecorecloud.io/")),
        ("others", json!(["https://other.example", "https://b"])),
        ("an empty list", json!([])),
        ("none", Value::Null),
        ("a number", json!(7)),
    ]
    .map(|(row, aud)| (row, Scenario::claim("aud", aud)));
    unusable(rows, Defect::WrongAudience, Reason::WrongAudience).await;

    let among_others = json!(["https://other.example", "https://api.sitecorecloud.io"]);
    ask(&sitecore_with(Scenario::claim("aud", among_others)))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_token_that_is_not_a_jwt_is_refused_unless_any_is_allowed() {
    let tokens = ["b3BhcXVl", "a.b", "a.b.c", "e30.e30.", "Bearer-like", "x=="];
    let rows = tokens.map(|token| (token, Scenario::access_token(token)));
    unusable(rows, Defect::NotAJwt, Reason::NotAJWT).await;
    for token in tokens {
        let sitecore = sitecore_with(Scenario::access_token(token));
        let taken = ask_for_any(&sitecore).await.expect(token);
        assert_eq!(taken.access_token.expose_secret(), token);
        assert_eq!(taken.lifetime().as_secs(), 86_400);
    }
}

#[tokio::test]
async fn a_token_that_cannot_stand_in_a_header_is_refused_whatever_its_format() {
    let too_long = "x".repeat(16 * 1024 + 1);
    let tokens = [
        "",
        "=",
        "a b",
        "CANARY\n",
        "CANARY\r\nX-Injected: yes",
        "CANARY\0",
        "CANARY\"",
        "CANARY,",
        "CANARÝ",
        "a=b",
        &too_long,
    ];
    let rows = tokens.map(|token| (token, Scenario::access_token(token)));
    unusable(rows, Defect::InvalidTokenBytes, Reason::InvalidTokenBytes).await;
    for token in tokens {
        let sitecore = sitecore_with(Scenario::access_token(token));
        assert_eq!(
            ask_for_any(&sitecore).await.unwrap_err(),
            TokenError::Unusable(Defect::InvalidTokenBytes)
        );
    }
}

#[tokio::test]
async fn only_bearer_tokens_are_taken_in_upper_or_lower_case() {
    let rows = ["DPoP", "mac", "", "Bearer ", CANARY]
        .map(|token_type| (token_type, Scenario::token_type(token_type)));
    unusable(
        rows,
        Defect::UnsupportedTokenType,
        Reason::UnsupportedTokenType,
    )
    .await;
    for token_type in ["bearer", "BEARER", "Bearer"] {
        ask(&sitecore_with(Scenario::token_type(token_type)))
            .await
            .expect(token_type);
    }
}

#[tokio::test]
async fn a_success_that_is_not_a_token_answer_is_refused() {
    let json = Some("application/json");
    let member = Scenario::with_member;
    let rows = [
        ("nothing", raw(200, json, "")),
        ("half an object", raw(200, json, "{\"access_token\":")),
        ("a list", raw(200, json, "[]")),
        ("null", raw(200, json, "null")),
        ("not UTF-8", raw(200, json, *b"{\"access_token\":\"\xff\"}")),
        ("text after it", raw(200, json, "{} CANARY")),
        ("NaN", Scenario::expires_in("NaN")),
        (
            "a token that is a number",
            TokenShape {
                access_token: Member::Json("7".into()),
                ..TokenShape::default()
            }
            .into(),
        ),
        ("the token twice", member("access_token", "\"CANARY\"")),
        ("the type twice", member("token_type", "\"Bearer\"")),
        ("the lifetime twice", member("expires_in", "60")),
        ("the scope twice", member("scope", "\"CANARY\"")),
        ("an error", member("error", "\"access_denied\"")),
        ("an unknown error", member("error", "\"CANARY\"")),
        ("an error object", member("error", "{\"CANARY\":true}")),
        (
            "compressed, which was not asked for",
            Scenario::Raw {
                status: 200,
                headers: vec![
                    ("content-type".into(), "application/json".into()),
                    ("content-encoding".into(), "gzip".into()),
                ],
                body: b"\x1f\x8b\x08\0CANARY".into(),
            },
        ),
    ];
    malformed(rows, "JSON").await;
}

#[tokio::test]
async fn a_success_without_its_token_or_type_is_refused_and_the_member_is_named() {
    let no_token_type = TokenShape {
        token_type: Member::Absent,
        ..TokenShape::default()
    };
    for (scenario, defect, reason, member) in [
        (
            Scenario::without_access_token(),
            Defect::NoAccessToken,
            Reason::InvalidTokenBytes,
            "access_token",
        ),
        (
            no_token_type.into(),
            Defect::NoTokenType,
            Reason::UnsupportedTokenType,
            "token_type",
        ),
    ] {
        assert!(TokenError::Unusable(defect).to_string().contains(member));
        unusable([(member, scenario)], defect, reason).await;
    }
}

#[tokio::test]
async fn a_success_of_another_content_type_is_refused_and_named_out_of_a_fixed_list() {
    const BODY: &str = r#"{"access_token":"CANARY","token_type":"Bearer","expires_in":60}"#;
    for (content_type, content) in [
        (Some("text/html; charset=utf-8"), "HTML"),
        (Some("TEXT/HTML"), "HTML"),
        (Some("text/plain"), "plain text"),
        (Some("application/xml"), "XML"),
        (Some("application/CANARY"), "another type of content"),
        (Some("application/json+x"), "another type of content"),
        (Some(""), "another type of content"),
        (None, "no type of content"),
    ] {
        let row = content_type.unwrap_or("none");
        malformed([(row, raw(200, content_type, BODY))], content).await;
    }
    malformed([("a page", Scenario::Html { status: 200 })], "HTML").await;
    for content_type in [
        "application/json",
        "Application/JSON ; charset=utf-8",
        "text/json",
    ] {
        ask_for_any(&sitecore_with(raw(200, Some(content_type), BODY)))
            .await
            .expect(content_type);
    }
}

#[tokio::test]
async fn unknown_members_are_ignored_and_a_null_is_no_member() {
    for (name, json) in [
        ("refresh_token", "\"CANARY\""),
        ("padding", "[{}]"),
        ("error", "null"),
    ] {
        ask(&sitecore_with(Scenario::with_member(name, json)))
            .await
            .expect(name);
    }
}

#[tokio::test]
async fn a_scope_is_shown_only_where_it_is_one() {
    for (scope, kept) in [
        (Member::text("a b"), Some("a b")),
        (Member::Absent, Some("edge.admin:manage edge.token:manage")),
        (Member::text(""), None),
        (Member::text("a\nb"), None),
        (Member::text("a\"b"), None),
    ] {
        let sitecore = sitecore_with(TokenShape {
            scope,
            ..TokenShape::default()
        });
        assert_eq!(ask(&sitecore).await.unwrap().scope.as_deref(), kept);
    }
}

#[tokio::test]
async fn an_answer_is_read_up_to_64_kib() {
    ask(&sitecore_with(Scenario::HugeBody(64 * 1024)))
        .await
        .unwrap();
    let rows = [
        ("a byte more", Scenario::HugeBody(64 * 1024 + 1)),
        ("a mebibyte", Scenario::HugeBody(1024 * 1024)),
        ("no end", Scenario::EndlessBody),
    ];
    refused(rows, TokenError::TooLarge, Reason::ResponseTooLarge).await;
}
