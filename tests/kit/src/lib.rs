//! What the tests, the demo and the benchmarks stand on. Not published.
//!
//! - [`control_plane`]: a real Kubernetes control plane on loopback.
//! - [`operator`]: the operator as a process.
//! - [`process`]: child processes that cannot outlive this one.
//! - [`sitecore`]: a stand-in for Sitecore's token endpoint, Token API, Admin API and Delivery API.
//! - [`fake_api`]: an in-memory Kubernetes API for tests on a paused clock.

pub mod control_plane;
pub mod fake_api;
pub mod operator;
pub mod process;
pub mod sitecore;
