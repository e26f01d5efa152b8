//! What was asked of the stand-in, and how it answered. Never a secret.

use std::collections::BTreeMap;
use std::time::SystemTime;

/// How the body of a token request was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFormat {
    /// `application/x-www-form-urlencoded`.
    Form,
    /// `application/json`.
    Json,
}

/// How a client named itself and its secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// No secret at all.
    None,
    /// `client_secret_post`: in the body.
    Post,
    /// `client_secret_basic`: in the `Authorization` header.
    Basic,
    /// Both, which RFC 6749 section 2.3 forbids.
    Both,
}

/// One token request that named a client.
#[derive(Clone, Debug)]
pub struct RecordedRequest {
    /// When it arrived.
    pub at: SystemTime,
    /// How the body was written.
    pub format: BodyFormat,
    /// How the client named its secret.
    pub authentication: ClientAuthentication,
    /// The parameter `grant_type`.
    pub grant_type: Option<String>,
    /// The parameter `audience`.
    pub audience: Option<String>,
    /// The parameter `scope`.
    pub scope: Option<String>,
    /// All other parameters but the client's id and secret.
    pub extra: BTreeMap<String, String>,
    /// The header `Content-Type`.
    pub content_type: Option<String>,
    /// The header `Accept`.
    pub accept: Option<String>,
    /// The header `User-Agent`.
    pub user_agent: Option<String>,
}

/// A token that was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedToken {
    /// When.
    pub at: SystemTime,
    /// Its claim `jti`.
    pub id: String,
}

/// One of the APIs that a token or a key opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Api {
    /// The Token API, `/api/apikey/v1`.
    Token,
    /// The Admin API, `/api/admin/v1`.
    Admin,
    /// The Deploy API, `/api/environments/v1`.
    Deploy,
    /// The Delivery API, `/api/graphql/v1`.
    Delivery,
}

impl Api {
    /// Where the API lives.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Token => "/api/apikey/v1",
            Self::Admin => "/api/admin/v1",
            Self::Deploy => "/api/environments/v1",
            Self::Delivery => "/api/graphql/v1",
        }
    }

    pub(super) fn of_path(path: &str) -> Option<Self> {
        [Self::Token, Self::Admin, Self::Deploy, Self::Delivery]
            .into_iter()
            .find(|api| path.starts_with(api.path()))
    }
}

/// The status under which calls are counted whose connection was reset.
pub const NO_ANSWER: u16 = 0;

/// How often each route was called, by the status it answered. A call that nobody waited for is not in here.
#[derive(Clone, Debug, Default)]
pub struct CallCounts {
    counts: BTreeMap<(String, u16), u64>,
}

impl CallCounts {
    pub(super) fn add(&mut self, route: &str, status: u16) {
        *self.counts.entry((route.to_owned(), status)).or_default() += 1;
    }

    /// Calls of one route, such as `GET /api/admin/v1/webhooks/{id}`, with this status.
    pub fn route(&self, route: &str, status: u16) -> u64 {
        self.counts
            .get(&(route.to_owned(), status))
            .copied()
            .unwrap_or_default()
    }

    /// The calls that an earlier count does not have.
    pub fn since(&self, earlier: &Self) -> Self {
        let new = self.counts.iter().filter_map(|(of, count)| {
            let before = earlier.counts.get(of).copied().unwrap_or_default();
            (*count > before).then(|| (of.clone(), count - before))
        });
        Self {
            counts: new.collect(),
        }
    }

    /// Calls of an API that succeeded.
    pub fn ok(&self, api: Api) -> u64 {
        self.sum(api, |status| (200..300).contains(&status))
    }

    /// Calls of an API refused for their token or key: 401.
    pub fn refused(&self, api: Api) -> u64 {
        self.sum(api, |status| status == 401)
    }

    /// Route, status and number of calls, in the order of the routes.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u16, u64)> {
        self.counts
            .iter()
            .map(|((route, status), count)| (route.as_str(), *status, *count))
    }

    fn sum(&self, api: Api, wanted: impl Fn(u16) -> bool) -> u64 {
        self.iter()
            .filter(|(route, status, _)| {
                let path = route.split_once(' ').map_or(*route, |(_, path)| path);
                Api::of_path(path) == Some(api) && wanted(*status)
            })
            .map(|(_, _, count)| count)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_before_is_not_among_the_calls_since_then() {
        let mut calls = CallCounts::default();
        calls.add("GET /api/apikey/v1", 200);
        calls.add("POST /api/apikey/v1", 201);
        let earlier = calls.clone();
        assert_eq!(calls.since(&earlier).iter().count(), 0);
        calls.add("GET /api/apikey/v1", 200);
        calls.add("GET /api/apikey/v1", 401);
        let new = calls.since(&earlier);
        let expected = [
            ("GET /api/apikey/v1", 200, 1),
            ("GET /api/apikey/v1", 401, 1),
        ];
        assert!(new.iter().eq(expected));
    }
}
