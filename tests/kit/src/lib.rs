//! What the tests, the tools and the benchmarks stand on. Not published.
//!
//! - [`canary`]: looks for marked secrets where none may be.
//! - [`control_plane`]: a real Kubernetes control plane on loopback.
//! - [`generated`]: files that are generated and checked in.
//! - [`harness`]: a scene for each test on the control plane, with the operator installed by its chart.
//! - [`markdown`]: the code blocks of the documentation.
//! - [`operator`]: the operator as a process.
//! - [`process`]: child processes that cannot outlive this one.
//! - [`programs`]: finds or builds etcd, kube-apiserver and their like.
//! - [`proxy`]: a proxy that records an operator's calls and makes one of them fail.
//! - [`schema_corpus`]: specs that an API server refuses.
//! - [`script`]: scripts that stand in for programs.
//! - [`signals`]: the end of a program that a person wants.
//! - [`sitecore`]: a stand-in for Sitecore's token endpoint, Token API, Admin API and Delivery API.
//! - [`time_line`]: what the demo and its like print.
//! - [`values_schema`]: the JSON Schema of a chart's values, from their comments.
//! - [`fake_api`]: an in-memory Kubernetes API for tests on a paused clock.

pub mod canary;
pub mod control_plane;
pub mod fake_api;
pub mod generated;
pub mod harness;
pub mod markdown;
pub mod operator;
pub mod process;
pub mod programs;
pub mod proxy;
pub mod schema_corpus;
pub mod script;
pub mod signals;
pub mod sitecore;
pub mod time_line;
pub mod values_schema;

mod connection;

use std::path::{Path, PathBuf};

/// The root of the workspace, known since this was compiled.
pub fn workspace() -> PathBuf {
    let kit = Path::new(env!("CARGO_MANIFEST_DIR"));
    kit.ancestors().nth(2).unwrap_or(kit).to_owned()
}
