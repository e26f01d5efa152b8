//! On whose behalf a token is requested.

use k8s_openapi::jiff::Timestamp;

use crate::cluster::object_key::ObjectKey;

/// On whose behalf a token is requested.
#[derive(Clone, Debug)]
pub struct Caller {
    pub object: ObjectKey,
    /// When the token that it has expires. Whoever has none is served first, then whose token expires soonest.
    pub expires_at: Option<Timestamp>,
}
