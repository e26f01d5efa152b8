//! Which resource a URL path names.

use std::fmt;

/// A kind of object, as paths and RBAC rules name it. The version is left out: all versions show the same objects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ResourceName {
    /// Empty for the core group.
    pub group: String,
    pub plural: String,
}

impl ResourceName {
    pub fn new(group: &str, plural: &str) -> Self {
        Self {
            group: group.to_owned(),
            plural: plural.to_owned(),
        }
    }

    /// Whether this is the group and plural given.
    pub fn is(&self, group: &str, plural: &str) -> bool {
        self.group == group && self.plural == plural
    }

    /// Whether `kind` names this resource, as kubectl understands it: `secrets` or `edgecredentials.edgecredentials.io`.
    pub fn answers_to(&self, kind: &str) -> bool {
        match kind.split_once('.') {
            Some((plural, group)) => self.is(group, plural),
            None => self.plural == kind,
        }
    }
}

/// As the API server's messages name a resource: `secrets`, `leases.coordination.k8s.io`.
impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.plural)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        Ok(())
    }
}

/// An object's place among those of its resource, in the order in which lists return them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ObjectName {
    /// Empty for cluster-wide objects.
    pub namespace: String,
    pub name: String,
}

impl ObjectName {
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

/// What a path addresses: a collection, an object, or a subresource of an object.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub resource: ResourceName,
    pub version: String,
    /// Empty for all namespaces and for cluster-wide objects.
    pub namespace: String,
    pub name: Option<String>,
    pub subresource: Option<String>,
}

impl Target {
    /// `v1`, `edgecredentials.io/v1alpha1`.
    pub fn api_version(&self) -> String {
        if self.resource.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.resource.group, self.version)
        }
    }
}

/// Reads a path; `None` for one that names no resource, such as `/version` or a discovery document.
pub(super) fn parse(path: &str) -> Option<Target> {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, version, rest) = match segments.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    let (namespace, rest) = match rest {
        // A namespace is itself an object, with subresources of its own.
        ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => ("", rest),
        ["namespaces", namespace, rest @ ..] => (*namespace, rest),
        _ => ("", rest),
    };
    let (plural, name, subresource) = match rest {
        [plural] => (plural, None, None),
        [plural, name] => (plural, Some(*name), None),
        [plural, name, subresource] => (plural, Some(*name), Some(*subresource)),
        _ => return None,
    };
    Some(Target {
        resource: ResourceName::new(group, plural),
        version: version.to_owned(),
        namespace: namespace.to_owned(),
        name: name.map(str::to_owned),
        subresource: subresource.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(
        group: &str,
        plural: &str,
        namespace: &str,
        name: Option<&str>,
        subresource: Option<&str>,
    ) -> Target {
        Target {
            resource: ResourceName::new(group, plural),
            version: "v1".to_owned(),
            namespace: namespace.to_owned(),
            name: name.map(str::to_owned),
            subresource: subresource.map(str::to_owned),
        }
    }

    #[test]
    fn paths_name_collections_objects_and_subresources() {
        for (path, expected) in [
            ("/api/v1/secrets", target("", "secrets", "", None, None)),
            (
                "/api/v1/namespaces/a/secrets/b",
                target("", "secrets", "a", Some("b"), None),
            ),
            (
                "/apis/g.io/v1/namespaces/a/things/b/status",
                target("g.io", "things", "a", Some("b"), Some("status")),
            ),
            (
                "/apis/g.io/v1/things/b",
                target("g.io", "things", "", Some("b"), None),
            ),
            (
                "/api/v1/namespaces",
                target("", "namespaces", "", None, None),
            ),
            (
                "/api/v1/namespaces/a",
                target("", "namespaces", "", Some("a"), None),
            ),
            (
                "/api/v1/namespaces/a/status",
                target("", "namespaces", "", Some("a"), Some("status")),
            ),
        ] {
            assert_eq!(parse(path), Some(expected), "{path}");
        }
    }

    #[test]
    fn other_paths_name_nothing() {
        for path in [
            "/",
            "/version",
            "/api",
            "/api/v1",
            "/apis/g.io/v1",
            "/a/b/c/d/e/f/g/h/i",
        ] {
            assert_eq!(parse(path), None, "{path}");
        }
    }
}
