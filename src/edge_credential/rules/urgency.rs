//! How urgent a token is.

use k8s_openapi::jiff::Timestamp;

use super::judge::Observed;
use crate::{
    api::{EdgeCredential, Reason},
    traffic::Urgency,
};

/// How urgent it is by the status alone, before anything is read: for an object that is new, or whose valid token is to be
/// renewed by now. `None` where more has to be known.
pub fn urgency_by_status(object: &EdgeCredential, now: Timestamp) -> Option<Urgency> {
    if object.spec.suspend {
        return None;
    }
    let Some(status) = &object.status else {
        return Some(Urgency::NoToken);
    };
    let is_new = status.conditions.is_empty() || waits_for_turn(object);
    if status.target.is_none() && is_new {
        return Some(Urgency::NoToken);
    }
    let token = status
        .token
        .as_ref()
        .filter(|_| status.failures.is_none())?;
    let (renew_at, expires_at) = (token.renew_at.0, token.expires_at.0);
    let is_due = renew_at <= now && now < expires_at;
    is_due.then(|| Urgency::of_renewal(renew_at, expires_at, now))
}

/// Whether the status says that the object waits for its turn.
pub fn waits_for_turn(object: &EdgeCredential) -> bool {
    let conditions = object.status.iter().flat_map(|status| &status.conditions);
    let mut reasons = conditions.map(|condition| &condition.reason);
    reasons.any(|reason| reason == Reason::WaitingForTurn.as_str())
}

/// How urgent it is by what the target holds. A token that was requested with credentials that have been replaced since is
/// as good as one that is to be renewed.
pub fn urgency(observed: &Observed<'_>, forced: bool, now: Timestamp) -> Urgency {
    observed.valid(now).map_or(Urgency::NoToken, |stored| {
        let expires_at = stored.token.expires_at;
        match Urgency::of_renewal(stored.renewal.at, expires_at, now) {
            Urgency::Forced if !forced => Urgency::Renewal(expires_at),
            urgency => urgency,
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::edge_credential::{
        rules::{
            outcome::{Outcome, Problem},
            status::describe_status,
        },
        testing::{at, object, object_with, proven, token},
    };

    #[test]
    fn what_is_new_or_due_is_known_before_anything_is_read() {
        assert_eq!(urgency_by_status(&object(), at(0)), Some(Urgency::NoToken));
        let suspended = object_with(json!({"suspend": true}));
        assert_eq!(urgency_by_status(&suspended, at(0)), None);

        let mut ready = object();
        let proven = proven(token(0, 3600));
        let due = proven.renewal.at;
        let outcome = Outcome::untouched(Some(proven), Problem::None);
        ready.status = Some(describe_status(&ready, &outcome, at(0)));
        let second = k8s_openapi::jiff::SignedDuration::from_secs(1);
        assert_eq!(urgency_by_status(&ready, due - second), None);
        assert_eq!(
            urgency_by_status(&ready, due),
            Some(Urgency::Renewal(at(3600)))
        );
        assert_eq!(
            urgency_by_status(&ready, at(3599)),
            Some(Urgency::Endangered(at(3600)))
        );
        // That it has expired has to be told, which takes a look at the target.
        assert_eq!(urgency_by_status(&ready, at(3600)), None);
    }
}
