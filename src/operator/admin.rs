//! `/livez`, `/readyz` and `/metrics`.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::registry::Registry;

use super::metrics::{openmetrics_text, prometheus_text};

/// Whether the operator has seen the cluster: how many watches have not listed their objects yet. It only counts down: a
/// later outage of the API server is no reason to restart, and not to be reached for metrics either.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<AtomicUsize>);

impl Readiness {
    /// Waits for so many watches.
    pub fn of(watches: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(watches)))
    }

    /// Says that one of them has listed its objects. To be called once for each.
    pub fn listed(&self) {
        self.0.fetch_sub(1, Ordering::Release);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }
}

/// The routes. `/livez` depends on nothing but this process: restarting it would not mend an API server.
pub fn routes(registry: Arc<Registry>, readiness: Readiness) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz).with_state(readiness))
        .route("/metrics", get(metrics).with_state(registry))
}

async fn readyz(State(readiness): State<Readiness>) -> (StatusCode, &'static str) {
    if readiness.get() {
        (StatusCode::OK, "ok\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the EdgeCredentials have not been listed yet\n",
        )
    }
}

async fn metrics(State(registry): State<Arc<Registry>>, headers: HeaderMap) -> Response {
    let openmetrics = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("application/openmetrics-text"));
    let (text, content_type) = if openmetrics {
        (
            openmetrics_text(&registry),
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        )
    } else {
        (
            prometheus_text(&registry),
            "text/plain; version=0.0.4; charset=utf-8",
        )
    };
    match text {
        Ok(text) => ([(header::CONTENT_TYPE, content_type)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
