//! The objects and what happened to them: what etcd and the API server's storage layer do, without HTTP, time or waiting.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use serde_json::{Map, Value, json};

use super::{
    error::ApiError,
    path::{ObjectName, ResourceName, Target},
    validate,
};

/// How many changes are kept. A watch or a page from further back is answered with 410.
const HISTORY: usize = 10_000;

/// One change of one object, as a watch reports it.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub revision: u64,
    pub resource: ResourceName,
    pub name: ObjectName,
    /// `None` for a new object.
    pub old: Option<Arc<Value>>,
    /// `None` for a deleted object.
    pub new: Option<Arc<Value>>,
}

/// What can happen to a namespace besides being there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamespaceState {
    /// Objects can be created. So it is with every namespace that nothing was said about.
    Active,
    /// Being deleted: nothing can be created, everything else works.
    Terminating,
    /// Not there: nothing can be created.
    Absent,
}

/// The ways to change a part of an object.
#[derive(Debug)]
pub(super) enum Patch {
    Merge(Value),
    Json(json_patch::Patch),
}

/// What a client knows of the object that it wants to delete.
#[derive(Debug, Default)]
pub(super) struct Preconditions {
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

/// What a write did.
#[derive(Debug)]
pub(super) struct Written {
    pub object: Arc<Value>,
    pub created: bool,
}

/// All objects of a cluster, and its recent history.
#[derive(Debug, Default)]
pub(super) struct Store {
    objects: BTreeMap<ResourceName, BTreeMap<ObjectName, Arc<Value>>>,
    history: VecDeque<Change>,
    /// The last revision that is no longer in the history.
    forgotten: u64,
    revision: u64,
    uids: u64,
    with_status: BTreeSet<ResourceName>,
    namespaces: BTreeMap<String, NamespaceState>,
}

// === What there is ===

impl Store {
    /// The resource version of the latest change to anything.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    pub fn get(&self, resource: &ResourceName, name: &ObjectName) -> Option<Arc<Value>> {
        self.objects.get(resource)?.get(name).cloned()
    }

    /// The first resource that `kind` names, among those that have had an object.
    pub fn resource(&self, kind: &str) -> Option<&ResourceName> {
        self.objects
            .keys()
            .find(|resource| resource.answers_to(kind))
    }

    /// The objects of a resource, of one namespace or (empty) of all.
    pub fn list(
        &self,
        resource: &ResourceName,
        namespace: &str,
    ) -> BTreeMap<ObjectName, Arc<Value>> {
        let all = self.objects.get(resource).into_iter().flatten();
        all.filter(|(name, _)| namespace.is_empty() || name.namespace == namespace)
            .map(|(name, object)| (name.clone(), object.clone()))
            .collect()
    }

    /// As [`Store::list`], as it was at a revision; `None` if that is too long ago.
    pub fn list_at(
        &self,
        resource: &ResourceName,
        namespace: &str,
        revision: u64,
    ) -> Option<BTreeMap<ObjectName, Arc<Value>>> {
        if revision < self.forgotten {
            return None;
        }
        let mut objects = self.list(resource, namespace);
        let later = self
            .history
            .iter()
            .rev()
            .take_while(|c| c.revision > revision);
        for change in later.filter(|c| c.concerns(resource, namespace)) {
            match &change.old {
                Some(old) => objects.insert(change.name.clone(), old.clone()),
                None => objects.remove(&change.name),
            };
        }
        Some(objects)
    }

    /// The changes after a revision, oldest first; `None` if some of them are forgotten.
    pub fn changes_after(&self, revision: u64) -> Option<impl Iterator<Item = &Change>> {
        let start = self
            .history
            .partition_point(|change| change.revision <= revision);
        (revision >= self.forgotten).then(|| self.history.range(start..))
    }

    /// Forgets all that happened. The revision moves on, so that even who has seen everything has missed something.
    pub fn forget_history(&mut self) {
        self.revision += 1;
        self.forgotten = self.revision;
        self.history.clear();
    }

    /// Declares that a resource has a status subresource.
    pub fn register_status(&mut self, resource: ResourceName) {
        self.with_status.insert(resource);
    }

    pub fn has_status(&self, resource: &ResourceName) -> bool {
        self.with_status.contains(resource)
    }

    pub fn set_namespace(&mut self, namespace: &str, state: NamespaceState) {
        self.namespaces.insert(namespace.to_owned(), state);
    }
}

impl Change {
    pub fn concerns(&self, resource: &ResourceName, namespace: &str) -> bool {
        self.resource == *resource && (namespace.is_empty() || self.name.namespace == namespace)
    }
}

// === Writes ===

impl Store {
    /// POST, at a time in RFC 3339.
    pub fn create(
        &mut self,
        target: &Target,
        object: Value,
        now: &str,
    ) -> Result<Written, ApiError> {
        validate::envelope(target, &object)?;
        let Some(name) = object["metadata"]["name"].as_str() else {
            return Err(ApiError::invalid(
                &target.resource,
                "",
                "metadata.name",
                "name or generateName is required",
            ));
        };
        let name = ObjectName::new(&target.namespace, name);
        if object["metadata"]["resourceVersion"]
            .as_str()
            .is_some_and(|v| !v.is_empty())
        {
            // So it answers, without a reason.
            return Err(ApiError::new(
                500,
                "",
                "resourceVersion should not be set on objects to be created",
            ));
        }
        if self.get(&target.resource, &name).is_some() {
            return Err(ApiError::already_exists(&target.resource, &name.name));
        }
        self.insert(&target.resource, name, object, now)
    }

    /// PUT, of an object or of its status.
    pub fn replace(
        &mut self,
        target: &Target,
        object: Value,
        now: &str,
    ) -> Result<Written, ApiError> {
        validate::envelope(target, &object)?;
        let name = self.object_name(target)?;
        let Some(old) = self.get(&target.resource, &name) else {
            // Leases and Events are the resources that a PUT creates.
            let creates = matches!(
                target.resource.group.as_str(),
                "coordination.k8s.io" | "events.k8s.io"
            );
            if !creates || target.subresource.is_some() {
                return Err(ApiError::not_found(&target.resource, &name.name));
            }
            if let Some(uid) = text(&object, "uid") {
                return Err(ApiError::other_uid(&target.resource, &name.name, uid, ""));
            }
            return self.insert(&target.resource, name, object, now);
        };
        check_uid(&target.resource, &name, &object, &old)?;
        match text(&object, "resourceVersion") {
            None if !unconditional_updates(&target.resource) => Err(ApiError::invalid(
                &target.resource,
                &name.name,
                "metadata.resourceVersion",
                "must be specified for an update",
            )),
            _ => self.update(target, name, object),
        }
    }

    /// PATCH, of an object or of its status.
    pub fn patch(&mut self, target: &Target, patch: &Patch) -> Result<Written, ApiError> {
        let name = self.object_name(target)?;
        let Some(old) = self.get(&target.resource, &name) else {
            return Err(ApiError::not_found(&target.resource, &name.name));
        };
        let mut new = Value::clone(&old);
        match patch {
            Patch::Merge(patch) => json_patch::merge(&mut new, patch),
            Patch::Json(patch) => json_patch::patch(&mut new, patch).map_err(|error| {
                ApiError::new(
                    422,
                    "Invalid",
                    format!(
                        "the server rejected our request due to an error in our request: {error}"
                    ),
                )
            })?,
        }
        if target.subresource.is_some() {
            let version = new["metadata"]["resourceVersion"].take();
            new["metadata"] = old["metadata"].clone();
            new["metadata"]["resourceVersion"] = version;
        }
        validate::envelope(target, &new)?;
        if text(&new, "uid") != text(&old, "uid") {
            return Err(ApiError::invalid(
                &target.resource,
                &name.name,
                "metadata.uid",
                "field is immutable",
            ));
        }
        self.update(target, name, new)
    }

    /// DELETE, with the objects that only this one owned, which a cluster's garbage collector would delete soon after.
    pub fn delete(
        &mut self,
        resource: &ResourceName,
        name: &ObjectName,
        preconditions: &Preconditions,
        orphan: bool,
    ) -> Result<Arc<Value>, ApiError> {
        let Some(object) = self.get(resource, name) else {
            return Err(ApiError::not_found(resource, &name.name));
        };
        let actual = text(&object, "uid").unwrap_or_default();
        if let Some(uid) = preconditions.uid.as_deref()
            && uid != actual
        {
            return Err(ApiError::other_uid(resource, &name.name, uid, actual));
        }
        if let Some(version) = preconditions.resource_version.as_deref()
            && Some(version) != text(&object, "resourceVersion")
        {
            return Err(ApiError::stale(resource, &name.name));
        }
        let uid = actual.to_owned();
        let last = self.remove(resource, name, &object);
        self.collect_garbage(&name.namespace, &uid, orphan);
        Ok(last)
    }

    /// The garbage collector's work after the owner with this uid is gone.
    fn collect_garbage(&mut self, namespace: &str, uid: &str, orphan: bool) {
        let owned: Vec<(ResourceName, ObjectName, Arc<Value>)> = self
            .objects
            .iter()
            .flat_map(|(resource, all)| {
                all.iter()
                    .map(move |(name, object)| (resource, name, object))
            })
            .filter(|(_, name, object)| {
                (namespace.is_empty() || name.namespace == namespace)
                    && owners(object).any(|o| o == uid)
            })
            .map(|(resource, name, object)| (resource.clone(), name.clone(), object.clone()))
            .collect();
        for (resource, name, old) in owned {
            let other_owners = owners(&old).any(|owner| owner != uid && self.has_uid(owner));
            if orphan || other_owners {
                let mut object = Value::clone(&old);
                if let Some(list) = object["metadata"]["ownerReferences"].as_array_mut() {
                    list.retain(|owner| owner["uid"] != uid);
                }
                self.commit(resource, name, Some(old), object);
            } else if self.get(&resource, &name).is_some() {
                self.remove(&resource, &name, &old);
                let uid = text(&old, "uid").unwrap_or_default().to_owned();
                self.collect_garbage(&name.namespace, &uid, false);
            }
        }
    }

    fn has_uid(&self, uid: &str) -> bool {
        let mut all = self.objects.values().flat_map(BTreeMap::values);
        all.any(|object| text(object, "uid") == Some(uid))
    }

    fn insert(
        &mut self,
        resource: &ResourceName,
        name: ObjectName,
        mut object: Value,
        now: &str,
    ) -> Result<Written, ApiError> {
        match self.namespaces.get(&name.namespace) {
            Some(NamespaceState::Terminating) => {
                return Err(ApiError::namespace_terminating(
                    resource,
                    &name.name,
                    &name.namespace,
                ));
            }
            Some(NamespaceState::Absent) => {
                return Err(ApiError::not_found(
                    &ResourceName::new("", "namespaces"),
                    &name.namespace,
                ));
            }
            Some(NamespaceState::Active) | None => {}
        }
        normalise(&mut object);
        if self.has_status(resource) {
            remove_field(&mut object, "status");
        }
        validate::create(resource, &name, &mut object)?;
        let metadata = system_metadata(&mut object);
        for field in SYSTEM_METADATA {
            metadata.remove(field);
        }
        metadata.insert("name".to_owned(), json!(name.name));
        if !name.namespace.is_empty() {
            metadata.insert("namespace".to_owned(), json!(name.namespace));
        }
        self.uids += 1;
        metadata.insert("uid".to_owned(), json!(uid(self.uids)));
        metadata.insert("creationTimestamp".to_owned(), json!(now));
        if has_generation(resource) {
            metadata.insert("generation".to_owned(), json!(1));
        }
        let object = self.commit(resource.clone(), name, None, object);
        Ok(Written {
            object,
            created: true,
        })
    }

    /// The common end of PUT and PATCH: what of `new` this path can change is stored, if it changes anything.
    fn update(
        &mut self,
        target: &Target,
        name: ObjectName,
        mut new: Value,
    ) -> Result<Written, ApiError> {
        let resource = &target.resource;
        let Some(old) = self.get(resource, &name) else {
            return Err(ApiError::not_found(resource, &name.name));
        };
        if let Some(version) = text(&new, "resourceVersion")
            && Some(version) != text(&old, "resourceVersion")
        {
            return Err(ApiError::stale(resource, &name.name));
        }
        normalise(&mut new);
        if target.subresource.is_some() {
            let status = new["status"].take();
            new = Value::clone(&old);
            set_field(&mut new, "status", status);
        } else if self.has_status(resource) {
            set_field(&mut new, "status", old["status"].clone());
        }
        let metadata = system_metadata(&mut new);
        for field in SYSTEM_METADATA {
            match old["metadata"].get(field) {
                Some(value) => metadata.insert(field.to_owned(), value.clone()),
                None => metadata.remove(field),
            };
        }
        validate::update(resource, &name, &old, &mut new)?;
        let with_status = self.has_status(resource);
        if has_generation(resource) && wish(&new, with_status) != wish(&old, with_status) {
            let generation = old["metadata"]["generation"].as_i64().unwrap_or_default();
            new["metadata"]["generation"] = json!(generation + 1);
        }
        let object = if new == *old {
            old
        } else {
            self.commit(resource.clone(), name, Some(old), new)
        };
        Ok(Written {
            object,
            created: false,
        })
    }

    fn commit(
        &mut self,
        resource: ResourceName,
        name: ObjectName,
        old: Option<Arc<Value>>,
        mut object: Value,
    ) -> Arc<Value> {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let object = Arc::new(object);
        self.objects
            .entry(resource.clone())
            .or_default()
            .insert(name.clone(), object.clone());
        self.remember(resource, name, old, Some(object.clone()));
        object
    }

    /// Returns the object's last state, with the resource version of its deletion as watches report it.
    fn remove(
        &mut self,
        resource: &ResourceName,
        name: &ObjectName,
        object: &Arc<Value>,
    ) -> Arc<Value> {
        if let Some(all) = self.objects.get_mut(resource) {
            all.remove(name);
        }
        self.revision += 1;
        self.remember(resource.clone(), name.clone(), Some(object.clone()), None);
        Arc::new(at_revision(object, self.revision))
    }

    fn remember(
        &mut self,
        resource: ResourceName,
        name: ObjectName,
        old: Option<Arc<Value>>,
        new: Option<Arc<Value>>,
    ) {
        let revision = self.revision;
        self.history.push_back(Change {
            revision,
            resource,
            name,
            old,
            new,
        });
        if self.history.len() > HISTORY
            && let Some(change) = self.history.pop_front()
        {
            self.forgotten = change.revision;
        }
    }

    /// The object that a path names; a subresource other than a registered status is a 404.
    pub fn object_name(&self, target: &Target) -> Result<ObjectName, ApiError> {
        let Some(name) = &target.name else {
            return Err(ApiError::new(
                405,
                "MethodNotAllowed",
                "the server does not allow this method on the requested resource",
            ));
        };
        match target.subresource.as_deref() {
            None => {}
            Some("status") if self.has_status(&target.resource) => {}
            Some(_) => return Err(ApiError::no_such_path()),
        }
        Ok(ObjectName::new(&target.namespace, name))
    }
}

// === Helpers ===

/// The parts of `metadata` that a client cannot change.
const SYSTEM_METADATA: [&str; 9] = [
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "managedFields",
    "selfLink",
];

/// A text field of `metadata` that is there and not empty.
pub(super) fn text<'a>(object: &'a Value, field: &str) -> Option<&'a str> {
    object["metadata"][field]
        .as_str()
        .filter(|text| !text.is_empty())
}

/// The object as a deletion reports it.
pub(super) fn at_revision(object: &Value, revision: u64) -> Value {
    let mut object = object.clone();
    object["metadata"]["resourceVersion"] = json!(revision.to_string());
    object
}

fn check_uid(
    resource: &ResourceName,
    name: &ObjectName,
    given: &Value,
    old: &Value,
) -> Result<(), ApiError> {
    match text(given, "uid") {
        Some(uid) if Some(uid) != text(old, "uid") => {
            let actual = text(old, "uid").unwrap_or_default();
            Err(ApiError::other_uid(resource, &name.name, uid, actual))
        }
        _ => Ok(()),
    }
}

fn owners(object: &Value) -> impl Iterator<Item = &str> {
    let list = object["metadata"]["ownerReferences"].as_array();
    list.into_iter()
        .flatten()
        .filter_map(|owner| owner["uid"].as_str())
}

/// Whether a PUT may leave out the resource version: custom resources and Leases insist on it.
fn unconditional_updates(resource: &ResourceName) -> bool {
    matches!(
        resource.group.as_str(),
        "" | "apps" | "batch" | "events.k8s.io"
    )
}

/// Whether objects count the changes of their wishes. Secrets, Leases and Events do not.
fn has_generation(resource: &ResourceName) -> bool {
    let group = resource.group.as_str();
    matches!(group, "apps" | "batch") || (group.contains('.') && !group.ends_with(".k8s.io"))
}

/// The part of an object whose changes are counted by its generation.
fn wish(object: &Value, has_status: bool) -> Map<String, Value> {
    let mut fields = object.as_object().cloned().unwrap_or_default();
    fields.remove("metadata");
    if has_status {
        fields.remove("status");
    }
    fields
}

fn system_metadata(object: &mut Value) -> &mut Map<String, Value> {
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    object["metadata"]
        .as_object_mut()
        .expect("just made an object")
}

fn remove_field(object: &mut Value, field: &str) {
    if let Some(fields) = object.as_object_mut() {
        fields.remove(field);
    }
}

fn set_field(object: &mut Value, field: &str, value: Value) {
    if value.is_null() {
        remove_field(object, field);
    } else {
        object[field] = value;
    }
}

/// Removes what an API server does not store: nulls, and lists and maps of its own types that are empty.
fn normalise(object: &mut Value) {
    strip_nulls(object);
    let empty = |value: &Value| {
        value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
    };
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|_, value| !empty(value));
    }
    if object.get("data").is_some_and(empty) {
        remove_field(object, "data");
    }
}

/// An API server does not store nulls, apart from fields declared nullable.
fn strip_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(strip_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_nulls),
        _ => {}
    }
}

/// The nth uid: the same in every run, but as different from its neighbours as random ones, because jitter is derived
/// from uids.
fn uid(n: u64) -> String {
    // SplitMix64's output function.
    let mix = |seed: u64| {
        let z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let (a, b) = (mix(2 * n), mix(2 * n + 1));
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        a >> 32,
        a >> 16 & 0xffff,
        a & 0xfff,
        b >> 52,
        b & 0xffff_ffff_ffff
    )
}
