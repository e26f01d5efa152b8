//! Writes statuses and finalizers, under the field manager of all writes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};

use super::{calls::Calls, leadership::NotLeading};

/// The field manager of everything that is written. Never changed: fields would be left behind under the old name.
pub const FIELD_MANAGER: &str = "edge-credential-operator";

/// Replaces the whole status of this very object, and returns the object as it is then. Unlike a merge or an apply,
/// this also removes fields that another client may have set.
pub async fn write_status<K, S>(
    objects: &Api<K>,
    metadata: &ObjectMeta,
    status: &S,
    calls: &Calls,
) -> Result<Result<K, kube::Error>, NotLeading>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
    S: Serialize,
{
    let operations = serde_json::json!([
        {"op": "test", "path": "/metadata/uid", "value": metadata.uid},
        {"op": "add", "path": "/status", "value": status},
    ]);
    let name = metadata.name.as_deref().unwrap_or_default();
    match patch(operations) {
        Ok(patch) => {
            calls
                .write(objects.patch_status(name, &params(), &patch))
                .await
        }
        Err(error) => Ok(Err(error)),
    }
}

/// Replaces the whole status of the very version of an object that was read, and returns the object as it is then. Refused
/// with HTTP 409 where it was changed in between: it may be another process that wrote the status.
pub async fn replace_status<K, S>(
    objects: &Api<K>,
    metadata: &ObjectMeta,
    status: &S,
    calls: &Calls,
) -> Result<Result<K, kube::Error>, NotLeading>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
    S: Serialize,
{
    let operations = serde_json::json!([
        {"op": "test", "path": "/metadata/uid", "value": metadata.uid},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": metadata.resource_version},
        {"op": "add", "path": "/status", "value": status},
    ]);
    let name = metadata.name.as_deref().unwrap_or_default();
    match patch(operations) {
        Ok(patch) => {
            calls
                .write(objects.patch_status(name, &params(), &patch))
                .await
        }
        Err(error) => Ok(Err(error)),
    }
}

/// Replaces the finalizers of the very version of an object that was read, and returns the object as it is then.
pub async fn replace_finalizers<K>(
    objects: &Api<K>,
    metadata: &ObjectMeta,
    finalizers: &[String],
    calls: &Calls,
) -> Result<Result<K, kube::Error>, NotLeading>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let operations = serde_json::json!([
        {"op": "test", "path": "/metadata/uid", "value": metadata.uid},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": metadata.resource_version},
        {"op": "add", "path": "/metadata/finalizers", "value": finalizers},
    ]);
    let name = metadata.name.as_deref().unwrap_or_default();
    match patch(operations) {
        Ok(patch) => calls.write(objects.patch(name, &params(), &patch)).await,
        Err(error) => Ok(Err(error)),
    }
}

fn patch(operations: serde_json::Value) -> Result<Patch<()>, kube::Error> {
    serde_json::from_value(operations)
        .map(Patch::Json)
        .map_err(kube::Error::SerdeError)
}

fn params() -> PatchParams {
    PatchParams {
        field_manager: Some(FIELD_MANAGER.into()),
        ..PatchParams::default()
    }
}
