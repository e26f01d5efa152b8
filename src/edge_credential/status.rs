//! What became of a reconciliation, as the status that people and programs read.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use secrecy::ExposeSecret;

use super::{
    decide::{renew_at, standing_reason},
    error::{Class, Error, Trouble},
    target::ProvenToken,
};
use crate::{
    api::{
        ConditionStatus, ConditionType, EdgeCredential, EdgeCredentialStatus, Reason, conditions,
        edge_credential::{Failures, TargetStatus, TokenStatus},
    },
    oauth::{TOKEN_TYPE, Token, jwt},
};

/// What became of a reconciliation, after everything that could be done was done.
#[derive(Debug)]
pub struct Outcome {
    /// The valid token that the target holds now.
    pub token: Option<ProvenToken>,
    /// What keeps the object from being all right.
    pub trouble: Trouble,
    /// Whether a renew request was acted on, if there is one.
    pub attempted: bool,
}

/// The status that follows. Equal to the earlier one where nothing changed: it has no time in it that moves by itself.
pub fn status(object: &EdgeCredential, outcome: &Outcome, now: Timestamp) -> EdgeCredentialStatus {
    let earlier = object.status.clone().unwrap_or_default();
    let token = outcome.token.as_ref();
    let lapsed = earlier
        .token
        .as_ref()
        .filter(|token| token.expires_at.0 <= now);
    let generation = object.metadata.generation;
    let current = current(object, outcome, lapsed);
    let handled = object
        .renew_request()
        .filter(|request| {
            outcome.attempted
                || token.is_some_and(|token| token.renew_request.as_deref() == Some(request))
        })
        .map(Into::into);
    EdgeCredentialStatus {
        observed_generation: generation,
        conditions: conditions::merge(&earlier.conditions, current, generation, now),
        // An expired token stays in the target, so what is known of it stays in the status.
        token: token
            .map(|token| describe(object, &token.token))
            .or(lapsed.cloned()),
        target: (token.is_some() || earlier.target.is_some()).then(|| TargetStatus {
            name: object.target_name().into(),
        }),
        failures: match &outcome.trouble {
            Trouble::Failed(_, failures) | Trouble::Standing(failures) => Some(failures.clone()),
            Trouble::None | Trouble::Suspended | Trouble::Found(_) => None,
        },
        last_handled_renew_request: handled.or(earlier.last_handled_renew_request),
    }
}

fn describe(object: &EdgeCredential, token: &Token) -> TokenStatus {
    let claims = jwt::claims(token.access_token.expose_secret());
    let claim =
        |claim: fn(&jwt::Claims) -> Option<&str>| claims.as_ref().and_then(claim).map(Into::into);
    TokenStatus {
        issued_at: Time(token.issued_at),
        expires_at: Time(token.expires_at),
        renew_at: Time(renew_at(object, token)),
        audience: object.spec.audience.clone(),
        scope: token.scope.clone(),
        token_type: TOKEN_TYPE.into(),
        tenant_id: claim(jwt::Claims::tenant_id),
        organization_id: claim(jwt::Claims::organization_id),
    }
}

/// The three conditions. `Ready` tells whether the target can be used, also while its renewal fails; `Reconciling` and
/// `Stalled` tell who has to act next.
fn current(
    object: &EdgeCredential,
    outcome: &Outcome,
    lapsed: Option<&TokenStatus>,
) -> [ConditionStatus; 3] {
    let valid = outcome.token.as_ref().map(|token| {
        format!(
            "The Secret \"{}\" holds a token that is valid until {}.",
            object.target_name(),
            token.token.expires_at
        )
    });
    let (reason, cause, stalled) = match &outcome.trouble {
        Trouble::None => {
            let message = valid.unwrap_or_else(|| "There is no token yet.".into());
            return conditions(outcome.token.is_some(), Reason::TokenValid, message, None);
        }
        Trouble::Suspended => {
            let suspended = "Suspended by spec.suspend: nothing is requested or written.";
            let message = valid.map_or(suspended.into(), |valid| format!("{suspended} {valid}"));
            return conditions(outcome.token.is_some(), Reason::Suspended, message, None);
        }
        Trouble::Found(error) => {
            let reason = error.reason();
            (reason, sentence(error), Class::of(reason).is_stalled(0))
        }
        Trouble::Failed(error, failures) => {
            let reason = error.reason();
            let cause = format!(
                "{} Attempt {} failed; the next one is at {}.",
                sentence(error),
                failures.count,
                failures.next_attempt_at.0
            );
            (reason, cause, Class::of(reason).is_stalled(failures.count))
        }
        Trouble::Standing(failures) => {
            let reason = standing_reason(object);
            let stalled = Class::of(reason).is_stalled(failures.count);
            (reason, standing_message(object, failures), stalled)
        }
    };
    let blocker = Some((reason, cause.clone(), stalled));
    match (valid, lapsed) {
        (Some(valid), _) => conditions(
            true,
            Reason::TokenValid,
            format!("{valid} Its renewal: {cause}"),
            blocker,
        ),
        (None, Some(lapsed)) => {
            let message = format!("The token expired at {}. {cause}", lapsed.expires_at.0);
            conditions(false, Reason::TokenExpired, message, blocker)
        }
        (None, None) => conditions(false, reason, cause, blocker),
    }
}

fn conditions(
    ready: bool,
    reason: Reason,
    message: String,
    blocker: Option<(Reason, String, bool)>,
) -> [ConditionStatus; 3] {
    let condition = |type_, holds, reason, message| ConditionStatus {
        type_,
        holds,
        reason,
        message,
    };
    let (reconciling, stalled) = match blocker {
        Some((reason, cause, stalled)) => (
            condition(ConditionType::Reconciling, !stalled, reason, cause.clone()),
            condition(ConditionType::Stalled, stalled, reason, cause),
        ),
        None => (
            condition(
                ConditionType::Reconciling,
                false,
                reason,
                "Nothing is under way.".into(),
            ),
            condition(
                ConditionType::Stalled,
                false,
                reason,
                "Nothing is in the way.".into(),
            ),
        ),
    };
    [
        condition(ConditionType::Ready, ready, reason, message),
        reconciling,
        stalled,
    ]
}

/// The cause that the status already gives: it is not repeated from an error, because the error is gone.
fn standing_message(object: &EdgeCredential, failures: &Failures) -> String {
    let conditions = object
        .status
        .as_ref()
        .map_or(&[][..], |status| &status.conditions);
    [ConditionType::Stalled, ConditionType::Reconciling]
        .into_iter()
        .filter(|type_| conditions::holds(conditions, *type_))
        .find_map(|type_| conditions::find(conditions, type_))
        .map_or_else(
            || {
                format!(
                    "Attempt {} failed; the next one is at {}.",
                    failures.count, failures.next_attempt_at.0
                )
            },
            |condition| condition.message.clone(),
        )
}

/// An error as a sentence.
fn sentence(error: &Error) -> String {
    let text = error.to_string();
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_ascii_uppercase());
    format!(
        "{}{}.",
        first.into_iter().collect::<String>(),
        chars.as_str()
    )
}
