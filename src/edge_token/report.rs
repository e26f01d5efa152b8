//! Reports a reconciliation: in the status, and to the controller, which logs, counts and publishes it.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::{
    Api,
    api::{ApiResource, DynamicObject},
};

use super::{
    context::Context,
    rules::{
        outcome::{Outcome, Problem},
        revisit::revisit,
        status::describe_status,
    },
};
use crate::{
    api::{ConditionType, EdgeToken, EdgeTokenStatus, Reason, conditions},
    cluster::{
        errors::is_refusal,
        object_key::ObjectKey,
        report::Report,
        transition::{Transition, find_transitions},
        write::replace_status,
    },
    rules::{
        conditions::{in_the_way, sentence},
        error::Error,
    },
};

/// Writes the status if it says anything new.
pub async fn report(
    object: &EdgeToken,
    outcome: &Outcome,
    context: &Context,
) -> Result<Report, Error> {
    let now = context.clock.now();
    let status = describe_status(object, outcome, now);
    let earlier = conditions_of(object.status.as_ref());
    let transitions = find_transitions(earlier, &status.conditions);
    if object.status.as_ref() != Some(&status) {
        write_status(object, &status, context).await?;
    }
    let problem = match &outcome.problem {
        Problem::None | Problem::Suspended => None,
        Problem::Obstacle(obstacle, _) => Some(obstacle.reason()),
        Problem::Found(error) | Problem::Failed(error, _) => Some(error.reason()),
        Problem::BackingOff(failures) => Some(failures.reason),
    };
    let mut report = Report::look_again_after(revisit(outcome, now).min(context.resync_period));
    report.problem = problem;
    report.transitions = transitions;
    Ok(report)
}

/// Replaces the status of the very version of the object that is known, and returns the object as it is then.
pub async fn write_status(
    object: &EdgeToken,
    status: &EdgeTokenStatus,
    context: &Context,
) -> Result<EdgeToken, Error> {
    let metadata = &object.metadata;
    let namespace = metadata.namespace.as_deref().ok_or(Error::Unidentified)?;
    let objects: Api<EdgeToken> = Api::namespaced(context.calls.client(), namespace);
    let written = replace_status(&objects, metadata, status, &context.calls).await?;
    let written = written.map_err(|source| Error::WriteStatus { source })?;
    let key = ObjectKey::of(&written);
    context.statuses.remember(key, &written.metadata, status);
    Ok(written)
}

/// Writes to an object's status that the program panicked when it reconciled the object. Before it did, it may have written to it.
pub async fn report_panic(object: &EdgeToken, context: &Context) -> Result<Report, Error> {
    let latest = read_latest(object, context).await?;
    report_problem(&latest, &Error::Panicked, context).await
}

/// Reads an object anew. One of the same name that was created since is another one.
pub async fn read_latest(object: &EdgeToken, context: &Context) -> Result<EdgeToken, Error> {
    let key = ObjectKey::of(object);
    let objects: Api<EdgeToken> = Api::namespaced(context.calls.client(), &key.namespace);
    let read = context.calls.read(objects.get_opt(&key.name)).await;
    let read = read.map_err(|source| Error::ReadObject { source })?;
    let latest = read.filter(|latest| latest.metadata.uid == object.metadata.uid);
    latest.ok_or(Error::Outdated)
}

/// Writes to an object's status what keeps it from being looked at.
pub async fn report_problem(
    object: &EdgeToken,
    error: &Error,
    context: &Context,
) -> Result<Report, Error> {
    context.tokens.leave(&ObjectKey::of(object));
    let earlier = object.status.clone().unwrap_or_default();
    let status = with_problem(object, &earlier, error, context);
    let transitions = find_transitions(&earlier.conditions, &status.conditions);
    if earlier != status {
        write_status(object, &status, context).await?;
    }
    let wait = error.class().wait(0, 0.0).unsigned_abs();
    let mut report = Report::look_again_after(wait);
    report.problem = Some(error.reason());
    report.transitions = transitions;
    Ok(report)
}

/// The earlier status, and that something is in the way. What the target holds stays as it is.
fn with_problem(
    object: &EdgeToken,
    earlier: &EdgeTokenStatus,
    error: &Error,
    context: &Context,
) -> EdgeTokenStatus {
    let was_ready = conditions::holds(&earlier.conditions, ConditionType::Ready);
    let secret = object.target_name();
    let usable = was_ready.then(|| format!("The Secret \"{secret}\" holds a key that works."));
    let problem = (error.reason(), sentence(error), error.class().is_stalled(0));
    let generation = object.metadata.generation;
    let current = in_the_way(usable, None, problem);
    let now = context.clock.now();
    let same_spec = earlier.observed_generation == generation;
    EdgeTokenStatus {
        observed_generation: generation,
        conditions: conditions::merge(&earlier.conditions, current, generation, now),
        failures: earlier.failures.clone().filter(|_| same_spec),
        ..earlier.clone()
    }
}

/// Writes to an object's status that the object does not fit its type, and returns what changed in its conditions. The API server
/// may refuse the status of such an object; then nothing else can be done.
pub async fn report_malformed(
    metadata: &ObjectMeta,
    context: &Context,
) -> Result<(Vec<Transition>, Option<Duration>), Error> {
    let (Some(namespace), Some(name)) = (&metadata.namespace, &metadata.name) else {
        return Err(Error::Unidentified);
    };
    let resource = ApiResource::erase::<EdgeToken>(&());
    let objects: Api<DynamicObject> =
        Api::namespaced_with(context.calls.client(), namespace, &resource);
    let stored = context.calls.read(objects.get(name)).await;
    let stored = stored.map_err(|source| Error::ReadObject { source })?;
    let earlier = stored.data.get("status");
    let earlier: Option<EdgeTokenStatus> =
        earlier.and_then(|status| serde_json::from_value(status.clone()).ok());
    let earlier = earlier.unwrap_or_default();
    let cause = "The stored object does not fit its schema, to which it is older: a field is missing, or of the wrong \
                 type. Correct or delete it. Until then nothing is done about it.";
    let current = in_the_way(None, None, (Reason::InvalidSpec, cause.into(), true));
    let (generation, now) = (metadata.generation, context.clock.now());
    let status = EdgeTokenStatus {
        observed_generation: generation,
        conditions: conditions::merge(&earlier.conditions, current, generation, now),
        ..earlier.clone()
    };
    let transitions = find_transitions(&earlier.conditions, &status.conditions);
    if earlier != status {
        let written = replace_status(&objects, &stored.metadata, &status, &context.calls).await?;
        match written {
            Err(source) if is_refusal(&source) => return Ok((transitions, None)),
            result => result.map_err(|source| Error::WriteStatus { source })?,
        };
    }
    Ok((transitions, None))
}

fn conditions_of(status: Option<&EdgeTokenStatus>) -> &[Condition] {
    status.map_or(&[], |status| &status.conditions)
}
