//! The tokens that this process knows, each until it expires.

use std::collections::HashMap;

use k8s_openapi::jiff::Timestamp;

use super::keys::{Inputs, RenewHash};
use crate::oauth::Token;

/// Below this number of tokens it is not worth looking for expired ones.
const SWEEP_MINIMUM: usize = 64;

/// Tokens by what they were requested with.
#[derive(Default)]
pub struct Tokens {
    kept: HashMap<Inputs, Kept>,
    /// How many may be kept before the expired ones are removed.
    sweep_at: usize,
}

/// A token, and the renew requests that it answers.
struct Kept {
    token: Token,
    answers: Vec<RenewHash>,
}

impl Tokens {
    /// Keeps a token, and which renew requests it answers.
    pub fn keep(&mut self, inputs: Inputs, token: &Token, answers: Vec<RenewHash>, now: Timestamp) {
        if self.kept.len() >= self.sweep_at.max(SWEEP_MINIMUM) {
            self.kept.retain(|_, kept| kept.token.is_valid(now));
            self.sweep_at = self.kept.len() * 2;
        }
        let token = token.clone();
        self.kept.insert(inputs, Kept { token, answers });
    }

    /// The valid token for these inputs, if there is one.
    pub fn valid(&self, inputs: &Inputs, now: Timestamp) -> Option<&Token> {
        let kept = self.kept.get(inputs)?;
        Some(&kept.token).filter(|token| token.is_valid(now))
    }

    /// Whether the token for these inputs answers a renew request.
    pub fn answers(&self, inputs: &Inputs, renew_request: &RenewHash) -> bool {
        let kept = self.kept.get(inputs);
        kept.is_some_and(|kept| kept.answers.contains(renew_request))
    }
}
