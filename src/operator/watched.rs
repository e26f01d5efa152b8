//! What is watched.

use kube::core::DeserializeGuard;

use crate::api::EdgeCredential;

/// What is watched: an object that does not fit its type is reported, and does not stop the others.
pub type Watched = DeserializeGuard<EdgeCredential>;
