//! Which stored objects that do not fit their type were told of already.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Remembers each malformed object that was told of, in the version of its spec that was. The API server may refuse the
/// status of such an object, and then nothing else knows.
#[derive(Debug, Default)]
pub struct MalformedObjects(Mutex<HashMap<Key, Version>>);

/// Namespace and name.
type Key = (String, String);

/// Uid and generation.
type Version = (Option<String>, Option<i64>);

impl MalformedObjects {
    /// Whether this version of the object was told of.
    pub fn contains(&self, object: &ObjectMeta) -> bool {
        self.lock().get(&key(object)) == Some(&version(object))
    }

    /// This version of the object was told of.
    pub fn enter(&self, object: &ObjectMeta) {
        self.lock().insert(key(object), version(object));
    }

    /// Forgets an object that is well-formed now, or gone.
    pub fn remove(&self, namespace: &str, name: &str) {
        let mut objects = self.lock();
        if !objects.is_empty() {
            objects.remove(&(namespace.to_owned(), name.to_owned()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Version>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(object: &ObjectMeta) -> Key {
    (
        object.namespace.clone().unwrap_or_default(),
        object.name.clone().unwrap_or_default(),
    )
}

fn version(object: &ObjectMeta) -> Version {
    (object.uid.clone(), object.generation)
}
