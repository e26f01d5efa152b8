//! What became of a reconciliation, as the status that people and programs read.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

use super::{
    conditions::describe_conditions,
    ledger::Ledger,
    outcome::{Outcome, Problem},
    survey::Survey,
};
use crate::{
    api::{
        EdgeToken, EdgeTokenStatus, conditions, edge_token::KeyStatus, failures::Failures,
        target::TargetStatus,
    },
    rules::versions::Versions,
};

/// The status that records these attempts, and is the earlier one otherwise. `created_at` is when the key of the current one
/// was made.
pub fn record(
    earlier: &EdgeTokenStatus,
    ledger: &Ledger,
    created_at: Option<Timestamp>,
) -> EdgeTokenStatus {
    let (pending, retired) = ledger.describe();
    let mark = ledger.current.as_ref().map(ToString::to_string);
    let known = earlier.token.as_ref();
    let known = known.filter(|token| Some(&token.mark) == mark.as_ref());
    let token = known.cloned().or_else(|| {
        Some(KeyStatus {
            mark: mark?,
            hash: None,
            tenant_id: None,
            created_at: Time(created_at?),
            rotate_at: None,
            verified_at: None,
        })
    });
    EdgeTokenStatus {
        token,
        pending,
        retired,
        ..earlier.clone()
    }
}

/// The status that follows. Equal to the earlier one where nothing changed: it has no time in it that moves by itself.
pub fn describe_status(object: &EdgeToken, outcome: &Outcome, now: Timestamp) -> EdgeTokenStatus {
    let earlier = object.status.clone().unwrap_or_default();
    let generation = object.metadata.generation;
    let versions = outcome.versions.clone().unwrap_or_else(|| Versions {
        credentials: earlier.credentials.clone(),
        target: earlier.target.as_ref().and_then(TargetStatus::version),
    });
    let created_at = outcome.usable.as_ref().map(|record| record.created_at);
    let recorded = record(&earlier, &outcome.ledger, created_at);
    let current = describe_conditions(object, outcome);
    let has_target = outcome.usable.is_some() || earlier.target.is_some();
    EdgeTokenStatus {
        observed_generation: generation,
        conditions: conditions::merge(&earlier.conditions, current, generation, now),
        token: recorded.token.map(|token| describe_key(token, outcome)),
        failures: describe_failures(&earlier, generation, outcome, &versions),
        credentials: versions.credentials,
        target: has_target.then(|| TargetStatus::new(object.target_name(), versions.target)),
        ..recorded
    }
}

fn describe_key(token: KeyStatus, outcome: &Outcome) -> KeyStatus {
    let current = outcome.ledger.current.as_ref();
    let live = |survey: &Survey| {
        let mark = current?;
        let mut keys = survey.live_keys(mark);
        keys.next().cloned()
    };
    let listed = outcome.survey.as_ref().and_then(live);
    let (hash, tenant_id) = match listed {
        Some(key) => (Some(key.hash), key.tenant_id),
        None => (token.hash, token.tenant_id),
    };
    KeyStatus {
        hash,
        tenant_id,
        rotate_at: outcome.rotate_at.map(Time),
        verified_at: outcome.verified_at.map(Time).or(token.verified_at),
        ..token
    }
}

/// The failures that count from now on.
fn describe_failures(
    earlier: &EdgeTokenStatus,
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
        Problem::None | Problem::Suspended | Problem::Obstacle(..) => None,
    }
}
