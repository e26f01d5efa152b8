//! The API group of the resources.

/// The API group, and the prefix of every label and annotation that is ours.
pub const GROUP: &str = "edgecredentials.io";
