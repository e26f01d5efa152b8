//! On which versions of its two Secrets rests what is said of an object.

use crate::api::credentials::SecretVersion;

/// The versions of the two Secrets, as the API server gave them in the answers that were decided on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versions {
    pub credentials: Option<SecretVersion>,
    /// That of the target, where it is ours.
    pub target: Option<SecretVersion>,
}
