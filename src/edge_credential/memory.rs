//! What is remembered of an EdgeCredential from one reconciliation to the next, beside its status.

use std::collections::HashMap;

use aws_lc_rs::hmac;
use parking_lot::Mutex;
use secrecy::ExposeSecret;

use crate::{
    rules::{credentials::Credentials, versions::Versions},
    {api::EdgeCredential, cluster::object_key::ObjectKey, traffic::requests::random_key},
};

/// Remembers on which versions of its Secrets an object was decided last, where its status does not say: another version alone
/// is not worth a write of the status.
///
/// They count for the very version of the object that was decided on: all else on which a decision rests, the spec, a request in an
/// annotation and the status, is in that version, or was written to it by this process since. So it must be: a process that begins
/// with an old list decides on an object as it was, and may write the target as an old spec wants it. What it remembers of that says
/// nothing of the object that the watch shows next.
#[derive(Debug, Default)]
pub struct SeenVersions(Mutex<HashMap<ObjectKey, Seen>>);

#[derive(Debug)]
struct Seen {
    /// The resourceVersion of the object that was decided on.
    object: Option<String>,
    versions: Versions,
}

impl SeenVersions {
    /// Remembers the versions on which an object was decided. `None` where its status says them, or something is left to do now.
    pub fn remember(&self, object: &EdgeCredential, versions: Option<Versions>) {
        let key = ObjectKey::of(object);
        let mut seen = self.0.lock();
        match versions {
            Some(versions) => {
                let object = object.metadata.resource_version.clone();
                seen.insert(key, Seen { object, versions });
            }
            None => {
                seen.remove(&key);
            }
        }
    }

    /// The versions that are remembered of this version of an object.
    pub fn of(&self, object: &EdgeCredential) -> Option<Versions> {
        let seen = self.0.lock();
        let seen = seen.get(&ObjectKey::of(object))?;
        let is_same = seen.object == object.metadata.resource_version;
        is_same.then(|| seen.versions.clone())
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, object: &ObjectKey) {
        self.0.lock().remove(object);
    }

    /// Forgets all.
    pub fn clear(&self) {
        self.0.lock().clear();
    }
}

/// At which versions of the API server's store the targets of objects were looked for in its
/// history: at each of them once.
#[derive(Debug, Default)]
pub struct LookedFor(Mutex<HashMap<ObjectKey, u64>>);

impl LookedFor {
    /// Whether the target of an object was looked for at this version, or at a later one.
    pub fn contains(&self, object: &ObjectKey, version: u64) -> bool {
        self.0.lock().get(object).is_some_and(|at| *at >= version)
    }

    /// The target of an object is looked for at this version.
    pub fn enter(&self, object: &ObjectKey, version: u64) {
        self.0.lock().insert(object.clone(), version);
    }

    /// Forgets an object whose target is there, or that is gone.
    pub fn forget(&self, object: &ObjectKey) {
        self.0.lock().remove(object);
    }
}

/// Remembers which credentials failed, for as long as the status counts failures. A Secret that was only touched (a label,
/// the same content applied again) has another resourceVersion, but the same credentials would fail again.
#[derive(Debug)]
pub struct FailedCredentials {
    /// Random for each process, so that a fingerprint says nothing of the credentials.
    key: hmac::Key,
    fingerprints: Mutex<HashMap<ObjectKey, [u8; 32]>>,
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
    /// Gives the credentials the version in which they failed, if they are the ones that failed.
    pub fn recognize(&self, object: &EdgeCredential, credentials: &mut Credentials) {
        let key = ObjectKey::of(object);
        let mut fingerprints = self.fingerprints.lock();
        let status = object.status.as_ref();
        let Some(status) = status.filter(|status| status.failures.is_some()) else {
            fingerprints.remove(&key);
            return;
        };
        let fingerprint = self.fingerprint(credentials);
        if status.credentials == credentials.version {
            fingerprints.insert(key, fingerprint);
        } else if fingerprints.get(&key) == Some(&fingerprint) {
            credentials.version.clone_from(&status.credentials);
        }
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, object: &ObjectKey) {
        self.fingerprints.lock().remove(object);
    }

    fn fingerprint(&self, credentials: &Credentials) -> [u8; 32] {
        let text = credentials.client.fingerprint();
        let mut fingerprint = [0; 32];
        fingerprint
            .copy_from_slice(hmac::sign(&self.key, text.expose_secret().as_bytes()).as_ref());
        fingerprint
    }
}
