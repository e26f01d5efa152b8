//! What the API server's errors mean. Only their HTTP status, the machine-readable cause and fixed forms are looked at.

use std::fmt;

use super::denial::Denial;

/// What the API server answered, without its text, which may quote anything: its HTTP status and what refused, or that there
/// was no answer.
pub struct ApiFailure<'a>(pub &'a kube::Error);

impl fmt::Display for ApiFailure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            kube::Error::Api(status) => {
                write!(f, "the API server answered HTTP {}", status.code)?;
                Denial::of(self.0).map_or(Ok(()), |denial| write!(f, ": {denial}"))
            }
            _ => f.write_str("the API server did not answer"),
        }
    }
}

/// The HTTP status of an answer: 403 for whatever was denied, since the status of a denial by a policy or webhook is its
/// author's choice (422 by default), and would be taken for something else.
fn code(error: &kube::Error) -> Option<u16> {
    match error {
        _ if Denial::of(error).is_some_and(Denial::is_decided) => Some(403),
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// Whether the API server refused for lack of rights, quota or by policy.
pub fn is_forbidden(error: &kube::Error) -> bool {
    code(error) == Some(403)
}

/// Whether the API server refused because another client changed the object in between, or created it first.
pub fn is_conflict(error: &kube::Error) -> bool {
    code(error) == Some(409)
}

/// Whether the object was changed, created or deleted since it was read.
pub fn is_outdated(error: &kube::Error) -> bool {
    matches!(code(error), Some(404 | 409))
}

/// Whether the API server refused the call and will refuse it again: neither a conflict nor a server that is too busy.
pub fn is_refusal(error: &kube::Error) -> bool {
    code(error).is_some_and(|code| matches!(code, 400..=499) && !matches!(code, 409 | 429))
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
    match code(error) {
        Some(403) => terminating,
        code => code == Some(404),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge_credential::testing::{CANARY, answer, denial};

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
    fn a_denial_is_one_with_whatever_status() {
        let webhook = "admission webhook \"a.example.com\" denied the request: CANARY";
        for code in [400, 404, 409, 422, 429, 500] {
            let error = denial(code, webhook);
            assert!(is_forbidden(&error) && is_refusal(&error), "{code}");
            let misread = is_conflict(&error) || is_outdated(&error) || is_namespace_gone(&error);
            assert!(!misread, "{code}");
            assert_eq!(
                ApiFailure(&error).to_string(),
                format!(
                    "the API server answered HTTP {code}: admission webhook \"a.example.com\" denies it"
                )
            );
        }
        let broken = "Internal error occurred: failed calling webhook \"a.example.com\": CANARY";
        assert!(!is_forbidden(&denial(500, broken)));
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
