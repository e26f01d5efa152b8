//! Counts and times every call of Sitecore's APIs.

use std::time::Duration;

use futures::{FutureExt, future::BoxFuture};
use reqwest::Url;
use secrecy::SecretString;
use tokio::time::Instant;

use crate::{
    api::Reason,
    edge_api::{Access, ApiError, Call, EdgeApi, Listing, NewKey, Reply, Verdict},
    http::origin::Origin,
};

/// Where calls of Sitecore's APIs are counted and timed.
pub trait ApiMetrics: Send + Sync + 'static {
    /// Counts a call, with the reason of its failure.
    fn called(&self, origin: &str, call: Call, took: Duration, failure: Option<Reason>);
}

/// Counts and times the calls of other APIs.
pub struct MeasuredEdgeApi<A, M> {
    api: A,
    metrics: M,
}

impl<A: EdgeApi, M: ApiMetrics> MeasuredEdgeApi<A, M> {
    /// Counts the calls of `api` in `metrics`.
    pub fn new(api: A, metrics: M) -> Self {
        Self { api, metrics }
    }

    fn measure<'a, T: Send + 'a>(
        &'a self,
        call: Call,
        url: &'a Url,
        reply: BoxFuture<'a, Reply<T>>,
    ) -> BoxFuture<'a, Reply<T>> {
        async move {
            let started = Instant::now();
            let reply = reply.await;
            let origin = Origin::of(url);
            let origin = origin.as_ref().map_or("", Origin::as_str);
            let failure = reply.result.as_ref().err().map(ApiError::reason);
            self.metrics
                .called(origin, call, started.elapsed(), failure);
            reply
        }
        .boxed()
    }
}

impl<A: EdgeApi, M: ApiMetrics> EdgeApi for MeasuredEdgeApi<A, M> {
    fn create_key<'a>(
        &'a self,
        access: Access<'a>,
        key: &'a NewKey,
    ) -> BoxFuture<'a, Reply<SecretString>> {
        let reply = self.api.create_key(access, key);
        self.measure(Call::CreateKey, access.base, reply)
    }

    fn list_keys<'a>(
        &'a self,
        access: Access<'a>,
        prefix: &'a str,
    ) -> BoxFuture<'a, Reply<Listing>> {
        let reply = self.api.list_keys(access, prefix);
        self.measure(Call::ListKeys, access.base, reply)
    }

    fn revoke_key<'a>(&'a self, access: Access<'a>, hash: &'a str) -> BoxFuture<'a, Reply<()>> {
        let reply = self.api.revoke_key(access, hash);
        self.measure(Call::RevokeKey, access.base, reply)
    }

    fn obtain_key<'a>(
        &'a self,
        access: Access<'a>,
        environment_id: &'a str,
    ) -> BoxFuture<'a, Reply<SecretString>> {
        let reply = self.api.obtain_key(access, environment_id);
        self.measure(Call::ObtainKey, access.base, reply)
    }

    fn probe_key<'a>(
        &'a self,
        delivery_url: &'a Url,
        key: &'a SecretString,
    ) -> BoxFuture<'a, Reply<Verdict>> {
        let reply = self.api.probe_key(delivery_url, key);
        self.measure(Call::ProbeKey, delivery_url, reply)
    }
}
