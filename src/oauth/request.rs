//! A token request, the source that answers it, and its reply.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use k8s_openapi::jiff::SignedDuration;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

use super::{error::TokenError, token::Token};
use crate::{
    api::token_request::{ClientAuthentication, RequestFormat, TokenFormat},
    http::rate_limits::Limits,
};

/// Obtains tokens.
pub trait TokenSource: Send + Sync + 'static {
    /// Requests one token. Every call costs: tokens are metered and billed by the identity provider.
    fn request<'a>(&'a self, request: &'a TokenRequest) -> BoxFuture<'a, Reply>;
}

/// The result of one request.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The token, or why there is none.
    pub result: Result<Token, TokenError>,
    /// What the answer says of rate limits and quotas.
    pub limits: Limits,
    /// How far the server's clock is ahead of ours, in whole seconds, if the answer had a date.
    pub clock_skew: Option<SignedDuration>,
}

impl From<Result<Token, TokenError>> for Reply {
    fn from(result: Result<Token, TokenError>) -> Self {
        Self {
            result,
            limits: Limits::default(),
            clock_skew: None,
        }
    }
}

/// What is asked for, apart from who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestParameters {
    /// The token endpoint; its origin has been checked.
    pub token_url: Url,
    /// The API that the token is for; none is sent and none is checked when empty.
    pub audience: String,
    /// The scopes to ask for; none is sent when empty.
    pub scopes: Vec<String>,
    /// Further parameters.
    pub extra_parameters: BTreeMap<String, String>,
    /// How the request is encoded.
    pub format: RequestFormat,
    /// How the client proves its identity.
    pub client_authentication: ClientAuthentication,
    /// What the token must look like.
    pub token_format: TokenFormat,
}

impl RequestParameters {
    /// What decides which token comes back, in one unambiguous string. How the request is written down on the wire
    /// is not part of it: the token is the same.
    pub fn fingerprint(&self) -> String {
        let mut scopes = self.scopes.clone();
        scopes.sort();
        serde_json::json!([
            self.token_url.as_str(),
            self.audience,
            scopes,
            self.extra_parameters
        ])
        .to_string()
    }
}

/// Who asks. Has no `Debug` output of its own but the redacted one of `SecretString`.
#[derive(Clone, Debug)]
pub struct ClientCredentials {
    /// `client_id`. Kept secret too: people swap the two.
    pub client_id: SecretString,
    /// `client_secret`.
    pub client_secret: SecretString,
}

impl ClientCredentials {
    /// Both, in one unambiguous string. Secret.
    pub fn fingerprint(&self) -> SecretString {
        serde_json::json!([
            self.client_id.expose_secret(),
            self.client_secret.expose_secret()
        ])
        .to_string()
        .into()
    }
}

/// A request for a token by client credentials (RFC 6749 section 4.4).
#[derive(Clone, Debug)]
pub struct TokenRequest {
    /// What is asked for.
    pub parameters: RequestParameters,
    /// Who asks.
    pub credentials: ClientCredentials,
}
