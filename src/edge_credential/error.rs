//! What can go wrong with one EdgeCredential: a variant for each action that can fail, and what follows from it.

use std::fmt;

use super::{credentials::CredentialsProblem, parameters::SpecProblem, target::TargetProblem};
use crate::{
    api::{Reason, edge_credential::Failures},
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
    /// The target Secret cannot be written.
    WriteTarget {
        /// The Secret's name.
        secret: String,
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
            Reason::RedirectRefused | Reason::UnknownLifetime => Self::Final,
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
    /// The reason that conditions, events and metrics show.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Spec(problem) => problem.reason(),
            Self::Credentials { problem, .. } => problem.reason(),
            Self::Target { problem, .. } => problem.reason(),
            Self::RequestToken(error) => error.reason(),
            Self::ReadSecret { source, .. } if is_forbidden(source) => Reason::RBACMissing,
            Self::WriteTarget { source, .. } if is_forbidden(source) => {
                Reason::TargetWriteForbidden
            }
            Self::WriteTarget { .. } => Reason::TargetWriteFailed,
            Self::ReadSecret { .. } | Self::WriteStatus { .. } | Self::Unidentified => {
                Reason::KubernetesUnavailable
            }
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
            Self::WriteTarget { secret, source } => {
                write!(
                    f,
                    "target Secret \"{secret}\" cannot be written (create, update secrets): {}",
                    Answer(source)
                )
            }
            Self::WriteStatus { source } => {
                write!(f, "the status cannot be written: {}", Answer(source))
            }
            Self::Unidentified => f.write_str("the object has no namespace or no uid"),
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
