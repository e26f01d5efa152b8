//! What the HTTP status of a token endpoint means.

use crate::api::Reason;

/// Whether a token was issued. RFC 6749 section 5.1 has 200; some servers answer 201, as if for a new resource, and the token was
/// paid for all the same (ramosbugs/oauth2-rs#86).
pub fn is_success(status: u16) -> bool {
    matches!(status, 200 | 201)
}

/// Whether the endpoint failed, rather than refuse this one request.
pub fn is_outage(status: u16) -> bool {
    matches!(status, 408 | 500..)
}

/// The reason of a refusal, which may name an error of RFC 6749 section 5.2.
pub fn reason_of(status: u16, error: Option<&str>) -> Reason {
    match (status, error) {
        (status, _) if is_outage(status) => Reason::TokenEndpointUnavailable,
        (401, _) | (_, Some("invalid_client")) => Reason::CredentialsRejected,
        (403, _) | (_, Some("unauthorized_client" | "access_denied")) => Reason::ClientNotAllowed,
        _ => Reason::RequestRefused,
    }
}
