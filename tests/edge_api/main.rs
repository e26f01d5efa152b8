//! Sitecore's APIs for keys over real HTTP and in real time: what is sent, and what is made of each answer.

mod answers;
mod failures;
mod hostile;
mod pages;
mod proxy;
mod requests;
mod tls;

use edge_credential_operator::{
    clock::Clock,
    edge_api::{Access, ApiError, EdgeApi, ListedKey, NewKey, Reply, Verdict, client::HttpEdgeApi},
    http::{
        origin::{AllowedOrigins, Origin},
        route::{Deadlines, HttpClient, Route},
    },
};
use futures::{FutureExt, future::BoxFuture};
use kit::sitecore::{
    AUDIENCE, ApiFailure, Sitecore,
    hostile::{CANARY, PATIENT, SHORT},
};
use reqwest::Url;
use secrecy::SecretString;
use serde_json::Value;

const ID: &str = "client-1";

const TENANT: &str = "tenant-client-1";

const ENVIRONMENT: &str = "environment-1";

/// What the labels of this object's keys begin with.
const PREFIX: &str = "edge-token/uid-1/";

/// The routes of the calls, as the stand-in counts them.
const CREATE: &str = "POST /api/apikey/v1";
const LIST: &str = "GET /api/apikey/v1";
const REVOKE: &str = "PUT /api/apikey/v1/revokebyhash/{hash}";
const OBTAIN: &str = "GET /api/environments/v1/{environment}/obtain-edge-token";
const PROBE: &str = "POST /api/graphql/v1";

/// All calls, by their routes.
const ROUTES: [&str; 5] = [CREATE, LIST, REVOKE, OBTAIN, PROBE];

/// A stand-in with one client and one environment, whose answers have the canary in them, and who calls it.
struct World {
    sitecore: Sitecore,
    /// Where it is called.
    origin: String,
    api: HttpEdgeApi,
    jwt: SecretString,
    key: SecretString,
}

impl World {
    async fn new() -> Self {
        Self::with(PATIENT).await
    }

    async fn with(deadlines: Deadlines) -> Self {
        let sitecore = Sitecore::start().unwrap();
        sitecore.add_client(ID, "secret");
        sitecore.add_environment(ENVIRONMENT, TENANT);
        sitecore.set_error_text(CANARY);
        let jwt = issue_token(&sitecore).await;
        Self {
            origin: sitecore.url().to_owned(),
            api: api(&[sitecore.url()], deadlines),
            // Looks like a key, and is none.
            key: "CANARYkey".into(),
            sitecore,
            jwt,
        }
    }

    /// A world in which the next call of this route fails so.
    async fn failing(route: &str, failure: ApiFailure) -> Self {
        let world = Self::new().await;
        world.sitecore.fail_route(route, 1, failure);
        world
    }

    /// The same world, called at another origin and by another route.
    fn reached(self, origin: &str, route: &Route, deadlines: Deadlines) -> Self {
        Self {
            origin: origin.to_owned(),
            api: api_by(route, &[origin], deadlines),
            ..self
        }
    }

    fn url(&self, path: &str) -> Url {
        format!("{}{path}", self.origin).parse().unwrap()
    }

    async fn create(&self, label: &str) -> Reply<SecretString> {
        let base = self.url("/api/apikey/v1");
        self.api
            .create_key(self.access(&base), &new_key(label))
            .await
    }

    /// All keys of this object, or why they are not known.
    async fn list(&self) -> Result<Vec<ListedKey>, ApiError> {
        let base = self.url("/api/apikey/v1");
        let reply = self.api.list_keys(self.access(&base), PREFIX).await;
        reply.result.map(|listing| listing.keys)
    }

    async fn revoke(&self, hash: &str) -> Result<(), ApiError> {
        let base = self.url("/api/apikey/v1");
        self.api.revoke_key(self.access(&base), hash).await.result
    }

    async fn obtain(&self) -> Result<SecretString, ApiError> {
        let base = self.url("");
        let access = self.access(&base);
        self.api.obtain_key(access, ENVIRONMENT).await.result
    }

    async fn probe(&self, key: &SecretString) -> Result<Verdict, ApiError> {
        let url = self.url("/api/graphql/v1");
        self.api.probe_key(&url, key).await.result
    }

    /// The call of this route, whatever it is about.
    fn call<'a>(&'a self, route: &str) -> BoxFuture<'a, Reply<()>> {
        let base = self.url("/api/apikey/v1");
        match route {
            CREATE => async { forget(self.create("label").await) }.boxed(),
            LIST => {
                async move { forget(self.api.list_keys(self.access(&base), PREFIX).await) }.boxed()
            }
            REVOKE => async move { self.api.revoke_key(self.access(&base), "hash").await }.boxed(),
            OBTAIN => async {
                let base = self.url("");
                let access = self.access(&base);
                forget(self.api.obtain_key(access, ENVIRONMENT).await)
            }
            .boxed(),
            PROBE => async {
                let url = self.url("/api/graphql/v1");
                forget(self.api.probe_key(&url, &self.key).await)
            }
            .boxed(),
            _ => panic!("{route} is no call"),
        }
    }

    fn access<'a>(&'a self, base: &'a Url) -> Access<'a> {
        Access {
            base,
            jwt: &self.jwt,
        }
    }

    /// How often a route was called, with whatever outcome.
    fn calls(&self, route: &str) -> u64 {
        let calls = self.sitecore.calls();
        let of_route = calls.iter().filter(|(called, ..)| *called == route);
        of_route.map(|(.., count)| count).sum()
    }
}

fn forget<T>(reply: Reply<T>) -> Reply<()> {
    Reply {
        result: reply.result.map(|_| ()),
        limits: reply.limits,
        date: reply.date,
    }
}

/// Calls at these origins only.
fn api(origins: &[&str], deadlines: Deadlines) -> HttpEdgeApi {
    api_by(&Route::default(), origins, deadlines)
}

/// Calls at these origins only, by this route.
fn api_by(route: &Route, origins: &[&str], deadlines: Deadlines) -> HttpEdgeApi {
    let allowed: AllowedOrigins = origins
        .iter()
        .map(|origin| origin.parse::<Origin>().unwrap())
        .collect();
    let client = HttpClient::new(route, deadlines).unwrap();
    HttpEdgeApi::new(allowed, client, Clock::system())
}

fn new_key(label: &str) -> NewKey {
    NewKey {
        created_by: "edge-credential-operator".into(),
        label: label.into(),
        scopes: vec!["audience-delivery".into(), "content-#everything#".into()],
    }
}

/// A token of the client.
async fn issue_token(sitecore: &Sitecore) -> SecretString {
    let form = [
        ("grant_type", "client_credentials"),
        ("audience", AUDIENCE),
        ("client_id", ID),
        ("client_secret", "secret"),
    ];
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.post(sitecore.token_url()).form(&form);
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    answer["access_token"].as_str().unwrap().into()
}

/// An answer with this status and body.
fn raw(status: u16, body: impl Into<Vec<u8>>) -> ApiFailure {
    ApiFailure::Raw {
        status,
        headers: vec![("content-type".into(), "application/json".into())],
        body: body.into(),
    }
}

#[track_caller]
fn assert_harmless(shown: &str) {
    assert!(!shown.contains(CANARY), "{shown}");
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
}
