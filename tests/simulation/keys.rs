//! Sitecore's APIs for keys in memory. What they answer can be changed while they run.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use edge_credential_operator::{
    clock::Clock,
    edge_api::{
        Access, ApiError, Call, Cause, EdgeApi, ListedKey, Listing, NewKey, Reply, Verdict,
    },
    http::{Unreachable, limits::Limits},
};
use futures::{FutureExt, future::BoxFuture};
use k8s_openapi::jiff::SignedDuration;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

use crate::world::seconds;

/// The APIs.
#[derive(Clone)]
pub struct Keys {
    clock: Clock,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    keys: Vec<Made>,
    calls: BTreeMap<&'static str, usize>,
    failures: BTreeMap<&'static str, Failure>,
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
    environment: u32,
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
        self.state.lock().unwrap().make(label);
    }

    /// Has somebody else revoke a key.
    pub fn revoke(&self, value: &str) {
        let mut state = self.state.lock().unwrap();
        let key = state.keys.iter_mut().find(|key| key.value == value);
        key.expect("the key").is_revoked = true;
    }

    /// How often each call was made since this was asked last.
    pub fn take_calls(&self) -> BTreeMap<&'static str, usize> {
        std::mem::take(&mut self.state.lock().unwrap().calls)
    }

    /// Has a call fail.
    pub fn fail(&self, call: Call, failure: impl Into<Failure>) {
        let mut state = self.state.lock().unwrap();
        state.failures.insert(call.as_str(), failure.into());
    }

    /// Has no call fail any longer.
    pub fn recover(&self) {
        self.state.lock().unwrap().failures.clear();
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
        jwt: Option<&'a SecretString>,
        act: impl FnOnce(&mut State) -> Result<T, Cause> + Send + 'a,
    ) -> BoxFuture<'a, Reply<T>> {
        async move {
            tokio::time::sleep(seconds(1) / 10).await;
            let (result, failure) = {
                let mut state = self.state.lock().unwrap();
                *state.calls.entry(call.as_str()).or_default() += 1;
                if let Some(jwt) = jwt {
                    state.newest = jwt.expose_secret().into();
                }
                let is_refused = jwt.is_some_and(|jwt| {
                    let mut refused = state.refused.iter();
                    refused.any(|text| text == jwt.expose_secret())
                });
                let failure = state.failures.get(call.as_str()).copied();
                match failure {
                    _ if is_refused => (Err(Cause::Refused { status: 401 }), None),
                    None => (act(&mut state), None),
                    Some(failure) => {
                        if state.acts_though_it_fails {
                            let _ = act(&mut state);
                        }
                        (Err(failure.cause), Some(failure))
                    }
                }
            };
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
    fn make(&mut self, label: &str) -> String {
        let value = format!("KEY{}", self.keys.len());
        self.keys.push(Made {
            label: label.into(),
            value: value.clone(),
            is_revoked: false,
            environment: self.environment,
        });
        value
    }
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
        self.answer(Call::CreateKey, Some(access.jwt), |state| {
            Ok(state.make(&key.label).into())
        })
    }

    fn list_keys<'a>(
        &'a self,
        access: Access<'a>,
        prefix: &'a str,
    ) -> BoxFuture<'a, Reply<Listing>> {
        let begun_at = self.clock.now();
        self.answer(Call::ListKeys, Some(access.jwt), move |state| {
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
        self.answer(Call::RevokeKey, Some(access.jwt), move |state| {
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
        self.answer(Call::ObtainKey, Some(access.jwt), |state| {
            Ok(state.make(environment_id).into())
        })
    }

    fn probe_key<'a>(
        &'a self,
        _: &'a Url,
        value: &'a SecretString,
    ) -> BoxFuture<'a, Reply<Verdict>> {
        self.answer(Call::ProbeKey, None, |state| {
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
