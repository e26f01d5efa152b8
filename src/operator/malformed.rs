//! Which stored objects that do not fit their type were reported already.

use std::collections::HashMap;

use kube::Resource;
use parking_lot::Mutex;

use crate::cluster::object_key::ObjectKey;

/// Remembers each malformed object that was reported, with its generation. The API server may refuse the status of such an
/// object, and then this is the only place that says so.
#[derive(Debug, Default)]
pub struct MalformedObjects(Mutex<HashMap<ObjectKey, Version>>);

/// Uid and generation.
type Version = (Option<String>, Option<i64>);

impl MalformedObjects {
    /// Whether this generation of the object was reported.
    pub fn contains(&self, object: &impl Resource<DynamicType = ()>) -> bool {
        self.0.lock().get(&ObjectKey::of(object)) == Some(&version(object))
    }

    /// This generation of the object was reported.
    pub fn enter(&self, object: &impl Resource<DynamicType = ()>) {
        self.0.lock().insert(ObjectKey::of(object), version(object));
    }

    /// Forgets an object that is well-formed now, or gone.
    pub fn remove(&self, object: &ObjectKey) {
        self.0.lock().remove(object);
    }
}

fn version(object: &impl Resource<DynamicType = ()>) -> Version {
    let metadata = object.meta();
    (metadata.uid.clone(), metadata.generation)
}
