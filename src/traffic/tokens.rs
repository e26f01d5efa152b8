//! The tokens that this process knows, each until it expires, and no longer than a month.

use std::collections::HashMap;

use aws_lc_rs::digest;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};

use super::keys::{Inputs, RenewHash};
use crate::{cluster::object_key::ObjectKey, oauth::Token};

/// Below this number of tokens it is not worth looking for expired ones.
const SWEEP_MINIMUM: usize = 64;

/// For how long a token is known at most, whatever its endpoint says: a tenant's own endpoint could otherwise fill the memory
/// for good, with one token after the other. Its Secret has it for as long as it is valid.
const KNOWN_FOR: SignedDuration = SignedDuration::from_hours(32 * 24);

/// Tokens by what they were requested with.
#[derive(Default)]
pub struct Tokens {
    kept: HashMap<Inputs, Kept>,
    /// How many may be kept before the expired ones are removed.
    sweep_at: usize,
}

/// A token, and the renew requests that it answers.
struct Kept {
    token: Place,
    answers: Box<[RenewHash]>,
}

/// Where a token is.
enum Place {
    Memory(Box<Token>),
    Secret(Box<WrittenToken>),
}

impl Kept {
    /// Whether it is valid, and not older than a token may be here.
    fn counts(&self, now: Timestamp) -> bool {
        let token = match &self.token {
            Place::Memory(token) => token,
            Place::Secret(written) => &written.token,
        };
        token.is_valid(now) && now.duration_since(token.issued_at) < KNOWN_FOR
    }
}

/// A token that this process wrote to a Secret, where it takes no memory: otherwise it is a kilobyte for each object. It is
/// known by its hash, so that whoever can change the Secret cannot give another one to others.
#[derive(Clone, Debug)]
pub struct WrittenToken {
    /// The Secret.
    pub key: ObjectKey,
    /// All of the token but itself.
    token: Token,
    hash: [u8; 32],
}

impl WrittenToken {
    /// All of the token but itself.
    pub fn times(&self) -> &Token {
        &self.token
    }

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
            self.kept.retain(|_, kept| kept.counts(now));
            self.sweep_at = self.kept.len() * 2;
        }
        let kept = Kept {
            token: Place::Memory(Box::new(token.clone())),
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
        let known = match &kept.token {
            Place::Memory(token) => self::hash(&token.access_token),
            Place::Secret(written) => written.hash,
        };
        if hash == known {
            let token = Token {
                access_token: String::new().into(),
                ..token.clone()
            };
            kept.token = Place::Secret(Box::new(WrittenToken { key, token, hash }));
        }
    }

    /// Puts a token back into memory that was read from its Secret; `None` where it is not there any more.
    pub fn take_back(&mut self, inputs: &Inputs, access_token: Option<SecretString>) {
        let Some(kept) = self.kept.get_mut(inputs) else {
            return;
        };
        match (&kept.token, access_token) {
            (Place::Secret(written), Some(access_token)) if written.is(&access_token) => {
                kept.token = Place::Memory(Box::new(Token {
                    access_token,
                    ..written.token.clone()
                }));
            }
            (Place::Secret(_), None) => self.forget(inputs),
            // The one that was read is the one before that.
            (Place::Secret(_), Some(_)) | (Place::Memory(_), _) => {}
        }
    }

    /// Forgets a token.
    pub fn forget(&mut self, inputs: &Inputs) {
        self.kept.remove(inputs);
    }

    /// The valid token for these inputs, if there is one in memory.
    pub fn valid(&self, inputs: &Inputs, now: Timestamp) -> Option<&Token> {
        match &self.counting(inputs, now)?.token {
            Place::Memory(token) => Some(token),
            Place::Secret(_) => None,
        }
    }

    /// The valid token for these inputs that is in a Secret.
    pub fn written(&self, inputs: &Inputs, now: Timestamp) -> Option<&WrittenToken> {
        match &self.counting(inputs, now)?.token {
            Place::Secret(written) => Some(written),
            Place::Memory(_) => None,
        }
    }

    fn counting(&self, inputs: &Inputs, now: Timestamp) -> Option<&Kept> {
        self.kept.get(inputs).filter(|kept| kept.counts(now))
    }

    /// Whether the token for these inputs answers a renew request.
    pub fn answers(&self, inputs: &Inputs, renew_request: &RenewHash) -> bool {
        let kept = self.kept.get(inputs);
        kept.is_some_and(|kept| kept.answers.contains(renew_request))
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Secret;

    use super::*;

    const INPUTS: Inputs = [1; 32];

    fn token(text: &str) -> Token {
        Token {
            access_token: text.into(),
            scope: Some("read".into()),
            tenant_id: None,
            organization_id: None,
            issued_at: at(0),
            expires_at: at(100),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn key() -> ObjectKey {
        ObjectKey::new::<Secret>("shop", "edge")
    }

    fn kept() -> Tokens {
        let mut tokens = Tokens::default();
        tokens.keep(INPUTS, &token("one"), vec![[7; 32]], at(0));
        tokens
    }

    #[test]
    fn a_token_that_was_written_is_in_no_memory_and_comes_back_as_it_was() {
        let mut tokens = kept();
        tokens.leave_in(&INPUTS, &token("one"), key());
        assert!(tokens.valid(&INPUTS, at(0)).is_none());
        let written = tokens.written(&INPUTS, at(99)).unwrap().clone();
        assert_eq!(written.key, key());
        assert!(written.times().access_token.expose_secret().is_empty());
        assert!(written.is(&"one".into()) && !written.is(&"two".into()));
        assert!(tokens.answers(&INPUTS, &[7; 32]));
        assert!(tokens.written(&INPUTS, at(100)).is_none(), "it has expired");

        tokens.take_back(&INPUTS, Some("one".into()));
        let valid = tokens.valid(&INPUTS, at(99)).unwrap();
        assert_eq!(valid.access_token.expose_secret(), "one");
        assert_eq!(valid.scope.as_deref(), Some("read"));
        assert!(tokens.written(&INPUTS, at(0)).is_none());
    }

    #[test]
    fn a_token_that_lives_for_years_is_known_for_a_month() {
        let month = KNOWN_FOR.as_secs();
        let long = Token {
            expires_at: at(10 * month),
            ..token("one")
        };
        let mut tokens = Tokens::default();
        tokens.keep(INPUTS, &long, Vec::new(), at(0));
        assert!(tokens.valid(&INPUTS, at(month - 1)).is_some());
        assert!(tokens.valid(&INPUTS, at(month)).is_none());
        tokens.leave_in(&INPUTS, &long, key());
        assert!(tokens.written(&INPUTS, at(month - 1)).is_some());
        assert!(tokens.written(&INPUTS, at(month)).is_none());
        for number in 0..SWEEP_MINIMUM {
            let mut inputs = INPUTS;
            inputs[0] = u8::try_from(number).unwrap() + 100;
            tokens.keep(inputs, &token("another"), Vec::new(), at(month));
        }
        assert!(!tokens.kept.contains_key(&INPUTS));
    }

    #[test]
    fn a_token_that_is_not_where_it_was_written_is_forgotten() {
        let mut tokens = kept();
        tokens.take_back(&INPUTS, None);
        assert!(tokens.valid(&INPUTS, at(0)).is_some(), "it is in memory");
        tokens.leave_in(&INPUTS, &token("one"), key());
        tokens.take_back(&INPUTS, None);
        assert!(tokens.written(&INPUTS, at(0)).is_none() && tokens.kept.is_empty());
    }

    #[test]
    fn a_token_that_was_read_before_it_was_renewed_does_not_take_the_place_of_the_new_one() {
        let mut tokens = kept();
        tokens.leave_in(&INPUTS, &token("one"), key());
        tokens.take_back(&INPUTS, Some("another".into()));
        assert!(tokens.valid(&INPUTS, at(0)).is_none());
        let written = tokens.written(&INPUTS, at(0)).unwrap();
        assert!(written.is(&"one".into()));
    }

    #[test]
    fn another_token_that_was_written_does_not_take_the_place_of_one_in_memory() {
        let mut tokens = kept();
        tokens.leave_in(&INPUTS, &token("two"), key());
        assert!(tokens.valid(&INPUTS, at(0)).is_some());
        tokens.leave_in(&INPUTS, &token("one"), key());
        tokens.leave_in(
            &INPUTS,
            &token("two"),
            ObjectKey::new::<Secret>("shop", "other"),
        );
        assert_eq!(tokens.written(&INPUTS, at(0)).unwrap().key, key());
    }
}
