//! Finds the token of a target that was deleted in the history that the API server keeps for some minutes, so that it costs no
//! request.

use std::{collections::HashMap, time::Duration};

use k8s_openapi::{api::core::v1::Secret, jiff::Timestamp};
use kube::Api;
use parking_lot::Mutex;
use tokio::time::sleep;

use super::{
    context::Context,
    rules::{
        error::Error,
        judge::Observed,
        target::{ProvenToken, find_token},
    },
};
use crate::{
    api::{EdgeCredential, target::TargetStatus},
    cluster::{errors::is_refusal, object_key::ObjectKey, secrets::Secrets},
};

/// How often the API server is asked that does not answer, before a token is requested.
const TRIES: usize = 3;

/// The time between.
const PAUSE: Duration = Duration::from_secs(1);

/// At which versions of the API server's store the targets of objects were looked for: at each of them once.
#[derive(Debug, Default)]
pub struct LookedFor(Mutex<HashMap<ObjectKey, u64>>);

impl LookedFor {
    /// Notes that the target of an object is looked for. `false` where it was already, at this version or a later one.
    fn begin(&self, object: &ObjectKey, version: u64) -> bool {
        let mut looked_for = self.0.lock();
        let earlier = looked_for.get(object).copied();
        let is_new = Some(version) > earlier;
        if is_new {
            looked_for.insert(object.clone(), version);
        }
        is_new
    }

    /// Forgets an object whose target is there, or that is gone.
    pub fn forget(&self, object: &ObjectKey) {
        self.0.lock().remove(object);
    }
}

/// Looks for the token of a target that is gone, where nothing else has it. What is found is kept in memory for this object
/// alone, and counts only if it proves to have been requested with its parameters and its credentials. Returns whether
/// anything was found.
pub async fn find_deleted(
    observed: &Observed<'_>,
    key: &ObjectKey,
    now: Timestamp,
    context: &Context,
) -> Result<bool, Error> {
    let object = observed.object;
    let target = object
        .status
        .as_ref()
        .and_then(|status| status.target.as_ref());
    let (Ok(None), Some(target), None) = (&observed.target, target, &observed.memory.token) else {
        context.looked_for.forget(key);
        return Ok(false);
    };
    let (Some(request), Some(uid)) = (observed.request(), &object.metadata.uid) else {
        return Ok(false);
    };
    let Some(secret) = read_deleted(object, key, target, context).await? else {
        return Ok(false);
    };
    let is_good =
        |proven: &ProvenToken| proven.is_of(&request.credentials) && proven.token.is_valid(now);
    let proven = find_token(&secret, object).filter(is_good);
    if let Some(proven) = &proven {
        context.tokens.keep_for(&request, uid, &proven.token);
    }
    Ok(proven.is_some())
}

/// The target as it was last, where the API server still knows it.
async fn read_deleted(
    object: &EdgeCredential,
    key: &ObjectKey,
    target: &TargetStatus,
    context: &Context,
) -> Result<Option<Secret>, Error> {
    let Context { calls, secrets, .. } = context;
    let secrets = Secrets::beside(object, calls, secrets).ok_or(Error::Unidentified)?;
    let name = object.target_name();
    let written = target.resource_version.as_ref();
    let written = written.and_then(|version| version.parse().ok());
    let Some(version) = secrets.last_there_at(name).or(written) else {
        return Ok(None);
    };
    if !context.looked_for.begin(key, version) || !is_still_there(object, context).await? {
        return Ok(None);
    }
    for attempt in 1..=TRIES {
        match secrets.read_at(name, version).await {
            Ok(found) => return Ok(found),
            // The history is gone, or may not be read.
            Err(error) if is_refusal(&error) => return Ok(None),
            Err(_) if attempt == TRIES => {}
            Err(_) => sleep(PAUSE).await,
        }
    }
    Ok(None)
}

/// Whether this very object is there and is not being deleted: its target may have gone with it.
async fn is_still_there(object: &EdgeCredential, context: &Context) -> Result<bool, Error> {
    let metadata = &object.metadata;
    let (Some(namespace), Some(name)) = (&metadata.namespace, &metadata.name) else {
        return Err(Error::Unidentified);
    };
    let objects: Api<EdgeCredential> = Api::namespaced(context.calls.client(), namespace);
    let latest = context.calls.read(objects.get_metadata_opt(name)).await;
    let latest = latest.map_err(|source| Error::ReadObject { source })?;
    Ok(latest.is_some_and(|latest| {
        latest.metadata.uid == metadata.uid && latest.metadata.deletion_timestamp.is_none()
    }))
}
