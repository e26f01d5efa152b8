//! A workload as a team would write it: it reads the token from the mounted file on each round, and calls the Admin API,
//! the Token API and the Delivery API with it. It does not know that tokens expire.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    convert::Infallible,
    fs, io,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::StatusCode;
use kit::sitecore::Api;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

use crate::volume::TOKEN_KEY;

/// Between two rounds. "Without pause" for a person, and bearable for a machine.
const PAUSE: Duration = Duration::from_millis(50);

/// The APIs that the workload calls.
pub const APIS: [Api; 3] = [Api::Admin, Api::Token, Api::Delivery];

/// Calls of one API.
#[derive(Clone, Copy, Debug, Default)]
pub struct Calls {
    /// Answered with success.
    pub ok: u64,
    /// Answered 401.
    pub refused: u64,
    /// Answered otherwise, or not at all.
    pub failed: u64,
}

/// What the workload has done so far.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Calls of each API that was called.
    calls: BTreeMap<Api, Calls>,
    /// Rounds in which the file held a token that had expired.
    pub expired: u64,
    /// The shortest time that a token had left when it was read, in seconds.
    pub least_left: Option<f64>,
    /// What was wrong with the last call or read that failed.
    pub last_failure: Option<String>,
}

impl Tally {
    /// Calls of an API.
    pub fn of(&self, api: Api) -> Calls {
        self.calls.get(&api).copied().unwrap_or_default()
    }

    /// All calls.
    pub fn calls(&self) -> u64 {
        self.calls
            .values()
            .map(|calls| calls.ok + calls.refused + calls.failed)
            .sum()
    }

    /// Calls answered 401.
    pub fn refused(&self) -> u64 {
        self.calls.values().map(|calls| calls.refused).sum()
    }

    /// Calls that failed otherwise.
    pub fn failed(&self) -> u64 {
        self.calls.values().map(|calls| calls.failed).sum()
    }

    /// Whether each API has answered a call.
    pub fn all_answered(&self) -> bool {
        APIS.iter().all(|api| self.of(*api).ok > 0)
    }

    fn calls_of(&mut self, api: Api) -> &mut Calls {
        self.calls.entry(api).or_default()
    }
}

/// The workload.
pub struct Workload {
    http: Client,
    origin: String,
    file: PathBuf,
    tally: RefCell<Tally>,
}

/// A key for the Delivery API, and the token that it was made with.
struct EdgeKey {
    key: String,
    made_with: String,
}

impl Workload {
    /// A workload that has its Secret mounted at `mount`, and calls the APIs at `origin`.
    pub fn new(http: Client, origin: &str, mount: impl Into<PathBuf>) -> Workload {
        Workload {
            http,
            origin: origin.to_owned(),
            file: mount.into().join(TOKEN_KEY),
            tally: RefCell::default(),
        }
    }

    /// What it has done so far.
    pub fn tally(&self) -> Tally {
        self.tally.borrow().clone()
    }

    /// Calls the APIs for good.
    pub async fn run(&self) -> Infallible {
        let mut key = None;
        loop {
            match self.read() {
                Ok(Some(token)) => self.round(&token, &mut key).await,
                Ok(None) => {}
                Err(error) => self.failed(format!("the token file: {error}")),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The token, or nothing before the Secret is mounted.
    fn read(&self) -> io::Result<Option<String>> {
        let mut result = fs::read_to_string(&self.file);
        if is_missing(&result) {
            // The files were swapped between following the link and opening the file. Once is enough.
            result = fs::read_to_string(&self.file);
        }
        if is_missing(&result) && self.tally.borrow().calls() == 0 {
            return Ok(None);
        }
        let token = result?;
        let mut tally = self.tally.borrow_mut();
        if let Some(left) = seconds_left(&token) {
            if left <= 0.0 {
                tally.expired += 1;
            }
            let least = tally.least_left.map_or(left, |least| least.min(left));
            tally.least_left = Some(least);
        }
        Ok(Some(token))
    }

    async fn round(&self, token: &str, key: &mut Option<EdgeKey>) {
        let settings = self
            .http
            .get(self.url(Api::Admin, "/settings"))
            .bearer_auth(token);
        self.call(Api::Admin, settings).await;

        if key.as_ref().is_none_or(|key| key.made_with != token) {
            let old = key.take();
            *key = self.make_key(token).await;
            if let Some(old) = old {
                let revoke = self
                    .http
                    .put(self.url(Api::Token, "/revokebytoken"))
                    .header("x-gql-token", old.key)
                    .bearer_auth(token);
                self.call(Api::Token, revoke).await;
            }
        } else {
            let list = self
                .http
                .get(self.url(Api::Token, "?pagesize=1"))
                .bearer_auth(token);
            self.call(Api::Token, list).await;
        }

        if let Some(key) = key {
            let query = self
                .http
                .post(self.url(Api::Delivery, ""))
                .header("x-gql-token", &key.key)
                .json(&json!({"query": "{ __typename }"}));
            self.call(Api::Delivery, query).await;
        }
    }

    /// One for each token: one for each round would fill the list of keys.
    async fn make_key(&self, token: &str) -> Option<EdgeKey> {
        let create = self
            .http
            .post(self.url(Api::Token, ""))
            .bearer_auth(token)
            .json(&json!({
                "label": "demo",
                "createdBy": "demo",
                "scopes": ["content-#everything#", "audience-delivery"],
            }));
        let key = self.call(Api::Token, create).await?;
        Some(EdgeKey {
            key,
            made_with: token.to_owned(),
        })
    }

    fn url(&self, api: Api, rest: &str) -> String {
        format!("{}{}{rest}", self.origin, api.path())
    }

    /// Makes a call and counts it. The answer, if it is success.
    async fn call(&self, api: Api, request: RequestBuilder) -> Option<String> {
        let answer = async {
            let response = request.send().await?;
            Ok::<_, reqwest::Error>((response.status(), response.text().await?))
        };
        match answer.await {
            Ok((status, body)) if status.is_success() => {
                self.tally.borrow_mut().calls_of(api).ok += 1;
                return Some(body);
            }
            Ok((StatusCode::UNAUTHORIZED, _)) => {
                self.tally.borrow_mut().calls_of(api).refused += 1;
            }
            Ok((status, _)) => {
                self.tally.borrow_mut().calls_of(api).failed += 1;
                self.failed(format!("{api:?} API: HTTP {status}"));
            }
            Err(error) => {
                self.tally.borrow_mut().calls_of(api).failed += 1;
                self.failed(format!("{api:?} API: {}", crate::chain(&error)));
            }
        }
        None
    }

    fn failed(&self, what: String) {
        self.tally.borrow_mut().last_failure = Some(what);
    }
}

fn is_missing(result: &io::Result<String>) -> bool {
    matches!(result, Err(error) if error.kind() == io::ErrorKind::NotFound)
}

/// The seconds until a token expires, less than 0 once it has. Nothing if it is no token.
pub fn seconds_left(token: &str) -> Option<f64> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&payload).ok()?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Some(claims["exp"].as_f64()? - now.as_secs_f64())
}
