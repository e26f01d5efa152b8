//! What is watched.

use kube::core::DeserializeGuard;

/// An object of a kind that is watched: one that does not fit its type is reported, and does not stop the others.
pub type Watched<K> = DeserializeGuard<K>;
