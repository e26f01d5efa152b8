//! The tokens that this process knows, each until it expires, and no longer than a month; of those that are for calls alone, and that
//! nobody uses, the ones that were used last.

use std::collections::{BTreeMap, HashMap, HashSet};

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

/// How many tokens for calls stay in memory that nobody uses. One that is gone costs a request when it is needed again, which is
/// seldom, and takes more than a kilobyte meanwhile.
const UNUSED: usize = 256;

/// Tokens by what they were requested with.
#[derive(Default)]
pub struct Tokens {
    kept: HashMap<Inputs, Kept>,
    /// How many may be kept before the expired ones are removed.
    sweep_at: usize,
    /// The objects that use a token for calls.
    users: HashMap<ObjectKey, Inputs>,
    /// The tokens for calls that nobody uses, by the time since when that is so. Some may have gone.
    unused: BTreeMap<u64, Inputs>,
    /// Counts ends of uses.
    count: u64,
}

/// A token, and the renew requests that it answers.
struct Kept {
    token: Place,
    answers: Box<[RenewHash]>,
}

/// Where a token is.
enum Place {
    /// In memory, until it is written to a Secret.
    Memory(Box<Token>),
    Secret(Box<WrittenToken>),
    /// In memory, as long as it is needed for calls.
    Calls(Box<ForCalls>),
}

/// A token for calls.
struct ForCalls {
    token: Token,
    /// Where else it is.
    written: Option<WrittenToken>,
    users: HashSet<ObjectKey>,
    /// Where it is in the order of those that nobody uses.
    unused_since: u64,
}

impl Kept {
    /// Whether it is valid, and not older than a token may be here.
    fn counts(&self, now: Timestamp) -> bool {
        let token = match &self.token {
            Place::Memory(token) => token,
            Place::Secret(written) => &written.token,
            Place::Calls(for_calls) => &for_calls.token,
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

impl ForCalls {
    fn new(token: Token, written: Option<WrittenToken>) -> Self {
        Self {
            token,
            written,
            users: HashSet::new(),
            unused_since: 0,
        }
    }
}

impl Tokens {
    /// Keeps a token that is going to be written to a Secret, and which renew requests it answers.
    pub fn keep(&mut self, inputs: Inputs, token: &Token, answers: Vec<RenewHash>, now: Timestamp) {
        self.sweep(now);
        let kept = Kept {
            token: Place::Memory(Box::new(token.clone())),
            answers: answers.into(),
        };
        self.kept.insert(inputs, kept);
    }

    /// Keeps a token that was requested for calls alone.
    pub fn keep_for_calls(&mut self, inputs: Inputs, token: &Token, now: Timestamp) {
        self.sweep(now);
        let kept = Kept {
            token: Place::Calls(Box::new(ForCalls::new(token.clone(), None))),
            answers: Box::default(),
        };
        self.kept.insert(inputs, kept);
        self.note_unused(&inputs);
    }

    fn sweep(&mut self, now: Timestamp) {
        if self.kept.len() >= self.sweep_at.max(SWEEP_MINIMUM) {
            self.kept.retain(|_, kept| kept.counts(now));
            self.sweep_at = self.kept.len() * 2;
        }
    }

    /// Notes that an object uses a token for calls, until that [`ends`](Self::end_use).
    pub fn begin_use(&mut self, inputs: &Inputs, object: &ObjectKey) {
        if self.users.get(object) != Some(inputs) {
            self.end_use(object);
            self.users.insert(object.clone(), *inputs);
        }
        if let Some(for_calls) = self.for_calls(inputs) {
            for_calls.users.insert(object.clone());
            let unused_since = for_calls.unused_since;
            self.unused.remove(&unused_since);
        }
    }

    /// Notes that an object uses no token for calls any more.
    pub fn end_use(&mut self, object: &ObjectKey) {
        let Some(inputs) = self.users.remove(object) else {
            return;
        };
        if let Some(for_calls) = self.for_calls(&inputs)
            && for_calls.users.remove(object)
            && for_calls.users.is_empty()
        {
            self.note_unused(&inputs);
        }
    }

    /// Notes that a token, which may have been for calls alone, is going to be written to a Secret.
    pub fn keep_for_secret(&mut self, inputs: &Inputs) {
        if let Some(kept) = self.kept.get_mut(inputs)
            && let Place::Calls(for_calls) = &kept.token
        {
            kept.token = Place::Memory(Box::new(for_calls.token.clone()));
        }
    }

    fn for_calls(&mut self, inputs: &Inputs) -> Option<&mut ForCalls> {
        match &mut self.kept.get_mut(inputs)?.token {
            Place::Calls(for_calls) => Some(for_calls),
            Place::Memory(_) | Place::Secret(_) => None,
        }
    }

    /// Notes that nobody uses a token for calls, and takes the one out of memory that has been so for longest, if there are too many.
    fn note_unused(&mut self, inputs: &Inputs) {
        self.count += 1;
        let count = self.count;
        if let Some(for_calls) = self.for_calls(inputs) {
            for_calls.unused_since = count;
            self.unused.insert(count, *inputs);
        }
        while self.unused.len() > UNUSED
            && let Some((since, oldest)) = self.unused.pop_first()
        {
            self.take_out(&oldest, since);
        }
    }

    /// Takes a token out of memory that nobody has used since then for calls.
    fn take_out(&mut self, inputs: &Inputs, since: u64) {
        let for_calls = self.for_calls(inputs);
        let Some(for_calls) = for_calls.filter(|known| known.unused_since == since) else {
            return;
        };
        match for_calls.written.take() {
            Some(written) => self.put(inputs, Place::Secret(Box::new(written))),
            None => self.forget(inputs),
        }
    }

    fn put(&mut self, inputs: &Inputs, place: Place) {
        if let Some(kept) = self.kept.get_mut(inputs) {
            kept.token = place;
        }
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
            Place::Calls(for_calls) => self::hash(&for_calls.token.access_token),
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
        if let Some((token, _)) = self.restore(inputs, access_token) {
            self.put(inputs, Place::Memory(Box::new(token)));
        }
    }

    /// The same for calls: it leaves memory again.
    pub fn take_back_for_calls(&mut self, inputs: &Inputs, access_token: Option<SecretString>) {
        if let Some((token, written)) = self.restore(inputs, access_token) {
            let for_calls = ForCalls::new(token, Some(written));
            self.put(inputs, Place::Calls(Box::new(for_calls)));
            self.note_unused(inputs);
        }
    }

    /// The token that was written, if it is the one that was read. Where none was, it is forgotten.
    fn restore(
        &mut self,
        inputs: &Inputs,
        access_token: Option<SecretString>,
    ) -> Option<(Token, WrittenToken)> {
        let Place::Secret(written) = &self.kept.get(inputs)?.token else {
            return None;
        };
        let Some(access_token) = access_token else {
            self.forget(inputs);
            return None;
        };
        // Another one that was read is the one before that.
        written.is(&access_token).then(|| {
            let times = written.token.clone();
            let token = Token {
                access_token,
                ..times
            };
            (token, (**written).clone())
        })
    }

    /// Forgets a token.
    pub fn forget(&mut self, inputs: &Inputs) {
        self.kept.remove(inputs);
    }

    /// The valid token for these inputs, if there is one in memory.
    pub fn valid(&self, inputs: &Inputs, now: Timestamp) -> Option<&Token> {
        match &self.counting(inputs, now)?.token {
            Place::Memory(token) => Some(token),
            Place::Calls(for_calls) => Some(&for_calls.token),
            Place::Secret(_) => None,
        }
    }

    /// The valid token for these inputs that is in a Secret alone.
    pub fn written(&self, inputs: &Inputs, now: Timestamp) -> Option<&WrittenToken> {
        match &self.counting(inputs, now)?.token {
            Place::Secret(written) => Some(written),
            Place::Memory(_) | Place::Calls(_) => None,
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
    use crate::api::EdgeToken;

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

    fn inputs(number: usize) -> Inputs {
        let mut inputs = [9; 32];
        inputs[..8].copy_from_slice(&number.to_be_bytes());
        inputs
    }

    fn user(number: usize) -> ObjectKey {
        ObjectKey::new::<EdgeToken>("shop", format!("edge-{number}"))
    }

    /// Others, each with a token of its own that it has used for calls.
    fn pass(tokens: &mut Tokens, others: impl Iterator<Item = usize>) {
        for number in others {
            let inputs = inputs(number);
            tokens.keep_for_calls(inputs, &token("another"), at(0));
            tokens.begin_use(&inputs, &user(number));
            tokens.end_use(&user(number));
        }
    }

    #[test]
    fn a_token_for_calls_leaves_memory_once_nobody_uses_it_and_many_were_used_since() {
        let mut tokens = Tokens::default();
        pass(&mut tokens, 1..=UNUSED);
        assert!(tokens.valid(&inputs(1), at(0)).is_some());
        // It is used again, so that another one is the oldest.
        tokens.begin_use(&inputs(1), &user(1));
        tokens.end_use(&user(1));
        pass(&mut tokens, UNUSED + 1..=UNUSED + 1);
        assert!(tokens.valid(&inputs(1), at(0)).is_some());
        assert!(tokens.valid(&inputs(2), at(0)).is_none());
        pass(&mut tokens, UNUSED + 2..=3 * UNUSED);
        assert_eq!(tokens.kept.len(), UNUSED);
        assert!(tokens.unused.len() == UNUSED && tokens.users.is_empty());
    }

    #[test]
    fn a_token_for_calls_stays_in_memory_while_anybody_uses_it() {
        let mut tokens = Tokens::default();
        tokens.keep_for_calls(INPUTS, &token("one"), at(0));
        tokens.begin_use(&INPUTS, &user(1));
        tokens.begin_use(&INPUTS, &user(2));
        tokens.begin_use(&INPUTS, &user(2));
        tokens.end_use(&user(1));
        pass(&mut tokens, 3..2 * UNUSED);
        assert!(tokens.valid(&INPUTS, at(0)).is_some());
        // An object that uses another one does not use this one any more.
        tokens.begin_use(&inputs(3), &user(2));
        pass(&mut tokens, 2 * UNUSED..3 * UNUSED);
        assert!(tokens.valid(&INPUTS, at(0)).is_none());
    }

    #[test]
    fn a_token_that_nobody_came_for_leaves_memory_too() {
        let mut tokens = Tokens::default();
        tokens.keep_for_calls(INPUTS, &token("one"), at(0));
        tokens.keep_for_calls(INPUTS, &token("two"), at(0));
        pass(&mut tokens, 0..UNUSED);
        assert!(tokens.valid(&INPUTS, at(0)).is_none());
    }

    #[test]
    fn a_token_for_calls_that_is_going_to_be_written_too_stays_in_memory_until_then() {
        let mut tokens = Tokens::default();
        tokens.keep_for_calls(INPUTS, &token("one"), at(0));
        tokens.keep_for_secret(&INPUTS);
        pass(&mut tokens, 0..2 * UNUSED);
        assert!(tokens.valid(&INPUTS, at(0)).is_some());
        tokens.leave_in(&INPUTS, &token("one"), key());
        assert!(tokens.written(&INPUTS, at(0)).is_some());
    }

    #[test]
    fn a_token_that_was_read_from_its_secret_for_calls_is_there_alone_again_afterwards() {
        let mut tokens = kept();
        tokens.leave_in(&INPUTS, &token("one"), key());
        tokens.take_back_for_calls(&INPUTS, Some("another".into()));
        assert!(tokens.valid(&INPUTS, at(0)).is_none());
        tokens.take_back_for_calls(&INPUTS, Some("one".into()));
        tokens.begin_use(&INPUTS, &user(1));
        pass(&mut tokens, 2..2 * UNUSED);
        let valid = tokens.valid(&INPUTS, at(0)).unwrap();
        assert_eq!(valid.access_token.expose_secret(), "one");
        tokens.end_use(&user(1));
        pass(&mut tokens, 2 * UNUSED..3 * UNUSED);
        assert!(tokens.valid(&INPUTS, at(0)).is_none());
        let written = tokens.written(&INPUTS, at(0)).unwrap();
        assert!(written.key == key() && written.is(&"one".into()));
        assert!(tokens.answers(&INPUTS, &[7; 32]));

        tokens.take_back_for_calls(&INPUTS, None);
        assert!(
            !tokens.kept.contains_key(&INPUTS),
            "it is not there any more"
        );
    }
}
