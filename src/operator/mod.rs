//! The process around the reconciliation: watches, events, metrics, health.

pub mod admin;
pub mod check;
pub mod clock_jump;
pub mod controller;
pub mod events;
pub mod kind;
pub mod lease;
pub mod malformed;
pub mod metrics;
pub mod panics;
pub mod references;
pub mod run;
pub mod telemetry;

#[cfg(target_os = "linux")]
mod process;
