//! Writes statuses and finalizers, under the field manager of all writes.

use std::fmt::Debug;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{calls::Calls, leadership::NotLeading};

/// The field manager of everything that is written. Never changed: fields would be left behind under the old name.
pub const FIELD_MANAGER: &str = "edge-credential-operator";

/// Replaces the whole status of this very object, and returns the object as it is then. Unlike a merge or an apply,
/// this also removes fields that another client may have set.
pub async fn write_status<K: Written>(
    objects: &Api<K>,
    metadata: &ObjectMeta,
    status: &impl Serialize,
    calls: &Calls,
) -> Result<Result<K, kube::Error>, NotLeading> {
    let uid = json!({"op": "test", "path": "/metadata/uid", "value": metadata.uid});
    let status = json!({"op": "add", "path": "/status", "value": status});
    patch(objects, metadata, Part::Status, json!([uid, status]), calls).await
}

/// Replaces the whole status of the very version of an object that was read, and returns the object as it is then. Refused
/// with HTTP 409 where it was changed in between: it may be another process that wrote the status.
pub async fn replace_status<K: Written>(
    objects: &Api<K>,
    metadata: &ObjectMeta,
    status: &impl Serialize,
    calls: &Calls,
) -> Result<Result<K, kube::Error>, NotLeading> {
    let status = json!({"op": "add", "path": "/status", "value": status});
    let operations = of_version(metadata, status);
    patch(objects, metadata, Part::Status, operations, calls).await
}

/// Replaces the finalizers of the very version of an object that was read, and returns the object as it is then.
pub async fn replace_finalizers<K: Written>(
    objects: &Api<K>,
    metadata: &ObjectMeta,
    finalizers: &[String],
    calls: &Calls,
) -> Result<Result<K, kube::Error>, NotLeading> {
    let finalizers = json!({"op": "add", "path": "/metadata/finalizers", "value": finalizers});
    let operations = of_version(metadata, finalizers);
    patch(objects, metadata, Part::Object, operations, calls).await
}

/// An object that is written.
pub trait Written: Clone + DeserializeOwned + Debug {}

impl<K: Clone + DeserializeOwned + Debug> Written for K {}

/// What of an object is written.
enum Part {
    Object,
    Status,
}

/// An operation on the very version of an object that was read.
fn of_version(metadata: &ObjectMeta, operation: Value) -> Value {
    let version = &metadata.resource_version;
    json!([
        {"op": "test", "path": "/metadata/uid", "value": metadata.uid},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": version},
        operation,
    ])
}

async fn patch<K: Written>(
    objects: &Api<K>,
    metadata: &ObjectMeta,
    part: Part,
    operations: Value,
    calls: &Calls,
) -> Result<Result<K, kube::Error>, NotLeading> {
    let patch = match serde_json::from_value(operations) {
        Ok(operations) => Patch::<()>::Json(operations),
        Err(error) => return Ok(Err(kube::Error::SerdeError(error))),
    };
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.into()),
        ..PatchParams::default()
    };
    let name = metadata.name.as_deref().unwrap_or_default();
    match part {
        Part::Object => calls.write(objects.patch(name, &params, &patch)).await,
        Part::Status => {
            let patched = objects.patch_status(name, &params, &patch);
            calls.write(patched).await
        }
    }
}
