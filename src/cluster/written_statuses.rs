//! The statuses that this process wrote last, of any kind.

use std::collections::HashMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::Mutex;

use super::object_key::ObjectKey;

/// Remembers each status from its write until the watch shows it, also where the write failed. A reconciliation in
/// between would see the earlier status, with one failed attempt less, and make a request too many.
#[derive(Debug)]
pub struct WrittenStatuses<S>(Mutex<HashMap<ObjectKey, Written<S>>>);

#[derive(Debug)]
struct Written<S> {
    uid: Option<String>,
    version: u64,
    status: S,
    /// Whether the API server does not have it.
    unwritten: bool,
}

impl<S> Default for WrittenStatuses<S> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<S: Clone> WrittenStatuses<S> {
    /// Keeps the status of an object as the API server returned it after the write.
    pub fn remember(&self, key: ObjectKey, metadata: &ObjectMeta, status: &S) {
        if let Some(version) = version(metadata) {
            let written = Written {
                uid: metadata.uid.clone(),
                version,
                status: status.clone(),
                unwritten: false,
            };
            self.0.lock().insert(key, written);
        }
    }

    /// Keeps a status that could not be written, until the object changes: without the failures in it, the attempt would be
    /// repeated at once.
    pub fn remember_unwritten(&self, key: ObjectKey, metadata: &ObjectMeta, status: &S) {
        if let Some(version) = version(metadata) {
            let written = Written {
                uid: metadata.uid.clone(),
                version: version.saturating_add(1),
                status: status.clone(),
                unwritten: true,
            };
            self.0.lock().insert(key, written);
        }
    }

    /// The status that is newer than the one of the object, if that was read before our last write; and whether that write
    /// failed.
    pub fn newer_than(&self, key: &ObjectKey, metadata: &ObjectMeta) -> Option<(S, bool)> {
        let mut statuses = self.0.lock();
        let written = statuses.get(key)?;
        let is_older = version(metadata).is_some_and(|version| version < written.version);
        if is_older && written.uid == metadata.uid {
            return Some((written.status.clone(), written.unwritten));
        }
        statuses.remove(key);
        None
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, object: &ObjectKey) {
        self.0.lock().remove(object);
    }

    /// Forgets all: versions begin anew at an earlier one.
    pub fn clear(&self) {
        self.0.lock().clear();
    }
}

/// The resourceVersion as a number. It is one on every API server there is, and may be compared since Kubernetes 1.35
/// (KEP-5504). If it were not a number, no status would be remembered.
fn version(metadata: &ObjectMeta) -> Option<u64> {
    metadata.resource_version.as_ref()?.parse().ok()
}
