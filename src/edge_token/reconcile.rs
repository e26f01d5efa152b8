//! Leaves an object alone, or visits it and reports.

use std::time::Duration;

use super::{
    context::Context,
    report::{report, report_problem},
    rules::{
        judge::has_finalizer,
        revisit::UNWOKEN,
        settled::{settled_until, versions_of, waiting_until},
    },
    visit::{Ended, Visit},
};
use crate::{
    api::EdgeToken,
    cluster::{object_key::ObjectKey, report::Report},
    rules::error::Error,
};

/// How long the watch is waited for that has not shown this process' last write yet. It shows that sooner, and wakes the object.
const UNSEEN_WAIT: Duration = Duration::from_secs(5);

/// Brings one EdgeToken to where it should be. `Err` only where not even the status could be written.
pub async fn reconcile(object: &EdgeToken, context: &Context) -> Result<Report, Error> {
    let key = ObjectKey::of(object);
    let is_deleted = object.metadata.deletion_timestamp.is_some();
    if is_deleted && !has_finalizer(object) {
        context.tokens.forget(&key);
        return Ok(Report::nothing());
    }
    if context
        .statuses
        .newer_than(&key, &object.metadata)
        .is_some()
    {
        return Ok(Report::look_again_after(UNSEEN_WAIT));
    }
    let uid = object.metadata.uid.as_deref();
    let mut told = context.memory.take_untold(&key, uid);
    let rest = rest(object, &key, context).or_else(|| rest_in_line(object, &key, context));
    if let Some(wait) = rest {
        let mut report = Report::look_again_after(wait);
        report.transitions = told;
        return Ok(report);
    }
    let mut visit = Visit::begin(object, &key, context);
    let ended = visit.run().await;
    told.append(&mut visit.take_transitions());
    let reported = match ended {
        Ok(ended) => report_end(ended, &visit, &key, context).await,
        Err(error) => Err(error),
    };
    match reported {
        Ok(mut report) => {
            report.transitions.splice(0..0, told);
            Ok(report)
        }
        Err(error) => {
            context.memory.keep_untold(&key, uid, told);
            Err(error)
        }
    }
}

async fn report_end(
    ended: Ended,
    visit: &Visit<'_>,
    key: &ObjectKey,
    context: &Context,
) -> Result<Report, Error> {
    match ended {
        Ended::Released => Ok(Report::nothing()),
        Ended::Unreadable(error) => report_problem(visit.object(), &error, context).await,
        Ended::With(outcome) => {
            let reported = report(visit.object(), &outcome, context).await;
            if reported.is_err() {
                // What was listed is in no status.
                context.memory.forget_survey(key);
            }
            reported
        }
    }
}

/// How long nothing is to be done about an object. `None` where more has to be known than what its status says and a watch
/// shows.
fn rest(object: &EdgeToken, key: &ObjectKey, context: &Context) -> Option<Duration> {
    let now = context.clock.now();
    let until = settled_until(object, &context.allowed, now)?;
    if context.tokens.is_known(key) || !are_secrets_told(object, key, context) {
        return None;
    }
    // Once it is gone, nobody can tell which keys it had.
    context.memory.keep_recorded(key, object);
    let left = until.duration_since(now).unsigned_abs();
    Some(left.min(context.resync_period))
}

/// How long an object is left alone that waits for its turn at an endpoint, and says so. It is woken.
fn rest_in_line(object: &EdgeToken, key: &ObjectKey, context: &Context) -> Option<Duration> {
    let tokens = &context.tokens;
    if !tokens.is_known(key) || tokens.may_ask(key) {
        return None;
    }
    let now = context.clock.now();
    let until = waiting_until(object, tokens.waits_for_recovery(key), now)?;
    let left = until.duration_since(now).min(UNWOKEN);
    are_secrets_told(object, key, context).then(|| left.unsigned_abs())
}

/// Whether both Secrets are in the versions that the status names.
fn are_secrets_told(object: &EdgeToken, key: &ObjectKey, context: &Context) -> bool {
    object.status.as_ref().is_some_and(|status| {
        let told = versions_of(status);
        let secrets = &context.secrets;
        let credentials = &object.spec.credentials_secret_ref.name;
        secrets.is_current(&key.namespace, credentials, told.credentials.as_ref())
            && secrets.is_current(&key.namespace, object.target_name(), told.target.as_ref())
    })
}
