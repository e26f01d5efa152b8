//! Counts and times every token request.

use std::time::Duration;

use futures::{FutureExt, future::BoxFuture};
use tokio::time::Instant;

use crate::{
    http::origin::Origin,
    oauth::{ClientCredentials, Reply, TokenRequest, TokenSource},
};

/// Where token requests are counted and timed.
pub trait TokenRequestMetrics: Send + Sync + 'static {
    /// Counts a request to `origin` with these credentials.
    fn requested(
        &self,
        origin: &str,
        credentials: &ClientCredentials,
        took: Duration,
        reply: &Reply,
    );
}

/// Counts and times the requests of another source.
pub struct MeasuredTokenSource<S, M> {
    source: S,
    metrics: M,
}

impl<S, M> MeasuredTokenSource<S, M> {
    /// Counts the requests of `source` in `metrics`.
    pub fn new(source: S, metrics: M) -> Self {
        Self { source, metrics }
    }
}

impl<S: TokenSource, M: TokenRequestMetrics> TokenSource for MeasuredTokenSource<S, M> {
    fn request<'a>(&'a self, request: &'a TokenRequest) -> BoxFuture<'a, Reply> {
        async move {
            let origin = Origin::of(&request.parameters.token_url);
            let origin = origin.as_ref().map_or("", Origin::as_str);
            let started = Instant::now();
            let reply = self.source.request(request).await;
            let took = started.elapsed();
            self.metrics
                .requested(origin, &request.credentials, took, &reply);
            reply
        }
        .boxed()
    }
}
