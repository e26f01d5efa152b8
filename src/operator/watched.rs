//! An object of a kind that is watched, as it is held: as JSON, without what is never read.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    marker::PhantomData,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::list_watch::Versioned;
use crate::{api::GROUP, cluster::object_key::ObjectKey};

/// How much of an object is held, in bytes of JSON. A larger one is read when it is due: it takes one call more, and ten
/// thousand of them no more memory than others.
const LARGEST_HELD: usize = 4 * 1024;

/// An object as a watch brought it, whether it fits its type or not: one that does not is reported, and does not stop the
/// others. All clones share one text.
///
/// As a tree of values, with the fields that only the API server's own bookkeeping needs, an object takes ten times as much.
pub struct Watched<K> {
    held: Arc<Held>,
    /// Namespace and name, by which kube makes the key of an object before it stores a clone. A clone has none until it is asked:
    /// almost all of it is room for fields that are not used, a third as much as the text.
    names: OnceLock<Box<ObjectMeta>>,
    kind: PhantomData<fn() -> K>,
}

struct Held {
    version: Option<u64>,
    json: Box<str>,
    /// Whether the text is the whole object, rather than its [`Summary`].
    is_whole: bool,
    /// Whether this version was reconciled.
    is_reconciled: AtomicBool,
}

/// What metrics tell of an object, whatever its size.
#[derive(Serialize, Deserialize, Debug)]
pub struct Summary<S> {
    pub spec: SpecSummary,
    #[serde(default = "Option::default")]
    pub status: Option<S>,
}

/// The part of a spec that metrics tell of.
#[derive(Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct SpecSummary {
    #[serde(default)]
    pub suspend: bool,
    pub token_request: Address,
}

/// Where an object has its tokens from.
#[derive(Serialize, Deserialize, Debug)]
pub struct Address {
    pub url: String,
}

/// An object as it comes, and as it is held.
#[derive(Serialize, Deserialize)]
struct Text {
    metadata: Metadata,
    #[serde(skip_serializing_if = "Option::is_none")]
    spec: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Box<RawValue>>,
}

/// What is read of an object's metadata.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deletion_timestamp: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    finalizers: Vec<String>,
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "read_ours"
    )]
    annotations: BTreeMap<String, String>,
}

impl<K> Watched<K> {
    fn hold(text: Text) -> serde_json::Result<Self> {
        let version = text.metadata.resource_version.as_deref();
        let version = version.and_then(|version| version.parse().ok());
        let json = serde_json::to_string(&text)?;
        let is_whole = json.len() <= LARGEST_HELD;
        let json = if is_whole { json } else { summarize(text)? };
        Ok(Self {
            held: Arc::new(Held {
                version,
                json: json.into(),
                is_whole,
                is_reconciled: AtomicBool::new(false),
            }),
            names: OnceLock::new(),
            kind: PhantomData,
        })
    }

    /// Whether this very version of the object was reconciled, as [`note_reconciled`](Self::note_reconciled) noted it.
    pub fn is_reconciled(&self) -> bool {
        self.held.is_reconciled.load(Ordering::Relaxed)
    }

    /// Notes that this version of the object was reconciled.
    pub fn note_reconciled(&self) {
        self.held.is_reconciled.store(true, Ordering::Relaxed);
    }

    /// What metrics tell of the object. `None` where even that does not fit.
    pub fn summary<S: DeserializeOwned>(&self) -> Option<Summary<S>> {
        serde_json::from_str(&self.held.json).ok()
    }

    /// The metadata, as far as it is held.
    pub fn metadata(&self) -> ObjectMeta {
        #[derive(Deserialize)]
        struct Identified {
            metadata: ObjectMeta,
        }
        let identified = serde_json::from_str(&self.held.json);
        identified.map_or_else(|_| self.names(), |Identified { metadata }| metadata)
    }

    /// Namespace and name.
    fn names(&self) -> ObjectMeta {
        #[derive(Deserialize)]
        struct Named {
            metadata: Names,
        }
        #[derive(Default, Deserialize)]
        struct Names {
            namespace: Option<String>,
            name: Option<String>,
        }
        let named = serde_json::from_str(&self.held.json);
        let Names { namespace, name } =
            named.map_or_else(|_| Names::default(), |Named { metadata }| metadata);
        ObjectMeta {
            namespace,
            name,
            ..ObjectMeta::default()
        }
    }

    /// Whether both are the same version of the same object.
    pub fn is_same(&self, other: &Self) -> bool {
        self.held.json == other.held.json
    }
}

impl<K: Resource<DynamicType = ()>> Watched<K> {
    /// The key of the object.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::of_metadata::<K>(&self.names())
    }
}

impl<K: DeserializeOwned> Watched<K> {
    /// The object. `None` where it is too large to be held, and an error where it does not fit its type.
    pub fn object(&self) -> serde_json::Result<Option<K>> {
        let whole = self.held.is_whole.then_some(&self.held.json);
        whole.map(|json| serde_json::from_str(json)).transpose()
    }
}

/// The text of an object that is too large to be held.
fn summarize(text: Text) -> serde_json::Result<String> {
    let spec = text.spec.as_deref();
    let spec: Option<SpecSummary> = spec.and_then(|spec| serde_json::from_str(spec.get()).ok());
    let spec = spec.map(|spec| serde_json::value::to_raw_value(&spec));
    serde_json::to_string(&Text {
        metadata: Metadata {
            annotations: BTreeMap::new(),
            ..text.metadata
        },
        spec: spec.transpose()?,
        status: text
            .status
            .filter(|status| status.get().len() <= LARGEST_HELD),
    })
}

/// Reads the annotations that are this operator's own, and skips all others.
fn read_ours<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    struct Ours;
    impl<'de> Visitor<'de> for Ours {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("annotations")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(BTreeMap::new())
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut ours = BTreeMap::new();
            while let Some(key) = map.next_key::<String>()? {
                let prefix = key.split_once('/').map(|(prefix, _)| prefix);
                if prefix == Some(GROUP) {
                    ours.insert(key, map.next_value()?);
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(ours)
        }
    }
    from.deserialize_any(Ours)
}

impl<'de, K> Deserialize<'de> for Watched<K> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Text::deserialize(from)?;
        Self::hold(text).map_err(serde::de::Error::custom)
    }
}

impl<K> Versioned for Watched<K> {
    fn version(&self) -> Option<u64> {
        self.held.version
    }
}

impl<K> Clone for Watched<K> {
    fn clone(&self) -> Self {
        Self {
            held: self.held.clone(),
            names: OnceLock::new(),
            kind: PhantomData,
        }
    }
}

impl<K> fmt::Debug for Watched<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.held.json)
    }
}

impl<K: Resource<DynamicType = ()>> Resource for Watched<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }

    /// Namespace and name alone.
    fn meta(&self) -> &ObjectMeta {
        self.names.get_or_init(|| Box::new(self.names()))
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.meta();
        match self.names.get_mut() {
            Some(names) => names,
            // The first line has set them.
            None => Box::leak(Box::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::{EdgeCredential, EdgeCredentialStatus};

    fn received(annotations: &Value) -> Value {
        json!({
            "apiVersion": "edgecredentials.io/v1alpha1",
            "kind": "EdgeCredential",
            "metadata": {
                "namespace": "shop",
                "name": "edge",
                "uid": "uid-1",
                "resourceVersion": "7",
                "generation": 2,
                "deletionTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"team": "storefront"},
                "annotations": annotations,
                "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {"f:suspend": {}}}}],
            },
            "spec": {
                "credentialsSecretRef": {"name": "client"},
                "tokenRequest": {"url": "https://auth.sitecorecloud.io/oauth/token"},
                "suspend": true,
            },
            "status": {"observedGeneration": 2, "lastHandledRenewRequest": "then"},
        })
    }

    fn watched(object: &Value) -> Watched<EdgeCredential> {
        serde_json::from_str(&object.to_string()).unwrap()
    }

    #[test]
    fn an_object_is_held_without_what_is_never_read() {
        let object = received(&json!({
            "edgecredentials.io/renew-requested-at": "now",
            "kubectl.kubernetes.io/last-applied-configuration": "{\"large\": true}",
        }));
        let watched = watched(&object);
        let held = &watched.held.json;
        assert!(
            !held.contains("large") && !held.contains("kubectl") && !held.contains("storefront")
        );
        let read = watched.object().unwrap().unwrap();
        assert_eq!(read.renew_request(), Some("now"));
        assert_eq!(read.metadata.generation, Some(2));
        assert!(read.metadata.deletion_timestamp.is_some());
        let whole: EdgeCredential = serde_json::from_value(object).unwrap();
        assert_eq!((read.spec, read.status), (whole.spec, whole.status));
        assert_eq!(watched.version(), Some(7));
    }

    #[test]
    fn a_large_object_is_held_as_what_metrics_tell_of_it() {
        let mut object = received(&json!({}));
        object["spec"]["target"]["annotations"] = json!({"note": "x".repeat(LARGEST_HELD)});
        let watched = watched(&object);
        assert!(watched.object().unwrap().is_none());
        assert!(watched.held.json.len() < 1024, "{watched:?}");
        let summary: Summary<EdgeCredentialStatus> = watched.summary().unwrap();
        assert!(summary.spec.suspend);
        assert_eq!(summary.status.unwrap().observed_generation, Some(2));
        let metadata = watched.metadata();
        assert_eq!(
            (metadata.generation, metadata.uid.as_deref()),
            (Some(2), Some("uid-1"))
        );
    }

    #[test]
    fn annotations_of_others_do_not_make_an_object_large() {
        let object = received(&json!({"note": "x".repeat(256 * 1024)}));
        assert!(watched(&object).object().unwrap().is_some());
        // One of our own does, also where nothing else is left to hold.
        let object = received(&json!({"edgecredentials.io/note": "x".repeat(256 * 1024)}));
        let watched = watched(&object);
        assert!(watched.object().unwrap().is_none() && watched.held.json.len() < 1024);
    }

    #[test]
    fn an_object_that_does_not_fit_its_type_is_known_all_the_same() {
        let mut object = received(&json!(null));
        object["spec"] = json!({"credentialsSecretRef": 1});
        let watched = watched(&object);
        assert!(watched.object().is_err());
        assert_eq!(watched.meta().name.as_deref(), Some("edge"));
        assert_eq!(watched.metadata().generation, Some(2));
        assert!(watched.summary::<EdgeCredentialStatus>().is_none());
    }
}
