//! Retrieves a token that is in no memory, so that it costs no request: from the Secret to which this process wrote it for an
//! equal request, or, where the target was deleted or changed, from the history that the API server keeps for some minutes.

use std::time::Duration;

use k8s_openapi::{api::core::v1::Secret, jiff::Timestamp};
use kube::Api;
use tokio::time::sleep;

use super::{
    context::Context,
    rules::{
        error::Error,
        judge::Observed,
        target::{ProvenToken, find_token, find_value},
    },
};
use crate::{
    api::EdgeCredential,
    cluster::{
        errors::is_refusal,
        object_key::ObjectKey,
        secrets::{Secrets, read_written},
    },
};

/// How often the API server is asked that does not answer, before a token is requested.
const TRIES: usize = 3;

/// The time between.
const PAUSE: Duration = Duration::from_secs(1);

/// Brings a token back into memory that an object needs and that an equal request, or the object itself, had before. Returns
/// whether anything was found.
pub async fn retrieve(
    observed: &Observed<'_>,
    key: &ObjectKey,
    now: Timestamp,
    context: &Context,
) -> Result<bool, Error> {
    Ok(retrieve_written(observed, now, context).await?
        || retrieve_lost(observed, key, now, context).await?)
}

/// Reads the token that was written for an equal request, where the object needs another one than it has. It is good only as
/// long as its Secret is as this process wrote it.
async fn retrieve_written(
    observed: &Observed<'_>,
    now: Timestamp,
    context: &Context,
) -> Result<bool, Error> {
    let Some(request) = observed.request().filter(|_| observed.needs_token(now)) else {
        return Ok(false);
    };
    let Some(written) = context.tokens.written(&request, now) else {
        return Ok(false);
    };
    let read = read_written(&written.at, &context.calls).await;
    let secret = match read {
        Ok(secret) => secret,
        Err(error) if is_refusal(&error) => None,
        Err(source) => {
            return Err(Error::ReadSecret {
                secret: observed.object.target_name().into(),
                source,
            });
        }
    };
    let token = secret.and_then(|secret| find_value(&secret, |token| written.is(token)));
    let is_there = token.is_some();
    context.tokens.take_back(&request, token);
    Ok(is_there)
}

/// Looks for the token that a target had before it was deleted or changed, where nothing else has it. What is found is kept in
/// memory for this object alone, and counts only if it proves to have been requested with its parameters and its credentials.
async fn retrieve_lost(
    observed: &Observed<'_>,
    key: &ObjectKey,
    now: Timestamp,
    context: &Context,
) -> Result<bool, Error> {
    let object = observed.object;
    let is_lost = observed.target.is_ok() && observed.stored().is_none();
    let status = object.status.as_ref().filter(|_| is_lost);
    let Some(target) = status.and_then(|status| status.target.as_ref()) else {
        context.looked_for.forget(key);
        return Ok(false);
    };
    let (Some(request), Some(uid)) = (observed.request(), &object.metadata.uid) else {
        return Ok(false);
    };
    if observed.memory.token.is_some() {
        return Ok(false);
    }
    let Context { calls, secrets, .. } = context;
    let secrets = Secrets::beside(object, calls, secrets).ok_or(Error::Unidentified)?;
    let name = object.target_name();
    let mut versions = secrets.versions_before(name);
    let written = target.resource_version.as_ref();
    versions.extend(written.and_then(|version| version.parse::<u64>().ok()));
    let is_new = |newest: &u64| context.looked_for.begin(key, *newest);
    if !versions.first().is_some_and(is_new) || !is_still_there(object, context).await? {
        return Ok(false);
    }
    let is_good =
        |proven: &ProvenToken| proven.is_of(&request.credentials) && proven.token.is_valid(now);
    for version in versions {
        // What is older than a history that is gone is gone too.
        let Some(found) = read_at(&secrets, name, version).await else {
            return Ok(false);
        };
        let proven = found.and_then(|secret| find_token(&secret, object));
        if let Some(proven) = proven.filter(is_good) {
            context.tokens.keep_for(&request, uid, &proven.token);
            return Ok(true);
        }
    }
    Ok(false)
}

/// Reads a Secret as it was, if it was there. `None` where that is not known any more, may not be read, or is not answered.
async fn read_at(secrets: &Secrets<'_>, name: &str, version: u64) -> Option<Option<Secret>> {
    for attempt in 1..=TRIES {
        match secrets.read_at(name, version).await {
            Ok(found) => return Some(found),
            Err(error) if is_refusal(&error) => return None,
            Err(_) if attempt == TRIES => {}
            Err(_) => sleep(PAUSE).await,
        }
    }
    None
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
