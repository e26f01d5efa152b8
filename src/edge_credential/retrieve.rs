//! Retrieves a token that is in no memory, so that it costs no request: from the Secret to which this process wrote it for an
//! equal request, or, where the target was deleted or changed, from the history that the API server keeps for some minutes.

use k8s_openapi::{api::core::v1::Secret, jiff::Timestamp};
use secrecy::SecretString;

use super::{
    context::Context,
    observe::is_latest,
    rules::{
        judge::Observed,
        target::{ProvenToken, find_token},
    },
};
use crate::{
    api::EdgeCredential,
    cluster::{
        history::{find_now_or_before, read_at},
        object_key::ObjectKey,
        secrets::Secrets,
    },
    rules::{error::Error, token_value::find_value},
    traffic::tokens::WrittenToken,
};

/// Brings a token back into memory that an object needs and that an equal request, or the object itself, had before. Returns
/// whether anything was found.
pub async fn retrieve(
    observed: &Observed<'_>,
    key: &ObjectKey,
    now: Timestamp,
    context: &Context,
) -> Result<bool, Error> {
    let tokens = &context.tokens;
    let request = observed.request().filter(|_| observed.needs_token(now));
    let (Some(request), Some(uid), Ok(plan)) =
        (request, &observed.object.metadata.uid, &observed.plan)
    else {
        return Ok(false);
    };
    // One that is to be renewed itself serves nobody.
    let is_fresh = |written: &WrittenToken| plan.is_fresh(observed.object, written.times(), now);
    let written = tokens.written(&request, now).filter(is_fresh);
    if let Some(written) = &written
        && let Some(token) = read_token(written, observed, context).await?
    {
        tokens.take_back(&request, Some(token));
        return Ok(true);
    }
    let lost = find_lost(observed, key, context).await?;
    let is_good =
        |proven: &ProvenToken| proven.is_of(&request.credentials) && proven.token.is_valid(now);
    let lost = lost.filter(is_good).map(|proven| proven.token);
    match (written, lost) {
        (None, None) => return Ok(false),
        (Some(_), None) => {
            tokens.take_back(&request, None);
            return Ok(false);
        }
        (Some(written), Some(token)) if written.is(&token.access_token) => {
            tokens.take_back(&request, Some(token.access_token));
        }
        (written, Some(token)) => {
            if written.is_some() {
                tokens.take_back(&request, None);
            }
            tokens.keep_for(&request, uid, &token);
        }
    }
    Ok(true)
}

/// Reads the token that was written for an equal request, where it is or where it was.
async fn read_token(
    written: &WrittenToken,
    observed: &Observed<'_>,
    context: &Context,
) -> Result<Option<SecretString>, Error> {
    let Context { calls, secrets, .. } = context;
    let secrets = Secrets::beside_written(&written.key, calls, secrets);
    let find = |secret: &Secret| find_value(secret, |token| written.is(token));
    let found = find_now_or_before(&secrets, &written.key.name, find).await;
    found.map_err(|source| Error::ReadSecret {
        secret: observed.object.target_name().into(),
        source,
    })
}

/// Finds the token that a target had before it was deleted or changed. It proves to have been requested with the parameters of
/// the object.
async fn find_lost(
    observed: &Observed<'_>,
    key: &ObjectKey,
    context: &Context,
) -> Result<Option<ProvenToken>, Error> {
    let object = observed.object;
    let status = object.status.as_ref();
    let same_spec = status.is_some_and(|it| it.observed_generation == object.metadata.generation);
    let is_lost = match &observed.target {
        Ok(None) => true,
        // With another spec it may hold a good token for the one before.
        Ok(Some(target)) => target.stored.is_none() && same_spec,
        Err(_) => false,
    };
    let status = status.filter(|_| is_lost);
    let Some(target) = status.and_then(|status| status.target.as_ref()) else {
        context.looked_for.forget(key);
        return Ok(None);
    };
    let Context { calls, secrets, .. } = context;
    let secrets = Secrets::beside(object, calls, secrets).ok_or(Error::Unidentified)?;
    let name = object.target_name();
    let written = target.resource_version.as_ref();
    let written = written.and_then(|version| version.parse().ok());
    let versions = secrets.versions_before(name, written);
    let newest = versions.first().copied();
    let Some(newest) = newest.filter(|newest| !context.looked_for.contains(key, *newest)) else {
        return Ok(None);
    };
    // Its target may have gone with it, or may have been written for a later spec than a list that lags behind shows.
    if !is_latest(object, context).await? {
        return Ok(None);
    }
    context.looked_for.enter(key, newest);
    for version in versions {
        // What is older than a history that is gone is gone too.
        let Some(found) = read_at(&secrets, name, version).await else {
            return Ok(None);
        };
        let proven = found.and_then(|secret| find_token(&secret, object));
        let proven = proven.filter(|proven| !was_replaced(proven, object));
        if proven.is_some() {
            return Ok(proven);
        }
    }
    Ok(None)
}

/// Whether a token is from before the one that the status tells of: a person may have had it replaced because it leaked.
fn was_replaced(proven: &ProvenToken, object: &EdgeCredential) -> bool {
    let status = object.status.as_ref();
    let token = status.and_then(|status| status.token.as_ref());
    token.is_some_and(|token| proven.token.issued_at < token.issued_at.0)
}
