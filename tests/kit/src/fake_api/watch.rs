//! A running watch: changes as lines of JSON, until its time is over.

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use axum::body::Bytes;
use futures::{Stream, stream};
use serde_json::{Value, json};
use tokio::{
    sync::watch::Receiver,
    time::{Instant, sleep_until},
};

use super::{
    Shared,
    error::ApiError,
    metadata::text,
    path::ResourceName,
    selector::Selector,
    store::{Change, Store, at_revision},
    view::View,
};

/// How long a watch lasts that names no time. An API server takes a random time from 30 to 60 minutes.
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(30);

/// A bookmark is sent this long before the end. An API server also sends one each minute, which would only cost time.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);

/// What wakes watches up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pulse {
    pub revision: u64,
    /// Watches end when this changes.
    pub connection: u64,
}

/// What to follow, as the request says.
#[derive(Debug)]
pub(super) struct WatchOptions {
    pub resource: ResourceName,
    pub api_version: String,
    pub namespace: String,
    pub selector: Selector,
    pub view: View,
    /// `None` and 0 start with the present objects.
    pub from: Option<u64>,
    pub timeout: Option<Duration>,
    pub bookmarks: bool,
    /// End the present objects with a bookmark that says so: a streaming list.
    pub mark_initial_end: bool,
}

struct Watch {
    shared: Arc<Shared>,
    pulse: Receiver<Pulse>,
    connection: u64,
    options: WatchOptions,
    /// The last revision that was looked at.
    seen: u64,
    lines: VecDeque<Bytes>,
    ended: bool,
    end: Instant,
    bookmark: Option<Instant>,
}

/// Starts a watch. What changes between this call and the first poll is not lost.
pub(super) fn start(
    shared: Arc<Shared>,
    options: WatchOptions,
) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
    let pulse = shared.pulse.subscribe();
    let connection = pulse.borrow().connection;
    let timeout = options
        .timeout
        .filter(|t| !t.is_zero())
        .unwrap_or(DEFAULT_TIMEOUT);
    let end = Instant::now() + timeout;
    let bookmark = options
        .bookmarks
        .then(|| end - BOOKMARK_BEFORE_END.min(timeout / 2));
    let mut watch = Watch {
        seen: options.from.unwrap_or_default(),
        shared,
        pulse,
        connection,
        options,
        lines: VecDeque::new(),
        ended: false,
        end,
        bookmark,
    };
    if watch.seen == 0 {
        watch.send_present_objects();
    }
    stream::unfold(watch, Watch::next)
}

impl Watch {
    async fn next(mut self) -> Option<(io::Result<Bytes>, Self)> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some((Ok(line), self));
            }
            if self.ended || self.pulse.borrow_and_update().connection != self.connection {
                return None;
            }
            self.send_changes();
            if !self.lines.is_empty() {
                continue;
            }
            tokio::select! {
                biased;
                changed = self.pulse.changed() => changed.ok()?,
                () = sleep_until(self.bookmark.unwrap_or(self.end)), if self.bookmark.is_some() => {
                    self.bookmark = None;
                    self.send_bookmark(json!({}));
                }
                () = sleep_until(self.end) => return None,
            }
        }
    }

    fn send_present_objects(&mut self) {
        let shared = self.shared.clone();
        let store = shared.store();
        for object in store
            .list(&self.options.resource, &self.options.namespace)
            .values()
        {
            if self.options.selector.matches(object) {
                self.send("ADDED", self.options.view.of(object));
            }
        }
        self.seen = store.revision();
        if self.options.mark_initial_end {
            self.send_bookmark(json!({"k8s.io/initial-events-end": "true"}));
        }
    }

    fn send_changes(&mut self) {
        let shared = self.shared.clone();
        let store: &Store = &shared.store();
        let Some(changes) = store.changes_after(self.seen) else {
            let message = format!(
                "too old resource version: {} ({})",
                self.seen,
                store.revision()
            );
            self.send("ERROR", ApiError::expired(&message).body());
            self.ended = true;
            return;
        };
        for change in changes {
            if let Some((kind, object)) = self.seen_as(change) {
                self.send(kind, self.options.view.of(&object));
            }
        }
        // A version from the future (of a client of another cluster) waits until it is reached.
        self.seen = self.seen.max(store.revision());
    }

    /// What a change is to this watch: an object that starts or stops matching the selector comes or goes.
    fn seen_as(&self, change: &Change) -> Option<(&'static str, Arc<Value>)> {
        if !change.concerns(&self.options.resource, &self.options.namespace) {
            return None;
        }
        let selected = |object: &Option<Arc<Value>>| {
            object.clone().filter(|o| self.options.selector.matches(o))
        };
        match (selected(&change.old), selected(&change.new)) {
            (None, Some(new)) => Some(("ADDED", new)),
            (Some(_), Some(new)) => Some(("MODIFIED", new)),
            (Some(old), None) => Some(("DELETED", Arc::new(at_revision(&old, change.revision)))),
            (None, None) => None,
        }
    }

    fn send_bookmark(&mut self, annotations: Value) {
        let metadata = json!({
            "resourceVersion": self.seen.to_string(),
            "creationTimestamp": null,
            "annotations": annotations,
        });
        let api_version = &self.options.api_version;
        let object = json!({"apiVersion": api_version, "kind": "Bookmark", "metadata": metadata});
        self.send("BOOKMARK", object);
    }

    fn send(&mut self, kind: &str, object: Value) {
        debug_assert!(kind == "ERROR" || text(&object, "resourceVersion").is_some());
        // The type comes first, as an API server writes it: readers need not hold the object until they know what it is.
        let line = format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n");
        self.lines.push_back(line.into());
    }
}
