//! Keeps Sitecore Experience Edge tokens valid in Kubernetes Secrets.
//!
//! The folders are the architecture, and imports go one way through them:
//!
//! - [`api`]: what users write.
//! - [`oauth`]: whom we call.
//! - [`edge_credential`]: what happens to an `EdgeCredential`.
//! - [`operator`]: the process around it.
//! - [`config`]: what the administrator sets; [`clock`]: where the time comes from.

pub mod api;
pub mod clock;
pub mod config;
pub mod edge_credential;
pub mod oauth;
pub mod operator;
