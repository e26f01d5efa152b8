//! The Delivery API, which workloads ask for content with a key of the Token API.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::server::RateHeaders;
use super::token_api::{EdgeKey, key_header};
use super::{Shared, problem};

/// How the Delivery API treats keys, none of which is documented.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeliveryStyle {
    /// For how long a new key is refused, by the stand-in's clock. Default: not at all.
    pub active_after: Duration,
    /// For how long a revoked key is still accepted. Default: not at all.
    pub revoked_after: Duration,
    /// How a key is refused.
    pub refusal: Refusal,
}

/// How a key is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Refusal {
    /// By 401.
    #[default]
    Unauthorized,
    /// By 403.
    Forbidden,
    /// By 200 with `errors` and no `data`, as GraphQL has it.
    Errors,
}

impl DeliveryStyle {
    fn accepts(&self, key: &EdgeKey, now: Duration) -> bool {
        let since = |time: Duration| now.saturating_sub(time);
        let is_active = since(key.made_at) >= self.active_after;
        // While it is still accepted, less than this time has passed.
        let is_revoked = |at: Duration| since(at) >= self.revoked_after;
        is_active && !key.revoked_at.is_some_and(is_revoked)
    }
}

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/api/graphql/v1", post(query))
}

async fn query(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let now = shared.now();
    let (limited, style, accepted) = {
        let mut state = shared.lock();
        let style = state.delivery;
        let limited = state.delivery_limited;
        let key = key_header(&headers).and_then(|token| state.keys.of_token(token));
        let accepted = key.is_some_and(|key| {
            let accepted = style.accepts(key, now) && !limited;
            key.uses += u64::from(accepted);
            key.uses_after_revocation += u64::from(key.is_revoked);
            accepted
        });
        (limited, style, accepted)
    };
    if limited {
        return RateHeaders::FromNow(1).refuse(&shared);
    }
    if !accepted {
        return refuse(&shared, style.refusal);
    }
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    if body.get("query").is_none_or(|query| !query.is_string()) {
        return problem(&shared, 400, "The body holds no query");
    }
    Json(json!({"data": {"__typename": "Query"}})).into_response()
}

fn refuse(shared: &Shared, refusal: Refusal) -> Response {
    match refusal {
        Refusal::Unauthorized => problem(shared, 401, "Unauthorized"),
        Refusal::Forbidden => problem(shared, 403, "Forbidden"),
        Refusal::Errors => {
            let message = shared.describe("Unauthorized");
            Json(json!({"errors": [{"message": message}]})).into_response()
        }
    }
}
