//! The objects and what happened to them: what etcd and the API server's storage layer do, without HTTP, time or waiting.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use serde_json::{Map, Value, json};

use super::{
    error::ApiError,
    metadata::{finalizers, owners, text},
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
    /// No watch can be resumed from before this revision.
    unwatched: u64,
    revision: u64,
    uids: u64,
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

    /// The changes after a revision, oldest first; `None` if a watch cannot have some of them any longer.
    pub fn changes_after(&self, revision: u64) -> Option<impl Iterator<Item = &Change>> {
        let start = self
            .history
            .partition_point(|change| change.revision <= revision);
        (revision >= self.forgotten.max(self.unwatched)).then(|| self.history.range(start..))
    }

    /// Forgets all that happened. The revision moves on, so that even who has seen everything has missed something.
    pub fn forget_history(&mut self) {
        self.expire_watches();
        self.forgotten = self.revision;
        self.history.clear();
    }

    /// Lets no watch resume from before. The revision moves on, as above.
    pub fn expire_watches(&mut self) {
        self.revision += 1;
        self.unwatched = self.revision;
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
        let name = Self::object_name(target)?;
        let Some(old) = self.get(&target.resource, &name) else {
            if !target.resource.rules().created_by_put || target.subresource.is_some() {
                return Err(ApiError::not_found(&target.resource, &name.name));
            }
            if let Some(uid) = text(&object, "uid") {
                return Err(ApiError::other_uid(&target.resource, &name.name, uid, ""));
            }
            return self.insert(&target.resource, name, object, now);
        };
        check_uid(&target.resource, &name, &object, &old)?;
        match text(&object, "resourceVersion") {
            None if !target.resource.rules().unconditional_updates => Err(ApiError::invalid(
                &target.resource,
                &name.name,
                "metadata.resourceVersion",
                "must be specified for an update",
            )),
            _ => self.update(target, name, object, now),
        }
    }

    /// PATCH, of an object or of its status.
    pub fn patch(
        &mut self,
        target: &Target,
        patch: &Patch,
        now: &str,
    ) -> Result<Written, ApiError> {
        let name = Self::object_name(target)?;
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
        self.update(target, name, new, now)
    }

    /// DELETE. The object that is returned is still there if it says when its deletion began.
    pub fn delete(
        &mut self,
        resource: &ResourceName,
        name: &ObjectName,
        preconditions: &Preconditions,
        now: &str,
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
        Ok(self.end(resource, name, object, now))
    }

    /// Removes an object, or only marks it while it has finalizers.
    fn end(
        &mut self,
        resource: &ResourceName,
        name: &ObjectName,
        object: Arc<Value>,
        now: &str,
    ) -> Arc<Value> {
        if finalizers(&object).next().is_none() {
            self.remove(resource, name, object.clone(), now);
            return object;
        }
        if text(&object, "deletionTimestamp").is_some() {
            return object;
        }
        let mut marked = Value::clone(&object);
        marked["metadata"]["deletionTimestamp"] = json!(now);
        marked["metadata"]["deletionGracePeriodSeconds"] = json!(0);
        count_change(&mut marked);
        self.commit(resource.clone(), name.clone(), Some(object), marked)
    }

    /// The garbage collector's work after the owner with this uid is gone.
    fn collect_garbage(&mut self, namespace: &str, uid: &str, now: &str) {
        let owned: Vec<(ResourceName, ObjectName)> = self
            .objects
            .iter()
            .flat_map(|(resource, all)| {
                all.iter()
                    .map(move |(name, object)| (resource, name, object))
            })
            .filter(|(_, name, object)| {
                (namespace.is_empty() || name.namespace == namespace)
                    && owners(object).any(|owner| owner == uid)
            })
            .map(|(resource, name, _)| (resource.clone(), name.clone()))
            .collect();
        for (resource, name) in owned {
            // One before it may have taken it with it.
            let Some(object) = self.get(&resource, &name) else {
                continue;
            };
            if owners(&object).any(|owner| owner != uid && self.has_uid(owner)) {
                let mut kept = Value::clone(&object);
                if let Some(list) = kept["metadata"]["ownerReferences"].as_array_mut() {
                    list.retain(|owner| owner["uid"] != uid);
                }
                self.commit(resource, name, Some(object), kept);
            } else {
                self.end(&resource, &name, object, now);
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
        let rules = resource.rules();
        if rules.status {
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
        if rules.generation {
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
        now: &str,
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
        } else if resource.rules().status {
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
        if wish(&new, resource) != wish(&old, resource) {
            count_change(&mut new);
        }
        if text(&new, "deletionTimestamp").is_some() && finalizers(&new).next().is_none() {
            self.remove(resource, &name, old, now);
            return Ok(Written {
                object: Arc::new(new),
                created: false,
            });
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

    /// Removes an object and what only it owned, which a cluster's garbage collector would do soon after.
    fn remove(
        &mut self,
        resource: &ResourceName,
        name: &ObjectName,
        object: Arc<Value>,
        now: &str,
    ) {
        if let Some(all) = self.objects.get_mut(resource) {
            all.remove(name);
        }
        self.revision += 1;
        let uid = text(&object, "uid").unwrap_or_default().to_owned();
        self.remember(resource.clone(), name.clone(), Some(object), None);
        self.collect_garbage(&name.namespace, &uid, now);
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

    /// The object that a path names; a subresource other than a status is a 404.
    pub fn object_name(target: &Target) -> Result<ObjectName, ApiError> {
        let Some(name) = &target.name else {
            return Err(ApiError::new(
                405,
                "MethodNotAllowed",
                "the server does not allow this method on the requested resource",
            ));
        };
        match target.subresource.as_deref() {
            None => {}
            Some("status") if target.resource.rules().status => {}
            Some(_) => return Err(ApiError::no_such_path()),
        }
        Ok(ObjectName::new(&target.namespace, name))
    }
}

// === Helpers ===

/// The parts of `metadata` that a client cannot change.
const SYSTEM_METADATA: [&str; 10] = [
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
];

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

/// The part of an object whose changes are counted by its generation.
fn wish(object: &Value, resource: &ResourceName) -> Map<String, Value> {
    let mut fields = object.as_object().cloned().unwrap_or_default();
    fields.remove("metadata");
    if resource.rules().status {
        fields.remove("status");
    }
    fields
}

/// A new generation, of an object that has one.
fn count_change(object: &mut Value) {
    if let Some(generation) = object["metadata"]["generation"].as_i64() {
        object["metadata"]["generation"] = json!(generation + 1);
    }
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
