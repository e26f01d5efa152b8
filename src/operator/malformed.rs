//! Which stored objects that do not fit their type were told of already.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use kube::Resource;

use crate::cluster::object_key::ObjectKey;

/// Remembers each malformed object that was told of, in the version of its spec that was. The API server may refuse the
/// status of such an object, and then nothing else knows.
#[derive(Debug, Default)]
pub struct MalformedObjects(Mutex<HashMap<ObjectKey, Version>>);

/// Uid and generation.
type Version = (Option<String>, Option<i64>);

impl MalformedObjects {
    /// Whether this version of the object was told of.
    pub fn contains(&self, object: &impl Resource) -> bool {
        self.lock().get(&ObjectKey::of(object)) == Some(&version(object))
    }

    /// This version of the object was told of.
    pub fn enter(&self, object: &impl Resource) {
        self.lock().insert(ObjectKey::of(object), version(object));
    }

    /// Forgets an object that is well-formed now, or gone.
    pub fn remove(&self, object: &ObjectKey) {
        self.lock().remove(object);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectKey, Version>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn version(object: &impl Resource) -> Version {
    let metadata = object.meta();
    (metadata.uid.clone(), metadata.generation)
}
