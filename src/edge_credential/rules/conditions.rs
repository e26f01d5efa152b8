//! What the conditions of an EdgeCredential say.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::outcome::{Outcome, Problem};
use crate::{
    api::{ConditionStatus, EdgeCredential, Reason, edge_credential::TokenStatus},
    cluster::back_off::Class,
    rules::conditions::{in_the_way, outlook, ready, repeat_cause, sentence},
};

/// `Ready`, which tells whether the target can be used; and while something is in the way of its renewal, the one of
/// `Reconciling` and `Stalled` that tells who has to act next.
pub fn describe_conditions(
    object: &EdgeCredential,
    outcome: &Outcome,
    token: Option<&TokenStatus>,
    valid_until: Option<Timestamp>,
) -> Vec<ConditionStatus> {
    let repeated = outcome.token.as_ref().is_some_and(|proven| proven.repeated);
    let cut_to = outcome
        .token
        .as_ref()
        .and_then(|proven| proven.renewal.cut_to);
    let valid = valid_until.map(|expires_at| {
        let valid = describe_validity(object.target_name(), expires_at);
        match cut_to {
            _ if repeated => format!(
                "{valid} The token endpoint gave the same token again: it is asked for another one when that expires."
            ),
            Some(age) => format!(
                "{valid} It is not renewed before it is {:#} old, though the spec asks for that: each token is billed.",
                SignedDuration::from_secs(age.as_secs())
            ),
            None => valid,
        }
    });
    let problem = match &outcome.problem {
        Problem::None => {
            let message = valid.unwrap_or_else(|| "There is no token yet.".into());
            return vec![ready(outcome.token.is_some(), Reason::TokenValid, message)];
        }
        Problem::Suspended => {
            let suspended = "Suspended by spec.suspend: nothing is requested or written.";
            let message = valid.map_or(suspended.into(), |valid| format!("{suspended} {valid}"));
            return vec![ready(outcome.token.is_some(), Reason::Suspended, message)];
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
    in_the_way(valid, token.map(describe_expiry), problem)
}

/// Until when the token in the target is valid.
pub fn describe_validity(secret: &str, expires_at: Timestamp) -> String {
    format!("The Secret \"{secret}\" holds a token that is valid until {expires_at}.")
}

/// Since when the token in the target is not valid any more.
pub fn describe_expiry(expired: &TokenStatus) -> String {
    format!("The token expired at {}.", expired.expires_at.0)
}
