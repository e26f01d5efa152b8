//! What changed between two statuses, for those who watch: events and log lines are made of this, and so never repeat
//! what was said already.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::{ConditionType, conditions};

/// A change that is worth telling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Whether it is for the worse.
    pub warning: bool,
    /// The reason of the condition that changed.
    pub reason: String,
    /// Its message.
    pub message: String,
}

/// What changed from one status's conditions to the next one's: `Ready` in status or reason, and the cause of trouble when another one
/// appears. A retry that fails as the one before it is no change.
pub fn find_transitions(earlier: &[Condition], current: &[Condition]) -> Vec<Transition> {
    let told = |type_| {
        let now = conditions::find(current, type_)?;
        let before = conditions::find(earlier, type_);
        let changed = before
            .is_none_or(|before| (&before.status, &before.reason) != (&now.status, &now.reason));
        changed.then_some(now)
    };
    let ready = told(ConditionType::Ready).map(|ready| Transition {
        warning: ready.status != "True",
        reason: ready.reason.clone(),
        message: ready.message.clone(),
    });
    let trouble = [ConditionType::Reconciling, ConditionType::Stalled]
        .into_iter()
        .filter_map(told)
        .find(|condition| condition.status == "True")
        .map(|condition| Transition {
            warning: true,
            reason: condition.reason.clone(),
            message: condition.message.clone(),
        });
    let mut transitions: Vec<_> = ready.into_iter().chain(trouble).collect();
    // `Ready=False` has the cause as its own reason, unless it says that the token expired.
    transitions.dedup_by(|one, other| one.reason == other.reason);
    transitions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::{ConditionStatus, Reason},
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
        conditions::merge(&[], current, Some(1), at(0))
    }

    fn healthy() -> Vec<Condition> {
        status(&[
            (ConditionType::Ready, true, Reason::TokenValid),
            (ConditionType::Reconciling, false, Reason::TokenValid),
            (ConditionType::Stalled, false, Reason::TokenValid),
        ])
    }

    fn troubled(ready: (bool, Reason), stalled: bool, cause: Reason) -> Vec<Condition> {
        status(&[
            (ConditionType::Ready, ready.0, ready.1),
            (ConditionType::Reconciling, !stalled, cause),
            (ConditionType::Stalled, stalled, cause),
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
            ClientNotAllowed, CredentialsNotFound, CredentialsRejected, TokenEndpointUnavailable,
            TokenExpired, TokenValid,
        };
        let valid = (true, TokenValid);
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
            (Some(down(valid)), healthy(), &[]),
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
            // From now on a person must act.
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
