//! The target Secret of any kind: whose it is, and what its metadata says.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use aws_lc_rs::digest;
use k8s_openapi::{
    ByteString,
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::Resource;

use crate::{
    api::{
        GROUP, Reason,
        names::LABEL_MAX_LENGTH,
        target::{MAX_ENTRIES, is_reserved_annotation, is_reserved_label},
    },
    cluster::secret_index::MANAGED_BY,
};

/// The only type a target has. Any other could make the API server act on the Secret (CVE-2026-42876 in another
/// operator).
pub const SECRET_TYPE: &str = "Opaque";

/// How many values of a Secret are tried as the token. Twice as many as a target can have: whoever changes it could otherwise
/// have tens of thousands tried each time.
pub const MAX_CANDIDATES: usize = 2 * MAX_ENTRIES;

/// Has the name of the object, so that its Secret is found by a selector.
pub const NAME: &str = "edgecredentials.io/name";

/// How much of a name that is too long for a label is kept, before a hyphen and as much of its hash as there is room.
const KEPT_OF_NAME: usize = 52;

/// Why a Secret must not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetProblem {
    /// It was not made for this object.
    NotOwned,
    /// It was made for another object.
    OwnedByAnother,
    /// It was made for an object of this name that is gone, and proves no token for this one.
    OwnedByPredecessor,
    /// It is marked immutable.
    Immutable,
}

impl TargetProblem {
    /// The reason that conditions show.
    pub fn reason(self) -> Reason {
        match self {
            Self::NotOwned => Reason::TargetNotOwned,
            Self::OwnedByAnother | Self::OwnedByPredecessor => Reason::TargetConflict,
            Self::Immutable => Reason::TargetImmutable,
        }
    }
}

impl fmt::Display for TargetProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotOwned => {
                "it exists and was not made for this object, so it is left alone: delete or rename it, or \
                 create this object with another spec.target.name"
            }
            Self::OwnedByAnother => {
                "it belongs to another object: give one of the two another spec.target.name"
            }
            Self::OwnedByPredecessor => {
                "it belongs to an object of this name that is gone: Kubernetes' garbage collector deletes it, and \
                 then it is made anew"
            }
            // kubernetes/kubernetes#131589: a kubelet does not look at an immutable Secret again, not even once it is gone.
            Self::Immutable => {
                "it is marked immutable: delete it, and it is written again; then replace the pods that mount it, which \
                 keep the old token otherwise"
            }
        })
    }
}

/// Whose a Secret is, as its metadata says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// It was made for this very object.
    Ours,
    /// It may have been: whoever owned it is gone, or it lost its owner in a backup. It becomes ours if it proves itself.
    Adoptable(TargetProblem),
}

/// Finds out whose a Secret is, by the uid of its controller. A name is not enough: whoever may create objects
/// could otherwise have any Secret of the namespace overwritten.
pub fn check_ownership<K: Resource<DynamicType = ()>>(
    secret: &Secret,
    object: &K,
) -> Result<Ownership, TargetProblem> {
    let ours = object.meta();
    if secret.type_.as_deref() != Some(SECRET_TYPE) {
        return Err(TargetProblem::NotOwned);
    }
    let controller = secret
        .metadata
        .owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller == Some(true));
    let problem = match controller {
        Some(owner) if !is_of_group(owner) => return Err(TargetProblem::NotOwned),
        Some(owner) if !is_of_kind::<K>(owner) => return Err(TargetProblem::OwnedByAnother),
        Some(owner) if ours.uid.as_ref() == Some(&owner.uid) => {
            return Ok(Ownership::Ours);
        }
        // One of this name and another uid is gone, or was in another cluster: a name stands for one object at a time.
        Some(owner) if ours.name.as_ref() != Some(&owner.name) || ours.uid.is_none() => {
            return Err(TargetProblem::OwnedByAnother);
        }
        Some(_) => TargetProblem::OwnedByPredecessor,
        None => TargetProblem::NotOwned,
    };
    if secret.immutable == Some(true) {
        Err(problem)
    } else {
        Ok(Ownership::Adoptable(problem))
    }
}

fn is_of_kind<K: Resource<DynamicType = ()>>(owner: &OwnerReference) -> bool {
    owner.kind == K::kind(&()) && is_of_group(owner)
}

/// Whether an owner is of a kind that this operator serves.
fn is_of_group(owner: &OwnerReference) -> bool {
    let group = owner.api_version.split_once('/').map(|(group, _)| group);
    group == Some(GROUP)
}

/// The values of a Secret that may be the token: the one with this key first.
pub fn candidates<'a>(
    secret: &'a Secret,
    key: Option<&str>,
) -> impl Iterator<Item = &'a ByteString> {
    let data = secret.data.as_ref();
    let first = data.and_then(|data| data.get(key?));
    let values = data.into_iter().flat_map(BTreeMap::values);
    first.into_iter().chain(values).take(MAX_CANDIDATES)
}

/// What a target's metadata has for its object.
pub struct Marking<'a> {
    /// The Secret's name.
    pub name: &'a str,
    /// The labels of the spec.
    pub labels: &'a BTreeMap<String, String>,
    /// The annotations of the spec.
    pub annotations: &'a BTreeMap<String, String>,
    /// The keys of the labels and the annotations that were written for an earlier spec.
    pub previous: (BTreeSet<String>, BTreeSet<String>),
    /// The annotation that proves the token, and its value.
    pub proof: (&'a str, String),
}

/// The metadata as it should be: that of `existing` with everything that is ours set right and everything else left as it is, or
/// that of a new Secret.
pub fn render_metadata<K: Resource<DynamicType = ()>>(
    object: &K,
    marking: Marking<'_>,
    existing: Option<&Secret>,
) -> ObjectMeta {
    let name = object.meta().name.as_deref().unwrap_or_default();
    let mut metadata = existing.map_or_else(
        || ObjectMeta {
            name: Some(marking.name.into()),
            namespace: object.meta().namespace.clone(),
            ..ObjectMeta::default()
        },
        |secret| secret.metadata.clone(),
    );
    let labels = metadata.labels.get_or_insert_default();
    let annotations = metadata.annotations.get_or_insert_default();
    let (earlier_labels, earlier_annotations) = &marking.previous;
    drop_stale(labels, earlier_labels, marking.labels, is_reserved_label);
    drop_stale(
        annotations,
        earlier_annotations,
        marking.annotations,
        is_reserved_annotation,
    );
    labels.extend(marking.labels.clone());
    labels.insert(MANAGED_BY.0.into(), MANAGED_BY.1.into());
    labels.insert(NAME.into(), label_value(name));
    annotations.extend(marking.annotations.clone());
    let (key, proof) = marking.proof;
    annotations.insert(key.into(), proof);
    metadata.owner_references = Some(owners(object, metadata.owner_references.as_deref()));
    metadata
}

/// A name as the value of a label, which has no room for every name.
fn label_value(name: &str) -> String {
    if name.len() <= LABEL_MAX_LENGTH {
        return name.into();
    }
    let kept = name.get(..KEPT_OF_NAME).unwrap_or_default();
    let hash = digest::digest(&digest::SHA256, name.as_bytes());
    let hash = hash.as_ref().iter().take(5);
    let hash: String = hash.map(|byte| format!("{byte:02x}")).collect();
    format!("{kept}-{hash}")
}

/// Removes what was written for an earlier spec and is not in this one. Keys that others added stay.
fn drop_stale(
    map: &mut BTreeMap<String, String>,
    previous: &BTreeSet<String>,
    current: &BTreeMap<String, String>,
    is_reserved: fn(&str) -> bool,
) {
    map.retain(|key, _| {
        let ours = previous.contains(key) && !is_reserved(key);
        !ours || current.contains_key(key)
    });
}

/// The owner references with ours among them, as the only controller: an object of this kind and name that is gone is
/// replaced. `blockOwnerDeletion` stays false, which needs no right on finalizers.
pub fn owners<K: Resource<DynamicType = ()>>(
    object: &K,
    existing: Option<&[OwnerReference]>,
) -> Vec<OwnerReference> {
    let ours = OwnerReference {
        api_version: K::api_version(&()).into(),
        kind: K::kind(&()).into(),
        name: object.meta().name.clone().unwrap_or_default(),
        uid: object.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(false),
    };
    let is_replaced = |owner: &OwnerReference| {
        owner.uid == ours.uid || (owner.controller == Some(true) && is_of_kind::<K>(owner))
    };
    let mut owners = existing.unwrap_or_default().to_vec();
    let place = owners.iter().position(is_replaced);
    match place.and_then(|place| owners.get_mut(place)) {
        Some(owner) => *owner = ours,
        None => owners.push(ours),
    }
    owners
}
