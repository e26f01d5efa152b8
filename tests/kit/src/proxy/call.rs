//! What identifies a call from one run to the next.

use std::fmt;

use axum::http::{Method, Uri};

/// A call by its kind, and by how many of that kind came before it. In another run of the same scenario it's found
/// again, also if other calls come between.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// The method and what it's about, without the namespace: `GET secrets/edge`, `PATCH edgecredentials/edge/status`,
    /// `POST secrets`, `POST /oauth/token`. A list is written `LIST edgecredentials`.
    pub what: String,
    /// From 1.
    pub ordinal: usize,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} #{}", self.what, self.ordinal)
    }
}

/// The kind of a call; `None` for what is not recorded.
pub(super) fn kind(method: &Method, uri: &Uri) -> Option<String> {
    let Some(object) = object(uri.path()) else {
        return Some(format!("{method} {}", uri.path()));
    };
    if object.split('/').next() == Some("events") || is_watch(uri) {
        return None;
    }
    let is_list = method == Method::GET && !object.contains('/');
    let verb = if is_list { "LIST" } else { method.as_str() };
    Some(format!("{verb} {object}"))
}

/// What a path of the API server is about, without group, version and namespace.
fn object(path: &str) -> Option<&str> {
    let rest = match path.strip_prefix("/apis/") {
        Some(rest) => rest.split_once('/')?.1,
        None => path.strip_prefix("/api/")?,
    };
    let (_, object) = rest.split_once('/')?;
    let in_namespace = object.strip_prefix("namespaces/");
    in_namespace
        .and_then(|rest| rest.split_once('/'))
        .map(|(_, object)| object)
        .or(Some(object))
}

fn is_watch(uri: &Uri) -> bool {
    let query = uri.query().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes())
        .any(|(key, value)| key == "watch" && (value == "true" || value == "1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_known_by_its_method_and_object() {
        for (method, uri, expected) in [
            (
                "GET",
                "/api/v1/namespaces/shop/secrets/edge",
                "GET secrets/edge",
            ),
            (
                "POST",
                "/api/v1/namespaces/shop/secrets?fieldManager=x",
                "POST secrets",
            ),
            (
                "GET",
                "/api/v1/namespaces/shop/secrets?limit=500",
                "LIST secrets",
            ),
            (
                "PATCH",
                "/apis/edgecredentials.io/v1alpha1/namespaces/shop/edgecredentials/edge/status?",
                "PATCH edgecredentials/edge/status",
            ),
            (
                "POST",
                "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
                "POST selfsubjectaccessreviews",
            ),
            ("POST", "/oauth/token", "POST /oauth/token"),
            ("GET", "/version", "GET /version"),
        ] {
            let kind = kind(&method.parse().unwrap(), &uri.parse().unwrap());
            assert_eq!(kind.as_deref(), Some(expected), "{uri}");
        }
    }

    #[test]
    fn watches_and_events_are_not_recorded() {
        for (method, uri) in [
            (
                "GET",
                "/api/v1/namespaces/shop/secrets?watch=true&resourceVersion=7",
            ),
            ("POST", "/apis/events.k8s.io/v1/namespaces/shop/events"),
            (
                "PATCH",
                "/apis/events.k8s.io/v1/namespaces/shop/events/edge.1",
            ),
        ] {
            let kind = kind(&method.parse().unwrap(), &uri.parse().unwrap());
            assert_eq!(kind, None, "{uri}");
        }
    }
}
