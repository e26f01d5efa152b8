//! Observe, decide, act, report: the only file that writes to the cluster.

use std::{borrow::Cow, time::Duration};

use k8s_openapi::{
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta},
    jiff::{SignedDuration, Timestamp},
};
use kube::{
    Api,
    api::{ApiResource, DynamicObject},
    core::DeserializeGuard,
};

use super::{
    context::Context,
    observe::{caller_of, observe},
    rules::{
        credentials::Credentials,
        decide::{Action, Decision, Rendered, decide},
        error::Error,
        failures::{Class, counted_failures, failed, standing_reason},
        judge::ObservedTarget,
        outcome::{Outcome, Problem},
        revisit::{BLOCKED_WAIT, revisit},
        schedule::renew_at,
        status::{describe_malformed, describe_status},
        target::{ProvenToken, TargetProblem, render},
    },
};
use crate::{
    api::{EdgeCredential, EdgeCredentialStatus, Reason, failures::Failures},
    cluster::{
        errors::{is_conflict, is_namespace_gone, is_outdated, is_refusal},
        object_key::ObjectKey,
        rights::Verb,
        secrets::Secrets,
        transition::{Transition, find_transitions},
        write::write_status,
    },
    oauth::{Token, TokenError, TokenRequest},
    traffic::share::Failure,
};

/// How often a write that met a change by somebody else is decided anew before it is left for later.
const CONFLICT_ATTEMPTS: usize = 3;

/// What a reconciliation came to, for logs, events and metrics.
#[derive(Debug)]
pub struct Report {
    /// When to look again.
    pub requeue_after: Duration,
    /// The reason of what is wrong, if anything is.
    pub trouble: Option<Reason>,
    /// What changed for those who watch the object.
    pub transitions: Vec<Transition>,
    /// The token that was written to the target, if one was.
    pub written: Option<Written>,
    /// How late a renewal that was due by time began.
    pub renewal_delay: Option<SignedDuration>,
}

impl Report {
    fn nothing() -> Self {
        Self {
            requeue_after: BLOCKED_WAIT.unsigned_abs(),
            trouble: None,
            transitions: Vec::new(),
            written: None,
            renewal_delay: None,
        }
    }
}

/// A token that was written to the target.
#[derive(Debug)]
pub struct Written {
    /// When it expires.
    pub expires_at: Timestamp,
    /// When it is renewed.
    pub renew_at: Timestamp,
    /// Whether it was requested for this object now, rather than found in the target or in memory.
    pub requested: bool,
}

/// What was done, before it is told.
struct Done {
    outcome: Outcome,
    requested: bool,
    wrote: bool,
    /// Whether to look again soon for what no count of failures tells of.
    requeue_soon: bool,
    renewal_delay: Option<SignedDuration>,
}

impl Done {
    fn without_action(token: Option<ProvenToken>, trouble: Problem) -> Self {
        Self {
            outcome: Outcome {
                token,
                trouble,
                attempted: false,
            },
            requested: false,
            wrote: false,
            requeue_soon: false,
            renewal_delay: None,
        }
    }
}

/// Brings one EdgeCredential to where it should be. `Err` only where not even the status could be written.
pub async fn reconcile(object: &EdgeCredential, context: &Context) -> Result<Report, Error> {
    if object.metadata.deletion_timestamp.is_some() {
        // The garbage collector deletes the target first where deletion is in the foreground: writing it again would
        // go on for ever.
        return Ok(Report::nothing());
    }
    let latest = latest(object, context);
    let mut attempt = 1;
    let done = loop {
        match visit(&latest.object, context).await {
            Err(Error::WriteTarget { source, .. })
                if is_outdated(&source) && attempt < CONFLICT_ATTEMPTS =>
            {
                attempt += 1;
            }
            result => break result?,
        }
    };
    report(latest, &done, context).await
}

/// Tells on the object that the program panicked when it reconciled it.
pub async fn report_panic(object: &EdgeCredential, context: &Context) -> Result<Report, Error> {
    let done = Done::without_action(None, Problem::Found(Error::Panicked));
    report(latest(object, context), &done, context).await
}

/// Tells on an object that does not fit its type, and returns what is news. The API server may refuse the status of
/// such an object: then that is all that can be done.
pub async fn report_malformed(
    metadata: &ObjectMeta,
    context: &Context,
) -> Result<Vec<Transition>, Error> {
    let (Some(namespace), Some(name)) = (&metadata.namespace, &metadata.name) else {
        return Err(Error::Unidentified);
    };
    let resource = ApiResource::erase::<EdgeCredential>(&());
    let client = context.calls.client();
    let objects: Api<DynamicObject> = Api::namespaced_with(client, namespace, &resource);
    let stored = context
        .calls
        .read(objects.get(name))
        .await
        .map_err(|source| Error::ReadObject { source })?;
    let earlier: Option<EdgeCredentialStatus> = stored
        .data
        .get("status")
        .and_then(|status| serde_json::from_value(status.clone()).ok());
    let status = describe_malformed(
        earlier.clone().unwrap_or_default(),
        metadata.generation,
        context.clock.now(),
    );
    if earlier.as_ref() != Some(&status) {
        match publish_status(metadata, &status, context).await {
            Err(Error::WriteStatus { source }) if is_refusal(&source) => {}
            result => result?,
        }
    }
    Ok(find_transitions(
        conditions_of(earlier.as_ref()),
        &status.conditions,
    ))
}

/// Writes the status if it says anything new.
async fn report(latest: Latest<'_>, done: &Done, context: &Context) -> Result<Report, Error> {
    let Latest { object, unwritten } = latest;
    let now = context.clock.now();
    let status = describe_status(&object, &done.outcome, now);
    let transitions = find_transitions(conditions_of(object.status.as_ref()), &status.conditions);
    if unwritten || object.status.as_ref() != Some(&status) {
        let written = publish_status(&object.metadata, &status, context).await;
        written.inspect_err(|_| {
            context
                .statuses
                .remember_unwritten(&object.metadata, &status)
        })?;
    }
    let token = done.outcome.token.as_ref();
    let trouble = match &done.outcome.trouble {
        Problem::None | Problem::Suspended => None,
        Problem::Found(error) | Problem::Failed(error, _) => Some(error.reason()),
        Problem::BackingOff(_) => Some(standing_reason(&object)),
    };
    Ok(Report {
        trouble,
        requeue_after: revisit(&object, &done.outcome, done.requeue_soon, now)
            .min(context.resync_period),
        transitions,
        written: token.filter(|_| done.wrote).map(|proven| Written {
            expires_at: proven.token.expires_at,
            renew_at: renew_at(&object, &proven.token),
            requested: done.requested,
        }),
        renewal_delay: done.renewal_delay,
    })
}

/// An object with what is known of it beyond what the watch has shown.
struct Latest<'a> {
    object: Cow<'a, EdgeCredential>,
    /// Whether the API server could not be told its status.
    unwritten: bool,
}

/// The object with its last status, in case the watch has not shown it yet, or it could not be written.
fn latest<'a>(object: &'a EdgeCredential, context: &Context) -> Latest<'a> {
    let Some((status, unwritten)) = context.statuses.newer_than(&object.metadata) else {
        return Latest {
            object: Cow::Borrowed(object),
            unwritten: false,
        };
    };
    let mut object = object.clone();
    object.status = Some(status);
    Latest {
        object: Cow::Owned(object),
        unwritten,
    }
}

/// One pass from observation to action. A conflict is an error, and so is a target that is gone, so that the pass can be
/// made again on what is there now; a token that was requested is in memory by then.
async fn visit(object: &EdgeCredential, context: &Context) -> Result<Done, Error> {
    let target = ObjectKey::new(
        object.metadata.namespace.clone().unwrap_or_default(),
        object.target_name(),
    );
    let lock = context.target_locks.try_lock(target);
    let observed = match observe(context, object).await {
        Ok(observed) => observed,
        Err(error) if Class::of(error.reason()) == Class::Blocked => {
            return Ok(Done::without_action(None, Problem::Found(error)));
        }
        Err(error) => return Err(error),
    };
    let visit = Visit {
        object,
        context,
        credentials: observed.credentials.as_ref().ok().cloned(),
        target: observed.target.as_ref().ok().cloned().flatten(),
        may_create: lock.is_some(),
        started: context.clock.now(),
    };
    let Decision { action, trouble } = decide(observed, visit.started);
    match action {
        Action::Leave(token) => Ok(Done::without_action(token, trouble)),
        Action::Write(rendered) => visit.reuse(*rendered, trouble).await,
        Action::Request {
            request,
            forced,
            failures,
        } => visit.renew(*request, forced, failures.as_ref()).await,
    }
}

/// What acting on a decision needs.
struct Visit<'a> {
    object: &'a EdgeCredential,
    context: &'a Context,
    credentials: Option<Credentials>,
    target: Option<ObservedTarget>,
    /// Whether no other object is about to create the target.
    may_create: bool,
    started: Timestamp,
}

impl Visit<'_> {
    /// Writes a token that is at hand. What was in the way of more still is, and says more than a failed write.
    async fn reuse(&self, rendered: Rendered, trouble: Problem) -> Result<Done, Error> {
        let mut done = self.put(&rendered.secret, rendered.proven).await?;
        if !matches!(trouble, Problem::None) {
            done.outcome.trouble = trouble;
            done.requeue_soon = !done.wrote;
        }
        Ok(done)
    }

    /// Requests a token and writes it.
    async fn renew(
        &self,
        request: TokenRequest,
        forced: bool,
        failures: Option<&Failures>,
    ) -> Result<Done, Error> {
        let object = self.object;
        if self.existing().is_none() && !self.may_create {
            let error = Error::Target {
                secret: object.target_name().into(),
                problem: TargetProblem::OwnedByAnother,
            };
            let mut done = Done::without_action(None, Problem::Found(error));
            // The other one may not get a token either, and then no watch tells that the name is free.
            done.requeue_soon = true;
            return Ok(done);
        }
        self.check_latest().await?;
        if let Some(error) = self.missing_right().await {
            let trouble = Problem::Found(error);
            return Ok(Done::without_action(self.still_valid(), trouble));
        }
        let parameters = request.parameters.clone();
        let client = request.credentials.clone();
        let fresh = |held: &Token| !forced && self.started < renew_at(object, held);
        let stored = self
            .target
            .as_ref()
            .and_then(|target| target.stored.as_ref());
        let caller = caller_of(object, stored, self.started);
        let tokens = &self.context.tokens;
        self.context.calls.check_leadership()?;
        let mut done = match tokens.request(request, &caller, fresh).await {
            Ok(token) => {
                if forced {
                    self.context.handled_renewals.remember(object);
                }
                let proven = ProvenToken::new(token, &client, object.renew_request());
                let secret = render(object, &parameters, &proven, self.existing());
                self.put(&secret, proven).await?
            }
            Err(Failure {
                error: TokenError::Queued,
                ..
            }) => return Err(Error::RequestToken(TokenError::Queued)),
            Err(failure) => {
                // Where this process stopped leading meanwhile, nothing was sent, and nothing failed.
                self.context.calls.check_leadership()?;
                let error = Error::RequestToken(failure.error);
                // Told once: while one tries for all, the others have nothing new to say.
                let told = failures
                    .filter(|_| failure.circuit_open && standing_reason(object) == error.reason());
                let trouble = match told {
                    Some(failures) => Problem::BackingOff(failures.clone()),
                    None => {
                        let failures = self.count(failures, &error, failure.not_before);
                        Problem::Failed(error, failures)
                    }
                };
                Done::without_action(self.still_valid(), trouble)
            }
        };
        done.requested = true;
        done.outcome.attempted = true;
        done.renewal_delay = self.delay().filter(|_| !forced);
        Ok(done)
    }

    /// Makes sure, before a token is requested in place of one that does not prove itself for the spec, that this is the
    /// spec as it is now. A list that lags behind shows an earlier one, and the token may be for what came after it.
    async fn check_latest(&self) -> Result<(), Error> {
        let proves_itself = |target: &ObservedTarget| target.stored.is_some();
        if self.target.as_ref().is_none_or(proves_itself) {
            return Ok(());
        }
        let metadata = &self.object.metadata;
        let (Some(namespace), Some(name)) = (&metadata.namespace, &metadata.name) else {
            return Err(Error::Unidentified);
        };
        let objects: Api<EdgeCredential> = Api::namespaced(self.context.calls.client(), namespace);
        let latest = self
            .context
            .calls
            .read(objects.get_metadata_opt(name))
            .await;
        let latest = latest.map_err(|source| Error::ReadObject { source })?;
        let is_latest = latest.is_some_and(|latest| {
            latest.metadata.uid == metadata.uid && latest.metadata.generation == metadata.generation
        });
        if is_latest {
            Ok(())
        } else {
            Err(Error::Outdated)
        }
    }

    /// Why the token could not be stored once it is there, as far as that can be known.
    async fn missing_right(&self) -> Option<Error> {
        let namespace = self.object.metadata.namespace.as_deref()?;
        let verb = Verb::to_replace(self.existing());
        let rights = &self.context.rights;
        let granted = rights.may(verb, namespace, &self.context.calls).await;
        (!granted).then(|| Error::MissingRight {
            secret: self.object.target_name().into(),
            verb,
        })
    }

    /// Writes the target. Where that fails, the token that was there before still is.
    async fn put(&self, secret: &Secret, proven: ProvenToken) -> Result<Done, Error> {
        match write_target(self.object, secret, self.existing(), self.context).await {
            Ok(()) => {
                self.context.handled_renewals.forget(self.object);
                let mut done = Done::without_action(Some(proven), Problem::None);
                done.wrote = true;
                Ok(done)
            }
            Err(Error::NotLeading) => Err(Error::NotLeading),
            Err(Error::WriteTarget { source, secret })
                if is_conflict(&source) || is_namespace_gone(&source) =>
            {
                Err(Error::WriteTarget { secret, source })
            }
            Err(error) => {
                let earlier = self
                    .credentials
                    .as_ref()
                    .and_then(|credentials| counted_failures(self.object, credentials, false));
                let failures = self.count(earlier.as_ref(), &error, None);
                Ok(Done::without_action(
                    self.still_valid(),
                    Problem::Failed(error, failures),
                ))
            }
        }
    }

    fn existing(&self) -> Option<&Secret> {
        self.target.as_ref().map(|target| &target.secret)
    }

    fn still_valid(&self) -> Option<ProvenToken> {
        let now = self.context.clock.now();
        let stored = self.target.as_ref()?.stored.clone()?;
        Some(stored).filter(|stored| stored.token.is_valid(now))
    }

    fn count(
        &self,
        earlier: Option<&Failures>,
        error: &Error,
        not_before: Option<Timestamp>,
    ) -> Failures {
        let now = self.context.clock.now();
        let valid = self.still_valid();
        let valid = valid.as_ref().map(|proven| &proven.token);
        let credentials = self.credentials.as_ref();
        failed(
            earlier,
            error,
            self.object,
            credentials,
            valid,
            not_before,
            now,
        )
    }

    /// How late this is for a renewal, if it is one that was due by time.
    fn delay(&self) -> Option<SignedDuration> {
        let stored = self.target.as_ref()?.stored.as_ref()?;
        let same_credentials = stored.is_of(&self.credentials.as_ref()?.client);
        let delay = self
            .started
            .duration_since(renew_at(self.object, &stored.token));
        Some(delay).filter(|delay| same_credentials && delay.is_positive())
    }
}

/// Creates or replaces the target.
async fn write_target(
    object: &EdgeCredential,
    secret: &Secret,
    existing: Option<&Secret>,
    context: &Context,
) -> Result<(), Error> {
    let Context { calls, rights, .. } = context;
    let secrets = Secrets::beside(object, calls).ok_or(Error::Unidentified)?;
    secrets
        .write(secret, Verb::to_replace(existing), rights)
        .await?
        .map_err(|source| Error::WriteTarget {
            secret: object.target_name().into(),
            source,
        })
}

fn conditions_of(status: Option<&EdgeCredentialStatus>) -> &[Condition] {
    status.map_or(&[], |status| &status.conditions)
}

/// Writes the status, and remembers it until the watch shows it.
async fn publish_status(
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
        context.statuses.remember(&written.metadata, status);
    }
    Ok(())
}
