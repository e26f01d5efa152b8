//! Sitecore's APIs for keys in memory. What they answer can be changed while they run.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use edge_credential_operator::{
    clock::Clock,
    edge_api::{
        Access, ApiError, Call, Cause, EdgeApi, ListedKey, Listing, NewKey, Reply, Verdict,
    },
    http::{Unreachable, rate_limits::Limits},
};
use futures::{FutureExt, future::BoxFuture};
use k8s_openapi::jiff::SignedDuration;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::world::seconds;

/// How long a call takes, unless a test says otherwise.
const LATENCY: Duration = Duration::from_millis(100);

/// How the calls of a client fail, if they do.
type FailureRule = Box<dyn Fn(&str, Call) -> Option<Failure> + Send>;

/// How long the calls of a client take.
type LatencyRule = Box<dyn Fn(&str) -> Duration + Send>;

/// The APIs.
#[derive(Clone)]
pub struct Keys {
    clock: Clock,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    keys: Vec<Made>,
    /// By client and call.
    calls: BTreeMap<(String, &'static str), usize>,
    failures: BTreeMap<&'static str, Failure>,
    failure_rule: Option<FailureRule>,
    latency_rule: Option<LatencyRule>,
    /// The client for which the program panics once a call has been acted on, and the call.
    panics_for: Option<(String, Call)>,
    /// Whether a call that fails acts all the same.
    acts_though_it_fails: bool,
    /// What the Delivery API says of keys that are live, if not that it takes them.
    verdict: Option<Verdict>,
    /// JSON Web Tokens that are refused.
    refused: Vec<String>,
    newest: String,
    /// Which environment the credentials open.
    environment: u32,
}

/// How a call fails.
#[derive(Clone, Copy, Debug)]
pub struct Failure {
    cause: Cause,
    /// How long it takes until the client knows.
    after: Duration,
    /// For how long the answer asks not to be called again.
    hold: Option<SignedDuration>,
}

impl Failure {
    /// The answer has this status.
    pub fn status(status: u16) -> Self {
        Self::from(Cause::Refused { status })
    }

    /// No answer comes.
    pub fn hang() -> Self {
        Self {
            after: seconds(10),
            ..Self::from(Cause::Unreachable(Unreachable::Timeout))
        }
    }

    /// The answer has the status 429, and asks to wait.
    pub fn wait(seconds: i64) -> Self {
        Self {
            hold: Some(SignedDuration::from_secs(seconds)),
            ..Self::from(Cause::RateLimited { quota: None })
        }
    }
}

impl From<Cause> for Failure {
    fn from(cause: Cause) -> Self {
        Self {
            cause,
            after: Duration::ZERO,
            hold: None,
        }
    }
}

/// A key that was made.
#[derive(Clone, Debug)]
pub struct Made {
    pub label: String,
    pub value: String,
    pub is_revoked: bool,
    /// Whose JSON Web Token it was made with.
    client: String,
    environment: u32,
}

/// What opens an API.
#[derive(Clone, Copy)]
enum Opener<'a> {
    Jwt(&'a SecretString),
    Key(&'a SecretString),
}

impl Keys {
    pub fn new(clock: Clock) -> Self {
        let state = Arc::default();
        Self { clock, state }
    }

    /// All keys that were ever made.
    pub fn all(&self) -> Vec<Made> {
        self.state.lock().unwrap().keys.clone()
    }

    /// The values of the keys that work.
    pub fn live(&self) -> Vec<String> {
        let live = self.all().into_iter().filter(|key| !key.is_revoked);
        live.map(|key| key.value).collect()
    }

    /// Has somebody else make a key.
    pub fn add(&self, label: &str) {
        self.state.lock().unwrap().make(label, "somebody else");
    }

    /// Has somebody else revoke a key.
    pub fn revoke(&self, value: &str) {
        let mut state = self.state.lock().unwrap();
        let key = state.keys.iter_mut().find(|key| key.value == value);
        key.expect("the key").is_revoked = true;
    }

    /// How often each call was made since this was asked last.
    pub fn take_calls(&self) -> BTreeMap<&'static str, usize> {
        self.take_calls_of(|_| true)
    }

    /// As [`take_calls`](Self::take_calls), of some clients alone.
    pub fn take_calls_of(&self, is_meant: impl Fn(&str) -> bool) -> BTreeMap<&'static str, usize> {
        let mut state = self.state.lock().unwrap();
        let all = std::mem::take(&mut state.calls);
        let mut taken = BTreeMap::new();
        for ((client, call), count) in all {
            if is_meant(&client) {
                *taken.entry(call).or_default() += count;
            } else {
                state.calls.insert((client, call), count);
            }
        }
        taken
    }

    /// Has a call fail.
    pub fn fail(&self, call: Call, failure: impl Into<Failure>) {
        let mut state = self.state.lock().unwrap();
        state.failures.insert(call.as_str(), failure.into());
    }

    /// Has the calls of some clients fail. Later rules replace earlier ones.
    pub fn fail_by(&self, rule: impl Fn(&str, Call) -> Option<Failure> + Send + 'static) {
        self.state.lock().unwrap().failure_rule = Some(Box::new(rule));
    }

    /// Has the calls of each client take so long.
    pub fn delay_by(&self, rule: impl Fn(&str) -> Duration + Send + 'static) {
        self.state.lock().unwrap().latency_rule = Some(Box::new(rule));
    }

    /// Has the program panic on every such call of a client, after that was acted on; or on none.
    pub fn panic_for(&self, call: Option<(&str, Call)>) {
        let call = call.map(|(client, call)| (client.to_owned(), call));
        self.state.lock().unwrap().panics_for = call;
    }

    /// Has no call fail or take longer any more.
    pub fn recover(&self) {
        let mut state = self.state.lock().unwrap();
        state.failures.clear();
        state.failure_rule = None;
        state.latency_rule = None;
    }

    /// Has the credentials open another environment from now on. The keys of the former one work on there.
    pub fn leave_environment(&self) {
        self.state.lock().unwrap().environment += 1;
    }

    /// Has calls that fail act all the same, or no longer.
    pub fn act_though_failing(&self, acts: bool) {
        self.state.lock().unwrap().acts_though_it_fails = acts;
    }

    /// What the Delivery API says of all keys; of each what is true where there is none.
    pub fn say(&self, verdict: Option<Verdict>) {
        self.state.lock().unwrap().verdict = verdict;
    }

    /// Refuses the JSON Web Token that came last from now on.
    pub fn refuse_newest(&self) {
        let mut state = self.state.lock().unwrap();
        let newest = state.newest.clone();
        state.refused.push(newest);
    }

    fn answer<'a, T: Send + 'a>(
        &'a self,
        call: Call,
        opener: Opener<'a>,
        act: impl FnOnce(&mut State) -> Result<T, Cause> + Send + 'a,
    ) -> BoxFuture<'a, Reply<T>> {
        async move {
            let (client, latency) = {
                let state = self.state.lock().unwrap();
                let client = state.client(opener);
                let latency = state.latency_rule.as_ref().map(|rule| rule(&client));
                (client, latency.unwrap_or(LATENCY))
            };
            tokio::time::sleep(latency).await;
            let (result, failure, panics) = {
                let mut state = self.state.lock().unwrap();
                let calls = state.calls.entry((client.clone(), call.as_str()));
                *calls.or_default() += 1;
                let is_refused = match opener {
                    Opener::Jwt(jwt) => {
                        state.newest = jwt.expose_secret().into();
                        state.refused.contains(&state.newest)
                    }
                    Opener::Key(_) => false,
                };
                let failure = state.failure(&client, call);
                let panics = state.panics_for.as_ref() == Some(&(client, call));
                match failure {
                    _ if is_refused => (Err(Cause::Refused { status: 401 }), None, panics),
                    None => (act(&mut state), None, panics),
                    Some(failure) => {
                        if state.acts_though_it_fails {
                            let _ = act(&mut state);
                        }
                        (Err(failure.cause), Some(failure), panics)
                    }
                }
            };
            assert!(!panics, "on purpose");
            tokio::time::sleep(failure.map_or(Duration::ZERO, |failure| failure.after)).await;
            let limits = Limits {
                hold: failure.and_then(|failure| failure.hold),
                ..Limits::default()
            };
            Reply {
                result: result.map_err(|cause| ApiError { call, cause }),
                limits,
                date: Some(self.clock.now()),
            }
        }
        .boxed()
    }
}

impl State {
    fn make(&mut self, label: &str, client: &str) -> String {
        let value = format!("KEY{}", self.keys.len());
        self.keys.push(Made {
            label: label.into(),
            value: value.clone(),
            is_revoked: false,
            client: client.into(),
            environment: self.environment,
        });
        value
    }

    /// Who calls: whom the JSON Web Token was issued to, or whose key it is.
    fn client(&self, opener: Opener<'_>) -> String {
        match opener {
            Opener::Jwt(jwt) => subject(jwt),
            Opener::Key(value) => {
                let mut keys = self.keys.iter();
                let key = keys.find(|key| key.value == value.expose_secret());
                key.map(|key| key.client.clone()).unwrap_or_default()
            }
        }
    }

    fn failure(&self, client: &str, call: Call) -> Option<Failure> {
        let by_rule = self.failure_rule.as_ref();
        let by_rule = by_rule.and_then(|rule| rule(client, call));
        by_rule.or_else(|| self.failures.get(call.as_str()).copied())
    }
}

/// Whom a JSON Web Token was issued to.
fn subject(jwt: &SecretString) -> String {
    let claims = jwt.expose_secret().split('.').nth(1).expect("claims");
    let claims = URL_SAFE_NO_PAD.decode(claims).expect("base64");
    let claims: Value = serde_json::from_slice(&claims).expect("JSON");
    claims["sub"].as_str().expect("a subject").to_owned()
}

fn hash(value: &str) -> String {
    format!("hash-of-{value}")
}

impl EdgeApi for Keys {
    fn create_key<'a>(
        &'a self,
        access: Access<'a>,
        key: &'a NewKey,
    ) -> BoxFuture<'a, Reply<SecretString>> {
        self.answer(Call::CreateKey, Opener::Jwt(access.jwt), |state| {
            Ok(state.make(&key.label, &subject(access.jwt)).into())
        })
    }

    fn list_keys<'a>(
        &'a self,
        access: Access<'a>,
        prefix: &'a str,
    ) -> BoxFuture<'a, Reply<Listing>> {
        let begun_at = self.clock.now();
        self.answer(Call::ListKeys, Opener::Jwt(access.jwt), move |state| {
            let here = state.environment;
            let keys = state.keys.iter();
            let keys = keys.filter(|key| key.environment == here && key.label.starts_with(prefix));
            let keys = keys.map(|key| ListedKey {
                label: key.label.clone(),
                hash: hash(&key.value),
                is_revoked: key.is_revoked,
                tenant_id: Some("tenant-1".into()),
            });
            let keys = keys.collect();
            Ok(Listing { begun_at, keys })
        })
    }

    fn revoke_key<'a>(&'a self, access: Access<'a>, wanted: &'a str) -> BoxFuture<'a, Reply<()>> {
        self.answer(Call::RevokeKey, Opener::Jwt(access.jwt), move |state| {
            let here = state.environment;
            let mut keys = state.keys.iter_mut();
            let key = keys.find(|key| key.environment == here && hash(&key.value) == wanted);
            key.ok_or(Cause::Refused { status: 404 })?.is_revoked = true;
            Ok(())
        })
    }

    fn obtain_key<'a>(
        &'a self,
        access: Access<'a>,
        environment_id: &'a str,
    ) -> BoxFuture<'a, Reply<SecretString>> {
        self.answer(Call::ObtainKey, Opener::Jwt(access.jwt), |state| {
            Ok(state.make(environment_id, &subject(access.jwt)).into())
        })
    }

    fn probe_key<'a>(
        &'a self,
        _: &'a Url,
        value: &'a SecretString,
    ) -> BoxFuture<'a, Reply<Verdict>> {
        self.answer(Call::ProbeKey, Opener::Key(value), |state| {
            let mut keys = state.keys.iter();
            let is_live = keys.any(|key| key.value == value.expose_secret() && !key.is_revoked);
            Ok(match state.verdict {
                Some(verdict) => verdict,
                None if is_live => Verdict::Accepted,
                None => Verdict::Refused,
            })
        })
    }
}
