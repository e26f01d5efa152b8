//! Sends token requests: with deadlines, to allowed origins only, following no redirect, reading no more than needed.

use std::{fmt, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use futures::{FutureExt, future::BoxFuture};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use parking_lot::RwLock;
use reqwest::{
    Certificate, Client, NoProxy, Proxy, RequestBuilder, Response,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue},
    redirect::Policy,
};
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};

use super::{
    error::TokenError,
    limits::{parse_http_date, read_limits},
    origin::AllowedOrigins,
    proxy::is_proxy,
    request::{ClientCredentials, Reply, TokenRequest, TokenSource},
    response::{Answer, is_success, validate},
    unreachable::Unreachable,
};
use crate::{
    api::token_request::{ClientAuthentication, RequestFormat},
    clock::Clock,
};

/// How much of an answer is read, in bytes. A real one has about 2 KiB.
const MAX_BODY: usize = 64 * 1024;

/// How long to wait for a token endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// For a connection. Default: 5 seconds.
    pub connect: Duration,
    /// For a request in all, so that a server that answers one byte at a time cannot hold it either. Default: 10 seconds.
    pub total: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            total: Duration::from_secs(10),
        }
    }
}

/// How token endpoints are reached.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// Certificates in PEM that are trusted beside the system's.
    pub authorities: Option<Zeroizing<Vec<u8>>>,
    /// The URL of the proxy, which may have a password in it, in place of those of `HTTPS_PROXY` and `HTTP_PROXY`. White space
    /// around it is not part of it.
    pub proxy: Option<Zeroizing<Vec<u8>>>,
}

/// Leaves the URL of the proxy out.
impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Route")
    }
}

/// Requests tokens over HTTP. All clones are one.
#[derive(Clone)]
pub struct HttpTokenSource {
    client: Arc<RwLock<Client>>,
    deadlines: Deadlines,
    allowed: AllowedOrigins,
    clock: Clock,
}

/// The HTTP client for token endpoints cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing in what should be certificates is one that can be trusted. Taken for none, it would show as an endpoint that
    /// is not trusted, hours later (seanmonstar/reqwest#3076).
    #[error("there is no usable certificate in it")]
    NoCertificate,
    /// What should be the URL of a proxy is none. Its text may have a password in it, and is left out.
    #[error("it is not the URL of a proxy: it must be http://host:port or https://host:port")]
    NoProxy,
    /// The HTTP library refuses to make it.
    #[error("the HTTP client for token endpoints cannot be made")]
    Build(#[source] reqwest::Error),
}

impl HttpTokenSource {
    /// Sends to `allowed` origins only. Where the route names no proxy, it comes from `HTTPS_PROXY` and `HTTP_PROXY`; those of
    /// `NO_PROXY` are reached without one.
    pub fn new(
        allowed: AllowedOrigins,
        route: &Route,
        clock: Clock,
        deadlines: Deadlines,
    ) -> Result<Self, ClientError> {
        let client = make_client(route, deadlines)?;
        Ok(Self {
            client: Arc::new(RwLock::new(client)),
            deadlines,
            allowed,
            clock,
        })
    }

    /// Sends by another route from now on. What is in flight goes on as it began.
    pub fn set_route(&self, route: &Route) -> Result<(), ClientError> {
        *self.client.write() = make_client(route, self.deadlines)?;
        Ok(())
    }

    async fn send(&self, request: &TokenRequest) -> Reply {
        if !self.allowed.contain(&request.parameters.token_url) {
            return Err(TokenError::OriginNotAllowed).into();
        }
        let requested_at = self.clock.now();
        match self.prepare(request).send().await {
            Ok(response) => self.judge(response, request, requested_at).await,
            Err(error) => Err(unreachable(error)).into(),
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
        let date = header(response.headers(), DATE).and_then(parse_http_date);
        let limits = read_limits(status.as_u16(), response.headers(), date, now);
        let result = match read(&mut response).await {
            // A deadline is a time-out, whatever came before it.
            Err(error @ TokenError::Unreachable(Unreachable::Timeout)) => Err(error),
            // A token may have been issued, and paid for.
            Err(TokenError::Unreachable(_)) if is_success(status.as_u16()) => {
                Err(TokenError::Malformed {
                    status: status.as_u16(),
                    content: "cut off",
                })
            }
            Err(error) if is_success(status.as_u16()) => Err(error),
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
            .read()
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

fn make_client(route: &Route, deadlines: Deadlines) -> Result<Client, ClientError> {
    let certificates = route.authorities.as_ref();
    let certificates = certificates
        .map(|pem| parse_certificates(pem))
        .transpose()?;
    let mut builder = Client::builder()
        .user_agent(concat!(
            "edge-credential-operator/",
            env!("CARGO_PKG_VERSION")
        ))
        .redirect(Policy::none())
        .referer(false)
        .connect_timeout(deadlines.connect)
        .timeout(deadlines.total)
        .tls_certs_merge(certificates.unwrap_or_default());
    if let Some(url) = &route.proxy {
        builder = builder.proxy(parse_proxy(url)?);
    }
    builder.build().map_err(ClientError::Build)
}

/// A proxy for all but what `NO_PROXY` names.
fn parse_proxy(url: &[u8]) -> Result<Proxy, ClientError> {
    let url = std::str::from_utf8(url).unwrap_or_default().trim();
    let proxy = Some(url).filter(|url| is_proxy(url));
    let proxy = proxy.and_then(|url| Proxy::all(url).ok());
    let proxy = proxy.ok_or(ClientError::NoProxy)?;
    Ok(proxy.no_proxy(NoProxy::from_env()))
}

/// Certificates in PEM, at least one.
fn parse_certificates(pem: &[u8]) -> Result<Vec<Certificate>, ClientError> {
    match Certificate::from_pem_bundle(pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(ClientError::NoCertificate),
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

async fn read(response: &mut Response) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    // Allocated once at its limit: a body that grows would leave copies of the token behind in freed memory.
    let mut body = Zeroizing::new(Vec::with_capacity(MAX_BODY));
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(TokenError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn unreachable(error: reqwest::Error) -> TokenError {
    TokenError::Unreachable(Unreachable::from(&error))
}

fn header(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}
