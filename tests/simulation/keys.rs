//! Sitecore's APIs for keys in memory. What they answer can be changed while they run.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use edge_credential_operator::{
    clock::Clock,
    edge_api::{
        Access, ApiError, Call, Cause, EdgeApi, ListedKey, Listing, NewKey, Reply, Verdict,
    },
    http::limits::Limits,
};
use futures::{FutureExt, future::BoxFuture};
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
    failures: BTreeMap<&'static str, Cause>,
    /// Whether a call that fails acts all the same.
    acts_though_it_fails: bool,
    /// What the Delivery API says of keys that are live, if not that it takes them.
    verdict: Option<Verdict>,
    /// JSON Web Tokens that are refused.
    refused: Vec<String>,
    newest: String,
}

/// A key that was made.
#[derive(Clone, Debug)]
pub struct Made {
    pub label: String,
    pub value: String,
    pub is_revoked: bool,
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

    /// Has a call fail, or no longer.
    pub fn fail(&self, call: Call, cause: Option<Cause>) {
        let mut state = self.state.lock().unwrap();
        match cause {
            Some(cause) => state.failures.insert(call.as_str(), cause),
            None => state.failures.remove(call.as_str()),
        };
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
            let mut state = self.state.lock().unwrap();
            *state.calls.entry(call.as_str()).or_default() += 1;
            if let Some(jwt) = jwt {
                state.newest = jwt.expose_secret().into();
            }
            let is_refused = jwt.is_some_and(|jwt| {
                let refused = state.refused.iter();
                refused.into_iter().any(|text| text == jwt.expose_secret())
            });
            let result = if is_refused {
                Err(Cause::Refused { status: 401 })
            } else if let Some(cause) = state.failures.get(call.as_str()).copied() {
                if state.acts_though_it_fails {
                    let _ = act(&mut state);
                }
                Err(cause)
            } else {
                act(&mut state)
            };
            Reply {
                result: result.map_err(|cause| ApiError { call, cause }),
                limits: Limits::default(),
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
            let keys = state.keys.iter();
            let keys = keys.filter(|key| key.label.starts_with(prefix));
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
            let mut keys = state.keys.iter_mut();
            let key = keys.find(|key| hash(&key.value) == wanted);
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
