//! Judges an answer of the token endpoint: a usable token, or the reason why not (RFC 6749 section 5).

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{Defect, RequestParameters, TOKEN_TYPE, Token, TokenError, jwt};
use crate::api::edge_credential::TokenFormat;

/// How far a token's `nbf` may lie ahead of the server's own clock: leeway for machines behind one load balancer.
const NOT_BEFORE_LEEWAY: SignedDuration = SignedDuration::from_secs(30);

/// The shortest lifetime that is of use, in seconds. A token that is all but expired would be renewed as soon as it is
/// written, again and again, and each one is billed (cert-manager once looped on the like).
const LEAST_LIFETIME: i64 = 10;

/// The longest granted scope that is kept, in bytes.
const SCOPE_MAX_LENGTH: usize = 4096;

/// What the endpoint sent.
pub struct Answer<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The `Content-Type`, if there was one.
    pub content_type: Option<&'a str>,
    /// The `Date`: the server's clock.
    pub date: Option<Timestamp>,
    /// The body.
    pub body: &'a [u8],
}

/// A success (RFC 6749 section 5.1) or an error (section 5.2): unknown members are ignored, known ones may not be
/// repeated.
#[derive(Deserialize)]
struct Body {
    access_token: Option<SecretString>,
    token_type: Option<String>,
    expires_in: Option<Box<RawValue>>,
    scope: Option<String>,
    error: Option<Value>,
}

/// Turns an answer into a token. `requested_at` is the moment *before* the request was sent, so that the token is
/// never thought to live longer than it does.
pub fn validate(
    answer: &Answer<'_>,
    parameters: &RequestParameters,
    requested_at: Timestamp,
) -> Result<Token, TokenError> {
    let malformed = || TokenError::Malformed {
        status: answer.status,
        content: content(answer.content_type),
    };
    match answer.status {
        200 => {}
        300..=399 => {
            return Err(TokenError::Redirected {
                status: answer.status,
            });
        }
        400.. => {
            return Err(TokenError::Refused {
                status: answer.status,
                error: known_error(answer.body),
            });
        }
        _ => return Err(malformed()),
    }
    if content(answer.content_type) != JSON {
        return Err(malformed());
    }
    let body: Body = serde_json::from_slice(answer.body).map_err(|_| malformed())?;
    if body.error.is_some() {
        return Err(malformed());
    }
    let (Some(access_token), Some(token_type)) = (&body.access_token, &body.token_type) else {
        return Err(malformed());
    };
    judge(
        &body,
        access_token,
        token_type,
        answer.date,
        parameters,
        requested_at,
    )
    .map_err(TokenError::Unusable)
}

fn judge(
    body: &Body,
    access_token: &SecretString,
    token_type: &str,
    date: Option<Timestamp>,
    parameters: &RequestParameters,
    requested_at: Timestamp,
) -> Result<Token, Defect> {
    if !token_type.eq_ignore_ascii_case(TOKEN_TYPE) {
        return Err(Defect::UnsupportedTokenType);
    }
    if !is_bearer_token(access_token.expose_secret()) {
        return Err(Defect::InvalidTokenBytes);
    }
    let claims = jwt::claims(access_token.expose_secret());
    if claims.is_none() && parameters.token_format == TokenFormat::Jwt {
        return Err(Defect::NotAJwt);
    }
    if claims
        .as_ref()
        .is_some_and(|claims| !claims.is_for(&parameters.audience))
    {
        return Err(Defect::WrongAudience);
    }
    let expires_in = body.expires_in.as_deref().map(expires_in).transpose()?;
    let of_claims = claims
        .as_ref()
        .map(|claims| remaining(claims, date))
        .transpose()?
        .flatten();
    let lifetime = match (expires_in, of_claims) {
        (Some(one), Some(other)) => one.min(other),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => return Err(Defect::UnknownLifetime),
    };
    if lifetime < LEAST_LIFETIME {
        return Err(Defect::ExpiredOnArrival);
    }
    let issued_at = whole_seconds(requested_at);
    let expires_at = issued_at
        .checked_add(SignedDuration::from_secs(lifetime))
        .map_err(|_| Defect::InvalidLifetime)?;
    let scope = body
        .scope
        .as_deref()
        .or(claims.as_ref().and_then(jwt::Claims::scope))
        .filter(|scope| is_scope(scope));
    Ok(Token {
        access_token: access_token.clone(),
        scope: scope.map(Into::into),
        issued_at,
        expires_at,
    })
}

/// `expires_in` in whole seconds: a positive number, or one written as a string, as some servers do.
fn expires_in(raw: &RawValue) -> Result<i64, Defect> {
    let text = raw.get();
    let number = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(text);
    seconds(number)
        .filter(|seconds| *seconds > 0)
        .ok_or(Defect::InvalidLifetime)
}

/// How long the token's own claims let it live, on the server's clock: `exp - iat`, and not beyond `exp` where the
/// server says what time it is (a cached token was issued earlier). `None` where there is no `exp` to go by.
fn remaining(claims: &jwt::Claims, date: Option<Timestamp>) -> Result<Option<i64>, Defect> {
    let time = |raw: &Option<Box<RawValue>>| {
        raw.as_deref()
            .map(|raw| seconds(raw.get()).ok_or(Defect::InvalidLifetime))
            .transpose()
    };
    let now = date.map(Timestamp::as_second);
    if let (Some(nbf), Some(reference)) = (time(&claims.nbf)?, now.or(time(&claims.iat)?))
        && nbf > reference.saturating_add(NOT_BEFORE_LEEWAY.as_secs())
    {
        return Err(Defect::ExpiredOnArrival);
    }
    let Some(exp) = time(&claims.exp)? else {
        return Ok(None);
    };
    let lifetime = [time(&claims.iat)?, now]
        .into_iter()
        .flatten()
        .map(|start| exp.saturating_sub(start))
        .min();
    match lifetime {
        Some(..=0) => Err(Defect::ExpiredOnArrival),
        lifetime => Ok(lifetime),
    }
}

/// A JSON number in whole seconds, rounded down; `None` where it is not a number or beyond what a time can be.
fn seconds(number: &str) -> Option<i64> {
    // The last second of the year 9999, beyond which RFC 3339 has no timestamp.
    const MAX: i64 = 253_402_300_799;
    let seconds = match number.parse::<i64>() {
        Ok(seconds) => seconds,
        Err(_)
            if number
                .bytes()
                .all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b)) =>
        {
            let seconds = number.parse::<f64>().ok()?.floor();
            if seconds.abs() > MAX as f64 {
                return None;
            }
            seconds as i64
        }
        Err(_) => return None,
    };
    (-MAX..=MAX).contains(&seconds).then_some(seconds)
}

/// `b64token` of RFC 6750 section 2.1, no longer than a header can carry.
pub fn is_bearer_token(token: &str) -> bool {
    let unpadded = token.trim_end_matches('=');
    token.len() <= jwt::MAX_LENGTH
        && !unpadded.is_empty()
        && unpadded
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b))
}

/// `scope` of RFC 6749 section 3.3. It is shown to people, so nothing else passes.
fn is_scope(scope: &str) -> bool {
    !scope.is_empty()
        && scope.len() <= SCOPE_MAX_LENGTH
        && scope
            .bytes()
            .all(|b| matches!(b, b' ' | 0x21 | 0x23..=0x5B | 0x5D..=0x7E))
}

/// The time in whole seconds, as it stands in the target Secret and in status: what is compared must round-trip.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// The errors of RFC 6749 section 5.2 and RFC 8707, and the ones that Auth0 adds. Nothing else from an error answer
/// is ever shown.
const KNOWN_ERRORS: [&str; 11] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "invalid_target",
    "access_denied",
    "too_many_requests",
    "server_error",
    "temporarily_unavailable",
];

fn known_error(body: &[u8]) -> Option<&'static str> {
    let body: Body = serde_json::from_slice(body).ok()?;
    let error = body.error?;
    KNOWN_ERRORS.into_iter().find(|known| error == *known)
}

const JSON: &str = "JSON";

/// The kind of content, out of a fixed list.
fn content(content_type: Option<&str>) -> &'static str {
    let media_type = content_type
        .and_then(|content_type| content_type.split(';').next())
        .map(|media_type| media_type.trim().to_ascii_lowercase());
    match media_type.as_deref() {
        Some("application/json" | "text/json") => JSON,
        Some("text/html" | "application/xhtml+xml") => "HTML",
        Some("text/plain") => "plain text",
        Some("application/xml" | "text/xml") => "XML",
        Some(_) => "another type of content",
        None => "no type of content",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use proptest::{collection::vec, option, prelude::*};
    use serde_json::json;

    use super::*;
    use crate::api::edge_credential::{ClientAuthentication, RequestFormat};

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
            client_authentication: ClientAuthentication::RequestBody,
            token_format,
        }
    }

    fn jwt(claims: &str) -> String {
        let encode = |part: &str| URL_SAFE_NO_PAD.encode(part);
        format!("{}.{}.{}", encode("{}"), encode(claims), encode("s"))
    }

    /// The lifetime that follows from a `Date` and these claims, and perhaps `expires_in`.
    fn lifetime(
        date: Option<i64>,
        claims: &Value,
        expires_in: Option<i64>,
    ) -> Result<i64, TokenError> {
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
            body: body.as_bytes(),
        };
        // Our own clock is an hour off, which must not matter.
        validate(&answer, &parameters(TokenFormat::Jwt), at(NOW + 3600))
            .map(|token| token.lifetime().as_secs())
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

    /// JSON text of a number, of a string, or of something else.
    fn json_text() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<i64>().prop_map(|number| number.to_string()),
            (-10_i64..100_000).prop_map(|number| number.to_string()),
            (NOW - 1000..NOW + 100_000).prop_map(|number| number.to_string()),
            any::<f64>().prop_map(|number| json!(number).to_string()),
            "-?[0-9]{1,25}([.][0-9]{1,3})?([eE][+-]?[0-9]{1,3})?",
            any::<String>().prop_map(|text| json!(text).to_string()),
            "\"[-+0-9.eE]{0,8}\"",
            "\"[Bb]earer\"",
            Just("null".into()),
            Just("[]".into()),
            Just("{}".into()),
        ]
    }

    /// JSON text of an object that has some of these members, some of them more than once.
    fn object(names: &'static [&'static str]) -> impl Strategy<Value = String> {
        let member = (prop::sample::select(names), json_text());
        vec(member, 0..6).prop_map(|members| {
            let members: Vec<_> = members
                .into_iter()
                .map(|(name, value)| format!("\"{name}\":{value}"))
                .collect();
            format!("{{{}}}", members.join(","))
        })
    }

    fn access_token() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => (object(&["exp", "iat", "nbf", "scope"])).prop_map(|claims| {
                let aud = r#"{"aud":"api","#;
                jwt(&claims.replacen('{', aud, 1).replace(",}", "}"))
            }),
            1 => object(&["aud", "exp"]).prop_map(|claims| jwt(&claims)),
            1 => "[A-Za-z0-9._~+/-]{0,20}={0,2}",
            1 => any::<String>(),
        ]
    }

    /// What a token endpoint may answer, from the usual to the absurd.
    fn body() -> impl Strategy<Value = Vec<u8>> {
        let members = object(&[
            "expires_in",
            "expires_in",
            "scope",
            "error",
            "token_type",
            "more",
        ]);
        prop_oneof![
            6 => (access_token(), members, any::<bool>()).prop_map(|(token, members, typed)| {
                let token = json!(token);
                let token_type = if typed { r#""token_type":"Bearer","# } else { "" };
                let start = format!(r#"{{{token_type}"access_token":{token},"#);
                members.replacen('{', &start, 1).replace(",}", "}").into_bytes()
            }),
            1 => object(&["access_token", "token_type", "expires_in", "error"]).prop_map(String::into_bytes),
            1 => vec(any::<u8>(), 0..200),
        ]
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
                body: &body,
            };
            match validate(&answer, &parameters(format), requested_at) {
                Ok(token) => {
                    prop_assert_eq!(status, 200);
                    prop_assert_eq!(token.issued_at, at(NOW));
                    prop_assert!(token.issued_at <= requested_at && token.expires_at > token.issued_at);
                    prop_assert_eq!(token.expires_at.subsec_nanosecond(), 0);
                    let text = token.access_token.expose_secret();
                    prop_assert!(is_bearer_token(text));
                    prop_assert!(any_format || jwt::claims(text).is_some());
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
                    body: &body,
                };
                validate(&answer, &parameters(TokenFormat::Any), at(NOW)).is_ok()
            })
            .count();
        assert!(taken > 20, "{taken} of 500");
    }
}
