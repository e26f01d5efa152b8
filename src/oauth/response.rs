//! Judges an answer of the token endpoint: a usable token, or the reason why not (RFC 6749 section 5).

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{
    error::{Defect, TokenError},
    http_status::is_success,
    jwt,
    request::RequestParameters,
    token::{TOKEN_TYPE, Token},
};
use crate::{
    api::token_request::TokenFormat,
    http::{json::parse_object, rate_limits::Quota, unreachable::Unreachable},
};

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
    /// What is left of the client's quota.
    pub quota: Option<Quota>,
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
    scope: Option<Scope>,
    error: Option<Value>,
}

/// The granted scopes: separated by spaces (RFC 6749 section 3.3), or in a list, as some servers have it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scope {
    Text(String),
    List(Vec<String>),
}

impl Scope {
    fn to_text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::List(scopes) => scopes.join(" "),
        }
    }
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
        status if is_success(status) => {}
        300..=399 => {
            return Err(TokenError::Redirected {
                status: answer.status,
            });
        }
        // Only a proxy answers so. Before an https endpoint its answer is not seen here.
        407 => return Err(TokenError::Unreachable(Unreachable::ProxyRefused)),
        429 => {
            return Err(TokenError::RateLimited {
                quota: answer.quota,
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
    let body: Body = parse_object(answer.body).ok_or_else(malformed)?;
    if body.error.is_some() {
        return Err(malformed());
    }
    let access_token = body.access_token.as_ref();
    let access_token = access_token.ok_or(TokenError::Unusable(Defect::NoAccessToken))?;
    let token_type = body.token_type.as_ref();
    let token_type = token_type.ok_or(TokenError::Unusable(Defect::NoTokenType))?;
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
    let claims = jwt::decode_claims(access_token.expose_secret());
    if claims.is_none() && parameters.token_format == TokenFormat::Jwt {
        return Err(Defect::NotAJwt);
    }
    if !parameters.audience.is_empty()
        && claims
            .as_ref()
            .is_some_and(|claims| !claims.is_for(&parameters.audience))
    {
        return Err(Defect::WrongAudience);
    }
    let expires_in = body.expires_in.as_deref().map(expires_in).transpose()?;
    let remaining = claims
        .as_ref()
        .map(|claims| remaining_lifetime(claims, date))
        .transpose()?
        .flatten();
    let lifetime = match (expires_in, remaining) {
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
    let of_claims = claims.as_ref().and_then(jwt::Claims::scope);
    let scope = body
        .scope
        .as_ref()
        .map(Scope::to_text)
        .or(of_claims.map(Into::into))
        .filter(|scope| is_scope(scope));
    let identifier =
        |id: fn(&jwt::Claims) -> Option<&str>| claims.as_ref().and_then(id).map(Into::into);
    Ok(Token {
        access_token: access_token.clone(),
        scope,
        tenant_id: identifier(jwt::Claims::tenant_id),
        organization_id: identifier(jwt::Claims::organization_id),
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
fn remaining_lifetime(
    claims: &jwt::Claims,
    date: Option<Timestamp>,
) -> Result<Option<i64>, Defect> {
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

/// The last second of the year 9999, beyond which RFC 3339 has no timestamp.
pub const MAX_SECOND: i64 = 253_402_300_799;

/// A JSON number in whole seconds, rounded down; `None` where it is not a number or beyond what a time can be.
fn seconds(number: &str) -> Option<i64> {
    let seconds = match number.parse::<i64>() {
        Ok(seconds) => seconds,
        Err(_)
            if number
                .bytes()
                .all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b)) =>
        {
            // What is too large for an i64 becomes its largest value, which is out of bounds as well.
            number.parse::<f64>().ok()?.floor() as i64
        }
        Err(_) => return None,
    };
    (-MAX_SECOND..=MAX_SECOND)
        .contains(&seconds)
        .then_some(seconds)
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

/// `scope` of RFC 6749 section 3.3, without the three characters that take sixfold room where it is stored. It is
/// shown to people, so nothing else passes.
pub fn is_scope(scope: &str) -> bool {
    !scope.is_empty()
        && scope.len() <= SCOPE_MAX_LENGTH
        && scope
            .bytes()
            .all(|b| matches!(b, b' '..=b'~') && !b"\"\\<>&".contains(&b))
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
    let body: Body = parse_object(body)?;
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
mod tests;
