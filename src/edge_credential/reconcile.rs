//! Observes, decides and acts.

use k8s_openapi::{
    api::core::v1::Secret,
    jiff::{SignedDuration, Timestamp},
};
use kube::Api;

use super::{
    context::Context,
    observe::observe,
    report::{report, with_latest_status},
    rules::{
        decide::{Action, Decision, decide},
        error::Error,
        failures::{count_failure, counted_failures},
        judge::{Observed, Remembered, judge},
        outcome::{Outcome, Problem, Versions},
        target::{ProvenToken, TargetProblem, render},
    },
};
use crate::{
    api::{EdgeCredential, credentials::SecretVersion, failures::Failures},
    cluster::{
        errors::{is_conflict, is_namespace_gone, is_outdated},
        object_key::ObjectKey,
        report::Report,
        rights::Verb,
        secrets::Secrets,
    },
    oauth::{Token, TokenError, TokenRequest},
    traffic::{Caller, share::Failure},
};

/// How often a write that met a change by another client is decided anew at once. After that it waits.
const CONFLICT_ATTEMPTS: usize = 3;

/// Brings one EdgeCredential to where it should be. `Err` only where not even the status could be written.
pub async fn reconcile(object: &EdgeCredential, context: &Context) -> Result<Report, Error> {
    if object.metadata.deletion_timestamp.is_some() {
        // The garbage collector deletes the target first where deletion is in the foreground: writing it again would
        // go on for ever.
        return Ok(Report::nothing());
    }
    let (object, is_unwritten) = with_latest_status(object, context);
    let mut attempt = 1;
    let outcome = loop {
        match attempt_once(&object, context).await {
            Err(Error::WriteTarget { source, .. })
                if is_outdated(&source) && attempt < CONFLICT_ATTEMPTS =>
            {
                attempt += 1;
            }
            result => break result?,
        }
    };
    report(&object, &outcome, is_unwritten, context).await
}

/// One pass from observation to action. A conflict is an error, and so is a target that is gone, so that the pass can be
/// made again on what is there now; a token that was requested is in memory by then.
async fn attempt_once(object: &EdgeCredential, context: &Context) -> Result<Outcome, Error> {
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    let target = ObjectKey::new(namespace, object.target_name());
    // Taken before the target is read, so that no other object creates the target after that.
    let lock = context.target_locks.try_lock(target);
    let found = match observe(object, &context.calls).await {
        Ok(found) => found,
        Err(error) if error.class().is_stalled(0) => {
            return Ok(Outcome::untouched(None, Problem::Found(error)));
        }
        Err(error) => return Err(error),
    };
    let allowed = &context.allowed_origins;
    let mut observed = judge(object, allowed, found.credentials.as_ref(), found.target);
    let started = context.clock.now();
    remember(&mut observed, started, context);
    let Decision { action, problem } = decide(&observed, started);
    let attempt = Attempt {
        observed,
        context,
        may_create: lock.is_some(),
        started,
    };
    let mut outcome = match action {
        Action::Leave(token) => Outcome::untouched(token, problem),
        Action::Write(secret, proven) => attempt.reuse(&secret, proven, problem).await?,
        Action::Request { request, forced } => attempt.request(*request, forced).await?,
    };
    if outcome.requeue_soon {
        outcome.versions = None;
    } else if outcome.versions.is_none() {
        outcome.versions = Some(attempt.observed.versions());
    }
    Ok(outcome)
}

/// Adds what this process remembers to what was read. It also caches the token that the target holds, so that the target's
/// deletion costs no request.
fn remember(observed: &mut Observed<'_>, now: Timestamp, context: &Context) {
    let object = observed.object;
    if let Ok(credentials) = &mut observed.credentials {
        context.failed_credentials.recognize(object, credentials);
    }
    let (Some(request), Some(uid)) = (observed.request(), &object.metadata.uid) else {
        return;
    };
    let tokens = &context.tokens;
    let stored = observed.valid(now);
    if let Some(stored) = stored.filter(|stored| stored.is_of(&request.credentials)) {
        tokens.cache_for(&request, uid, &stored.token);
    }
    observed.memory = Remembered {
        token: tokens
            .cached(&request, now)
            .or_else(|| tokens.cached_for(&request, uid, now)),
        answers_renew_request: context.handled_renewals.contains(object),
        circuit_open: tokens.circuit_open(&request, &caller_of(observed, now)),
    };
}

/// On whose behalf a token is requested: an object, with what is left of the token it has.
fn caller_of(observed: &Observed<'_>, now: Timestamp) -> Caller {
    Caller {
        object: ObjectKey::of(observed.object),
        expires_at: observed.valid(now).map(|stored| stored.token.expires_at),
    }
}

/// What acting on a decision needs.
struct Attempt<'a> {
    observed: Observed<'a>,
    context: &'a Context,
    /// Whether no other object is about to create the target.
    may_create: bool,
    started: Timestamp,
}

impl Attempt<'_> {
    /// Writes a token that is at hand. The problem that prevents a new one is reported, rather than a failed write.
    async fn reuse(
        &self,
        secret: &Secret,
        proven: ProvenToken,
        problem: Problem,
    ) -> Result<Outcome, Error> {
        let mut outcome = self.write(secret, proven).await?;
        if !matches!(problem, Problem::None) {
            outcome.problem = problem;
            outcome.requeue_soon = !outcome.wrote;
        }
        Ok(outcome)
    }

    /// Requests a token and writes it.
    async fn request(&self, request: TokenRequest, forced: bool) -> Result<Outcome, Error> {
        let (object, context) = (self.observed.object, self.context);
        if self.observed.existing().is_none() && !self.may_create {
            let error = Error::Target {
                secret: object.target_name().into(),
                problem: TargetProblem::OwnedByAnother,
            };
            let mut outcome = Outcome::untouched(None, Problem::Found(error));
            // The other object may not get a token either. Then it creates no target, and no watch reports that the name is
            // free.
            outcome.requeue_soon = true;
            return Ok(outcome);
        }
        self.check_latest().await?;
        if let Some(error) = self.missing_right().await {
            let problem = Problem::Found(error);
            return Ok(Outcome::untouched(self.still_valid(), problem));
        }
        let plan = self.observed.plan.as_ref();
        let plan = plan.map_err(|problem| Error::Spec(problem.clone()))?;
        let client = request.credentials.clone();
        let acceptable = |cached: &Token| !forced && plan.is_fresh(object, cached, self.started);
        let caller = caller_of(&self.observed, self.started);
        context.calls.check_leadership()?;
        let mut outcome = match context.tokens.request(request, &caller, acceptable).await {
            Ok(token) => {
                if forced {
                    context.handled_renewals.remember(object);
                }
                let proven = match self.observed.valid(self.started) {
                    Some(stored) if stored.is(&token) => {
                        let same = stored.token.clone();
                        ProvenToken::new(same, &client, object, plan).given_again()
                    }
                    _ => ProvenToken::new(token, &client, object, plan),
                };
                let secret = render(object, plan, &proven, self.observed.existing());
                self.write(&secret, proven).await?
            }
            Err(Failure {
                error: TokenError::Queued,
                ..
            }) => return Err(Error::RequestToken(TokenError::Queued)),
            Err(failure) => {
                // Where this process stopped leading meanwhile, nothing was sent, and nothing failed.
                context.calls.check_leadership()?;
                Outcome::untouched(self.still_valid(), self.failed(failure))
            }
        };
        outcome.requested = true;
        outcome.renewal_delay = self.delay().filter(|_| !forced);
        Ok(outcome)
    }

    /// The problem that a failed request is. While one object probes the endpoint for all, the status of the others stays
    /// as it is.
    fn failed(&self, failure: Failure) -> Problem {
        let error = Error::RequestToken(failure.error);
        let earlier = self.observed.failures(self.started);
        let is_told =
            |earlier: &&Failures| failure.circuit_open && earlier.reason == error.reason();
        match earlier.filter(is_told) {
            Some(earlier) => Problem::BackingOff(earlier.clone()),
            None => {
                let failures = self.count(earlier, &error, failure.not_before);
                Problem::Failed(error, failures)
            }
        }
    }

    /// Makes sure, before a token is requested in place of one that does not prove itself for the spec, that this is the
    /// spec as it is now. A list that lags behind shows an earlier one, and the token may be for what came after it.
    async fn check_latest(&self) -> Result<(), Error> {
        if self.observed.existing().is_none() || self.observed.stored().is_some() {
            return Ok(());
        }
        let metadata = &self.observed.object.metadata;
        let (Some(namespace), Some(name)) = (&metadata.namespace, &metadata.name) else {
            return Err(Error::Unidentified);
        };
        let calls = &self.context.calls;
        let objects: Api<EdgeCredential> = Api::namespaced(calls.client(), namespace);
        let latest = calls.read(objects.get_metadata_opt(name)).await;
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
        let object = self.observed.object;
        let namespace = object.metadata.namespace.as_deref()?;
        let verb = Verb::to_replace(self.observed.existing());
        let Context { calls, rights, .. } = self.context;
        let granted = rights.may(verb, namespace, calls).await;
        (!granted).then(|| Error::MissingRight {
            secret: object.target_name().into(),
            verb,
        })
    }

    /// Writes the target. Where that fails, the token that was there before still is.
    async fn write(&self, secret: &Secret, proven: ProvenToken) -> Result<Outcome, Error> {
        let object = self.observed.object;
        match self.write_target(secret).await {
            Ok(target) => {
                self.context.handled_renewals.forget(object);
                let mut outcome = Outcome::untouched(Some(proven), Problem::None);
                outcome.wrote = true;
                outcome.versions = Some(Versions {
                    target,
                    ..self.observed.versions()
                });
                Ok(outcome)
            }
            Err(Error::NotLeading) => Err(Error::NotLeading),
            Err(Error::WriteTarget { source, secret })
                if is_conflict(&source) || is_namespace_gone(&source) =>
            {
                Err(Error::WriteTarget { secret, source })
            }
            Err(error) => {
                let now = self.context.clock.now();
                let credentials = self.observed.credentials.as_ref().ok();
                let earlier =
                    credentials.and_then(|credentials| counted_failures(object, credentials, now));
                let failures = self.count(earlier, &error, None);
                let problem = Problem::Failed(error, failures);
                Ok(Outcome::untouched(self.still_valid(), problem))
            }
        }
    }

    /// Creates or replaces the target, and returns the version that it has then.
    async fn write_target(&self, secret: &Secret) -> Result<Option<SecretVersion>, Error> {
        let Context { calls, rights, .. } = self.context;
        let object = self.observed.object;
        let secrets = Secrets::beside(object, calls).ok_or(Error::Unidentified)?;
        let verb = Verb::to_replace(self.observed.existing());
        match secrets.write(secret, verb, rights).await? {
            Ok(written) => Ok(SecretVersion::of(&written.metadata)),
            Err(source) => Err(Error::WriteTarget {
                secret: object.target_name().into(),
                source,
            }),
        }
    }

    fn still_valid(&self) -> Option<ProvenToken> {
        self.observed.valid(self.context.clock.now()).cloned()
    }

    fn count(
        &self,
        earlier: Option<&Failures>,
        error: &Error,
        not_before: Option<Timestamp>,
    ) -> Failures {
        let now = self.context.clock.now();
        let valid = self.observed.valid(now);
        count_failure(
            earlier,
            error,
            self.observed.object,
            valid.map(|proven| &proven.token),
            not_before,
            now,
        )
    }

    /// How late this is for a renewal, if it is one that was due by time.
    fn delay(&self) -> Option<SignedDuration> {
        let stored = self.observed.stored()?;
        let credentials = self.observed.credentials.as_ref().ok()?;
        let delay = self.started.duration_since(stored.renewal.at);
        Some(delay).filter(|delay| stored.is_of(&credentials.client) && delay.is_positive())
    }
}
