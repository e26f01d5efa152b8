//! Leaves an object alone, or visits it and reports.

use std::time::Duration;

use super::{
    context::Context,
    report::{report, report_problem},
    rules::{
        judge::has_finalizer,
        ledger::Ledger,
        outcome::Outcome,
        settled::{is_new, settled_until, versions_of, waiting_until, waits_for_turn},
        spec::check_spec,
    },
    visit::{Ended, Visit},
};
use crate::{
    api::EdgeToken,
    cluster::{object_key::ObjectKey, report::Report},
    rules::{error::Error, times::fraction},
    traffic::{
        Endpoint, Urgency,
        waiting::{LONGEST_UNWOKEN, Waiter, Waiting},
    },
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
    let reported = match find_wait(object, &key, context) {
        Some(Waiting::Leave(wait)) => Ok(Report::look_again_after(wait)),
        Some(Waiting::Tell) => report(object, &in_line(object, &key, context), context).await,
        None => {
            let mut visit = Visit::begin(object, &key, context);
            let ended = visit.run().await;
            told.append(&mut visit.take_transitions());
            match ended {
                Ok(ended) => report_end(ended, &visit, &key, context).await,
                Err(error) => Err(error),
            }
        }
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
    let object = visit.object();
    match ended {
        Ended::Released => Ok(Report::nothing()),
        Ended::Unreadable(error) => report_problem(object, &error, context).await,
        Ended::With(outcome) => {
            if let Some(waiter) = waiter(object, key).filter(|_| outcome.is_wait()) {
                let wait = waiter.first_wait(context.clock.now());
                return Ok(Report::look_again_after(wait));
            }
            let reported = report(object, &outcome, context).await;
            if reported.is_err() {
                // What was listed is in no status.
                context.memory.forget_survey(key);
            }
            reported
        }
    }
}

/// What is to be done about an object before anything is read. `None` where more has to be known than what its status says and
/// a watch shows.
fn find_wait(object: &EdgeToken, key: &ObjectKey, context: &Context) -> Option<Waiting> {
    rest(object, key, context)
        .or_else(|| rest_while_waiting(object, key, context))
        .map(Waiting::Leave)
        .or_else(|| ask_first(object, key, context))
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
fn rest_while_waiting(object: &EdgeToken, key: &ObjectKey, context: &Context) -> Option<Duration> {
    let tokens = &context.tokens;
    if !tokens.is_known(key) || tokens.may_ask(key) {
        return None;
    }
    let now = context.clock.now();
    let until = waiting_until(object, tokens.waits_for_recovery(key), now)?;
    let left = until.duration_since(now).min(LONGEST_UNWOKEN);
    are_secrets_told(object, key, context).then(|| left.unsigned_abs())
}

/// Asks for a turn at the token endpoint before anything is read, for an object that is certain to need one: a new one whose
/// credentials are there.
fn ask_first(object: &EdgeToken, key: &ObjectKey, context: &Context) -> Option<Waiting> {
    let is_absent = |name| context.secrets.is_current(&key.namespace, name, None);
    let waiter = waiter(object, key)?;
    let credentials = &object.spec.credentials_secret_ref.name;
    if is_absent(credentials) || !is_absent(object.target_name()) {
        return None;
    }
    let plan = check_spec(object, &context.allowed).ok()?;
    let way = || {
        let endpoint = Endpoint::of(&plan.parameters.token_url)?;
        Some((endpoint, Endpoint::of(plan.source.url())))
    };
    let Context { tokens, calls, .. } = context;
    waiter.ask(way, tokens, calls, context.clock.now())
}

/// An object that waits for its first key.
fn waiter<'a>(object: &EdgeToken, key: &'a ObjectKey) -> Option<Waiter<'a>> {
    is_new(object).then(|| Waiter {
        object: key,
        urgency: Urgency::NoToken,
        is_told: waits_for_turn(object),
        fraction: fraction(&[object.metadata.uid.as_deref().unwrap_or_default()]),
    })
}

/// What there is to say of a new object that waits for its turn.
fn in_line(object: &EdgeToken, key: &ObjectKey, context: &Context) -> Outcome {
    let plan = check_spec(object, &context.allowed);
    let api = plan.ok().and_then(|plan| Endpoint::of(plan.source.url()));
    let is_at_api = api.is_some_and(|api| context.tokens.waits_at(key, &api));
    let error = if is_at_api {
        Error::InApiLine { fails: false }
    } else {
        Error::InLine { fails: false }
    };
    Outcome::in_line(Ledger::of_object(object), error)
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
