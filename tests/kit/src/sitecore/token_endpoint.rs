//! `POST /oauth/token`: the client-credentials grant as Auth0 answers it for Sitecore.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::SystemTime;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{
    ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, LOCATION, PRAGMA, RETRY_AFTER, USER_AGENT,
    WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::{StreamExt as _, stream};
use serde_json::{Map, Value, json};

use super::clients::{Client, Clients};
use super::jwt::{self, CLAIMS_PREFIX};
use super::record::{BodyFormat, ClientAuthentication, RecordedRequest};
use super::scenario::{Member, OAuthError, RetryAfter, Scenario, TokenShape};
use super::server::{AskedBy, cut, headers, raw, wire};
use super::{Shared, http_date};

/// Answers a token request.
pub(super) async fn token(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    shared.lock().clients.total_requests += 1;
    let request = match TokenRequest::read(&headers, &body) {
        Ok(request) => request,
        Err(error) => return refusal(&shared, &error, false),
    };
    let Some(id) = request.client_id.clone() else {
        let error = OAuthError::new(401, "invalid_client", "Missing client_id");
        return refusal(&shared, &error, false);
    };
    let scenario = shared.lock().clients.arrived(&id, request.record(&headers));
    let in_flight = InFlight {
        shared: shared.clone(),
        id: id.clone(),
    };
    let mut response = answer(&shared, &request, &id, scenario, in_flight).await;
    response.extensions_mut().insert(AskedBy(id));
    response
}

/// Counts a request as in flight until its answer, or the wish for it, is gone.
struct InFlight {
    shared: Arc<Shared>,
    id: String,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.shared.lock().clients.entry(&self.id).in_flight -= 1;
    }
}

async fn answer(
    shared: &Arc<Shared>,
    request: &TokenRequest,
    id: &str,
    scenario: Scenario,
    in_flight: InFlight,
) -> Response {
    let issue = |shape: &TokenShape| issue(shared, request, id, shape);
    let usual = TokenShape::default();
    let issued = match scenario {
        Scenario::Normal => issue(&usual).map(Body::from),
        Scenario::Token(shape) => issue(&shape).map(Body::from),
        Scenario::Delay(delay) => {
            tokio::time::sleep(delay).await;
            issue(&usual).map(Body::from)
        }
        Scenario::Withheld(mut released) => {
            // Nothing is ever sent: this fails when the other end is gone.
            let _ = released.changed().await;
            issue(&usual).map(Body::from)
        }
        Scenario::Drip(pause) => issue(&usual).map(|json| {
            Body::from_stream(stream::iter(json.into_bytes()).then(move |byte| {
                // Moved in, so that the request is in flight until the last byte.
                let _ = &in_flight;
                async move {
                    tokio::time::sleep(pause).await;
                    Ok::<_, Infallible>(Bytes::from(vec![byte]))
                }
            }))
        }),
        Scenario::HugeBody(size) => issue(&usual).map(|json| Body::from(pad(json, size))),
        Scenario::IssueThenReset => match issue(&usual) {
            Ok(_) => return cut(),
            Err(error) => Err(error),
        },
        Scenario::EndlessBody => {
            let start = stream::once(async {
                Bytes::from_static(b"{\"token_type\":\"Bearer\",\"access_token\":\"")
            });
            let rest = stream::repeat(Bytes::from_static(&[b'x'; 8192]));
            Ok(Body::from_stream(
                start.chain(rest).map(Ok::<_, Infallible>),
            ))
        }
        Scenario::OAuthError(error) => Err(error),
        Scenario::TooManyRequests {
            retry_after,
            client_quota,
        } => return too_many_requests(shared, &retry_after, client_quota.as_deref()),
        Scenario::Unavailable(retry_after) => {
            let body = shared.describe("upstream connect error or disconnect/reset before headers");
            let mut response = (StatusCode::SERVICE_UNAVAILABLE, body).into_response();
            set_retry_after(shared, &mut response, &retry_after);
            return response;
        }
        Scenario::Html { status } => {
            let text = shared.describe("Something went wrong");
            let page = format!(
                "<!DOCTYPE html><html><head><title>Error</title></head><body><h1>{text}</h1></body></html>"
            );
            let html = HeaderValue::from_static("text/html; charset=utf-8");
            return raw(status, [(CONTENT_TYPE, html)], page.into());
        }
        Scenario::Raw {
            status,
            headers: written,
            body,
        } => return raw(status, headers(&written), body.into()),
        Scenario::Redirect { status, location } => {
            let location = location.parse().ok().map(|location| (LOCATION, location));
            return raw(status, location, Body::empty());
        }
        Scenario::Hang => pending().await,
        Scenario::Reset => return cut(),
        Scenario::Wire(bytes) => return wire(bytes),
    };
    match issued {
        Ok(body) => json_answer(StatusCode::OK, body),
        Err(error) => refusal(shared, &error, request.basic),
    }
}

/// Checks the request, makes a token, counts it, and writes the JSON that hands it over.
fn issue(
    shared: &Shared,
    request: &TokenRequest,
    id: &str,
    shape: &TokenShape,
) -> Result<String, OAuthError> {
    let now = i64::try_from(shared.now().as_secs()).unwrap_or(i64::MAX);
    let (claims, scope, lifetime) = {
        let mut state = shared.lock();
        let (client, audience) = request.check(&state.clients, id)?;
        let scope = request.granted(&client.scopes);
        let lifetime = i64::try_from(client.lifetime.as_secs()).unwrap_or(i64::MAX);
        let mut claims = Map::new();
        claims.insert("iss".into(), shared.issuer().into());
        claims.insert("sub".into(), format!("{id}@clients").into());
        claims.insert("aud".into(), audience.into());
        claims.insert("iat".into(), now.saturating_add(shape.issued_at).into());
        let expires = now.saturating_add(shape.jwt_lifetime.unwrap_or(lifetime));
        claims.insert("exp".into(), expires.into());
        if let Some(ahead) = shape.not_before {
            claims.insert("nbf".into(), now.saturating_add(ahead).into());
        }
        claims.insert("azp".into(), id.into());
        claims.insert("gty".into(), "client-credentials".into());
        claims.insert("scope".into(), scope.clone().into());
        claims.insert("jti".into(), super::random_id().into());
        if let Some(tenant) = &client.tenant_id {
            claims.insert(format!("{CLAIMS_PREFIX}tenant_id"), tenant.clone().into());
            claims.insert(format!("{CLAIMS_PREFIX}tenant_name"), tenant.clone().into());
        }
        let organization = &client.organization_id;
        claims.insert(
            format!("{CLAIMS_PREFIX}org_id"),
            organization.clone().into(),
        );
        claims.insert(
            format!("{CLAIMS_PREFIX}org_name"),
            organization.clone().into(),
        );
        claims.insert(format!("{CLAIMS_PREFIX}client_name"), id.into());
        for (name, value) in &shape.claims {
            if value.is_null() {
                claims.remove(name);
            } else {
                claims.insert(name.clone(), value.clone());
            }
        }
        let token_id = claims.get("jti").and_then(Value::as_str);
        state.clients.issued(id, token_id.unwrap_or_default());
        (claims, scope, lifetime)
    };
    let members = [
        (
            "access_token",
            &shape.access_token,
            Value::from(jwt::sign(&claims)),
        ),
        ("scope", &shape.scope, Value::from(scope)),
        ("expires_in", &shape.expires_in, Value::from(lifetime)),
        ("token_type", &shape.token_type, Value::from("Bearer")),
    ];
    // Written by hand: serde_json refuses to write what a test may want, such as 1e400 or a key twice.
    let usual = members
        .into_iter()
        .filter_map(|(name, member, usual)| match member {
            Member::Usual => Some((name.to_owned(), usual.to_string())),
            Member::Absent => None,
            Member::Json(json) => Some((name.to_owned(), json.clone())),
        });
    let written: Vec<_> = usual
        .chain(shape.more.iter().cloned())
        .map(|(name, json)| format!("{}:{json}", Value::from(name)))
        .collect();
    Ok(format!("{{{}}}", written.join(",")))
}

fn pad(mut json: String, size: usize) -> String {
    json.pop();
    json.push_str(",\"padding\":\"");
    let end = "\"}";
    json.extend(std::iter::repeat_n(
        'x',
        size.saturating_sub(json.len() + end.len()),
    ));
    json.push_str(end);
    json
}

fn json_answer(status: StatusCode, body: impl Into<Body>) -> Response {
    // RFC 6749 section 5.1 demands both headers wherever a token is handed over.
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, "no-store"),
        (PRAGMA, "no-cache"),
    ];
    (status, headers, body.into()).into_response()
}

fn refusal(shared: &Shared, error: &OAuthError, basic: bool) -> Response {
    let body =
        json!({"error": error.error, "error_description": shared.describe(&error.description)});
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json_answer(status, body.to_string());
    // RFC 6749 section 5.2: only to a client that used this header.
    if basic && status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Basic realm=\"stand-in\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

fn too_many_requests(
    shared: &Shared,
    retry_after: &RetryAfter,
    client_quota: Option<&str>,
) -> Response {
    let text = if client_quota.is_some() {
        "Client quota exceeded"
    } else {
        "Global limit has been reached"
    };
    let error = OAuthError::new(429, "too_many_requests", text);
    let mut response = refusal(shared, &error, false);
    set_retry_after(shared, &mut response, retry_after);
    let headers = response.headers_mut();
    headers.insert("x-ratelimit-limit", HeaderValue::from(100));
    headers.insert("x-ratelimit-remaining", HeaderValue::from(0));
    // Auth0 gives the UNIX time here, unlike Experience Edge, which gives seconds from now.
    headers.insert(
        "x-ratelimit-reset",
        HeaderValue::from(shared.now().as_secs() + 1),
    );
    if let Some(quota) = client_quota.and_then(|quota| quota.parse().ok()) {
        headers.insert("auth0-client-quota-limit", quota);
    }
    response
}

fn set_retry_after(shared: &Shared, response: &mut Response, retry_after: &RetryAfter) {
    let value = match retry_after {
        RetryAfter::None => None,
        RetryAfter::Seconds(seconds) => Some(HeaderValue::from(*seconds)),
        RetryAfter::Date(ahead) => {
            let delta = std::time::Duration::from_secs(ahead.unsigned_abs());
            let now = shared.now();
            let at = if *ahead < 0 {
                now.saturating_sub(delta)
            } else {
                now + delta
            };
            Some(http_date(at))
        }
        RetryAfter::Raw(text) => text.parse().ok(),
    };
    if let Some(value) = value {
        response.headers_mut().insert(RETRY_AFTER, value);
    }
}

/// A token request as it was sent.
struct TokenRequest {
    format: BodyFormat,
    /// The `Authorization` header was used.
    basic: bool,
    client_id: Option<String>,
    /// The id in the body, which must not differ from the one in the header.
    id_in_body: Option<String>,
    secret: Option<String>,
    secret_in_body: bool,
    parameters: BTreeMap<String, String>,
    repeated: Option<String>,
}

impl TokenRequest {
    fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, OAuthError> {
        let content_type = text(headers, CONTENT_TYPE).unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        let (format, pairs) = match media_type {
            "application/x-www-form-urlencoded" => (
                BodyFormat::Form,
                form_urlencoded::parse(body).into_owned().collect(),
            ),
            "application/json" => (BodyFormat::Json, json_parameters(body)?),
            _ => return Err(OAuthError::invalid_request("Unsupported content type")),
        };
        let mut parameters = BTreeMap::new();
        let mut repeated = None;
        for (name, value) in pairs {
            if parameters.insert(name.clone(), value).is_some() {
                repeated = Some(name);
            }
        }
        let id_in_body = parameters.remove("client_id");
        let secret_in_body = parameters.remove("client_secret");
        let (header_id, header_secret) = match text(headers, AUTHORIZATION) {
            None => (None, None),
            Some(value) => {
                let (id, secret) = basic_credentials(&value)
                    .ok_or_else(|| OAuthError::invalid_request("Malformed Authorization header"))?;
                (Some(id), Some(secret))
            }
        };
        Ok(Self {
            format,
            basic: header_id.is_some(),
            client_id: header_id.or_else(|| id_in_body.clone()),
            id_in_body,
            secret_in_body: secret_in_body.is_some(),
            secret: header_secret.or(secret_in_body),
            parameters,
            repeated,
        })
    }

    fn parameter(&self, name: &str) -> Option<&String> {
        self.parameters.get(name)
    }

    fn record(&self, headers: &HeaderMap) -> RecordedRequest {
        let known = ["grant_type", "audience", "scope"];
        RecordedRequest {
            at: SystemTime::now(),
            format: self.format,
            authentication: match (self.basic, self.secret_in_body) {
                (true, true) => ClientAuthentication::Both,
                (true, false) => ClientAuthentication::Basic,
                (false, true) => ClientAuthentication::Post,
                (false, false) => ClientAuthentication::None,
            },
            grant_type: self.parameter("grant_type").cloned(),
            audience: self.parameter("audience").cloned(),
            scope: self.parameter("scope").cloned(),
            extra: self
                .parameters
                .iter()
                .filter(|(name, _)| !known.contains(&name.as_str()))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            content_type: text(headers, CONTENT_TYPE),
            accept: text(headers, ACCEPT),
            user_agent: text(headers, USER_AGENT),
        }
    }

    /// Says who gets a token for which audience, or why nobody does.
    fn check<'a>(
        &'a self,
        clients: &'a Clients,
        id: &str,
    ) -> Result<(&'a Client, &'a str), OAuthError> {
        if let Some(name) = &self.repeated {
            return Err(OAuthError::invalid_request(&format!(
                "Repeated parameter: {name}"
            )));
        }
        if self.basic
            && (self.secret_in_body || self.id_in_body.as_deref().is_some_and(|other| other != id))
        {
            return Err(OAuthError::invalid_request(
                "More than one way of client authentication",
            ));
        }
        match self.parameter("grant_type").map(String::as_str) {
            None => {
                return Err(OAuthError::invalid_request(
                    "Missing required parameter: grant_type",
                ));
            }
            Some("client_credentials") => {}
            Some(_) => {
                return Err(OAuthError::new(
                    400,
                    "unsupported_grant_type",
                    "Unsupported grant type",
                ));
            }
        }
        let client = clients.get(id).and_then(|entry| entry.client.as_ref());
        let secret = self.secret.as_deref().unwrap_or_default();
        let Some(client) = client.filter(|client| client.accepts(secret)) else {
            return Err(OAuthError::unauthorized());
        };
        let Some(audience) = self
            .parameter("audience")
            .filter(|audience| !audience.is_empty())
        else {
            let text = "Non-global clients are not allowed access to APIv1";
            return Err(OAuthError::new(403, "access_denied", text));
        };
        if !client.audiences.contains(audience) {
            return Err(if clients.knows_audience(audience) {
                OAuthError::no_client_grant(audience)
            } else {
                OAuthError::new(
                    403,
                    "access_denied",
                    &format!("Service not found: {audience}"),
                )
            });
        }
        match (
            &client.required_organization,
            self.parameter("organization"),
        ) {
            (Some(_), None) => {
                let text = "parameter organization is required for this client";
                Err(OAuthError::invalid_request(text))
            }
            (Some(required), Some(asked)) if required != asked => Err(OAuthError::invalid_request(
                "client is not allowed in this organization",
            )),
            _ => Ok((client, audience)),
        }
    }

    /// The client's scopes, or those of them that were asked for.
    fn granted(&self, scopes: &[String]) -> String {
        let asked: Option<Vec<_>> = self
            .parameter("scope")
            .map(|asked| asked.split_whitespace().collect());
        let granted = scopes.iter().map(String::as_str);
        let granted: Vec<_> = granted
            .filter(|scope| asked.as_ref().is_none_or(|asked| asked.contains(scope)))
            .collect();
        granted.join(" ")
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn json_parameters(body: &[u8]) -> Result<Vec<(String, String)>, OAuthError> {
    let map: Map<String, Value> =
        serde_json::from_slice(body).map_err(|_| OAuthError::invalid_request("Malformed JSON"))?;
    let parameters = map.into_iter().map(|(name, value)| match value {
        Value::String(text) => (name, text),
        other => (name, other.to_string()),
    });
    Ok(parameters.collect())
}

/// Id and secret of a Basic header. RFC 6749 section 2.3.1 has both form-encoded before they are joined.
fn basic_credentials(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let joined = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = joined.split_once(':')?;
    Some((form_decode(id), form_decode(secret)))
}

fn form_decode(component: &str) -> String {
    // A bare ampersand should not be in there; where it is, it is no separator.
    let pair = format!("={}", component.replace('&', "%26"));
    let mut pairs = form_urlencoded::parse(pair.as_bytes());
    pairs
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}
