//! What this process remembers of EdgeTokens. All of it may be lost: that costs calls, and at most one key.

use std::collections::HashMap;

use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;

use super::rules::{
    events::{key_kept, key_not_revoked},
    judge::{Remembered, has_finalizer, revocable},
    ledger::Ledger,
    mark::Mark,
};
use crate::{
    api::EdgeToken,
    cluster::{object_key::ObjectKey, transition::Transition},
    rules::credentials::Credentials,
};

/// What is remembered of each object.
#[derive(Debug, Default)]
pub struct Memory(Mutex<HashMap<ObjectKey, Memories>>);

/// What is remembered of one object.
#[derive(Clone, Debug, Default)]
pub struct Memories {
    /// The uid of the object. Another one of the same name has nothing to do with it.
    pub uid: Option<String>,
    /// What decisions rest on.
    pub remembered: Remembered,
    /// The credentials as they were read last, of an object whose keys are revoked when it is deleted: its namespace may take the
    /// Secret away first (external-secrets/external-secrets#6773).
    pub credentials: Option<Credentials>,
    /// The credentials of a new object that waits for its turn, and the generation for which they were read. Its turn at the API comes
    /// after the one at the token endpoint, and they are not read again for that.
    pub read: Option<(Option<i64>, Credentials)>,
    /// When the JSON Web Token was issued that an API refused last.
    pub refused_at: Option<Timestamp>,
    /// The marks that the status records.
    pub recorded: Vec<Mark>,
    /// Those of them whose keys were listed as revoked since the object is being deleted.
    pub revoked: Vec<Mark>,
    /// Whether the keys are to be revoked when the object is deleted.
    pub revokes: bool,
    /// What happened in visits that failed in the end, and is still to be told.
    pub untold: Vec<Transition>,
}

impl Memories {
    /// The credentials that were read for this generation of an object that waits.
    pub fn take_read(&mut self, generation: Option<i64>) -> Option<Credentials> {
        let (read_for, credentials) = self.read.take()?;
        (read_for == generation).then_some(credentials)
    }

    /// What there is to say of an object that is gone: what is still to be told, and which of its keys may work on.
    pub fn into_left(self) -> Vec<Transition> {
        let is_left = |mark: &&Mark| !self.revoked.contains(mark);
        let left = self.recorded.iter().filter(is_left);
        let tell = if self.revokes {
            key_not_revoked
        } else {
            key_kept
        };
        self.untold.into_iter().chain(left.map(tell)).collect()
    }
}

impl Memory {
    /// What is remembered of an object.
    pub fn of(&self, key: &ObjectKey, uid: Option<&str>) -> Memories {
        let known = self.0.lock().get(key).cloned();
        known
            .filter(|known| known.uid.as_deref() == uid)
            .unwrap_or_else(|| Memories {
                uid: uid.map(Into::into),
                ..Memories::default()
            })
    }

    /// Remembers this of an object.
    pub fn keep(&self, key: &ObjectKey, memories: Memories) {
        self.0.lock().insert(key.clone(), memories);
    }

    /// Remembers which keys an object has by its status, unless more is remembered of it.
    pub fn keep_recorded(&self, key: &ObjectKey, object: &EdgeToken) {
        let uid = object.metadata.uid.as_deref();
        let mut all = self.0.lock();
        let known = all.get(key);
        if known.is_some_and(|known| known.uid.as_deref() == uid) {
            return;
        }
        let ledger = Ledger::of_object(object);
        let memories = Memories {
            uid: uid.map(Into::into),
            recorded: revocable(object, &ledger).cloned().collect(),
            revokes: has_finalizer(object),
            ..Memories::default()
        };
        all.insert(key.clone(), memories);
    }

    /// What is still to be told of an object, and what there is to say of one of the same name that is gone.
    pub fn take_untold(&self, key: &ObjectKey, uid: Option<&str>) -> Vec<Transition> {
        let mut all = self.0.lock();
        match all.get_mut(key) {
            None => Vec::new(),
            Some(known) if known.uid.as_deref() == uid => std::mem::take(&mut known.untold),
            Some(_) => all.remove(key).map(Memories::into_left).unwrap_or_default(),
        }
    }

    /// Keeps what is to be told of an object for a later visit.
    pub fn keep_untold(&self, key: &ObjectKey, uid: Option<&str>, mut untold: Vec<Transition>) {
        untold.dedup();
        if !untold.is_empty() {
            let memories = self.of(key, uid);
            self.keep(key, Memories { untold, ..memories });
        }
    }

    /// Forgets that the keys of an object were listed.
    pub fn forget_survey(&self, key: &ObjectKey) {
        if let Some(memories) = self.0.lock().get_mut(key) {
            memories.remembered.last_survey = None;
        }
    }

    /// Forgets an object that is gone, and returns what was remembered of it.
    pub fn forget(&self, key: &ObjectKey) -> Option<Memories> {
        self.0.lock().remove(key)
    }
}
