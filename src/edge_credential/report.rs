//! Reports a reconciliation: in the status, and to the controller, which logs, counts and publishes it.

use std::{borrow::Cow, time::Duration};

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta},
    jiff::Timestamp,
};
use kube::{
    Api,
    api::{ApiResource, DynamicObject},
    core::DeserializeGuard,
};

use super::{
    context::Context,
    rules::{
        outcome::{Outcome, Problem},
        revisit::revisit,
        settled::versions_of,
        status::{describe_malformed, describe_status},
    },
};
use crate::{
    api::{
        ConditionType, EdgeCredential, EdgeCredentialStatus, conditions,
        edge_credential::RENEW_REQUESTED_AT,
    },
    cluster::{
        errors::is_refusal,
        object_key::ObjectKey,
        report::{Report, WrittenToken},
        transition::{Transition, find_transitions},
        write::write_status,
    },
    rules::error::Error,
};

/// The object with its last status, in case the watch has not shown it yet or it could not be written; and whether it
/// could not.
pub fn with_latest_status<'a>(
    object: &'a EdgeCredential,
    context: &Context,
) -> (Cow<'a, EdgeCredential>, bool) {
    match context
        .statuses
        .newer_than(&ObjectKey::of(object), &object.metadata)
    {
        None => (Cow::Borrowed(object), false),
        Some((status, unwritten)) => {
            let mut object = object.clone();
            object.status = Some(status);
            (Cow::Owned(object), unwritten)
        }
    }
}

/// Writes the status if it says anything new, or if what it says `is_unwritten` yet. Another version of a Secret alone is
/// nothing new: a label on credentials that many objects share would cost a write for each.
pub async fn report(
    object: &EdgeCredential,
    outcome: &Outcome,
    is_unwritten: bool,
    context: &Context,
) -> Result<Report, Error> {
    let now = context.clock.now();
    let status = describe_status(object, outcome, now);
    let mut transitions =
        find_transitions(conditions_of(object.status.as_ref()), &status.conditions);
    if outcome.restored {
        transitions.push(tell_restored(object.target_name()));
    }
    let earlier = object.status.as_ref();
    let same = earlier.filter(|earlier| !is_unwritten && says_the_same(earlier, &status));
    let untold = match same {
        Some(earlier) => {
            let seen = outcome.versions.clone();
            seen.filter(|seen| *seen != versions_of(earlier))
        }
        None => {
            let metadata = &object.metadata;
            let written = write(metadata, &status, context).await;
            written.inspect_err(|_| {
                let statuses = &context.statuses;
                statuses.remember_unwritten(ObjectKey::of(object), metadata, &status);
            })?;
            None
        }
    };
    context.versions.remember(object, untold);
    let token = outcome.token.as_ref();
    let problem = match &outcome.problem {
        Problem::None | Problem::Suspended => None,
        Problem::Found(error) | Problem::Failed(error, _) => Some(error.reason()),
        Problem::BackingOff(failures) => Some(failures.reason),
    };
    Ok(Report {
        problem,
        requeue_after: [revisit(outcome, now), context.resync_period]
            .into_iter()
            .chain(until_expiry(&status, now))
            .min()
            .unwrap_or_default(),
        transitions,
        written: token.filter(|_| outcome.wrote).map(|proven| WrittenToken {
            secret: object.target_name().into(),
            expires_at: proven.token.expires_at,
            renew_at: proven.renewal.at,
            requested: outcome.requested,
        }),
        renewal_delay: outcome.renewal_delay,
    })
}

/// Tells that a target that had been deleted is there again. Whoever deleted it may have wanted another token.
fn tell_restored(name: &str) -> Transition {
    Transition {
        warning: false,
        reason: "TargetRestored".into(),
        message: format!(
            "The Secret \"{name}\" had been deleted, and is there again with the same token. To have another one, set the annotation {RENEW_REQUESTED_AT} to a new value."
        ),
        part: None,
    }
}

/// Writes to an object's status that the program panicked when it reconciled the object.
pub async fn report_panic(object: &EdgeCredential, context: &Context) -> Result<Report, Error> {
    context.tokens.leave(&ObjectKey::of(object));
    let outcome = Outcome::untouched(None, Problem::Found(Error::Panicked));
    let (object, is_unwritten) = with_latest_status(object, context);
    report(&object, &outcome, is_unwritten, context).await
}

/// Writes to an object's status that the object does not fit its type, and returns what changed in its conditions, and after
/// what time to do it again, as long as a token leaves it ready. The API server may refuse the status of such an object; then nothing else can be
/// done.
pub async fn report_malformed(
    metadata: &ObjectMeta,
    context: &Context,
) -> Result<(Vec<Transition>, Option<Duration>), Error> {
    let (Some(namespace), Some(name)) = (&metadata.namespace, &metadata.name) else {
        return Err(Error::Unidentified);
    };
    let resource = ApiResource::erase::<EdgeCredential>(&());
    let client = context.calls.client();
    let objects: Api<DynamicObject> = Api::namespaced_with(client, namespace, &resource);
    let stored = context.calls.read(objects.get(name)).await;
    let stored = stored.map_err(|source| Error::ReadObject { source })?;
    let earlier: Option<EdgeCredentialStatus> = stored
        .data
        .get("status")
        .and_then(|status| serde_json::from_value(status.clone()).ok());
    let now = context.clock.now();
    let status = describe_malformed(
        earlier.clone().unwrap_or_default(),
        metadata.generation,
        now,
    );
    let transitions = find_transitions(conditions_of(earlier.as_ref()), &status.conditions);
    if earlier.as_ref() != Some(&status) {
        match write(metadata, &status, context).await {
            Err(Error::WriteStatus { source }) if is_refusal(&source) => {
                return Ok((transitions, None));
            }
            result => result?,
        }
    }
    let again = until_expiry(&status, now);
    Ok((
        transitions,
        again.map(|left| left.min(context.resync_period)),
    ))
}

/// How long a status stays true that says that the object is ready.
fn until_expiry(status: &EdgeCredentialStatus, now: Timestamp) -> Option<Duration> {
    let ready = conditions::find(&status.conditions, ConditionType::Ready)?;
    let token = status.token.as_ref().filter(|_| ready.status == "True")?;
    Duration::try_from(token.expires_at.0.duration_since(now)).ok()
}

fn conditions_of(status: Option<&EdgeCredentialStatus>) -> &[Condition] {
    status.map_or(&[], |status| &status.conditions)
}

/// Whether two statuses differ in the versions of Secrets at most.
fn says_the_same(earlier: &EdgeCredentialStatus, status: &EdgeCredentialStatus) -> bool {
    let without_versions = |status: &EdgeCredentialStatus| {
        let mut status = status.clone();
        status.credentials = None;
        if let Some(target) = &mut status.target {
            target.uid = None;
            target.resource_version = None;
        }
        status
    };
    without_versions(earlier) == without_versions(status)
}

/// Writes the status, and remembers it until the watch shows it.
async fn write(
    metadata: &ObjectMeta,
    status: &EdgeCredentialStatus,
    context: &Context,
) -> Result<(), Error> {
    let namespace = metadata.namespace.as_deref().ok_or(Error::Unidentified)?;
    let objects: Api<DeserializeGuard<EdgeCredential>> =
        Api::namespaced(context.calls.client(), namespace);
    let written = write_status(&objects, metadata, status, &context.calls)
        .await?
        .map_err(|source| Error::WriteStatus { source })?;
    if let DeserializeGuard(Ok(written)) = written
        && let Some(status) = &written.status
    {
        let key = ObjectKey::of(&written);
        context.statuses.remember(key, &written.metadata, status);
    }
    Ok(())
}
