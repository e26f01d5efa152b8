//! A cluster in memory, a token endpoint in memory and the operator's real controllers, on tokio's paused clock.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::Parser;
use edge_credential_operator::{
    api::{ConditionType, EdgeCredential, EdgeToken, conditions},
    clock::Clock,
    cluster::leadership::Leadership,
    http::{Unreachable, rate_limits::Limits},
    oauth::{Reply, Token, TokenError, TokenRequest, TokenSource},
    operator::{
        admin::Readiness,
        definition::CrdPresence,
        endpoints::EndpointCollector,
        events::Events,
        exposition::prometheus_text,
        flags::{Cli, Command, Settings},
        key_metrics::KeyCollector,
        metrics::{Metrics, ObjectCollector},
        run::{Controllers, Surroundings, build_controllers},
    },
};
use futures::{
    FutureExt,
    future::{BoxFuture, join_all},
};
use k8s_openapi::{
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::Condition,
    jiff::{SignedDuration, Timestamp},
};
use kit::fake_api::{FakeApi, Fault, Verb};
use kube::Resource;
use prometheus_client::registry::Registry;
use secrecy::ExposeSecret;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::keys::Keys;

pub const NAMESPACE: &str = "storefront";

const AUDIENCE: &str = "https://api.sitecorecloud.io";

/// Everything a simulation happens in.
pub struct World {
    /// How many seconds the wall clock was set forward in all.
    jumped: Arc<AtomicI64>,
    pub api: FakeApi,
    pub endpoint: Endpoint,
    pub keys: Keys,
    pub clock: Clock,
    /// Whether the CustomResourceDefinition is there, as the operator that was started last knows.
    pub crd: CrdPresence,
    /// Whether the operator that was started last says that it is ready.
    pub readiness: Readiness,
    /// The namespaces that operators watch which are started from now on; all where there is none.
    pub namespaces: Vec<String>,
    /// The metrics of the operator that was started last.
    pub registry: Registry,
    /// Of the operators that are started from now on.
    pub leadership: Leadership,
    operator: Option<Running>,
}

struct Running {
    stop: oneshot::Sender<()>,
    work: JoinHandle<()>,
}

impl World {
    pub fn new() -> Self {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let started = Instant::now();
        let jumped = Arc::new(AtomicI64::new(0));
        let jumps = jumped.clone();
        let clock = Clock::from_fn(move || {
            let elapsed = SignedDuration::try_from(started.elapsed()).expect("a short simulation");
            start + elapsed + SignedDuration::from_secs(jumps.load(Ordering::Relaxed))
        });
        Self {
            jumped,
            api: FakeApi::with_clock({
                let clock = clock.clone();
                move || clock.now()
            }),
            endpoint: Endpoint::new(clock.clone()),
            keys: Keys::new(clock.clone()),
            clock,
            crd: CrdPresence::of::<EdgeCredential>(),
            readiness: Readiness::of([], CrdPresence::of::<EdgeCredential>()),
            namespaces: Vec::new(),
            registry: Registry::default(),
            leadership: Leadership::always(),
            operator: None,
        }
    }

    /// Sets the wall clock forward, or back, without any time passing: a suspended machine, a corrected clock.
    pub fn jump(&self, by: SignedDuration) {
        self.jumped.fetch_add(by.as_secs(), Ordering::Relaxed);
    }

    /// Starts the operator as a new process would: nothing is remembered from before.
    pub fn start_operator(&mut self) {
        let client = self.api.client();
        let (stop, stopped) = oneshot::channel();
        self.registry = Registry::default();
        let metrics = Metrics::register(&mut self.registry, self.clock.clone());
        metrics.leads();
        let (events, publisher) = Events::new(
            client.clone(),
            self.leadership.clone(),
            self.clock.clone(),
            metrics.clone(),
        );
        let surroundings = Surroundings {
            clock: self.clock.clone(),
            leadership: self.leadership.clone(),
            events,
            metrics,
        };
        let settings = Settings {
            namespaces: self.namespaces.clone(),
            ..settings()
        };
        let Controllers {
            work,
            watches,
            crd,
            edge_credentials,
            edge_tokens,
        } = build_controllers(
            client,
            &settings,
            (self.endpoint.clone(), self.keys.clone()),
            surroundings,
            stopped.map(drop).shared(),
        );
        self.readiness = Readiness::of(watches, crd.clone());
        self.crd = crd;
        self.registry
            .register_collector(Box::new(ObjectCollector(edge_credentials.clone())));
        self.registry
            .register_collector(Box::new(KeyCollector(edge_tokens)));
        self.registry
            .register_collector(Box::new(EndpointCollector {
                edge_credentials,
                allowed: settings.allowed_token_origins.into_iter().collect(),
            }));
        let work = tokio::spawn(async move {
            tokio::join!(join_all(work), publisher);
        });
        self.operator = Some(Running { stop, work });
    }

    /// Ends the operator as SIGTERM does.
    pub async fn stop_operator(&mut self) {
        let Running { stop, work } = self.operator.take().expect("the operator runs");
        stop.send(()).expect("the operator listens");
        work.await.expect("the operator ends well");
    }

    /// Ends the operator as SIGKILL does: nothing is finished.
    pub async fn kill_operator(&mut self) {
        let Running { work, .. } = self.operator.take().expect("the operator runs");
        work.abort();
        work.await.expect_err("it was aborted");
    }

    pub async fn restart_operator(&mut self) {
        self.stop_operator().await;
        self.start_operator();
    }

    /// Adds client credentials and an EdgeCredential that uses them. The client has the name of the object.
    pub fn add(&self, name: &str, spec: serde_json::Value) -> EdgeCredential {
        self.put_credentials(name, "secret");
        self.add_object(NAMESPACE, name, spec)
    }

    /// As [`add`](Self::add), in another namespace.
    pub fn add_in(&self, namespace: &str, name: &str, spec: serde_json::Value) -> EdgeCredential {
        self.put_credentials_of(namespace, name, name, "secret");
        self.add_object(namespace, name, spec)
    }

    /// Adds an EdgeCredential of a tenant, and its client credentials.
    pub fn add_tenants(&self, namespace: &str, name: &str, client: &str, spec: serde_json::Value) {
        self.put_credentials_of(namespace, name, client, "secret");
        self.add_object(namespace, name, spec);
    }

    /// Adds an EdgeCredential whose credentials are there or will be.
    pub fn add_object(
        &self,
        namespace: &str,
        name: &str,
        spec: serde_json::Value,
    ) -> EdgeCredential {
        let usual = json!({
            "credentialsSecretRef": {"name": credentials(name)},
            "target": {"name": target(name)},
        });
        self.apply(namespace, name, usual, &spec)
    }

    /// Adds client credentials and an EdgeToken that uses them. Its target has its name.
    pub fn add_key(&self, namespace: &str, name: &str, client: &str, spec: serde_json::Value) {
        self.put_credentials_of(namespace, name, client, "secret");
        self.add_key_object(namespace, name, spec);
    }

    /// Adds an EdgeToken whose credentials are there or will be: those of an EdgeCredential of its name.
    pub fn add_key_object(
        &self,
        namespace: &str,
        name: &str,
        spec: serde_json::Value,
    ) -> EdgeToken {
        let usual = json!({"credentialsSecretRef": {"name": credentials(name)}});
        self.apply(namespace, name, usual, &spec)
    }

    /// Adds an object with the usual spec, but for the fields that are in `spec`.
    fn apply<K>(
        &self,
        namespace: &str,
        name: &str,
        usual: serde_json::Value,
        spec: &serde_json::Value,
    ) -> K
    where
        K: Resource<DynamicType = ()> + Serialize + DeserializeOwned,
    {
        let mut object = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": {"namespace": namespace, "name": name},
            "spec": usual,
        });
        for (field, value) in spec.as_object().expect("a spec is an object") {
            object["spec"][field] = value.clone();
        }
        self.api
            .apply_object::<K>(&serde_json::from_value(object).expect("a valid object"))
    }

    /// Deletes an EdgeCredential and what belongs to it, as the garbage collector would.
    pub fn delete(&self, namespace: &str, name: &str) {
        self.api.delete_object::<EdgeCredential>(namespace, name);
        self.api.delete_object::<Secret>(namespace, &target(name));
        self.api
            .delete_object::<Secret>(namespace, &credentials(name));
    }

    /// Whether the target of a tenant's object holds a token that is valid.
    pub fn has_token(&self, namespace: &str, name: &str) -> bool {
        self.has_token_for(namespace, name, Duration::ZERO)
    }

    /// Whether the target of a tenant's object holds a token that is valid for longer than this.
    pub fn has_token_for(&self, namespace: &str, name: &str, time: Duration) -> bool {
        let object: Option<EdgeCredential> = self.api.get_as(namespace, name);
        let status = object.and_then(|object| object.status);
        let token = status.and_then(|status| status.token);
        token.is_some_and(|token| self.clock.now() + time < token.expires_at.0)
            && self
                .api
                .get_as::<Secret>(namespace, &target(name))
                .is_some()
    }

    /// Creates or replaces the client credentials of an EdgeCredential.
    pub fn put_credentials(&self, name: &str, secret: &str) {
        self.put_credentials_of(NAMESPACE, name, name, secret);
    }

    /// Creates or replaces the client credentials of a tenant's EdgeCredential.
    pub fn put_credentials_of(&self, namespace: &str, name: &str, client: &str, secret: &str) {
        let secret: Secret = serde_json::from_value(json!({
            "metadata": {"namespace": namespace, "name": credentials(name)},
            "type": "Opaque",
            "data": {
                "client_id": base64(client),
                "client_secret": base64(secret),
            },
        }))
        .unwrap();
        self.api.apply_object(&secret);
    }

    /// Gives the credentials of an EdgeCredential a label: another version with the same content.
    pub fn touch_credentials(&self, name: &str, label: &str) {
        self.touch(&credentials(name), label);
    }

    /// Gives a Secret a label: another version with the same content.
    pub fn touch(&self, secret: &str, label: &str) {
        self.api.edit::<Secret>(NAMESPACE, secret, |secret| {
            secret["metadata"]["labels"]["touched"] = json!(label);
        });
    }

    pub fn object(&self, name: &str) -> EdgeCredential {
        self.api
            .get_as(NAMESPACE, name)
            .expect("the EdgeCredential")
    }

    pub fn secret(&self, name: &str) -> Option<Secret> {
        self.api.get_as(NAMESPACE, &target(name))
    }

    pub fn edge_token(&self, namespace: &str, name: &str) -> EdgeToken {
        self.api.get_as(namespace, name).expect("the EdgeToken")
    }

    /// The key in the target of an EdgeToken, if it is there.
    pub fn key(&self, namespace: &str, name: &str) -> Option<String> {
        let secret: Secret = self.api.get_as(namespace, name)?;
        let value = secret.data?.remove("SITECORE_API_KEY")?;
        Some(String::from_utf8(value.0).expect("a key is text"))
    }

    /// Has a person ask something of an EdgeToken.
    pub fn ask_key(&self, namespace: &str, name: &str, annotation: &str, value: &str) {
        self.api.edit::<EdgeToken>(namespace, name, |object| {
            object["metadata"]["annotations"][annotation] = json!(value);
        });
    }

    /// Has every call of the Kubernetes API but lists and watches take this long.
    pub fn delay_calls(&self, by: Duration) {
        self.api.on_request(move |request| match request.verb {
            Verb::List | Verb::Watch => Fault::None,
            _ => Fault::Delay(by),
        });
    }

    /// All metrics.
    pub fn metrics(&self) -> String {
        prometheus_text(&self.registry).expect("metrics")
    }

    /// A metric, by its name and labels.
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.metrics();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
            .unwrap_or_else(|| panic!("{name} is not in {text}"));
        value.parse().expect("a number")
    }

    /// Whether a condition is true, and its reason.
    pub fn condition(&self, name: &str, type_: ConditionType) -> (bool, String) {
        let status = self.object(name).status.unwrap_or_default();
        state_of(&status.conditions, type_)
    }

    /// As [`condition`](Self::condition), of an EdgeToken.
    pub fn key_condition(
        &self,
        namespace: &str,
        name: &str,
        type_: ConditionType,
    ) -> (bool, String) {
        let status = self.edge_token(namespace, name).status.unwrap_or_default();
        state_of(&status.conditions, type_)
    }
}

fn state_of(conditions: &[Condition], type_: ConditionType) -> (bool, String) {
    let condition = conditions::find(conditions, type_);
    condition.map_or((false, String::new()), |condition| {
        (condition.status == "True", condition.reason.clone())
    })
}

pub fn target(name: &str) -> String {
    format!("{name}-jwt")
}

pub fn credentials(name: &str) -> String {
    format!("{name}-client")
}

pub fn days(days: u64) -> Duration {
    hours(24 * days)
}

pub fn hours(hours: u64) -> Duration {
    Duration::from_secs(3600 * hours)
}

pub const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Lets the simulated time pass.
pub async fn pass(time: Duration) {
    sleep(time).await;
}

fn settings() -> Settings {
    match Cli::parse_from(["edge-credential-operator", "run"]).command {
        Command::Run(settings) => *settings,
        Command::Crd | Command::Check { .. } => unreachable!("it says run"),
    }
}

fn base64(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// What a token endpoint does with one request.
#[derive(Clone, Debug, Default)]
pub struct Behaviour {
    /// How long the answer takes. The usual time where there is none.
    pub after: Option<Duration>,
    /// Why there is no token, if there is none.
    pub failure: Option<TokenError>,
    /// What the answer says of limits.
    pub limits: Limits,
}

impl Behaviour {
    /// The endpoint takes the request and never answers.
    pub fn hang() -> Self {
        Self {
            after: Some(Duration::from_secs(10)),
            failure: Some(TokenError::Unreachable(Unreachable::Timeout)),
            ..Self::default()
        }
    }

    /// The endpoint answers with an error.
    pub fn fail(failure: TokenError) -> Self {
        Self {
            failure: Some(failure),
            ..Self::default()
        }
    }
}

type Rule = Box<dyn Fn(&TokenRequest, Timestamp) -> Option<Behaviour> + Send>;

/// A token endpoint in memory. What it answers can be changed while it runs.
#[derive(Clone)]
pub struct Endpoint {
    clock: Clock,
    state: Arc<Mutex<State>>,
}

struct State {
    lifetime: SignedDuration,
    latency: Duration,
    /// What it does with requests that are not answered in the usual way.
    rule: Rule,
    failure: Option<TokenError>,
    /// Clients that fail on their own.
    failing: BTreeMap<String, TokenError>,
    /// What every answer says of limits.
    limits: Limits,
    issued: usize,
    /// Whether a client gets the same token until that expires.
    repeats: bool,
    given: BTreeMap<String, Token>,
    /// The client whose requests make the program panic.
    panics_for: Option<String>,
    /// When requests came, by client id.
    requests: BTreeMap<String, Vec<Timestamp>>,
}

impl Endpoint {
    fn new(clock: Clock) -> Self {
        Self {
            clock,
            state: Arc::new(Mutex::new(State {
                lifetime: SignedDuration::from_hours(24),
                latency: Duration::from_millis(200),
                rule: Box::new(|_, _| None),
                failure: None,
                failing: BTreeMap::new(),
                limits: Limits::default(),
                issued: 0,
                repeats: false,
                given: BTreeMap::new(),
                panics_for: None,
                requests: BTreeMap::new(),
            })),
        }
    }

    /// Has every request fail so, or none.
    pub fn fail(&self, failure: Option<TokenError>) {
        self.state.lock().unwrap().failure = failure;
    }

    /// Has every client get the same token until that expires.
    pub fn repeat(&self) {
        self.state.lock().unwrap().repeats = true;
    }

    /// Has the requests of one client fail so.
    pub fn fail_client(&self, client_id: &str, failure: TokenError) {
        let mut state = self.state.lock().unwrap();
        state.failing.insert(client_id.into(), failure);
    }

    /// Has the program panic on every request of a client, or of none.
    pub fn panic_for(&self, client_id: Option<&str>) {
        self.state.lock().unwrap().panics_for = client_id.map(Into::into);
    }

    /// Has every answer say this of limits.
    pub fn set_limits(&self, limits: Limits) {
        self.state.lock().unwrap().limits = limits;
    }

    /// Has some requests treated otherwise than usual. Later rules replace earlier ones.
    pub fn behave(
        &self,
        rule: impl Fn(&TokenRequest, Timestamp) -> Option<Behaviour> + Send + 'static,
    ) {
        self.state.lock().unwrap().rule = Box::new(rule);
    }

    /// Has an origin take connections and not answer.
    pub fn hang(&self, origin: &'static str) {
        self.behave(move |request, _| {
            let is_there = request.parameters.token_url.origin().ascii_serialization() == origin;
            is_there.then(Behaviour::hang)
        });
    }

    /// Has every answer take this long.
    pub fn set_latency(&self, latency: Duration) {
        self.state.lock().unwrap().latency = latency;
    }

    /// How many tokens were issued.
    pub fn issued(&self) -> usize {
        self.state.lock().unwrap().issued
    }

    pub fn set_lifetime(&self, lifetime: SignedDuration) {
        self.state.lock().unwrap().lifetime = lifetime;
    }

    /// When the requests of a client came.
    pub fn requests(&self, client_id: &str) -> Vec<Timestamp> {
        self.state
            .lock()
            .unwrap()
            .requests
            .get(client_id)
            .cloned()
            .unwrap_or_default()
    }

    pub fn total_requests(&self) -> usize {
        self.state
            .lock()
            .unwrap()
            .requests
            .values()
            .map(Vec::len)
            .sum()
    }
}

impl TokenSource for Endpoint {
    fn request<'a>(&'a self, request: &'a TokenRequest) -> BoxFuture<'a, Reply> {
        let client_id = request.credentials.client_id.expose_secret().to_owned();
        let now = self.clock.now();
        let (reply, latency, panics) = {
            let mut state = self.state.lock().unwrap();
            let requests = state.requests.entry(client_id.clone()).or_default();
            requests.push(now);
            let number = requests.len();
            let issued_at = Timestamp::from_second(now.as_second()).unwrap();
            let behaviour = (state.rule)(request, now);
            let failure = state.failure.as_ref().or(state.failing.get(&client_id));
            let failure = match &behaviour {
                Some(behaviour) => behaviour.failure.as_ref(),
                None => failure,
            };
            let result = match failure.cloned() {
                Some(failure) => Err(failure),
                None if state.repeats
                    && let Some(given) = state.given.get(&client_id)
                    && now < given.expires_at =>
                {
                    Ok(Token {
                        issued_at,
                        ..given.clone()
                    })
                }
                None => {
                    state.issued += 1;
                    let token = Token {
                        access_token: jwt(&client_id, number).into(),
                        scope: None,
                        tenant_id: None,
                        organization_id: None,
                        issued_at,
                        expires_at: issued_at + state.lifetime,
                    };
                    state.given.insert(client_id.clone(), token.clone());
                    Ok(token)
                }
            };
            let reply = Reply {
                result,
                limits: behaviour
                    .as_ref()
                    .map_or(state.limits, |behaviour| behaviour.limits),
                clock_skew: Some(SignedDuration::ZERO),
            };
            let panics = state.panics_for.as_ref() == Some(&client_id);
            let after = behaviour.and_then(|behaviour| behaviour.after);
            (reply, after.unwrap_or(state.latency), panics)
        };
        async move {
            sleep(latency).await;
            assert!(!panics, "on purpose");
            reply
        }
        .boxed()
    }
}

/// A token in the form of a JWT: the operator does not verify signatures.
fn jwt(client_id: &str, number: usize) -> String {
    let part = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
    format!(
        "{}.{}.{}",
        part(json!({"alg": "RS256"})),
        part(json!({"aud": AUDIENCE, "sub": client_id, "jti": number})),
        URL_SAFE_NO_PAD.encode("signature")
    )
}
