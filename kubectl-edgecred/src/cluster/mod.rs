//! What is asked of the API server.
//!
//! - [`access`]: which cluster, as whom, by kubectl's own flags and files.
//! - [`objects`]: the objects of either kind, and what stands around them.
//! - [`operator`]: the operator itself, as far as it may be seen.
//! - [`errors`]: what the API server's errors mean to a person.

pub mod access;
pub mod errors;
pub mod objects;
pub mod operator;
