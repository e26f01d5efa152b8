//! The Admin API: settings, caches, content and webhooks of an environment.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::access::Caller;
use super::{Shared, problem, random_id, timestamp};

/// What a call took away from an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// The caches.
    Cache,
    /// All published content.
    Content,
}

#[derive(Default)]
pub(super) struct Admin {
    settings: BTreeMap<String, Settings>,
    webhooks: BTreeMap<String, BTreeMap<String, Map<String, Value>>>,
    pub deletions: Vec<(String, Deleted)>,
}

/// The settings of an environment, with Sitecore's defaults.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Settings {
    content_cache_ttl: String,
    content_cache_auto_clear: bool,
    media_cache_ttl: String,
    media_cache_auto_clear: bool,
    tenant_cache_auto_clear: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            content_cache_ttl: "04:00:00".into(),
            content_cache_auto_clear: true,
            media_cache_ttl: "04:00:00".into(),
            media_cache_auto_clear: true,
            tenant_cache_auto_clear: true,
        }
    }
}

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route(
            "/api/admin/v1/settings",
            get(settings).put(put_settings).patch(patch_settings),
        )
        .route("/api/admin/v1/cache", delete(clear_cache))
        .route("/api/admin/v1/content", delete(delete_content))
        .route("/api/admin/v1/webhooks", get(webhooks).post(add_webhook))
        .route(
            "/api/admin/v1/webhooks/{id}",
            get(webhook).put(put_webhook).delete(delete_webhook),
        )
}

async fn settings(State(shared): State<Arc<Shared>>, caller: Caller) -> Json<Settings> {
    Json(
        shared
            .lock()
            .admin
            .settings
            .entry(caller.tenant)
            .or_default()
            .clone(),
    )
}

async fn put_settings(State(shared): State<Arc<Shared>>, caller: Caller, body: Bytes) -> Response {
    let Ok(settings) = serde_json::from_slice(&body) else {
        return problem(&shared, 400, "The settings are not valid");
    };
    shared.lock().admin.settings.insert(caller.tenant, settings);
    StatusCode::ACCEPTED.into_response()
}

/// One step of a JSON Patch; only `replace` is allowed.
#[derive(Deserialize)]
struct Replace {
    op: String,
    path: String,
    value: Value,
}

async fn patch_settings(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if headers
        .get(CONTENT_TYPE)
        .is_none_or(|value| value != "application/json-patch+json")
    {
        return problem(&shared, 415, "Send application/json-patch+json");
    }
    let current = shared
        .lock()
        .admin
        .settings
        .entry(caller.tenant.clone())
        .or_default()
        .clone();
    let Some(patched) = patched(&current, &body) else {
        return problem(&shared, 400, "The patch is not valid");
    };
    shared
        .lock()
        .admin
        .settings
        .insert(caller.tenant, patched.clone());
    Json(patched).into_response()
}

fn patched(settings: &Settings, patch: &[u8]) -> Option<Settings> {
    let steps: Vec<Replace> = serde_json::from_slice(patch).ok()?;
    let mut value = serde_json::to_value(settings).ok()?;
    for step in steps {
        if step.op != "replace" {
            return None;
        }
        // The documentation writes the paths in lower case.
        let name = step.path.strip_prefix('/')?;
        let mut members = value.as_object_mut()?.iter_mut();
        *members
            .find(|(known, _)| known.eq_ignore_ascii_case(name))?
            .1 = step.value;
    }
    serde_json::from_value(value).ok()
}

async fn clear_cache(State(shared): State<Arc<Shared>>, caller: Caller) -> StatusCode {
    shared
        .lock()
        .admin
        .deletions
        .push((caller.tenant, Deleted::Cache));
    StatusCode::ACCEPTED
}

async fn delete_content(State(shared): State<Arc<Shared>>, caller: Caller) -> StatusCode {
    shared
        .lock()
        .admin
        .deletions
        .push((caller.tenant, Deleted::Content));
    StatusCode::ACCEPTED
}

async fn webhooks(State(shared): State<Arc<Shared>>, caller: Caller) -> Response {
    let state = shared.lock();
    let hooks = state.admin.webhooks.get(&caller.tenant);
    Json(
        hooks
            .into_iter()
            .flat_map(BTreeMap::values)
            .collect::<Vec<_>>(),
    )
    .into_response()
}

async fn webhook(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Response {
    let state = shared.lock();
    let hook = state
        .admin
        .webhooks
        .get(&caller.tenant)
        .and_then(|hooks| hooks.get(&id))
        .cloned();
    drop(state);
    hook.map_or_else(|| no_webhook(&shared), |hook| Json(hook).into_response())
}

async fn add_webhook(State(shared): State<Arc<Shared>>, caller: Caller, body: Bytes) -> Response {
    let Some(mut hook) = valid_webhook(&body) else {
        return problem(&shared, 400, "The webhook is not valid");
    };
    let id = random_id();
    let added = json!({
        "id": id,
        "tenantId": caller.tenant,
        "created": timestamp(shared.now()),
        "lastRuns": [],
        "disabled": false,
    });
    hook.extend(added.as_object().cloned().unwrap_or_default());
    let mut state = shared.lock();
    state
        .admin
        .webhooks
        .entry(caller.tenant)
        .or_default()
        .insert(id, hook.clone());
    (StatusCode::CREATED, Json(hook)).into_response()
}

async fn put_webhook(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
    body: Bytes,
) -> Response {
    let Some(new) = valid_webhook(&body) else {
        return problem(&shared, 400, "The webhook is not valid");
    };
    let mut state = shared.lock();
    let hook = state
        .admin
        .webhooks
        .entry(caller.tenant)
        .or_default()
        .get_mut(&id);
    let found = hook.map(|hook| hook.extend(new)).is_some();
    drop(state);
    if found {
        StatusCode::NO_CONTENT.into_response()
    } else {
        no_webhook(&shared)
    }
}

async fn delete_webhook(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Response {
    let mut state = shared.lock();
    let removed = state
        .admin
        .webhooks
        .entry(caller.tenant)
        .or_default()
        .remove(&id);
    drop(state);
    match removed {
        Some(_) => StatusCode::NO_CONTENT.into_response(),
        None => no_webhook(&shared),
    }
}

fn no_webhook(shared: &Shared) -> Response {
    problem(shared, 404, "No such webhook")
}

/// A webhook without what only the service may set. It must have a label and an https address.
fn valid_webhook(body: &[u8]) -> Option<Map<String, Value>> {
    let mut hook: Map<String, Value> = serde_json::from_slice(body).ok()?;
    hook.retain(|name, _| {
        !["id", "tenantId", "created", "lastRuns", "disabled"].contains(&name.as_str())
    });
    let text = |name: &str| hook.get(name).and_then(Value::as_str).unwrap_or_default();
    (!text("label").is_empty() && text("uri").starts_with("https://")).then_some(hook)
}
