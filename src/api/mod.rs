//! The resources as users write them: types, schema rules and small getters. Nothing here does I/O.

pub mod conditions;
pub mod credentials;
pub mod edge_credential;
pub mod edge_token;
pub mod failures;
pub mod group;
pub mod names;
pub mod reason;
mod schema;
pub mod size;
pub mod target;
pub mod token_request;

pub use conditions::{ConditionStatus, ConditionType};
pub use edge_credential::{EdgeCredential, EdgeCredentialSpec, EdgeCredentialStatus};
pub use edge_token::{EdgeToken, EdgeTokenSpec, EdgeTokenStatus};
pub use group::GROUP;
pub use reason::Reason;
