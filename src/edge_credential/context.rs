//! What a reconciliation needs beside the object itself.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_lc_rs::hmac;
use kube::Client;
use secrecy::ExposeSecret;
use tokio::{sync::Semaphore, time::timeout};

use super::{
    claims::Claims, credentials::Credentials, error::Error, leadership::Leadership, rights::Rights,
};
use crate::{
    api::{EdgeCredential, EdgeCredentialStatus},
    clock::Clock,
    oauth::{
        origin::AllowedOrigins,
        share::{SharedTokens, random_key},
    },
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
    /// Whether this process may act.
    pub leadership: Leadership,
    /// How long to go without a look at an object, whatever it waits for.
    pub longest_wait: Duration,
    /// The statuses written last.
    pub written: WrittenStatuses,
    /// What the operator may do with Secrets.
    pub rights: Rights,
    /// Which credentials failed.
    pub failed_credentials: FailedCredentials,
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
        within_deadline(call).await
    }

    /// As [`in_time`](Self::in_time), for a call that changes something: made only if this process leads right then.
    pub(super) async fn write_in_time<T>(
        &self,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<Result<T, kube::Error>, Error> {
        let _place = self.calls.acquire().await;
        self.leadership.check()?;
        Ok(within_deadline(call).await)
    }

    /// A context that talks to the cluster of `client`, with at most `concurrency` calls at a time.
    pub fn new(
        client: Client,
        tokens: SharedTokens,
        allowed_origins: AllowedOrigins,
        clock: Clock,
        leadership: Leadership,
        longest_wait: Duration,
        concurrency: usize,
    ) -> Self {
        Self {
            calls: Semaphore::new(concurrency),
            tokens,
            allowed_origins,
            clock,
            leadership,
            longest_wait,
            written: WrittenStatuses::default(),
            rights: Rights::default(),
            failed_credentials: FailedCredentials::default(),
            claims: Claims::default(),
            answered: AnsweredRequests::default(),
            client: ClientHandle(client),
        }
    }
}

async fn within_deadline<T>(
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, kube::Error> {
    timeout(CALL_TIMEOUT, call)
        .await
        .unwrap_or_else(|elapsed| Err(kube::Error::Service(elapsed.into())))
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

/// Remembers which credentials failed, for as long as the status counts failures. A Secret that is only touched (a label,
/// the same content applied again) has another resourceVersion, but what failed with it would fail again.
#[derive(Debug)]
pub struct FailedCredentials {
    /// Random for each process, so that a fingerprint says nothing of the credentials.
    key: hmac::Key,
    /// By the object's uid.
    fingerprints: Mutex<HashMap<String, [u8; 32]>>,
}

impl Default for FailedCredentials {
    fn default() -> Self {
        Self {
            key: random_key(),
            fingerprints: Mutex::default(),
        }
    }
}

impl FailedCredentials {
    /// The credentials, under the resourceVersion in which they failed if they are the ones that did.
    pub fn recognize(&self, object: &EdgeCredential, mut credentials: Credentials) -> Credentials {
        let Some(uid) = &object.metadata.uid else {
            return credentials;
        };
        let status = object.status.as_ref();
        let failures = status.and_then(|status| status.failures.as_ref());
        let mut fingerprints = self.lock();
        let Some(failures) = failures else {
            fingerprints.remove(uid);
            return credentials;
        };
        let fingerprint = self.fingerprint(&credentials);
        if failures.credentials_resource_version == credentials.resource_version {
            fingerprints.insert(uid.clone(), fingerprint);
        } else if fingerprints.get(uid) == Some(&fingerprint) {
            credentials
                .resource_version
                .clone_from(&failures.credentials_resource_version);
        }
        credentials
    }

    fn fingerprint(&self, credentials: &Credentials) -> [u8; 32] {
        let text = credentials.client.fingerprint();
        let mut fingerprint = [0; 32];
        fingerprint
            .copy_from_slice(hmac::sign(&self.key, text.expose_secret().as_bytes()).as_ref());
        fingerprint
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, [u8; 32]>> {
        self.fingerprints
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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
