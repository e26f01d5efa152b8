//! The tokens that this process knows, each until it expires.

use std::collections::HashMap;

use aws_lc_rs::digest;
use k8s_openapi::jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use super::keys::{Inputs, RenewHash};
use crate::{cluster::object_key::ObjectKey, oauth::Token};

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
    /// Without the token itself where that is in a Secret.
    token: Token,
    written: Option<Box<WrittenToken>>,
    answers: Box<[RenewHash]>,
}

/// A token that this process wrote to a Secret, where it takes no memory: otherwise it is a kilobyte for each object. It is
/// known by its hash, so that whoever can change the Secret cannot give another one to others.
#[derive(Clone, Debug)]
pub struct WrittenToken {
    /// The Secret.
    pub key: ObjectKey,
    hash: [u8; 32],
}

impl WrittenToken {
    /// Whether this is the token itself.
    pub fn is(&self, access_token: &SecretString) -> bool {
        self.hash == hash(access_token)
    }
}

fn hash(access_token: &SecretString) -> [u8; 32] {
    let mut hash = [0; 32];
    let text = access_token.expose_secret().as_bytes();
    hash.copy_from_slice(digest::digest(&digest::SHA256, text).as_ref());
    hash
}

impl Tokens {
    /// Keeps a token, and which renew requests it answers.
    pub fn keep(&mut self, inputs: Inputs, token: &Token, answers: Vec<RenewHash>, now: Timestamp) {
        if self.kept.len() >= self.sweep_at.max(SWEEP_MINIMUM) {
            self.kept.retain(|_, kept| kept.token.is_valid(now));
            self.sweep_at = self.kept.len() * 2;
        }
        let kept = Kept {
            token: token.clone(),
            written: None,
            answers: answers.into(),
        };
        self.kept.insert(inputs, kept);
    }

    /// Takes a token out of memory that was written to a Secret.
    pub fn leave_in(&mut self, inputs: &Inputs, token: &Token, key: ObjectKey) {
        let Some(kept) = self.kept.get_mut(inputs) else {
            return;
        };
        let hash = hash(&token.access_token);
        let written = kept.written.as_ref();
        let earlier =
            written.map_or_else(|| self::hash(&kept.token.access_token), |kept| kept.hash);
        if hash == earlier {
            kept.token.access_token = String::new().into();
            kept.written = Some(Box::new(WrittenToken { key, hash }));
        }
    }

    /// Puts a token back into memory that was read from its Secret; `None` where it is not there any more.
    pub fn take_back(&mut self, inputs: &Inputs, access_token: Option<SecretString>) {
        match (self.kept.get_mut(inputs), access_token) {
            (Some(kept), Some(access_token)) => {
                kept.token.access_token = access_token;
                kept.written = None;
            }
            _ => {
                self.kept.remove(inputs);
            }
        }
    }

    /// Forgets a token.
    pub fn forget(&mut self, inputs: &Inputs) {
        self.kept.remove(inputs);
    }

    /// The valid token for these inputs, if there is one in memory.
    pub fn valid(&self, inputs: &Inputs, now: Timestamp) -> Option<&Token> {
        let kept = self.kept.get(inputs)?;
        Some(&kept.token).filter(|token| kept.written.is_none() && token.is_valid(now))
    }

    /// The valid token for these inputs that is in a Secret, with its times, and without the token itself.
    pub fn written(&self, inputs: &Inputs, now: Timestamp) -> Option<(&WrittenToken, &Token)> {
        let kept = self.kept.get(inputs)?;
        let written = kept.written.as_ref()?;
        kept.token.is_valid(now).then_some((written, &kept.token))
    }

    /// Whether the token for these inputs answers a renew request.
    pub fn answers(&self, inputs: &Inputs, renew_request: &RenewHash) -> bool {
        let kept = self.kept.get(inputs);
        kept.is_some_and(|kept| kept.answers.contains(renew_request))
    }
}
