//! Writes statuses, under the field manager of all writes.

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
    let operations = serde_json::from_value(serde_json::json!([
        {"op": "test", "path": "/metadata/uid", "value": metadata.uid},
        {"op": "add", "path": "/status", "value": status},
    ]));
    let operations = match operations {
        Ok(operations) => operations,
        Err(error) => return Ok(Err(kube::Error::SerdeError(error))),
    };
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.into()),
        ..PatchParams::default()
    };
    let name = metadata.name.as_deref().unwrap_or_default();
    calls
        .write(objects.patch_status(name, &params, &Patch::<()>::Json(operations)))
        .await
}
