//! Sees to it that equal requests cost one: they share the one in flight, and the token that came of it.
//!
//! Requests are equal when their parameters and their credentials are. Whoever gets a token here has therefore shown
//! the credentials that it was issued for, in whatever namespace they stand.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aws_lc_rs::hmac;
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use k8s_openapi::jiff::Timestamp;
use secrecy::ExposeSecret;
use tokio::sync::Semaphore;

use super::{Token, TokenError, TokenRequest, TokenSource, origin::Origin};
use crate::{api::edge_credential::TokenFormat, clock::Clock};

/// Requests tokens, each only once.
#[derive(Clone)]
pub struct SharedTokens(Arc<Inner>);

struct Inner {
    source: Box<dyn TokenSource>,
    clock: Clock,
    per_origin: usize,
    /// Random for each process, so that a key says nothing of the credentials in it.
    key: hmac::Key,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    in_flight: HashMap<Inputs, InFlight>,
    held: HashMap<Inputs, Token>,
    /// How many tokens may be held before the expired ones are swept out.
    sweep_at: usize,
    slots: HashMap<Option<Origin>, Arc<Semaphore>>,
}

/// What identifies a request: a keyed hash of its parameters and credentials.
type Inputs = [u8; 32];

type InFlight = Shared<BoxFuture<'static, Result<Token, TokenError>>>;

/// Below this number of tokens it is not worth looking for expired ones.
const SWEEP_MINIMUM: usize = 64;

impl SharedTokens {
    /// Requests from `source`, with at most `per_origin` requests in flight to one origin, so that an endpoint that
    /// hangs does not delay the others.
    pub fn new(source: impl TokenSource, clock: Clock, per_origin: usize) -> Self {
        Self(Arc::new(Inner {
            source: Box::new(source),
            clock,
            per_origin,
            key: random_key(),
            state: Mutex::default(),
        }))
    }

    /// The valid token that an equal request brought earlier, if there is one. Costs nothing.
    pub fn held(&self, request: &TokenRequest, now: Timestamp) -> Option<Token> {
        let inputs = self.0.inputs(request);
        self.0
            .state()
            .held
            .get(&inputs)
            .filter(|token| token.is_valid(now))
            .cloned()
    }

    /// Requests a token, or joins an equal request in flight, or takes one that is held if it is `acceptable`: an equal
    /// request may have ended since the caller last looked. The request goes on when the caller does not wait for it:
    /// what it brings is held.
    pub async fn request(
        &self,
        request: TokenRequest,
        acceptable: impl FnOnce(&Token) -> bool,
    ) -> Result<Token, TokenError> {
        let inputs = self.0.inputs(&request);
        let answer = {
            let mut state = self.0.state();
            if let Some(token) = state.held.get(&inputs).filter(|token| acceptable(token)) {
                return Ok(token.clone());
            }
            match state.in_flight.get(&inputs) {
                Some(in_flight) => in_flight.clone(),
                None => {
                    let task = tokio::spawn(self.0.clone().fetch(inputs, request));
                    let in_flight = task
                        .map(|answer| answer.unwrap_or(Err(TokenError::Interrupted)))
                        .boxed()
                        .shared();
                    state.in_flight.insert(inputs, in_flight.clone());
                    in_flight
                }
            }
        };
        answer.await
    }
}

impl Inner {
    async fn fetch(
        self: Arc<Self>,
        inputs: Inputs,
        request: TokenRequest,
    ) -> Result<Token, TokenError> {
        // Removes the entry however this ends, so that a panic in a source cannot block its inputs for ever.
        let landing = Landing {
            shared: &self,
            inputs,
        };
        let slots = self.slots(&request);
        let _slot = slots.acquire().await;
        let answer = self.source.request(&request).await;
        landing.hold(&answer);
        answer
    }

    fn slots(&self, request: &TokenRequest) -> Arc<Semaphore> {
        let origin = Origin::of(&request.parameters.token_url);
        self.state()
            .slots
            .entry(origin)
            .or_insert_with(|| Arc::new(Semaphore::new(self.per_origin)))
            .clone()
    }

    fn inputs(&self, request: &TokenRequest) -> Inputs {
        let mut context = hmac::Context::with_key(&self.key);
        let parameters = request.parameters.fingerprint();
        context.update(&parameters.len().to_be_bytes());
        context.update(parameters.as_bytes());
        // An opaque token that one EdgeCredential accepts must not reach another one that does not.
        let any_format = request.parameters.token_format == TokenFormat::Any;
        context.update(&[u8::from(any_format)]);
        context.update(request.credentials.fingerprint().expose_secret().as_bytes());
        let mut inputs = Inputs::default();
        inputs.copy_from_slice(context.sign().as_ref());
        inputs
    }

    /// The state is consistent between any two statements, so a panic elsewhere does not spoil it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Landing<'a> {
    shared: &'a Inner,
    inputs: Inputs,
}

impl Landing<'_> {
    fn hold(&self, answer: &Result<Token, TokenError>) {
        let Ok(token) = answer else { return };
        let now = self.shared.clock.now();
        let mut state = self.shared.state();
        if state.held.len() >= state.sweep_at.max(SWEEP_MINIMUM) {
            state.held.retain(|_, token| token.is_valid(now));
            state.sweep_at = state.held.len() * 2;
        }
        state.held.insert(self.inputs, token.clone());
    }
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.shared.state().in_flight.remove(&self.inputs);
    }
}

impl fmt::Debug for SharedTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedTokens")
    }
}

fn random_key() -> hmac::Key {
    // Fails only where the system has no randomness at all, and then TLS does not work either: a fixed key is safe
    // for what it protects here, the layout of a map in memory.
    hmac::Key::generate(hmac::HMAC_SHA256, &aws_lc_rs::rand::SystemRandom::new())
        .unwrap_or_else(|_| hmac::Key::new(hmac::HMAC_SHA256, &[0; 32]))
}
