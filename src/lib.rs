//! Keeps Sitecore Experience Edge tokens valid in Kubernetes Secrets.
//!
//! The folders are the architecture, and imports go one way through them:
//!
//! - [`api`]: the resource as users write and see it.
//! - [`mod@http`]: what all that is asked outside the cluster have in common.
//! - [`oauth`]: the token endpoint's protocol.
//! - [`edge_api`]: Sitecore's APIs for the keys of the Delivery API.
//! - [`traffic`]: who may ask when.
//! - [`cluster`]: what any kind needs of the Kubernetes API.
//! - [`rules`]: what all kinds decide in the same way.
//! - [`edge_credential`]: what happens to an `EdgeCredential`.
//! - [`operator`]: the process around it.
//! - [`clock`]: where the time comes from.

// A panic would end the work on one object, or the process, so no input may cause one.
#![cfg_attr(
    not(test),
    warn(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::todo,
        clippy::unimplemented,
        clippy::unreachable
    )
)]

pub mod api;
pub mod clock;
pub mod cluster;
pub mod edge_api;
pub mod edge_credential;
pub mod edge_token;
pub mod http;
pub mod oauth;
pub mod operator;
pub mod rules;
pub mod traffic;
