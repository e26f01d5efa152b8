//! A visit to one object: observes, decides on one step, acts, and goes on until nothing is left to do.

use std::time::Duration;

use k8s_openapi::{
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};
use kube::Api;
use secrecy::SecretString;
use tokio::time::timeout;

use super::{
    context::Context,
    memory::Memories,
    report::write_status,
    rules::{
        decide::{LEAST_INTERVAL, Made, Obstacle, Step, Visit as Findings, decide},
        judge::{FINALIZER, Judged, end_request_of, judge},
        ledger::Ledger,
        mark::{Mark, prefix},
        outcome::{Outcome, Problem},
        record::Key,
        spec::{Plan, Source},
        status::record,
        survey::{KeyState, Survey},
    },
};
use crate::{
    api::{EdgeToken, EdgeTokenStatus, failures::Failures},
    cluster::{
        errors::{is_conflict, is_outdated},
        history::read_at,
        object_key::ObjectKey,
        retry::Class,
        rights::Verb,
        secrets::Secrets,
        transition::{KEY_LEFT, Transition},
        write::replace_finalizers,
    },
    edge_api::{Access, ApiError, Cause, NewKey, Reply, Verdict},
    http::limits::Limits,
    oauth::{Token, TokenRequest},
    rules::{
        credentials::{Credentials, CredentialsProblem},
        error::Error,
        failures::{Failed, count},
        spec::check_names,
        target::TargetProblem,
    },
    traffic::{
        Caller, Endpoint, Urgency,
        flight::{Entry, Flight},
        queue::End,
        requests::{Answer, Purpose},
    },
};

/// The most steps of one visit. What is left then is done in the next one.
const MAX_STEPS: usize = 24;

/// How long a JSON Web Token has to be valid for a visit to begin with it.
const LEAST_VALIDITY: SignedDuration = SignedDuration::from_secs(60);

/// How long a place at the token endpoint is waited for that is about to be free.
const SOON: Duration = Duration::from_secs(1);

/// How old a JSON Web Token is that is refused because something changed since it was issued. A younger one is refused for good.
const REFUSED_YOUNG: SignedDuration = SignedDuration::from_secs(60);

/// For how long a new key may be kept back before a person should look.
const KEPT_BACK: SignedDuration = SignedDuration::from_mins(10);

/// How a visit ended.
pub enum Ended {
    /// The object is gone, or goes now.
    Released(Vec<Transition>),
    /// With what is to be reported.
    With(Box<Outcome>, Vec<Transition>),
}

/// A visit.
pub struct Visit<'a> {
    context: &'a Context,
    key: ObjectKey,
    object: EdgeToken,
    credentials: Option<Secret>,
    target: Option<Secret>,
    memories: Memories,
    findings: Findings,
    /// When the object was read last, or its status written.
    read_at: Option<Timestamp>,
    remote: Option<Remote>,
    verified_at: Option<Timestamp>,
    wrote: bool,
    transitions: Vec<Transition>,
}

/// What calls are made with.
struct Remote {
    jwt: Token,
    flight: Box<Flight>,
    limits: Limits,
    end: End,
}

/// Whether a visit goes on.
enum Next {
    Go,
    End(Problem),
    Wait(Problem),
    Released,
}

/// What a step needs that was judged.
struct Facts {
    step: Step,
    ledger: Ledger,
    was_lost: bool,
    plan: Option<Plan>,
    request: Option<TokenRequest>,
    credentials_problem: Option<CredentialsProblem>,
    failures: Option<Failures>,
    rendered: Option<Secret>,
    current: Option<Key>,
    is_proven: bool,
    rotate_request: Option<String>,
    end_request: Option<String>,
}

impl<'a> Visit<'a> {
    /// Begins with the object as a watch shows it.
    pub fn begin(object: &EdgeToken, key: &ObjectKey, context: &'a Context) -> Self {
        Self {
            context,
            key: key.clone(),
            memories: context.memory.of(key, object.metadata.uid.as_deref()),
            object: object.clone(),
            credentials: None,
            target: None,
            findings: Findings::default(),
            read_at: None,
            remote: None,
            verified_at: None,
            wrote: false,
            transitions: Vec::new(),
        }
    }

    /// The object as it was read or written last.
    pub fn object(&self) -> &EdgeToken {
        &self.object
    }

    /// Goes on until nothing is left to do.
    pub async fn run(&mut self) -> Result<Ended, Error> {
        let context = self.context;
        let target = ObjectKey::new::<Secret>(&self.key.namespace, self.object.target_name());
        // Taken before the target is read, so that no other object creates the target after that.
        let lock = context.target_locks.try_lock(target);
        let problem = match self.read_secrets().await {
            Err(error) if error.class().is_stalled(0) => Next::End(Problem::Found(error)),
            Err(error) => return Err(error),
            Ok(()) => {
                self.retrieve().await?;
                self.go_on(lock.is_some()).await?
            }
        };
        let asked_until = self.remote.take().and_then(|remote| {
            let Remote {
                flight,
                limits,
                end,
                ..
            } = remote;
            flight.end(end, &limits)
        });
        let (problem, is_in_line) = match problem {
            Next::Released => {
                context.tokens.forget(&self.key);
                return Ok(Ended::Released(std::mem::take(&mut self.transitions)));
            }
            Next::Wait(problem) => (problem, true),
            Next::End(problem) => (problem, false),
            Next::Go => (Problem::None, false),
        };
        if !is_in_line {
            // A turn that it has is given to the next.
            context.tokens.leave(&self.key);
        }
        let problem = match (problem, asked_until) {
            (Problem::Failed(error, mut failures), Some(until)) => {
                let until = Time(until);
                if failures.next_attempt_at.0 < until.0 {
                    failures.next_attempt_at = until;
                }
                Problem::Failed(error, failures)
            }
            (problem, _) => problem,
        };
        context.memory.keep(&self.key, self.memories.clone());
        let outcome = self.outcome(problem, is_in_line);
        Ok(Ended::With(
            Box::new(outcome),
            std::mem::take(&mut self.transitions),
        ))
    }

    async fn go_on(&mut self, may_create: bool) -> Result<Next, Error> {
        for _ in 0..MAX_STEPS {
            let facts = self.decide();
            match self.act(facts, may_create).await? {
                Next::Go => {}
                end => return Ok(end),
            }
        }
        Ok(Next::Go)
    }

    /// The time in whole seconds, as a status has it.
    fn now(&self) -> Timestamp {
        let now = self.context.clock.now();
        Timestamp::from_second(now.as_second()).unwrap_or(now)
    }

    fn judge(&self) -> Judged<'_> {
        judge(
            &self.object,
            &self.context.allowed,
            self.credentials.as_ref(),
            self.target.clone(),
        )
    }

    fn decide(&mut self) -> Facts {
        let now = self.now();
        let judged = self.judge();
        let proven_key = judged.proven().map(|(key, _)| key.clone());
        let mut memories = self.memories.clone();
        if let Some(key) = proven_key {
            memories.remembered.key = Some(key);
        }
        let has_credentials = judged.credentials.is_ok();
        let judged_credentials = judged.credentials.as_ref().ok();
        let revokes = judged.plan.as_ref().is_ok_and(|plan| plan.revokes);
        if let Some(credentials) = judged_credentials.filter(|_| revokes) {
            memories.credentials = Some(credentials.clone());
        }
        let is_abandoned = self.object.metadata.deletion_timestamp.is_some()
            && !has_credentials
            && memories.credentials.is_none();
        let remembered = &memories.remembered;
        let rendered = judged.rendered(remembered, now);
        let made = remembered.made.as_ref().map(|key| &key.made);
        let mut observed = judged.observed(
            remembered,
            made,
            &self.findings,
            self.read_at,
            rendered.as_ref(),
            is_abandoned,
        );
        let failures = judged.failures(remembered, now).cloned();
        observed.not_before = failures.as_ref().map(|failures| failures.next_attempt_at.0);
        let step = decide(&observed, now);
        let credentials = match &judged.credentials {
            Ok(credentials) => Ok(credentials.clone()),
            Err(problem) => memories
                .credentials
                .clone()
                .filter(|_| self.object.metadata.deletion_timestamp.is_some())
                .ok_or_else(|| problem.clone()),
        };
        let facts = Facts {
            step,
            ledger: judged.ledger.clone(),
            was_lost: judged.was_lost,
            request: request(judged.plan.as_ref().ok(), credentials.as_ref().ok()),
            credentials_problem: credentials.err(),
            failures,
            current: judged.current_key(remembered).cloned(),
            is_proven: judged.proven().is_some(),
            rotate_request: judged.rotate_request().map(Into::into),
            end_request: judged.end_request().map(Into::into),
            rendered,
            plan: judged.plan.ok(),
        };
        self.memories = memories;
        facts
    }

    async fn act(&mut self, facts: Facts, may_create: bool) -> Result<Next, Error> {
        let now = self.now();
        let mut ledger = facts.ledger.clone();
        match &facts.step {
            Step::Hold(obstacle) => return Ok(self.hold(*obstacle, now)),
            Step::Read => self.refresh().await?,
            Step::Secure => return self.set_finalizer(&facts).await,
            Step::Release => {
                self.tell_what_stays(&facts);
                self.remove_finalizer().await?;
                self.context.memory.forget(&self.key);
                return Ok(Next::Released);
            }
            Step::EndOverlaps => {
                ledger.end_overlaps(now);
                self.record(&facts, &ledger, None).await?;
            }
            Step::Discard => {
                if lists(&facts) {
                    ledger.discard(now);
                } else {
                    ledger.withdraw();
                }
                self.record(&facts, &ledger, None).await?;
            }
            Step::Forget(marks) => {
                ledger.forget(marks);
                self.record(&facts, &ledger, None).await?;
            }
            Step::Promote => self.promote(&facts, ledger, now).await?,
            Step::Write => {
                let refused = facts.failures.as_ref().filter(|failures| {
                    Class::of(failures.reason) == Class::Write && now < failures.next_attempt_at.0
                });
                return match refused {
                    Some(failures) => Ok(Next::End(Problem::BackingOff(failures.clone()))),
                    None => self.write(&facts).await,
                };
            }
            Step::Survey | Step::Probe(_) | Step::Create | Step::Revoke(_) | Step::Intend => {
                if let Some(next) = self.enter(&facts, may_create).await? {
                    return Ok(next);
                }
                return self.call(&facts, ledger).await;
            }
        }
        Ok(Next::Go)
    }

    /// Acts on what needs a place at the API.
    async fn call(&mut self, facts: &Facts, mut ledger: Ledger) -> Result<Next, Error> {
        let now = self.now();
        match &facts.step {
            Step::Survey => self.survey(facts).await,
            Step::Probe(mark) => self.probe(facts, mark).await,
            Step::Revoke(marks) => self.revoke(facts, marks).await,
            Step::Create => self.create(facts, ledger).await,
            Step::Intend => {
                let uid = self.object.metadata.uid.clone().unwrap_or_default();
                let mark = Mark::new(&uid, random());
                ledger.intend(mark.clone(), now);
                if self.record(facts, &ledger, None).await? {
                    self.findings.intended = Some((mark, now));
                }
                Ok(Next::Go)
            }
            _ => Ok(Next::Go),
        }
    }

    fn hold(&self, obstacle: Option<Obstacle>, now: Timestamp) -> Next {
        let judged = self.judge();
        if self.object.spec.suspend {
            return Next::End(Problem::Suspended);
        }
        let found = match (&judged.plan, judged.target_problem()) {
            (Err(problem), _) => Some(Error::Spec(problem.clone())),
            (_, Some(problem)) => Some(Error::Target {
                secret: self.object.target_name().into(),
                problem,
            }),
            _ => None,
        };
        if let Some(error) = found {
            return Next::End(Problem::Found(error));
        }
        match obstacle {
            Some(obstacle) => {
                let made = self.memories.remembered.made.as_ref();
                let is_old =
                    made.is_none_or(|key| now.duration_since(key.made.created_at) >= KEPT_BACK);
                let is_stalled = match obstacle {
                    Obstacle::DeliveryRefused | Obstacle::DeliveryUnavailable => is_old,
                    _ => true,
                };
                Next::End(Problem::Obstacle(obstacle, is_stalled))
            }
            None => {
                let is_good = judged.proven().is_some();
                let failures = judged.failures(&self.memories.remembered, now);
                let waits = |failures: &&Failures| !is_good || now < failures.next_attempt_at.0;
                Next::End(match failures.filter(waits) {
                    Some(failures) => Problem::BackingOff(failures.clone()),
                    None if is_good => Problem::None,
                    // The next attempt has its time.
                    None => Problem::Found(Error::InApiLine { fails: false }),
                })
            }
        }
    }

    fn outcome(&self, problem: Problem, is_in_line: bool) -> Outcome {
        let now = self.now();
        let judged = self.judge();
        let remembered = &self.memories.remembered;
        let made = remembered.made.as_ref().map(|key| &key.made);
        let mut observed =
            judged.observed(remembered, made, &self.findings, self.read_at, None, false);
        observed.not_before = judged
            .failures(remembered, now)
            .map(|failures| failures.next_attempt_at.0);
        Outcome {
            usable: judged.usable(now).cloned(),
            rotate_at: judged.rotate_at(),
            survey: self.findings.survey.clone(),
            verified_at: self.verified_at,
            next: observed.next_look(now),
            problem,
            is_in_line,
            wrote: self.wrote,
            versions: Some(judged.versions()),
            ledger: judged.ledger,
        }
    }

    async fn read_secrets(&mut self) -> Result<(), Error> {
        let object = &self.object;
        let names = &object.spec.credentials_secret_ref;
        check_names(names, object.target_name()).map_err(Error::Spec)?;
        let Context { calls, secrets, .. } = self.context;
        let secrets = Secrets::beside(object, calls, secrets).ok_or(Error::Unidentified)?;
        let unreadable = |name: &str, source| Error::ReadSecret {
            secret: name.into(),
            source,
        };
        let target = object.target_name();
        let (credentials, found) =
            futures::future::join(secrets.read_with_others(&names.name), secrets.read(target))
                .await;
        let credentials = credentials.map_err(|source| unreadable(&names.name, source))?;
        let found = found.map_err(|source| unreadable(target, source))?;
        self.credentials = credentials;
        self.target = found;
        Ok(())
    }

    /// Finds the key again that a target had before it was deleted, where this process does not remember it.
    async fn retrieve(&mut self) -> Result<(), Error> {
        let status = self.object.status.as_ref();
        let written = status.and_then(|status| status.target.as_ref());
        let is_lost = self.target.is_none() && self.memories.remembered.key.is_none();
        let Some(written) = written.filter(|_| is_lost && !self.object.spec.suspend) else {
            return Ok(());
        };
        let written = written.resource_version.as_ref();
        let written = written.and_then(|version| version.parse().ok());
        // A list that lags behind shows an earlier object.
        self.refresh().await?;
        let Context { calls, secrets, .. } = self.context;
        let secrets = Secrets::beside(&self.object, calls, secrets).ok_or(Error::Unidentified)?;
        let name = self.object.target_name();
        for version in secrets.versions_before(name, written) {
            // What is older than a history that is gone is gone too.
            let Some(found) = read_at(&secrets, name, version).await else {
                break;
            };
            let credentials = self.credentials.as_ref();
            let judged = judge(&self.object, &self.context.allowed, credentials, found);
            if let Some((key, _)) = judged.proven().filter(|_| !judged.was_lost) {
                self.memories.remembered.key = Some(key.clone());
                break;
            }
        }
        Ok(())
    }

    /// Reads the object and its Secrets anew: what a watch has shown may be old.
    async fn refresh(&mut self) -> Result<(), Error> {
        let namespace = &self.key.namespace;
        let objects: Api<EdgeToken> = Api::namespaced(self.context.calls.client(), namespace);
        let read = self.context.calls.read(objects.get_opt(&self.key.name));
        let read = read.await.map_err(|source| Error::ReadObject { source })?;
        let latest = read.filter(|latest| latest.metadata.uid == self.object.metadata.uid);
        self.object = latest.ok_or(Error::Outdated)?;
        self.read_secrets().await?;
        self.read_at = Some(self.now());
        Ok(())
    }

    /// Records these attempts, unless the object was changed since it was read: then it is read anew. Returns whether they were
    /// recorded.
    async fn record(
        &mut self,
        facts: &Facts,
        ledger: &Ledger,
        promoted: Option<&Made>,
    ) -> Result<bool, Error> {
        let earlier = self.object.status.clone().unwrap_or_default();
        let created_at = match promoted {
            Some(made) => Some(made.created_at),
            None => self.judge().created_at(),
        };
        let mut status = record(&earlier, ledger, created_at);
        if let Some(made) = promoted.filter(|made| made.rotate_request.is_some()) {
            status
                .last_handled_rotate_request
                .clone_from(&made.rotate_request);
        }
        // Where the status was lost, nobody knows what the person saw who asked to end an overlap.
        if facts.step == Step::EndOverlaps || facts.was_lost {
            let request = end_request_of(&self.object);
            status.last_handled_end_overlap_request =
                facts.end_request.clone().or(request.map(Into::into));
        }
        self.write_status(&status).await
    }

    async fn write_status(&mut self, status: &EdgeTokenStatus) -> Result<bool, Error> {
        match write_status(&self.object, status, self.context).await {
            Ok(written) => {
                self.object = written;
                self.read_at = Some(self.now());
                Ok(true)
            }
            Err(Error::WriteStatus { source }) if is_conflict(&source) => {
                self.refresh().await?;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    async fn promote(
        &mut self,
        facts: &Facts,
        mut ledger: Ledger,
        now: Timestamp,
    ) -> Result<(), Error> {
        let made = self.memories.remembered.made.clone();
        let (Some(key), Some(plan)) = (made, &facts.plan) else {
            return Ok(());
        };
        if lists(facts) {
            ledger.promote(now, plan.overlap);
        } else {
            ledger.replace();
        }
        self.record(facts, &ledger, Some(&key.made)).await?;
        Ok(())
    }

    /// Writes the current key to the target. Where that fails, the key stays in memory, and what was there before still works.
    async fn write(&mut self, facts: &Facts) -> Result<Next, Error> {
        let Some(secret) = &facts.rendered else {
            return Ok(Next::Go);
        };
        let Context {
            calls,
            rights,
            secrets,
            ..
        } = self.context;
        let secrets = Secrets::beside(&self.object, calls, secrets).ok_or(Error::Unidentified)?;
        let verb = Verb::to_replace(self.target.as_ref());
        match secrets.write(secret, verb, rights).await? {
            Ok(written) => {
                tracing::info!(
                    namespace = self.key.namespace,
                    name = self.key.name,
                    secret = self.object.target_name(),
                    "key written"
                );
                self.target = Some(written);
                self.wrote = true;
                self.memories.remembered.key = facts.current.clone();
                self.memories.remembered.made = None;
                Ok(Next::Go)
            }
            Err(source) if is_outdated(&source) => {
                self.refresh().await?;
                Ok(Next::Go)
            }
            Err(source) => {
                let secret = self.object.target_name().into();
                Ok(self.failed(Error::WriteTarget { secret, source }, facts))
            }
        }
    }

    async fn set_finalizer(&mut self, facts: &Facts) -> Result<Next, Error> {
        let wants = facts.plan.as_ref().is_some_and(|plan| plan.revokes);
        let mut finalizers = self.object.metadata.finalizers.clone().unwrap_or_default();
        finalizers.retain(|name| name != FINALIZER);
        if wants {
            finalizers.push(FINALIZER.into());
        }
        match self.write_finalizers(&finalizers).await {
            Ok(()) => Ok(Next::Go),
            Err(error @ Error::WriteFinalizer { .. }) => Ok(Next::End(Problem::Found(error))),
            Err(error) => Err(error),
        }
    }

    async fn remove_finalizer(&mut self) -> Result<(), Error> {
        let mut finalizers = self.object.metadata.finalizers.clone().unwrap_or_default();
        finalizers.retain(|name| name != FINALIZER);
        self.write_finalizers(&finalizers).await
    }

    async fn write_finalizers(&mut self, finalizers: &[String]) -> Result<(), Error> {
        let objects: Api<EdgeToken> =
            Api::namespaced(self.context.calls.client(), &self.key.namespace);
        let metadata = &self.object.metadata;
        let written = replace_finalizers(&objects, metadata, finalizers, &self.context.calls);
        match written.await? {
            Ok(written) => {
                self.object = written;
                self.read_at = Some(self.now());
                Ok(())
            }
            Err(source) if is_outdated(&source) => self.refresh().await,
            Err(source) => Err(Error::WriteFinalizer { source }),
        }
    }

    /// Takes a place at the API, with a JSON Web Token. Returns what ends the visit where that cannot be.
    async fn enter(&mut self, facts: &Facts, may_create: bool) -> Result<Option<Next>, Error> {
        if self.remote.is_some() {
            return Ok(None);
        }
        let context = self.context;
        let now = self.now();
        if let Some(failures) = &facts.failures
            && now < failures.next_attempt_at.0
            && !context.tokens.may_ask(&self.key)
        {
            return Ok(Some(Next::End(Problem::BackingOff(failures.clone()))));
        }
        let secret = || self.object.target_name().to_owned();
        if let Some(problem) = &facts.credentials_problem {
            let secret = self.object.spec.credentials_secret_ref.name.clone();
            let problem = problem.clone();
            return Ok(Some(found(Error::Credentials { secret, problem })));
        }
        if self.target.is_none() && !may_create {
            let problem = TargetProblem::OwnedByAnother;
            let secret = secret();
            return Ok(Some(found(Error::Target { secret, problem })));
        }
        if facts.step == Step::Intend && !facts.is_proven {
            let verb = Verb::to_replace(self.target.as_ref());
            let Context { calls, rights, .. } = context;
            let namespace = &self.key.namespace;
            if !rights.may(verb, namespace, &secret(), calls).await {
                let secret = secret();
                return Ok(Some(found(Error::MissingRight { secret, verb })));
            }
        }
        if let Err(problem) = &self.judge().plan {
            return Ok(Some(found(Error::Spec(problem.clone()))));
        }
        let (Some(plan), Some(request)) = (&facts.plan, &facts.request) else {
            return Ok(Some(Next::End(Problem::None)));
        };
        let jwt = match self.request_jwt(plan, request, facts).await? {
            Ok(jwt) => jwt,
            Err(next) => return Ok(Some(next)),
        };
        let Some(caller) = self.caller(Endpoint::of(plan.source.url()), facts) else {
            return Ok(Some(Next::End(Problem::None)));
        };
        match context.tokens.enter(&caller, request) {
            Entry::Go(flight) => {
                self.remote = Some(Remote {
                    jwt,
                    flight,
                    limits: Limits::default(),
                    end: End::Succeeded,
                });
                Ok(None)
            }
            Entry::Wait { fails } => Ok(Some(waits(facts, Error::InApiLine { fails }))),
            Entry::Held(until) => {
                let next = self.failed_until(Error::ApiHeldBack, facts, until);
                Ok(Some(next))
            }
        }
    }

    fn caller(&self, endpoint: Option<Endpoint>, facts: &Facts) -> Option<Caller> {
        Some(Caller {
            object: self.key.clone(),
            endpoint: endpoint?,
            urgency: if facts.is_proven {
                Urgency::Forced
            } else {
                Urgency::NoToken
            },
        })
    }

    /// A JSON Web Token that is not the one that was refused.
    async fn request_jwt(
        &mut self,
        plan: &Plan,
        request: &TokenRequest,
        facts: &Facts,
    ) -> Result<Result<Token, Next>, Error> {
        let context = self.context;
        let Some(caller) = self.caller(Endpoint::of(&plan.parameters.token_url), facts) else {
            return Ok(Err(Next::End(Problem::None)));
        };
        let refused_at = self.memories.refused_at;
        let acceptable = |token: &Token| {
            let left = token.expires_at.duration_since(context.clock.now());
            left >= LEAST_VALIDITY && refused_at.is_none_or(|at| at < token.issued_at)
        };
        let purpose = Purpose {
            is_checked: true,
            ..Purpose::default()
        };
        if context
            .tokens
            .written(request, context.clock.now())
            .is_some()
        {
            // It is in a Secret and in no memory. Whoever needs it asks for one of its own.
            context.tokens.take_back(request, None);
        }
        loop {
            let answer = context
                .tokens
                .request(request, &caller, purpose, acceptable);
            return Ok(match answer {
                Answer::Turn => continue,
                Answer::Soon(given) => match timeout(SOON, given).await {
                    Ok(Ok(())) => continue,
                    _ => Err(waits(facts, Error::InLine { fails: false })),
                },
                Answer::Sent(ended) => {
                    // Fails where the process ends.
                    let _ = ended.await;
                    continue;
                }
                Answer::Known(token) | Answer::Ended(Ok(token)) => Ok(token),
                Answer::Ended(Err(failure)) => {
                    context.calls.check_leadership()?;
                    let error = if failure.was_sent {
                        Error::RequestToken(failure.error)
                    } else {
                        Error::HeldBack(failure.error)
                    };
                    let next = self.failed_until(error, facts, failure.not_before);
                    Err(match next {
                        Next::End(problem) if failure.is_in_line => Next::Wait(problem),
                        next => next,
                    })
                }
                Answer::Wait { fails } => Err(waits(facts, Error::InLine { fails })),
                Answer::WaitFor(_) => Err(waits(facts, Error::InLine { fails: false })),
            });
        }
    }

    /// The outcome of a failure. While it is tried again and again, the status stays as it is.
    fn failed(&mut self, error: Error, facts: &Facts) -> Next {
        self.failed_until(error, facts, None)
    }

    fn failed_until(&mut self, error: Error, facts: &Facts, not_before: Option<Timestamp>) -> Next {
        let is_outage = match &error {
            Error::CallApi(error) => error.is_outage(),
            Error::RequestToken(error) => error.is_outage(),
            _ => false,
        };
        let earlier = facts.failures.as_ref();
        if let Some(earlier) =
            earlier.filter(|earlier| is_outage && earlier.reason == error.reason())
        {
            return Next::Wait(Problem::BackingOff(earlier.clone()));
        }
        let failed = Failed {
            uid: self.object.metadata.uid.as_deref().unwrap_or_default(),
            class: error.class(),
            reason: error.reason(),
            was_attempted: error.was_attempted(),
            longest_wait: None,
            not_before,
        };
        let failures = count(earlier, &failed, self.context.clock.now());
        let problem = Problem::Failed(error, failures);
        if is_outage {
            Next::Wait(problem)
        } else {
            Next::End(problem)
        }
    }

    /// What an answer says beside what was asked for.
    fn note<T>(&mut self, reply: Reply<T>) -> Result<T, ApiError> {
        if let Some(remote) = &mut self.remote {
            if reply.limits.hold.is_some() {
                remote.limits = reply.limits;
            }
            if let Err(error) = &reply.result {
                remote.end = if error.is_outage() {
                    End::Failed
                } else {
                    End::Refused
                };
            }
        }
        reply.result
    }

    /// What follows from a call that failed. A JSON Web Token that is refused may be from before a change of rights, or of keys:
    /// then another one is tried, once.
    fn refused(&mut self, error: ApiError, facts: &Facts) -> Next {
        if error.cause == (Cause::Refused { status: 401 })
            && let Some(remote) = &self.remote
        {
            let issued_at = remote.jwt.issued_at;
            let age = self.now().duration_since(issued_at);
            let is_new = self.memories.refused_at.is_none_or(|at| at < issued_at);
            if is_new {
                self.memories.refused_at = Some(issued_at);
            }
            if is_new && age > REFUSED_YOUNG {
                self.remote = None;
                return Next::Go;
            }
        }
        self.failed(Error::CallApi(error), facts)
    }

    async fn survey(&mut self, facts: &Facts) -> Result<Next, Error> {
        let (Some(plan), Some(remote)) = (&facts.plan, &self.remote) else {
            return Ok(Next::Go);
        };
        let uid = self.object.metadata.uid.clone().unwrap_or_default();
        let prefix = prefix(&uid);
        let access = Access {
            base: plan.source.url(),
            jwt: &remote.jwt.access_token,
        };
        let reply = self.context.api.list_keys(access, &prefix).await;
        let server_time = reply.date;
        Ok(match self.note(reply) {
            Ok(listing) => {
                self.memories.remembered.last_survey = Some(self.now());
                self.findings.survey = Some(Survey {
                    begun_at: listing.begun_at,
                    server_time,
                    keys: listing.keys,
                });
                Next::Go
            }
            Err(error) => self.refused(error, facts),
        })
    }

    async fn probe(&mut self, facts: &Facts, mark: &Mark) -> Result<Next, Error> {
        let Some(plan) = &facts.plan else {
            return Ok(Next::Go);
        };
        let remembered = &self.memories.remembered;
        let mut keys = facts.current.iter().chain(&remembered.made);
        let Some(key) = keys.find(|key| key.made.mark == *mark) else {
            return Ok(Next::Go);
        };
        let verdict = if plan.is_verified {
            let reply = self.context.api.probe_key(&plan.delivery_url, &key.value);
            // No answer says nothing of the key.
            reply.await.result.unwrap_or(Verdict::Unknown)
        } else {
            Verdict::Accepted
        };
        if verdict == Verdict::Accepted && plan.is_verified {
            self.verified_at = Some(self.now());
        }
        self.findings.verdict = Some((mark.clone(), verdict));
        Ok(Next::Go)
    }

    async fn create(&mut self, facts: &Facts, mut ledger: Ledger) -> Result<Next, Error> {
        let (Some(plan), Some(remote), Some((mark, _))) =
            (&facts.plan, &self.remote, self.findings.intended.take())
        else {
            return Ok(Next::Go);
        };
        let context = self.context;
        context.calls.check_leadership()?;
        self.findings.has_created = true;
        let now = self.now();
        let remembered = &mut self.memories.remembered;
        remembered.last_creation = Some(now);
        remembered.tried_request.clone_from(&facts.rotate_request);
        // Kept before the call: whatever happens, no other key is asked for at once.
        context.memory.keep(&self.key, self.memories.clone());
        let access = Access {
            base: plan.source.url(),
            jwt: &remote.jwt.access_token,
        };
        let reply = match &plan.source {
            Source::TokenApi {
                scopes, created_by, ..
            } => {
                let key = NewKey {
                    created_by: created_by.clone(),
                    label: mark.label(&self.key.namespace, &self.key.name),
                    scopes: scopes.clone(),
                };
                context.api.create_key(access, &key).await
            }
            Source::DeployApi { environment_id, .. } => {
                context.api.obtain_key(access, environment_id).await
            }
        };
        match self.note(reply) {
            Ok(value) => {
                self.tell("KeyCreated", false, &mark, "was made");
                // No list of before has the new key.
                self.findings.survey = None;
                self.memories.remembered.last_survey = None;
                self.memories.remembered.made = Some(Key {
                    value,
                    made: Made {
                        mark,
                        created_at: self.now(),
                        rotate_request: facts.rotate_request.clone(),
                    },
                    fingerprint: plan.source.fingerprint(),
                });
                // Nobody can have it again.
                context.memory.keep(&self.key, self.memories.clone());
                Ok(Next::Go)
            }
            Err(error) => {
                if error.is_not_created() || !plan.source.lists() {
                    ledger.withdraw();
                } else {
                    ledger.discard(self.now());
                }
                self.record(facts, &ledger, None).await?;
                let again = now.saturating_add(LEAST_INTERVAL).ok();
                Ok(match self.refused(error, facts) {
                    // No other key is asked for sooner, and until then this failure counts.
                    Next::End(Problem::Failed(error, mut failures)) => {
                        let at = &mut failures.next_attempt_at;
                        at.0 = again.map_or(at.0, |again| at.0.max(again));
                        Next::End(Problem::Failed(error, failures))
                    }
                    next => next,
                })
            }
        }
    }

    /// Revokes all live keys of these attempts. Only the next list shows that they are.
    async fn revoke(&mut self, facts: &Facts, marks: &[Mark]) -> Result<Next, Error> {
        let (Some(plan), Some(survey)) = (&facts.plan, self.findings.survey.take()) else {
            return Ok(Next::Go);
        };
        self.findings.revoked.extend_from_slice(marks);
        for mark in marks {
            for key in survey.live_keys(mark) {
                self.context.calls.check_leadership()?;
                let Some(jwt) = self.jwt() else {
                    return Ok(Next::Go);
                };
                let access = Access {
                    base: plan.source.url(),
                    jwt: &jwt,
                };
                let reply = self.context.api.revoke_key(access, &key.hash).await;
                if let Err(error) = self.note(reply) {
                    return Ok(self.refused(error, facts));
                }
            }
            self.tell("KeyRevoked", false, mark, "was revoked");
        }
        Ok(Next::Go)
    }

    fn jwt(&self) -> Option<SecretString> {
        let remote = self.remote.as_ref()?;
        Some(remote.jwt.access_token.clone())
    }

    /// Tells of keys that work on after the object is gone.
    fn tell_what_stays(&mut self, facts: &Facts) {
        let survey = self.findings.survey.clone();
        for mark in facts.ledger.marks() {
            let may_live = survey
                .as_ref()
                .is_none_or(|survey| survey.state(mark) == KeyState::Live);
            if may_live {
                self.tell(KEY_LEFT, true, mark, "may work on: nobody revoked it");
            }
        }
    }

    fn tell(&mut self, reason: &'static str, warning: bool, mark: &Mark, what: &str) {
        self.transitions.push(Transition {
            warning,
            reason: reason.into(),
            message: format!("The key with the label {mark} {what}."),
        });
    }
}

fn lists(facts: &Facts) -> bool {
    facts.plan.as_ref().is_none_or(|plan| plan.source.lists())
}

fn request(plan: Option<&Plan>, credentials: Option<&Credentials>) -> Option<TokenRequest> {
    Some(TokenRequest {
        parameters: plan?.parameters.clone(),
        credentials: credentials?.client.clone(),
    })
}

fn found(error: Error) -> Next {
    Next::End(Problem::Found(error))
}

/// What there is to say while it is not this object's turn.
fn waits(facts: &Facts, error: Error) -> Next {
    Next::Wait(match &facts.failures {
        Some(earlier) => Problem::BackingOff(earlier.clone()),
        None => Problem::Found(error),
    })
}

/// A random number, so that no attempt has the mark of another.
fn random() -> u64 {
    let mut bytes = [0; 8];
    // Fails only where the system has no randomness at all, and then TLS does not work either.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}
