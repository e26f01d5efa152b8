//! The resources as users write them: types, schema rules and small getters. Nothing here does I/O.

pub mod conditions;
pub mod credentials;
pub mod edge_credential;
pub mod failures;
pub mod reason;
pub mod target;
pub mod token_request;

pub use conditions::{ConditionStatus, ConditionType};
pub use edge_credential::{EdgeCredential, EdgeCredentialSpec, EdgeCredentialStatus};
pub use reason::Reason;

/// The API group, and the prefix of every label and annotation that is ours.
pub const GROUP: &str = "edgecredentials.io";
