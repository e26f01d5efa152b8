//! What changed between the conditions of two statuses. Events and log lines are made of this, so that none repeats an
//! earlier one.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::{ConditionType, Reason};

/// The reason of the Event that tells of a key that nobody revoked.
pub const KEY_LEFT: &str = "KeyLeft";

/// A change that is worth an Event and a log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Whether it is for the worse.
    pub warning: bool,
    /// The reason of the condition that changed.
    pub reason: String,
    /// Its message.
    pub message: String,
    /// Which of several things of the object it is about, as the mark of a key. What happens to different ones is no repeat.
    pub part: Option<String>,
}

/// Finds the conditions that are new or have another status or reason than before. A retry that fails as the one before it
/// changes nothing. `Ready` with the reason that its renewal fails does not count: `Reconciling` or `Stalled`, which
/// has the cause, counts then. Nor does it that an object waits for its turn: very many may.
pub fn find_transitions(earlier: &[Condition], current: &[Condition]) -> Vec<Transition> {
    let changed = |now: &&Condition| {
        let before = earlier.iter().find(|before| before.type_ == now.type_);
        before.is_none_or(|before| {
            let of_renewal = [Reason::RenewalFailing, Reason::RenewalStalled];
            let is_told_by_cause = of_renewal
                .iter()
                .any(|reason| now.reason == reason.as_str());
            before.status != now.status || (before.reason != now.reason && !is_told_by_cause)
        })
    };
    let mut transitions: Vec<_> = current
        .iter()
        .filter(changed)
        .filter(|condition| condition.reason != Reason::WaitingForTurn.as_str())
        .map(|condition| Transition {
            warning: condition.type_ != ConditionType::Ready.as_str() || condition.status != "True",
            reason: condition.reason.clone(),
            message: condition.message.clone(),
            part: None,
        })
        .collect();
    // `Ready=False` has the cause as its own reason, unless it says that the token expired.
    transitions.dedup_by(|one, other| one.reason == other.reason);
    transitions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::{ConditionStatus, conditions::merge},
        edge_credential::testing::at,
    };

    /// The conditions of a status that hold, or do not, for a reason.
    fn status(conditions: &[(ConditionType, bool, Reason)]) -> Vec<Condition> {
        let current = conditions
            .iter()
            .map(|(type_, holds, reason)| ConditionStatus {
                type_: *type_,
                holds: *holds,
                reason: *reason,
                message: format!("{reason} of {}", type_.as_str()),
            });
        merge(&[], current, Some(1), at(0))
    }

    fn healthy() -> Vec<Condition> {
        status(&[(ConditionType::Ready, true, Reason::TokenValid)])
    }

    fn troubled(ready: (bool, Reason), stalled: bool, cause: Reason) -> Vec<Condition> {
        let in_the_way = if stalled {
            ConditionType::Stalled
        } else {
            ConditionType::Reconciling
        };
        status(&[
            (ConditionType::Ready, ready.0, ready.1),
            (in_the_way, true, cause),
        ])
    }

    /// Warnings with their reasons, as `!Reason`, and the rest.
    fn told(earlier: Option<&[Condition]>, current: &[Condition]) -> Vec<String> {
        find_transitions(earlier.unwrap_or_default(), current)
            .into_iter()
            .map(|told| format!("{}{}", if told.warning { "!" } else { "" }, told.reason))
            .collect()
    }

    #[test]
    fn what_changed_is_told_once() {
        use Reason::{
            ClientNotAllowed, CredentialsNotFound, CredentialsRejected, RenewalFailing,
            RenewalStalled, TokenEndpointUnavailable, TokenExpired, WaitingForTurn,
        };
        let valid = (true, RenewalFailing);
        let down = |ready| troubled(ready, false, TokenEndpointUnavailable);
        let waiting = troubled((false, CredentialsNotFound), false, CredentialsNotFound);
        let rejected =
            |stalled| troubled((false, CredentialsRejected), stalled, CredentialsRejected);
        for (earlier, current, expected) in [
            (None, healthy(), &["TokenValid"][..]),
            (Some(healthy()), healthy(), &[]),
            (None, waiting.clone(), &["!CredentialsNotFound"]),
            (Some(waiting.clone()), waiting.clone(), &[]),
            (Some(waiting.clone()), healthy(), &["TokenValid"]),
            // The renewal fails while the token is still valid.
            (Some(healthy()), down(valid), &["!TokenEndpointUnavailable"]),
            (Some(down(valid)), down(valid), &[]),
            (
                Some(down(valid)),
                down((false, TokenExpired)),
                &["!TokenExpired"],
            ),
            (Some(down(valid)), healthy(), &["TokenValid"]),
            // A token that is due itself is written while the endpoint is down.
            (
                Some(down((false, TokenExpired))),
                down(valid),
                &["RenewalFailing"],
            ),
            (
                Some(down((false, TokenExpired))),
                healthy(),
                &["TokenValid"],
            ),
            (
                Some(healthy()),
                down((false, TokenExpired)),
                &["!TokenExpired", "!TokenEndpointUnavailable"],
            ),
            // The cause of trouble is another one.
            (
                Some(down(valid)),
                troubled(valid, false, ClientNotAllowed),
                &["!ClientNotAllowed"],
            ),
            (Some(waiting), rejected(false), &["!CredentialsRejected"]),
            (
                None,
                troubled((false, WaitingForTurn), false, WaitingForTurn),
                &[],
            ),
            // From now on a person must act.
            (
                Some(troubled(valid, false, CredentialsRejected)),
                troubled((true, RenewalStalled), true, CredentialsRejected),
                &["!CredentialsRejected"],
            ),
            (
                Some(rejected(false)),
                rejected(true),
                &["!CredentialsRejected"],
            ),
        ] {
            assert_eq!(
                told(earlier.as_deref(), &current),
                expected,
                "{earlier:?}\n{current:?}"
            );
        }
    }

    #[test]
    fn the_message_is_that_of_the_condition() {
        let told = find_transitions(&[], &healthy());
        assert_eq!(told[0].message, "TokenValid of Ready");
    }
}
