//! One watch: its own pause after a failure, what is said of a failure, and the looks that take its place meanwhile.

use std::{fmt::Debug, mem, sync::Arc, time::Duration};

use futures::{Stream, stream::unfold};
use kube::{
    Resource,
    runtime::watcher::{self, Event},
};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::{
    sync::watch,
    time::{Instant, error::Elapsed, sleep, timeout},
};

use super::{
    definition::CrdPresence,
    list_watch::{ListWatch, Selection, Versioned},
    metrics::Metrics,
};

/// How long a watch pauses after it failed.
///
/// kube's default doubles from 0.8 s to half a minute. The few errors that come of one restart of the API server
/// (connections refused, roles not loaded yet, versions too old) kept the operator from seeing any change for longer than
/// the restart took.
const PAUSE: Duration = Duration::from_secs(2);

/// The same once it has been refused for longer than [`LOADING`].
const PAUSE_REFUSED: Duration = Duration::from_secs(10);

/// How long an API server that has just started may refuse what it will allow once it has loaded the roles.
const LOADING: Duration = Duration::from_secs(30);

/// How often objects are looked at where no watch tells of changes.
pub const LOOK_INTERVAL: Duration = Duration::from_mins(5);

/// How long a watch that failed before must go on without an event to count as working: a refusal comes at once.
const QUIET: Duration = Duration::from_secs(10);

/// For how long a watch may fail until what it has shown cannot be relied on.
const RELIABLE_FOR: Duration = Duration::from_mins(1);

/// What a watch shows, and the version up to which everything is known then.
pub type Shown<K> = (Event<K>, u64);

/// A watch of one resource, in one namespace or in all. All clones share one state.
#[derive(Clone, Debug)]
pub struct Watch(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    resource: String,
    /// `*` where it is all of them.
    namespace: String,
    /// The definition of the resource, if it has one that can be missing.
    definition: Option<CrdPresence>,
    metrics: Metrics,
    state: Mutex<State>,
    /// Whether the API server has either listed the objects or refused to.
    answered: watch::Sender<bool>,
    /// Tells that a look takes the place of what the watch would tell of.
    looks: watch::Sender<()>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    listed: bool,
    /// What is wrong, and since when anything has been.
    trouble: Option<(Trouble, Instant)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// The API server answered with this HTTP status.
    Refused(u16),
    /// The API server did not answer.
    Unanswered,
}

impl State {
    fn refused_since(&self) -> Option<Instant> {
        match self.trouble {
            Some((Trouble::Refused(_), since)) => Some(since),
            _ => None,
        }
    }
}

impl Watch {
    /// A watch that has not begun. An answer of 404 means that `definition` is missing.
    pub fn of<K: Resource<DynamicType = ()>>(
        namespace: Option<&str>,
        definition: Option<CrdPresence>,
        metrics: Metrics,
    ) -> Self {
        let watch = Self(Arc::new(Shared {
            resource: K::plural(&()).into_owned(),
            namespace: namespace.unwrap_or("*").to_owned(),
            definition,
            metrics,
            state: Mutex::default(),
            answered: watch::Sender::new(false),
            looks: watch::Sender::new(()),
        }));
        watch.count(false);
        watch
    }

    /// Whether the objects have been listed.
    pub fn has_listed(&self) -> bool {
        self.0.state.lock().listed
    }

    /// Whether the API server has either listed the objects or refused to.
    pub fn was_answered(&self) -> bool {
        *self.0.answered.borrow()
    }

    /// Waits for that.
    pub async fn wait_for_answer(&self) {
        // Fails only where there is no sender, and `self` has one.
        let _ = self.0.answered.subscribe().wait_for(|is| *is).await;
    }

    /// Whether what was shown can be relied on: the objects were listed, and the watch has not been failing for a minute.
    pub fn is_reliable(&self) -> bool {
        let state = self.0.state.lock();
        let is_new = |since: Instant| since.elapsed() < RELIABLE_FOR;
        state.listed && state.trouble.is_none_or(|(_, since)| is_new(since))
    }

    /// Begins. The stream has the events, without an end and without an error: after a failure the watch pauses and goes on where
    /// it was. Where it has been refused for [`LOOK_INTERVAL`], it begins anew with a list, which may be allowed where watching is
    /// not.
    pub fn begin<K>(&self, selection: Selection) -> impl Stream<Item = Shown<K>> + Send + 'static
    where
        K: Versioned + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let active = ActiveWatch {
            events: ListWatch::new(selection),
            begun: Instant::now(),
            lists: true,
            has_listed: false,
            has_looked: false,
            watch: self.clone(),
        };
        unfold(active, async |mut active| {
            let event = active.next().await;
            let version = active.events.version().unwrap_or_default();
            Some(((event, version), active))
        })
    }

    /// Has an item once the watch has been refused for a minute, and then each [`LOOK_INTERVAL`]: no event tells what happens.
    pub fn looks(&self) -> impl Stream<Item = ()> + Send + 'static {
        // Where the last one has not been taken yet, one look is enough for both.
        unfold(self.0.looks.subscribe(), async |mut looks| {
            looks.changed().await.ok()?;
            Some(((), looks))
        })
    }

    /// Resource and namespace, for metrics and lines of the log.
    fn name(&self) -> (&str, &str) {
        (&self.0.resource, &self.0.namespace)
    }

    fn count(&self, fails: bool) {
        let (resource, namespace) = self.name();
        self.0.metrics.watch_fails(resource, namespace, fails);
    }

    fn listed(&self) {
        self.0.state.lock().listed = true;
        self.0.answered.send_replace(true);
    }

    fn works(&self) {
        if self.0.state.lock().trouble.take().is_none() {
            return;
        }
        self.count(false);
        let (resource, namespace) = self.name();
        tracing::info!(resource, namespace, "the watch works again");
    }

    fn failed(&self, error: &watcher::Error) {
        let Some(trouble) = trouble(error) else {
            let (resource, namespace) = self.name();
            tracing::debug!(
                resource,
                namespace,
                "the watch has expired (HTTP 410): it begins anew with a list"
            );
            return;
        };
        let earlier = {
            if matches!(trouble, Trouble::Refused(_)) {
                self.0.answered.send_replace(true);
            }
            let mut state = self.0.state.lock();
            let since = state.trouble.map_or_else(Instant::now, |(_, since)| since);
            state.trouble.replace((trouble, since))
        };
        let definition = self.0.definition.as_ref();
        let is_unwanted =
            trouble == Trouble::Refused(404) && definition.is_some_and(CrdPresence::is_optional);
        if !is_unwanted {
            self.count(true);
        }
        match (trouble, definition) {
            (Trouble::Refused(404), Some(definition)) => definition.went_missing(),
            _ if earlier.is_some_and(|(earlier, _)| earlier == trouble) => {}
            _ => self.tell(trouble),
        }
    }

    fn tell(&self, trouble: Trouble) {
        let (resource, namespace) = self.name();
        match trouble {
            Trouble::Refused(code) => tracing::warn!(
                resource,
                namespace,
                "the watch is refused with HTTP {code}: until it works, what it would tell of is looked for every 5 minutes"
            ),
            Trouble::Unanswered => tracing::warn!(
                resource,
                namespace,
                "the watch is not answered: it is tried again until it works"
            ),
        }
    }

    fn pause(&self) -> Duration {
        match self.0.state.lock().refused_since() {
            Some(since) if since.elapsed() > LOADING => PAUSE_REFUSED,
            _ => PAUSE,
        }
    }
}

/// A watch at work.
struct ActiveWatch<K> {
    events: ListWatch<K>,
    /// When it began with a list.
    begun: Instant,
    /// Whether the list has not ended yet.
    lists: bool,
    /// Whether the end of a list was returned last.
    has_listed: bool,
    /// Whether a look was asked for since the watch is refused.
    has_looked: bool,
    watch: Watch,
}

impl<K> ActiveWatch<K>
where
    K: Versioned + Clone + Debug + DeserializeOwned + Send + 'static,
{
    /// The next event, however often the watch fails before it.
    async fn next(&mut self) -> Event<K> {
        if mem::take(&mut self.has_listed) {
            // Whoever takes the events has taken all of the list by now, and not when its end was returned.
            self.watch.listed();
        }
        loop {
            match self.wait().await {
                Ok(Ok(event)) => {
                    self.saw(&event);
                    return event;
                }
                Ok(Err(error)) => {
                    self.watch.failed(&error);
                    sleep(self.watch.pause()).await;
                    if self.is_due_anew() {
                        self.begun = Instant::now();
                        self.events.restart();
                        self.look();
                    } else if !self.has_looked && self.is_refused_for(RELIABLE_FOR) {
                        self.look();
                    }
                }
                Err(_) => {
                    self.has_looked = false;
                    self.watch.works();
                }
            }
        }
    }

    /// Waits for what comes next. After a failure that is not over, only for [`QUIET`].
    async fn wait(&mut self) -> Result<watcher::Result<Event<K>>, Elapsed> {
        let next = self.events.next();
        if self.lists || self.watch.0.state.lock().trouble.is_none() {
            Ok(next.await)
        } else {
            timeout(QUIET, next).await
        }
    }

    fn saw(&mut self, event: &Event<K>) {
        match event {
            Event::Init => self.lists = true,
            Event::InitApply(_) => {}
            Event::InitDone => {
                self.lists = false;
                self.has_listed = true;
            }
            Event::Apply(_) | Event::Delete(_) => {
                self.has_looked = false;
                self.watch.works();
            }
        }
    }

    fn look(&mut self) {
        self.has_looked = true;
        self.watch.0.looks.send_replace(());
    }

    fn is_refused_for(&self, time: Duration) -> bool {
        let refused = self.watch.0.state.lock().refused_since();
        refused.is_some_and(|since| since.elapsed() >= time)
    }

    /// Whether it has been refused for so long that it is to begin with a list.
    fn is_due_anew(&self) -> bool {
        self.is_refused_for(LOOK_INTERVAL) && self.begun.elapsed() >= LOOK_INTERVAL
    }
}

/// What is wrong with a watch that failed. Nothing where only the history that it needs is gone: it lists anew.
fn trouble(error: &watcher::Error) -> Option<Trouble> {
    let code = match error {
        watcher::Error::WatchError(status)
        | watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => Some(status.code),
        _ => None,
    };
    match code {
        Some(410) => None,
        Some(code) => Some(Trouble::Refused(code)),
        None => Some(Trouble::Unanswered),
    }
}
