//! What changed between two statuses, for those who watch: events and log lines are made of this, and so never repeat
//! what was said already.

use crate::api::{ConditionType, EdgeCredentialStatus, conditions};

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

/// What changed from one status to the next: `Ready` in status or reason, and the cause of trouble when another one
/// appears. A retry that fails as the one before it is no change.
pub fn transitions(
    earlier: Option<&EdgeCredentialStatus>,
    current: &EdgeCredentialStatus,
) -> Vec<Transition> {
    let earlier = earlier.map_or(&[][..], |status| &status.conditions);
    let told = |type_| {
        let now = conditions::find(&current.conditions, type_)?;
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
