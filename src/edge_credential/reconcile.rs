//! Observes, decides and acts.

use std::time::Duration;

use k8s_openapi::{
    api::core::v1::Secret,
    jiff::{SignedDuration, Timestamp},
};
use reqwest::Url;
use tokio::{sync::oneshot, time::timeout};

use super::{
    context::Context,
    observe::{is_latest, observe},
    repairs::{Contested, tell_contested},
    report::{report, with_latest_status},
    retrieve::retrieve,
    rules::{
        decide::{Action, Decision, decide},
        failures::{count_failure, counted_failures},
        judge::{Observed, Remembered, judge},
        outcome::{Outcome, Problem},
        settled::{settled_until, versions_of},
        spec::Plan,
        target::{ProvenToken, render},
        urgency::{urgency, urgency_by_status, waits_for_turn},
    },
};
use crate::{
    api::{
        ConditionType, EdgeCredential, Reason, conditions, credentials::SecretVersion,
        failures::Failures,
    },
    cluster::{
        back_off::Class,
        errors::{is_conflict, is_namespace_gone, is_outdated},
        object_key::ObjectKey,
        report::Report,
        rights::Verb,
        secrets::Secrets,
    },
    oauth::{Token, TokenError, TokenRequest},
    rules::{error::Error, target::TargetProblem, times::fraction, versions::Versions},
    traffic::{
        Caller, Endpoint,
        requests::{Answer, Failure, Purpose},
        waiting::{Waiter, Waiting, wait_unwoken},
    },
};

/// How often a write that met a change by another client is decided anew at once. After that it waits.
const CONFLICT_ATTEMPTS: usize = 3;

/// How long what was read is kept for a place, and then for the answer to a request, however large it is.
const SHORT_WAIT: Duration = Duration::from_secs(1);

/// How large a target may be, as JSON in bytes, to be kept until the answer comes. A larger one is read again: many may wait.
const SMALL: usize = 64 * 1024;

/// Brings one EdgeCredential to where it should be. `Err` only where not even the status could be written.
pub async fn reconcile(object: &EdgeCredential, context: &Context) -> Result<Report, Error> {
    let key = ObjectKey::of(object);
    if object.metadata.deletion_timestamp.is_some() {
        // The garbage collector deletes the target first where deletion is in the foreground: writing it again would
        // go on for ever.
        context.tokens.forget(&key);
        return Ok(Report::nothing());
    }
    let (object, is_unwritten) = with_latest_status(object, context);
    if let Some(wait) = rest(&object, &key, is_unwritten, context) {
        return Ok(Report::look_again_after(wait));
    }
    match ask_first(&object, &key, context) {
        Some(Waiting::Leave(wait)) => return Ok(Report::look_again_after(wait)),
        Some(Waiting::Tell) => {
            let problem = Problem::Found(Error::InLine { fails: false });
            let mut outcome = Outcome::untouched(None, problem);
            outcome.is_in_line = true;
            return report(&object, &outcome, is_unwritten, context).await;
        }
        None => {}
    }
    let mut attempt = 1;
    let outcome = loop {
        match attempt_once(&object, context, attempt == 1).await {
            Err(Error::WriteTarget { source, .. })
                if is_outdated(&source) && attempt < CONFLICT_ATTEMPTS =>
            {
                attempt += 1;
            }
            Ok(Step::Sent(ended)) => {
                // Fails where the process ends.
                let _ = ended.await;
            }
            Ok(Step::Wait(wait)) => return Ok(Report::look_again_after(wait)),
            Ok(Step::Contested(report)) => return Ok(*report),
            Ok(Step::Done(outcome)) => break outcome,
            Err(error) => return Err(error),
        }
    };
    report(&object, &outcome, is_unwritten, context).await
}

/// How long nothing is to be done about an object. `None` where more has to be known than what its status says and a watch
/// shows.
fn rest(
    object: &EdgeCredential,
    key: &ObjectKey,
    is_unwritten: bool,
    context: &Context,
) -> Option<Duration> {
    let now = context.clock.now();
    let until = settled_until(object, &context.allowed_origins, now)?;
    let told = versions_of(object.status.as_ref()?);
    let Versions {
        credentials,
        target,
    } = context.versions.of(object).unwrap_or(told);
    let names = &object.spec.credentials_secret_ref;
    let is_current = |name, version: Option<SecretVersion>| {
        let secrets = &context.secrets;
        secrets.is_current(&key.namespace, name, version.as_ref())
    };
    let rests = !is_unwritten
        && is_current(&names.name, credentials)
        && is_current(object.target_name(), target)
        && !context.tokens.is_known(key);
    let left = until.duration_since(now).unsigned_abs();
    rests.then(|| left.min(context.resync_period))
}

/// Where a request is certain to be due, asks for a turn before anything is read.
fn ask_first(object: &EdgeCredential, key: &ObjectKey, context: &Context) -> Option<Waiting> {
    let now = context.clock.now();
    let waiter = Waiter {
        object: key,
        urgency: urgency_by_status(object, now)?,
        is_told: waits_for_turn(object),
        fraction: fraction(&[object.metadata.uid.as_deref().unwrap_or_default()]),
    };
    let way = || {
        let url = Url::parse(&object.spec.token_request.url).ok()?;
        let url = Some(url).filter(|url| context.allowed_origins.contain(url))?;
        Some((Endpoint::of(&url)?, None))
    };
    waiter.ask(way, &context.tokens, &context.calls, now)
}

/// How far one pass came.
enum Step {
    /// To its end.
    Done(Box<Outcome>),
    /// A request is in flight.
    Sent(oneshot::Receiver<()>),
    /// There is nothing to do and to say for so long, or until the object is woken.
    Wait(Duration),
    /// Somebody else changes the target again and again.
    Contested(Box<Report>),
}

impl From<Outcome> for Step {
    fn from(outcome: Outcome) -> Self {
        Self::Done(Box::new(outcome))
    }
}

/// One pass from observation to action. A conflict is an error, and so is a target that is gone, so that the pass can be
/// made again on what is there now; a token that was requested is in memory by then.
async fn attempt_once(
    object: &EdgeCredential,
    context: &Context,
    secrets_are_known: bool,
) -> Result<Step, Error> {
    let key = ObjectKey::of(object);
    let target = ObjectKey::new::<Secret>(&key.namespace, object.target_name());
    // Taken before the target is read, so that no other object creates the target after that.
    let lock = context.target_locks.try_lock(target);
    let found = match observe(object, context, secrets_are_known).await {
        Ok(found) => found,
        Err(error) if error.class().is_stalled(0) => {
            context.tokens.leave(&key);
            return Ok(Outcome::untouched(None, Problem::Found(error)).into());
        }
        Err(error) => return Err(error),
    };
    let allowed = &context.allowed_origins;
    let mut observed = judge(object, allowed, found.credentials.as_ref(), found.target);
    let started = context.clock.now();
    remember(&mut observed, &key, started, context);
    if retrieve(&observed, &key, started, context).await? {
        remember(&mut observed, &key, started, context);
    }
    let Decision { action, problem } = decide(&observed, started);
    let attempt = Attempt {
        key,
        observed,
        context,
        may_create: lock.is_some(),
        started,
    };
    if !wants_token(&action, &problem) {
        attempt.leave();
    }
    let step = match action {
        Action::Leave(token) => Outcome::untouched(token, problem).into(),
        Action::Write(secret, proven) => match attempt.begin_repair() {
            Some(report) => Step::Contested(Box::new(report)),
            None => attempt.reuse(&secret, proven, problem).await?.into(),
        },
        Action::Request {
            request,
            forced,
            replaces,
        } => attempt.request(*request, forced, replaces).await?,
    };
    Ok(match step {
        Step::Done(mut outcome) => {
            if outcome.requeue_soon {
                outcome.versions = None;
            } else if outcome.versions.is_none() {
                outcome.versions = Some(attempt.observed.versions());
            }
            Step::Done(outcome)
        }
        step => step,
    })
}

/// Whether the object still waits for a token, be it in the line of its endpoint or for a time of its own.
fn wants_token(action: &Action, problem: &Problem) -> bool {
    match (action, problem) {
        (Action::Request { .. }, _) => true,
        (_, Problem::BackingOff(failures)) => Class::of(failures.reason) != Class::Write,
        _ => false,
    }
}

/// Adds what this process remembers to what was read. It also keeps the token that the target holds, so that the target's
/// deletion costs no request.
fn remember(observed: &mut Observed<'_>, key: &ObjectKey, now: Timestamp, context: &Context) {
    let object = observed.object;
    if let Ok(credentials) = &mut observed.credentials {
        context.failed_credentials.recognize(object, credentials);
    }
    let (Some(request), Some(uid)) = (observed.request(), &object.metadata.uid) else {
        return;
    };
    let tokens = &context.tokens;
    let stored = observed.valid(now);
    // Nothing would tell that the target is gone, and its history may be closed too.
    let is_lost_with_target = !context.secrets.is_reliable(&key.namespace);
    if let Some(stored) = stored.filter(|stored| stored.is_of(&request.credentials))
        && is_lost_with_target
    {
        tokens.keep_for(&request, uid, &stored.token);
    }
    let known = tokens.known(&request, object.renew_request(), now);
    let answers_renew_request = known.as_ref().is_some_and(|(_, answers)| *answers);
    observed.memory = Remembered {
        token: known
            .map(|(token, _)| token)
            .or_else(|| tokens.kept_for(&request, uid, now)),
        answers_renew_request,
        may_ask: tokens.may_ask(key),
    };
}

/// What acting on a decision needs.
struct Attempt<'a> {
    key: ObjectKey,
    observed: Observed<'a>,
    context: &'a Context,
    /// Whether no other object is about to create the target.
    may_create: bool,
    started: Timestamp,
}

impl Attempt<'_> {
    /// Counts a write for which nothing is requested, unless it follows from a change of the spec. Returns what to report
    /// where there were too many of late.
    fn begin_repair(&self) -> Option<Report> {
        let object = self.observed.object;
        let status = object.status.as_ref()?;
        if status.observed_generation != object.metadata.generation {
            return None;
        }
        let repaired = self.context.repairs.begin(&self.key, self.started);
        let Contested { wait, is_new } = repaired.err()?;
        let mut report = Report::look_again_after(wait);
        if is_new {
            let existing = self.observed.existing();
            let told = tell_contested(object.target_name(), existing);
            report.transitions.push(told);
        }
        Some(report)
    }

    /// Writes a token that is at hand. The problem that prevents a new one is reported, rather than a failed write.
    async fn reuse(
        &self,
        secret: &Secret,
        proven: ProvenToken,
        problem: Problem,
    ) -> Result<Outcome, Error> {
        let mut outcome = self.write(secret, proven).await?;
        let status = self.observed.object.status.as_ref();
        let had_target = status.is_some_and(|status| status.target.is_some());
        outcome.restored = outcome.wrote && had_target && self.observed.existing().is_none();
        if !matches!(problem, Problem::None) {
            outcome.problem = problem;
            outcome.requeue_soon = !outcome.wrote;
        }
        Ok(outcome)
    }

    /// Requests a token when it is this object's turn, and writes it.
    async fn request(
        &self,
        request: TokenRequest,
        forced: bool,
        replaces: bool,
    ) -> Result<Step, Error> {
        let (object, context) = (self.observed.object, self.context);
        let plan = self.observed.plan.as_ref();
        let plan = plan.map_err(|problem| Error::Spec(problem.clone()))?;
        let valid = self.observed.valid(self.started);
        let endpoint = Endpoint::of(&plan.parameters.token_url);
        let caller = Caller {
            object: self.key.clone(),
            endpoint: endpoint.ok_or(Error::RequestToken(TokenError::OriginNotAllowed))?,
            then: None,
            urgency: urgency(&self.observed, forced, self.started),
        };
        let mut purpose = Purpose {
            renew_request: object.renew_request().filter(|_| forced),
            replaces,
            expires_at: valid.map(|stored| stored.token.expires_at),
            is_checked: false,
            is_for_calls: false,
        };
        loop {
            let acceptable = |known: &Token| !forced && plan.is_fresh(object, known, self.started);
            let answer = context
                .tokens
                .request(&request, &caller, purpose, acceptable);
            return match answer {
                Answer::Turn => {
                    if let Some(outcome) = self.check().await.inspect_err(|_| self.leave())? {
                        self.leave();
                        return Ok(outcome.into());
                    }
                    purpose.is_checked = true;
                    continue;
                }
                Answer::Soon(given) => match timeout(SHORT_WAIT, given).await {
                    Ok(Ok(())) => continue,
                    _ => Ok(Step::Wait(wait_unwoken(
                        caller.urgency.expires_at(),
                        self.started,
                    ))),
                },
                Answer::Sent(mut ended) => {
                    let is_late = timeout(SHORT_WAIT, &mut ended).await.is_err();
                    if is_late && self.is_large() {
                        return Ok(Step::Sent(ended));
                    }
                    if is_late {
                        // Fails where the process ends.
                        let _ = ended.await;
                    }
                    continue;
                }
                Answer::Known(token) => self.write_new(token, &request, plan).await.map(Step::from),
                Answer::Ended(Ok(token)) => {
                    let mut outcome = self.write_new(token, &request, plan).await?;
                    outcome.requested = true;
                    outcome.renewal_delay = self.delay().filter(|_| !forced);
                    Ok(outcome.into())
                }
                Answer::Ended(Err(failure)) => {
                    // Where this process stopped leading meanwhile, nothing was sent, and nothing failed.
                    context.calls.check_leadership()?;
                    let (was_sent, is_in_line) = (failure.was_sent, failure.is_in_line);
                    let mut outcome = Outcome::untouched(self.still_valid(), self.failed(failure));
                    outcome.requested = was_sent;
                    outcome.is_in_line = is_in_line;
                    outcome.renewal_delay = self.delay().filter(|_| was_sent && !forced);
                    Ok(outcome.into())
                }
                Answer::Wait { fails } => Ok(self.wait_in_line(fails)),
                Answer::WaitFor(wait) => Ok(Step::Wait(wait)),
            };
        }
    }

    /// Finds out, before a token is paid for, whether it could be stored. Returns what to report if it could not.
    async fn check(&self) -> Result<Option<Outcome>, Error> {
        let object = self.observed.object;
        if self.observed.existing().is_none() && !self.may_create {
            let error = Error::Target {
                secret: object.target_name().into(),
                problem: TargetProblem::OwnedByAnother,
            };
            let mut outcome = Outcome::untouched(None, Problem::Found(error));
            // The other object may not get a token either. Then it creates no target, and no watch reports that the name is
            // free.
            outcome.requeue_soon = true;
            return Ok(Some(outcome));
        }
        self.check_latest().await?;
        let missing = self.missing_right().await;
        self.context.calls.check_leadership()?;
        Ok(missing.map(|error| Outcome::untouched(self.still_valid(), Problem::Found(error))))
    }

    fn is_large(&self) -> bool {
        let existing = self.observed.existing();
        existing
            .is_some_and(|secret| serde_json::to_vec(secret).is_ok_and(|json| json.len() > SMALL))
    }

    fn leave(&self) {
        self.context.tokens.leave(&self.key);
    }

    /// Writes a token that was just had.
    async fn write_new(
        &self,
        token: Token,
        request: &TokenRequest,
        plan: &Plan,
    ) -> Result<Outcome, Error> {
        let object = self.observed.object;
        let client = &request.credentials;
        let proven = match self.observed.valid(self.started) {
            Some(stored) if stored.is(&token) => {
                let same = stored.token.clone();
                ProvenToken::new(same, client, object, plan).given_again()
            }
            _ => ProvenToken::new(token, client, object, plan),
        };
        let secret = render(object, plan, &proven, self.observed.existing());
        self.write(&secret, proven).await
    }

    /// What there is to say while it is not this object's turn: that requests fail, or that its token has expired meanwhile.
    fn wait_in_line(&self, fails: bool) -> Step {
        let valid = self.still_valid();
        let status = self.observed.object.status.as_ref();
        let had_token = status.is_some_and(|status| status.token.is_some());
        let problem = match self.observed.failures(self.started) {
            Some(earlier) => Problem::BackingOff(earlier.clone()),
            None if fails || (had_token && valid.is_none()) => {
                Problem::Found(Error::InLine { fails })
            }
            None => {
                let expires_at = valid.map(|valid| valid.token.expires_at);
                return Step::Wait(wait_unwoken(expires_at, self.started));
            }
        };
        let mut outcome = Outcome::untouched(valid, problem);
        outcome.is_in_line = true;
        outcome.into()
    }

    /// The problem that a failed request is. While it is tried again and again, the status stays as it is.
    fn failed(&self, failure: Failure) -> Problem {
        let Failure {
            error,
            not_before,
            is_in_line,
            was_sent,
        } = failure;
        let error = if was_sent {
            Error::RequestToken(error)
        } else {
            Error::HeldBack(error)
        };
        let earlier = self.observed.failures(self.started);
        let is_told = |earlier: &&Failures| is_in_line && earlier.reason == error.reason();
        match earlier.filter(is_told) {
            Some(earlier) => Problem::BackingOff(earlier.clone()),
            None if is_in_line && self.says(error.reason()) => {
                Problem::Found(Error::InLine { fails: true })
            }
            None => {
                let failures = self.count(earlier, &error, not_before);
                Problem::Failed(error, failures)
            }
        }
    }

    /// Whether the status gives this reason for what is in the way.
    fn says(&self, reason: Reason) -> bool {
        let status = self.observed.object.status.as_ref();
        let conditions = status.map_or(&[][..], |status| &status.conditions);
        let reconciling = conditions::find(conditions, ConditionType::Reconciling);
        reconciling.is_some_and(|condition| condition.reason == reason.as_str())
    }

    /// Makes sure, before a token is requested in place of one that does not prove itself for the spec, that this is the
    /// spec as it is now. A list that lags behind shows an earlier one, and the token may be for what came after it.
    async fn check_latest(&self) -> Result<(), Error> {
        if self.observed.existing().is_none() || self.observed.stored().is_some() {
            return Ok(());
        }
        if is_latest(self.observed.object, self.context).await? {
            Ok(())
        } else {
            Err(Error::Outdated)
        }
    }

    /// Why the token could not be stored once it is there, as far as that can be known. Not asked for a renewal: where its
    /// write is refused, the new token is kept in memory, and the one before is valid meanwhile.
    async fn missing_right(&self) -> Option<Error> {
        if self.observed.valid(self.started).is_some() {
            return None;
        }
        let object = self.observed.object;
        let namespace = object.metadata.namespace.as_deref()?;
        let verb = Verb::to_replace(self.observed.existing());
        let Context { calls, rights, .. } = self.context;
        let secret = object.target_name();
        let granted = rights.may(verb, namespace, secret, calls).await;
        (!granted).then(|| Error::MissingRight {
            secret: secret.into(),
            verb,
        })
    }

    /// Writes the target. Where that fails, the token that was there before still is.
    async fn write(&self, secret: &Secret, proven: ProvenToken) -> Result<Outcome, Error> {
        let object = self.observed.object;
        match self.write_target(secret).await {
            Ok(target) => {
                let mut outcome = Outcome::untouched(Some(proven), Problem::None);
                outcome.wrote = true;
                self.leave_in_target(&outcome);
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
        let Context {
            calls,
            rights,
            secrets,
            ..
        } = self.context;
        let object = self.observed.object;
        let secrets = Secrets::beside(object, calls, secrets).ok_or(Error::Unidentified)?;
        let verb = Verb::to_replace(self.observed.existing());
        match secrets.write(secret, verb, rights).await? {
            Ok(written) => Ok(SecretVersion::of(&written.metadata)),
            Err(source) => Err(Error::WriteTarget {
                secret: object.target_name().into(),
                source,
            }),
        }
    }

    /// Takes the token out of memory that was just written, where it can be read again also if the target is deleted.
    fn leave_in_target(&self, outcome: &Outcome) {
        let (object, context) = (self.observed.object, self.context);
        let uid = object.metadata.uid.as_ref();
        if let (Some(request), Some(uid)) = (self.observed.request(), uid)
            && let Some(proven) = &outcome.token
            && context.secrets.is_reliable(&self.key.namespace)
        {
            let target = ObjectKey::new::<Secret>(&self.key.namespace, object.target_name());
            let tokens = &context.tokens;
            tokens.leave_in(&request, uid, &proven.token, target);
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
        Some(delay).filter(|delay| stored.is_of(&credentials.client) && !delay.is_negative())
    }
}
