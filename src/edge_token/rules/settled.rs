//! Whether an object has to be looked at, as long as its Secrets are as they were.

use k8s_openapi::jiff::Timestamp;

use super::{
    conditions::describe_use,
    judge::{end_request_of, has_finalizer, rotate_at, rotate_request_of},
    ledger::Ledger,
    spec::{Allowed, check_spec},
};
use crate::{
    api::{ConditionType, EdgeToken, EdgeTokenStatus, Reason, conditions, target::TargetStatus},
    rules::{failures::is_possible, versions::Versions},
};

/// Until when nothing is to be done or to be said about an object, as long as its two Secrets are in the versions that its
/// status names. `None` where more has to be known. A status that was forged harms the object that it is in alone.
pub fn settled_until(object: &EdgeToken, allowed: &Allowed, now: Timestamp) -> Option<Timestamp> {
    let status = object.status.as_ref()?;
    let asked = rotate_request_of(object);
    if is_news(object, status) || !is_handled(asked, &status.last_handled_rotate_request) {
        return None;
    }
    let ready = conditions::find(&status.conditions, ConditionType::Ready)?;
    if object.spec.suspend {
        return (ready.reason == Reason::Suspended.as_str()).then_some(Timestamp::MAX);
    }
    let plan = check_spec(object, allowed).ok()?;
    if status.pending.is_some() || has_finalizer(object) != plan.revokes {
        return None;
    }
    let next = match &status.failures {
        // Whatever is to be done, nothing is tried before.
        Some(failures) if is_possible(failures, now) && says(status, failures.reason) => {
            failures.next_attempt_at.0
        }
        Some(_) => return None,
        None => {
            let token = status.token.as_ref()?;
            // Which keys there are is written first, and what people are told of it after that.
            let told = describe_use(object, &Ledger::of_object(object));
            let is_good = ready.status == "True"
                && ready.reason == Reason::TokenValid.as_str()
                && ready.message == told
                && status.conditions.len() == 1
                && (token.hash.is_some() || !plan.source.lists());
            let rotate_at = rotate_at(object, &plan, token.created_at.0);
            is_good.then(|| rotate_at.unwrap_or(Timestamp::MAX))?
        }
    };
    let revoke_at = status.retired.iter().map(|retired| retired.revoke_at.0);
    let next = revoke_at.fold(next, Timestamp::min);
    (now < next).then_some(next)
}

/// As [`settled_until`], of an object that waits for its turn at an endpoint and is woken when that comes. `fails` where it waits
/// because calls fail.
pub fn waiting_until(object: &EdgeToken, fails: bool, now: Timestamp) -> Option<Timestamp> {
    let status = object.status.as_ref()?;
    if is_news(object, status) || status.pending.is_some() {
        return None;
    }
    let is_told = match &status.failures {
        Some(failures) => says(status, failures.reason),
        None if fails => {
            says(status, Reason::TokenEndpointUnavailable)
                || says(status, Reason::EdgeAPIUnavailable)
        }
        None => waits_for_turn(object),
    };
    let revoke_at = status.retired.iter().map(|retired| retired.revoke_at.0);
    let next = revoke_at.filter(|at| now < *at).min();
    is_told.then(|| next.unwrap_or(Timestamp::MAX))
}

/// Whether an object waits for its first key alone: it has none, no attempt was recorded, and its status tells of nothing else.
pub fn is_new(object: &EdgeToken) -> bool {
    let EdgeToken { metadata, spec, .. } = object;
    if spec.suspend || metadata.deletion_timestamp.is_some() {
        return false;
    }
    object.status.as_ref().is_none_or(|status| {
        let has_key = status.token.is_some() || status.target.is_some();
        let has_tried =
            status.pending.is_some() || !status.retired.is_empty() || status.failures.is_some();
        let waits = status.observed_generation == metadata.generation && waits_for_turn(object);
        !has_key && !has_tried && (status.conditions.is_empty() || waits)
    })
}

/// Whether the status says that the object waits for its turn.
pub fn waits_for_turn(object: &EdgeToken) -> bool {
    let mut status = object.status.iter();
    status.any(|status| says(status, Reason::WaitingForTurn))
}

/// Whether the object is not the one that its status describes, but for a rotation that was asked for.
fn is_news(object: &EdgeToken, status: &EdgeTokenStatus) -> bool {
    status.observed_generation != object.metadata.generation
        || object.metadata.deletion_timestamp.is_some()
        || !is_handled(
            end_request_of(object),
            &status.last_handled_end_overlap_request,
        )
}

/// Whether the status gives this reason for what is in the way.
fn says(status: &EdgeTokenStatus, reason: Reason) -> bool {
    let mut conditions = status.conditions.iter();
    conditions.any(|condition| condition.reason == reason.as_str())
}

fn is_handled(request: Option<&str>, handled: &Option<String>) -> bool {
    request.is_none_or(|request| Some(request) == handled.as_deref())
}

/// The versions that the status names, if it rests on both Secrets.
pub fn versions_of(status: &EdgeTokenStatus) -> Versions {
    Versions {
        credentials: status.credentials.clone(),
        target: status.target.as_ref().and_then(TargetStatus::version),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        api::edge_token::END_OVERLAP_REQUESTED_AT,
        edge_token::{
            rules::mark::Mark,
            testing::{UID, allowed, at, object},
        },
    };

    fn time(second: i64) -> String {
        at(second).to_string()
    }

    fn condition(type_: &str, status: &str, reason: &str) -> Value {
        json!({
            "type": type_, "status": status, "reason": reason, "message": "", "lastTransitionTime": time(0),
        })
    }

    /// An object whose status has these fields beside those of one that is ready, and tells which key works.
    fn with_status(fields: Value) -> EdgeToken {
        let mut object = with_untold_status(fields);
        let told = describe_use(&object, &Ledger::of_object(&object));
        let status = object.status.as_mut().unwrap();
        status.conditions[0].message = told;
        object
    }

    fn with_untold_status(fields: Value) -> EdgeToken {
        let mut status = json!({
            "observedGeneration": 1,
            "conditions": [condition("Ready", "True", "TokenValid")],
            "token": {"mark": "a-mark", "hash": "a-hash", "createdAt": time(0)},
        });
        for (field, value) in fields.as_object().unwrap() {
            status[field] = value.clone();
        }
        EdgeToken {
            status: Some(serde_json::from_value(status).unwrap()),
            ..object()
        }
    }

    fn settled(fields: Value, now: i64) -> Option<Timestamp> {
        settled_until(&with_status(fields), &allowed(), at(now))
    }

    /// A former key whose overlap ends then.
    fn retired(second: i64) -> Value {
        json!([{
            "mark": Mark::new(UID, 1).to_string(), "since": time(0),
            "cause": "Replaced", "revokeAt": time(second),
        }])
    }

    /// An attempt that was refused at 10, and is made again at 40.
    fn failing(reason: &str) -> Value {
        json!({
            "conditions": [
                condition("Ready", "True", "RenewalFailing"),
                condition("Reconciling", "True", reason),
            ],
            "failures": {
                "count": 2, "reason": "EdgeAPIForbidden",
                "lastAttemptAt": time(10), "nextAttemptAt": time(40),
            },
        })
    }

    #[test]
    fn a_key_that_works_is_left_alone_until_a_former_one_is_to_be_revoked() {
        assert_eq!(settled(json!({}), 20), Some(Timestamp::MAX));
        assert_eq!(settled(json!({"retired": retired(60)}), 20), Some(at(60)));
        assert_eq!(settled(json!({"retired": retired(60)}), 60), None);
        let pending = json!({"mark": "another", "since": time(0)});
        assert_eq!(settled(json!({"pending": pending}), 20), None);
    }

    #[test]
    fn what_people_are_told_of_a_former_key_has_to_be_so() {
        let ready = |message: &str, retired: Value| {
            let mut ready = condition("Ready", "True", "TokenValid");
            ready["message"] = json!(message);
            let object = with_untold_status(json!({"conditions": [ready], "retired": retired}));
            settled_until(&object, &allowed(), at(20)).is_some()
        };
        let alone = "The Secret \"edge\" holds a key that works.";
        let former = |until| {
            format!(
                "{alone} The former one works until {}: by then restart whatever read it from the environment.",
                at(until)
            )
        };
        assert!(ready(alone, json!([])));
        assert!(ready(&former(60), retired(60)));
        // The operator was killed after it wrote down that the key is retired, or revoked, and before it said so.
        assert!(!ready(alone, retired(60)));
        assert!(!ready(&former(60), json!([])));
        assert!(!ready(&former(50), retired(60)));
    }

    #[test]
    fn what_failed_is_left_alone_until_its_next_attempt_where_that_is_what_the_status_says() {
        assert_eq!(settled(failing("EdgeAPIForbidden"), 20), Some(at(40)));
        assert_eq!(settled(failing("EdgeAPIForbidden"), 40), None);
        assert_eq!(settled(failing("RBACMissing"), 20), None);
        let mut with_former = failing("EdgeAPIForbidden");
        with_former["retired"] = retired(30);
        assert_eq!(settled(with_former, 20), Some(at(30)));
        // A time that the rules cannot have set.
        assert_eq!(settled(failing("EdgeAPIForbidden"), -100), None);
    }

    #[test]
    fn who_waits_for_a_turn_is_left_alone_once_its_status_says_so() {
        let waiting = |reason: &str, fails| {
            let conditions = [condition("Ready", "False", reason)];
            let object = with_status(json!({"conditions": conditions, "retired": retired(60)}));
            waiting_until(&object, fails, at(20))
        };
        assert_eq!(waiting("WaitingForTurn", false), Some(at(60)));
        assert_eq!(waiting("EdgeAPIUnavailable", true), Some(at(60)));
        assert_eq!(waiting("TokenEndpointUnavailable", true), Some(at(60)));
        // That calls have begun to fail is to be told, and that they no longer do.
        assert_eq!(waiting("WaitingForTurn", true), None);
        assert_eq!(waiting("EdgeAPIUnavailable", false), None);
        let failing = with_status(failing("EdgeAPIForbidden"));
        assert_eq!(waiting_until(&failing, true, at(50)), Some(Timestamp::MAX));
    }

    #[test]
    fn an_object_is_new_until_its_status_tells_of_more_than_a_wait() {
        let new_with = |mut status: Value| {
            status["observedGeneration"] = json!(1);
            EdgeToken {
                status: Some(serde_json::from_value(status).unwrap()),
                ..object()
            }
        };
        let new = |status| is_new(&new_with(status));
        let waiting = json!([condition("Ready", "False", "WaitingForTurn")]);
        assert!(is_new(&object()));
        assert!(new(json!({})));
        assert!(new(json!({"conditions": waiting})));
        let missing = [condition("Ready", "False", "CredentialsNotFound")];
        assert!(!new(json!({"conditions": missing})));
        let target = json!({"name": "target"});
        let token = json!({"mark": "a-mark", "createdAt": time(0)});
        let pending = json!({"mark": "another", "since": time(0)});
        for (field, value) in [
            ("target", target),
            ("token", token),
            ("pending", pending),
            ("retired", retired(60)),
            ("failures", failing("EdgeAPIForbidden")["failures"].clone()),
        ] {
            assert!(
                !new(json!({"conditions": waiting, field: value})),
                "{field}"
            );
        }
        let change = |change: fn(&mut EdgeToken)| {
            let mut changed = new_with(json!({"conditions": waiting}));
            change(&mut changed);
            is_new(&changed)
        };
        assert!(!change(|object| object.spec.suspend = true));
        assert!(!change(|object| object.metadata.generation = Some(2)));
        assert!(!change(|object| {
            object.metadata.deletion_timestamp = Some(Time(at(0)));
        }));
    }

    #[test]
    fn what_a_person_changes_or_asks_for_is_looked_at() {
        let waiting = json!({"conditions": [condition("Ready", "False", "WaitingForTurn")]});
        let change = |fields: Value| {
            let mut changed = with_status(fields.clone());
            changed.metadata.generation = Some(2);
            let mut asked = with_status(fields);
            let request = [(END_OVERLAP_REQUESTED_AT.to_owned(), "now".to_owned())];
            asked.metadata.annotations = Some(request.into());
            [changed, asked]
        };
        for object in change(json!({})) {
            assert_eq!(settled_until(&object, &allowed(), at(20)), None);
        }
        for object in change(waiting) {
            assert_eq!(waiting_until(&object, false, at(20)), None);
        }
    }
}
