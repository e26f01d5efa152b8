//! The Deploy API, of which there is one call: the key of an environment is obtained.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use super::access::Bearer;
use super::token_api::NewKey;
use super::{Shared, problem};

/// An environment. Whether a call makes a key is not documented.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The tenant that its keys open.
    pub tenant_id: String,
    /// Each call makes another key. Default: the first one makes it, and the others get the same.
    pub mints_each_time: bool,
    /// `apiKey` is null, and no key is made. Default: false.
    pub has_no_key: bool,
    /// `edgeUrl` is null. Default: false.
    pub has_no_url: bool,
    made: Option<String>,
}

impl Environment {
    pub(super) fn new(tenant_id: &str) -> Self {
        Self {
            tenant_id: tenant_id.into(),
            mints_each_time: false,
            has_no_key: false,
            has_no_url: false,
            made: None,
        }
    }
}

/// All environments by their ids.
pub(super) type Environments = BTreeMap<String, Environment>;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route(
        "/api/environments/v1/{environment}/obtain-edge-token",
        get(obtain),
    )
}

async fn obtain(
    State(shared): State<Arc<Shared>>,
    // A client of the organization names no environment in its token.
    _: Bearer,
    Path(id): Path<String>,
) -> Response {
    let now = shared.now();
    let mut state = shared.lock();
    let super::State {
        environments, keys, ..
    } = &mut *state;
    let Some(environment) = environments.get_mut(&id) else {
        drop(state);
        return problem(&shared, 404, "No such environment");
    };
    let key = match &environment.made {
        _ if environment.has_no_key => None,
        Some(made) if !environment.mints_each_time => Some(made.clone()),
        _ => {
            let new = NewKey::published(&environment.tenant_id, &id, "Deploy API");
            let made = keys.make(new, now);
            environment.made = Some(made.clone());
            Some(made)
        }
    };
    let url = (!environment.has_no_url).then(|| shared.url.clone());
    Json(json!({"apiKey": key, "edgeUrl": url})).into_response()
}
