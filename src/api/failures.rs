//! Failed attempts, counted in status.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::reason;

/// Counts failed attempts in a row, so that a restarted operator keeps waiting instead of trying everything at once.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Failures {
    /// How many attempts in a row failed.
    #[schemars(range(min = 1, max = 2147483647))]
    pub count: i32,
    /// The reason of the last of them. Conditions may give another one, when something else is in the way by now.
    pub reason: reason::Reason,
    /// When the last of them was made.
    pub last_attempt_at: Time,
    /// When the next one is made. A changed spec, changed credentials or a renew request bring it forward.
    pub next_attempt_at: Time,
}
