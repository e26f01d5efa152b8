//! What the API server's errors mean. Only their HTTP status and the machine-readable cause are looked at.

use std::fmt;

/// What the API server answered, without its text, which may quote anything: its HTTP status, or that there was no answer.
pub struct ApiFailure<'a>(pub &'a kube::Error);

impl fmt::Display for ApiFailure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            kube::Error::Api(status) => write!(f, "the API server answered HTTP {}", status.code),
            _ => f.write_str("the API server did not answer"),
        }
    }
}

/// Whether the API server refused for lack of rights, quota or by policy.
pub fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

/// Whether the API server refused because another client changed the object in between, or created it first.
pub fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// Whether the object was changed, created or deleted since it was read.
pub fn is_outdated(error: &kube::Error) -> bool {
    is_conflict(error) || matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Whether the API server refused the call and will refuse it again: neither a conflict nor a server that is too busy.
pub fn is_refusal(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 400..=499) && !matches!(status.code, 409 | 429))
}

/// Whether the namespace is being deleted or is gone, so that there is nothing left to do.
pub fn is_namespace_gone(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    let terminating = status
        .details
        .iter()
        .flat_map(|details| &details.causes)
        .any(|cause| cause.reason == "NamespaceTerminating");
    status.code == 404 || (status.code == 403 && terminating)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge_credential::testing::{CANARY, answer};

    #[test]
    fn after_a_conflict_or_a_deletion_what_was_read_is_outdated() {
        for code in [404, 409] {
            assert!(is_outdated(&answer(code, None)), "{code}");
        }
        for code in [403, 422, 500] {
            assert!(!is_outdated(&answer(code, None)), "{code}");
        }
    }

    #[test]
    fn conflicts_refusals_and_namespaces_that_go_away_are_told_apart() {
        let terminating = || answer(403, Some("NamespaceTerminating"));
        for (error, forbidden, conflict, gone, refusal) in [
            (answer(403, None), true, false, false, true),
            (terminating(), true, false, true, true),
            (answer(404, None), false, false, true, true),
            (answer(409, None), false, true, false, false),
            (
                answer(409, Some("NamespaceTerminating")),
                false,
                true,
                false,
                false,
            ),
            (answer(422, None), false, false, false, true),
            (answer(429, None), false, false, false, false),
            (answer(500, None), false, false, false, false),
            (
                kube::Error::Service(CANARY.into()),
                false,
                false,
                false,
                false,
            ),
        ] {
            assert_eq!(
                (
                    is_forbidden(&error),
                    is_conflict(&error),
                    is_namespace_gone(&error),
                    is_refusal(&error)
                ),
                (forbidden, conflict, gone, refusal),
                "{error:?}"
            );
        }
    }
}
