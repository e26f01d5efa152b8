//! Reads what a decision rests on, and nothing else.

use k8s_openapi::api::core::v1::Secret;
use kube::Api;

use super::context::Context;
use crate::{
    rules::{error::Error, spec::check_names},
    {api::EdgeCredential, cluster::secrets::Secrets},
};

/// The two Secrets that an EdgeCredential names, as far as they are there.
pub struct Found {
    pub credentials: Option<Secret>,
    pub target: Option<Secret>,
}

/// Reads the credentials Secret and the target Secret. The object itself comes from the watch. A target that the object never
/// had is not read where `secrets_are_known` and it is not there: its creation shows whether that is so.
pub async fn observe(
    object: &EdgeCredential,
    context: &Context,
    secrets_are_known: bool,
) -> Result<Found, Error> {
    check_names(&object.spec.credentials_secret_ref, object.target_name()).map_err(Error::Spec)?;
    let Context { calls, secrets, .. } = context;
    let secrets = Secrets::beside(object, calls, secrets).ok_or(Error::Unidentified)?;
    let unreadable = |name: &str, source| Error::ReadSecret {
        secret: name.into(),
        source,
    };
    let credentials = async {
        let name = &object.spec.credentials_secret_ref.name;
        let secret = secrets.read_with_others(name).await;
        secret.map_err(|source| unreadable(name, source))
    };
    let name = object.target_name();
    let had_target = object
        .status
        .as_ref()
        .is_some_and(|status| status.target.is_some());
    if secrets_are_known && !had_target && secrets.is_absent(name) {
        return Ok(Found {
            credentials: credentials.await?,
            target: None,
        });
    }
    // Both to the end, and judged in order: the first one to fail would be another each time, and so the status.
    let (credentials, target) = futures::future::join(credentials, secrets.read(name)).await;
    Ok(Found {
        credentials: credentials?,
        target: target.map_err(|source| unreadable(name, source))?,
    })
}

/// Whether this very object is there with the spec that is known here, and is not being deleted: a list that lags behind shows
/// an earlier one.
pub async fn is_latest(object: &EdgeCredential, context: &Context) -> Result<bool, Error> {
    let metadata = &object.metadata;
    let (Some(namespace), Some(name)) = (&metadata.namespace, &metadata.name) else {
        return Err(Error::Unidentified);
    };
    let objects: Api<EdgeCredential> = Api::namespaced(context.calls.client(), namespace);
    let latest = context.calls.read(objects.get_metadata_opt(name)).await;
    let latest = latest.map_err(|source| Error::ReadObject { source })?;
    Ok(latest.is_some_and(|latest| {
        latest.metadata.uid == metadata.uid
            && latest.metadata.generation == metadata.generation
            && latest.metadata.deletion_timestamp.is_none()
    }))
}
