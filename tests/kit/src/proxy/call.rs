//! What identifies a call from one run to the next.

use std::fmt;

use axum::http::{Method, Uri};

/// A call by its kind, and by how many of that kind came before it. In another run of the same scenario it's found
/// again, also if other calls come between.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// The method and what it's about, without the namespace: `GET secrets/edge`, `PATCH edgecredentials/edge/status`,
    /// `POST secrets`. A list is written `LIST edgecredentials`. Of a call of Sitecore's services the method and the path, which
    /// begins with a slash as nothing of the API server does, without what differs from run to run: `POST /oauth/token`,
    /// `PUT /api/apikey/v1/revokebyhash/{hash}`.
    pub what: String,
    /// From 1.
    pub ordinal: usize,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} #{}", self.what, self.ordinal)
    }
}

impl Call {
    /// Whether it is a call of Sitecore's services.
    pub fn is_of_service(&self) -> bool {
        self.what.contains(" /")
    }

    /// Whether it changes nothing. To obtain a key from the Deploy API may make one.
    pub fn is_read(&self) -> bool {
        let is_get = ["GET ", "LIST "]
            .iter()
            .any(|verb| self.what.starts_with(verb));
        is_get && !self.what.ends_with("/obtain-edge-token")
    }
}

/// The kind of a call of Sitecore's services.
pub(super) fn kind_of_service(method: &Method, uri: &Uri) -> String {
    let path = uri.path();
    match path.split_once(HASH_FOLLOWS) {
        Some((base, _)) => format!("{method} {base}{HASH_FOLLOWS}{{hash}}"),
        None => format!("{method} {path}"),
    }
}

/// What the hash of a key comes after in a path.
const HASH_FOLLOWS: &str = "/revokebyhash/";

/// The kind of a call of the API server; `None` for what is not recorded.
pub(super) fn kind(method: &Method, uri: &Uri) -> Option<String> {
    let Some(object) = object(uri.path()) else {
        return Some(format!("{method} {}", uri.path().trim_start_matches('/')));
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
            ("GET", "/version", "GET version"),
        ] {
            let kind = kind(&method.parse().unwrap(), &uri.parse().unwrap());
            assert_eq!(kind.as_deref(), Some(expected), "{uri}");
        }
    }

    #[test]
    fn a_call_of_a_service_is_known_by_its_path_but_for_the_hash_of_a_key() {
        for (method, uri, expected) in [
            ("POST", "/oauth/token", "POST /oauth/token"),
            (
                "GET",
                "/api/apikey/v1?label=edge&pagesize=50",
                "GET /api/apikey/v1",
            ),
            (
                "PUT",
                "/api/apikey/v1/revokebyhash/0a1b",
                "PUT /api/apikey/v1/revokebyhash/{hash}",
            ),
        ] {
            let kind = kind_of_service(&method.parse().unwrap(), &uri.parse().unwrap());
            assert_eq!(kind, expected);
        }
    }

    #[test]
    fn a_call_tells_whom_it_asks_and_whether_it_changes_anything() {
        for (what, is_of_service, is_read) in [
            ("GET version", false, true),
            ("LIST secrets", false, true),
            ("PUT secrets/edge", false, false),
            ("GET /api/apikey/v1", true, true),
            ("POST /oauth/token", true, false),
            (
                "GET /api/environments/v1/live/obtain-edge-token",
                true,
                false,
            ),
        ] {
            let call = Call {
                what: what.to_owned(),
                ordinal: 1,
            };
            let told = (call.is_of_service(), call.is_read());
            assert_eq!(told, (is_of_service, is_read), "{what}");
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
