//! The calls of Sitecore's APIs, and what follows from their answers.

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;

use super::{Facts, Next, Visit};
use crate::{
    edge_api::{Access, ApiError, Cause, NewKey, Reply, Verdict},
    edge_token::rules::{
        decide::{Made, Step, create_interval},
        events::{key_created, key_obtained, key_revoked},
        ledger::Ledger,
        mark::{Mark, prefix},
        outcome::Problem,
        record::Key,
        spec::Source,
        survey::{KeyState, Survey},
    },
    rules::error::Error,
    traffic::queue::End,
};

/// How old a JSON Web Token is that is refused because something changed since it was issued. A younger one is refused for good.
const REFUSED_YOUNG: SignedDuration = SignedDuration::from_secs(60);

impl Visit<'_> {
    /// Acts on what needs a place at the API.
    pub(super) async fn call(&mut self, facts: &Facts, mut ledger: Ledger) -> Result<Next, Error> {
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
                self.intended_at = Some(self.moment());
                if self.record(facts, &ledger, None).await? {
                    self.findings.intended = Some((mark, now));
                }
                Ok(Next::Go)
            }
            _ => Ok(Next::Go),
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
                let survey = Survey {
                    begun_at: listing.begun_at,
                    server_time,
                    keys: listing.keys,
                };
                self.memories.remembered.last_survey = Some(self.now());
                self.findings.listed_in_deletion =
                    self.object.metadata.deletion_timestamp.is_some();
                if self.findings.listed_in_deletion {
                    let revoked = facts.ledger.marks();
                    let revoked = revoked.filter(|mark| survey.state(mark) == KeyState::Revoked);
                    self.memories.revoked = revoked.cloned().collect();
                }
                self.findings.survey = Some(survey);
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
            let reply = reply.await;
            let hold = reply.limits.hold;
            let from = hold.and_then(|hold| self.now().saturating_add(hold).ok());
            self.memories.remembered.probes_from = from;
            // No answer says nothing of the key.
            reply.result.unwrap_or(Verdict::Unknown)
        } else {
            Verdict::Accepted
        };
        let is_current = facts
            .current
            .as_ref()
            .is_some_and(|key| key.made.mark == *mark);
        if is_current && verdict != Verdict::Accepted {
            // What is to be revoked is listed again when this is asked again.
            self.memories.remembered.last_survey = None;
        }
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
        let unknown = remembered.unknown_creations;
        // Until it is known what became of it.
        remembered.unknown_creations = unknown.saturating_add(1);
        remembered.creates_from = later(now, remembered.unknown_creations);
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
                let told = if plan.source.lists() {
                    key_created(&mark)
                } else {
                    key_obtained(&mark)
                };
                self.transitions.push(told);
                // No list of before has the new key.
                self.findings.survey = None;
                self.memories.remembered.last_survey = None;
                self.memories.remembered.unknown_creations = 0;
                self.memories.remembered.creates_from = later(now, 0);
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
                let remembered = &mut self.memories.remembered;
                if error.is_not_created() {
                    remembered.unknown_creations = unknown;
                    remembered.creates_from = later(now, unknown);
                }
                let again = remembered.creates_from;
                self.record(facts, &ledger, None).await?;
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
        // No list of before shows what becomes of them. Where the next one fails, another visit begins with a list.
        self.memories.remembered.last_survey = None;
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
            self.transitions.push(key_revoked(mark));
        }
        Ok(Next::Go)
    }

    fn jwt(&self) -> Option<SecretString> {
        let remote = self.remote.as_ref()?;
        Some(remote.jwt.access_token.clone())
    }
}

/// When another key may be asked for, after so many in a row of which it is not known whether they were made.
fn later(now: Timestamp, unknown: u32) -> Option<Timestamp> {
    now.saturating_add(create_interval(unknown)).ok()
}

/// A random number, so that no attempt has the mark of another.
fn random() -> u64 {
    let mut bytes = [0; 8];
    // Fails only where the system has no randomness at all, and then TLS does not work either.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}
