//! Lists the objects of one resource, and then follows their changes, whatever ends in between.
//!
//! This is what kube's `watcher` does, with two differences. A list that is streamed is as new as the API server's store:
//! kube asks for one that may be older than what another API server has shown. And the versions are known, by which what a
//! watch says is compared with what calls answered. Where lists cannot be streamed (before Kubernetes 1.34), they come in small
//! pages: each page is held as a whole, and whoever may write a Secret may give it annotations of 256 KiB.

use std::{fmt::Debug, mem, time::Duration, vec};

use futures::{Stream, StreamExt, stream::BoxStream};
use kube::{
    Client, Resource,
    api::{ListParams, Request, WatchEvent, WatchParams},
    core::ListMeta,
    runtime::watcher::{Error, Event, Result},
};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::time::timeout;

use crate::cluster::secret_index::SeenSecret;

/// How many objects a page of a list has, where lists are not streamed.
const PAGE: u32 = 50;

/// After how many seconds the API server ends a watch, so that the next one may go to another server.
const WATCH_TIMEOUT: u32 = 290;

/// How much later than that a connection counts as dead on which nothing comes.
const IDLE_MARGIN: Duration = Duration::from_secs(5);

/// Marks the bookmark that ends a list that is streamed.
const END_OF_LIST: &str = "k8s.io/initial-events-end";

/// Something that has a resourceVersion.
pub trait Versioned {
    /// The resourceVersion as a number. It is one on every API server there is, and may be compared since Kubernetes 1.35
    /// (KEP-5504).
    fn version(&self) -> Option<u64>;
}

impl Versioned for SeenSecret {
    fn version(&self) -> Option<u64> {
        parse(Some(&self.version.resource_version))
    }
}

/// What is listed and watched.
#[derive(Clone)]
pub struct Selection {
    client: Client,
    request: Request,
    labels: Option<String>,
    fields: Option<String>,
    is_metadata: bool,
}

impl Selection {
    /// The objects of a kind, in one namespace or in all.
    pub fn of<K: Resource<DynamicType = ()>>(client: Client, namespace: Option<&str>) -> Self {
        Self {
            client,
            request: Request::new(K::url_path(&(), namespace)),
            labels: None,
            fields: None,
            is_metadata: false,
        }
    }

    /// The metadata alone of such objects.
    pub fn metadata_of<K: Resource<DynamicType = ()>>(
        client: Client,
        namespace: Option<&str>,
    ) -> Self {
        Self {
            is_metadata: true,
            ..Self::of::<K>(client, namespace)
        }
    }

    /// Only those with such labels.
    pub fn with_labels(mut self, selector: Option<String>) -> Self {
        self.labels = selector;
        self
    }

    /// Only those with such fields.
    pub fn with_fields(mut self, selector: &str) -> Self {
        self.fields = Some(selector.into());
        self
    }

    async fn watch<K>(&self, version: Option<u64>) -> kube::Result<Changes<K>>
    where
        K: Clone + DeserializeOwned + Send + 'static,
    {
        let params = WatchParams {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            timeout: Some(WATCH_TIMEOUT),
            bookmarks: true,
            send_initial_events: version.is_none(),
        };
        // An empty version is none, and so the newest.
        let version = version.map_or_else(String::new, |version| version.to_string());
        let request = if self.is_metadata {
            self.request.watch_metadata(&params, &version)
        } else {
            self.request.watch(&params, &version)
        };
        let request = request.map_err(kube::Error::BuildRequest)?;
        let changes = self.client.request_events(request).await?;
        Ok(changes.boxed())
    }

    async fn list<K: DeserializeOwned>(&self, next: Option<String>) -> kube::Result<Page<K>> {
        let params = ListParams {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            limit: Some(PAGE),
            continue_token: next,
            ..ListParams::default()
        };
        let request = if self.is_metadata {
            self.request.list_metadata(&params)
        } else {
            self.request.list(&params)
        };
        let request = request.map_err(kube::Error::BuildRequest)?;
        self.client.request(request).await
    }
}

type Changes<K> = BoxStream<'static, kube::Result<WatchEvent<K>>>;

#[derive(Deserialize)]
struct Page<K> {
    metadata: ListMeta,
    items: Vec<K>,
}

/// Lists and watches. Each failure is returned once, and then it goes on from where it was.
pub struct ListWatch<K> {
    selection: Selection,
    /// Whether the API server streams lists, as far as is known: one that does not says that the parameters are wrong.
    streams: bool,
    phase: Phase<K>,
    /// Up to which version all changes are known.
    version: Option<u64>,
}

enum Phase<K> {
    /// Everything is to be listed.
    Unlisted,
    /// A list is streamed.
    Streaming(Changes<K>),
    /// A list is read page by page: what is left of one, and where the next one begins.
    Paging(vec::IntoIter<K>, Next),
    /// All was listed, and no watch is open.
    Listed,
    Watching(Changes<K>),
}

enum Next {
    Page(Option<String>),
    End,
}

impl<K> ListWatch<K>
where
    K: Versioned + Clone + DeserializeOwned + Debug + Send + 'static,
{
    /// Begins with a list.
    pub fn new(selection: Selection) -> Self {
        Self {
            selection,
            streams: true,
            phase: Phase::Unlisted,
            version: None,
        }
    }

    /// Begins anew, with a list.
    pub fn restart(&mut self) {
        self.phase = Phase::Unlisted;
    }

    /// The version up to which all changes are known, once a list has ended.
    pub fn version(&self) -> Option<u64> {
        self.version
    }

    /// The next event, or the next failure. May be called again after it was cancelled.
    pub async fn next(&mut self) -> Result<Event<K>> {
        loop {
            if let Some(event) = self.step().await? {
                return Ok(event);
            }
        }
    }

    async fn step(&mut self) -> Result<Option<Event<K>>> {
        match &mut self.phase {
            Phase::Unlisted => self.begin().await.map(Some),
            Phase::Paging(items, next) => {
                if let Some(object) = items.next() {
                    return Ok(Some(Event::InitApply(object)));
                }
                match mem::replace(next, Next::End) {
                    Next::Page(from) => self.turn_page(from).await,
                    Next::End => {
                        self.phase = Phase::Listed;
                        Ok(Some(Event::InitDone))
                    }
                }
            }
            Phase::Listed => {
                let changes = self.selection.watch(self.version).await;
                self.phase = Phase::Watching(changes.map_err(Error::WatchStartFailed)?);
                Ok(None)
            }
            Phase::Streaming(changes) => {
                let change = next_in_time(changes).await;
                self.take_listed(change)
            }
            Phase::Watching(changes) => {
                let change = next_in_time(changes).await;
                self.take_changed(change)
            }
        }
    }

    async fn begin(&mut self) -> Result<Event<K>> {
        if self.streams {
            match self.selection.watch(None).await {
                Ok(changes) => {
                    self.phase = Phase::Streaming(changes);
                    return Ok(Event::Init);
                }
                // To list may be allowed where to watch is not.
                Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 422) => {
                    self.streams = status.code == 403;
                }
                Err(error) => return Err(Error::WatchStartFailed(error)),
            }
        }
        self.phase = Phase::Paging(Vec::new().into_iter(), Next::Page(None));
        Ok(Event::Init)
    }

    async fn turn_page(&mut self, from: Option<String>) -> Result<Option<Event<K>>> {
        let page = self.selection.list(from).await;
        let Page { metadata, items } = page.map_err(|error| {
            self.phase = Phase::Unlisted;
            Error::InitialListFailed(error)
        })?;
        let next = match metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) => Next::Page(Some(next)),
            None => {
                self.version = parse(metadata.resource_version.as_deref());
                if self.version.is_none() {
                    self.phase = Phase::Unlisted;
                    return Err(Error::NoResourceVersion);
                }
                Next::End
            }
        };
        self.phase = Phase::Paging(items.into_iter(), next);
        Ok(None)
    }

    /// Takes what comes while a list is streamed.
    fn take_listed(
        &mut self,
        change: Option<kube::Result<WatchEvent<K>>>,
    ) -> Result<Option<Event<K>>> {
        match change {
            Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object))) => {
                Ok(Some(Event::InitApply(object)))
            }
            Some(Ok(WatchEvent::Bookmark(bookmark))) => {
                if !bookmark.metadata.annotations.contains_key(END_OF_LIST) {
                    return Ok(None);
                }
                self.version = parse(Some(&bookmark.metadata.resource_version));
                let phase = mem::replace(&mut self.phase, Phase::Unlisted);
                match (phase, self.version) {
                    (Phase::Streaming(changes), Some(_)) => {
                        self.phase = Phase::Watching(changes);
                        Ok(Some(Event::InitDone))
                    }
                    _ => Err(Error::NoResourceVersion),
                }
            }
            // Kubernetes says that a list has no deletions.
            Some(Ok(WatchEvent::Deleted(_))) => Ok(None),
            // A list that has not ended is none.
            ended => {
                self.phase = Phase::Unlisted;
                match ended {
                    Some(Ok(WatchEvent::Error(status))) => Err(Error::WatchError(status)),
                    Some(Err(error)) => Err(Error::WatchFailed(error)),
                    _ => Ok(None),
                }
            }
        }
    }

    /// Takes what comes after the list.
    fn take_changed(
        &mut self,
        change: Option<kube::Result<WatchEvent<K>>>,
    ) -> Result<Option<Event<K>>> {
        match change {
            Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object))) => {
                self.advance(object.version())?;
                Ok(Some(Event::Apply(object)))
            }
            Some(Ok(WatchEvent::Deleted(object))) => {
                self.advance(object.version())?;
                Ok(Some(Event::Delete(object)))
            }
            Some(Ok(WatchEvent::Bookmark(bookmark))) => {
                self.advance(parse(Some(&bookmark.metadata.resource_version)))?;
                Ok(None)
            }
            Some(Ok(WatchEvent::Error(status))) => {
                if status.code == 410 {
                    self.phase = Phase::Unlisted;
                }
                Err(Error::WatchError(status))
            }
            Some(Err(error)) => Err(Error::WatchFailed(error)),
            None => {
                self.phase = Phase::Listed;
                Ok(None)
            }
        }
    }

    fn advance(&mut self, version: Option<u64>) -> Result<()> {
        if version.is_none() {
            self.phase = Phase::Unlisted;
            return Err(Error::NoResourceVersion);
        }
        self.version = version;
        Ok(())
    }
}

fn parse(version: Option<&str>) -> Option<u64> {
    version?.parse().ok()
}

/// What comes next, or the end where nothing comes for so long that the connection must be dead.
async fn next_in_time<S: Stream + Unpin>(changes: &mut S) -> Option<S::Item> {
    let patience = Duration::from_secs(WATCH_TIMEOUT.into()) + IDLE_MARGIN;
    timeout(patience, changes.next()).await.ok().flatten()
}
