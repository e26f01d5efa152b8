//! What a test does to the cluster and asks of it, past the API: nothing here is recorded, denied or made to fail.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use kube::Resource;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    FakeApi, Fault, NamespaceState, Request, Verb,
    fault::Denial,
    lock,
    path::{ObjectName, ResourceName, Target},
    store::{Preconditions, Store},
};

// === Objects ===

impl FakeApi {
    /// An object as it is stored. `kind` is a plural as kubectl takes it (`secrets`,
    /// `edgecredentials.edgecredentials.io`), `namespace` is empty for cluster-wide objects.
    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let store = self.shared.store();
        let object = store.get(store.resource(kind)?, &ObjectName::new(namespace, name))?;
        Some(Value::clone(&object))
    }

    /// An object as its type.
    ///
    /// # Panics
    /// If what is stored is not a valid `K`.
    pub fn get_as<K>(&self, namespace: &str, name: &str) -> Option<K>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        let object = self
            .shared
            .store()
            .get(&resource::<K>(), &ObjectName::new(namespace, name))?;
        Some(read(&object))
    }

    /// All objects of a type, in all namespaces, in the order of namespace and name.
    ///
    /// # Panics
    /// If what is stored is not a valid `K`.
    pub fn list_as<K>(&self) -> Vec<K>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        let objects = self.shared.store().list(&resource::<K>(), "");
        objects.values().map(|object| read(object)).collect()
    }

    /// Creates the object, or replaces the one of its name whatever its resource version. Its status is written, too,
    /// if it has one; the stored status is kept otherwise.
    ///
    /// # Panics
    /// If the object has no name or the API would refuse it.
    pub fn apply_object<K>(&self, object: &K) -> K
    where
        K: Resource<DynamicType = ()> + Serialize + DeserializeOwned,
    {
        let mut object = serde_json::to_value(object).expect("an object can be serialised");
        object["apiVersion"] = K::api_version(&()).into();
        object["kind"] = K::kind(&()).into();
        let field = |field: &str| {
            object["metadata"][field]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        let with_status = object.get("status").is_some_and(|status| !status.is_null());
        read(&self.put::<K>(&field("namespace"), &field("name"), object, with_status))
    }

    /// Changes a stored object, status included, as a person with kubectl would: the change is a new version of it.
    ///
    /// # Panics
    /// If there is no such object, or the API would refuse the result.
    pub fn edit<K>(&self, namespace: &str, name: &str, change: impl FnOnce(&mut Value)) -> K
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        let resource = resource::<K>();
        let stored = self
            .shared
            .store()
            .get(&resource, &ObjectName::new(namespace, name));
        let Some(stored) = stored else {
            panic!("{resource} {namespace}/{name} is not there to be edited");
        };
        let mut object = Value::clone(&stored);
        change(&mut object);
        read(&self.put::<K>(namespace, name, object, true))
    }

    /// Deletes an object and, as the garbage collector does, what only it owned. Of these, what has finalizers is marked and
    /// stays. Says whether it was there.
    pub fn delete_object<K>(&self, namespace: &str, name: &str) -> bool
    where
        K: Resource<DynamicType = ()>,
    {
        let name = ObjectName::new(namespace, name);
        let (none, now) = (Preconditions::default(), self.shared.now());
        let deleted = self
            .shared
            .write(|store| store.delete(&resource::<K>(), &name, &none, &now));
        deleted.is_ok()
    }

    fn put<K: Resource<DynamicType = ()>>(
        &self,
        namespace: &str,
        name: &str,
        mut object: Value,
        with_status: bool,
    ) -> Arc<Value> {
        let mut target = Target {
            resource: resource::<K>(),
            version: K::version(&()).into_owned(),
            namespace: namespace.to_owned(),
            name: None,
            subresource: None,
        };
        let now = self.shared.now();
        let write = |store: &mut Store| {
            let old = store.get(&target.resource, &ObjectName::new(namespace, name));
            // A test's write is never stale.
            adopt_version(&mut object, old.as_deref().unwrap_or(&Value::Null));
            let written = if old.is_some() {
                target.name = Some(name.to_owned());
                store.replace(&target, object.clone(), &now)?
            } else {
                store.create(&target, object.clone(), &now)?
            };
            if !with_status || !target.resource.rules().status {
                return Ok(written.object);
            }
            adopt_version(&mut object, &written.object);
            target.name = Some(name.to_owned());
            target.subresource = Some("status".to_owned());
            Ok(store.replace(&target, object, &now)?.object)
        };
        self.shared.write(write).unwrap_or_else(|error| {
            panic!("the API refuses what the test writes: {}", error.message)
        })
    }
}

/// Makes an object one of the version that is stored, or of none.
fn adopt_version(object: &mut Value, stored: &Value) {
    for field in ["uid", "resourceVersion"] {
        object["metadata"][field] = stored["metadata"][field].clone();
    }
}

// === Cluster ===

impl FakeApi {
    /// The resource version of the latest change to anything, for [`Fault::Stale`] and to see that nothing changed.
    pub fn revision(&self) -> u64 {
        self.shared.store().revision()
    }

    /// Makes creating in a namespace fail, or work again. Objects that are there stay.
    pub fn set_namespace(&self, namespace: &str, state: NamespaceState) {
        self.shared.store().set_namespace(namespace, state);
    }

    /// Refuses lists that are streamed from now on, as an API server before Kubernetes 1.34 does.
    pub fn stream_no_lists(&self) {
        self.shared.streams_lists.store(false, Ordering::Relaxed);
    }

    /// Forgets all changes so far: every watch, running or resumed from before, ends with 410 Gone, and so does a list
    /// whose next page is still to be fetched.
    pub fn expire_history(&self) {
        self.expire(Store::forget_history);
    }

    /// Ends every watch, running or resumed from before, with 410 Gone, as a restart of the API server does, whose cache begins
    /// anew. Lists of earlier revisions are answered as before.
    pub fn expire_watches(&self) {
        self.expire(Store::expire_watches);
    }

    fn expire(&self, expire: impl FnOnce(&mut Store)) {
        let expired = self.shared.write(|store| {
            expire(store);
            Ok(())
        });
        debug_assert!(expired.is_ok());
    }

    /// Ends all running watches, as a restart of the API server does. They can be resumed.
    pub fn cut_watches(&self) {
        self.shared.pulse.send_modify(|pulse| pulse.connection += 1);
    }
}

// === Permissions and faults ===

impl FakeApi {
    /// Takes away a permission, in one namespace or everywhere: such requests get 403, and a SelfSubjectAccessReview
    /// says so. `resource` is a plural with its subresource: `secrets`, `edgecredentials/status`. A request for all
    /// namespaces is not refused for the sake of one.
    pub fn deny(&self, verb: Verb, resource: &str, namespace: Option<&str>) {
        self.deny_all_but(verb, resource, namespace, &[]);
    }

    /// As [`deny`](Self::deny), but what has one of these names is allowed, as by a Role with `resourceNames`. A request or
    /// a review without a name is not.
    pub fn deny_all_but(&self, verb: Verb, resource: &str, namespace: Option<&str>, but: &[&str]) {
        lock(&self.shared.denials).push(Denial {
            verb,
            resource: resource.to_owned(),
            namespace: namespace.map(str::to_owned),
            but: but.iter().map(|name| (*name).to_owned()).collect(),
        });
    }

    /// Gives back all permissions.
    pub fn allow_all(&self) {
        lock(&self.shared.denials).clear();
    }

    /// Asks `fault` what shall happen to each request from now on. The request's code is not known yet: 0.
    pub fn on_request(&self, fault: impl Fn(&Request) -> Fault + Send + Sync + 'static) {
        *lock(&self.shared.hook) = Some(Arc::new(fault));
    }

    /// Answers all requests as usual again.
    pub fn no_faults(&self) {
        *lock(&self.shared.hook) = None;
    }
}

// === Record ===

impl FakeApi {
    /// The requests answered so far, in the order of their answers. One that its client gave up during a
    /// [`Fault::Delay`] is counted but not listed.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared.record).requests().to_vec()
    }

    /// As [`FakeApi::requests`], and starts a new list. The counters are kept.
    pub fn take_requests(&self) -> Vec<Request> {
        lock(&self.shared.record).take_requests()
    }

    /// Whether requests are listed (default) or only counted.
    pub fn keep_requests(&self, keep: bool) {
        lock(&self.shared.record).keep_requests(keep);
    }

    /// How many requests with this verb arrived for a resource; with a subresource, for that alone:
    /// `secrets`, `edgecredentials/status`.
    pub fn count(&self, verb: Verb, resource: &str) -> u64 {
        lock(&self.shared.record).count(verb, resource)
    }

    /// All counters that are not 0.
    pub fn counts(&self) -> BTreeMap<(Verb, String), u64> {
        lock(&self.shared.record).counts()
    }

    /// How many requests arrived that change something. A question about rights is a POST, but changes nothing.
    pub fn writes(&self) -> u64 {
        let counts = self.counts();
        counts
            .iter()
            .filter(|((verb, resource), _)| verb.writes() && resource != "selfsubjectaccessreviews")
            .map(|(_, count)| count)
            .sum()
    }

    /// Sets all counters to 0.
    pub fn reset_counts(&self) {
        lock(&self.shared.record).reset_counts();
    }
}

fn resource<K: Resource<DynamicType = ()>>() -> ResourceName {
    ResourceName::new(&K::group(&()), &K::plural(&()))
}

fn read<K: DeserializeOwned>(object: &Value) -> K {
    serde_json::from_value(object.clone())
        .unwrap_or_else(|error| panic!("what is stored is not of the type asked for: {error}"))
}
