//! A stand-in for Sitecore's token endpoint, Token API, Admin API, Deploy API and Delivery API, on loopback.
//!
//! It behaves as the public documentation and public client code say the services behave. Tokens are real JWTs,
//! signed with RS256, and each API call checks the one it is sent: signature, issuer, audience and expiry, against
//! the system clock and with no leeway. On top of that a test decides [how the token endpoint answers](Scenario) and
//! [when an API fails](ApiFailure), and reads what was asked: never a secret, always exact numbers.
//!
//! ```no_run
//! # fn main() -> std::io::Result<()> {
//! use kit::sitecore::{Scenario, Sitecore};
//!
//! let sitecore = Sitecore::start()?;
//! sitecore.add_client("my-client", "my-secret");
//! sitecore.next("my-client", 2, Scenario::server_error());
//! // … let the operator ask sitecore.token_url() …
//! assert_eq!(sitecore.requests("my-client"), 3);
//! assert_eq!(sitecore.issued("my-client"), 1);
//! # Ok(())
//! # }
//! ```
//!
//! - `POST /oauth/token` and `GET /.well-known/jwks.json`
//! - `/api/apikey/v1`: the Token API
//! - `/api/admin/v1`: the Admin API
//! - `/api/environments/v1`: the Deploy API
//! - `POST /api/graphql/v1`: the Delivery API

mod access;
mod admin_api;
mod clients;
mod delivery_api;
mod deploy_api;
pub mod hostile;
mod jwt;
mod record;
mod scenario;
mod server;
mod tls;
mod token_api;
mod token_endpoint;
mod wire;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::{digest, rand};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::fmt::rfc2822;
use serde_json::json;
use tokio::sync::watch;

pub use admin_api::Deleted;
pub use clients::{AUDIENCE, Client};
pub use delivery_api::{DeliveryStyle, Refusal};
pub use deploy_api::Environment;
pub use jwt::{CLAIMS_PREFIX, Claims};
pub use record::{
    Api, BodyFormat, CallCounts, ClientAuthentication, IssuedToken, NO_ANSWER, RecordedRequest,
};
pub use scenario::{Member, OAuthError, RetryAfter, Scenario, TokenShape, Withheld, gzip};
pub use server::{ApiFailure, RateHeaders};
pub use tls::{Certificate, TlsFront};
pub use token_api::{EdgeKey, TokenApiStyle};
pub use wire::{End, Wire};

use crate::control_plane::free_port;

/// A running stand-in. Dropping it closes its socket and all connections.
pub struct Sitecore {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: Mutex<Option<server::Server>>,
}

impl Sitecore {
    /// Starts on a free port of 127.0.0.1, in a thread with a runtime of its own. There are no clients yet.
    pub fn start() -> io::Result<Self> {
        // No connection takes it while the stand-in is down.
        let port = free_port().map_err(io::Error::other)?;
        Self::start_on((Ipv4Addr::LOCALHOST, port))
    }

    /// Starts on this address, or on the first of several that can be had.
    pub fn start_on(addresses: impl ToSocketAddrs) -> io::Result<Self> {
        jwt::make_key();
        let listener = TcpListener::bind(addresses)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            url: format!("http://{address}"),
            clock_offset: AtomicI64::new(0),
            wire_bytes: AtomicU64::new(0),
            state: Mutex::default(),
        });
        let server = server::Server::start(listener, router(shared.clone()))?;
        Ok(Self {
            address,
            shared,
            server: Mutex::new(Some(server)),
        })
    }

    /// The origin of all routes, such as `http://127.0.0.1:40123`, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// Where tokens are to be had.
    pub fn token_url(&self) -> String {
        format!("{}/oauth/token", self.url())
    }

    /// Closes the socket and all connections: from now on connections are refused. Nothing is forgotten.
    pub fn go_down(&self) {
        locked(&self.server).take();
    }

    /// Listens again on the same port after [`go_down`](Self::go_down).
    pub fn come_back(&self) -> io::Result<()> {
        let mut server = locked(&self.server);
        if server.is_none() {
            let listener = TcpListener::bind(self.address)?;
            *server = Some(server::Server::start(
                listener,
                router(self.shared.clone()),
            )?);
        }
        Ok(())
    }

    /// Moves the stand-in's clock by so many seconds: `iat`, `exp`, the header `Date`, and what counts as expired.
    pub fn set_clock_offset(&self, seconds: i64) {
        self.shared.clock_offset.store(seconds, Ordering::Relaxed);
    }

    /// Puts this text into every error's description and body, so that a test can look for it in the wrong places.
    pub fn set_error_text(&self, text: impl Into<String>) {
        self.shared.lock().error_text = text.into();
    }
}

/// Clients.
impl Sitecore {
    /// Adds a client, or gives the one with this id its defaults again. Counts and scenarios stay.
    pub fn add_client(&self, id: &str, secret: &str) {
        self.shared.lock().clients.entry(id).client = Some(Client::new(id, secret));
    }

    /// Changes what a client may ask for and what its tokens say. Does nothing where there is no such client.
    pub fn configure(&self, id: &str, change: impl FnOnce(&mut Client)) {
        if let Some(client) = &mut self.shared.lock().clients.entry(id).client {
            change(client);
        }
    }

    /// Lets a client ask for one more audience.
    pub fn allow_audience(&self, id: &str, audience: &str) {
        self.configure(id, |client| client.audiences.push(audience.into()));
    }

    /// Sets how long a client's tokens live, in whole seconds.
    pub fn set_lifetime(&self, id: &str, lifetime: Duration) {
        self.configure(id, |client| client.lifetime = lifetime);
    }

    /// Gives a client another secret; the old ones are accepted for a while (at Auth0 for up to 30 seconds).
    pub fn rotate_secret(&self, id: &str, secret: &str, both_valid_for: Duration) {
        self.configure(id, |client| client.rotate(secret, both_valid_for));
    }

    /// Removes a client. Tokens it got stay valid until they expire; its counts stay readable.
    pub fn remove_client(&self, id: &str) {
        self.shared.lock().clients.entry(id).client = None;
    }
}

/// Failures.
impl Sitecore {
    /// Answers this client so from now on. The client need not exist.
    pub fn set_scenario(&self, id: &str, scenario: Scenario) {
        self.shared.lock().clients.entry(id).scenario = Some(scenario);
    }

    /// Answers this client as all others again. What is queued for its [`next`](Self::next) requests stays.
    pub fn forget_scenario(&self, id: &str) {
        self.shared.lock().clients.entry(id).scenario = None;
    }

    /// Answers the next `requests` of this client so, after those that were queued before, and then as otherwise set.
    pub fn next(&self, id: &str, requests: u64, scenario: Scenario) {
        let mut state = self.shared.lock();
        state.clients.entry(id).next.push_back((requests, scenario));
    }

    /// Withholds the answers to the next `requests` of this client, as [`next`](Self::next) counts them: what a test does
    /// until it releases them happens while the client waits, however fast the machine is.
    pub fn withhold(&self, id: &str, requests: u64) -> Withheld {
        let (answers, released) = watch::channel(());
        self.next(id, requests, Scenario::Withheld(released));
        Withheld(answers)
    }

    /// Answers all clients so that have no scenario of their own.
    pub fn set_scenario_for_all(&self, scenario: Scenario) {
        self.shared.lock().clients.scenario = scenario;
    }

    /// Ends all scenarios of the token endpoint.
    pub fn back_to_normal(&self) {
        self.shared.lock().clients.forget_scenarios();
    }

    /// Fails the next `calls` of an API, in place of those asked for before.
    pub fn fail_api(&self, api: Api, calls: u64, failure: ApiFailure) {
        self.fail(Failing::Api(api), calls, failure);
    }

    /// Fails the next `calls` of one route, such as `POST /api/apikey/v1`, in place of those asked for before. It goes before what
    /// is asked for of the whole API. The routes are those of [`CallCounts::route`].
    pub fn fail_route(&self, route: &str, calls: u64, failure: ApiFailure) {
        self.fail(Failing::Route(route.into()), calls, failure);
    }

    /// Never answers the next `calls` of one route, and does what was asked when the result is released, also for who gave up
    /// meanwhile.
    pub fn put_off(&self, route: &str, calls: u64) -> Withheld {
        let (effects, released) = watch::channel(());
        self.fail_route(route, calls, ApiFailure::ActLater(released));
        Withheld(effects)
    }

    fn fail(&self, what: Failing, calls: u64, failure: ApiFailure) {
        let failures = &mut self.shared.lock().failures;
        failures.retain(|(other, ..)| *other != what);
        failures.push((what, calls, failure));
    }

    /// Has the Delivery API answer 429 to all calls, or no longer.
    pub fn limit_delivery(&self, limited: bool) {
        self.shared.lock().delivery_limited = limited;
    }

    /// Sets how the Token API behaves.
    pub fn set_token_api_style(&self, style: TokenApiStyle) {
        self.shared.lock().keys.style = style;
    }

    /// Sets how the Delivery API treats keys.
    pub fn set_delivery_style(&self, style: DeliveryStyle) {
        self.shared.lock().delivery = style;
    }
}

/// Keys and environments.
impl Sitecore {
    /// Makes a key as somebody else does who has access to the tenant, and returns it.
    pub fn make_key(&self, tenant: &str, label: &str) -> String {
        let now = self.shared.now();
        let key = token_api::NewKey::published(tenant, label, "somebody");
        self.shared.lock().keys.make(key, now)
    }

    /// Revokes the key of this hash, as somebody else does. Does nothing where there is none.
    pub fn revoke_key(&self, hash: &str) {
        let now = self.shared.now();
        self.shared.lock().keys.revoke(hash, now);
    }

    /// Adds an environment of the Deploy API whose keys open this tenant, or gives it its defaults again.
    pub fn add_environment(&self, id: &str, tenant: &str) {
        let environment = Environment::new(tenant);
        let mut state = self.shared.lock();
        state.environments.insert(id.into(), environment);
    }

    /// Changes how the Deploy API answers for an environment. Does nothing where there is none.
    pub fn configure_environment(&self, id: &str, change: impl FnOnce(&mut Environment)) {
        if let Some(environment) = self.shared.lock().environments.get_mut(id) {
            change(environment);
        }
    }
}

/// What was asked and given.
impl Sitecore {
    /// Token requests that named this client, in whatever way and with whatever outcome.
    pub fn requests(&self, id: &str) -> u64 {
        self.shared
            .lock()
            .clients
            .get(id)
            .map_or(0, |entry| entry.requests)
    }

    /// Tokens issued to this client.
    pub fn issued(&self, id: &str) -> u64 {
        self.shared
            .lock()
            .clients
            .get(id)
            .map_or(0, |entry| entry.issued)
    }

    /// The last thousand tokens issued to this client, oldest first.
    pub fn tokens(&self, id: &str) -> Vec<IssuedToken> {
        let state = self.shared.lock();
        let entry = state.clients.get(id);
        entry
            .map(|entry| entry.tokens.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// The requests of this client that are being answered now.
    pub fn in_flight(&self, id: &str) -> u64 {
        self.shared
            .lock()
            .clients
            .get(id)
            .map_or(0, |entry| entry.in_flight)
    }

    /// The most requests of this client that were being answered at one time.
    pub fn in_flight_peak(&self, id: &str) -> u64 {
        self.shared
            .lock()
            .clients
            .get(id)
            .map_or(0, |entry| entry.in_flight_peak)
    }

    /// The last thousand token requests that named this client, oldest first.
    pub fn recorded(&self, id: &str) -> Vec<RecordedRequest> {
        let state = self.shared.lock();
        let entry = state.clients.get(id);
        entry
            .map(|entry| entry.recorded.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// Token requests of all clients, and those that named none.
    pub fn total_requests(&self) -> u64 {
        self.shared.lock().clients.total_requests
    }

    /// How many bytes of [`Scenario::Wire`] were written so far: what clients took, and what lies in socket buffers.
    pub fn wire_bytes(&self) -> u64 {
        self.shared.wire_bytes.load(Ordering::Relaxed)
    }

    /// Calls of all routes by status.
    pub fn calls(&self) -> CallCounts {
        self.shared.lock().calls.clone()
    }

    /// All keys of the Token API, oldest first, revoked ones too.
    pub fn keys(&self) -> Vec<EdgeKey> {
        self.shared.lock().keys.all.clone()
    }

    /// The key of the Token API or the Deploy API that this token is, if it is one.
    pub fn key(&self, token: &str) -> Option<EdgeKey> {
        self.shared.lock().keys.of_token(token).cloned()
    }

    /// What was deleted through the Admin API, with the tenant it was taken from.
    pub fn deletions(&self) -> Vec<(String, Deleted)> {
        self.shared.lock().admin.deletions.clone()
    }

    /// Checks a token as each API does.
    pub fn verify(&self, token: &str) -> Result<Claims, jsonwebtoken::errors::Error> {
        self.shared.verify(token)
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/oauth/token", post(token_endpoint::token))
        .route(
            "/.well-known/jwks.json",
            get(|| async { Json(jwt::jwks()) }),
        )
        .merge(token_api::routes())
        .merge(admin_api::routes())
        .merge(deploy_api::routes())
        .merge(delivery_api::routes())
        .layer(middleware::from_fn_with_state(
            shared.clone(),
            server::observe,
        ))
        .with_state(shared)
}

/// What the handle and the server's thread share.
struct Shared {
    url: String,
    clock_offset: AtomicI64,
    wire_bytes: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    clients: clients::Clients,
    keys: token_api::Keys,
    admin: admin_api::Admin,
    calls: CallCounts,
    environments: deploy_api::Environments,
    failures: Vec<(Failing, u64, ApiFailure)>,
    delivery: DeliveryStyle,
    delivery_limited: bool,
    error_text: String,
}

/// What fails.
#[derive(PartialEq, Eq)]
enum Failing {
    Api(Api),
    Route(String),
}

impl State {
    fn next_failure(&mut self, api: Api, route: &str) -> Option<ApiFailure> {
        // axum has a route with a slash at its end for another one; here it is the same.
        let route = Failing::Route(route.trim_end_matches('/').into());
        [route, Failing::Api(api)].iter().find_map(|failing| {
            let mut failures = self.failures.iter_mut();
            let (_, left, failure) = failures.find(|(what, ..)| what == failing)?;
            *left = left.checked_sub(1)?;
            Some(failure.clone())
        })
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    fn issuer(&self) -> String {
        format!("{}/", self.url)
    }

    /// Time since 1970 by the stand-in's clock.
    fn now(&self) -> Duration {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let offset = self.clock_offset.load(Ordering::Relaxed);
        let by = Duration::from_secs(offset.unsigned_abs());
        if offset < 0 {
            now.saturating_sub(by)
        } else {
            now + by
        }
    }

    fn clock_is_off(&self) -> bool {
        self.clock_offset.load(Ordering::Relaxed) != 0
    }

    fn verify(&self, token: &str) -> Result<Claims, jsonwebtoken::errors::Error> {
        jwt::verify(token, &self.issuer(), &[AUDIENCE.into()], self.now())
    }

    /// An error's description with the text a test wants in there.
    fn describe(&self, description: &str) -> String {
        let state = self.lock();
        if state.error_text.is_empty() {
            return description.into();
        }
        format!("{description} {}", state.error_text)
    }
}

/// A panic elsewhere is reported where it happened; the state is still good for counting.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An error answer of the REST APIs. Sitecore documents none for most of them; this is the form its Deploy API uses.
fn problem(shared: &Shared, status: u16, detail: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = json!({
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "detail": shared.describe(detail),
    });
    let headers = [(CONTENT_TYPE, "application/problem+json")];
    (status, headers, body.to_string()).into_response()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

fn random_id() -> String {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).expect("the system gives random bytes");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn to_timestamp(since_1970: Duration) -> Timestamp {
    Timestamp::UNIX_EPOCH
        .checked_add(since_1970)
        .unwrap_or(Timestamp::MAX)
}

/// RFC 3339 with seven digits of fraction, as the services write it.
fn timestamp(since_1970: Duration) -> String {
    format!("{:.7}", to_timestamp(since_1970))
}

fn http_date(since_1970: Duration) -> HeaderValue {
    rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&to_timestamp(since_1970))
        .ok()
        .and_then(|date| date.parse().ok())
        .unwrap_or(HeaderValue::from_static(""))
}
