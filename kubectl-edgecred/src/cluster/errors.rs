//! What the API server's errors mean to a person: an expired login, a missing right, a cluster without the operator and one that
//! cannot be reached are told apart, each with what to do. The text of the API server is left out, which may quote anything.

use std::{error::Error, fmt};

use edge_credential_operator::{cluster::denial::Denial, http::Unreachable};

use super::access::Place;

/// What was to be done with which objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// The verb, as roles have it.
    pub verb: &'static str,
    /// The resource, as roles have it, such as `edgecredentials.edgecredentials.io`.
    pub resource: &'static str,
    /// Where; in all namespaces if there is none.
    pub namespace: Option<String>,
    /// Which one; all if there is none.
    pub name: Option<String>,
}

/// Why the API server did not do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It does not know the user: the login has expired, or is of another cluster (HTTP 401).
    Unauthorized,
    /// The user may not (HTTP 403).
    Forbidden,
    /// A policy, a quota or a webhook denies it, and this one by name where that is known.
    Denied(String),
    /// There is no such kind of object in the cluster.
    NoSuchKind,
    /// There is no such namespace.
    NoNamespace,
    /// There is no such object.
    NotFound,
    /// There is one already, or it was changed in between.
    Conflict,
    /// Another answer, with this status.
    Refused(u16),
    /// No answer in time.
    Timeout,
    /// No connection, and why as far as that is known.
    Unreachable(Option<Unreachable>),
    /// The answer is not what such an object looks like.
    Unreadable,
}

/// A call of the API server that brought nothing.
#[derive(Clone, Debug)]
pub struct CallError {
    /// What was to be done.
    pub action: Action,
    /// Why it was not.
    pub cause: Cause,
    /// Which cluster was asked.
    pub place: Place,
}

impl Cause {
    /// The cause of an error.
    pub fn of(error: &kube::Error, action: &Action) -> Self {
        match Denial::of(error) {
            Some(Denial::MissingRight) => return Self::Forbidden,
            Some(denial) => return Self::Denied(denial.to_string()),
            None => {}
        }
        match error {
            kube::Error::Api(status) => match status.code {
                404 if status
                    .details
                    .as_ref()
                    .is_some_and(|details| details.kind == "namespaces") =>
                {
                    Self::NoNamespace
                }
                401 => Self::Unauthorized,
                403 => Self::Forbidden,
                // A list is always there, if only an empty one; and of a single object the answer names the kind.
                404 if action.name.is_none()
                    || status
                        .details
                        .as_ref()
                        .is_none_or(|details| details.name.is_empty()) =>
                {
                    Self::NoSuchKind
                }
                404 => Self::NotFound,
                409 => Self::Conflict,
                code => Self::Refused(code),
            },
            kube::Error::SerdeError(_) => Self::Unreadable,
            kube::Error::Auth(_) => Self::Unauthorized,
            error => Self::Unreachable(Unreachable::find(error as &(dyn Error + 'static))),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if let Some(name) = &self.name {
            write!(f, " \"{name}\"")?;
        }
        match &self.namespace {
            Some(namespace) => write!(f, " in namespace \"{namespace}\""),
            None if self.name.is_none() => write!(f, " in all namespaces"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            action,
            cause,
            place,
        } = self;
        match cause {
            Cause::Unauthorized => write!(
                f,
                "the API server does not know you ({place})\n  Your login has expired, or is for another cluster: log in again, or choose \
                 another context with --context."
            ),
            Cause::Forbidden => {
                write!(f, "you may not {action} ({place})\n  ")?;
                if action.namespace.is_none() && action.name.is_none() {
                    f.write_str(
                        "Name a namespace with -n, or have an administrator give you the right.",
                    )
                } else {
                    f.write_str("Choose another namespace with -n, or have an administrator give you the ClusterRole edit there.")
                }
            }
            Cause::Denied(by) => write!(
                f,
                "cannot {action}: {by}\n  Ask who is responsible for that what it wants."
            ),
            Cause::NoSuchKind => write!(
                f,
                "this cluster has no {} ({place})\n  It is the wrong context (choose another with --context), or the operator is not installed: \
                 see docs/install.md.",
                action.resource
            ),
            Cause::NoNamespace => write!(
                f,
                "there is no namespace \"{0}\" ({place})\n  Name another with -n, or create it: kubectl create namespace {0}",
                action.namespace.as_deref().unwrap_or_default()
            ),
            Cause::NotFound => write!(
                f,
                "there is no {}, to {action} ({place})\n  Look with `kubectl edgecred status -A`, and name the namespace with -n.",
                action.resource
            ),
            Cause::Conflict => write!(
                f,
                "cannot {action}: somebody else made or changed it just now\n  Enter the command again."
            ),
            Cause::Refused(code) => write!(
                f,
                "cannot {action}: the API server answered HTTP {code}\n  See what `kubectl {} {}` says.",
                action.verb, action.resource
            ),
            Cause::Timeout => write!(
                f,
                "the API server did not answer in time ({place})\n  Try again with a longer --request-timeout, or look at its health."
            ),
            Cause::Unreachable(why) => {
                write!(
                    f,
                    "the API server cannot be reached ({place}): {}\n  ",
                    unreachable(*why)
                )?;
                f.write_str("Is the VPN up, is this the right context (--context), and does the cluster run?")
            }
            Cause::Unreadable => write!(
                f,
                "an answer cannot be read, to {action}\n  The operator's definitions are of another version than this program: compare \
                 `kubectl edgecred --version` with `kubectl edgecred doctor`."
            ),
        }
    }
}

fn unreachable(why: Option<Unreachable>) -> &'static str {
    match why {
        Some(Unreachable::NameNotFound) => "its name cannot be resolved",
        Some(Unreachable::Refused) => "the connection was refused",
        Some(Unreachable::Untrusted) => "its certificate is not trusted",
        Some(Unreachable::OtherName) => "its certificate is for another name",
        Some(Unreachable::Expired) => "its certificate has expired",
        Some(Unreachable::NotYetValid) => "its certificate is not valid yet",
        Some(Unreachable::ProxyRefused | Unreachable::ProxyUnreachable) => {
            "the proxy before it does not let through"
        }
        Some(Unreachable::Timeout) => "no connection in time",
        Some(Unreachable::Broken) => "the connection broke",
        Some(Unreachable::Connect) | None => "there is no connection",
    }
}

impl Error for CallError {}

#[cfg(test)]
mod tests {
    use kube::core::{Status, response::StatusDetails};

    use super::*;

    fn action(name: Option<&str>, namespace: Option<&str>) -> Action {
        Action {
            verb: "get",
            resource: "edgecredentials.edgecredentials.io",
            namespace: namespace.map(Into::into),
            name: name.map(Into::into),
        }
    }

    fn answer(code: u16, object: &str) -> kube::Error {
        kube::Error::Api(Box::new(Status {
            code,
            message: "CANARY".into(),
            details: Some(StatusDetails {
                name: object.into(),
                group: String::new(),
                kind: String::new(),
                uid: String::new(),
                causes: Vec::new(),
                retry_after_seconds: 0,
            }),
            ..Status::default()
        }))
    }

    #[test]
    fn the_errors_of_a_cluster_are_told_apart() {
        let one = action(Some("edge-admin"), Some("storefront"));
        let all = action(None, Some("storefront"));
        for (action, code, object, cause) in [
            (&one, 401, "", Cause::Unauthorized),
            (&one, 403, "edge-admin", Cause::Forbidden),
            (&one, 404, "edge-admin", Cause::NotFound),
            (&one, 404, "", Cause::NoSuchKind),
            (&all, 404, "", Cause::NoSuchKind),
            (&one, 409, "edge-admin", Cause::Conflict),
            (&one, 500, "edge-admin", Cause::Refused(500)),
        ] {
            assert_eq!(Cause::of(&answer(code, object), action), cause, "{code}");
        }
    }

    #[test]
    fn each_error_says_what_happened_and_what_to_do_next() {
        let place = Place {
            context: Some("prod".into()),
            server: "https://example.com".into(),
        };
        for cause in [
            Cause::Unauthorized,
            Cause::Forbidden,
            Cause::Denied("a policy denies it".into()),
            Cause::NoSuchKind,
            Cause::NoNamespace,
            Cause::NotFound,
            Cause::Conflict,
            Cause::Refused(500),
            Cause::Timeout,
            Cause::Unreachable(None),
            Cause::Unreadable,
        ] {
            let error = CallError {
                action: action(Some("edge-admin"), Some("storefront")),
                cause,
                place: place.clone(),
            };
            let text = error.to_string();
            let (what, next) = text.split_once("\n  ").unwrap();
            assert!(!what.is_empty() && next.len() > 20, "{text}");
            assert!(!text.contains("CANARY"));
        }
    }

    #[test]
    fn a_missing_right_names_the_verb_the_resource_and_the_place() {
        let error = CallError {
            action: action(None, None),
            cause: Cause::Forbidden,
            place: Place {
                context: Some("prod".into()),
                server: "https://example.com".into(),
            },
        };
        assert_eq!(
            error.to_string(),
            "you may not get edgecredentials.edgecredentials.io in all namespaces (context \"prod\", https://example.com)\n  \
             Name a namespace with -n, or have an administrator give you the right."
        );
    }
}
