//! Why a request brought no token.

use std::fmt;

use super::http_status::{is_outage, reason_of};
use crate::{
    api::Reason,
    http::{rate_limits::Quota, unreachable::Unreachable},
};

/// Why a request brought no token. Of what a server sent, it holds only words from a fixed list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// The endpoint's origin is not in the administrator's list. Nothing was sent.
    OriginNotAllowed,
    /// No answer came.
    Unreachable(Unreachable),
    /// The endpoint answered with an error.
    Refused {
        /// The HTTP status.
        status: u16,
        /// The OAuth 2.0 error, if it is a known one.
        error: Option<&'static str>,
    },
    /// The endpoint answered that it was asked too often (HTTP 429).
    RateLimited {
        /// What is left, if the endpoint said so.
        quota: Option<Quota>,
    },
    /// The endpoint answered with a redirect, which was not followed.
    Redirected {
        /// The HTTP status.
        status: u16,
    },
    /// The answer is longer than is read.
    TooLarge,
    /// The answer is not a token answer.
    Malformed {
        /// The HTTP status.
        status: u16,
        /// The kind of content, out of a fixed list.
        content: &'static str,
    },
    /// A token was issued, but it cannot be used.
    Unusable(Defect),
    /// The request was stopped half-way, because the process is ending.
    Interrupted,
    /// The program panicked while it made the request or judged the answer.
    Panicked,
}

/// What is wrong with an issued token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// There is no `access_token`.
    NoAccessToken,
    /// There is no `token_type`.
    NoTokenType,
    /// `token_type` is not `Bearer`.
    UnsupportedTokenType,
    /// Characters that RFC 6750 does not allow, or too many of them.
    InvalidTokenBytes,
    /// Not a JSON Web Token.
    NotAJwt,
    /// Nothing says how long it is valid.
    UnknownLifetime,
    /// What says so is not a usable number.
    InvalidLifetime,
    /// Expired, or to expire within 10 seconds, or not valid yet.
    ExpiredOnArrival,
    /// For another audience.
    WrongAudience,
}

impl TokenError {
    /// Whether the endpoint failed, rather than refuse this one request.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Refused { status, .. } => is_outage(*status),
            _ => false,
        }
    }

    /// The reason that conditions, events and metrics show.
    pub fn reason(&self) -> Reason {
        match self {
            Self::OriginNotAllowed => Reason::TokenOriginNotAllowed,
            Self::Unreachable(_) | Self::Interrupted => Reason::TokenEndpointUnavailable,
            Self::RateLimited { .. } => Reason::RateLimited,
            Self::Refused { status, error } => reason_of(*status, *error),
            Self::Panicked => Reason::InternalError,
            Self::Redirected { .. } => Reason::RedirectRefused,
            Self::TooLarge => Reason::ResponseTooLarge,
            Self::Malformed { .. } => Reason::InvalidResponse,
            Self::Unusable(defect) => match defect {
                Defect::NoTokenType | Defect::UnsupportedTokenType => Reason::UnsupportedTokenType,
                Defect::NoAccessToken | Defect::InvalidTokenBytes => Reason::InvalidTokenBytes,
                Defect::NotAJwt => Reason::NotAJWT,
                Defect::UnknownLifetime => Reason::UnknownLifetime,
                Defect::InvalidLifetime => Reason::InvalidLifetime,
                Defect::ExpiredOnArrival => Reason::ExpiredOnArrival,
                Defect::WrongAudience => Reason::WrongAudience,
            },
        }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OriginNotAllowed => {
                f.write_str("the token endpoint's origin is not allowed by the operator")
            }
            Self::Unreachable(cause) => cause.tell("the token endpoint").fmt(f),
            Self::Refused {
                status,
                error: None,
            } => write!(f, "the token endpoint answered HTTP {status}"),
            Self::Refused {
                status,
                error: Some(error),
            } => {
                write!(f, "the token endpoint answered HTTP {status} ({error})")
            }
            Self::RateLimited { quota } => {
                write!(
                    f,
                    "the token endpoint was asked too often (HTTP 429){}",
                    Left(*quota)
                )
            }
            Self::Redirected { status } => {
                write!(
                    f,
                    "the token endpoint answered with a redirect (HTTP {status}), which is not followed"
                )
            }
            Self::TooLarge => f.write_str("the token endpoint's answer is larger than 64 KiB"),
            Self::Malformed { status, content } => {
                write!(
                    f,
                    "the token endpoint's answer (HTTP {status}, {content}) is not a token answer"
                )
            }
            Self::Unusable(defect) => f.write_str(match defect {
                Defect::NoAccessToken => "the token endpoint's answer has no access_token",
                Defect::NoTokenType => "the token endpoint's answer has no token_type",
                Defect::UnsupportedTokenType => {
                    "the token endpoint issued a token whose type is not Bearer"
                }
                Defect::InvalidTokenBytes => {
                    "the token endpoint issued a token that cannot stand in an HTTP header"
                }
                Defect::NotAJwt => "the token endpoint issued a token that is not a JWT",
                Defect::UnknownLifetime => "the token endpoint issued a token without a lifetime",
                Defect::InvalidLifetime => {
                    "the token endpoint issued a token whose lifetime is not a usable number"
                }
                Defect::ExpiredOnArrival => {
                    "the token endpoint issued a token that is all but expired, or not valid yet"
                }
                Defect::WrongAudience => "the token endpoint issued a token for another audience",
            }),
            Self::Interrupted => f.write_str("the request was interrupted"),
            Self::Panicked => {
                f.write_str("the operator itself failed on the request: its log names the place")
            }
        }
    }
}

impl std::error::Error for TokenError {}

/// What is left of a quota, as the end of a message.
struct Left(Option<Quota>);

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |Quota { limit, remaining }| {
            write!(f, ": {remaining} of {limit} requests are left")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, error: Option<&'static str>) -> TokenError {
        TokenError::Refused { status, error }
    }

    #[test]
    fn an_outage_is_what_says_nothing_of_the_request() {
        for outage in [
            TokenError::Unreachable(Unreachable::Timeout),
            TokenError::Unreachable(Unreachable::Refused),
            refused(408, None),
            refused(500, Some("invalid_client")),
            refused(599, None),
        ] {
            assert!(outage.is_outage(), "{outage}");
            assert_eq!(outage.reason(), Reason::TokenEndpointUnavailable);
        }
        for answer in [
            refused(400, None),
            refused(401, None),
            refused(499, None),
            TokenError::RateLimited { quota: None },
            TokenError::TooLarge,
            TokenError::Interrupted,
            TokenError::Panicked,
        ] {
            assert!(!answer.is_outage(), "{answer}");
        }
    }

    #[test]
    fn a_refusal_is_told_by_its_status_or_its_error() {
        for (status, error, reason) in [
            (401, None, Reason::CredentialsRejected),
            (400, Some("invalid_client"), Reason::CredentialsRejected),
            (403, None, Reason::ClientNotAllowed),
            (400, Some("unauthorized_client"), Reason::ClientNotAllowed),
            (400, Some("access_denied"), Reason::ClientNotAllowed),
            (400, Some("invalid_scope"), Reason::RequestRefused),
            (404, None, Reason::RequestRefused),
        ] {
            assert_eq!(
                refused(status, error).reason(),
                reason,
                "{status} {error:?}"
            );
        }
    }

    #[test]
    fn what_is_left_of_a_quota_is_told_where_it_is_known() {
        let text = |quota| TokenError::RateLimited { quota }.to_string();
        let quota = Quota {
            limit: 10,
            remaining: 3,
        };
        assert!(text(Some(quota)).ends_with("(HTTP 429): 3 of 10 requests are left"));
        assert!(text(None).ends_with("(HTTP 429)"));
    }
}
