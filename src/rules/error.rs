//! What can go wrong with one object: a variant for each action that can fail, and what follows from it.

use std::fmt;

use super::{credentials::CredentialsProblem, spec::SpecProblem, target::TargetProblem};
use crate::{
    api::Reason,
    cluster::{
        back_off::Class,
        errors::{ApiFailure, is_conflict, is_forbidden, is_namespace_gone, is_refusal},
        leadership::NotLeading,
        reconciler::Failure,
        rights::Verb,
        shared_reads::SharedError,
    },
    edge_api::{ApiError, Cause},
    oauth::TokenError,
};

/// A failed action, with the object it failed on. The text has nothing that a server or a Secret said.
#[derive(Debug)]
pub enum Error {
    /// The spec cannot be acted on.
    Spec(SpecProblem),
    /// The credentials Secret cannot be used.
    Credentials {
        /// The Secret's name.
        secret: String,
        /// What is wrong with it.
        problem: CredentialsProblem,
    },
    /// The target Secret must not be written.
    Target {
        /// The Secret's name.
        secret: String,
        /// Why not.
        problem: TargetProblem,
    },
    /// No token was had.
    RequestToken(TokenError),
    /// An earlier answer to the same credentials still holds, so nothing was sent.
    HeldBack(TokenError),
    /// Others wait for the token endpoint too, so nothing was sent yet.
    InLine {
        /// Whether they wait because requests to it fail.
        fails: bool,
    },
    /// A call of one of Sitecore's APIs failed.
    CallApi(ApiError),
    /// The API asked not to be called with these credentials for a while, so nothing was sent.
    ApiHeldBack,
    /// Others wait for the API too, so nothing was sent yet.
    InApiLine {
        /// Whether they wait because calls of it fail.
        fails: bool,
    },
    /// A Secret cannot be read.
    ReadSecret {
        /// The Secret's name.
        secret: String,
        /// What the API server answered, to all who wanted to read it.
        source: SharedError,
    },
    /// The target Secret must not be written, which is known before it is tried.
    MissingRight {
        /// The Secret's name.
        secret: String,
        /// What the operator may not do with Secrets of this namespace.
        verb: Verb,
    },
    /// The target Secret cannot be written.
    WriteTarget {
        /// The Secret's name.
        secret: String,
        /// What the API server answered.
        source: kube::Error,
    },
    /// The object cannot be read as it is stored.
    ReadObject {
        /// What the API server answered.
        source: kube::Error,
    },
    /// The finalizer of the object cannot be set or removed.
    WriteFinalizer {
        /// What the API server answered.
        source: kube::Error,
    },
    /// The status cannot be written.
    WriteStatus {
        /// What the API server answered.
        source: kube::Error,
    },
    /// The object has no namespace or no uid, which no API server leaves out.
    Unidentified,
    /// The object is not what it was when it was listed or watched last.
    Outdated,
    /// The program panicked.
    Panicked,
    /// This process does not lead any longer: nothing may be requested, written or told.
    NotLeading,
}

impl Error {
    /// Whether what failed was begun at all, rather than put off.
    pub fn was_attempted(&self) -> bool {
        !matches!(
            self,
            Self::RequestToken(TokenError::OriginNotAllowed)
                | Self::HeldBack(_)
                | Self::InLine { .. }
                | Self::CallApi(ApiError {
                    cause: Cause::OriginNotAllowed,
                    ..
                })
                | Self::ApiHeldBack
                | Self::InApiLine { .. }
        )
    }

    /// What this failure means for the next attempt.
    pub fn class(&self) -> Class {
        match self {
            Self::WriteTarget { source, .. }
            | Self::WriteFinalizer { source }
            | Self::WriteStatus { source }
                if is_namespace_gone(source) =>
            {
                Class::Waiting
            }
            Self::WriteTarget { source, .. }
            | Self::WriteFinalizer { source }
            | Self::WriteStatus { source }
                if is_conflict(source) =>
            {
                Class::Conflict
            }
            // Not for lack of a right, which may be granted: a status that does not fit, or an object that breaks a rule.
            Self::WriteStatus { source } if is_refusal(source) && !is_forbidden(source) => {
                Class::Blocked
            }
            // The garbage collector acts, and a watch reports it.
            Self::Target {
                problem: TargetProblem::OwnedByPredecessor,
                ..
            } => Class::Waiting,
            Self::Outdated => Class::Conflict,
            Self::NotLeading => Class::Standby,
            Self::Panicked => Class::Blocked,
            error => Class::of(error.reason()),
        }
    }

    /// The reason that conditions, events and metrics show.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Spec(problem) => problem.reason(),
            Self::Credentials { problem, .. } => problem.reason(),
            Self::Target { problem, .. } => problem.reason(),
            Self::RequestToken(error) | Self::HeldBack(error) => error.reason(),
            Self::InLine { fails: true } => Reason::TokenEndpointUnavailable,
            Self::InLine { fails: false } => Reason::WaitingForTurn,
            Self::CallApi(error) => error.reason(),
            Self::ApiHeldBack => Reason::RateLimited,
            Self::InApiLine { fails: true } => Reason::EdgeAPIUnavailable,
            Self::InApiLine { fails: false } => Reason::WaitingForTurn,
            Self::MissingRight { .. } => Reason::RBACMissing,
            Self::WriteFinalizer { source } if is_forbidden(source) => Reason::RBACMissing,
            Self::ReadSecret { source, .. } if is_forbidden(source) => Reason::RBACMissing,
            Self::WriteTarget { source, .. } if is_forbidden(source) => {
                Reason::TargetWriteForbidden
            }
            Self::WriteTarget { .. } => Reason::TargetWriteFailed,
            Self::ReadSecret { .. }
            | Self::ReadObject { .. }
            | Self::WriteFinalizer { .. }
            | Self::WriteStatus { .. }
            | Self::Outdated
            | Self::Unidentified
            | Self::NotLeading => Reason::KubernetesUnavailable,
            Self::Panicked => Reason::InternalError,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spec(problem) => write!(f, "{problem}"),
            Self::Credentials { secret, problem } => {
                write!(f, "credentials Secret \"{secret}\": {problem}")
            }
            Self::Target { secret, problem } => write!(f, "target Secret \"{secret}\": {problem}"),
            Self::RequestToken(error) => write!(f, "{error}"),
            Self::HeldBack(error) => write!(
                f,
                "{error}: that holds for these credentials until the next attempt, and nothing is sent before"
            ),
            Self::InLine { fails: true } => f.write_str(
                "requests to the token endpoint fail: it is tried every few seconds, and all that wait follow when it succeeds",
            ),
            Self::InLine { fails: false } => {
                f.write_str("others wait for the token endpoint too, and it is not this one's turn yet")
            }
            Self::CallApi(error) => write!(f, "{error}"),
            Self::ApiHeldBack => f.write_str(
                "the API asked not to be called with these credentials for a while, and nothing is sent before",
            ),
            Self::InApiLine { fails: true } => f.write_str(
                "calls of the API fail: it is tried every few seconds, and all that wait follow when it answers",
            ),
            Self::InApiLine { fails: false } => {
                f.write_str("others wait for the API too, and it is not this one's turn yet")
            }
            Self::ReadSecret { secret, source } => {
                write!(
                    f,
                    "Secret \"{secret}\" cannot be read (get secrets): {}",
                    ApiFailure(source)
                )
            }
            Self::MissingRight { secret, verb } => {
                write!(
                    f,
                    "target Secret \"{secret}\" cannot be written: the operator may not {} secrets in this namespace",
                    verb.as_str()
                )
            }
            Self::WriteTarget { secret, source } => {
                write!(
                    f,
                    "target Secret \"{secret}\" cannot be written (create, update secrets): {}",
                    ApiFailure(source)
                )
            }
            Self::ReadObject { source } => {
                write!(f, "the object cannot be read: {}", ApiFailure(source))
            }
            Self::WriteFinalizer { source } => {
                write!(f, "the finalizer cannot be set or removed (patch): {}", ApiFailure(source))
            }
            Self::WriteStatus { source } => {
                write!(f, "the status cannot be written: {}", ApiFailure(source))
            }
            Self::Unidentified => f.write_str("the object has no namespace or no uid"),
            Self::Outdated => f.write_str("the object has changed since it was seen"),
            Self::Panicked => f.write_str("the operator itself failed: its log names the place"),
            Self::NotLeading => f.write_str("this process does not lead any longer"),
        }
    }
}

impl From<NotLeading> for Error {
    fn from(NotLeading: NotLeading) -> Self {
        Self::NotLeading
    }
}

impl Failure for Error {
    fn panicked() -> Self {
        Self::Panicked
    }

    fn reason(&self) -> Reason {
        Self::reason(self)
    }

    fn class(&self) -> Class {
        Self::class(self)
    }
}

/// Has no `source()`: the text of a `kube::Error` quotes what the API server said, admission webhooks included.
impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        edge_credential::testing::{CANARY, allowed, answer},
        http::Unreachable,
        rules::credentials::Flaw,
    };

    fn read(source: kube::Error) -> Error {
        Error::ReadSecret {
            secret: "edge".into(),
            source: source.into(),
        }
    }

    fn write(source: kube::Error) -> Error {
        Error::WriteTarget {
            secret: "edge".into(),
            source,
        }
    }

    #[test]
    fn an_answer_of_the_api_server_is_told_by_its_status_only() {
        let origin = "https://evil.example".parse().unwrap();
        assert!(!allowed().contain(&"https://evil.example".parse().unwrap()));
        for (error, reason, message) in [
            (
                read(answer(403, None)),
                Reason::RBACMissing,
                "Secret \"edge\" cannot be read (get secrets): the API server answered HTTP 403",
            ),
            (
                read(answer(500, None)),
                Reason::KubernetesUnavailable,
                "Secret \"edge\" cannot be read (get secrets): the API server answered HTTP 500",
            ),
            (
                write(answer(403, Some(CANARY))),
                Reason::TargetWriteForbidden,
                "target Secret \"edge\" cannot be written (create, update secrets): the API server answered HTTP 403",
            ),
            (
                write(answer(422, None)),
                Reason::TargetWriteFailed,
                "target Secret \"edge\" cannot be written (create, update secrets): the API server answered HTTP 422",
            ),
            (
                write(kube::Error::Service(CANARY.into())),
                Reason::TargetWriteFailed,
                "target Secret \"edge\" cannot be written (create, update secrets): the API server did not answer",
            ),
            (
                Error::WriteStatus {
                    source: answer(500, None),
                },
                Reason::KubernetesUnavailable,
                "the status cannot be written: the API server answered HTTP 500",
            ),
            (
                Error::MissingRight {
                    secret: "edge".into(),
                    verb: Verb::Create,
                },
                Reason::RBACMissing,
                "target Secret \"edge\" cannot be written: the operator may not create secrets in this namespace",
            ),
            (
                Error::ReadObject {
                    source: answer(500, None),
                },
                Reason::KubernetesUnavailable,
                "the object cannot be read: the API server answered HTTP 500",
            ),
            (
                Error::Unidentified,
                Reason::KubernetesUnavailable,
                "the object has no namespace or no uid",
            ),
            (
                Error::Outdated,
                Reason::KubernetesUnavailable,
                "the object has changed since it was seen",
            ),
            (
                Error::Panicked,
                Reason::InternalError,
                "the operator itself failed: its log names the place",
            ),
            (
                Error::NotLeading,
                Reason::KubernetesUnavailable,
                "this process does not lead any longer",
            ),
            (
                Error::Spec(SpecProblem::OriginNotAllowed(origin)),
                Reason::TokenOriginNotAllowed,
                "client secrets may not be sent to https://evil.example: correct spec.tokenRequest.url, or have an \
                 administrator add the origin to the operator's --allowed-token-origin",
            ),
            (
                Error::Credentials {
                    secret: "edge-client".into(),
                    problem: CredentialsProblem::Malformed {
                        key: "client_id".into(),
                        flaw: Flaw::Empty,
                    },
                },
                Reason::CredentialsMalformed,
                "credentials Secret \"edge-client\": key \"client_id\" is empty",
            ),
            (
                Error::Target {
                    secret: "edge".into(),
                    problem: TargetProblem::Immutable,
                },
                Reason::TargetImmutable,
                "target Secret \"edge\": it is marked immutable: delete it, and it is written again; then replace the pods \
                 that mount it, which keep the old token otherwise",
            ),
            (
                Error::RequestToken(TokenError::Unreachable(Unreachable::Timeout)),
                Reason::TokenEndpointUnavailable,
                "the token endpoint did not answer in time",
            ),
        ] {
            assert_eq!(error.reason(), reason);
            assert_eq!(error.to_string(), message);
            // What walks the chain of sources must not find the server's words there.
            assert!(std::error::Error::source(&error).is_none());
        }
    }
}
