//! The record of calls, and the faults that wait for their calls.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{Call, Fault};

/// What both servers of a proxy share with its handle.
#[derive(Debug)]
pub(super) struct Record {
    state: Mutex<State>,
}

/// How far an injection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Progress {
    /// The call has not come.
    Waiting,
    /// The fault has happened to it.
    Struck,
    /// The call has ended on both sides.
    Over,
}

/// A fault that was injected, to wait for.
#[derive(Debug)]
pub struct Injected(watch::Receiver<Progress>);

impl Injected {
    /// Waits until the fault has happened to its call. Where the answer is withheld: until the call has arrived, or the
    /// answer that is withheld.
    pub async fn struck(&self) {
        self.reached(Progress::Struck).await;
    }

    /// Waits until the call that the fault happened to has ended on both sides.
    pub async fn over(&self) {
        self.reached(Progress::Over).await;
    }

    async fn reached(&self, progress: Progress) {
        let mut reached = self.0.clone();
        // Fails only where the proxy is gone.
        let _ = reached.wait_for(|now| *now >= progress).await;
    }
}

/// A fault, and whoever waits for it.
#[derive(Debug)]
pub(super) struct Strike {
    pub fault: Fault,
    progress: watch::Sender<Progress>,
}

impl Strike {
    /// Says that the fault happens now. The call is over when the value is dropped.
    pub fn begin(&self) {
        self.progress.send_replace(Progress::Struck);
    }
}

impl Drop for Strike {
    fn drop(&mut self) {
        self.progress.send_replace(Progress::Over);
    }
}

#[derive(Debug)]
struct State {
    calls: Vec<Call>,
    awaited: Vec<(Call, Strike)>,
    /// A resource, and the version whose list of it is served once.
    stale: Option<(String, String)>,
    /// Whether lists of earlier versions are refused.
    refuses_history: bool,
    in_flight: usize,
    last: Instant,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                calls: Vec::new(),
                awaited: Vec::new(),
                stale: None,
                refuses_history: false,
                in_flight: 0,
                last: Instant::now(),
            }),
        }
    }
}

impl Record {
    /// Enters a call, and says what is to happen to it.
    pub fn enter(&self, what: String) -> Option<Strike> {
        let mut state = self.lock();
        let earlier = state.calls.iter().filter(|call| call.what == what).count();
        let call = Call {
            what,
            ordinal: earlier + 1,
        };
        let its = state.awaited.iter().position(|(awaits, _)| *awaits == call);
        let strike = its.map(|its| state.awaited.swap_remove(its).1);
        state.calls.push(call);
        strike
    }

    /// The resource version as of which this call is to be answered, if it's the list that is to be stale.
    pub fn stale(&self, what: &str) -> Option<String> {
        let listed = what.strip_prefix("LIST ")?;
        let stale = self
            .lock()
            .stale
            .take_if(|(resource, _)| resource == listed);
        stale.map(|(_, version)| version)
    }

    /// Whether the list of this resource that comes next is to be stale.
    pub fn awaits_stale(&self, resource: &str) -> bool {
        let state = self.lock();
        let stale = state.stale.as_ref();
        stale.is_some_and(|(awaited, _)| awaited == resource)
    }

    /// Counts a call as in flight for as long as the value lives.
    pub fn in_flight(&self) -> InFlight<'_> {
        self.lock().in_flight += 1;
        InFlight(self)
    }

    pub fn clear(&self) {
        self.lock().calls.clear();
    }

    pub fn inject(&self, call: Call, fault: Fault) -> Injected {
        let (progress, seen) = watch::channel(Progress::Waiting);
        let strike = Strike { fault, progress };
        self.lock().awaited.push((call, strike));
        Injected(seen)
    }

    pub fn serve_stale(&self, resource: &str, version: &str) {
        self.lock().stale = Some((resource.to_owned(), version.to_owned()));
    }

    pub fn served_stale(&self) -> bool {
        self.lock().stale.is_none()
    }

    pub fn refuse_history(&self) {
        self.lock().refuses_history = true;
    }

    pub fn refuses_history(&self) -> bool {
        self.lock().refuses_history
    }

    pub fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    /// How many calls there were, if all have been answered and no other has come for so long.
    pub fn count_at_rest(&self, time: Duration) -> Option<usize> {
        let state = self.lock();
        let is_quiet = state.in_flight == 0 && state.last.elapsed() >= time;
        is_quiet.then_some(state.calls.len())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere is reported there.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Record::in_flight`].
pub(super) struct InFlight<'a>(&'a Record);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.in_flight -= 1;
        state.last = Instant::now();
    }
}
