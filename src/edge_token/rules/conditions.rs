//! What the conditions of an EdgeToken say.

use super::{
    decide::Obstacle,
    ledger::{End, Ledger},
    outcome::{Outcome, Problem},
};
use crate::{
    api::{ConditionStatus, EdgeToken, Reason},
    cluster::back_off::Class,
    rules::conditions::{in_the_way, outlook, ready, repeat_cause, sentence},
};

impl Obstacle {
    /// The reason that conditions show.
    pub fn reason(self) -> Reason {
        match self {
            Self::UnrecordedKeys => Reason::UnrecordedKeys,
            Self::EnvironmentChanged => Reason::EnvironmentChanged,
            Self::KeyNotRevoked => Reason::KeyNotRevoked,
            Self::TooManyKeys => Reason::TooManyKeys,
            Self::DeliveryRefused => Reason::DeliveryRefused,
            Self::DeliveryUnavailable => Reason::DeliveryUnavailable,
            Self::KeyNotListed => Reason::KeyNotListed,
        }
    }
}

/// `Ready`, which tells whether the key can be used; and while something is in the way, the one of `Reconciling` and `Stalled`
/// that tells who has to act next.
pub fn describe_conditions(object: &EdgeToken, outcome: &Outcome) -> Vec<ConditionStatus> {
    let usable = outcome
        .usable
        .as_ref()
        .map(|_| describe_use(object, &outcome.ledger));
    let problem = match &outcome.problem {
        Problem::None => {
            let message = usable
                .clone()
                .unwrap_or_else(|| "There is no key yet.".into());
            return vec![ready(usable.is_some(), Reason::TokenValid, message)];
        }
        Problem::Suspended => {
            let suspended =
                "Suspended by spec.suspend: no key is made or revoked, and nothing is written.";
            let message = usable
                .as_ref()
                .map_or(suspended.into(), |usable| format!("{suspended} {usable}"));
            return vec![ready(usable.is_some(), Reason::Suspended, message)];
        }
        Problem::Obstacle(obstacle, is_stalled) => {
            let reason = obstacle.reason();
            (reason, plain(reason), *is_stalled)
        }
        Problem::Found(error) => (error.reason(), sentence(error), error.class().is_stalled(0)),
        Problem::Failed(error, failures) => {
            let cause = format!("{}{}", sentence(error), outlook(error, failures));
            let stalled = error.class().is_stalled(failures.count);
            (error.reason(), cause, stalled)
        }
        Problem::BackingOff(failures) => {
            let stalled = Class::of(failures.reason).is_stalled(failures.count);
            let said = object.status.as_ref();
            let said = said.map_or(&[][..], |status| &status.conditions);
            (failures.reason, repeat_cause(said, failures), stalled)
        }
    };
    in_the_way(usable, None, problem)
}

/// What a reason means, without the marks of Markdown, and what to do.
fn plain(reason: Reason) -> String {
    format!("{} {}", reason.meaning(), reason.remedy()).replace('`', "")
}

/// Which key works, and until when the former one does.
pub fn describe_use(object: &EdgeToken, ledger: &Ledger) -> String {
    let secret = object.target_name();
    let former = ledger.retired.iter();
    let until = former
        .filter_map(|retired| match retired.end {
            End::Overlap(until) => Some(until),
            End::Discarded | End::Ended(_) => None,
        })
        .max();
    let holds = format!("The Secret \"{secret}\" holds a key that works.");
    match until {
        Some(until) => format!(
            "{holds} The former one works until {until}: by then restart whatever read it from the environment."
        ),
        None => holds,
    }
}
