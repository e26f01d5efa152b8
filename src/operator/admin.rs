//! `/livez`, `/readyz` and `/metrics`.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::{
    definition::CrdPresence,
    exposition::{Exposition, Format},
    watch::Watch,
};

/// Whether the operator serves the cluster: once every watch has listed its objects or was refused, and one of them has
/// listed; or another replica was seen to lead; and while the CustomResourceDefinition is there. It stays ready while the API
/// server is away: to be taken out of its Service then would only end the scraping of its metrics.
#[derive(Clone, Debug)]
pub struct Readiness {
    stands_by: Arc<AtomicBool>,
    watches: Arc<[Watch]>,
    crd: CrdPresence,
}

impl Readiness {
    /// Ready once these watches of EdgeCredentials are.
    pub fn of(watches: impl IntoIterator<Item = Watch>, crd: CrdPresence) -> Self {
        Self {
            stands_by: Arc::default(),
            watches: watches.into_iter().collect(),
            crd,
        }
    }

    /// Whether another replica was seen to lead, so that there is nothing to be done here.
    pub fn stand_by(&self, stands_by: bool) {
        self.stands_by.store(stands_by, Ordering::Release);
    }

    /// What it waits for, if it is not ready.
    pub fn lacks(&self) -> Option<&'static str> {
        if self.crd.is_missing() {
            Some("the CustomResourceDefinition of EdgeCredentials is missing\n")
        } else if self.stands_by.load(Ordering::Acquire) {
            None
        } else if !self.watches.iter().all(Watch::was_answered) {
            Some("neither a leader nor the EdgeCredentials have been seen yet\n")
        } else if !self.watches.iter().any(Watch::has_listed) {
            Some("the API server refuses to list EdgeCredentials\n")
        } else {
            None
        }
    }
}

/// The routes. `/livez` depends on nothing but this process: a restart would not repair an API server.
pub fn routes(exposition: Exposition, readiness: Readiness) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz).with_state(readiness))
        .route("/metrics", get(metrics).with_state(exposition))
}

async fn readyz(State(readiness): State<Readiness>) -> (StatusCode, &'static str) {
    match readiness.lacks() {
        None => (StatusCode::OK, "ok\n"),
        Some(lacking) => (StatusCode::SERVICE_UNAVAILABLE, lacking),
    }
}

async fn metrics(State(exposition): State<Exposition>, headers: HeaderMap) -> Response {
    let openmetrics = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("application/openmetrics-text"));
    let (format, content_type) = if openmetrics {
        (
            Format::OpenMetrics,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        )
    } else {
        (
            Format::Prometheus,
            "text/plain; version=0.0.4; charset=utf-8",
        )
    };
    match exposition.body(format).await {
        Some(text) => ([(header::CONTENT_TYPE, content_type)], text).into_response(),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
