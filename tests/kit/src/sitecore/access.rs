//! Who may call an API: the bearer of a valid JWT, for the Token API and the Admin API that of the environment it names.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::HeaderValue;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::response::Response;

use super::{Claims, Shared, problem};

/// A caller whose JWT passed signature, issuer, audience and validity.
pub(super) struct Bearer(Claims);

/// Such a caller whose JWT names an environment.
pub(super) struct Caller {
    /// The environment the JWT selects: no route names one.
    pub tenant: String,
}

impl FromRequestParts<Arc<Shared>> for Bearer {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Response> {
        let bearer = parts.headers.get(AUTHORIZATION).and_then(|value| {
            let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token)
        });
        let Some(token) = bearer else {
            return Err(unauthorized(shared, "Bearer"));
        };
        match shared.verify(token) {
            Ok(claims) => Ok(Self(claims)),
            Err(_) => Err(unauthorized(shared, "Bearer error=\"invalid_token\"")),
        }
    }
}

impl FromRequestParts<Arc<Shared>> for Caller {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Response> {
        let Bearer(claims) = Bearer::from_request_parts(parts, shared).await?;
        match claims.tenant_id {
            Some(tenant) => Ok(Self { tenant }),
            None => Err(problem(shared, 403, "The token names no environment")),
        }
    }
}

/// RFC 6750 section 3: no error code where no token was sent.
fn unauthorized(shared: &Shared, challenge: &'static str) -> Response {
    let mut response = problem(shared, 401, "Unauthorized");
    let challenge = HeaderValue::from_static(challenge);
    response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    response
}
