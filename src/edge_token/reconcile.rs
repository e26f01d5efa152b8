//! Leaves an object alone, or visits it and reports.

use std::time::Duration;

use super::{
    context::Context,
    report::{report, report_problem},
    rules::{
        judge::has_finalizer,
        settled::{settled_until, versions_of},
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
    if let Some(wait) = rest(object, &key, context) {
        return Ok(Report::look_again_after(wait));
    }
    let mut visit = Visit::begin(object, &key, context);
    match visit.run().await? {
        Ended::Released(transitions) => {
            let mut report = Report::nothing();
            report.transitions = transitions;
            Ok(report)
        }
        Ended::Unreadable(error) => report_problem(visit.object(), &error, context).await,
        Ended::With(outcome, transitions) => {
            let reported = report(visit.object(), &outcome, transitions, context).await;
            if reported.is_err() {
                // What was listed is in no status.
                context.memory.forget_survey(&key);
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
    let told = versions_of(object.status.as_ref()?);
    let secrets = &context.secrets;
    let credentials = &object.spec.credentials_secret_ref.name;
    let rests = secrets.is_current(&key.namespace, credentials, told.credentials.as_ref())
        && secrets.is_current(&key.namespace, object.target_name(), told.target.as_ref())
        && !context.tokens.is_known(key);
    let left = until.duration_since(now).unsigned_abs();
    rests.then(|| left.min(context.resync_period))
}
