//! What a reconciliation needs beside the object itself.

use std::{sync::Arc, time::Duration};

use super::{memory::Memory, rules::spec::Allowed};
use crate::{
    api::EdgeTokenStatus,
    clock::Clock,
    cluster::{
        calls::Calls, rights::Rights, secret_index::SecretIndex, target_locks::TargetLocks,
        written_statuses::WrittenStatuses,
    },
    edge_api::EdgeApi,
    traffic::requests::TokenRequests,
};

/// What a reconciliation needs beside the object itself.
pub struct Context {
    pub calls: Calls,
    pub tokens: TokenRequests,
    pub api: Box<dyn EdgeApi>,
    /// Where client secrets, and where tokens and keys may be sent.
    pub allowed: Allowed,
    pub clock: Clock,
    /// How long to go without a look at an object, whatever it waits for.
    pub resync_period: Duration,
    pub secrets: Arc<SecretIndex>,
    pub target_locks: Arc<TargetLocks>,
    pub statuses: WrittenStatuses<EdgeTokenStatus>,
    pub rights: Rights,
    pub memory: Memory,
}

impl Context {
    /// A context that remembers nothing yet.
    pub fn new(
        calls: Calls,
        tokens: TokenRequests,
        api: impl EdgeApi,
        allowed: Allowed,
        clock: Clock,
        resync_period: Duration,
        shared: (Arc<SecretIndex>, Arc<TargetLocks>),
    ) -> Self {
        let (secrets, target_locks) = shared;
        Self {
            calls,
            tokens,
            api: Box::new(api),
            allowed,
            clock,
            resync_period,
            secrets,
            target_locks,
            statuses: WrittenStatuses::default(),
            rights: Rights::default(),
            memory: Memory::default(),
        }
    }
}
