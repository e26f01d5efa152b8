//! Reads and writes Secrets. No other file has access to their content.

use futures::FutureExt;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Resource,
    api::{ListParams, PostParams, VersionMatch},
};

use super::{
    calls::Calls,
    errors::is_forbidden,
    leadership::NotLeading,
    object_key::ObjectKey,
    rights::{Rights, Verb},
    secret_index::SecretIndex,
    shared_reads::Answer,
    write::FIELD_MANAGER,
};
use crate::api::credentials::SecretVersion;

/// The Secrets of one namespace: an object has access to those of its own, and to a token that this process wrote elsewhere.
pub struct Secrets<'a> {
    secrets: Api<Secret>,
    namespace: &'a str,
    calls: &'a Calls,
    index: &'a SecretIndex,
}

impl<'a> Secrets<'a> {
    /// The Secrets beside one to which this process wrote a token.
    pub fn beside_written(key: &'a ObjectKey, calls: &'a Calls, index: &'a SecretIndex) -> Self {
        Self {
            secrets: Api::namespaced(calls.client(), &key.namespace),
            namespace: &key.namespace,
            calls,
            index,
        }
    }

    /// The Secrets beside an object. `None` where the object has no namespace.
    pub fn beside(
        object: &'a impl Resource,
        calls: &'a Calls,
        index: &'a SecretIndex,
    ) -> Option<Self> {
        let namespace = object.meta().namespace.as_deref()?;
        Some(Self {
            secrets: Api::namespaced(calls.client(), namespace),
            namespace,
            calls,
            index,
        })
    }

    /// Reads a Secret, if it is there.
    pub async fn read(&self, name: &str) -> Answer<Option<Secret>> {
        let read = self.calls.read(self.secrets.get_opt(name)).await?;
        self.note(read.as_ref());
        Ok(read)
    }

    /// As [`read`](Self::read), with one call for all who want to know it at the same time. It shows every change that a watch
    /// had shown to the caller, but maybe not the caller's own.
    pub async fn read_with_others(&self, name: &str) -> Answer<Option<Secret>> {
        let Some(known) = self.index.known(self.namespace, name) else {
            return self.read(name).await;
        };
        let hash = self.index.hash(self.namespace, name);
        let read = self.index.reads.join(hash, known, || {
            let (calls, secrets, name) =
                (self.calls.clone(), self.secrets.clone(), name.to_owned());
            async move { Ok(calls.read(secrets.get_opt(&name)).await?) }.boxed()
        });
        let read = read.await?;
        self.note(read.as_ref());
        Ok(read)
    }

    fn note(&self, read: Option<&Secret>) {
        if let Some((name, version)) = read.and_then(name_and_version) {
            self.index.note(self.namespace, name, &version);
        }
    }

    /// Reads a Secret as it was at a version of the API server's store. That is kept for 5 to 10 minutes, and then refused with
    /// HTTP 410. `None` where it was not there.
    pub async fn read_at(&self, name: &str, version: u64) -> Result<Option<Secret>, kube::Error> {
        let params = ListParams {
            version_match: Some(VersionMatch::Exact),
            ..ListParams::default()
                .fields(&format!("metadata.name={name}"))
                .at(&version.to_string())
        };
        let list = self.calls.read(self.secrets.list(&params)).await?;
        Ok(list.items.into_iter().next())
    }

    /// The versions of the API server's store at which a Secret may be as it was before others changed or deleted it, the
    /// likeliest first: as the watch shows it, as the process before this one left it, and as it was `written`. None where the
    /// Secrets are not watched: to list them may not be allowed then.
    pub fn versions_before(&self, name: &str, written: Option<u64>) -> Vec<u64> {
        if !self.index.covers(self.namespace) {
            return Vec::new();
        }
        let mut versions = self.index.versions_before(self.namespace, name);
        versions.extend(self.calls.taken_over_at().into_iter().chain(written));
        versions
    }

    /// Whether a Secret is not there, as far as a watch shows.
    pub fn is_absent(&self, name: &str) -> bool {
        self.index.is_current(self.namespace, name, None)
    }

    /// Whether a Secret is in this version, as far as a watch shows.
    pub fn is_current(&self, name: &str, version: &SecretVersion) -> bool {
        self.index.is_current(self.namespace, name, Some(version))
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
        match &result {
            Ok(written) => {
                if let Some((name, version)) = name_and_version(written) {
                    self.index.note_written(self.namespace, name, &version);
                }
            }
            Err(error) if is_forbidden(error) => rights.doubt(verb, self.namespace),
            Err(_) => {}
        }
        Ok(result)
    }
}

fn name_and_version(secret: &Secret) -> Option<(&str, SecretVersion)> {
    let metadata = &secret.metadata;
    Some((metadata.name.as_deref()?, SecretVersion::of(metadata)?))
}
