//! Decides when a token request is sent to its endpoint: few at a time, the most urgent first, and none in vain.
//!
//! - At most so many requests are in flight to one origin, so that one that hangs takes nothing from the others.
//! - While an origin fails, its [`breaker`](super::breaker) lets one probe through at a time.
//! - A client that was asked to wait (`Retry-After`, a rate limit, a quota) is held back at that origin.
//!
//! A caller that is turned away does not wait here: its object is woken when it may send, see [`Gate::wakeups`].

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, broadcast, oneshot},
    time::{Instant, sleep_until},
};

use super::{
    breaker::{Breaker, Next, SinceStart},
    caller::Caller,
};
use crate::{
    cluster::object_key::ObjectKey,
    oauth::{Reply, TokenError, limits::Quota, origin::Origin},
};

/// How many requests may wait here for one origin. Further callers are turned away and woken later, since each object that
/// waits here counts among those in progress.
const WAITING: usize = 32;

/// How many wake-ups may be in the channel to the controllers.
const WAKEUPS: usize = 1024;

/// The way to all token endpoints.
pub struct Gate {
    /// Where its monotonic clock begins. Waits go by that one, so that setting the wall clock does not end them.
    started: Instant,
    per_origin: usize,
    lines: Mutex<HashMap<Origin, Line>>,
    holds: Mutex<HashMap<ClientHash, Hold>>,
    wakeups: broadcast::Sender<ObjectKey>,
    /// Notified when a breaker may have to wake a caller sooner than it had planned.
    changed: Notify,
}

/// What identifies a client at an origin: a keyed hash.
pub type ClientHash = [u8; 32];

/// The requests to one origin: those in flight, and those that wait.
#[derive(Default)]
struct Line {
    breaker: Breaker,
    in_flight: usize,
    waiting: BTreeMap<(Urgency, u64), oneshot::Sender<()>>,
    /// Counts the requests, so that equally urgent ones are served in the order in which they came.
    arrivals: u64,
    /// The callers that are woken when fewer requests wait.
    queued: BTreeSet<(Urgency, ObjectKey)>,
    /// Whether a task wakes the callers that the breaker turned away.
    waking: bool,
}

/// When the caller's token expires. `None`, which comes first, where it has none.
type Urgency = Option<Timestamp>;

/// Until when a client is held back, and what was left of its quota.
#[derive(Clone, Copy, Debug)]
struct Hold {
    until: SinceStart,
    quota: Option<Quota>,
}

/// Permission to send a request, now or once a place is free.
pub struct Ticket {
    gate: Arc<Gate>,
    origin: Origin,
    client: ClientHash,
    caller: Caller,
    turn: Option<oneshot::Receiver<()>>,
}

/// A place among the requests in flight to an origin, until it is dropped.
pub struct Slot {
    gate: Arc<Gate>,
    origin: Origin,
    client: ClientHash,
    caller: Caller,
}

impl Gate {
    /// Lets at most `per_origin` requests at a time through to one origin.
    pub fn new(per_origin: usize) -> Self {
        Self {
            started: Instant::now(),
            per_origin,
            lines: Mutex::default(),
            holds: Mutex::default(),
            wakeups: broadcast::Sender::new(WAKEUPS),
            changed: Notify::new(),
        }
    }

    /// The objects that were turned away and may send now.
    pub fn wakeups(&self) -> broadcast::Receiver<ObjectKey> {
        self.wakeups.subscribe()
    }

    /// Whether the breaker decides when this caller tries again, because the origin fails for everybody.
    pub fn circuit_open(&self, origin: &Origin, caller: &ObjectKey) -> bool {
        let lines = self.lines.lock();
        lines
            .get(origin)
            .is_some_and(|line| line.breaker.circuit_open(caller))
    }

    /// How much longer a client is held back, if it is.
    pub fn held_back(&self, client: &ClientHash) -> Option<Duration> {
        let hold = self.hold(client)?;
        Some(hold.until.saturating_sub(self.now()))
    }

    fn hold(&self, client: &ClientHash) -> Option<Hold> {
        let holds = self.holds.lock();
        holds
            .get(client)
            .filter(|hold| self.now() < hold.until)
            .copied()
    }

    /// Gives a caller permission to send a request, or says why not.
    pub fn admit(
        self: &Arc<Self>,
        origin: &Origin,
        client: ClientHash,
        caller: &Caller,
    ) -> Result<Ticket, TokenError> {
        self.check_hold(&client)?;
        let mut lines = self.lines.lock();
        let line = lines.entry(origin.clone()).or_default();
        if !line.breaker.admit(caller, self.now()) {
            self.wake_those_parked(origin, line);
            return Err(TokenError::CircuitOpen);
        }
        let turn = if line.in_flight < self.per_origin {
            line.in_flight += 1;
            None
        } else if line.waiting.len() < WAITING {
            let (sender, turn) = oneshot::channel();
            line.arrivals += 1;
            line.waiting
                .insert((caller.expires_at, line.arrivals), sender);
            Some(turn)
        } else {
            line.queued
                .insert((caller.expires_at, caller.object.clone()));
            return Err(TokenError::Queued);
        };
        Ok(Ticket {
            gate: self.clone(),
            origin: origin.clone(),
            client,
            caller: caller.clone(),
            turn,
        })
    }

    fn check_hold(&self, client: &ClientHash) -> Result<(), TokenError> {
        self.hold(client).map_or(Ok(()), |hold| {
            Err(TokenError::HeldBack { quota: hold.quota })
        })
    }

    fn hold_back(&self, client: ClientHash, hold: Hold) {
        let now = self.now();
        let mut holds = self.holds.lock();
        holds.retain(|_, hold| now < hold.until);
        let held = holds.entry(client).or_insert(hold);
        if held.until < hold.until {
            *held = hold;
        }
    }

    /// Gives a place that has become free to the next request.
    fn leave(&self, line: &mut Line) {
        line.in_flight = line.in_flight.saturating_sub(1);
        while line.in_flight < self.per_origin
            && let Some((_, turn)) = line.waiting.pop_first()
        {
            // Fails where nobody waits any more.
            if turn.send(()).is_ok() {
                line.in_flight += 1;
            }
        }
        if line.waiting.len() < WAITING / 2
            && let Some((_, name)) = line.queued.pop_first()
        {
            self.wake(name);
        }
    }

    fn wake(&self, name: ObjectKey) {
        // Fails where nobody listens, as when the operator stops.
        let _ = self.wakeups.send(name);
    }

    /// Starts the task that wakes the callers that the breaker turned away, unless it runs.
    fn wake_those_parked(self: &Arc<Self>, origin: &Origin, line: &mut Line) {
        if std::mem::replace(&mut line.waking, true) {
            self.changed.notify_waiters();
        } else {
            tokio::spawn(wake_in_turn(Arc::downgrade(self), origin.clone()));
        }
    }

    fn next(&self, origin: &Origin) -> Next {
        let mut lines = self.lines.lock();
        let Some(line) = lines.get_mut(origin) else {
            return Next::Nobody;
        };
        let next = line.breaker.next(self.now());
        line.waking = next != Next::Nobody;
        next
    }

    fn now(&self) -> SinceStart {
        self.started.elapsed()
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

async fn wake_in_turn(gate: Weak<Gate>, origin: Origin) {
    loop {
        let Some(gate) = gate.upgrade() else { return };
        let changed = gate.changed.notified();
        tokio::pin!(changed);
        // From here on a change is noticed.
        changed.as_mut().enable();
        match gate.next(&origin) {
            Next::Wake(name) => gate.wake(name),
            Next::At(then) => {
                tokio::select! {
                    () = sleep_until(gate.started + then) => {}
                    () = changed => {}
                }
            }
            Next::Nobody => return,
        }
    }
}

impl Ticket {
    /// Waits for a place. The circuit may have opened, or the client may be held back, since the ticket was given.
    pub async fn slot(self) -> Result<Slot, TokenError> {
        let Self {
            gate,
            origin,
            client,
            caller,
            turn,
        } = self;
        let waited = turn.is_some();
        if let Some(turn) = turn
            && turn.await.is_err()
        {
            // The circuit opened meanwhile: the breaker wakes this caller when it may send.
            let mut lines = gate.lines.lock();
            let line = lines.entry(origin.clone()).or_default();
            line.breaker.park(&caller);
            gate.wake_those_parked(&origin, line);
            return Err(TokenError::CircuitOpen);
        }
        let slot = Slot {
            gate,
            origin,
            client,
            caller,
        };
        if waited {
            slot.gate.check_hold(&slot.client)?;
        }
        Ok(slot)
    }
}

impl Slot {
    /// Records the result of the request.
    pub fn report(&self, reply: &Reply) {
        if let Some(hold) = reply.limits.hold {
            let until = self.gate.now() + hold.unsigned_abs();
            let quota = reply.limits.quota;
            self.gate.hold_back(self.client, Hold { until, quota });
        }
        let outage = match &reply.result {
            Ok(_) => false,
            Err(TokenError::Interrupted) => return,
            Err(error) => error.is_outage(),
        };
        let now = self.gate.now();
        let mut lines = self.gate.lines.lock();
        let line = lines.entry(self.origin.clone()).or_default();
        if outage {
            line.breaker.failed(&self.caller, now);
        } else {
            line.breaker.answered(&self.caller.object, now);
        }
        if line.breaker.is_open() {
            if outage {
                // This ends the requests that wait. The callers that were to be woken when fewer wait are woken now.
                line.waiting.clear();
                for (_, name) in std::mem::take(&mut line.queued) {
                    self.gate.wake(name);
                }
            }
            self.gate.wake_those_parked(&self.origin, line);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut lines = self.gate.lines.lock();
        if let Some(line) = lines.get_mut(&self.origin) {
            self.gate.leave(line);
        }
    }
}
