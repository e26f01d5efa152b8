//! What this process remembers of EdgeTokens. All of it may be lost: that costs calls, and at most one key.

use std::collections::HashMap;

use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;

use super::rules::{judge::Remembered, mark::Mark};
use crate::{cluster::object_key::ObjectKey, rules::credentials::Credentials};

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
    /// When the JSON Web Token was issued that an API refused last.
    pub refused_at: Option<Timestamp>,
    /// The marks that the status records.
    pub recorded: Vec<Mark>,
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

    /// Forgets that the keys of an object were listed.
    pub fn forget_survey(&self, key: &ObjectKey) {
        if let Some(memories) = self.0.lock().get_mut(key) {
            memories.remembered.last_survey = None;
        }
    }

    /// Forgets an object that is gone, and returns what was remembered.
    pub fn forget(&self, key: &ObjectKey) -> Option<Memories> {
        self.0.lock().remove(key)
    }
}
