//! An in-memory Kubernetes API for tests on a paused clock.
//!
//! A [`FakeApi`] hands out a real [`kube::Client`] that talks to it without sockets: all waiting is tokio's, so that
//! under `#[tokio::test(start_paused = true)]` a `kube::runtime::Controller` lives through months in seconds.
//!
//! It behaves as an API server where an operator for Secrets can tell: status codes and `Status` bodies, resource
//! versions and preconditions, finalizers, watches with selectors, bookmarks, time-outs and 410, metadata-only answers,
//! pages, and the garbage collector. Any custom resource is served, with a status. **It does not know schemas**: nothing is
//! defaulted, pruned or checked by CEL. Dry runs, server-side apply, strategic merge patches, deletions that wait for what
//! is owned or leave it, and discovery are not simulated.
//!
//! What it answers is compared with a real API server, answer by answer, by a test in `tests/fake_api.rs`.
//!
//! | Part | File |
//! |---|---|
//! | paths, selectors, refusals, views and metadata of objects | `path.rs`, `selector.rs`, `error.rs`, `view.rs`, `metadata.rs` |
//! | the objects, their rules and their history: no HTTP, no time | `store.rs`, `rules.rs`, `validate.rs` |
//! | requests and answers | `http.rs`, `watch.rs` |
//! | what tests see and steer | `record.rs`, `fault.rs`, `control.rs` |

mod control;
mod error;
mod fault;
mod http;
mod metadata;
mod path;
mod record;
mod rules;
mod selector;
mod store;
mod validate;
mod view;
mod watch;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::{sync::watch::Sender, time::Instant};

use self::{
    error::ApiError, fault::Denial, path::Target, record::Record, store::Store, watch::Pulse,
};
pub use self::{
    fault::Fault,
    record::{Request, Verb},
    store::NamespaceState,
};

/// The wall clock's start, unless a test brings its own: 2026-01-01T00:00:00Z.
const START: Timestamp = Timestamp::constant(1_767_225_600, 0);

type Clock = dyn Fn() -> Timestamp + Send + Sync;
type Hook = dyn Fn(&Request) -> Fault + Send + Sync;

/// A cluster's API in memory. Clones are the same cluster.
///
/// Every lock is held for one operation only, and never while code of the test runs: clock and fault hook may use
/// the [`FakeApi`] themselves.
#[derive(Clone)]
pub struct FakeApi {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Box<Clock>,
    started: Instant,
    store: Mutex<Store>,
    record: Mutex<Record>,
    denials: Mutex<Vec<Denial>>,
    hook: Mutex<Option<Arc<Hook>>>,
    pulse: Sender<Pulse>,
    streams_lists: AtomicBool,
}

impl fmt::Debug for FakeApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeApi").finish_non_exhaustive()
    }
}

impl Default for FakeApi {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeApi {
    /// An empty cluster whose wall clock starts at 2026-01-01T00:00:00Z and runs with tokio's.
    #[must_use]
    pub fn new() -> Self {
        let started = Instant::now();
        Self::with_clock(move || {
            let elapsed =
                SignedDuration::try_from(started.elapsed()).unwrap_or(SignedDuration::MAX);
            START.checked_add(elapsed).unwrap_or(Timestamp::MAX)
        })
    }

    /// An empty cluster with a wall clock of the test's own. It is only used for
    /// `creationTimestamp` and `deletionTimestamp`.
    #[must_use]
    pub fn with_clock(clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self {
            shared: Arc::new(Shared {
                clock: Box::new(clock),
                started: Instant::now(),
                store: Mutex::default(),
                record: Mutex::default(),
                denials: Mutex::default(),
                hook: Mutex::default(),
                pulse: Sender::new(Pulse::default()),
                streams_lists: AtomicBool::new(true),
            }),
        }
    }

    /// A client of this cluster, with the default namespace `default`. It neither retries nor times out.
    ///
    /// # Panics
    /// Outside a tokio runtime. The client works only as long as that runtime.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        let shared = self.shared.clone();
        kube::Client::new(
            tower::service_fn(move |request| http::serve(shared.clone(), request)),
            "default",
        )
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A test that panicked elsewhere reports itself; the state behind the lock is still whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }

    /// Runs a write and wakes the watches if it changed something.
    fn write<T>(
        &self,
        write: impl FnOnce(&mut Store) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let (result, revision) = {
            let mut store = self.store();
            (write(&mut store), store.revision())
        };
        self.pulse.send_if_modified(|pulse| {
            // Another thread's later write may have been faster with its pulse.
            let moved = revision > pulse.revision;
            pulse.revision = pulse.revision.max(revision);
            moved
        });
        result
    }

    /// The wall clock, as metadata shows it: in whole seconds.
    fn now(&self) -> String {
        let now = (self.clock)();
        Timestamp::from_second(now.as_second())
            .unwrap_or(now)
            .to_string()
    }

    fn arrival(&self, verb: Verb, target: &Target) -> Request {
        let resource = match &target.subresource {
            Some(subresource) => format!("{}/{subresource}", target.resource.plural),
            None => target.resource.plural.clone(),
        };
        Request {
            number: lock(&self.record).arrival(verb, &resource),
            at: self.started.elapsed(),
            verb,
            group: target.resource.group.clone(),
            resource,
            namespace: target.namespace.clone(),
            name: target.name.clone().unwrap_or_default(),
            code: 0,
        }
    }

    fn answered(&self, request: Request) {
        lock(&self.record).answered(request);
    }

    fn fault(&self, request: &Request) -> Fault {
        let hook = lock(&self.hook).clone();
        hook.map_or(Fault::None, |hook| hook(request))
    }

    fn denies(&self, request: &Request) -> bool {
        lock(&self.denials)
            .iter()
            .any(|denial| denial.applies_to(request))
    }

    fn forbids(&self, verb: &str, resource: &str, namespace: &str, name: &str) -> bool {
        lock(&self.denials)
            .iter()
            .any(|denial| denial.forbids(verb, resource, namespace, name))
    }
}
