//! What can go wrong with one EdgeCredential: a variant for each action that can fail, and what follows from it.

use std::fmt;

use super::{credentials::CredentialsProblem, parameters::SpecProblem, target::TargetProblem};
use crate::{
    api::{Reason, failures::Failures},
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
    /// A Secret cannot be read.
    ReadSecret {
        /// The Secret's name.
        secret: String,
        /// What the API server answered.
        source: kube::Error,
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

/// How a target is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// It is not there yet.
    Create,
    /// It is.
    Update,
}

impl Verb {
    /// The verb as it stands in a role.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
        }
    }
}

/// What keeps an EdgeCredential from being all right.
#[derive(Debug)]
pub enum Trouble {
    /// Nothing.
    None,
    /// `spec.suspend`.
    Suspended,
    /// Found before anything was attempted.
    Found(Error),
    /// An attempt failed just now.
    Failed(Error, Failures),
    /// The last attempt failed, and the next one is not due: what the status says of it still holds.
    Standing(Failures),
}

/// What a reason means for the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It passes by itself: tried again, with back-off to a minute.
    Transient,
    /// The API server refuses a write: tried again, with back-off to five minutes. The token is kept in memory.
    Write,
    /// It looks like a person must act, but identity providers take a minute to agree after a change: tried again
    /// after 5 s, 30 s and 2 min, then every 30 minutes.
    Terminal,
    /// As `Terminal`, but nothing that passes by itself: every 30 minutes from the start.
    Final,
    /// Something is not there yet. Looked at when it changes.
    Waiting,
    /// A person must act before anything is tried. Looked at when it changes.
    Blocked,
}

impl Class {
    /// The class of a reason.
    pub fn of(reason: Reason) -> Self {
        match reason {
            Reason::TokenValid
            | Reason::TokenExpired
            | Reason::KubernetesUnavailable
            | Reason::TokenEndpointUnavailable
            | Reason::RateLimited
            | Reason::InvalidResponse
            | Reason::ResponseTooLarge => Self::Transient,
            Reason::TargetWriteForbidden | Reason::TargetWriteFailed => Self::Write,
            Reason::CredentialsRejected
            | Reason::ClientNotAllowed
            | Reason::RequestRefused
            | Reason::UnsupportedTokenType
            | Reason::InvalidTokenBytes
            | Reason::NotAJWT
            | Reason::InvalidLifetime
            | Reason::ExpiredOnArrival
            | Reason::WrongAudience => Self::Terminal,
            Reason::InternalError | Reason::RedirectRefused | Reason::UnknownLifetime => {
                Self::Final
            }
            Reason::CredentialsNotFound => Self::Waiting,
            Reason::Suspended
            | Reason::InvalidSpec
            | Reason::TokenOriginNotAllowed
            | Reason::CredentialsMalformed
            | Reason::TargetNotOwned
            | Reason::TargetConflict
            | Reason::TargetImmutable
            | Reason::RBACMissing => Self::Blocked,
        }
    }

    /// Whether a person must act, after so many failed attempts in a row.
    pub fn is_stalled(self, attempts: i32) -> bool {
        match self {
            Self::Transient | Self::Write | Self::Waiting => false,
            Self::Terminal => attempts > 3,
            Self::Final | Self::Blocked => true,
        }
    }
}

impl Error {
    /// Whether what failed was begun at all, rather than put off.
    pub fn was_attempted(&self) -> bool {
        !matches!(self, Self::RequestToken(error) if !error.was_sent())
    }

    /// The reason that conditions, events and metrics show.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Spec(problem) => problem.reason(),
            Self::Credentials { problem, .. } => problem.reason(),
            Self::Target { problem, .. } => problem.reason(),
            Self::RequestToken(error) => error.reason(),
            Self::MissingRight { .. } => Reason::RBACMissing,
            Self::ReadSecret { source, .. } if is_forbidden(source) => Reason::RBACMissing,
            Self::WriteTarget { source, .. } if is_forbidden(source) => {
                Reason::TargetWriteForbidden
            }
            Self::WriteTarget { .. } => Reason::TargetWriteFailed,
            Self::ReadSecret { .. }
            | Self::ReadObject { .. }
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
            Self::ReadSecret { secret, source } => {
                write!(
                    f,
                    "Secret \"{secret}\" cannot be read (get secrets): {}",
                    Answer(source)
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
                    Answer(source)
                )
            }
            Self::ReadObject { source } => {
                write!(f, "the object cannot be read: {}", Answer(source))
            }
            Self::WriteStatus { source } => {
                write!(f, "the status cannot be written: {}", Answer(source))
            }
            Self::Unidentified => f.write_str("the object has no namespace or no uid"),
            Self::Outdated => f.write_str("the object has changed since it was seen"),
            Self::Panicked => f.write_str("the operator itself failed: its log names the place"),
            Self::NotLeading => f.write_str("this process does not lead any longer"),
        }
    }
}

/// Has no `source()`: the text of a `kube::Error` quotes what the API server said, admission webhooks included.
impl std::error::Error for Error {}

/// What the API server answered, as far as it is ours to say: a status, or that there was none.
struct Answer<'a>(&'a kube::Error);

impl fmt::Display for Answer<'_> {
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

/// Whether the API server refused because the object changed in between, or somebody else made it first.
pub fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// Whether what was read is no longer so: the object was changed, made or deleted since.
pub fn is_outdated(error: &kube::Error) -> bool {
    is_conflict(error) || matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Whether the API server refused what it was asked, and will again: not for a conflict, nor because it is too busy.
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
    use crate::{
        edge_credential::{
            credentials::Flaw,
            testing::{CANARY, allowed, answer},
        },
        oauth::Unreachable,
    };

    #[test]
    fn every_reason_has_its_class() {
        let classes = [
            (Class::Transient, "TokenValid"),
            (Class::Blocked, "Suspended"),
            (Class::Transient, "TokenExpired"),
            (Class::Blocked, "InvalidSpec"),
            (Class::Blocked, "TokenOriginNotAllowed"),
            (Class::Waiting, "CredentialsNotFound"),
            (Class::Blocked, "CredentialsMalformed"),
            (Class::Blocked, "TargetNotOwned"),
            (Class::Blocked, "TargetConflict"),
            (Class::Blocked, "TargetImmutable"),
            (Class::Write, "TargetWriteForbidden"),
            (Class::Write, "TargetWriteFailed"),
            (Class::Transient, "KubernetesUnavailable"),
            (Class::Final, "InternalError"),
            (Class::Blocked, "RBACMissing"),
            (Class::Transient, "TokenEndpointUnavailable"),
            (Class::Transient, "RateLimited"),
            (Class::Terminal, "CredentialsRejected"),
            (Class::Terminal, "ClientNotAllowed"),
            (Class::Terminal, "RequestRefused"),
            (Class::Final, "RedirectRefused"),
            (Class::Transient, "InvalidResponse"),
            (Class::Transient, "ResponseTooLarge"),
            (Class::Terminal, "UnsupportedTokenType"),
            (Class::Terminal, "InvalidTokenBytes"),
            (Class::Terminal, "NotAJWT"),
            (Class::Final, "UnknownLifetime"),
            (Class::Terminal, "InvalidLifetime"),
            (Class::Terminal, "ExpiredOnArrival"),
            (Class::Terminal, "WrongAudience"),
        ];
        let of_reasons: Vec<_> = Reason::ALL
            .iter()
            .map(|reason| (Class::of(*reason), reason.as_str()))
            .collect();
        assert_eq!(of_reasons, classes);
    }

    #[test]
    fn a_person_must_act_at_once_or_after_three_attempts_or_never() {
        for (class, stalled) in [
            (Class::Transient, [false, false, false]),
            (Class::Write, [false, false, false]),
            (Class::Waiting, [false, false, false]),
            (Class::Terminal, [false, false, true]),
            (Class::Final, [true, true, true]),
            (Class::Blocked, [true, true, true]),
        ] {
            assert_eq!(
                [0, 3, 4].map(|attempts| class.is_stalled(attempts)),
                stalled
            );
        }
    }

    fn read(source: kube::Error) -> Error {
        Error::ReadSecret {
            secret: "edge".into(),
            source,
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
                "client secrets may not be sent to https://evil.example: correct spec.tokenURL, or have an \
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
                "target Secret \"edge\": it is marked immutable: delete it, and it is written again",
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
