//! The Delivery API, which workloads ask for content with a key of the Token API.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::token_api::key_header;
use super::{Shared, problem};

/// Requests a second that a tenant has, as documented.
const LIMIT: u16 = 80;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/api/graphql/v1", post(query))
}

async fn query(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let (limited, live) = {
        let state = shared.lock();
        let live = key_header(&headers).is_some_and(|token| state.keys.is_live(token));
        (state.delivery_limited, live)
    };
    if limited {
        let mut response = problem(&shared, 429, "Too many requests");
        let headers = response.headers_mut();
        headers.insert("x-rate-limit-limit", HeaderValue::from(LIMIT));
        headers.insert("x-rate-limit-remaining", HeaderValue::from(0));
        // Seconds from now, unlike the header of the token endpoint.
        headers.insert("x-rate-limit-reset", HeaderValue::from(1));
        return response;
    }
    if !live {
        return problem(&shared, 401, "Unauthorized");
    }
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    if body.get("query").is_none_or(|query| !query.is_string()) {
        return problem(&shared, 400, "The body holds no query");
    }
    Json(json!({"data": {"__typename": "Query"}})).into_response()
}
