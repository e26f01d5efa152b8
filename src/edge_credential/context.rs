//! What a reconciliation needs beside the object itself.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kube::Client;
use tokio::{sync::Semaphore, time::timeout};

use super::{claims::Claims, rights::Rights};
use crate::{
    api::{EdgeCredential, EdgeCredentialStatus},
    clock::Clock,
    oauth::{origin::AllowedOrigins, share::SharedTokens},
};

/// How long one call of the Kubernetes API may take, repetitions by the client included. The client itself sets no
/// limit to how long an answer may take, and an API server that is stopped half-way would hold up an object for ever.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// What a reconciliation needs beside the object itself.
#[derive(Debug)]
pub struct Context {
    /// Where tokens come from.
    pub tokens: SharedTokens,
    /// Where client secrets may be sent.
    pub allowed_origins: AllowedOrigins,
    /// What time it is.
    pub clock: Clock,
    /// How long to go without a look at an object, whatever it waits for.
    pub longest_wait: Duration,
    /// The statuses written last.
    pub written: WrittenStatuses,
    /// What the operator may do with Secrets.
    pub rights: Rights,
    /// Which targets are being worked on.
    pub claims: Claims,
    /// The renew requests whose token is not stored yet.
    pub answered: AnsweredRequests,
    pub(super) client: ClientHandle,
    /// Limits calls rather than objects: one that waits for a token endpoint must not keep others waiting.
    calls: Semaphore,
}

/// Keeps `kube::Client`, which has no `Debug`, out of the way of those that have.
pub(super) struct ClientHandle(pub(super) Client);

impl std::fmt::Debug for ClientHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Context {
    /// Waits for a call of the Kubernetes API, within its deadline, once it is among the few that are made at a time.
    pub(super) async fn in_time<T>(
        &self,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, kube::Error> {
        // Never closed.
        let _place = self.calls.acquire().await;
        timeout(CALL_TIMEOUT, call)
            .await
            .unwrap_or_else(|elapsed| Err(kube::Error::Service(elapsed.into())))
    }

    /// A context that talks to the cluster of `client`, with at most `concurrency` calls at a time.
    pub fn new(
        client: Client,
        tokens: SharedTokens,
        allowed_origins: AllowedOrigins,
        clock: Clock,
        longest_wait: Duration,
        concurrency: usize,
    ) -> Self {
        Self {
            calls: Semaphore::new(concurrency),
            tokens,
            allowed_origins,
            clock,
            longest_wait,
            written: WrittenStatuses::default(),
            rights: Rights::default(),
            claims: Claims::default(),
            answered: AnsweredRequests::default(),
            client: ClientHandle(client),
        }
    }
}

/// Remembers each status from its write until the watch shows it, also where the write failed. A reconciliation in
/// between would see the earlier status, with one failed attempt less, and make a request too many.
#[derive(Debug, Default)]
pub struct WrittenStatuses(Mutex<HashMap<String, Written>>);

#[derive(Debug)]
struct Written {
    version: u64,
    status: EdgeCredentialStatus,
    /// Whether the API server does not have it.
    unwritten: bool,
}

impl WrittenStatuses {
    /// Keeps the status of an object as the API server returned it after the write.
    pub fn remember(&self, written: &EdgeCredential) {
        if let (Some(uid), Some(version), Some(status)) =
            (&written.metadata.uid, version(written), &written.status)
        {
            let written = Written {
                version,
                status: status.clone(),
                unwritten: false,
            };
            self.lock().insert(uid.clone(), written);
        }
    }

    /// Keeps a status that could not be written, until the object changes: what failed is not tried anew only because
    /// it could not be told.
    pub fn remember_unwritten(&self, object: &EdgeCredential, status: &EdgeCredentialStatus) {
        if let (Some(uid), Some(version)) = (&object.metadata.uid, version(object)) {
            let written = Written {
                version: version.saturating_add(1),
                status: status.clone(),
                unwritten: true,
            };
            self.lock().insert(uid.clone(), written);
        }
    }

    /// The status that is newer than the one of `object`, if that was read before our last write; and whether that write
    /// failed.
    pub fn newer_than(&self, object: &EdgeCredential) -> Option<(EdgeCredentialStatus, bool)> {
        let uid = object.metadata.uid.as_ref()?;
        let mut statuses = self.lock();
        let written = statuses.get(uid)?;
        if version(object).is_some_and(|version| version < written.version) {
            return Some((written.status.clone(), written.unwritten));
        }
        statuses.remove(uid);
        None
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Written>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Remembers for which renew request a token is in memory, from the request until the target is written. While the API
/// server is away nothing else knows of it, and each attempt to write would request another token.
#[derive(Debug, Default)]
pub struct AnsweredRequests(Mutex<HashMap<String, String>>);

impl AnsweredRequests {
    /// The object's renew request has its token.
    pub fn remember(&self, object: &EdgeCredential) {
        if let (Some(uid), Some(request)) = (&object.metadata.uid, object.renew_request()) {
            self.lock().insert(uid.clone(), request.into());
        }
    }

    /// The token is stored, and tells of the request itself.
    pub fn forget(&self, object: &EdgeCredential) {
        if let Some(uid) = &object.metadata.uid {
            self.lock().remove(uid);
        }
    }

    /// Whether the object's present renew request has its token.
    pub fn contains(&self, object: &EdgeCredential) -> bool {
        let answers = self.lock();
        let answered = object
            .metadata
            .uid
            .as_ref()
            .and_then(|uid| answers.get(uid));
        answered.is_some() && answered.map(String::as_str) == object.renew_request()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The resourceVersion as a number. It is one on every API server there is, and may be compared since Kubernetes 1.35
/// (KEP-5504); where it were none, statuses would just not be remembered.
fn version(object: &EdgeCredential) -> Option<u64> {
    object.metadata.resource_version.as_ref()?.parse().ok()
}
