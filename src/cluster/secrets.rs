//! The one way to the content of Secrets.

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Resource, api::PostParams};

use super::{
    calls::Calls,
    errors::is_forbidden,
    leadership::NotLeading,
    rights::{Rights, Verb},
    write::FIELD_MANAGER,
};

/// The Secrets that an object may have to do with: those of its own namespace.
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

    /// Creates a Secret, or replaces the very one that was read, and returns it as it is then: uid and resourceVersion are in it, so a Secret that
    /// was changed, or deleted and made anew, in between is not overwritten. An apply would create it (seen on a real
    /// API server, even with a resourceVersion).
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
        match &result {
            Ok(_) => rights.proven(verb, self.namespace),
            Err(error) if is_forbidden(error) => rights.doubt(verb, self.namespace),
            Err(_) => {}
        }
        Ok(result)
    }
}
