//! On whose behalf a token is requested.

use k8s_openapi::jiff::Timestamp;

use crate::cluster::object_key::ObjectKey;

/// On whose behalf a token is requested.
#[derive(Clone, Debug)]
pub struct Caller {
    pub object: ObjectKey,
    /// When the token that it has expires. Callers without a token are served first, then those whose token expires soonest.
    pub expires_at: Option<Timestamp>,
}
