//! The Token API, which makes, lists, renames and revokes the keys for the Delivery API.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::access::Caller;
use super::{Shared, problem, timestamp};

/// Keys on a page of the list, unless asked otherwise.
const PAGE_SIZE: usize = 20;

/// How the Token API writes its answers, where the documentation and what was seen of the service disagree, and what it does
/// that nobody has documented.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenApiStyle {
    /// Rename and revoke answer `200 true`, as documented. Default: 204, as observed.
    pub answers_true: bool,
    /// Members are in PascalCase, as documented. Default: camelCase, as observed.
    pub pascal_case: bool,
    /// A new key is answered as a JSON string. Default: bare, as observed.
    pub quotes_key: bool,
    /// For how long a new key is not listed, by the stand-in's clock. Default: not at all.
    pub list_lag: Duration,
    /// Lists are not narrowed to a label, scopes or a creator. Default: they are, as documented.
    pub is_unfiltered: bool,
    /// The most keys on a page, whatever is asked for. Default: as many as are asked for.
    pub largest_page: Option<usize>,
    /// To how many characters labels are cut. Default: they are not.
    pub label_length: Option<usize>,
}

/// A key for the Delivery API. The token itself is not kept, as Sitecore does not keep it.
#[derive(Clone, Debug)]
pub struct EdgeKey {
    /// The environment.
    pub tenant_id: String,
    /// The name by which the key can be revoked.
    pub hash: String,
    /// Whether it was revoked. Such keys stay listed.
    pub is_revoked: bool,
    /// Free text, not unique.
    pub label: String,
    /// Such as `content-#everything#` and `audience-delivery`.
    pub scopes: Vec<String>,
    /// Free text.
    pub created_by: String,
    /// RFC 3339, with seven digits of fraction.
    pub created: String,
    /// Queries that the Delivery API answered for it.
    pub uses: u64,
    /// Queries with it after it was revoked, whether or not they were answered.
    pub uses_after_revocation: u64,
    /// When it was made and when it was revoked, since 1970 by the stand-in's clock.
    pub(super) made_at: Duration,
    pub(super) revoked_at: Option<Duration>,
}

impl EdgeKey {
    fn revoke(&mut self, now: Duration) {
        self.is_revoked = true;
        self.revoked_at.get_or_insert(now);
    }
}

/// All keys of all tenants, in the order of their making.
#[derive(Default)]
pub(super) struct Keys {
    pub all: Vec<EdgeKey>,
    pub style: TokenApiStyle,
}

/// What is made.
pub(super) struct NewKey {
    pub tenant: String,
    pub label: String,
    pub scopes: Vec<String>,
    pub created_by: String,
}

impl NewKey {
    /// A key for all that is published, made by somebody.
    pub fn published(tenant: &str, label: &str, created_by: &str) -> Self {
        Self {
            tenant: tenant.into(),
            label: label.into(),
            scopes: vec!["audience-delivery".into(), "content-#everything#".into()],
            created_by: created_by.into(),
        }
    }
}

impl Keys {
    /// Makes a key, and hands its token over.
    pub fn make(&mut self, key: NewKey, now: Duration) -> String {
        let token = new_token(&key.tenant);
        let length = self.style.label_length.unwrap_or(usize::MAX);
        self.all.push(EdgeKey {
            hash: hash_of(&token).expect("a token of our own making"),
            tenant_id: key.tenant,
            is_revoked: false,
            label: key.label.chars().take(length).collect(),
            scopes: key.scopes,
            created_by: key.created_by,
            created: timestamp(now),
            uses: 0,
            uses_after_revocation: 0,
            made_at: now,
            revoked_at: None,
        });
        token
    }

    /// Revokes a key of any tenant.
    pub fn revoke(&mut self, hash: &str, now: Duration) {
        if let Some(key) = self.all.iter_mut().find(|key| key.hash == hash) {
            key.revoke(now);
        }
    }

    /// The key that this token is.
    pub fn of_token(&mut self, token: &str) -> Option<&mut EdgeKey> {
        let hash = hash_of(token)?;
        self.all.iter_mut().find(|key| key.hash == hash)
    }

    fn of(&mut self, tenant: &str, hash: &str) -> Option<&mut EdgeKey> {
        self.all
            .iter_mut()
            .find(|key| key.tenant_id == tenant && key.hash == hash)
    }
}

pub(super) fn routes() -> Router<Arc<Shared>> {
    // axum makes `/api/apikey/v1/` and `/api/apikey/v1` two routes; the documentation's `POST /` may mean either.
    Router::new()
        .route("/api/apikey/v1", get(list).post(create))
        .route("/api/apikey/v1/", get(list).post(create))
        .route("/api/apikey/v1/token", get(get_by_token))
        .route("/api/apikey/v1/{hash}", get(get_by_hash))
        .route("/api/apikey/v1/renamebyhash/{hash}", put(rename_by_hash))
        .route("/api/apikey/v1/renamebytoken", put(rename_by_token))
        .route("/api/apikey/v1/revokebyhash/{hash}", put(revoke_by_hash))
        .route("/api/apikey/v1/revokebytoken", put(revoke_by_token))
}

/// The key in the header that Sitecore's pages name, or in the one that Content Hub's pages name.
pub(super) fn key_header(headers: &HeaderMap) -> Option<&str> {
    let value = headers
        .get("x-gql-token")
        .or_else(|| headers.get("sc_apikey"))?;
    value.to_str().ok()
}

/// Lower-case hex SHA-256 of what stands before the `|` in the decoded token.
fn hash_of(token: &str) -> Option<String> {
    let decoded = STANDARD.decode(token).ok()?;
    let bar = decoded.iter().position(|byte| *byte == b'|')?;
    let hash = super::sha256(&decoded[..bar]);
    Some(hash.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn new_token(tenant: &str) -> String {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).expect("the system gives random bytes");
    STANDARD.encode(format!("{}|{tenant}", STANDARD.encode(bytes)))
}

async fn create(State(shared): State<Arc<Shared>>, caller: Caller, body: Bytes) -> Response {
    let Some(body) = Fields::read(&body) else {
        return problem(&shared, 400, "The body is not a JSON object");
    };
    let Some(label) = body.text("label") else {
        return problem(&shared, 400, "Label is required");
    };
    let scopes = body.texts("scopes");
    let known = |scope: &String| {
        ["audience-delivery", "audience-preview"].contains(&scope.as_str())
            || scope.starts_with("content-")
    };
    if scopes.is_empty() || !scopes.iter().all(known) {
        return problem(&shared, 400, "Scopes are not valid");
    }
    let key = NewKey {
        tenant: caller.tenant,
        label,
        scopes,
        created_by: body.text("createdby").unwrap_or_default(),
    };
    let now = shared.now();
    let mut state = shared.lock();
    let token = state.keys.make(key, now);
    match state.keys.style.quotes_key {
        true => (StatusCode::CREATED, Json(token)).into_response(),
        // As text/plain with 201, which was observed.
        false => (StatusCode::CREATED, token).into_response(),
    }
}

async fn list(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Response {
    let filter = Filter::read(query.as_deref().unwrap_or_default());
    let now = shared.now();
    let state = shared.lock();
    let style = state.keys.style;
    let is_shown = |key: &&EdgeKey| now.saturating_sub(key.made_at) >= style.list_lag;
    let keys: Vec<_> = state
        .keys
        .all
        .iter()
        .filter(|key| key.tenant_id == caller.tenant)
        .filter(|key| style.is_unfiltered || filter.wants(key))
        .filter(is_shown)
        .collect();
    let size = filter
        .page_size
        .min(style.largest_page.unwrap_or(usize::MAX));
    let page = filter.page;
    let pages = keys.len().div_ceil(size);
    let on_page = keys.iter().skip(size.saturating_mul(page - 1)).take(size);
    let answer = json!({
        "totalCount": keys.len(),
        "pageSize": size,
        "currentPage": page,
        "totalPages": pages,
        "hasNext": page < pages,
        "hasPrevious": page > 1,
        "keys": on_page.map(|key| describe(key)).collect::<Vec<_>>(),
    });
    written(style, answer)
}

async fn get_by_hash(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(hash): Path<String>,
) -> Response {
    show(&shared, &caller, Some(hash))
}

async fn get_by_token(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    headers: HeaderMap,
) -> Response {
    show(&shared, &caller, key_header(&headers).and_then(hash_of))
}

async fn rename_by_hash(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(hash): Path<String>,
    body: Bytes,
) -> Response {
    rename(&shared, &caller, Some(hash), &body)
}

async fn rename_by_token(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    rename(
        &shared,
        &caller,
        key_header(&headers).and_then(hash_of),
        &body,
    )
}

async fn revoke_by_hash(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(hash): Path<String>,
) -> Response {
    revoke(&shared, &caller, Some(hash))
}

async fn revoke_by_token(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    headers: HeaderMap,
) -> Response {
    revoke(&shared, &caller, key_header(&headers).and_then(hash_of))
}

fn show(shared: &Shared, caller: &Caller, hash: Option<String>) -> Response {
    let mut state = shared.lock();
    let style = state.keys.style;
    let key = hash.and_then(|hash| {
        state
            .keys
            .of(&caller.tenant, &hash)
            .map(|key| describe(key))
    });
    drop(state);
    key.map_or_else(|| not_found(shared), |key| written(style, key))
}

fn rename(shared: &Shared, caller: &Caller, hash: Option<String>, body: &[u8]) -> Response {
    let Some(name) = Fields::read(body).and_then(|body| body.text("newname")) else {
        return problem(shared, 400, "newName is required");
    };
    change(shared, caller, hash, |key| key.label = name)
}

fn revoke(shared: &Shared, caller: &Caller, hash: Option<String>) -> Response {
    let now = shared.now();
    change(shared, caller, hash, |key| key.revoke(now))
}

fn change(
    shared: &Shared,
    caller: &Caller,
    hash: Option<String>,
    change: impl FnOnce(&mut EdgeKey),
) -> Response {
    let mut state = shared.lock();
    let style = state.keys.style;
    let found = hash.and_then(|hash| state.keys.of(&caller.tenant, &hash).map(change));
    drop(state);
    match found {
        None => not_found(shared),
        Some(()) if style.answers_true => Json(true).into_response(),
        Some(()) => StatusCode::NO_CONTENT.into_response(),
    }
}

fn not_found(shared: &Shared) -> Response {
    problem(shared, 404, "No such key")
}

fn describe(key: &EdgeKey) -> Value {
    json!({
        "tenantId": key.tenant_id,
        "hash": key.hash,
        "isRevoked": key.is_revoked,
        "label": key.label,
        "scopes": key.scopes,
        "createdBy": key.created_by,
        "created": key.created,
    })
}

fn written(style: TokenApiStyle, answer: Value) -> Response {
    Json(if style.pascal_case {
        pascal_case(answer)
    } else {
        answer
    })
    .into_response()
}

fn pascal_case(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(pascal_case).collect(),
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| (name[..1].to_uppercase() + &name[1..], pascal_case(value)))
            .collect(),
        other => other,
    }
}

/// The members of a request body by their names in lower case, since both spellings are in use.
struct Fields(Map<String, Value>);

impl Fields {
    fn read(body: &[u8]) -> Option<Self> {
        let members: Map<String, Value> = serde_json::from_slice(body).ok()?;
        let lower = members
            .into_iter()
            .map(|(name, value)| (name.to_lowercase(), value));
        Some(Self(lower.collect()))
    }

    fn text(&self, name: &str) -> Option<String> {
        let text = self.0.get(name)?.as_str()?;
        (!text.is_empty()).then(|| text.to_owned())
    }

    fn texts(&self, name: &str) -> Vec<String> {
        let items = self
            .0
            .get(name)
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        items
            .filter_map(|item| item.as_str().map(str::to_owned))
            .collect()
    }
}

/// What the list is narrowed to.
struct Filter {
    scopes: Vec<String>,
    label: String,
    created_by: Option<String>,
    without_revoked: bool,
    page_size: usize,
    page: usize,
}

impl Filter {
    fn read(query: &str) -> Self {
        let mut filter = Self {
            scopes: Vec::new(),
            label: String::new(),
            created_by: None,
            without_revoked: false,
            page_size: PAGE_SIZE,
            page: 1,
        };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let number = |default| {
                value
                    .parse()
                    .ok()
                    .filter(|number| *number > 0)
                    .unwrap_or(default)
            };
            match name.to_lowercase().as_str() {
                "scopes" => filter.scopes.push(value.into_owned()),
                "label" => filter.label = value.into_owned(),
                "createdby" => filter.created_by = Some(value.into_owned()),
                // Undocumented; read as "leave the revoked ones out".
                "filterrevoked" => filter.without_revoked = value.eq_ignore_ascii_case("true"),
                "pagesize" => filter.page_size = number(PAGE_SIZE),
                "pagenumber" => filter.page = number(1),
                _ => {}
            }
        }
        filter
    }

    fn wants(&self, key: &EdgeKey) -> bool {
        key.label.contains(&self.label)
            && self.scopes.iter().all(|scope| key.scopes.contains(scope))
            && self
                .created_by
                .as_ref()
                .is_none_or(|by| *by == key.created_by)
            && !(self.without_revoked && key.is_revoked)
    }
}
