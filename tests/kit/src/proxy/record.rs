//! The record of calls, and the fault that waits for its call.

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
    progress: watch::Sender<Progress>,
}

/// How far an injection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Progress {
    /// The call has not come.
    Waiting,
    /// The fault has happened to it.
    Struck,
    /// The call has ended on both sides.
    Over,
}

#[derive(Debug)]
struct State {
    calls: Vec<Call>,
    fault: Option<(Call, Fault)>,
    /// A resource, and the version whose list of it is served once.
    stale: Option<(String, String)>,
    in_flight: usize,
    last: Instant,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                calls: Vec::new(),
                fault: None,
                stale: None,
                in_flight: 0,
                last: Instant::now(),
            }),
            progress: watch::Sender::new(Progress::Waiting),
        }
    }
}

impl Record {
    /// Enters a call, and says what is to happen to it.
    pub fn enter(&self, what: String) -> Option<Fault> {
        let mut state = self.lock();
        let earlier = state.calls.iter().filter(|call| call.what == what).count();
        let call = Call {
            what,
            ordinal: earlier + 1,
        };
        state.calls.push(call.clone());
        let fault = state.fault.take_if(|(awaited, _)| *awaited == call);
        fault.map(|(_, fault)| fault)
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

    /// Counts a call as in flight for as long as the value lives.
    pub fn in_flight(&self) -> InFlight<'_> {
        self.lock().in_flight += 1;
        InFlight(self)
    }

    /// Says that the fault happens now. The call it happens to is over when the value is dropped.
    pub fn strike(&self) -> Strike<'_> {
        self.progress.send_replace(Progress::Struck);
        Strike(self)
    }

    pub fn clear(&self) {
        self.lock().calls.clear();
    }

    pub fn inject(&self, call: Call, fault: Fault) {
        self.progress.send_replace(Progress::Waiting);
        self.lock().fault = Some((call, fault));
    }

    pub fn serve_stale(&self, resource: &str, version: &str) {
        self.lock().stale = Some((resource.to_owned(), version.to_owned()));
    }

    pub fn served_stale(&self) -> bool {
        self.lock().stale.is_none()
    }

    pub fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    pub async fn reached(&self, progress: Progress) {
        let mut reached = self.progress.subscribe();
        // Fails only where the sender is gone, and that is borrowed here.
        let _ = reached.wait_for(|now| *now >= progress).await;
    }

    /// How long ago the last call ended; nothing while one is in flight.
    pub fn idle_for(&self) -> Duration {
        let state = self.lock();
        if state.in_flight > 0 {
            return Duration::ZERO;
        }
        state.last.elapsed()
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

/// See [`Record::strike`].
pub(super) struct Strike<'a>(&'a Record);

impl Drop for Strike<'_> {
    fn drop(&mut self) {
        self.0.progress.send_replace(Progress::Over);
    }
}
