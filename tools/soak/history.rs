//! What happened, as far as the verdict depends on it. Each step is written down before it's taken.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A moment: the time since 1970, since tokens and the stand-in's records have times of day.
pub type Moment = Duration;

/// Now.
pub fn now() -> Moment {
    moment(SystemTime::now())
}

/// A time of day as a moment.
pub fn moment(time: SystemTime) -> Moment {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// From when to when something went on. The end is far away while it does.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// When it began.
    pub start: Moment,
    /// When it had ended.
    pub end: Moment,
}

impl Span {
    /// One that begins now.
    pub fn begin() -> Span {
        Span {
            start: now(),
            end: Moment::MAX,
        }
    }
}

/// A token.
#[derive(Clone, Debug)]
pub struct Token {
    /// When it was issued.
    pub at: Moment,
    /// Its claim `jti`.
    pub id: String,
}

/// What happened to one EdgeCredential.
#[derive(Clone, Debug, Default)]
pub struct ObjectHistory {
    /// The tokens that it was issued.
    pub tokens: Vec<Token>,
    /// Each rotation of its client's secret: from the stand-in's word to the Secret's change.
    pub rotations: Vec<Span>,
    /// Each request of a renewal.
    pub renewals_asked: Vec<Span>,
    /// When its target was damaged, even if harmlessly.
    pub damages: Vec<Moment>,
    /// When the token in its target was destroyed, or what proves it.
    pub losses: Vec<Moment>,
    /// The claims `jti` of all tokens that were seen in its target.
    pub stored: HashSet<String>,
    /// Seconds in which its token had expired, and an operator should have replaced it.
    pub expired: u64,
    /// Seconds in which its token had expired, but the API server was away or had just come back.
    pub excused: u64,
    /// Seconds in which its target held no token, although it had not been damaged a short while before.
    pub missing: u64,
    /// The longest time from a look at a damaged target to one at a sound one.
    pub longest_repair: Duration,
}

/// What happened to all.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Each time that the API server was away.
    pub outages: Vec<Span>,
    /// Each time that the one operator was killed: until it was ready again.
    pub kills: Vec<Span>,
    /// Looks at all targets of all namespaces.
    pub looks: u64,
    /// Looks at a namespace that were not answered.
    pub unanswered: u64,
    /// Of each EdgeCredential.
    pub objects: Vec<ObjectHistory>,
    /// Of the operator that is never killed, every few seconds.
    pub vitals: Vec<Vitals>,
}

/// What the process of an operator takes at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Vitals {
    /// When.
    pub at: Moment,
    /// Anonymous memory, in MiB.
    pub memory: f64,
    /// Open file descriptors.
    pub descriptors: f64,
}

/// A history that several tasks write.
#[derive(Debug, Default)]
pub struct SharedHistory(Mutex<History>);

impl SharedHistory {
    /// One with so many objects.
    pub fn of(objects: usize) -> SharedHistory {
        SharedHistory(Mutex::new(History {
            objects: vec![ObjectHistory::default(); objects],
            ..History::default()
        }))
    }

    /// For reading and writing.
    pub fn lock(&self) -> MutexGuard<'_, History> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
