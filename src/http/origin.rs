//! Which servers may be sent secrets.

use std::{collections::BTreeSet, fmt, str::FromStr};

use reqwest::Url;

/// Scheme, host and port of a URL (RFC 6454), without the port where it is the scheme's own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(String);

impl Origin {
    /// The origin of an http or https URL; `None` for any other, also for one like `blob:`, which borrows an origin.
    pub fn of(url: &Url) -> Option<Self> {
        if !matches!(url.scheme(), "http" | "https") {
            return None;
        }
        let origin = url.origin();
        origin
            .is_tuple()
            .then(|| Self(origin.ascii_serialization()))
    }

    /// As text, `https://auth.example.com`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Text that is not an origin.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "not an origin: write scheme://host or scheme://host:port, with http or https and nothing after it"
)]
pub struct NotAnOrigin;

impl FromStr for Origin {
    type Err = NotAnOrigin;

    /// Takes exactly an origin: a path, a query or user information would promise a distinction that is not made.
    fn from_str(text: &str) -> Result<Self, NotAnOrigin> {
        let url = Url::parse(text).map_err(|_| NotAnOrigin)?;
        let plain = matches!(url.scheme(), "http" | "https")
            && url.path() == "/"
            && !text.ends_with('/')
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if !plain {
            return Err(NotAnOrigin);
        }
        Self::of(&url).ok_or(NotAnOrigin)
    }
}

/// The origins that client secrets may be sent to: an exact match, no wildcard. This one list closes server-side
/// request forgery and the theft of credentials through an EdgeCredential that names a foreign endpoint.
#[derive(Clone, Debug, Default)]
pub struct AllowedOrigins(BTreeSet<Origin>);

/// Sitecore's published token origins: today's, the Content Hub sandbox, and the two that older tenants use.
pub const SITECORE_ORIGINS: [&str; 4] = [
    "https://auth.sitecorecloud.io",
    "https://auth-beta.sitecorecloud.io",
    "https://one-sc-production.eu.auth0.com",
    "https://one-sc-beta.eu.auth0.com",
];

/// Sitecore's published origins of the APIs for Edge tokens: the Token API and the Delivery API, today's and the sandbox, and the
/// Deploy API.
pub const SITECORE_API_ORIGINS: [&str; 3] = [
    "https://edge.sitecorecloud.io",
    "https://edge-beta.sitecorecloud.io",
    "https://xmclouddeploy-api.sitecorecloud.io",
];

impl AllowedOrigins {
    /// Whether the URL's origin is in the list.
    pub fn contain(&self, url: &Url) -> bool {
        Origin::of(url).is_some_and(|origin| self.0.contains(&origin))
    }
}

impl FromIterator<Origin> for AllowedOrigins {
    fn from_iter<I: IntoIterator<Item = Origin>>(origins: I) -> Self {
        Self(origins.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(origins: &[&str]) -> AllowedOrigins {
        origins
            .iter()
            .map(|origin| origin.parse().unwrap())
            .collect()
    }

    #[test]
    fn an_origin_is_matched_exactly() {
        let allowed = allowed(&["https://auth.example.com", "http://127.0.0.1:8089"]);
        for (url, expected) in [
            ("https://auth.example.com/oauth/token", true),
            ("https://auth.example.com:443/other", true),
            ("https://AUTH.example.com/oauth/token", true),
            ("http://127.0.0.1:8089/oauth/token", true),
            ("http://auth.example.com/oauth/token", false),
            ("https://auth.example.com:444/oauth/token", false),
            ("https://auth.example.com.evil.test/oauth/token", false),
            ("https://sub.auth.example.com/oauth/token", false),
            ("https://auth.example.com./oauth/token", false),
            ("https://auth.example.com@evil.test/oauth/token", false),
            ("http://127.0.0.1/oauth/token", false),
            ("file:///etc/passwd", false),
            ("blob:https://auth.example.com/oauth/token", false),
        ] {
            assert_eq!(
                allowed.contain(&Url::parse(url).unwrap()),
                expected,
                "{url}"
            );
        }
    }

    #[test]
    fn only_a_bare_origin_can_be_allowed() {
        for text in [
            "https://auth.example.com/",
            "https://auth.example.com/oauth",
            "https://auth.example.com?x",
            "https://user@auth.example.com",
            "ftp://auth.example.com",
            "auth.example.com",
            "*",
            "",
        ] {
            assert_eq!(text.parse::<Origin>(), Err(NotAnOrigin), "{text}");
        }
    }

    #[test]
    fn sitecores_origins_are_origins() {
        assert_eq!(allowed(&SITECORE_ORIGINS).0.len(), SITECORE_ORIGINS.len());
        let apis = allowed(&SITECORE_API_ORIGINS);
        assert_eq!(apis.0.len(), SITECORE_API_ORIGINS.len());
    }
}
