//! What is to be done about one EdgeCredential, from what was observed and the time. No I/O, no clock.
//!
//! Two different questions run through it: is the stored token *valid*, and is a renewal *due*.

use aws_lc_rs::digest;
use k8s_openapi::{
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::{SignedDuration, Timestamp},
};
use secrecy::ExposeSecret;

use super::{
    credentials::Credentials,
    error::{Class, Error, Trouble},
    target::{ProvenToken, TargetProblem, render},
};
use crate::{
    api::{ConditionType, EdgeCredential, Reason, conditions, failures::Failures},
    oauth::{RequestParameters, Token, TokenRequest},
};

/// The least time between renewal and expiry, where the lifetime allows: a kubelet takes up to 83 s to bring a changed
/// Secret into a pod (measured with its defaults).
const LEAST_MARGIN: SignedDuration = SignedDuration::from_secs(120);

/// The least time between two renewals, however large `renewBefore` is. Each one is billed.
const LEAST_INTERVAL: SignedDuration = SignedDuration::from_secs(60);

/// Over how long those are spread that an endpoint asked to wait.
const LONGEST_SPREAD: SignedDuration = SignedDuration::from_secs(60);

/// Everything that a decision rests on.
#[derive(Debug)]
pub struct Observed<'a> {
    /// The EdgeCredential.
    pub object: &'a EdgeCredential,
    /// What to ask for, or what is wrong with the spec.
    pub parameters: Result<RequestParameters, Error>,
    /// Who asks, or what is wrong with the credentials Secret.
    pub credentials: Result<Credentials, Error>,
    /// The target Secret if it is there, or why it must not be written.
    pub target: Result<Option<Target>, Error>,
    /// A valid token in memory that an equal request brought.
    pub held: Option<Token>,
    /// Whether that token was requested because of the renew request that the object has now.
    pub answered: bool,
    /// Whether the token endpoint fails for everybody: then it is not this object's back-off that says when it may try
    /// again, but whose turn it is.
    pub governed: bool,
}

/// A target Secret that is ours.
#[derive(Clone)]
pub struct Target {
    /// The Secret as it is.
    pub secret: Secret,
    /// The token in it, if it proves itself.
    pub stored: Option<ProvenToken>,
}

/// Leaves the Secret out: its own `Debug` prints the bytes.
impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target")
            .field("stored", &self.stored)
            .finish_non_exhaustive()
    }
}

/// What is to be done, and what stands in the way of more.
#[derive(Debug)]
pub struct Decision {
    /// What is to be done now.
    pub action: Action,
    /// What keeps the object from being all right.
    pub trouble: Trouble,
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
        governed,
    } = observed;
    let nothing = |trouble| Decision {
        action: Action::Leave(None),
        trouble,
    };
    let target = match target {
        Ok(target) => target,
        Err(error) if !object.spec.suspend => return nothing(Trouble::Found(error)),
        Err(_) => None,
    };
    let stored = target
        .as_ref()
        .and_then(|target| target.stored.clone())
        .filter(|stored| stored.token.is_valid(now));
    if object.spec.suspend {
        return Decision {
            action: Action::Leave(stored),
            trouble: Trouble::Suspended,
        };
    }
    let is_immutable = |target: &Target| target.secret.immutable == Some(true);
    if target.as_ref().is_some_and(is_immutable) {
        // What it holds is good for as long as it is valid.
        return Decision {
            action: Action::Leave(stored),
            trouble: Trouble::Found(Error::Target {
                secret: object.target_name().into(),
                problem: TargetProblem::Immutable,
            }),
        };
    }
    let parameters = match parameters {
        Ok(parameters) => parameters,
        Err(error) => return nothing(Trouble::Found(error)),
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
                trouble: Trouble::Found(error),
            };
        }
    };

    let renewal = Renewal {
        scene,
        credentials,
        stored,
        held,
        answered,
        governed,
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
    governed: bool,
}

impl Renewal<'_> {
    fn decide(self, now: Timestamp) -> Decision {
        let Self {
            scene,
            credentials,
            stored,
            held,
            answered,
            governed,
        } = self;
        let object = scene.object;
        let at_hand = |token| ProvenToken::new(token, &credentials.client, object.renew_request());
        let asked = renew_requested(object, stored.as_ref());
        let requested = asked && !(answered && held.is_some());
        let failures = standing_failures(object, &credentials, requested);
        let outdated = stored.as_ref().is_none_or(|stored| {
            now >= renew_at(object, &stored.token) || !stored.is_of(&credentials.client)
        });
        if !asked && failures.is_none() && !outdated {
            return Decision {
                action: scene.keep(stored),
                trouble: Trouble::None,
            };
        }

        let write_failed = failures.is_some() && Class::of(standing_reason(object)) == Class::Write;
        let in_turn = governed && standing_reason(object) == Reason::TokenEndpointUnavailable;
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
                trouble: Trouble::None,
            };
        }
        if write_failed && may_write && !outdated {
            // It may have been a repair that could not be written: that needs no other token.
            let repair = scene.keep(stored.clone());
            if matches!(repair, Action::Write(_)) {
                return Decision {
                    action: repair,
                    trouble: Trouble::None,
                };
            }
        }
        match waiting {
            Some(waiting) if write_failed => Decision {
                action: Action::Leave(stored),
                trouble: Trouble::Standing(waiting),
            },
            Some(waiting) => {
                // A token that is due but valid is still worth having.
                Decision {
                    action: scene.keep(stored.or(held.map(at_hand))),
                    trouble: Trouble::Standing(waiting),
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
                trouble: Trouble::None,
            },
        }
    }
}

/// Whether a person asked for a renewal that was not handled yet. The target knows too, in case the operator was
/// killed between its write and that of the status.
fn renew_requested(object: &EdgeCredential, stored: Option<&ProvenToken>) -> bool {
    let Some(request) = object.renew_request() else {
        return false;
    };
    let handled = object
        .status
        .as_ref()
        .and_then(|status| status.last_handled_renew_request.as_deref());
    let answered = stored.and_then(|stored| stored.renew_request.as_deref());
    handled != Some(request) && answered != Some(request)
}

/// The failures that still count: a new generation, changed credentials or a renew request begin anew.
pub fn standing_failures(
    object: &EdgeCredential,
    credentials: &Credentials,
    requested: bool,
) -> Option<Failures> {
    let status = object.status.as_ref()?;
    let failures = status.failures.as_ref()?;
    let same_spec = status.observed_generation == object.metadata.generation;
    let same_credentials = failures.credentials_resource_version == credentials.resource_version;
    (same_spec && same_credentials && !requested).then(|| failures.clone())
}

/// The condition of the status that tells what is in the way, by default why its failures happened.
pub fn standing_condition(object: &EdgeCredential) -> Option<&Condition> {
    let conditions = &object.status.as_ref()?.conditions;
    [ConditionType::Stalled, ConditionType::Reconciling]
        .into_iter()
        .find(|type_| conditions::holds(conditions, *type_))
        .and_then(|type_| conditions::find(conditions, type_))
}

/// The reason that the status gives for its failures.
pub fn standing_reason(object: &EdgeCredential) -> Reason {
    let status = object.status.as_ref();
    let failures = status.and_then(|status| status.failures.as_ref());
    failures
        .and_then(|failures| failures.reason.as_deref())
        .or(standing_condition(object).map(|condition| &*condition.reason))
        .and_then(|name| Reason::ALL.iter().find(|reason| reason.as_str() == name))
        .copied()
        .unwrap_or(Reason::TokenEndpointUnavailable)
}

/// When a token is renewed: `renewBefore` ahead of its expiry, by default and where that is not shorter than the
/// lifetime after two thirds of it (cert-manager's rule), less up to 5 % of the lifetime so that tokens issued
/// together are not renewed together.
pub fn renew_at(object: &EdgeCredential, token: &Token) -> Timestamp {
    let lifetime = token.lifetime();
    let before = object
        .spec
        .renew_before()
        .ok()
        .flatten()
        .and_then(|before| SignedDuration::try_from(before).ok())
        .filter(|before| *before < lifetime)
        .unwrap_or(lifetime / 3);
    let mut age = lifetime - before;
    // Half the span, where the renewal is so early that 5 % of the lifetime would leave no time at all.
    let spread = (lifetime / 20).min(age / 2);
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    age -= spread.mul_f64(fraction(&[uid]));
    if lifetime > LEAST_MARGIN * 2 {
        age = age.min(lifetime - LEAST_MARGIN);
    }
    age = age.max(LEAST_INTERVAL.min(lifetime / 2));
    let renew_at = token
        .issued_at
        .saturating_add(age)
        .unwrap_or(token.expires_at);
    Timestamp::from_second(renew_at.as_second()).unwrap_or(renew_at)
}

/// Counts one more failed attempt and plans the next: with the token that the target still holds in mind, and not before
/// the endpoint wants to be asked again. What was not even sent counts as none.
pub fn failed(
    earlier: Option<&Failures>,
    error: &Error,
    object: &EdgeCredential,
    credentials: Option<&Credentials>,
    valid: Option<&Token>,
    not_before: Option<Timestamp>,
    now: Timestamp,
) -> Failures {
    let class = Class::of(error.reason());
    // A long outage is no reason to take the first refusal after it for the hundredth.
    let same_kind = class == Class::Transient || class == Class::of(standing_reason(object));
    let count = earlier
        .filter(|_| same_kind)
        .map_or(0, |failures| failures.count)
        .saturating_add(i32::from(error.was_attempted()))
        .max(1);
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    let mut wait = back_off(class, count, fraction(&[uid, &count.to_string()]));
    if let Some(token) = valid {
        // Half an hour may be more than the token has left.
        let left = token.expires_at.duration_since(now);
        wait = wait.min((left / 2).max(LEAST_INTERVAL));
    }
    let mut next = now.saturating_add(wait).unwrap_or(Timestamp::MAX);
    if let Some(not_before) = not_before {
        // What is held back together does not come back together.
        let hold = not_before.duration_since(now);
        let spread = (hold / 20).min(LONGEST_SPREAD).mul_f64(fraction(&[uid]));
        next = next.max(not_before.saturating_add(spread).unwrap_or(Timestamp::MAX));
    }
    let time = |time: Timestamp| Time(Timestamp::from_second(time.as_second()).unwrap_or(time));
    Failures {
        count,
        reason: Some(error.reason().as_str().into()),
        last_attempt_at: time(now),
        next_attempt_at: time(next),
        credentials_resource_version: credentials
            .and_then(|credentials| credentials.resource_version.clone()),
    }
}

/// How long to wait after so many failed attempts in a row. `jitter` is from 0 to 1.
pub fn back_off(class: Class, attempts: i32, jitter: f64) -> SignedDuration {
    let seconds = |seconds| SignedDuration::from_secs(seconds);
    let doubled = |first: i64, most: i64| {
        let doublings = u32::try_from(attempts.saturating_sub(1))
            .unwrap_or(0)
            .min(30);
        (first << doublings).min(most)
    };
    match class {
        // Full jitter (AWS, "Exponential Backoff And Jitter"), but a second at least: status has whole seconds.
        Class::Transient | Class::Waiting | Class::Blocked => {
            seconds(1) + seconds(doubled(1, 60)).mul_f64(jitter)
        }
        Class::Write => seconds(doubled(5, 300)),
        Class::Terminal => seconds(match attempts {
            ..=1 => 5,
            2 => 30,
            3 => 120,
            4.. => 1800,
        }),
        Class::Final => seconds(1800),
    }
}

/// A number from 0 to 1 that is the same for the same words, and spread evenly over different ones.
fn fraction(words: &[&str]) -> f64 {
    let hash = digest::digest(&digest::SHA256, words.join("\0").as_bytes());
    let first = hash.as_ref().iter().take(4);
    let number = first.fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    f64::from(number) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests;
