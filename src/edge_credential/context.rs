//! What a reconciliation needs beside the object itself.

use std::{sync::Arc, time::Duration};

use super::{
    memory::{FailedCredentials, LookedFor, SeenVersions},
    repairs::Repairs,
};
use crate::{
    api::EdgeCredentialStatus,
    clock::Clock,
    cluster::{
        calls::Calls, rights::Rights, secret_index::SecretIndex, target_locks::TargetLocks,
        written_statuses::WrittenStatuses,
    },
    http::origin::AllowedOrigins,
    traffic::requests::TokenRequests,
};

/// What a reconciliation needs beside the object itself.
pub struct Context {
    pub calls: Calls,
    pub tokens: TokenRequests,
    /// Where client secrets may be sent.
    pub allowed_origins: AllowedOrigins,
    pub clock: Clock,
    /// How long to go without a look at an object, whatever it waits for.
    pub resync_period: Duration,
    pub secrets: Arc<SecretIndex>,
    pub statuses: WrittenStatuses<EdgeCredentialStatus>,
    pub rights: Rights,
    pub target_locks: Arc<TargetLocks>,
    pub failed_credentials: FailedCredentials,
    pub versions: SeenVersions,
    pub looked_for: LookedFor,
    pub repairs: Repairs,
}

impl Context {
    /// A context that remembers nothing yet.
    pub fn new(
        calls: Calls,
        tokens: TokenRequests,
        allowed_origins: AllowedOrigins,
        clock: Clock,
        resync_period: Duration,
        secrets: Arc<SecretIndex>,
        target_locks: Arc<TargetLocks>,
    ) -> Self {
        Self {
            calls,
            tokens,
            allowed_origins,
            clock,
            resync_period,
            secrets,
            statuses: WrittenStatuses::default(),
            rights: Rights::default(),
            target_locks,
            failed_credentials: FailedCredentials::default(),
            versions: SeenVersions::default(),
            looked_for: LookedFor::default(),
            repairs: Repairs::default(),
        }
    }
}
