//! Makes one request of all that are equal: they share the one in flight, and the token that it brings.
//!
//! Requests are equal when their parameters and their credentials are. A caller that gets a token here has therefore shown
//! the credentials that it was issued for, whatever namespace it is in.

use std::{collections::HashMap, fmt, sync::Arc};

use aws_lc_rs::hmac;
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;
use secrecy::ExposeSecret;
use tokio::{sync::broadcast, task::JoinError};

use super::{
    caller::Caller,
    gate::{ClientHash, Gate, Ticket},
};
use crate::{
    api::token_request::TokenFormat,
    clock::Clock,
    cluster::object_key::ObjectKey,
    oauth::{Token, TokenError, TokenRequest, TokenSource, origin::Origin},
};

/// Requests tokens, each only once.
#[derive(Clone)]
pub struct SharedTokens(Arc<Inner>);

struct Inner {
    source: Box<dyn TokenSource>,
    clock: Clock,
    gate: Arc<Gate>,
    /// Random for each process, so that a key says nothing of the credentials in it.
    key: hmac::Key,
    state: Mutex<State>,
}

/// Consistent between any two statements, so that a panic cannot leave it half-changed.
#[derive(Default)]
struct State {
    in_flight: HashMap<Inputs, InFlight>,
    cached: HashMap<Inputs, Token>,
    /// How many tokens may be cached before the expired ones are removed.
    sweep_at: usize,
}

impl State {
    fn cache(&mut self, inputs: Inputs, token: &Token, now: Timestamp) {
        if self.cached.len() >= self.sweep_at.max(SWEEP_MINIMUM) {
            self.cached.retain(|_, token| token.is_valid(now));
            self.sweep_at = self.cached.len() * 2;
        }
        self.cached.insert(inputs, token.clone());
    }
}

/// What identifies a request: a keyed hash of its parameters and credentials.
type Inputs = [u8; 32];

/// Why a request brought no token, and what follows from it for the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Why.
    pub error: TokenError,
    /// The endpoint asked not to be called again before this time.
    pub not_before: Option<Timestamp>,
    /// Whether the endpoint fails for everybody, so that the breaker wakes the caller, whatever its own back-off says.
    pub circuit_open: bool,
}

type InFlight = Shared<BoxFuture<'static, Result<Token, TokenError>>>;

/// Below this number of tokens it is not worth looking for expired ones.
const SWEEP_MINIMUM: usize = 64;

impl SharedTokens {
    /// Requests from `source`, with at most `per_origin` requests in flight to one origin.
    pub fn new(source: impl TokenSource, clock: Clock, per_origin: usize) -> Self {
        Self(Arc::new(Inner {
            source: Box::new(source),
            clock,
            gate: Arc::new(Gate::new(per_origin)),
            key: random_key(),
            state: Mutex::default(),
        }))
    }

    /// The objects that were turned away and should ask again now.
    pub fn wakeups(&self) -> broadcast::Receiver<ObjectKey> {
        self.0.gate.wakeups()
    }

    /// Whether the endpoint fails for everybody, so that the breaker decides when the caller tries again.
    pub fn circuit_open(&self, request: &TokenRequest, caller: &Caller) -> bool {
        Origin::of(&request.parameters.token_url)
            .is_some_and(|origin| self.0.gate.circuit_open(&origin, &caller.object))
    }

    /// The valid token that an equal request brought earlier, if there is one. Costs nothing.
    pub fn cached(&self, request: &TokenRequest, now: Timestamp) -> Option<Token> {
        let inputs = self.0.inputs(request);
        self.0.valid(&inputs, now)
    }

    /// Caches a token that `owner` has proved to have, until it expires: another process of the operator may have requested
    /// it. No other object gets it, since anybody who can write to the owner's target could have put it there. Does nothing
    /// where an equal request brought a token.
    pub fn cache_for(&self, request: &TokenRequest, owner: &str, token: &Token) {
        let now = self.0.clock.now();
        if self.cached(request, now).is_some() {
            return;
        }
        let inputs = self.0.inputs_of(request, Some(owner));
        let mut state = self.0.state.lock();
        let is_new = state
            .cached
            .get(&inputs)
            .is_none_or(|kept| kept.expires_at != token.expires_at);
        if is_new {
            state.cache(inputs, token, now);
        }
    }

    /// The valid token that was cached for `owner` and this request, if there is one.
    pub fn cached_for(&self, request: &TokenRequest, owner: &str, now: Timestamp) -> Option<Token> {
        let inputs = self.0.inputs_of(request, Some(owner));
        self.0.valid(&inputs, now)
    }

    /// Takes a cached token if it is `acceptable`, since an equal request may have ended after the caller looked; or joins an
    /// equal request in flight; or sends one. The request goes on when the caller stops waiting for it, and its token is
    /// cached.
    pub async fn request(
        &self,
        request: TokenRequest,
        caller: &Caller,
        acceptable: impl FnOnce(&Token) -> bool,
    ) -> Result<Token, Failure> {
        let shared = &self.0;
        let Some(origin) = Origin::of(&request.parameters.token_url) else {
            return Err(Failure {
                error: TokenError::OriginNotAllowed,
                not_before: None,
                circuit_open: false,
            });
        };
        let client = shared.client(&origin, &request);
        let answer = match shared.join(&origin, client, request, caller, acceptable) {
            Ok(Found::Cached(token)) => Ok(token),
            Ok(Found::InFlight(answer)) => answer.await,
            Err(error) => Err(error),
        };
        answer.map_err(|error| Failure {
            error,
            not_before: shared
                .gate
                .held_back(&client)
                .and_then(|hold| shared.clock.now().checked_add(hold).ok()),
            circuit_open: shared.gate.circuit_open(&origin, &caller.object),
        })
    }
}

/// What there is for a request.
enum Found {
    Cached(Token),
    InFlight(InFlight),
}

impl Inner {
    /// Finds what an equal request brought or will bring, or sends one if it may be sent.
    fn join(
        self: &Arc<Self>,
        origin: &Origin,
        client: ClientHash,
        request: TokenRequest,
        caller: &Caller,
        acceptable: impl FnOnce(&Token) -> bool,
    ) -> Result<Found, TokenError> {
        let inputs = self.inputs(&request);
        let mut state = self.state.lock();
        if let Some(token) = state.cached.get(&inputs).filter(|token| acceptable(token)) {
            return Ok(Found::Cached(token.clone()));
        }
        if let Some(in_flight) = state.in_flight.get(&inputs) {
            return Ok(Found::InFlight(in_flight.clone()));
        }
        let ticket = self.gate.admit(origin, client, caller)?;
        let task = tokio::spawn(self.clone().fetch(inputs, request, ticket));
        let in_flight = task
            .map(|answer| answer.unwrap_or_else(|error| Err(lost(&error))))
            .boxed()
            .shared();
        state.in_flight.insert(inputs, in_flight.clone());
        Ok(Found::InFlight(in_flight))
    }

    async fn fetch(
        self: Arc<Self>,
        inputs: Inputs,
        request: TokenRequest,
        ticket: Ticket,
    ) -> Result<Token, TokenError> {
        // Removes the entry however this ends, so that a panic in a source cannot block its inputs for ever.
        let landing = Landing {
            shared: &self,
            inputs,
        };
        let slot = ticket.slot().await?;
        let reply = self.source.request(&request).await;
        slot.report(&reply);
        landing.cache(&reply.result);
        reply.result
    }

    /// What identifies the client at the endpoint: a keyed hash of its id and the origin.
    fn client(&self, origin: &Origin, request: &TokenRequest) -> ClientHash {
        let id = request.credentials.client_id.expose_secret();
        self.hash(&[origin.as_str(), id])
    }

    /// A keyed hash of words, each with its length, so that they cannot run into one another.
    fn hash(&self, words: &[&str]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        for word in words {
            context.update(&word.len().to_be_bytes());
            context.update(word.as_bytes());
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(context.sign().as_ref());
        hash
    }

    fn valid(&self, inputs: &Inputs, now: Timestamp) -> Option<Token> {
        let state = self.state.lock();
        let token = state.cached.get(inputs);
        token.filter(|token| token.is_valid(now)).cloned()
    }

    fn inputs(&self, request: &TokenRequest) -> Inputs {
        self.inputs_of(request, None)
    }

    /// As [`inputs`](Self::inputs), or for one owner alone.
    fn inputs_of(&self, request: &TokenRequest, owner: Option<&str>) -> Inputs {
        // An opaque token that one EdgeCredential accepts must not reach another one that does not.
        let format = match request.parameters.token_format {
            TokenFormat::Any => "any",
            TokenFormat::Jwt => "jwt",
        };
        let parameters = request.parameters.fingerprint();
        let credentials = request.credentials.fingerprint();
        let mut words = vec![parameters.as_str(), format, credentials.expose_secret()];
        words.extend(owner);
        self.hash(&words)
    }
}

struct Landing<'a> {
    shared: &'a Inner,
    inputs: Inputs,
}

impl Landing<'_> {
    fn cache(&self, answer: &Result<Token, TokenError>) {
        let Ok(token) = answer else { return };
        let now = self.shared.clock.now();
        self.shared.state.lock().cache(self.inputs, token, now);
    }
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.shared.state.lock().in_flight.remove(&self.inputs);
    }
}

impl fmt::Debug for SharedTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedTokens")
    }
}

/// Why a task brought no answer.
fn lost(error: &JoinError) -> TokenError {
    if error.is_panic() {
        TokenError::Panicked
    } else {
        TokenError::Interrupted
    }
}

/// A key of this process, for codes that must say nothing of what they are made of.
pub fn random_key() -> hmac::Key {
    // Fails only where the system has no randomness at all, and then TLS does not work either: a fixed key is safe
    // for what it protects, codes that never leave the memory.
    hmac::Key::generate(hmac::HMAC_SHA256, &aws_lc_rs::rand::SystemRandom::new())
        .unwrap_or_else(|_| hmac::Key::new(hmac::HMAC_SHA256, &[0; 32]))
}
