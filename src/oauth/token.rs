//! An access token and its times.

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;

/// A bearer token and its times, in whole seconds of our own clock.
#[derive(Clone, Debug)]
pub struct Token {
    /// The token.
    pub access_token: SecretString,
    /// The granted scopes, separated by spaces, where the endpoint or the token names them.
    pub scope: Option<String>,
    /// Sitecore's tenant id, where the token names one: the environment that it opens.
    pub tenant_id: Option<String>,
    /// Sitecore's organization id, where the token names one.
    pub organization_id: Option<String>,
    /// The moment before the request was sent.
    pub issued_at: Timestamp,
    /// `issued_at` plus the lifetime that the server gave.
    pub expires_at: Timestamp,
}

/// The only token type there is here (RFC 6750).
pub const TOKEN_TYPE: &str = "Bearer";

impl Token {
    /// How long the token is valid, from request to expiry.
    pub fn lifetime(&self) -> SignedDuration {
        self.expires_at.duration_since(self.issued_at)
    }

    /// Whether the token is still valid.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        now < self.expires_at
    }
}
