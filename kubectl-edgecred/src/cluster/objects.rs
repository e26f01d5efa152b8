//! The objects of a cluster, of either kind, and what stands around them. Every call has a deadline, and an error that says what failed.

use std::{fmt::Debug, future::Future, time::Duration};

use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{Pod, Secret},
};
use kube::{
    Api, Resource, ResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams},
    core::DeserializeGuard,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use super::{
    access::Cluster,
    errors::{Action, CallError, Cause},
};
use crate::{kind::Object, name::ObjectName, output::progress::during};

/// How many objects come in one answer.
const PAGE: u32 = 500;

/// How often an object is read that is waited for.
const POLL: Duration = Duration::from_millis(500);

/// Who writes, as the API server notes it.
pub const FIELD_MANAGER: &str = "kubectl-edgecred";

/// Where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In one namespace.
    Namespace(String),
    /// In all.
    All,
}

impl Scope {
    /// The namespace, if it is one.
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Self::Namespace(name) => Some(name),
            Self::All => None,
        }
    }
}

/// Objects of a kind as they were found.
pub struct Found<K> {
    /// Those that can be read.
    pub objects: Vec<K>,
    /// The names, with their namespaces, of those that do not fit this program's definition.
    pub malformed: Vec<String>,
}

/// Nothing.
impl<K> Default for Found<K> {
    fn default() -> Self {
        Self {
            objects: Vec::new(),
            malformed: Vec::new(),
        }
    }
}

impl<K: Object> Found<K> {
    /// The names of those that can be read.
    pub fn names(&self) -> impl Iterator<Item = ObjectName> {
        let names = self.objects.iter().map(K::name_any);
        names.map(|name| ObjectName::new(K::KIND, &name))
    }
}

impl Cluster {
    /// Where a command looks: in its namespace, or everywhere.
    pub fn scope(&self, everywhere: bool) -> Scope {
        if everywhere {
            Scope::All
        } else {
            Scope::Namespace(self.namespace.clone())
        }
    }

    /// The objects of a kind with these labels.
    pub async fn list<K: Object>(
        &self,
        scope: &Scope,
        selector: Option<&str>,
    ) -> Result<Found<K>, CallError> {
        let mut found = Found::default();
        let take = |guarded: DeserializeGuard<K>| match guarded.0 {
            Ok(object) => found.objects.push(object),
            Err(invalid) => {
                let metadata = invalid.metadata;
                found.malformed.push(format!(
                    "{} {}/{}",
                    K::KIND,
                    metadata.namespace.unwrap_or_default(),
                    metadata.name.unwrap_or_default()
                ));
            }
        };
        let resource = K::KIND.resource();
        self.each(resource, scope, selector, take).await?;
        Ok(found)
    }

    /// The same of a kind that the cluster need not have: EdgeTokens are installed beside EdgeCredentials, or not.
    pub async fn list_if_served<K: Object>(
        &self,
        scope: &Scope,
        selector: Option<&str>,
    ) -> Result<Found<K>, CallError> {
        match self.list(scope, selector).await {
            Err(error) if error.cause == Cause::NoSuchKind => Ok(Found::default()),
            result => result,
        }
    }

    /// One object of the namespace.
    pub async fn get<K: Object>(&self, name: &str) -> Result<K, CallError> {
        let objects: Api<K> = self.namespaced(&self.namespace);
        let action = self.action("get", K::KIND.resource(), name);
        self.call(action, objects.get(name)).await
    }

    /// Looks at an object until it is as wanted, or until the deadline, and returns it as it was last. It is read again and
    /// again, since a watch takes a right that not everybody has.
    pub async fn wait_until<K: Object>(
        &self,
        name: &str,
        deadline: Instant,
        is_over: impl Fn(&K) -> bool,
    ) -> Result<K, CallError> {
        loop {
            let object = self.get(name).await?;
            if is_over(&object) || Instant::now() >= deadline {
                return Ok(object);
            }
            sleep_until(deadline.min(Instant::now() + POLL)).await;
        }
    }

    /// Changes an object by a merge patch.
    pub async fn patch<K: Object>(&self, name: &str, patch: &Value) -> Result<K, CallError> {
        let objects: Api<K> = self.namespaced(&self.namespace);
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PatchParams::default()
        };
        let action = self.action("patch", K::KIND.resource(), name);
        self.call(action, objects.patch(name, &params, &Patch::Merge(patch)))
            .await
    }

    /// A Secret, if it is there.
    pub async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Secret>, CallError> {
        let secrets: Api<Secret> = self.namespaced(namespace);
        let action = Action {
            verb: "get",
            resource: "secrets",
            namespace: Some(namespace.into()),
            name: Some(name.into()),
        };
        self.call(action, secrets.get_opt(name)).await
    }

    /// Creates an object in a namespace.
    pub async fn create<K>(&self, resource: &'static str, object: &K) -> Result<K, CallError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        let metadata = object.meta();
        let namespace = metadata.namespace.as_deref().unwrap_or(&self.namespace);
        let objects: Api<K> = self.namespaced(namespace);
        let action = Action {
            verb: "create",
            resource,
            namespace: Some(namespace.into()),
            name: metadata.name.clone(),
        };
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PostParams::default()
        };
        self.call(action, objects.create(&params, object)).await
    }

    /// The pods that are not at their end.
    pub async fn pods(&self, scope: &Scope, mut take: impl FnMut(Pod)) -> Result<(), CallError> {
        self.each("pods", scope, None, |pod: Pod| {
            let phase = pod
                .status
                .as_ref()
                .and_then(|status| status.phase.as_deref());
            if !matches!(phase, Some("Succeeded" | "Failed")) {
                take(pod);
            }
        })
        .await
    }

    /// All objects of a kind, one after the other, so that not all of them are held at a time.
    pub async fn each<K>(
        &self,
        resource: &'static str,
        scope: &Scope,
        selector: Option<&str>,
        mut take: impl FnMut(K),
    ) -> Result<(), CallError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let objects: Api<K> = match scope {
            Scope::Namespace(name) => self.namespaced(name),
            Scope::All => Api::all(self.client.clone()),
        };
        let action = Action {
            verb: "list",
            resource,
            namespace: scope.namespace().map(Into::into),
            name: None,
        };
        let mut params = ListParams::default().limit(PAGE);
        if let Some(selector) = selector {
            params = params.labels(selector);
        }
        loop {
            let page = self.call(action.clone(), objects.list(&params)).await?;
            page.items.into_iter().for_each(&mut take);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(()),
            }
        }
    }

    /// What is to be done with one object of the namespace.
    pub fn action(&self, verb: &'static str, resource: &'static str, name: &str) -> Action {
        Action {
            verb,
            resource,
            namespace: Some(self.namespace.clone()),
            name: Some(name.into()),
        }
    }

    /// The objects of a kind in a namespace.
    pub fn namespaced<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Makes a call, with a deadline.
    pub async fn call<T>(
        &self,
        action: Action,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, CallError> {
        let what = format!(
            "waiting for the API server ({} {})",
            action.verb, action.resource
        );
        let result = during(&what, tokio::time::timeout(self.timeout, call)).await;
        let cause = match result {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => Cause::of(&error, &action),
            Err(_) => Cause::Timeout,
        };
        Err(CallError {
            action,
            cause,
            place: self.place.clone(),
        })
    }
}
