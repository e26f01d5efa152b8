//! Answers of the token endpoint: what is accepted is a usable token, and a refusal shows nothing of the answer.

use std::collections::BTreeMap;

use edge_credential_operator::{
    api::token_request::{ClientAuthentication, DEFAULT_AUDIENCE, RequestFormat, TokenFormat},
    http::rate_limits::read_limits,
    oauth::{
        Defect, RequestParameters, Token, TokenError, jwt,
        response::{self, MAX_SECOND, is_bearer_token, is_scope, validate},
    },
};
use http::header::CONTENT_TYPE;
use k8s_openapi::jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::Value;

use super::{answer::Answer, assert_harmless};

/// When the requests were sent: not at a full second.
const REQUESTED_AT: Timestamp = Timestamp::constant(1_800_000_000, 999_999_999);

/// Checks one answer.
pub fn check(input: &[u8]) {
    let Some(answer) = Answer::read(input) else {
        return;
    };
    let jwt_only = judge(&answer, TokenFormat::Jwt);
    let any = judge(&answer, TokenFormat::Any);
    match (&jwt_only, &any) {
        (Ok(one), Ok(other)) => assert_eq!(
            (one.issued_at, one.expires_at, &one.scope),
            (other.issued_at, other.expires_at, &other.scope)
        ),
        (Err(one), Err(other)) if one == other => {}
        (Err(one), _) => assert_eq!(*one, TokenError::Unusable(Defect::NotAJwt)),
        (Ok(_), Err(error)) => panic!("refused only where any token will do: {error}"),
    }
    if let Ok(token) = &jwt_only {
        let claims = jwt::decode_claims(token.access_token.expose_secret()).expect("a JWT");
        assert!(claims.is_for(DEFAULT_AUDIENCE));
    }
}

fn judge(answer: &Answer, token_format: TokenFormat) -> Result<Token, TokenError> {
    let parameters = RequestParameters {
        token_url: "https://auth.example/token".parse().expect("a URL"),
        audience: DEFAULT_AUDIENCE.into(),
        scopes: Vec::new(),
        extra_parameters: BTreeMap::new(),
        format: RequestFormat::Form,
        client_authentication: ClientAuthentication::ClientSecretPost,
        token_format,
    };
    let judged = validate(
        &response::Answer {
            status: answer.status,
            content_type: answer.header(CONTENT_TYPE),
            date: answer.date(),
            quota: read_limits(answer.status, &answer.headers, answer.date(), REQUESTED_AT).quota,
            body: &answer.body,
        },
        &parameters,
        REQUESTED_AT,
    );
    match &judged {
        Ok(token) => accepted(answer, token),
        Err(error) => {
            assert_harmless(&error.to_string());
            assert_harmless(&format!("{error:?} {}", error.reason()));
        }
    }
    judged
}

fn accepted(answer: &Answer, token: &Token) {
    let bytes = token.access_token.expose_secret();
    assert!(matches!(answer.status, 200 | 201));
    assert!(is_bearer_token(bytes));
    assert_eq!(token.issued_at, Timestamp::constant(1_800_000_000, 0));
    let lifetime = token.lifetime();
    assert!((10..=MAX_SECOND).contains(&lifetime.as_secs()) && lifetime.subsec_nanos() == 0);
    assert!(token.scope.as_deref().is_none_or(is_scope));
    let shown = format!(
        "{:?}",
        Token {
            scope: None,
            tenant_id: None,
            organization_id: None,
            ..token.clone()
        }
    );
    assert_harmless(&shown);

    // Read once more by other means: neither what the answer says nor what the token says is exceeded.
    // A member that is ignored may be what `Value` does not take.
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let mut limits = vec![body["expires_in"].as_i64()];
    let claims = jwt::decode_claims(bytes);
    let number = |claim: &Option<Box<serde_json::value::RawValue>>| {
        claim.as_ref()?.get().parse::<i64>().ok()
    };
    if let Some(claims) = &claims
        && let Some(exp) = number(&claims.exp)
    {
        limits.push(number(&claims.iat).map(|iat| exp - iat));
        limits.push(answer.date().map(|date| exp - date.as_second()));
    }
    for limit in limits.into_iter().flatten() {
        assert!(lifetime.as_secs() <= limit, "{lifetime} of {limit} s");
    }
}
