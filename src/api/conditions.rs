//! `Ready`, `Reconciling` and `Stalled`, as kstatus and `kubectl wait` read them.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use schemars::{Schema, SchemaGenerator, json_schema};

use super::reason::Reason;

/// The longest message written, in bytes. Longer ones are cut: a condition is read in a terminal.
const MESSAGE_MAX_LENGTH: usize = 1024;

/// The most conditions: ours, and one that a later version may add.
const MAX_CONDITIONS: usize = 4;

/// A message, in printable ASCII without the three characters that take sixfold room as stored.
const MESSAGE: &str = "^[ -%'-;=?-~]*$";

/// The conditions of an EdgeCredential, in the order they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionType {
    /// The target holds a valid token for the current spec.
    Ready,
    /// Something is under way that will change the state without a person: a wait, a retry.
    Reconciling,
    /// Nothing will change until a person acts.
    Stalled,
}

impl ConditionType {
    /// The name as it stands in `type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
        }
    }
}

/// What a condition says, before it is merged into what was said earlier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionStatus {
    /// Which condition.
    pub type_: ConditionType,
    /// Whether it holds.
    pub holds: bool,
    /// Why.
    pub reason: Reason,
    /// For people.
    pub message: String,
}

/// Turns what is true now into conditions, given those written earlier: a transition time moves only when the status
/// does (Kubernetes API conventions, "Typical status properties").
pub fn merge(
    earlier: &[Condition],
    current: impl IntoIterator<Item = ConditionStatus>,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    current
        .into_iter()
        .map(|condition| {
            let type_ = condition.type_.as_str();
            let status = if condition.holds { "True" } else { "False" };
            let last_transition_time = earlier
                .iter()
                .find(|earlier| earlier.type_ == type_ && earlier.status == status)
                .map_or(Time(now), |earlier| earlier.last_transition_time.clone());
            Condition {
                type_: type_.into(),
                status: status.into(),
                observed_generation: generation,
                last_transition_time,
                reason: condition.reason.as_str().into(),
                message: presentable(&condition.message),
            }
        })
        .collect()
}

/// The condition of a type, if it is there.
pub fn find(conditions: &[Condition], type_: ConditionType) -> Option<&Condition> {
    conditions
        .iter()
        .find(|condition| condition.type_ == type_.as_str())
}

/// Whether the condition of a type is there and true.
pub fn holds(conditions: &[Condition], type_: ConditionType) -> bool {
    find(conditions, type_).is_some_and(|condition| condition.status == "True")
}

/// The message as the schema takes it, with a question mark for every other character.
fn presentable(message: &str) -> String {
    message
        .chars()
        .map(|c| match c {
            '<' | '>' | '&' => '?',
            ' '..='~' => c,
            _ => '?',
        })
        .take(MESSAGE_MAX_LENGTH)
        .collect()
}

/// The schema of `metav1.Condition`, with the bounds that its Go type carries as markers.
pub(super) fn conditions_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": MAX_CONDITIONS,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "description": "One aspect of the object's state.",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": {
                    "type": "string",
                    "description": "Ready, Reconciling or Stalled.",
                    "maxLength": 64,
                    "pattern": "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
                },
                "status": {
                    "type": "string",
                    "description": "True, False or Unknown.",
                    "enum": ["True", "False", "Unknown"],
                },
                "observedGeneration": {
                    "type": "integer",
                    "format": "int64",
                    "description": "The generation that the condition was set for.",
                    "minimum": 0,
                },
                "lastTransitionTime": {
                    "type": "string",
                    "format": "date-time",
                    "description": "When the status last changed.",
                },
                "reason": {
                    "type": "string",
                    "description": "One of a closed list of reasons, which the reference documents.",
                    "minLength": 1,
                    "maxLength": 64,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                },
                "message": {
                    "type": "string",
                    "description": "For people: what happened and what to do.",
                    "maxLength": MESSAGE_MAX_LENGTH,
                    "pattern": MESSAGE,
                },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn ready(holds: bool, reason: Reason) -> ConditionStatus {
        ConditionStatus {
            type_: ConditionType::Ready,
            holds,
            reason,
            message: "because".into(),
        }
    }

    #[test]
    fn a_transition_time_moves_only_when_the_status_changes() {
        let first = merge(
            &[],
            [ready(false, Reason::CredentialsNotFound)],
            Some(1),
            at(10),
        );
        let other_reason = merge(
            &first,
            [ready(false, Reason::CredentialsRejected)],
            Some(2),
            at(20),
        );
        assert_eq!(other_reason[0].last_transition_time, Time(at(10)));
        assert_eq!(other_reason[0].reason, "CredentialsRejected");
        assert_eq!(other_reason[0].observed_generation, Some(2));

        let other_status = merge(
            &other_reason,
            [ready(true, Reason::TokenValid)],
            Some(2),
            at(30),
        );
        assert_eq!(other_status[0].last_transition_time, Time(at(30)));
    }

    #[test]
    fn a_message_is_cut_and_has_only_characters_that_its_schema_takes() {
        for (message, expected) in [
            ("The Secret \"a\" ~", "The Secret \"a\" ~"),
            ("<é>&\n\u{7f}", "??????"),
            (&"é".repeat(2000), &"?".repeat(1024)),
        ] {
            let mut condition = ready(true, Reason::TokenValid);
            condition.message = message.into();
            let merged = merge(&[], [condition], None, at(0));
            assert_eq!(merged[0].message, expected);
        }
    }

    #[test]
    fn every_reason_is_a_valid_condition_reason() {
        for reason in Reason::ALL {
            assert!(
                reason.as_str().chars().all(|c| c.is_ascii_alphanumeric()),
                "{reason}"
            );
            assert!(!reason.meaning().is_empty() && !reason.remedy().is_empty());
        }
    }
}
