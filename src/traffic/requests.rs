//! Sends token requests when it is their turn, one for all that are equal, and wakes the objects that wait for them.
//!
//! Requests are equal when their parameters and their credentials are. A caller that gets a token here has therefore shown
//! the credentials that it was issued for, whatever namespace it is in.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use aws_lc_rs::hmac;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    sync::{
        Notify,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        oneshot,
    },
    task::JoinError,
    time::{Instant, sleep_until},
};

use super::{
    caller::Caller,
    endpoint::Endpoint,
    floor::Floors,
    holds::{Attempt, Holds},
    keys::{ClientHash, Inputs, RenewHash, SinceStart},
    queue::{End, Parked, Place, Queue},
    tokens::{Tokens, WrittenToken},
};
use crate::{
    api::{Reason, token_request::TokenFormat},
    clock::Clock,
    cluster::object_key::ObjectKey,
    oauth::{Reply, Token, TokenError, TokenRequest, TokenSource},
};

/// How soon a caller looks again for a token that has just left memory.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Requests tokens, each only once.
#[derive(Clone)]
pub struct TokenRequests(Arc<Inner>);

struct Inner {
    source: Box<dyn TokenSource>,
    clock: Clock,
    /// Where its monotonic clock begins.
    started: Instant,
    /// Random for each process, so that a hash says nothing of the credentials in it.
    key: hmac::Key,
    state: Mutex<State>,
    /// Notified when somebody may have to be woken sooner than was planned.
    changed: Notify,
    listeners: Mutex<Vec<UnboundedSender<ObjectKey>>>,
}

/// Consistent between any two statements, so that a panic cannot leave it half-changed.
pub(super) struct State {
    pub(super) queue: Queue,
    pub(super) holds: Holds,
    floors: Floors,
    tokens: Tokens,
    in_flight: HashMap<Inputs, InFlight>,
    /// What became of the request of an object, until that comes for it.
    results: HashMap<ObjectKey, (Inputs, Result<Token, Failure>)>,
    /// Who waits for a place with what it has read.
    pub(super) ready: HashMap<ObjectKey, oneshot::Sender<()>>,
    /// Whether a task gives turns as time goes by.
    is_ticking: bool,
}

/// A request in flight.
struct InFlight {
    /// The objects that wait for it, beside the one that sent it.
    joined: BTreeSet<ObjectKey>,
    /// The renew requests that it answers.
    answers: Vec<RenewHash>,
    /// Whether all want the token for calls alone.
    is_for_calls: bool,
}

/// Why a request brought no token, and what follows from it for the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub error: TokenError,
    /// The endpoint asked not to be called again with these credentials before this time.
    pub not_before: Option<Timestamp>,
    /// Whether the caller is in the line again, so that it is woken when it may send, whatever its own back-off says.
    pub is_in_line: bool,
    /// Whether it was sent for this caller or an equal one, rather than that an earlier answer still holds.
    pub was_sent: bool,
}

/// What a token is wanted for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Purpose<'a> {
    /// The renew request that it answers, if a person asked for it.
    pub renew_request: Option<&'a str>,
    /// Whether it is in place of one that was good until its owner changed something.
    pub replaces: bool,
    /// When the token that is there expires, if one is.
    pub expires_at: Option<Timestamp>,
    /// Whether the caller has made sure that it can use the token. Nothing is sent before.
    pub is_checked: bool,
    /// Whether the token is for calls, and for no Secret. It is sure to stay in memory until the caller
    /// [has called](TokenRequests::end_calls).
    pub is_for_calls: bool,
}

/// What a caller gets.
#[derive(Debug)]
pub enum Answer {
    /// A token that an equal request brought earlier.
    Known(Token),
    /// What became of the request that was sent for this caller.
    Ended(Result<Token, Failure>),
    /// It is the caller's turn. It asks again once it has checked that it can use the token.
    Turn,
    /// It is the caller's turn, and there is no place yet. When there is, the caller asks again; one that stops waiting for this
    /// is woken.
    Soon(oneshot::Receiver<()>),
    /// The request was sent. When it has ended, the caller asks again; one that stops waiting for this is woken.
    Sent(oneshot::Receiver<()>),
    /// The caller is woken. Whether it waits because requests to the endpoint fail.
    Wait { fails: bool },
    /// The caller has replaced too many tokens.
    WaitFor(Duration),
}

impl TokenRequests {
    /// Requests from `source`, with at most `per_endpoint` requests in flight to one endpoint.
    pub fn new(source: impl TokenSource, clock: Clock, per_endpoint: usize) -> Self {
        Self(Arc::new(Inner {
            source: Box::new(source),
            clock,
            started: Instant::now(),
            key: random_key(),
            state: Mutex::new(State {
                queue: Queue::new(per_endpoint),
                holds: Holds::default(),
                floors: Floors::default(),
                tokens: Tokens::default(),
                in_flight: HashMap::new(),
                results: HashMap::new(),
                ready: HashMap::new(),
                is_ticking: false,
            }),
            changed: Notify::new(),
            listeners: Mutex::default(),
        }))
    }

    /// The objects that wait for a turn or an answer, as they get it.
    pub fn wakeups(&self) -> UnboundedReceiver<ObjectKey> {
        let (sender, receiver) = unbounded_channel();
        self.0.listeners.lock().push(sender);
        receiver
    }

    /// Has an object of any kind reconciled.
    pub fn wake(&self, object: ObjectKey) {
        self.0.wake(object);
    }

    /// Asks for a turn before anything is known but the caller's name. `true` where it has one, or where something else has
    /// come for it.
    pub fn ask(&self, caller: &Caller) -> bool {
        let mut state = self.0.state.lock();
        let has_turn =
            state.results.contains_key(&caller.object) || state.queue.ask(caller, self.0.now());
        self.0.settle(&mut state);
        has_turn
    }

    /// Whether an object waits here for anything.
    pub fn is_known(&self, object: &ObjectKey) -> bool {
        let state = self.0.state.lock();
        state.queue.contains(object) || state.results.contains_key(object)
    }

    /// Whether it is an object's turn to send, or an answer has come for it.
    pub fn may_ask(&self, object: &ObjectKey) -> bool {
        let state = self.0.state.lock();
        state.queue.has_turn(object) || state.results.contains_key(object)
    }

    /// Whether an object waits because requests to its endpoint fail.
    pub fn waits_for_recovery(&self, object: &ObjectKey) -> bool {
        self.0.state.lock().queue.waits_for_recovery(object)
    }

    /// Whether an object waits at this endpoint, or has its turn there.
    pub fn waits_at(&self, object: &ObjectKey, endpoint: &Endpoint) -> bool {
        self.0.state.lock().queue.endpoint_of(object) == Some(endpoint)
    }

    /// Whether an object that has no token waits for nothing but its turn.
    pub fn waits_for_first_token(&self, object: &ObjectKey) -> bool {
        let state = self.0.state.lock();
        let has_answer = state.results.contains_key(object);
        !has_answer && state.queue.waits_for_first_token(object)
    }

    /// Takes an object out that needs no token, or must not have one. A turn that it has is given to the next.
    pub fn leave(&self, object: &ObjectKey) {
        let mut state = self.0.state.lock();
        state.results.remove(object);
        state.ready.remove(object);
        state.queue.leave(object, self.0.now());
        self.0.settle(&mut state);
    }

    /// Takes an object out that is gone.
    pub fn forget(&self, object: &ObjectKey) {
        let mut state = self.0.state.lock();
        state.results.remove(object);
        state.ready.remove(object);
        state.tokens.end_use(object);
        state.queue.forget(object, self.0.now());
        self.0.settle(&mut state);
    }

    /// The valid token that an equal request brought earlier, if there is one, and whether it answers a renew request. Costs
    /// nothing.
    pub fn known(
        &self,
        request: &TokenRequest,
        renew_request: Option<&str>,
        now: Timestamp,
    ) -> Option<(Token, bool)> {
        let inputs = self.0.inputs(request);
        let asked = renew_request.map(|value| self.0.hash(&[value]));
        let state = self.0.state.lock();
        let token = state.tokens.valid(&inputs, now)?.clone();
        let answers = asked.is_some_and(|asked| state.tokens.answers(&inputs, &asked));
        Some((token, answers))
    }

    /// Takes a token out of memory that was written to a Secret, and can be read there.
    pub fn leave_in(&self, request: &TokenRequest, owner: &str, token: &Token, key: ObjectKey) {
        let of_all = self.0.inputs(request);
        let of_owner = self.0.inputs_of(request, Some(owner));
        let mut state = self.0.state.lock();
        state.tokens.leave_in(&of_all, token, key);
        state.tokens.forget(&of_owner);
    }

    /// The valid token that an equal request brought earlier, where it is in a Secret and in no memory.
    pub fn written(&self, request: &TokenRequest, now: Timestamp) -> Option<WrittenToken> {
        let inputs = self.0.inputs(request);
        let state = self.0.state.lock();
        state.tokens.written(&inputs, now).cloned()
    }

    /// Puts a token back into memory that was read from its Secret; `None` where it is not there any more.
    pub fn take_back(&self, request: &TokenRequest, access_token: Option<SecretString>) {
        let inputs = self.0.inputs(request);
        self.0.state.lock().tokens.take_back(&inputs, access_token);
    }

    /// As [`take_back`](Self::take_back), for calls alone.
    pub fn take_back_for_calls(&self, request: &TokenRequest, access_token: Option<SecretString>) {
        let inputs = self.0.inputs(request);
        let mut state = self.0.state.lock();
        state.tokens.take_back_for_calls(&inputs, access_token);
    }

    /// Notes that an object needs its token for no calls any more.
    pub fn end_calls(&self, object: &ObjectKey) {
        self.0.state.lock().tokens.end_use(object);
    }

    /// Keeps a token that `owner` has proved to have, until it expires: another process of the operator may have requested
    /// it. No other object gets it, since anybody who can write to the owner's target could have put it there. Does nothing
    /// where an equal request brought a token.
    pub fn keep_for(&self, request: &TokenRequest, owner: &str, token: &Token) {
        let now = self.0.clock.now();
        let of_all = self.0.inputs(request);
        let inputs = self.0.inputs_of(request, Some(owner));
        let mut state = self.0.state.lock();
        if state.tokens.valid(&of_all, now).is_some() {
            return;
        }
        if let Some(written) = state.tokens.written(&of_all, now) {
            if written.is(&token.access_token) {
                let access_token = Some(token.access_token.clone());
                state.tokens.take_back(&of_all, access_token);
            }
            return;
        }
        let known = state.tokens.valid(&inputs, now);
        if known.is_none_or(|known| known.expires_at != token.expires_at) {
            state.tokens.keep(inputs, token, Vec::new(), now);
        }
    }

    /// The valid token that was kept for `owner` and this request, if there is one.
    pub fn kept_for(&self, request: &TokenRequest, owner: &str, now: Timestamp) -> Option<Token> {
        let inputs = self.0.inputs_of(request, Some(owner));
        self.0.state.lock().tokens.valid(&inputs, now).cloned()
    }

    /// Takes what an equal request brought if it is `acceptable`, joins one in flight, or sends one if it is the caller's turn.
    /// A request goes on when the caller stops waiting for it, and its token is kept.
    pub fn request(
        &self,
        request: &TokenRequest,
        caller: &Caller,
        purpose: Purpose<'_>,
        acceptable: impl FnOnce(&Token) -> bool,
    ) -> Answer {
        let inner = &self.0;
        let (now, time) = (inner.now(), inner.clock.now());
        let inputs = inner.inputs(request);
        let client = inner.client(caller, request);
        let attempt = Attempt {
            expires_at: purpose.expires_at,
            renew_request: purpose.renew_request.map(|value| inner.hash(&[value])),
        };
        let wanted = Wanted {
            caller,
            inputs,
            client,
            attempt,
            replaces: purpose.replaces,
            is_checked: purpose.is_checked,
            is_for_calls: purpose.is_for_calls,
        };
        let mut state = inner.state.lock();
        let answer = match state.find(&wanted, now, time, acceptable) {
            Err(answer) => answer,
            Ok(place) => {
                let (ended, wait) = oneshot::channel();
                let sent = Sent {
                    inputs,
                    client,
                    caller: caller.clone(),
                    place,
                    ended,
                };
                tokio::spawn(inner.clone().send(request.clone(), sent));
                Answer::Sent(wait)
            }
        };
        inner.settle(&mut state);
        answer
    }
}

/// What a visit to an API needs, see [`flight`](super::flight).
impl TokenRequests {
    /// The time by both clocks.
    pub(super) fn times(&self) -> (SinceStart, Timestamp) {
        (self.0.now(), self.0.clock.now())
    }

    /// What identifies the credentials of a request at the endpoint of a caller.
    pub(super) fn client(&self, caller: &Caller, request: &TokenRequest) -> ClientHash {
        self.0.client(caller, request)
    }

    /// Changes the state, and gives turns to those who may send now.
    pub(super) fn with_state<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.0.state.lock();
        let result = change(&mut state);
        self.0.settle(&mut state);
        result
    }
}

/// A request that is wanted.
struct Wanted<'a> {
    caller: &'a Caller,
    inputs: Inputs,
    client: ClientHash,
    attempt: Attempt,
    replaces: bool,
    is_checked: bool,
    is_for_calls: bool,
}

/// A request that is sent.
struct Sent {
    inputs: Inputs,
    client: ClientHash,
    caller: Caller,
    place: Place,
    ended: oneshot::Sender<()>,
}

impl State {
    /// Has an object told that has its turn as soon as there is a place for it.
    pub(super) fn wait_for_place(&mut self, object: &ObjectKey) -> oneshot::Receiver<()> {
        let (given, wait) = oneshot::channel();
        self.ready.insert(object.clone(), given);
        wait
    }

    /// Finds a place to send a request from, or else what there is in place of that.
    fn find(
        &mut self,
        wanted: &Wanted<'_>,
        now: SinceStart,
        time: Timestamp,
        acceptable: impl FnOnce(&Token) -> bool,
    ) -> Result<Place, Answer> {
        let Wanted {
            caller,
            inputs,
            client,
            attempt,
            replaces,
            is_checked,
            is_for_calls,
        } = *wanted;
        let object = &caller.object;
        self.ready.remove(object);
        if let Some((of, result)) = self.results.remove(object)
            && of == inputs
        {
            if result.is_ok() {
                self.note_use(wanted);
            }
            return Err(Answer::Ended(result));
        }
        if let Some(token) = self.tokens.valid(&inputs, time) {
            if acceptable(token) {
                let token = token.clone();
                self.note_use(wanted);
                // A visit to an API needs the token and keeps its turn there.
                self.queue.leave_endpoint(object, &caller.endpoint, now);
                return Err(Answer::Known(token));
            }
        } else if let Some(written) = self.tokens.written(&inputs, time)
            && acceptable(written.times())
        {
            // It was written since the caller looked.
            return Err(Answer::WaitFor(LOOK_AGAIN));
        }
        if let Some(in_flight) = self.in_flight.get_mut(&inputs) {
            in_flight.joined.insert(object.clone());
            in_flight.answers.extend(attempt.renew_request);
            in_flight.is_for_calls &= is_for_calls;
            self.queue.join(caller, now);
            return Err(Answer::Wait { fails: false });
        }
        if let Some((error, wait)) = self.holds.check(&client, attempt, now, time) {
            self.queue.park(caller, Parked::UntilReleased(client), now);
            return Err(Answer::Ended(Err(Failure {
                error,
                not_before: add(time, wait),
                is_in_line: false,
                was_sent: false,
            })));
        }
        if !self.queue.ask(caller, now) {
            let fails = self.queue.waits_for_recovery(object);
            return Err(Answer::Wait { fails });
        }
        if !self.queue.be_ready(object) {
            return Err(Answer::Soon(self.wait_for_place(object)));
        }
        if !is_checked {
            return Err(Answer::Turn);
        }
        if replaces && let Err(wait) = self.floors.take(object, now) {
            self.queue.leave(object, now);
            return Err(Answer::WaitFor(wait));
        }
        let place = self
            .queue
            .send(object, now)
            .ok_or(Answer::Wait { fails: false })?;
        self.holds.sent(&client, attempt, now, time);
        let in_flight = InFlight {
            joined: BTreeSet::new(),
            answers: attempt.renew_request.into_iter().collect(),
            is_for_calls,
        };
        self.in_flight.insert(inputs, in_flight);
        Ok(place)
    }

    /// Notes what the token is for that the caller gets.
    fn note_use(&mut self, wanted: &Wanted<'_>) {
        if wanted.is_for_calls {
            self.tokens.begin_use(&wanted.inputs, &wanted.caller.object);
        } else {
            self.tokens.keep_for_secret(&wanted.inputs);
        }
    }
}

impl Inner {
    /// Sends a request, and tells all who wait for it how it ended.
    async fn send(self: Arc<Self>, request: TokenRequest, sent: Sent) {
        let source = self.clone();
        // In a task of its own, so that a panic in a source ends the request and nothing else.
        let reply = tokio::spawn(async move { source.source.request(&request).await }).await;
        let reply = reply.unwrap_or_else(|error| Err(lost(&error)).into());
        self.end(sent, reply);
    }

    fn end(self: &Arc<Self>, sent: Sent, reply: Reply) {
        let Sent {
            inputs,
            client,
            caller,
            place,
            ended,
        } = sent;
        let (now, time) = (self.now(), self.clock.now());
        let mut state = self.state.lock();
        let in_flight = state.in_flight.remove(&inputs);
        let mut objects = Vec::new();
        if let Some(in_flight) = in_flight {
            let InFlight {
                joined,
                answers,
                is_for_calls,
            } = in_flight;
            match &reply.result {
                Ok(token) if is_for_calls => state.tokens.keep_for_calls(inputs, token, time),
                Ok(token) => state.tokens.keep(inputs, token, answers, time),
                Err(_) => {}
            }
            objects.extend(joined);
        }
        objects.push(caller.object.clone());
        // Those that have left meanwhile want to know nothing any more.
        objects.retain(|object| state.queue.contains(object));
        let end = how_it_ended(&reply.result);
        let asked_to_wait = reply.limits.hold.is_some();
        if state.holds.note(client, &reply, now, time) {
            let released = Parked::UntilReleased(client);
            state.queue.release(&caller.endpoint, &released);
        }
        let hold = state.holds.left(&client, now);
        state.queue.end(place, &client, &objects, end, now);
        if hold.is_some() {
            for object in &objects {
                let held = Caller {
                    object: object.clone(),
                    ..caller.clone()
                };
                let released = Parked::UntilReleased(client);
                state.queue.park(&held, released, now);
            }
        }
        let result = reply.result.map_err(|error| Failure {
            error,
            // Without one, it has its own back-off.
            not_before: hold
                .filter(|_| asked_to_wait)
                .and_then(|left| add(time, left)),
            is_in_line: end == End::Failed && hold.is_none(),
            was_sent: true,
        });
        let sender_waits = ended.send(()).is_ok();
        for object in objects {
            let is_awake = sender_waits && object == caller.object;
            state
                .results
                .insert(object.clone(), (inputs, result.clone()));
            if !is_awake {
                self.wake(object);
            }
        }
        self.settle(&mut state);
    }

    /// Gives turns to those who may send now, and sees to it that this is done again when it has to be.
    fn settle(self: &Arc<Self>, state: &mut State) {
        self.advance(state, self.now());
        if std::mem::replace(&mut state.is_ticking, true) {
            self.changed.notify_one();
        } else {
            tokio::spawn(tick(Arc::downgrade(self)));
        }
    }

    /// Gives turns and places, and tells those who got them.
    fn advance(&self, state: &mut State, now: SinceStart) {
        state.queue.advance(now);
        for object in state.queue.take_woken() {
            let waits = state.ready.remove(&object);
            let is_awake = waits.is_some_and(|given| given.send(()).is_ok());
            if !is_awake {
                self.wake(object);
            }
        }
    }

    fn wake(&self, object: ObjectKey) {
        // Fails where nobody listens any more.
        self.listeners
            .lock()
            .retain(|listener| listener.send(object.clone()).is_ok());
    }

    fn now(&self) -> SinceStart {
        self.started.elapsed()
    }

    /// What identifies the credentials at the endpoint.
    fn client(&self, caller: &Caller, request: &TokenRequest) -> ClientHash {
        let credentials = request.credentials.fingerprint();
        self.hash(&[&caller.endpoint.to_string(), credentials.expose_secret()])
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

/// Gives turns as time goes by, until nobody waits for that.
async fn tick(inner: Weak<Inner>) {
    loop {
        let Some(inner) = inner.upgrade() else { return };
        let changed = inner.changed.notified();
        let next = {
            let mut state = inner.state.lock();
            let now = inner.now();
            inner.advance(&mut state, now);
            let next = state.queue.next_change(now);
            state.is_ticking = next.is_some();
            next
        };
        let Some(next) = next else { return };
        tokio::select! {
            () = sleep_until(inner.started + next) => {}
            () = changed => {}
        }
    }
}

/// A time so much later, if there is one.
pub(super) fn add(time: Timestamp, wait: Duration) -> Option<Timestamp> {
    time.checked_add(SignedDuration::try_from(wait).ok()?).ok()
}

fn how_it_ended(result: &Result<Token, TokenError>) -> End {
    match result {
        Ok(_) => End::Succeeded,
        Err(TokenError::Interrupted | TokenError::Panicked) => End::Unknown,
        Err(error) if error.is_outage() => End::Failed,
        Err(error) => match error.reason() {
            Reason::InvalidResponse | Reason::ResponseTooLarge => End::Garbled,
            _ => End::Refused,
        },
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

impl fmt::Debug for TokenRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenRequests")
    }
}

/// A key of this process, for codes that must say nothing of what they are made of.
pub fn random_key() -> hmac::Key {
    // Fails only where the system has no randomness at all, and then TLS does not work either: a fixed key is safe
    // for what it protects, codes that never leave the memory.
    hmac::Key::generate(hmac::HMAC_SHA256, &aws_lc_rs::rand::SystemRandom::new())
        .unwrap_or_else(|_| hmac::Key::new(hmac::HMAC_SHA256, &[0; 32]))
}
