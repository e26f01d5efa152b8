//! What is to be done about one EdgeCredential, from what was observed and the time.
//!
//! First: does anything stand in the way at all? Then: *why* is a token needed, *whether now*, and *from where*. Two
//! different questions run through it: is the stored token *valid*, and is a renewal *due*.

use std::ops::ControlFlow;

use k8s_openapi::{api::core::v1::Secret, jiff::Timestamp};

use super::{
    judge::Observed,
    outcome::Problem,
    spec::Plan,
    target::{ProvenToken, render},
};
use crate::{
    api::failures::Failures,
    cluster::back_off::Class,
    oauth::{Token, TokenRequest},
    rules::{credentials::Credentials, error::Error, target::TargetProblem},
};

/// What is to be done, and what stands in the way of more.
#[derive(Debug)]
pub struct Decision {
    /// What is to be done now.
    pub action: Action,
    /// What keeps the object from being all right.
    pub problem: Problem,
}

/// What is to be done.
pub enum Action {
    /// Nothing. The token that the target holds, if it is valid.
    Leave(Option<ProvenToken>),
    /// Write this Secret, with a token that is at hand.
    Write(Box<Secret>, ProvenToken),
    /// Request a token and write it.
    Request {
        request: Box<TokenRequest>,
        /// Whether a token in memory will not do, because a person asked for a new one.
        forced: bool,
        /// Whether the token that it replaces was good until somebody changed something.
        replaces: bool,
    },
}

/// Leaves the Secret out: its own `Debug` prints the bytes.
impl std::fmt::Debug for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Leave(proven) => f.debug_tuple("Leave").field(proven).finish(),
            Self::Write(_, proven) => f.debug_tuple("Write").field(proven).finish(),
            Self::Request { forced, .. } => f.debug_tuple("Request").field(forced).finish(),
        }
    }
}

/// Why another token is needed than the one that the target holds, or another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// A person asked for a renewal, and it was not requested yet.
    Asked,
    /// The target holds no valid token for these parameters.
    NoToken,
    /// The token was requested with credentials that have been replaced since.
    OtherCredentials,
    /// The token is to be renewed by now.
    Due,
    /// A token could not be written.
    RetryWrite,
    /// A renewal that a person asked for could not be requested, and the stored token is good.
    RetryRequest,
    /// A renewal that a person asked for was requested, and its token is not in the target yet.
    Answered,
}

/// Where the token comes from.
enum Source<'a> {
    /// The target itself, in which something else is to be set right.
    Target,
    /// An equal request brought it.
    Memory(&'a Token),
    Endpoint,
}

/// What has to wait for the time of the next attempt.
enum Wait<'a> {
    Write(&'a Failures),
    Request(&'a Failures),
}

/// Decides what is to be done.
pub fn decide(observed: &Observed<'_>, now: Timestamp) -> Decision {
    let sound = match check(observed, now) {
        ControlFlow::Continue(sound) => sound,
        ControlFlow::Break(decision) => return decision,
    };
    let Some(why) = sound.why(now) else {
        return sound.keep(sound.stored.cloned(), Problem::None);
    };
    match (sound.wait(now), sound.source(why, now)) {
        // What is at hand waits for nothing but a write that failed.
        (None | Some(Wait::Request(_)), Source::Memory(token)) => sound.write(token),
        (None, Source::Target) => sound.keep(sound.stored.cloned(), Problem::None),
        (None, Source::Endpoint) => sound.request(why),
        (Some(Wait::Write(failures)), _) => sound.leave(failures),
        (Some(Wait::Request(failures)), _) => sound.wait_with_what_is_there(failures),
    }
}

/// Finds what stands in the way of a request, in the order in which a person has to clear it, and says what is done all
/// the same.
fn check<'a>(observed: &'a Observed<'_>, now: Timestamp) -> ControlFlow<Decision, Sound<'a>> {
    let object = observed.object;
    let stored = observed.valid(now);
    let blocked = |problem| Decision {
        action: Action::Leave(stored.cloned()),
        problem,
    };
    let blocked_by_target = |problem| {
        blocked(Problem::Found(Error::Target {
            secret: object.target_name().into(),
            problem,
        }))
    };
    if object.spec.suspend {
        return ControlFlow::Break(blocked(Problem::Suspended));
    }
    if let Err(problem) = observed.target {
        return ControlFlow::Break(blocked_by_target(problem));
    }
    let is_immutable = |secret: &Secret| secret.immutable == Some(true);
    if observed.existing().is_some_and(is_immutable) {
        // What it holds is good for as long as it is valid.
        return ControlFlow::Break(blocked_by_target(TargetProblem::Immutable));
    }
    let plan = match &observed.plan {
        Ok(plan) => plan,
        Err(problem) => {
            return ControlFlow::Break(blocked(Problem::Found(Error::Spec(problem.clone()))));
        }
    };
    match &observed.credentials {
        Ok(credentials) => ControlFlow::Continue(Sound {
            observed,
            plan,
            credentials,
            stored,
            failures: observed.failures(now),
        }),
        Err(problem) => {
            let error = Error::Credentials {
                secret: object.spec.credentials_secret_ref.name.clone(),
                problem: problem.clone(),
            };
            let problem = Problem::Found(error);
            ControlFlow::Break(keep(observed, plan, stored.cloned(), problem))
        }
    }
}

/// Keeps a token in the target, and sets right what was changed around it.
fn keep(
    observed: &Observed<'_>,
    plan: &Plan,
    proven: Option<ProvenToken>,
    problem: Problem,
) -> Decision {
    let action = match proven {
        None => Action::Leave(None),
        Some(proven) => {
            let existing = observed.existing();
            let secret = render(observed.object, plan, &proven, existing);
            if Some(&secret) == existing {
                Action::Leave(Some(proven))
            } else {
                Action::Write(Box::new(secret), proven)
            }
        }
    };
    Decision { action, problem }
}

/// An object that nothing stands in the way of.
struct Sound<'a> {
    observed: &'a Observed<'a>,
    plan: &'a Plan,
    credentials: &'a Credentials,
    /// The valid token that the target holds.
    stored: Option<&'a ProvenToken>,
    /// The failures that still count.
    failures: Option<&'a Failures>,
}

impl Sound<'_> {
    /// Why anything is to be done: the first reason that holds, if one does.
    fn why(&self, now: Timestamp) -> Option<Why> {
        let must_request = self.observed.must_request_renewal(now);
        let Some(stored) = self.stored else {
            return Some(if must_request {
                Why::Asked
            } else {
                Why::NoToken
            });
        };
        let reasons = [
            (Why::Asked, must_request),
            (
                Why::OtherCredentials,
                !stored.is_of(&self.credentials.client),
            ),
            (Why::Due, stored.is_due(now)),
            (Why::RetryWrite, self.failed_to_write()),
            (Why::RetryRequest, self.failures.is_some()),
            (Why::Answered, self.observed.has_renew_request(now)),
        ];
        let first = reasons.into_iter().find(|(_, holds)| *holds);
        first.map(|(why, _)| why)
    }

    /// Whether anything has to wait. An object whose turn it is asks, whatever its own back-off says.
    fn wait(&self, now: Timestamp) -> Option<Wait<'_>> {
        let failures = self.failures?;
        if now >= failures.next_attempt_at.0 {
            None
        } else if self.failed_to_write() {
            Some(Wait::Write(failures))
        } else if self.observed.memory.may_ask {
            None
        } else {
            Some(Wait::Request(failures))
        }
    }

    /// From where the token comes.
    fn source(&self, why: Why, now: Timestamp) -> Source<'_> {
        let known = self.observed.memory.token.as_ref();
        match known.filter(|token| self.is_better(token, why, now)) {
            Some(token) => Source::Memory(token),
            // It may have been a repair that could not be written: that needs no other token.
            None if why == Why::RetryWrite && self.needs_repair() => Source::Target,
            None => Source::Endpoint,
        }
    }

    /// Whether a token in memory serves better than the one in the target. One that is due itself serves nobody.
    fn is_better(&self, known: &Token, why: Why, now: Timestamp) -> bool {
        let is_another = |stored: &ProvenToken| !stored.is(known);
        let is_wanted = match why {
            Why::Asked => false,
            Why::NoToken | Why::OtherCredentials | Why::Due => true,
            Why::RetryWrite | Why::RetryRequest | Why::Answered => {
                self.stored.is_none_or(is_another)
            }
        };
        is_wanted && self.plan.is_fresh(self.observed.object, known, now)
    }

    fn failed_to_write(&self) -> bool {
        let is_of_write = |failures: &Failures| Class::of(failures.reason) == Class::Write;
        self.failures.is_some_and(is_of_write)
    }

    fn needs_repair(&self) -> bool {
        let kept = self.keep(self.stored.cloned(), Problem::None);
        matches!(kept.action, Action::Write(..))
    }

    fn prove(&self, token: &Token) -> ProvenToken {
        ProvenToken::new(
            token.clone(),
            &self.credentials.client,
            self.observed.object,
            self.plan,
        )
    }

    fn keep(&self, proven: Option<ProvenToken>, problem: Problem) -> Decision {
        keep(self.observed, self.plan, proven, problem)
    }

    fn write(&self, token: &Token) -> Decision {
        self.keep(Some(self.prove(token)), Problem::None)
    }

    fn request(&self, why: Why) -> Decision {
        let request = TokenRequest {
            parameters: self.plan.parameters.clone(),
            credentials: self.credentials.client.clone(),
        };
        Decision {
            action: Action::Request {
                request: Box::new(request),
                forced: matches!(why, Why::Asked | Why::RetryRequest),
                replaces: match why {
                    Why::Asked | Why::OtherCredentials => true,
                    // The target is there, and does not prove a token for these parameters.
                    Why::NoToken => {
                        self.observed.existing().is_some() && self.observed.stored().is_none()
                    }
                    Why::Due | Why::RetryWrite | Why::RetryRequest | Why::Answered => false,
                },
            },
            problem: Problem::None,
        }
    }

    fn leave(&self, failures: &Failures) -> Decision {
        Decision {
            action: Action::Leave(self.stored.cloned()),
            problem: Problem::BackingOff(failures.clone()),
        }
    }

    /// Waits for the next attempt, with the token in the target or else with one in memory: a token that is due but valid
    /// is still worth having.
    fn wait_with_what_is_there(&self, failures: &Failures) -> Decision {
        let known = self.observed.memory.token.as_ref();
        let proven = self
            .stored
            .cloned()
            .or(known.map(|token| self.prove(token)));
        self.keep(proven, Problem::BackingOff(failures.clone()))
    }
}

#[cfg(test)]
mod tests;
