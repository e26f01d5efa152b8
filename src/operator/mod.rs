//! The process around the reconciliation: watches, events, metrics, health.

pub mod admin;
pub mod check;
pub mod clock_jump;
// A pod ends by a signal, which Windows does not have. The plugin of kubectl is built there, with the rest of this library.
#[cfg(unix)]
pub mod command;
pub mod controller;
pub mod definition;
pub mod endpoints;
pub mod error_chain;
pub mod events;
pub mod exposition;
pub mod flags;
pub mod http_server;
pub mod key_metrics;
pub mod lease;
pub mod list_watch;
pub mod malformed;
pub mod metrics;
pub mod panics;
pub mod quotas;
pub mod references;
pub mod route_files;
pub mod run;
pub mod series;
pub mod telemetry;
pub mod watch;
pub mod watched;

#[cfg(target_os = "linux")]
mod process;
