//! Sends token requests: with deadlines, to allowed origins only, following no redirect, reading no more than needed.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use futures::{FutureExt, future::BoxFuture};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use reqwest::{
    RequestBuilder, Response,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};

use super::{
    error::TokenError,
    http_status::is_success,
    request::{ClientCredentials, Reply, TokenRequest, TokenSource},
    response::{Answer, validate},
};
use crate::{
    api::token_request::{ClientAuthentication, RequestFormat},
    clock::Clock,
    http::{
        body::{BodyError, read_body},
        origin::AllowedOrigins,
        rate_limits::{read_date, read_limits},
        route::HttpClient,
        unreachable::Unreachable,
    },
};

/// Requests tokens over HTTP. All clones are one.
#[derive(Clone)]
pub struct HttpTokenSource {
    client: HttpClient,
    allowed: AllowedOrigins,
    clock: Clock,
}

impl HttpTokenSource {
    /// Sends to `allowed` origins only.
    pub fn new(allowed: AllowedOrigins, client: HttpClient, clock: Clock) -> Self {
        Self {
            client,
            allowed,
            clock,
        }
    }

    async fn send(&self, request: &TokenRequest) -> Reply {
        if !self.allowed.contain(&request.parameters.token_url) {
            return Err(TokenError::OriginNotAllowed).into();
        }
        let requested_at = self.clock.now();
        match self.prepare(request).send().await {
            Ok(response) => self.judge(response, request, requested_at).await,
            Err(error) => Err(TokenError::Unreachable(Unreachable::from(&error))).into(),
        }
    }

    async fn judge(
        &self,
        mut response: Response,
        request: &TokenRequest,
        requested_at: Timestamp,
    ) -> Reply {
        let now = self.clock.now();
        let status = response.status();
        let date = read_date(response.headers());
        let limits = read_limits(status.as_u16(), response.headers(), date, now);
        let result = match read_body(&mut response).await {
            // A deadline is a time-out, whatever came before it.
            Err(BodyError::Unreachable(cause @ Unreachable::Timeout)) => {
                Err(TokenError::Unreachable(cause))
            }
            // A token may have been issued, and paid for.
            Err(BodyError::Unreachable(_)) if is_success(status.as_u16()) => {
                Err(TokenError::Malformed {
                    status: status.as_u16(),
                    content: "cut off",
                })
            }
            Err(BodyError::TooLarge) if is_success(status.as_u16()) => Err(TokenError::TooLarge),
            // The status alone makes it a refusal, also where the body cannot be read.
            body => validate(
                &Answer {
                    status: status.as_u16(),
                    content_type: header(response.headers(), CONTENT_TYPE),
                    date,
                    quota: limits.quota,
                    body: &body.unwrap_or_default(),
                },
                &request.parameters,
                requested_at,
            ),
        };
        Reply {
            result,
            limits,
            clock_skew: date.map(|date| {
                // The header has whole seconds.
                SignedDuration::from_secs(date.duration_since(now).as_secs())
            }),
        }
    }

    fn prepare(&self, request: &TokenRequest) -> RequestBuilder {
        let parameters = &request.parameters;
        let credentials = &request.credentials;
        let scope = parameters.scopes.join(" ");
        let mut members = vec![("grant_type", "client_credentials")];
        if !parameters.audience.is_empty() {
            members.push(("audience", &parameters.audience));
        }
        if !scope.is_empty() {
            members.push(("scope", &scope));
        }
        for (name, value) in &parameters.extra_parameters {
            members.push((name, value));
        }
        let mut builder = self
            .client
            .current()
            .post(parameters.token_url.clone())
            .header(ACCEPT, "application/json");
        match parameters.client_authentication {
            ClientAuthentication::ClientSecretPost => {
                members.push(("client_id", credentials.client_id.expose_secret()));
                members.push(("client_secret", credentials.client_secret.expose_secret()));
            }
            ClientAuthentication::ClientSecretBasic => {
                builder = builder.header(AUTHORIZATION, basic(credentials))
            }
        }
        match parameters.format {
            RequestFormat::Form => builder.form(&members),
            RequestFormat::Json => builder.json(
                &members
                    .into_iter()
                    .collect::<std::collections::BTreeMap<_, _>>(),
            ),
        }
    }
}

impl TokenSource for HttpTokenSource {
    fn request<'a>(&'a self, request: &'a TokenRequest) -> BoxFuture<'a, Reply> {
        self.send(request).boxed()
    }
}

impl fmt::Debug for HttpTokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpTokenSource")
    }
}

/// The value of `Authorization` for HTTP Basic: id and secret are form-encoded first (RFC 6749 section 2.3.1).
fn basic(credentials: &ClientCredentials) -> HeaderValue {
    let encode = |secret: &SecretString| -> Zeroizing<String> {
        Zeroizing::new(form_urlencoded::byte_serialize(secret.expose_secret().as_bytes()).collect())
    };
    let pair = Zeroizing::new(format!(
        "{}:{}",
        *encode(&credentials.client_id),
        *encode(&credentials.client_secret)
    ));
    // Base64 has no byte that a header refuses.
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair.as_bytes())))
        .unwrap_or_else(|_| HeaderValue::from_static("Basic"));
    value.set_sensitive(true);
    value
}

fn header(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}
