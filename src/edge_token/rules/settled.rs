//! Whether an object has to be looked at, as long as its Secrets are as they were.

use k8s_openapi::jiff::Timestamp;

use super::{
    judge::{end_request_of, has_finalizer, rotate_at, rotate_request_of},
    spec::{Allowed, check_spec},
};
use crate::{
    api::{ConditionType, EdgeToken, EdgeTokenStatus, Reason, conditions, target::TargetStatus},
    rules::versions::Versions,
};

/// Until when nothing is to be done or to be said about an object, as long as its two Secrets are in the versions that its
/// status names. `None` where more has to be known. A status that was forged harms the object that it is in alone.
pub fn settled_until(object: &EdgeToken, allowed: &Allowed, now: Timestamp) -> Option<Timestamp> {
    let status = object.status.as_ref()?;
    let is_handled = |request: Option<&str>, handled: &Option<String>| {
        request.is_none_or(|request| Some(request) == handled.as_deref())
    };
    let is_news = status.observed_generation != object.metadata.generation
        || object.metadata.deletion_timestamp.is_some()
        || !is_handled(
            rotate_request_of(object),
            &status.last_handled_rotate_request,
        )
        || !is_handled(
            end_request_of(object),
            &status.last_handled_end_overlap_request,
        );
    if is_news {
        return None;
    }
    let ready = conditions::find(&status.conditions, ConditionType::Ready)?;
    if object.spec.suspend {
        return (ready.reason == Reason::Suspended.as_str()).then_some(Timestamp::MAX);
    }
    let plan = check_spec(object, allowed).ok()?;
    let token = status.token.as_ref()?;
    let is_good = ready.status == "True"
        && ready.reason == Reason::TokenValid.as_str()
        && status.conditions.len() == 1
        && status.pending.is_none()
        && status.failures.is_none()
        && (token.hash.is_some() || !plan.source.lists())
        && has_finalizer(object) == plan.revokes;
    if !is_good {
        return None;
    }
    let rotate_at = rotate_at(object, &plan, token.created_at.0);
    let revoke_at = status.retired.iter().map(|retired| retired.revoke_at.0);
    let next = rotate_at.into_iter().chain(revoke_at).min();
    let next = next.unwrap_or(Timestamp::MAX);
    (now < next).then_some(next)
}

/// The versions that the status names, if it rests on both Secrets.
pub fn versions_of(status: &EdgeTokenStatus) -> Versions {
    Versions {
        credentials: status.credentials.clone(),
        target: status.target.as_ref().and_then(TargetStatus::version),
    }
}
