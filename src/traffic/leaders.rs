//! Sends no token request from a process that does not lead.

use futures::{FutureExt, future::BoxFuture};

use crate::{
    cluster::leadership::Leadership,
    oauth::{Reply, TokenError, TokenRequest, TokenSource},
};

/// Requests tokens from another source, while this process leads.
pub struct LeadersTokenSource<S> {
    source: S,
    leadership: Leadership,
}

impl<S> LeadersTokenSource<S> {
    /// Asks `leadership` right before each request of `source`.
    pub fn new(source: S, leadership: Leadership) -> Self {
        Self { source, leadership }
    }
}

impl<S: TokenSource> TokenSource for LeadersTokenSource<S> {
    fn request<'a>(&'a self, request: &'a TokenRequest) -> BoxFuture<'a, Reply> {
        async move {
            if !self.leadership.may_act() {
                return Err(TokenError::Interrupted).into();
            }
            self.source.request(request).await
        }
        .boxed()
    }
}
