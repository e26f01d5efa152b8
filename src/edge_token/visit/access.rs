//! The way to an API: a JSON Web Token, and a place among the requests in flight.

use std::time::Duration;

use k8s_openapi::{api::core::v1::Secret, jiff::SignedDuration};
use tokio::time::timeout;

use super::{Facts, Next, Remote, Visit, found, waits};
use crate::{
    cluster::{history::find_now_or_before, rights::Verb, secrets::Secrets},
    edge_token::{
        context::Context,
        rules::{decide::Step, outcome::Problem, spec::Plan},
    },
    http::rate_limits::Limits,
    oauth::{Token, TokenRequest},
    rules::{error::Error, target::TargetProblem, token_value::find_value},
    traffic::{
        Caller, Endpoint, Urgency,
        flight::Entry,
        queue::End,
        requests::{Answer, Purpose},
    },
};

/// How long a JSON Web Token has to be valid for a visit to begin with it.
const LEAST_VALIDITY: SignedDuration = SignedDuration::from_secs(60);

/// How long a place is waited for that is about to be free.
const SOON: Duration = Duration::from_secs(1);

impl Visit<'_> {
    /// Takes a place at the API, with a JSON Web Token. Returns what ends the visit where that cannot be.
    pub(super) async fn enter(
        &mut self,
        facts: &Facts,
        may_create: bool,
    ) -> Result<Option<Next>, Error> {
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
        // Before the list that comes before an attempt, too.
        let leads_to_key = matches!(facts.step, Step::Survey | Step::Intend);
        let is_deleted = self.object.metadata.deletion_timestamp.is_some();
        if leads_to_key && !facts.is_proven && !is_deleted {
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
        let Some(api) = Endpoint::of(plan.source.url()) else {
            return Ok(Some(Next::End(Problem::None)));
        };
        let jwt = match self.request_jwt(plan, request, &api, facts).await? {
            Ok(jwt) => jwt,
            Err(next) => return Ok(Some(next)),
        };
        let caller = self.caller(api, Urgency::Begun, facts);
        loop {
            return Ok(match context.tokens.enter(&caller, request) {
                Entry::Go(flight) => {
                    self.remote = Some(Remote {
                        jwt,
                        flight,
                        limits: Limits::default(),
                        end: End::Succeeded,
                    });
                    None
                }
                Entry::Soon(given) => match timeout(SOON, given).await {
                    Ok(Ok(())) => continue,
                    _ => Some(waits(facts, Error::InApiLine { fails: false })),
                },
                Entry::Wait { fails } => Some(waits(facts, Error::InApiLine { fails })),
                Entry::Held(until) => Some(self.failed_until(Error::ApiHeldBack, facts, until)),
            });
        }
    }

    /// The caller at an endpoint. `urgency` is that of an object without a key.
    fn caller(&self, endpoint: Endpoint, urgency: Urgency, facts: &Facts) -> Caller {
        Caller {
            object: self.key.clone(),
            endpoint,
            then: None,
            urgency: if facts.is_proven {
                Urgency::Forced
            } else {
                urgency
            },
        }
    }

    /// A JSON Web Token for the API that is not the one that was refused.
    async fn request_jwt(
        &mut self,
        plan: &Plan,
        request: &TokenRequest,
        api: &Endpoint,
        facts: &Facts,
    ) -> Result<Result<Token, Next>, Error> {
        let context = self.context;
        let Some(endpoint) = Endpoint::of(&plan.parameters.token_url) else {
            return Ok(Err(Next::End(Problem::None)));
        };
        let caller = Caller {
            then: Some(api.clone()),
            ..self.caller(endpoint, Urgency::NoToken, facts)
        };
        let refused_at = self.memories.refused_at;
        let acceptable = |token: &Token| {
            let left = token.expires_at.duration_since(context.clock.now());
            left >= LEAST_VALIDITY && refused_at.is_none_or(|at| at < token.issued_at)
        };
        let purpose = Purpose {
            is_checked: true,
            is_for_calls: true,
            ..Purpose::default()
        };
        self.take_back(request, acceptable).await?;
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
                Answer::Wait { fails } if context.tokens.waits_at(&self.key, api) => {
                    Err(waits(facts, Error::InApiLine { fails }))
                }
                Answer::Wait { fails } => Err(waits(facts, Error::InLine { fails })),
                Answer::WaitFor(_) => Err(waits(facts, Error::InLine { fails: false })),
            });
        }
    }

    /// Takes a token back into memory that an EdgeCredential got with an equal request, and that is in its Secret since.
    async fn take_back(
        &self,
        request: &TokenRequest,
        acceptable: impl Fn(&Token) -> bool,
    ) -> Result<(), Error> {
        let Context {
            calls,
            clock,
            secrets,
            tokens,
            ..
        } = self.context;
        let written = tokens.written(request, clock.now());
        let Some(written) = written.filter(|written| acceptable(written.times())) else {
            return Ok(());
        };
        let secrets = Secrets::beside_written(&written.key, calls, secrets);
        let find = |secret: &Secret| find_value(secret, |token| written.is(token));
        let found = find_now_or_before(&secrets, &written.key.name, find).await;
        // The message does not name the Secret of somebody else.
        let found = found.map_err(|source| Error::ReadSecret {
            secret: self.object.target_name().into(),
            source,
        })?;
        tokens.take_back_for_calls(request, found);
        Ok(())
    }
}
