//! What became of a reconciliation, as the status that people and programs read.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

use super::{
    conditions::{describe_conditions, describe_expiry, describe_validity},
    outcome::{Outcome, Problem},
    target::ProvenToken,
};
use crate::{
    api::{
        ConditionType, EdgeCredential, EdgeCredentialStatus, Reason, conditions,
        edge_credential::TokenStatus, failures::Failures, target::TargetStatus,
    },
    rules::{
        conditions::in_the_way,
        error::Error,
        spec::{check_names, make_parameters},
        versions::Versions,
    },
};

/// The status that follows. Equal to the earlier one where nothing changed: it has no time in it that moves by itself.
pub fn describe_status(
    object: &EdgeCredential,
    outcome: &Outcome,
    now: Timestamp,
) -> EdgeCredentialStatus {
    let earlier = object.status.clone().unwrap_or_default();
    let generation = object.metadata.generation;
    let token = describe_target_token(object, &earlier, outcome, now);
    let still_valid = |token: &&TokenStatus| outcome.token.is_some() || now < token.expires_at.0;
    let valid_until = token
        .as_ref()
        .filter(still_valid)
        .map(|token| token.expires_at.0);
    let current = describe_conditions(object, outcome, token.as_ref(), valid_until);
    let conditions = conditions::merge(&earlier.conditions, current, generation, now);
    let versions = outcome.versions.clone().unwrap_or_else(|| Versions {
        credentials: earlier.credentials.clone(),
        target: earlier.target.as_ref().and_then(TargetStatus::version),
    });
    let has_target = outcome.token.is_some() || earlier.target.is_some();
    EdgeCredentialStatus {
        observed_generation: generation,
        conditions,
        token,
        failures: describe_failures(&earlier, generation, outcome, &versions),
        credentials: versions.credentials,
        target: has_target.then(|| TargetStatus::new(object.target_name(), versions.target)),
        last_handled_renew_request: find_handled_request(object, outcome)
            .or(earlier.last_handled_renew_request),
    }
}

/// What is known of the token in the target, also where it has expired.
fn describe_target_token(
    object: &EdgeCredential,
    earlier: &EdgeCredentialStatus,
    outcome: &Outcome,
    now: Timestamp,
) -> Option<TokenStatus> {
    if let Some(proven) = &outcome.token {
        return Some(describe_token(object, proven));
    }
    // A target that cannot be read, for lack of a right or by a fault of the program, or that is there and cannot be judged,
    // still holds what it held when it was last good for this spec.
    let is_unknown = match outcome.problem {
        Problem::Found(Error::ReadSecret { .. } | Error::Panicked) => true,
        Problem::Found(Error::Spec(_)) => !is_judgeable(object) && !is_gone(outcome),
        _ => false,
    };
    let same_spec = earlier.observed_generation == object.metadata.generation;
    let known = earlier.token.as_ref();
    known
        .filter(|token| token.expires_at.0 <= now || (is_unknown && same_spec))
        .cloned()
}

/// Whether a Secret can be found to hold a token for the spec: by a rule that is newer than the object, its names may be
/// none of Secrets, or its request one that cannot be made.
fn is_judgeable(object: &EdgeCredential) -> bool {
    check_names(&object.spec.credentials_secret_ref, object.target_name()).is_ok()
        && make_parameters(&object.spec.token_request).is_ok()
}

/// Whether the target was read, and is not there or not ours.
fn is_gone(outcome: &Outcome) -> bool {
    let versions = outcome.versions.as_ref();
    versions.is_some_and(|versions| versions.target.is_none())
}

fn describe_token(object: &EdgeCredential, proven: &ProvenToken) -> TokenStatus {
    let token = &proven.token;
    TokenStatus {
        issued_at: Time(token.issued_at),
        expires_at: Time(token.expires_at),
        renew_at: Time(proven.renewal.at),
        audience: object.spec.token_request.audience.clone(),
        scope: token.scope.clone(),

        tenant_id: token.tenant_id.clone(),
        organization_id: token.organization_id.clone(),
    }
}

/// The failures that count from now on.
fn describe_failures(
    earlier: &EdgeCredentialStatus,
    generation: Option<i64>,
    outcome: &Outcome,
    versions: &Versions,
) -> Option<Failures> {
    match &outcome.problem {
        Problem::Failed(_, failures) | Problem::BackingOff(failures) => Some(failures.clone()),
        // A right that is missing for a moment is no reason to try anew what was refused for the same spec and credentials.
        Problem::Found(_) => {
            let same = earlier.observed_generation == generation
                && earlier.credentials == versions.credentials;
            earlier.failures.clone().filter(|_| same)
        }
        Problem::None | Problem::Suspended => None,
    }
}

/// The renew request that was acted on, or that the token in the target answers.
fn find_handled_request(object: &EdgeCredential, outcome: &Outcome) -> Option<String> {
    let request = object.renew_request()?;
    let token = outcome.token.as_ref();
    let answered = token.and_then(|token| token.renew_request.as_deref());
    (outcome.requested || answered == Some(request)).then(|| request.into())
}

/// The status of an object that does not fit its type, so that nothing is known of what it asks for. What was last good for
/// the same generation, before the type changed, stays so until the token expires.
pub fn describe_malformed(
    earlier: EdgeCredentialStatus,
    generation: Option<i64>,
    now: Timestamp,
) -> EdgeCredentialStatus {
    let cause = "The stored object does not fit its schema, to which it is older: a field is missing, or of the wrong \
                 type. Correct or delete it. Until then nothing is done about it.";
    let same_spec = earlier.observed_generation == generation;
    let was_ready = conditions::find(&earlier.conditions, ConditionType::Ready)
        .is_some_and(|ready| ready.status == "True");
    let target = earlier.target.as_ref();
    let token = earlier.token.as_ref();
    let valid = token.filter(|token| same_spec && was_ready && now < token.expires_at.0);
    let valid = valid.zip(target).map(|(token, target)| {
        let expires_at = token.expires_at.0;
        describe_validity(&target.name, expires_at)
    });
    let expired = token.filter(|token| token.expires_at.0 <= now);
    let expired = expired.map(describe_expiry);
    let current = in_the_way(valid, expired, (Reason::InvalidSpec, cause.into(), true));
    EdgeCredentialStatus {
        observed_generation: generation,
        conditions: conditions::merge(&earlier.conditions, current, generation, now),
        ..earlier
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;
    use serde_json::json;

    use super::*;
    use crate::{
        edge_credential::{
            rules::spec::check_spec,
            testing::{
                CANARY, allowed, answer, ask_to_renew, at, credentials, failures, object,
                object_with, proven, sound_plan, token, version,
            },
        },
        http::Unreachable,
        oauth::{Defect, Token, TokenError},
        rules::{
            credentials::{CredentialsProblem, Flaw},
            spec::SpecProblem,
            target::TargetProblem,
        },
    };

    const DOWN: TokenError = TokenError::Unreachable(Unreachable::Timeout);

    const REJECTED: TokenError = TokenError::Refused {
        status: 401,
        error: Some("access_denied"),
    };

    fn failed(error: TokenError, count: i32) -> Problem {
        let failures = Failures {
            reason: error.reason(),
            ..failures(count, 60)
        };
        Problem::Failed(Error::RequestToken(error), failures)
    }

    fn target(problem: TargetProblem) -> Problem {
        Problem::Found(Error::Target {
            secret: "edge".into(),
            problem,
        })
    }

    fn outcome(token: Option<Token>, problem: Problem) -> Outcome {
        Outcome::untouched(token.map(proven), problem)
    }

    fn valid() -> Option<Token> {
        Some(token(-1000, 9000))
    }

    fn find(status: &EdgeCredentialStatus, type_: ConditionType) -> (bool, &str, &str) {
        let condition = conditions::find(&status.conditions, type_).unwrap();
        (
            condition.status == "True",
            &condition.reason,
            &condition.message,
        )
    }

    #[test]
    fn ready_tells_of_the_token_and_one_condition_beside_it_who_must_act() {
        use ConditionType::{Reconciling, Stalled};
        let spec = |field| Error::Spec(SpecProblem::Invalid { field, rule: "is" });
        let missing = |problem| Error::Credentials {
            secret: "edge-client".into(),
            problem,
        };
        let malformed = CredentialsProblem::Malformed {
            key: "client_id".into(),
            flaw: Flaw::Padded,
        };
        let read = |code| Error::ReadSecret {
            secret: "edge".into(),
            source: answer(code, None).into(),
        };
        let written = |code| Error::WriteTarget {
            secret: "edge".into(),
            source: answer(code, None),
        };
        let unusable = |defect| TokenError::Unusable(defect);
        for (token, trouble, ready, reason, expected) in [
            (valid(), Problem::None, true, "TokenValid", None),
            (valid(), Problem::Suspended, true, "Suspended", None),
            (None, Problem::Suspended, false, "Suspended", None),
            (
                None,
                Problem::Found(missing(CredentialsProblem::NotFound)),
                false,
                "CredentialsNotFound",
                Some(Reconciling),
            ),
            (
                None,
                Problem::Found(missing(malformed)),
                false,
                "CredentialsMalformed",
                Some(Stalled),
            ),
            (
                valid(),
                Problem::Found(missing(CredentialsProblem::NotFound)),
                true,
                "RenewalFailing",
                Some(Reconciling),
            ),
            (
                None,
                Problem::Found(spec("spec.tokenRequest.audience")),
                false,
                "InvalidSpec",
                Some(Stalled),
            ),
            (
                None,
                target(TargetProblem::NotOwned),
                false,
                "TargetNotOwned",
                Some(Stalled),
            ),
            (
                None,
                target(TargetProblem::OwnedByAnother),
                false,
                "TargetConflict",
                Some(Stalled),
            ),
            (
                None,
                Problem::Found(read(403)),
                false,
                "RBACMissing",
                Some(Stalled),
            ),
            (
                None,
                failed(DOWN, 1),
                false,
                "TokenEndpointUnavailable",
                Some(Reconciling),
            ),
            (
                valid(),
                failed(DOWN, 1),
                true,
                "RenewalFailing",
                Some(Reconciling),
            ),
            (
                valid(),
                failed(DOWN, 1_000_000),
                true,
                "RenewalFailing",
                Some(Reconciling),
            ),
            (
                None,
                failed(REJECTED, 3),
                false,
                "CredentialsRejected",
                Some(Reconciling),
            ),
            (
                None,
                failed(REJECTED, 4),
                false,
                "CredentialsRejected",
                Some(Stalled),
            ),
            (
                valid(),
                failed(REJECTED, 4),
                true,
                "RenewalStalled",
                Some(Stalled),
            ),
            (
                None,
                failed(TokenError::Redirected { status: 302 }, 1),
                false,
                "RedirectRefused",
                Some(Stalled),
            ),
            (
                None,
                failed(unusable(Defect::UnknownLifetime), 1),
                false,
                "UnknownLifetime",
                Some(Stalled),
            ),
            (
                None,
                Problem::Failed(written(403), failures(9, 60)),
                false,
                "TargetWriteForbidden",
                Some(Reconciling),
            ),
        ] {
            let object = object();
            let outcome = outcome(token, trouble);
            let status = describe_status(&object, &outcome, at(0));
            let row = format!("{outcome:?}\n{status:#?}");
            let (is_ready, of_ready, _) = find(&status, ConditionType::Ready);
            assert_eq!((is_ready, of_ready), (ready, reason), "{row}");
            // What does not hold is not there, and never are both.
            let beside: Vec<_> = status
                .conditions
                .iter()
                .filter(|condition| condition.type_ != ConditionType::Ready.as_str())
                .map(|condition| (&*condition.type_, &*condition.status))
                .collect();
            let expected: Vec<_> = expected
                .iter()
                .map(|type_| (type_.as_str(), "True"))
                .collect();
            assert_eq!(beside, expected, "{row}");
            assert_eq!(status.token.is_some(), ready, "{row}");
            assert_eq!(
                status.observed_generation, object.metadata.generation,
                "{row}"
            );
        }
    }

    #[test]
    fn an_object_that_does_not_fit_its_schema_is_told_of_and_keeps_what_was_known_of_it() {
        let object = object();
        let earlier = describe_status(&object, &outcome(valid(), Problem::None), at(0));
        let told = describe_malformed(earlier.clone(), Some(7), at(60));
        assert_eq!(told.observed_generation, Some(7));
        assert_eq!(
            (told.token.clone(), told.target.clone()),
            (earlier.token, earlier.target)
        );
        let cause = "The stored object does not fit its schema";
        for (type_, holds) in [
            (ConditionType::Ready, false),
            (ConditionType::Stalled, true),
        ] {
            let (found, reason, message) = find(&told, type_);
            assert_eq!((found, reason), (holds, "InvalidSpec"), "{type_:?}");
            assert!(message.starts_with(cause), "{message}");
        }
        assert_eq!(
            describe_malformed(told.clone(), Some(7), at(120)),
            told,
            "said once"
        );
    }

    #[test]
    fn an_object_whose_type_changed_stays_ready_for_the_generation_that_was_until_its_token_expires()
     {
        let object = object();
        let good = describe_status(&object, &outcome(valid(), Problem::None), at(0));
        let told = |status: &EdgeCredentialStatus| {
            let ready = find(status, ConditionType::Ready);
            let stalled = find(status, ConditionType::Stalled);
            assert_eq!((stalled.0, stalled.1), (true, "InvalidSpec"));
            (ready.0, ready.1.to_owned())
        };
        let of_the_same = describe_malformed(good.clone(), Some(1), at(60));
        assert_eq!(told(&of_the_same), (true, "RenewalStalled".into()));
        let message = find(&of_the_same, ConditionType::Ready).2;
        let start = "The Secret \"edge\" holds a token that is valid until 2027-01-15T10:30:00Z. It is not renewed: The";
        assert!(message.starts_with(start), "{message}");
        assert_eq!(
            describe_malformed(of_the_same.clone(), Some(1), at(8999)),
            of_the_same
        );
        let expired = describe_malformed(of_the_same, Some(1), at(9000));
        assert_eq!(told(&expired), (false, "TokenExpired".into()));

        let of_the_next = describe_malformed(good, Some(2), at(60));
        assert_eq!(told(&of_the_next), (false, "InvalidSpec".into()));
        assert_eq!(
            describe_malformed(of_the_next.clone(), Some(2), at(120)),
            of_the_next
        );
    }

    /// An error that says nothing of the token in the target.
    fn unreadable() -> Problem {
        Problem::Found(Error::ReadSecret {
            secret: "edge".into(),
            source: answer(403, None).into(),
        })
    }

    #[test]
    fn a_token_that_cannot_be_read_counts_until_it_expires_and_only_for_the_spec_it_was_seen_for() {
        let mut object = object();
        // From -1000 to 9000.
        object.status = Some(describe_status(
            &object,
            &outcome(valid(), Problem::None),
            at(0),
        ));
        let ready = |object: &EdgeCredential, trouble, now| {
            let told = describe_status(object, &outcome(None, trouble), at(now));
            (find(&told, ConditionType::Ready).0, told.token.is_some())
        };
        for trouble in [unreadable, || Problem::Found(Error::Panicked)] {
            assert_eq!(ready(&object, trouble(), 60), (true, true));
            assert_eq!(ready(&object, trouble(), 8999), (true, true));
            // What is known of it stays, but it is not valid.
            assert_eq!(ready(&object, trouble(), 9000), (false, true));
            assert_eq!(ready(&object, trouble(), 9001), (false, true));
        }
        // A target that was read is known not to hold it.
        let read = || target(TargetProblem::NotOwned);
        assert_eq!(ready(&object, read(), 60), (false, false));
        assert_eq!(ready(&object, failed(DOWN, 1), 60), (false, false));
        object.metadata.generation = Some(2);
        assert_eq!(ready(&object, unreadable(), 60), (false, false));
    }

    #[test]
    fn a_target_that_cannot_be_judged_counts_while_it_is_there_for_the_spec_it_was_last_good_for() {
        let good = object();
        let status = describe_status(&good, &outcome(valid(), Problem::None), at(0));
        let ready = |spec, generation, is_there: bool, now| {
            let mut object = object_with(spec);
            object.metadata.generation = Some(generation);
            object.status = Some(status.clone());
            let problem = check_spec(&object, &allowed()).unwrap_err();
            let mut outcome = outcome(None, Problem::Found(Error::Spec(problem)));
            outcome.versions = Some(Versions {
                credentials: None,
                target: is_there.then(|| version("100")),
            });
            let told = describe_status(&object, &outcome, at(now));
            find(&told, ConditionType::Ready).1.to_owned()
        };
        let (stalled, invalid, expired) = ("RenewalStalled", "InvalidSpec", "TokenExpired");
        // A rule that is newer than the object, whose spec is the one that was good.
        for request in [
            json!({"audience": "\u{e9}"}),
            json!({"scopes": ["a b"]}),
            json!({"extraParameters": {"scope": "x"}}),
            json!({"url": "https://user@auth.sitecorecloud.io/"}),
        ] {
            let spec = json!({"tokenRequest": request});
            assert_eq!(ready(spec.clone(), 1, true, 60), stalled, "{spec}");
            assert_eq!(ready(spec.clone(), 1, false, 60), invalid, "{spec}");
            assert_eq!(ready(spec.clone(), 2, true, 60), invalid, "{spec}");
            assert_eq!(ready(spec.clone(), 1, true, 9000), expired, "{spec}");
        }
        // Where it can be judged, it was: there is no token for it.
        let elsewhere = json!({"tokenRequest": {"url": "https://evil.example/"}});
        assert_eq!(ready(elsewhere, 1, true, 60), "TokenOriginNotAllowed");
        let label = json!({"target": {"labels": {"a..b/c": "x"}}});
        assert_eq!(ready(label, 1, true, 60), invalid);
    }

    #[test]
    fn failures_stay_counted_while_something_else_is_in_the_way_of_the_same_spec() {
        let mut object = object();
        let mut counted = failures(2, 60);
        counted.reason = Reason::CredentialsRejected;
        let refused = Problem::Failed(Error::RequestToken(REJECTED), counted.clone());
        object.status = Some(describe_status(&object, &outcome(None, refused), at(0)));
        let told =
            |object: &EdgeCredential| describe_status(object, &outcome(None, unreadable()), at(1));
        assert_eq!(told(&object).failures, Some(counted));
        object.metadata.generation = Some(2);
        assert_eq!(told(&object).failures, None);
    }

    #[test]
    fn only_an_attempt_is_told_as_one() {
        let end = |error| {
            let trouble = Problem::Failed(error, failures(3, 60));
            let told = describe_status(&object(), &outcome(None, trouble), at(0));
            find(&told, ConditionType::Reconciling).2.to_owned()
        };
        let attempt = "Attempt 3 failed; the next one is at 2027-01-15T08:01:00Z.";
        let rejected = end(Error::RequestToken(REJECTED));
        assert!(rejected.ends_with(attempt), "{rejected}");
        let waits = end(Error::HeldBack(TokenError::RateLimited { quota: None }));
        let next = "The next attempt is at 2027-01-15T08:01:00Z.";
        assert!(
            waits.ends_with(next) && !waits.contains("failed;"),
            "{waits}"
        );
        // When is for the line to say.
        let in_line = end(Error::RequestToken(DOWN));
        assert!(
            !in_line.contains("attempt is at") && !in_line.contains("Attempt"),
            "{in_line}"
        );
    }

    #[test]
    fn the_token_is_described_but_not_shown() {
        let token = valid().unwrap();
        let access_token = token.access_token.expose_secret().to_owned();
        let object = object_with(json!({"target": {"name": "token"}}));
        let status = describe_status(&object, &outcome(Some(token), Problem::None), at(0));
        let text = serde_json::to_string(&status).unwrap();
        for part in access_token.split('.') {
            assert!(!text.contains(part));
        }
        let described = status.token.unwrap();
        assert_eq!(described.issued_at.0, at(-1000));
        assert_eq!(described.expires_at.0, at(9000));
        assert!(at(-1000) < described.renew_at.0 && described.renew_at.0 < at(9000));
        assert_eq!(described.audience, "https://api.sitecorecloud.io");
        assert_eq!(described.scope.as_deref(), Some("edge.admin:manage"));
        assert_eq!(described.tenant_id.as_deref(), Some("tenant-1"));
        assert_eq!(described.organization_id.as_deref(), Some("org_1"));
        assert_eq!(status.target.unwrap().name, "token");
        assert_eq!(status.observed_generation, Some(1));
    }

    #[test]
    fn messages_are_sentences_that_say_what_comes_next() {
        let object = object();
        let status = describe_status(&object, &outcome(valid(), failed(REJECTED, 2)), at(0));
        let cause = "The token endpoint answered HTTP 401 (access_denied). Attempt 2 failed; the next one is at \
                     2027-01-15T08:01:00Z.";
        assert_eq!(
            find(&status, ConditionType::Ready).2,
            format!(
                "The Secret \"edge\" holds a token that is valid until 2027-01-15T10:30:00Z. Its renewal: {cause}"
            )
        );
        assert_eq!(find(&status, ConditionType::Reconciling).2, cause);
        assert_eq!(
            conditions::find(&status.conditions, ConditionType::Stalled),
            None
        );
        let counted = status.failures.unwrap();
        assert_eq!(
            (counted.count, counted.reason),
            (2, Reason::CredentialsRejected)
        );
    }

    #[test]
    fn a_renewal_that_was_cut_is_told_as_such() {
        let object = object_with(json!({"renewBefore": "59m"}));
        let plan = sound_plan(&object);
        let proven = ProvenToken::new(token(0, 3600), &credentials().client, &object, &plan);
        let outcome = Outcome::untouched(Some(proven), Problem::None);
        let status = describe_status(&object, &outcome, at(0));
        assert_eq!(
            find(&status, ConditionType::Ready).2,
            "The Secret \"edge\" holds a token that is valid until 2027-01-15T09:00:00Z. It is not renewed before it is \
             6m old, though the spec asks for that: each token is billed."
        );
    }

    #[test]
    fn a_token_that_was_given_again_is_told_as_such() {
        let same = proven(token(0, 3600)).given_again();
        let outcome = Outcome::untouched(Some(same), Problem::None);
        let status = describe_status(&object(), &outcome, at(0));
        let message = find(&status, ConditionType::Ready).2;
        assert!(message.contains("gave the same token again"), "{message}");
        assert_eq!(status.token.unwrap().renew_at.0, at(3600));
    }

    #[test]
    fn a_token_that_expired_is_told_with_the_cause_of_its_not_being_renewed() {
        let mut object = object();
        object.status = Some(describe_status(
            &object,
            &outcome(valid(), failed(DOWN, 1)),
            at(0),
        ));
        let later = describe_status(&object, &outcome(None, failed(DOWN, 2)), at(9000));
        let (ready, reason, message) = find(&later, ConditionType::Ready);
        assert!(!ready);
        assert_eq!(reason, "TokenExpired");
        assert!(
            message
                .starts_with("The token expired at 2027-01-15T10:30:00Z. The token endpoint did"),
            "{message}"
        );
        assert_eq!(
            find(&later, ConditionType::Reconciling).1,
            "TokenEndpointUnavailable"
        );
        let described = later.token.as_ref().unwrap();
        assert_eq!(described.expires_at.0, at(9000));
        assert_eq!(later.target.as_ref().unwrap().name, "edge");

        object.status = Some(later);
        let renewed = Some(token(9001, 19_000));
        let healed = describe_status(&object, &outcome(renewed, Problem::None), at(9001));
        assert_eq!(find(&healed, ConditionType::Ready).1, "TokenValid");
        assert_eq!(healed.failures, None);
    }

    #[test]
    fn a_failure_that_still_stands_is_told_as_before() {
        for (token, error, count) in [
            (None, DOWN, 1),
            (valid(), DOWN, 7),
            (valid(), REJECTED, 9),
            (None, REJECTED, 9),
        ] {
            let mut object = object();
            let first = describe_status(
                &object,
                &outcome(token.clone(), failed(error, count)),
                at(0),
            );
            object.status = Some(first.clone());
            let standing = Problem::BackingOff(first.failures.clone().unwrap());
            let second = describe_status(&object, &outcome(token, standing), at(30));
            assert_eq!(first, second);
        }
        let standing = outcome(None, Problem::BackingOff(failures(3, 60)));
        let lost = describe_status(&object(), &standing, at(0));
        assert_eq!(
            find(&lost, ConditionType::Ready),
            (
                false,
                "TokenEndpointUnavailable",
                "The token endpoint could not be reached, did not answer in time, or answered with a server error. \
                 It is tried again. Attempt 3 failed; the next one is at 2027-01-15T08:01:00Z."
            )
        );
    }

    #[test]
    fn the_same_outcome_makes_the_same_status_whenever_it_is_told() {
        let troubles: [fn() -> Problem; 7] = [
            || Problem::None,
            || Problem::Suspended,
            || target(TargetProblem::Immutable),
            || failed(DOWN, 1),
            || failed(REJECTED, 4),
            || failed(TokenError::Unusable(Defect::WrongAudience), 3),
            || {
                Problem::Found(Error::ReadSecret {
                    secret: "edge".into(),
                    source: answer(403, Some(CANARY)).into(),
                })
            },
        ];
        for earlier in troubles {
            for trouble in troubles {
                for token in [None, valid()] {
                    let mut object = object();
                    ask_to_renew(&mut object, "now");
                    object.status = Some(describe_status(
                        &object,
                        &outcome(valid(), earlier()),
                        at(-500),
                    ));
                    let first = describe_status(&object, &outcome(token.clone(), trouble()), at(0));
                    object.status = Some(first.clone());
                    let second = describe_status(&object, &outcome(token, trouble()), at(5000));
                    assert_eq!(first, second);
                    let text = serde_json::to_string(&second).unwrap();
                    assert!(!text.contains(CANARY), "{text}");
                    assert!(!text.contains(credentials().client.client_secret.expose_secret()));
                }
            }
        }
    }

    #[test]
    fn a_renew_request_is_handled_once_it_was_attempted_or_answered() {
        let mut object = object();
        ask_to_renew(&mut object, "now");
        let mut attempt = outcome(valid(), failed(DOWN, 1));
        let handled = |object: &EdgeCredential, outcome: &Outcome| {
            describe_status(object, outcome, at(0)).last_handled_renew_request
        };
        assert_eq!(handled(&object, &attempt), None);
        attempt.requested = true;
        assert_eq!(handled(&object, &attempt).as_deref(), Some("now"));

        let mut answered = outcome(valid(), Problem::None);
        answered.token.as_mut().unwrap().renew_request = Some("now".into());
        assert_eq!(handled(&object, &answered).as_deref(), Some("now"));
        answered.token.as_mut().unwrap().renew_request = Some("earlier".into());
        assert_eq!(handled(&object, &answered), None);

        // Remembered when the annotation goes.
        object.status = Some(describe_status(&object, &attempt, at(0)));
        object.metadata.annotations = None;
        assert_eq!(handled(&object, &answered).as_deref(), Some("now"));
    }
}
