//! What the wire tests cannot reach: the server's clock, the bounds, and arbitrary answers.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use proptest::{collection::vec, option, prelude::*};
use serde_json::json;

use super::*;
use crate::api::token_request::{ClientAuthentication, RequestFormat};

const NOW: i64 = 1_800_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn parameters(token_format: TokenFormat) -> RequestParameters {
    RequestParameters {
        token_url: "https://auth.example.com/oauth/token".parse().unwrap(),
        audience: "api".into(),
        scopes: Vec::new(),
        extra_parameters: BTreeMap::new(),
        format: RequestFormat::Form,
        client_authentication: ClientAuthentication::ClientSecretPost,
        token_format,
    }
}

fn jwt(claims: &str) -> String {
    let encode = |part: &str| URL_SAFE_NO_PAD.encode(part);
    format!("{}.{}.{}", encode("{}"), encode(claims), encode("s"))
}

/// The lifetime that follows from a `Date` and these claims, and perhaps `expires_in`.
fn lifetime(date: Option<i64>, claims: &Value, expires_in: Option<i64>) -> Result<i64, TokenError> {
    let mut claims = claims.clone();
    claims["aud"] = "api".into();
    let body = json!({
        "access_token": jwt(&claims.to_string()),
        "token_type": "Bearer",
        "expires_in": expires_in,
    })
    .to_string();
    let answer = Answer {
        status: 200,
        content_type: Some("application/json"),
        date: date.map(at),
        quota: None,
        body: body.as_bytes(),
    };
    // Our own clock is an hour off, which must not matter.
    validate(&answer, &parameters(TokenFormat::Jwt), at(NOW + 3600))
        .map(|token| token.lifetime().as_secs())
}

#[test]
fn a_refusal_says_no_more_than_its_status_and_an_error_that_everybody_knows() {
    let refusal = |status, body: &str| {
        let answer = Answer {
            status,
            content_type: Some("application/json"),
            date: None,
            quota: None,
            body: body.as_bytes(),
        };
        validate(&answer, &parameters(TokenFormat::Jwt), at(NOW)).unwrap_err()
    };
    let refused = |status, error| TokenError::Refused { status, error };
    for status in [400, 401, 403, 404, 500, 503, 599] {
        let known = r#"{"error": "invalid_client", "error_description": "s3cret"}"#;
        assert_eq!(
            refusal(status, known),
            refused(status, Some("invalid_client"))
        );
        for unknown in [r#"{"error": "s3cret"}"#, r#"{"error": 7}"#, "{}", "s3cret"] {
            assert_eq!(refusal(status, unknown), refused(status, None));
        }
    }
    assert_eq!(refusal(429, "{}"), TokenError::RateLimited { quota: None });
    assert_eq!(refusal(302, "{}"), TokenError::Redirected { status: 302 });
    let by_proxy = TokenError::Unreachable(Unreachable::ProxyRefused);
    assert_eq!(refusal(407, "{}"), by_proxy);
    for status in [100, 199, 204, 299] {
        let content = JSON;
        assert_eq!(
            refusal(status, "{}"),
            TokenError::Malformed { status, content }
        );
    }
}

/// panva/openid-client#666, ramosbugs/oauth2-rs#86: a token that is refused for its envelope is paid for again each time.
#[test]
fn a_good_token_in_an_odd_envelope_is_taken() {
    let taken = |status, scope: Value| {
        let body = json!({
            "access_token": jwt(r#"{"aud": "api"}"#),
            "token_type": "bearer",
            "expires_in": 900,
            "scope": scope,
        })
        .to_string();
        let answer = Answer {
            status,
            content_type: Some("application/json"),
            date: None,
            quota: None,
            body: body.as_bytes(),
        };
        validate(&answer, &parameters(TokenFormat::Jwt), at(NOW)).map(|token| token.scope)
    };
    for status in [200, 201] {
        assert_eq!(taken(status, json!("a b")), Ok(Some("a b".into())));
        assert_eq!(taken(status, json!(["a", "b"])), Ok(Some("a b".into())));
        assert_eq!(taken(status, json!([])), Ok(None));
        assert_eq!(taken(status, json!(["a\n"])), Ok(None), "not shown");
    }
    assert!(taken(200, json!([["a"]])).is_err());
}

#[test]
fn where_no_audience_was_asked_for_none_is_checked() {
    let body = json!({
        "access_token": jwt(r#"{"aud": "elsewhere"}"#),
        "token_type": "Bearer",
        "expires_in": 900,
    })
    .to_string();
    let judged = |audience: &str| {
        let parameters = RequestParameters {
            audience: audience.into(),
            ..parameters(TokenFormat::Jwt)
        };
        let answer = Answer {
            status: 200,
            content_type: Some("application/json"),
            date: None,
            quota: None,
            body: body.as_bytes(),
        };
        validate(&answer, &parameters, at(NOW)).map(|token| token.lifetime().as_secs())
    };
    assert_eq!(judged(""), Ok(900));
    let wrong = TokenError::Unusable(Defect::WrongAudience);
    assert_eq!(judged("api"), Err(wrong));
}

#[test]
fn the_claims_are_measured_on_the_servers_clock() {
    let expired = Err(TokenError::Unusable(Defect::ExpiredOnArrival));
    let unknown = Err(TokenError::Unusable(Defect::UnknownLifetime));
    for (date, claims, expires_in, expected) in [
        (None, json!({"iat": NOW, "exp": NOW + 900}), None, Ok(900)),
        (Some(NOW), json!({"exp": NOW + 900}), None, Ok(900)),
        // Out of the server's cache.
        (
            Some(NOW + 600),
            json!({"iat": NOW, "exp": NOW + 900}),
            Some(900),
            Ok(300),
        ),
        // A server whose `Date` is behind its tokens.
        (
            Some(NOW - 60),
            json!({"iat": NOW, "exp": NOW + 900}),
            None,
            Ok(900),
        ),
        (None, json!({"exp": NOW + 900}), Some(60), Ok(60)),
        (None, json!({"exp": NOW + 900}), None, unknown.clone()),
        (None, json!({"iat": NOW}), None, unknown),
        (
            Some(NOW + 900),
            json!({"iat": NOW, "exp": NOW + 900}),
            Some(900),
            expired.clone(),
        ),
        (Some(NOW), json!({"nbf": NOW + 30}), Some(60), Ok(60)),
        (
            Some(NOW),
            json!({"nbf": NOW + 31}),
            Some(60),
            expired.clone(),
        ),
        (
            None,
            json!({"iat": NOW, "nbf": NOW + 31}),
            Some(60),
            expired,
        ),
        // Nothing to compare it with but our own clock, which is not asked.
        (None, json!({"nbf": NOW + 31}), Some(60), Ok(60)),
        // RFC 7519 allows fractions.
        (
            None,
            json!({"iat": 1_800_000_000.9, "exp": 1_800_000_100.1}),
            None,
            Ok(100),
        ),
    ] {
        assert_eq!(
            lifetime(date, &claims, expires_in),
            expected,
            "{date:?} {claims} {expires_in:?}"
        );
    }
}

#[test]
fn a_lifetime_is_positive_and_ten_seconds_at_least() {
    for (expires_in, expected) in [
        (-1, Err(Defect::InvalidLifetime)),
        (0, Err(Defect::InvalidLifetime)),
        (1, Err(Defect::ExpiredOnArrival)),
        (9, Err(Defect::ExpiredOnArrival)),
        (10, Ok(10)),
    ] {
        assert_eq!(
            lifetime(None, &json!({}), Some(expires_in)),
            expected.map_err(TokenError::Unusable),
            "{expires_in}"
        );
    }
}

#[test]
fn numbers_are_rounded_down_and_bounded_by_the_year_9999() {
    for (text, expected) in [
        ("0", Some(0)),
        ("-0", Some(0)),
        ("3600", Some(3600)),
        ("3600.9", Some(3600)),
        ("-0.5", Some(-1)),
        ("36e2", Some(3600)),
        ("1e-400", Some(0)),
        ("253402300799", Some(253_402_300_799)),
        ("-253402300799", Some(-253_402_300_799)),
        ("253402300800", None),
        ("-253402300800", None),
        ("253402300800.0", None),
        ("9223372036854775808", None),
        ("1e400", None),
        ("-1e400", None),
        ("", None),
        (".", None),
        ("e", None),
        ("NaN", None),
        ("inf", None),
        ("infinity", None),
        ("1_000", None),
        (" 1", None),
        ("0x1", None),
        ("\u{0661}", None),
    ] {
        assert_eq!(seconds(text), expected, "{text}");
    }
}

#[test]
fn a_lifetime_beyond_what_a_time_can_be_is_refused() {
    let claims = json!({});
    assert_eq!(
        lifetime(None, &claims, Some(253_402_300_799)),
        Err(TokenError::Unusable(Defect::InvalidLifetime))
    );
}

#[test]
fn a_bearer_token_is_one_by_rfc_6750() {
    let longest = "x".repeat(jwt::MAX_LENGTH);
    for token in ["a", "a=", "a==", "-._~+/", "Bearer", &longest] {
        assert!(is_bearer_token(token), "{token:.20}");
    }
    let too_long = "x".repeat(jwt::MAX_LENGTH + 1);
    for token in ["", "=", "=a", "a=b", "a b", "a\n", "a,b", "é", &too_long] {
        assert!(!is_bearer_token(token), "{token:.20}");
    }
}

#[test]
fn a_scope_that_is_kept_is_one_by_rfc_6749() {
    let longest = "x".repeat(SCOPE_MAX_LENGTH);
    for scope in ["a", "a b", "!#[]~", &longest] {
        assert!(is_scope(scope), "{scope:.20}");
    }
    let too_long = "x".repeat(SCOPE_MAX_LENGTH + 1);
    for scope in ["", "a\"b", "a\\b", "a\nb", "a\tb", "é", &too_long] {
        assert!(!is_scope(scope), "{scope:.20}");
    }
}

/// JSON text that a server might have written by mistake.
fn odd() -> BoxedStrategy<String> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| json!(number).to_string()),
        "-?[0-9]{1,25}([.][0-9]{1,3})?([eE][+-]?[0-9]{1,3})?",
        any::<String>().prop_map(|text| json!(text).to_string()),
        "\"[-+0-9.eE]{0,8}\"",
        Just("null".into()),
        Just("[]".into()),
        Just("{}".into()),
        Just("}".into()),
    ]
    .boxed()
}

/// A member with a usual value most of the time, and sometimes with an odd one, or there twice, or not at all.
fn member(
    name: &'static str,
    usual: impl Strategy<Value = String> + Clone + 'static,
) -> BoxedStrategy<String> {
    let written = move |value: String| format!("\"{name}\":{value}");
    prop_oneof![
        12 => usual.clone().prop_map(written),
        1 => odd().prop_map(written),
        1 => (usual, odd()).prop_map(move |(one, other)| {
            format!("{},{}", written(one), written(other))
        }),
        2 => Just(String::new()),
    ]
    .boxed()
}

fn object(members: impl IntoIterator<Item = String>) -> String {
    let members: Vec<_> = members
        .into_iter()
        .filter(|member| !member.is_empty())
        .collect();
    format!("{{{}}}", members.join(","))
}

fn times(range: std::ops::Range<i64>) -> impl Strategy<Value = String> + Clone {
    range.prop_map(|time| time.to_string())
}

fn access_token() -> BoxedStrategy<String> {
    let claims = (
        member("aud", Just(r#""api""#.into())),
        member("exp", times(NOW - 100..NOW + 100_000)),
        member("iat", times(NOW - 1000..NOW + 1000)),
        member("nbf", times(NOW - 1000..NOW + 100)),
    );
    prop_oneof![
        4 => claims.prop_map(|(aud, exp, iat, nbf)| jwt(&object([aud, exp, iat, nbf]))),
        1 => "[A-Za-z0-9._~+/-]{1,20}={0,2}",
    ]
    .boxed()
}

/// What a token endpoint may answer, from the usual to the absurd.
fn body() -> BoxedStrategy<Vec<u8>> {
    let token = access_token().prop_map(|token| json!(token).to_string());
    let token = token.boxed();
    let answer = (
        member("access_token", token),
        member("token_type", Just(r#""Bearer""#.into())),
        member("expires_in", times(1..100_000)),
        member("scope", Just(r#""a b""#.into())),
        prop_oneof![12 => Just(String::new()), 1 => odd().prop_map(|odd| format!("\"error\":{odd}"))],
    );
    prop_oneof![
        12 => answer
            .prop_map(|(one, two, three, four, five)| object([one, two, three, four, five]))
            .prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..200),
    ]
    .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_answer_makes_it_panic_and_what_is_taken_is_sound(
        status in prop_oneof![8 => Just(200), 1 => any::<u16>()],
        content_type in prop_oneof![
            8 => Just(Some("application/json".to_owned())),
            1 => option::of(any::<String>()),
        ],
        date in option::of(NOW - 1000..NOW + 1000),
        body in body(),
        any_format in any::<bool>(),
        nanosecond in 0..1_000_000_000,
    ) {
        let requested_at = Timestamp::new(NOW, nanosecond).unwrap();
        let format = if any_format { TokenFormat::Any } else { TokenFormat::Jwt };
        let answer = Answer {
            status,
            content_type: content_type.as_deref(),
            date: date.map(at),
            quota: None,
            body: &body,
        };
        match validate(&answer, &parameters(format), requested_at) {
            Ok(token) => {
                prop_assert_eq!(status, 200);
                prop_assert_eq!(token.issued_at, at(NOW));
                prop_assert!(token.issued_at <= requested_at && token.lifetime().as_secs() >= LEAST_LIFETIME);
                prop_assert_eq!(token.expires_at.subsec_nanosecond(), 0);
                let text = token.access_token.expose_secret();
                prop_assert!(is_bearer_token(text));
                prop_assert!(any_format || jwt::decode_claims(text).is_some());
                prop_assert!(token.scope.as_deref().is_none_or(is_scope));
            }
            Err(error) => prop_assert!(error.to_string().is_ascii()),
        }
    }
}

#[test]
fn the_property_above_also_sees_tokens_that_are_taken() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let taken = (0..500)
        .filter(|_| {
            let body = body().new_tree(&mut runner).unwrap().current();
            let answer = Answer {
                status: 200,
                content_type: Some("application/json"),
                date: None,
                quota: None,
                body: &body,
            };
            validate(&answer, &parameters(TokenFormat::Any), at(NOW)).is_ok()
        })
        .count();
    assert!((100..400).contains(&taken), "{taken} of 500");
}

#[test]
fn a_list_of_the_members_is_no_token_answer() {
    let answer = |status, body: &str| {
        let answer = Answer {
            status,
            content_type: Some("application/json"),
            date: None,
            quota: None,
            body: body.as_bytes(),
        };
        validate(&answer, &parameters(TokenFormat::Any), at(NOW)).unwrap_err()
    };
    let malformed = TokenError::Malformed {
        status: 200,
        content: JSON,
    };
    assert_eq!(
        answer(200, r#"["token","Bearer",3600,null,null]"#),
        malformed
    );
    let refused = TokenError::Refused {
        status: 400,
        error: None,
    };
    let list = r#"[null,null,null,null,"invalid_client"]"#;
    assert_eq!(answer(400, list), refused);
}
