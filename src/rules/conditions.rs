//! What conditions say, and in which words.

use super::error::Error;
use crate::api::{ConditionStatus, ConditionType, Reason, failures::Failures};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// The conditions while something is in the way: what it is, as reason and sentence, and whether a person must act. With a
/// sentence on the token if that is valid, or else one on a token that has expired.
pub fn in_the_way(
    valid: Option<String>,
    expired: Option<String>,
    (reason, cause, stalled): (Reason, String, bool),
) -> Vec<ConditionStatus> {
    let ready = match (valid, expired) {
        (Some(valid), _) if stalled => ready(
            true,
            Reason::RenewalStalled,
            format!("{valid} It is not renewed: {cause}"),
        ),
        (Some(valid), _) => ready(
            true,
            Reason::RenewalFailing,
            format!("{valid} Its renewal: {cause}"),
        ),
        (None, Some(expired)) => ready(false, Reason::TokenExpired, format!("{expired} {cause}")),
        (None, None) => ready(false, reason, cause.clone()),
    };
    let in_the_way = ConditionStatus {
        type_: if stalled {
            ConditionType::Stalled
        } else {
            ConditionType::Reconciling
        },
        holds: true,
        reason,
        message: cause,
    };
    vec![ready, in_the_way]
}

/// The condition `Ready`.
pub fn ready(holds: bool, reason: Reason, message: String) -> ConditionStatus {
    ConditionStatus {
        type_: ConditionType::Ready,
        holds,
        reason,
        message,
    }
}

/// What comes next after an error, as the end of a message.
pub fn outlook(error: &Error, failures: &Failures) -> String {
    let next = failures.next_attempt_at.0;
    // When is not for this object to say.
    let is_outage = match error {
        Error::RequestToken(error) => error.is_outage(),
        Error::CallApi(error) => error.is_outage(),
        _ => false,
    };
    if is_outage {
        " It is tried again every few seconds, for all that wait for it.".into()
    } else if !error.was_attempted() {
        format!(" The next attempt is at {next}.")
    } else {
        format!(
            " Attempt {} failed; the next one is at {next}.",
            failures.count
        )
    }
}

/// The cause that conditions already give: it cannot be said anew from an error, because the error is gone.
pub fn repeat_cause(conditions: &[Condition], failures: &Failures) -> String {
    let said = conditions
        .iter()
        .filter(|condition| condition.type_ != ConditionType::Ready.as_str())
        .find(|condition| condition.reason == failures.reason.as_str());
    said.map_or_else(
        || {
            format!(
                "{} Attempt {} failed; the next one is at {}.",
                failures.reason.meaning(),
                failures.count,
                failures.next_attempt_at.0
            )
        },
        |condition| condition.message.clone(),
    )
}

/// An error as a sentence.
pub fn sentence(error: &Error) -> String {
    let text = error.to_string();
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_ascii_uppercase());
    format!(
        "{}{}.",
        first.into_iter().collect::<String>(),
        chars.as_str()
    )
}
