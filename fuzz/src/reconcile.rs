//! EdgeCredentials, in a whole reconciliation against an API server and a token endpoint in memory.
//!
//! An input is an EdgeCredential in JSON, or a list of it and Secrets that are there already, with what the endpoint
//! answers:
//!
//! ```json
//! {"items": [{"kind": "EdgeCredential", "spec": {}}, {"kind": "Secret", "metadata": {"name": "edge"}}],
//!  "answer": {"status": 429, "headers": {"retry-after": "30"}, "body": "{\"error\":\"CANARY\"}"}}
//! ```

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use edge_credential_operator::{
    api::{ConditionType, EdgeCredential, Reason, conditions},
    clock::Clock,
    cluster::{calls::Calls, leadership::Leadership},
    edge_credential::{context::Context, reconcile::reconcile},
    http::{
        origin::{AllowedOrigins, SITECORE_ORIGINS},
        rate_limits::read_limits,
    },
    oauth::{
        Reply, RequestParameters, TokenRequest, TokenSource,
        response::{Answer, validate},
    },
    traffic::requests::TokenRequests,
};
use futures::{FutureExt, future::BoxFuture};
use http::{HeaderMap, HeaderName, HeaderValue};
use k8s_openapi::{
    api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp,
};
use kit::fake_api::{FakeApi, Request, Verb};
use kube::{Api, Client, api::PostParams};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{MARK, answer::jwt, assert_harmless, schema::out_of_bounds};

const NAMESPACE: &str = "shop";
const NAME: &str = "edge";

/// Stands for the EdgeCredential's uid in the owner references of Secrets.
const UID: &str = "UID";

/// The time at which everything happens: 2026-01-01T00:00:00Z.
const NOW: Timestamp = Timestamp::constant(1_767_225_600, 0);

const RESYNC_PERIOD: Duration = Duration::from_secs(4 * 3600);

/// What the endpoint says, in place of a token.
#[derive(Clone, Deserialize)]
struct Said {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: String,
}

impl Said {
    /// The headers that HTTP permits.
    fn headers(&self) -> HeaderMap {
        let parsed = self.headers.iter().filter_map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            Some((name, HeaderValue::from_bytes(value.as_bytes()).ok()?))
        });
        parsed.collect()
    }
}

/// Checks one EdgeCredential in its world.
pub fn check(input: &[u8]) {
    let Ok(mut input) = serde_json::from_slice::<Value>(input) else {
        return;
    };
    let said = input.get_mut("answer").map(Value::take);
    let said = said.and_then(|said| serde_json::from_value(said).ok());
    let items = match input.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => items,
        _ => vec![input],
    };
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
        .block_on(visit_twice(items, said));
}

/// A list's first EdgeCredential is stored, and visited twice at the same moment, with no watch in between: what the
/// first visit did, the second must leave alone.
async fn visit_twice(items: Vec<Value>, said: Option<Said>) {
    let api = FakeApi::with_clock(|| NOW);
    let client = api.client();
    let (secrets, objects): (Vec<_>, Vec<_>) =
        items.into_iter().partition(|item| item["kind"] == "Secret");
    let Some(object) = store(&client, objects).await else {
        return;
    };
    for secret in secrets {
        if let Ok(mut secret) = serde_json::from_value::<Secret>(secret) {
            secret.metadata.namespace = Some(NAMESPACE.into());
            let owners = secret.metadata.owner_references.iter_mut().flatten();
            for owner in owners.filter(|owner| owner.uid == UID) {
                owner.uid = object.metadata.uid.clone().unwrap_or_default();
            }
            create(&client, &secret).await;
        }
    }
    create(&client, &credentials(&object)).await;
    let before: Vec<Secret> = api.list_as();
    api.take_requests();

    let endpoint = Endpoint::new(said);
    let context = context(client, endpoint.clone());
    let seen = visit(&api, &object, &context).await;
    let again = api
        .get_as(NAMESPACE, NAME)
        .map(|mut stored: EdgeCredential| {
            stored.metadata.deletion_timestamp = object.metadata.deletion_timestamp.clone();
            stored
        });
    let revision = api.revision();
    if let (Some(first), Some(again)) = (seen, &again) {
        let second = visit(&api, again, &context).await;
        // Where a write failed it is tried again.
        if first.quiet && second.is_some_and(|second| second.quiet) {
            assert_eq!(api.revision(), revision, "the second visit wrote something");
        }
    }
    let requests = endpoint.requests();
    assert!(requests.len() <= 1, "{} token requests", requests.len());
    assert!(requests.iter().all(|request| {
        allowed().contain(&request.token_url)
            && request.audience == object.spec.token_request.audience
    }));
    if object.spec.suspend || object.metadata.deletion_timestamp.is_some() {
        assert!(requests.is_empty());
    }
    touched_nothing_else(&api, &object, &before);
    if let Some(status) = again.and_then(|object| object.status) {
        within_bounds(&object, &status);
    }
}

/// What a visit came to.
struct Visited {
    /// Whether every write succeeded.
    quiet: bool,
}

async fn visit(api: &FakeApi, object: &EdgeCredential, context: &Context) -> Option<Visited> {
    let already = api.requests().len();
    match reconcile(object, context).await {
        Ok(report) => {
            assert!(!report.requeue_after.is_zero());
            assert!(report.requeue_after <= RESYNC_PERIOD);
            assert_ne!(report.problem, Some(Reason::InternalError));
            for transition in &report.transitions {
                assert!(!transition.message.contains(MARK), "{transition:?}");
            }
            if let Some(written) = &report.written {
                assert!(NOW < written.expires_at && written.renew_at <= written.expires_at);
                holds_token(api, object);
            }
            let quiet = api.requests()[already..]
                .iter()
                .all(|request| !request.verb.writes() || request.code < 400);
            Some(Visited { quiet })
        }
        Err(error) => {
            assert!(!error.to_string().contains(MARK), "{error}");
            None
        }
    }
}

/// The target is an opaque Secret of the object's own with a token in it.
fn holds_token(api: &FakeApi, object: &EdgeCredential) {
    let target: Secret = api
        .get_as(NAMESPACE, object.target_name())
        .expect("the target that was written");
    assert_eq!(target.type_.as_deref(), Some("Opaque"));
    let owners = target.metadata.owner_references.unwrap_or_default();
    let own = owners
        .iter()
        .filter(|owner| Some(&owner.uid) == object.metadata.uid.as_ref());
    assert_eq!(own.count(), 1);
    let data = target.data.unwrap_or_default();
    let entries = object.spec.target.entries();
    assert_eq!(data.len(), entries.len());
    assert!(entries.iter().all(|entry| data.contains_key(&entry.key)));
}

/// Only the target and the object's status are written, and only they and the credentials are read.
fn touched_nothing_else(api: &FakeApi, object: &EdgeCredential, before: &[Secret]) {
    let target = object.target_name();
    let credentials = &object.spec.credentials_secret_ref.name;
    for request in api.requests() {
        let Request {
            verb,
            resource,
            namespace,
            name,
            ..
        } = &request;
        if (*verb, resource.as_str()) == (Verb::Create, "selfsubjectaccessreviews") {
            continue;
        }
        let permitted = match (verb, resource.as_str()) {
            (Verb::Get, "secrets") => name == target || name == credentials,
            (Verb::Create, "secrets") => true,
            (Verb::Update, "secrets") => name == target && target != credentials,
            (Verb::Get, "edgecredentials") | (Verb::Patch, "edgecredentials/status") => {
                name == NAME
            }
            _ => false,
        };
        assert!(permitted && namespace == NAMESPACE, "{request}");
    }
    let is_own = |secret: &Secret| {
        secret
            .metadata
            .owner_references
            .iter()
            .flatten()
            .any(|owner| {
                owner.controller == Some(true) && Some(&owner.uid) == object.metadata.uid.as_ref()
            })
    };
    let after: Vec<Secret> = api.list_as();
    for secret in before.iter().filter(|secret| !is_own(secret)) {
        assert!(
            after.contains(secret),
            "a Secret that is not its own changed"
        );
    }
    let name = |secret: &Secret| secret.metadata.name.clone();
    for secret in &after {
        let was_there = before.iter().any(|other| name(other) == name(secret));
        assert!(was_there || secret.metadata.name.as_deref() == Some(target));
    }
}

fn within_bounds(
    object: &EdgeCredential,
    status: &edge_credential_operator::api::EdgeCredentialStatus,
) {
    let shown = serde_json::to_value(status).expect("a status can be serialised");
    let was = serde_json::to_value(&object.status).expect("a status can be serialised");
    // An API server would not have stored it, unless its schema was another.
    if !was.is_null() && out_of_bounds(&was).is_some() {
        return;
    }
    assert_eq!(out_of_bounds(&shown), None, "{shown}");
    if object.metadata.deletion_timestamp.is_none() {
        assert!(conditions::find(&status.conditions, ConditionType::Ready).is_some());
        for condition in &status.conditions {
            assert_eq!(condition.observed_generation, object.metadata.generation);
        }
    }
    // What a person wrote into the object is repeated in places.
    let written = serde_json::to_string(&object).expect("an object can be serialised");
    if !written.contains(MARK) {
        assert!(!shown.to_string().contains(MARK), "{shown}");
    }
    for condition in &status.conditions {
        if !written.contains(MARK) && !written.contains('\\') {
            assert_harmless(&condition.message);
        }
    }
}

/// Stores the first EdgeCredential of these as an API server without a schema would.
async fn store(client: &Client, objects: Vec<Value>) -> Option<EdgeCredential> {
    let mut object: EdgeCredential = objects.into_iter().find_map(|mut object| {
        let metadata = object
            .as_object_mut()?
            .entry("metadata")
            .or_insert(json!({}));
        // A name, a namespace and a uid are the API server's to give.
        metadata.as_object_mut()?.remove("uid");
        metadata["name"] = NAME.into();
        metadata["namespace"] = NAMESPACE.into();
        object["apiVersion"] = "edgecredentials.io/v1alpha1".into();
        object["kind"] = "EdgeCredential".into();
        serde_json::from_value(object).ok()
    })?;
    object.metadata.resource_version = None;
    let deleted: Option<Time> = object.metadata.deletion_timestamp.take();
    let api = Api::<EdgeCredential>::namespaced(client.clone(), NAMESPACE);
    let mut stored = api.create(&PostParams::default(), &object).await.ok()?;
    if object.status.is_some() {
        stored.status = object.status;
        let status = PostParams::default();
        stored = api.replace_status(NAME, &status, &stored).await.ok()?;
    }
    stored.metadata.deletion_timestamp = deleted;
    Some(stored)
}

/// The Secret that the object names, with the mark in its values. Where its name is none, it is not there.
fn credentials(object: &EdgeCredential) -> Secret {
    let names = &object.spec.credentials_secret_ref;
    let value = STANDARD.encode(MARK);
    let secret = json!({
        "metadata": {"namespace": NAMESPACE, "name": names.name},
        "data": {
            names.client_id_key.clone(): value,
            names.client_secret_key.clone(): value,
        },
    });
    serde_json::from_value(secret).expect("a Secret")
}

/// Creates a Secret, if the API server takes it.
async fn create(client: &Client, secret: &Secret) {
    let api = Api::<Secret>::namespaced(client.clone(), NAMESPACE);
    let _ = api.create(&PostParams::default(), secret).await;
}

fn context(client: Client, endpoint: Endpoint) -> Context {
    let clock = Clock::from_fn(|| NOW);
    Context::new(
        Calls::new(client, Leadership::always(), 16),
        TokenRequests::new(endpoint, clock.clone(), 4),
        allowed(),
        clock,
        RESYNC_PERIOD,
        Arc::default(),
        Arc::default(),
    )
}

fn allowed() -> AllowedOrigins {
    let origins = SITECORE_ORIGINS.iter().map(|origin| origin.parse());
    origins.collect::<Result<_, _>>().expect("origins")
}

/// A token endpoint in memory. It only takes down what it is asked: a panic here would end a task that is watched over.
#[derive(Clone)]
struct Endpoint {
    said: Option<Said>,
    requests: Arc<Mutex<Vec<RequestParameters>>>,
}

impl Endpoint {
    fn new(said: Option<Said>) -> Self {
        Self {
            said,
            requests: Arc::default(),
        }
    }

    fn requests(&self) -> Vec<RequestParameters> {
        self.requests.lock().expect("no panic before").clone()
    }
}

impl TokenSource for Endpoint {
    fn request<'a>(&'a self, request: &'a TokenRequest) -> BoxFuture<'a, Reply> {
        let parameters = &request.parameters;
        let mut requests = self.requests.lock().expect("no panic before");
        requests.push(parameters.clone());
        let said = self.said.clone().unwrap_or_else(|| {
            let claims = json!({"aud": parameters.audience, "sub": MARK}).to_string();
            let token = jwt(b"{}", claims.as_bytes());
            let body = json!({"access_token": token, "token_type": "Bearer", "expires_in": 86_400});
            Said {
                status: 200,
                headers: BTreeMap::new(),
                body: body.to_string(),
            }
        });
        let limits = read_limits(said.status, &said.headers(), None, NOW);
        let answer = Answer {
            status: said.status,
            content_type: Some("application/json"),
            date: None,
            quota: limits.quota,
            body: said.body.as_bytes(),
        };
        let reply = Reply {
            limits,
            ..validate(&answer, parameters, NOW).into()
        };
        async { reply }.boxed()
    }
}
