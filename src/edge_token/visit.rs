//! A visit to one object: observes, decides on one step, acts, and goes on until nothing is left to do.
//!
//! [`writes`] has the steps that change the cluster, [`calls`] those that call an API, and [`access`] the way to it.

mod access;
mod calls;
mod writes;

use k8s_openapi::{
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};
use tokio::time::Instant;

use super::{
    context::Context,
    memory::Memories,
    report::read_latest,
    rules::{
        decide::{Obstacle, Step, Visit as Findings, decide, find_left, is_overdue},
        events::{key_elsewhere, key_kept, key_not_revoked},
        judge::{Judged, has_finalizer, judge, revocable},
        ledger::{End as KeyEnd, Ledger},
        mark::Mark,
        outcome::{Outcome, Problem},
        record::Key,
        settled::is_new,
        spec::Plan,
        survey::KeyState,
    },
};
use crate::{
    api::{EdgeToken, edge_token::DeletionPolicy, failures::Failures},
    cluster::{
        back_off::Class, history::read_at, object_key::ObjectKey, secrets::Secrets,
        transition::Transition,
    },
    http::rate_limits::Limits,
    oauth::{Token, TokenRequest},
    rules::{
        credentials::{Credentials, CredentialsProblem, FoundCredentials},
        error::Error,
        failures::{Failed, count},
        spec::check_names,
    },
    traffic::{flight::Flight, queue::End},
};

/// The most steps of one visit. What is left then is done in the next one.
const MAX_STEPS: usize = 24;

/// For how long a new key may be kept back before a person should look.
const KEPT_BACK: SignedDuration = SignedDuration::from_mins(10);

/// For how long no API is called after a visit that called one and could not write what followed.
const REST: SignedDuration = SignedDuration::from_secs(30);

/// How a visit ended.
pub enum Ended {
    /// The object is gone, or goes now.
    Released,
    /// At once: the Secrets may not be read.
    Unreadable(Error),
    /// With what is to be reported.
    With(Box<Outcome>),
}

/// A visit.
pub struct Visit<'a> {
    context: &'a Context,
    key: ObjectKey,
    object: EdgeToken,
    credentials: FoundCredentials,
    target: Option<Secret>,
    memories: Memories,
    findings: Findings,
    /// When the object was read last, or its status written.
    read_at: Option<Moment>,
    /// When the attempt was recorded that the findings have.
    intended_at: Option<Moment>,
    remote: Option<Remote>,
    verified_at: Option<Timestamp>,
    transitions: Vec<Transition>,
}

/// What calls are made with.
struct Remote {
    jwt: Token,
    flight: Box<Flight>,
    limits: Limits,
    end: End,
}

/// When something happened, by the wall clock and by one that nobody sets.
#[derive(Clone, Copy)]
struct Moment {
    wall: Timestamp,
    monotonic: Instant,
}

impl Moment {
    /// When it happened, by a wall clock that says this now: the earlier of what both clocks say, so that nothing is younger after
    /// the wall clock was set back, or after a sleep that the other clock does not count.
    fn as_of(self, now: Timestamp) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.monotonic.elapsed());
        let at = elapsed
            .ok()
            .and_then(|elapsed| now.checked_sub(elapsed).ok());
        at.map_or(self.wall, |at| at.min(self.wall))
    }
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
            credentials: FoundCredentials::of(None, &object.spec.credentials_secret_ref),
            target: None,
            findings: Findings::default(),
            read_at: None,
            intended_at: None,
            remote: None,
            verified_at: None,
            transitions: Vec::new(),
        }
    }

    /// What happened that is not in a status.
    pub fn take_transitions(&mut self) -> Vec<Transition> {
        std::mem::take(&mut self.transitions)
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
        let deleted_at = self.object.metadata.deletion_timestamp.as_ref();
        let is_overdue = deleted_at.is_some_and(|at| is_overdue(at.0, self.now()));
        let problem = match self.read_secrets(true).await {
            Err(error) if !is_overdue && error.class().is_stalled(0) => {
                return Ok(Ended::Unreadable(error));
            }
            Err(error) if !is_overdue => return Err(error),
            // The end of a deletion does not depend on them.
            _ => {
                if !is_overdue {
                    self.retrieve().await?;
                }
                let next = self.go_on(lock.is_some()).await;
                if next.is_err() && self.remote.is_some() {
                    self.rest();
                }
                next?
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
                return Ok(Ended::Released);
            }
            Next::Wait(problem) => (problem, true),
            Next::End(problem) => (problem, false),
            Next::Go => (Problem::None, false),
        };
        if !is_in_line {
            // A turn that it has is given to the next.
            context.tokens.leave(&self.key);
            if matches!(problem, Problem::None) {
                context.tokens.end_calls(&self.key);
            }
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
        let credentials = self.credentials.credentials.as_ref().ok();
        if let Some(credentials) = credentials.filter(|_| is_in_line && is_new(&self.object)) {
            let generation = self.object.metadata.generation;
            self.memories.read = Some((generation, credentials.clone()));
        }
        context.memory.keep(&self.key, self.memories.clone());
        Ok(Ended::With(Box::new(self.outcome(problem, is_in_line))))
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

    /// Keeps the next visits from calling an API: what they would make of its answers may not be written either. What this one
    /// found out is not kept with that.
    fn rest(&self) {
        let uid = self.object.metadata.uid.as_deref();
        let mut memories = self.context.memory.of(&self.key, uid);
        memories.remembered.rests_until = self.now().saturating_add(REST).ok();
        self.context.memory.keep(&self.key, memories);
    }

    /// The time in whole seconds, as a status has it.
    fn now(&self) -> Timestamp {
        let now = self.context.clock.now();
        Timestamp::from_second(now.as_second()).unwrap_or(now)
    }

    /// Now, by both clocks.
    fn moment(&self) -> Moment {
        Moment {
            wall: self.now(),
            monotonic: Instant::now(),
        }
    }

    fn judge(&self) -> Judged<'_> {
        judge(
            &self.object,
            &self.context.allowed,
            self.credentials.clone(),
            self.target.clone(),
        )
    }

    fn decide(&mut self) -> Facts {
        let now = self.now();
        if let (Some((_, at)), Some(moment)) = (&mut self.findings.intended, self.intended_at) {
            *at = moment.as_of(now);
        }
        let judged = self.judge();
        let proven_key = judged.proven().map(|(key, _)| key.clone());
        let mut memories = self.memories.clone();
        if let Some(key) = proven_key {
            memories.remembered.key = Some(key);
        }
        memories.recorded = revocable(&self.object, &judged.ledger).cloned().collect();
        memories.revokes = has_finalizer(&self.object);
        let found = judged.credentials.credentials.as_ref();
        let revokes = judged.plan.as_ref().is_ok_and(|plan| plan.revokes);
        if let Some(credentials) = found.ok().filter(|_| revokes) {
            memories.credentials = Some(credentials.clone());
        }
        let is_abandoned = self.object.metadata.deletion_timestamp.is_some()
            && found.is_err()
            && memories.credentials.is_none();
        let remembered = &memories.remembered;
        let rendered = judged.rendered(remembered, now);
        let made = remembered.made.as_ref().map(|key| &key.made);
        let mut observed = judged.observed(
            remembered,
            made,
            &self.findings,
            self.read_at.map(|moment| moment.as_of(now)),
            rendered.as_ref(),
            is_abandoned,
        );
        let failures = judged.failures(remembered, now).cloned();
        observed.not_before = failures.as_ref().map(|failures| failures.next_attempt_at.0);
        let step = decide(&observed, now);
        let credentials = match found {
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
            Step::Read => self.read_anew().await?,
            Step::Secure => return self.set_finalizer(&facts).await,
            Step::Release => {
                if self.remove_finalizer().await? {
                    self.tell_what_stays(&facts);
                    self.context.memory.forget(&self.key);
                    return Ok(Next::Released);
                }
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
                if self.record(&facts, &ledger, None).await? {
                    self.tell_what_is_elsewhere(&facts, marks);
                }
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
                let is_deleted = self.object.metadata.deletion_timestamp.is_some();
                let remembered = &self.memories.remembered;
                let findings = &self.findings;
                let observed = judged.observed(remembered, None, findings, None, None, false);
                // A failure counts until its next attempt, and what failed and is still to be done until it is.
                let counts = |failures: &&Failures| {
                    !is_good || now < failures.next_attempt_at.0 || observed.needs_key(now)
                };
                Next::End(match judged.failures(remembered, now).filter(counts) {
                    Some(failures) => Problem::BackingOff(failures.clone()),
                    None if is_good || is_deleted => Problem::None,
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
        let mut observed = judged.observed(remembered, made, &self.findings, None, None, false);
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
            versions: Some(judged.versions()),
            ledger: judged.ledger,
        }
    }

    /// Reads the two Secrets. A target that the object never had is not read where the Secrets `are_known` and it is not there:
    /// its creation shows whether that is so.
    async fn read_secrets(&mut self, are_known: bool) -> Result<(), Error> {
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
        let status = object.status.as_ref();
        let had_target = status.is_some_and(|status| status.target.is_some());
        let is_absent = are_known && !had_target && secrets.is_absent(target);
        let read_target = async {
            if is_absent {
                return Ok(None);
            }
            secrets.read(target).await
        };
        let known = self.memories.take_read(object.metadata.generation);
        let known = known.filter(|known| {
            let version = known.version.as_ref();
            are_known && version.is_some_and(|version| secrets.is_current(&names.name, version))
        });
        let read_credentials = async {
            if let Some(known) = known {
                return Ok(known.into());
            }
            let read = secrets.read_with_others(&names.name).await?;
            Ok(FoundCredentials::of(read.as_ref(), names))
        };
        let (credentials, found) = futures::future::join(read_credentials, read_target).await;
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
            let judged = judge(
                &self.object,
                &self.context.allowed,
                self.credentials.clone(),
                found,
            );
            if let Some((key, _)) = judged.proven().filter(|_| !judged.was_lost) {
                self.memories.remembered.key = Some(key.clone());
                break;
            }
        }
        Ok(())
    }

    /// Reads the object anew: what a watch has shown may be old. If it is, its Secrets are read anew as well.
    async fn read_anew(&mut self) -> Result<(), Error> {
        let known = self.object.metadata.resource_version.clone();
        self.read_object().await?;
        if self.object.metadata.resource_version != known {
            self.read_secrets(false).await?;
        }
        Ok(())
    }

    /// Reads the object and its Secrets anew, after one of them turned out to have changed.
    async fn refresh(&mut self) -> Result<(), Error> {
        self.read_object().await?;
        self.read_secrets(false).await
    }

    async fn read_object(&mut self) -> Result<(), Error> {
        self.object = read_latest(&self.object, self.context).await?;
        self.read_at = Some(self.moment());
        Ok(())
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

    /// Tells of keys that work on, or may, once the object is gone.
    fn tell_what_stays(&mut self, facts: &Facts) {
        if self.object.spec.deletion_policy == DeletionPolicy::Revoke {
            let uid = self.object.metadata.uid.as_deref().unwrap_or_default();
            let mut left = find_left(&facts.ledger, self.findings.survey_of_deletion(), uid);
            left.retain(|mark| !self.memories.revoked.contains(mark));
            self.transitions.extend(left.iter().map(key_not_revoked));
        } else {
            let kept = revocable(&self.object, &facts.ledger).map(key_kept);
            self.transitions.extend(kept);
        }
    }

    /// Tells of keys that were in the target, are to be revoked, and are not listed: they are of another environment.
    fn tell_what_is_elsewhere(&mut self, facts: &Facts, marks: &[Mark]) {
        let Some(survey) = &self.findings.survey else {
            return;
        };
        for retired in &facts.ledger.retired {
            let mark = &retired.mark;
            let was_used = marks.contains(mark) && retired.end != KeyEnd::Discarded;
            if was_used && survey.state(mark) == KeyState::Absent {
                self.transitions.push(key_elsewhere(mark));
            }
        }
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
