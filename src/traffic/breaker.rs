//! A circuit breaker for one token endpoint: while it fails for everybody, one caller asks for all.
//!
//! After some failures in a row, only one request at a time is sent, as a probe. The breaker remembers the callers that it
//! turned away, and wakes each of them when it may send: as the next probe, or one after the other once a probe was
//! answered. It does no I/O and has no clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;

use super::caller::Caller;
use crate::cluster::object_key::ObjectKey;

/// How many failures in a row open the circuit.
const FAILURES: u32 = 5;

/// How long after the circuit opened the first probe is sent. Doubled with each probe that fails.
const FIRST_PAUSE: Duration = Duration::from_secs(2);

/// The longest pause between two probes, and so the longest time until the end of an outage is noticed.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The pause between two callers that are let through after an outage: 20 a second.
const PACE: Duration = Duration::from_millis(50);

/// How long a caller that was woken may take until the next one is woken in its place: its object may have been deleted or
/// suspended. Longer than a token request with its deadline of 10 seconds.
const NO_SHOW: Duration = Duration::from_secs(15);

/// A moment on a monotonic clock: how long after its start.
pub type SinceStart = Duration;

/// The state of one endpoint, and who waits for it.
#[derive(Debug, Default)]
pub struct Breaker {
    state: State,
    failures: u32,
    parked: BTreeMap<ObjectKey, Parked>,
}

#[derive(Debug, Default)]
enum State {
    /// Requests are sent.
    #[default]
    Closed,
    /// Only probes are sent.
    Open {
        pause: Duration,
        probe_at: SinceStart,
        /// Which caller was woken to send the probe, and when.
        probe: Option<(ObjectKey, SinceStart)>,
    },
    /// A probe was answered: those that wait are let through one by one.
    Recovering {
        next_at: SinceStart,
        /// Who has been let through.
        released: BTreeSet<ObjectKey>,
    },
}

/// A caller that was turned away.
#[derive(Clone, Copy, Debug)]
struct Parked {
    /// How many of its probes failed or were not sent. A caller that fails for reasons of its own must not keep the others
    /// from finding out that the endpoint works again.
    probes: u32,
    /// `None`, which comes first, for one that has no token yet.
    expires_at: Option<Timestamp>,
}

/// What is to be done about the callers that wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Wake this caller.
    Wake(ObjectKey),
    /// Ask again at this time.
    At(SinceStart),
    /// No caller waits.
    Nobody,
}

impl Breaker {
    /// Whether a caller's request may be sent now. A caller that is turned away is woken later.
    pub fn admit(&mut self, caller: &Caller, now: SinceStart) -> bool {
        let name = caller.object.clone();
        let admitted = match &mut self.state {
            State::Closed => true,
            State::Recovering { released, .. } => released.contains(&name),
            State::Open {
                probe: Some((probe, _)),
                ..
            } => *probe == name,
            State::Open {
                probe_at, probe, ..
            } => {
                let first = self.parked.is_empty() && now >= *probe_at;
                if first {
                    *probe = Some((name.clone(), now));
                }
                first
            }
        };
        if !admitted {
            self.park(caller);
        }
        admitted
    }

    /// Remembers a caller that is turned away, to wake it when it may send.
    pub fn park(&mut self, caller: &Caller) {
        if self.is_open() {
            self.park_after(caller, 0);
        }
    }

    /// Whether the circuit is not closed, so that callers wait to be woken.
    pub fn is_open(&self) -> bool {
        !matches!(self.state, State::Closed)
    }

    /// Whether the breaker decides when a caller tries again, and not the caller's own back-off.
    pub fn circuit_open(&self, caller: &ObjectKey) -> bool {
        match &self.state {
            State::Closed => false,
            State::Open { .. } => true,
            State::Recovering { released, .. } => !released.contains(caller),
        }
    }

    /// Records that the endpoint answered a request. A refusal is an answer too.
    pub fn answered(&mut self, caller: &ObjectKey, now: SinceStart) {
        self.failures = 0;
        self.parked.remove(caller);
        if matches!(self.state, State::Open { .. }) {
            self.state = State::Recovering {
                next_at: now,
                released: BTreeSet::from([caller.clone()]),
            };
        }
        self.close_if_done();
    }

    /// Records that the endpoint could not be reached, or answered with a server error.
    pub fn failed(&mut self, caller: &Caller, now: SinceStart) {
        self.failures = self.failures.saturating_add(1);
        if let State::Open {
            pause,
            probe_at,
            probe,
        } = &mut self.state
        {
            let name = caller.object.clone();
            if probe.as_ref().is_some_and(|(probe, _)| *probe == name) {
                *pause = (*pause * 2).min(LONGEST_PAUSE);
                *probe_at = now + *pause;
                *probe = None;
                self.park_after(caller, 1);
            }
            // Any other was sent before the circuit opened.
            return;
        }
        if self.failures >= FAILURES {
            self.state = State::Open {
                pause: FIRST_PAUSE,
                probe_at: now + FIRST_PAUSE,
                probe: None,
            };
            self.park_after(caller, 1);
        }
        self.close_if_done();
    }

    /// Says which caller is to be woken, or when to ask again. To be asked again at once after a caller was woken.
    pub fn next(&mut self, now: SinceStart) -> Next {
        match &mut self.state {
            State::Closed => Next::Nobody,
            State::Open {
                probe_at, probe, ..
            } => {
                if let Some((_, called_at)) = probe {
                    let given_up_at = *called_at + NO_SHOW;
                    if now < given_up_at {
                        return Next::At(given_up_at);
                    }
                    *probe = None;
                }
                let Some(name) = foremost(&self.parked) else {
                    return Next::Nobody;
                };
                if now < *probe_at {
                    return Next::At(*probe_at);
                }
                // Counted beforehand, so that a caller that sends no probe although it was woken goes behind the others.
                if let Some(parked) = self.parked.get_mut(&name) {
                    parked.probes = parked.probes.saturating_add(1);
                }
                *probe = Some((name.clone(), now));
                Next::Wake(name)
            }
            State::Recovering { next_at, released } => {
                if now < *next_at {
                    return Next::At(*next_at);
                }
                let Some(name) = foremost(&self.parked) else {
                    self.state = State::Closed;
                    return Next::Nobody;
                };
                self.parked.remove(&name);
                released.insert(name.clone());
                *next_at = now + PACE;
                Next::Wake(name)
            }
        }
    }

    /// Parks a caller that has sent so many probes, unless it is parked already.
    fn park_after(&mut self, caller: &Caller, probes: u32) {
        let parked = self.parked.entry(caller.object.clone()).or_insert(Parked {
            probes,
            expires_at: None,
        });
        parked.expires_at = caller.expires_at;
    }

    fn close_if_done(&mut self) {
        if matches!(self.state, State::Recovering { .. }) && self.parked.is_empty() {
            self.state = State::Closed;
        }
    }
}

/// Who has probed least, then who has no token yet, then whose token expires soonest.
fn foremost(parked: &BTreeMap<ObjectKey, Parked>) -> Option<ObjectKey> {
    let first = parked
        .iter()
        .min_by_key(|(_, parked)| (parked.probes, parked.expires_at));
    first.map(|(name, _)| name.clone())
}

#[cfg(test)]
mod tests;
