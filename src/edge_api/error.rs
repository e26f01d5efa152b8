//! Why a call of an API came to nothing.

use std::fmt;

use crate::{
    api::Reason,
    http::{Unreachable, rate_limits::Quota},
};

/// Why a call came to nothing. It holds nothing that a server wrote but the HTTP status and numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// What was called.
    pub call: Call,
    /// Why it came to nothing.
    pub cause: Cause,
}

/// A call of one of Sitecore's APIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// A key is made with the Token API.
    CreateKey,
    /// The keys of the Token API are listed.
    ListKeys,
    /// A key is revoked with the Token API.
    RevokeKey,
    /// The key of an environment is obtained from the Deploy API.
    ObtainKey,
    /// A key is tried at the Delivery API.
    ProbeKey,
}

/// Why a call came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The API's origin is not in the administrator's list. Nothing was sent.
    OriginNotAllowed,
    /// No answer came, or not all of it.
    Unreachable(Unreachable),
    /// The API answered with an error.
    Refused {
        /// The HTTP status.
        status: u16,
    },
    /// The API answered that it was asked too often (HTTP 429).
    RateLimited {
        /// What is left, if the API said so.
        quota: Option<Quota>,
    },
    /// The API answered with a redirect, which was not followed.
    Redirected {
        /// The HTTP status.
        status: u16,
    },
    /// The answer is longer than is read.
    TooLarge,
    /// The answer is a success, but not what the API is documented to answer.
    Malformed,
    /// There are more pages of keys than are read.
    TooManyPages,
    /// The API answered that the key was not revoked.
    NotRevoked,
    /// The API has no key for the environment.
    NoKey,
}

impl Call {
    /// The name as it stands in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CreateKey => "create",
            Self::ListKeys => "list",
            Self::RevokeKey => "revoke",
            Self::ObtainKey => "obtain",
            Self::ProbeKey => "probe",
        }
    }

    /// What people call the API.
    fn server(self) -> &'static str {
        match self {
            Self::CreateKey | Self::ListKeys | Self::RevokeKey => "the Token API",
            Self::ObtainKey => "the Deploy API",
            Self::ProbeKey => "the Delivery API",
        }
    }
}

impl ApiError {
    /// Whether it is certain that no key was made by the call. Of any other error of [`Call::CreateKey`] nobody knows:
    /// servers also answer 500 after they did what was asked, and answers are lost.
    pub fn is_not_created(&self) -> bool {
        match self.cause {
            Cause::OriginNotAllowed | Cause::RateLimited { .. } => true,
            Cause::Unreachable(cause) => cause.is_unsent(),
            Cause::Refused { status } => {
                matches!(status, 400 | 401 | 403 | 404 | 409 | 413 | 415 | 422)
            }
            _ => false,
        }
    }

    /// Whether the API failed, rather than refuse this one call.
    pub fn is_outage(&self) -> bool {
        match self.cause {
            Cause::Unreachable(_) => true,
            // Only a proxy answers 407.
            Cause::Refused { status } => matches!(status, 407 | 408 | 500..),
            _ => false,
        }
    }

    /// The reason that conditions, events and metrics show.
    pub fn reason(&self) -> Reason {
        match self.cause {
            Cause::OriginNotAllowed => Reason::EdgeAPIOriginNotAllowed,
            Cause::RateLimited { .. } => Reason::RateLimited,
            _ if self.call == Call::ProbeKey => Reason::DeliveryUnavailable,
            _ if self.is_outage() => Reason::EdgeAPIUnavailable,
            Cause::Refused { status: 401 } => Reason::EdgeAPIUnauthorized,
            Cause::Refused { status: 403 } => Reason::EdgeAPIForbidden,
            Cause::Refused { status: 404 } if self.call == Call::ObtainKey => {
                Reason::EnvironmentNotFound
            }
            Cause::Refused { .. } | Cause::NoKey | Cause::Unreachable(_) => Reason::EdgeAPIRefused,
            Cause::Redirected { .. } => Reason::RedirectRefused,
            Cause::TooLarge => Reason::ResponseTooLarge,
            Cause::Malformed => Reason::InvalidResponse,
            Cause::TooManyPages => Reason::TooManyKeys,
            Cause::NotRevoked => Reason::KeyNotRevoked,
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.call {
            Call::CreateKey => "making a key failed: ",
            Call::ListKeys => "listing the keys failed: ",
            Call::RevokeKey => "revoking a key failed: ",
            Call::ObtainKey => "obtaining the key failed: ",
            Call::ProbeKey => "trying the key failed: ",
        })?;
        let server = self.call.server();
        match self.cause {
            Cause::OriginNotAllowed => {
                write!(f, "{server}'s origin is not allowed by the operator")
            }
            Cause::Unreachable(cause) => cause.tell(server).fmt(f),
            Cause::Refused { status } => write!(f, "{server} answered HTTP {status}"),
            Cause::RateLimited { quota: None } => {
                write!(f, "{server} was asked too often (HTTP 429)")
            }
            Cause::RateLimited {
                quota: Some(Quota { limit, remaining }),
            } => write!(
                f,
                "{server} was asked too often (HTTP 429): {remaining} of {limit} requests are left"
            ),
            Cause::Redirected { status } => write!(
                f,
                "{server} answered with a redirect (HTTP {status}), which is not followed"
            ),
            Cause::TooLarge => write!(f, "{server}'s answer is larger than 64 KiB"),
            Cause::Malformed => write!(f, "{server}'s answer is not what it is documented to be"),
            Cause::TooManyPages => write!(f, "{server} has more keys than are read"),
            Cause::NotRevoked => write!(f, "{server} answered that it was not revoked"),
            Cause::NoKey => write!(f, "{server} has none for the environment"),
        }
    }
}

impl std::error::Error for ApiError {}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLS: [Call; 5] = [
        Call::CreateKey,
        Call::ListKeys,
        Call::RevokeKey,
        Call::ObtainKey,
        Call::ProbeKey,
    ];

    fn error(call: Call, cause: Cause) -> ApiError {
        ApiError { call, cause }
    }

    fn refused(call: Call, status: u16) -> ApiError {
        error(call, Cause::Refused { status })
    }

    #[test]
    fn no_key_was_made_only_where_that_is_certain() {
        let is_not_created = |cause| error(Call::CreateKey, cause).is_not_created();
        for status in 100..=999 {
            let certain = [400, 401, 403, 404, 409, 413, 415, 422].contains(&status);
            assert_eq!(
                is_not_created(Cause::Refused { status }),
                certain,
                "{status}"
            );
        }
        assert!(is_not_created(Cause::OriginNotAllowed));
        assert!(is_not_created(Cause::RateLimited { quota: None }));
        for (cause, unsent) in [
            (Unreachable::NameNotFound, true),
            (Unreachable::Refused, true),
            (Unreachable::Untrusted, true),
            (Unreachable::ProxyRefused, true),
            (Unreachable::Connect, true),
            (Unreachable::Timeout, false),
            (Unreachable::Broken, false),
        ] {
            assert_eq!(
                is_not_created(Cause::Unreachable(cause)),
                unsent,
                "{cause:?}"
            );
        }
        for cause in [
            Cause::Redirected { status: 302 },
            Cause::TooLarge,
            Cause::Malformed,
        ] {
            assert!(!is_not_created(cause), "{cause:?}");
        }
    }

    #[test]
    fn an_outage_is_what_says_nothing_of_the_call() {
        for status in [407, 408, 500, 502, 503, 599] {
            assert!(refused(Call::ListKeys, status).is_outage(), "{status}");
        }
        for status in [400, 401, 404, 409, 499] {
            assert!(!refused(Call::ListKeys, status).is_outage(), "{status}");
        }
        assert!(error(Call::ListKeys, Cause::Unreachable(Unreachable::Timeout)).is_outage());
        for cause in [
            Cause::OriginNotAllowed,
            Cause::RateLimited { quota: None },
            Cause::Malformed,
            Cause::TooManyPages,
        ] {
            assert!(!error(Call::ListKeys, cause).is_outage(), "{cause:?}");
        }
    }

    #[test]
    fn a_reason_is_told_by_the_status_and_the_api() {
        for (status, reason) in [
            (401, Reason::EdgeAPIUnauthorized),
            (403, Reason::EdgeAPIForbidden),
            (400, Reason::EdgeAPIRefused),
            (404, Reason::EdgeAPIRefused),
            (409, Reason::EdgeAPIRefused),
            (408, Reason::EdgeAPIUnavailable),
            (500, Reason::EdgeAPIUnavailable),
            (503, Reason::EdgeAPIUnavailable),
        ] {
            for call in [Call::CreateKey, Call::ListKeys, Call::RevokeKey] {
                assert_eq!(refused(call, status).reason(), reason, "{status}");
            }
            let probed = refused(Call::ProbeKey, status).reason();
            assert_eq!(probed, Reason::DeliveryUnavailable, "{status}");
        }
        let missing = refused(Call::ObtainKey, 404).reason();
        assert_eq!(missing, Reason::EnvironmentNotFound);
        for call in CALLS {
            let reason = |cause| error(call, cause).reason();
            assert_eq!(
                reason(Cause::OriginNotAllowed),
                Reason::EdgeAPIOriginNotAllowed
            );
            assert_eq!(
                reason(Cause::RateLimited { quota: None }),
                Reason::RateLimited
            );
        }
        for (cause, reason) in [
            (Cause::Redirected { status: 302 }, Reason::RedirectRefused),
            (Cause::TooLarge, Reason::ResponseTooLarge),
            (Cause::Malformed, Reason::InvalidResponse),
            (Cause::TooManyPages, Reason::TooManyKeys),
            (Cause::NotRevoked, Reason::KeyNotRevoked),
            (Cause::NoKey, Reason::EdgeAPIRefused),
        ] {
            assert_eq!(error(Call::ListKeys, cause).reason(), reason, "{cause:?}");
            let probed = error(Call::ProbeKey, cause).reason();
            assert_eq!(probed, Reason::DeliveryUnavailable, "{cause:?}");
        }
    }

    #[test]
    fn a_message_says_what_failed_at_which_api_and_why() {
        for (error, message) in [
            (
                refused(Call::CreateKey, 403),
                "making a key failed: the Token API answered HTTP 403",
            ),
            (
                error(Call::ListKeys, Cause::Unreachable(Unreachable::Timeout)),
                "listing the keys failed: the Token API did not answer in time",
            ),
            (
                error(Call::RevokeKey, Cause::NotRevoked),
                "revoking a key failed: the Token API answered that it was not revoked",
            ),
            (
                error(Call::ObtainKey, Cause::NoKey),
                "obtaining the key failed: the Deploy API has none for the environment",
            ),
            (
                error(
                    Call::ProbeKey,
                    Cause::RateLimited {
                        quota: Some(Quota {
                            limit: 80,
                            remaining: 0,
                        }),
                    },
                ),
                "trying the key failed: the Delivery API was asked too often (HTTP 429): 0 of 80 requests are left",
            ),
        ] {
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn each_call_has_a_name_of_its_own_in_metrics() {
        let names = CALLS.map(Call::as_str);
        assert_eq!(names, ["create", "list", "revoke", "obtain", "probe"]);
    }
}
