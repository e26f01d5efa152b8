//! Log lines: to standard error, as text or JSON, of our own program only.

use std::io::IsTerminal;

use tracing::{Level, Metadata, subscriber::set_global_default};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::filter_fn, fmt, layer::SubscriberExt,
};

use super::flags::LogFormat;
use super::panics::log_places;

/// Starts logging. What is logged is set by `RUST_LOG`, by default `info`. Panics are log lines too.
pub fn start(format: LogFormat) {
    let chosen = EnvFilter::builder()
        .with_default_directive(Level::INFO.into())
        .from_env_lossy();
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text => fmt::layer()
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(std::io::stderr)
            .boxed(),
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(std::io::stderr)
            .boxed(),
    };
    let subscriber = tracing_subscriber::registry().with(
        lines
            .with_filter(chosen)
            .with_filter(filter_fn(may_be_logged)),
    );
    // Not by `init`, which would also listen to the `log` crate: through it, the verifier of TLS certificates quotes the
    // names in a server's certificate. Fails only where logging was started before.
    let _ = set_global_default(subscriber);
    log_places();
}

/// Caps what libraries may log, whatever `RUST_LOG` says: kube's client logs a response that it cannot read in full,
/// which may be a Secret, its watches log what the API server says, and HTTP libraries log headers.
fn may_be_logged(line: &Metadata<'_>) -> bool {
    const OURS: &str = env!("CARGO_CRATE_NAME");
    let target = line.target();
    target == OURS
        || target.starts_with(concat!(env!("CARGO_CRATE_NAME"), "::"))
        || *line.level() <= Level::ERROR
}
