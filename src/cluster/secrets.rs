//! Reads and writes Secrets. No other file has access to their content.

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Resource, api::PostParams};

use super::{
    calls::Calls,
    errors::is_forbidden,
    leadership::NotLeading,
    rights::{Rights, Verb},
    write::FIELD_MANAGER,
};

/// The Secrets of one object's own namespace: it has access to no others.
pub struct Secrets<'a> {
    secrets: Api<Secret>,
    namespace: &'a str,
    calls: &'a Calls,
}

impl<'a> Secrets<'a> {
    /// The Secrets beside an object. `None` where the object has no namespace.
    pub fn beside(object: &'a impl Resource, calls: &'a Calls) -> Option<Self> {
        let namespace = object.meta().namespace.as_deref()?;
        Some(Self {
            secrets: Api::namespaced(calls.client(), namespace),
            namespace,
            calls,
        })
    }

    /// Reads a Secret, if it is there.
    pub async fn read(&self, name: &str) -> Result<Option<Secret>, kube::Error> {
        self.calls.read(self.secrets.get_opt(name)).await
    }

    /// Creates a Secret, or replaces the very version that was read, and returns it as it was written. A Secret that was
    /// changed, or deleted and created anew, in between is not overwritten, since uid and resourceVersion are part of the
    /// call. An apply would create a deleted Secret anew (seen on a real API server, even with a resourceVersion).
    pub async fn write(
        &self,
        secret: &Secret,
        verb: Verb,
        rights: &Rights,
    ) -> Result<Result<Secret, kube::Error>, NotLeading> {
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PostParams::default()
        };
        let name = secret.metadata.name.as_deref().unwrap_or_default();
        let (secrets, calls) = (&self.secrets, self.calls);
        let result = match verb {
            Verb::Create => calls.write(secrets.create(&params, secret)).await?,
            Verb::Update => calls.write(secrets.replace(name, &params, secret)).await?,
        };
        if result.as_ref().is_err_and(is_forbidden) {
            rights.doubt(verb, self.namespace);
        }
        Ok(result)
    }
}
