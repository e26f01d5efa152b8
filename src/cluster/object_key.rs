//! What an object is known by in this process.

use std::{ops::Deref, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;

/// The kinds that objects are known of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    EdgeCredential,
    EdgeToken,
    Secret,
}

/// Namespace, name and kind of an object. Clones share one text, since several maps know an object for as long as it is there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(Arc<Parts>);

/// What an [`ObjectKey`] consists of.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Parts {
    pub namespace: String,
    pub name: String,
    pub kind: Kind,
}

impl Kind {
    /// The kind of a type.
    pub fn of<K: Resource<DynamicType = ()>>() -> Self {
        match &*K::kind(&()) {
            "Secret" => Self::Secret,
            "EdgeToken" => Self::EdgeToken,
            _ => Self::EdgeCredential,
        }
    }
}

impl Deref for ObjectKey {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl ObjectKey {
    /// The key of the object of this kind with this name.
    pub fn new<K: Resource<DynamicType = ()>>(
        namespace: impl Into<String>,
        name: impl Into<String>,
    ) -> Self {
        Self(Arc::new(Parts {
            namespace: namespace.into(),
            name: name.into(),
            kind: Kind::of::<K>(),
        }))
    }

    /// The key of an object. Empty where the object has no namespace or no name, which no API server leaves out.
    pub fn of<K: Resource<DynamicType = ()>>(object: &K) -> Self {
        Self::of_metadata::<K>(object.meta())
    }

    /// As [`of`](Self::of), from the metadata alone.
    pub fn of_metadata<K: Resource<DynamicType = ()>>(metadata: &ObjectMeta) -> Self {
        Self::new::<K>(
            metadata.namespace.clone().unwrap_or_default(),
            metadata.name.clone().unwrap_or_default(),
        )
    }
}
