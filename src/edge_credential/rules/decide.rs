//! What is to be done about one EdgeCredential, from what was observed and the time. No I/O, no clock.
//!
//! Two different questions run through it: is the stored token *valid*, and is a renewal *due*.

use k8s_openapi::{api::core::v1::Secret, jiff::Timestamp};
use secrecy::ExposeSecret;

use super::{
    credentials::Credentials,
    error::Error,
    failures::{Class, counted_failures, standing_reason},
    judge::{Observed, ObservedTarget, renew_requested},
    outcome::Problem,
    schedule::renew_at,
    target::{ProvenToken, TargetProblem, render},
};
use crate::{
    api::{EdgeCredential, Reason, failures::Failures},
    oauth::{RequestParameters, Token, TokenRequest},
};

/// What is to be done, and what stands in the way of more.
#[derive(Debug)]
pub struct Decision {
    /// What is to be done now.
    pub action: Action,
    /// What keeps the object from being all right.
    pub trouble: Problem,
}

/// What is to be done.
#[derive(Debug)]
pub enum Action {
    /// Nothing. The token that the target holds, if it is valid.
    Leave(Option<ProvenToken>),
    /// Write a token that is at hand, with no request.
    Write(Box<Rendered>),
    /// Request a token and write it.
    Request {
        /// The request.
        request: Box<TokenRequest>,
        /// Whether a token in memory will not do, because a person asked for a new one.
        forced: bool,
        /// The attempts that failed before, if they still count.
        failures: Option<Failures>,
    },
}

/// A Secret to be written, and the token in it.
pub struct Rendered {
    /// The Secret.
    pub secret: Secret,
    /// The token.
    pub proven: ProvenToken,
}

impl std::fmt::Debug for Rendered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rendered")
            .field("proven", &self.proven)
            .finish_non_exhaustive()
    }
}

/// Decides: first what stands in the way of anything at all, then whether a renewal is due.
pub fn decide(observed: Observed<'_>, now: Timestamp) -> Decision {
    let Observed {
        object,
        parameters,
        credentials,
        target,
        held,
        answered,
        circuit_open,
    } = observed;
    let nothing = |trouble| Decision {
        action: Action::Leave(None),
        trouble,
    };
    let target = match target {
        Ok(target) => target,
        Err(error) if !object.spec.suspend => return nothing(Problem::Found(error)),
        Err(_) => None,
    };
    let stored = target
        .as_ref()
        .and_then(|target| target.stored.clone())
        .filter(|stored| stored.token.is_valid(now));
    if object.spec.suspend {
        return Decision {
            action: Action::Leave(stored),
            trouble: Problem::Suspended,
        };
    }
    let is_immutable = |target: &ObservedTarget| target.secret.immutable == Some(true);
    if target.as_ref().is_some_and(is_immutable) {
        // What it holds is good for as long as it is valid.
        return Decision {
            action: Action::Leave(stored),
            trouble: Problem::Found(Error::Target {
                secret: object.target_name().into(),
                problem: TargetProblem::Immutable,
            }),
        };
    }
    let parameters = match parameters {
        Ok(parameters) => parameters,
        Err(error) => return nothing(Problem::Found(error)),
    };
    let scene = Scene {
        object,
        parameters: &parameters,
        existing: target.as_ref().map(|target| &target.secret),
    };
    let credentials = match credentials {
        Ok(credentials) => credentials,
        Err(error) => {
            return Decision {
                action: scene.keep(stored),
                trouble: Problem::Found(error),
            };
        }
    };

    let renewal = Renewal {
        scene,
        credentials,
        stored,
        held,
        answered,
        circuit_open,
    };
    renewal.decide(now)
}

/// What a rendered target depends on beside the token.
struct Scene<'a> {
    object: &'a EdgeCredential,
    parameters: &'a RequestParameters,
    existing: Option<&'a Secret>,
}

impl Scene<'_> {
    /// Keeps the stored token, and sets right what was changed around it.
    fn keep(&self, stored: Option<ProvenToken>) -> Action {
        let Some(proven) = stored else {
            return Action::Leave(None);
        };
        match self.write(proven) {
            Action::Write(rendered) if Some(&rendered.secret) == self.existing => {
                Action::Leave(Some(rendered.proven))
            }
            action => action,
        }
    }

    fn write(&self, proven: ProvenToken) -> Action {
        Action::Write(Box::new(Rendered {
            secret: render(self.object, self.parameters, &proven, self.existing),
            proven,
        }))
    }
}

/// The decision once nothing stands in the way of a request: is one due, may it be made now, and is there a token at
/// hand that saves it?
struct Renewal<'a> {
    scene: Scene<'a>,
    credentials: Credentials,
    stored: Option<ProvenToken>,
    held: Option<Token>,
    answered: bool,
    circuit_open: bool,
}

impl Renewal<'_> {
    fn decide(self, now: Timestamp) -> Decision {
        let Self {
            scene,
            credentials,
            stored,
            held,
            answered,
            circuit_open,
        } = self;
        let object = scene.object;
        let at_hand = |token| ProvenToken::new(token, &credentials.client, object.renew_request());
        let asked = renew_requested(object, stored.as_ref());
        let requested = asked && !(answered && held.is_some());
        let failures = counted_failures(object, &credentials, requested);
        let outdated = stored.as_ref().is_none_or(|stored| {
            now >= renew_at(object, &stored.token) || !stored.is_of(&credentials.client)
        });
        if !asked && failures.is_none() && !outdated {
            return Decision {
                action: scene.keep(stored),
                trouble: Problem::None,
            };
        }

        let write_failed = failures.is_some() && Class::of(standing_reason(object)) == Class::Write;
        let in_turn = circuit_open && standing_reason(object) == Reason::TokenEndpointUnavailable;
        let waiting = failures
            .clone()
            .filter(|failures| now < failures.next_attempt_at.0 && !in_turn);
        let may_write = !write_failed || waiting.is_none();
        let is_news = |held: &Token| {
            outdated
                || stored.as_ref().is_none_or(|stored| {
                    stored.token.access_token.expose_secret() != held.access_token.expose_secret()
                })
        };
        let fresh = held.clone().filter(|held| {
            !requested && may_write && is_news(held) && now < renew_at(object, held)
        });
        if let Some(token) = fresh {
            return Decision {
                action: scene.write(at_hand(token)),
                trouble: Problem::None,
            };
        }
        if write_failed && may_write && !outdated {
            // It may have been a repair that could not be written: that needs no other token.
            let repair = scene.keep(stored.clone());
            if matches!(repair, Action::Write(_)) {
                return Decision {
                    action: repair,
                    trouble: Problem::None,
                };
            }
        }
        match waiting {
            Some(waiting) if write_failed => Decision {
                action: Action::Leave(stored),
                trouble: Problem::BackingOff(waiting),
            },
            Some(waiting) => {
                // A token that is due but valid is still worth having.
                Decision {
                    action: scene.keep(stored.or(held.map(at_hand))),
                    trouble: Problem::BackingOff(waiting),
                }
            }
            None => Decision {
                action: Action::Request {
                    request: Box::new(TokenRequest {
                        parameters: scene.parameters.clone(),
                        credentials: credentials.client.clone(),
                    }),
                    // What failed although the stored token is good was asked for by a person.
                    forced: requested || (failures.is_some() && !write_failed && !outdated),
                    failures,
                },
                trouble: Problem::None,
            },
        }
    }
}

#[cfg(test)]
mod tests;
