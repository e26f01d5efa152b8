//! What this process remembers of EdgeTokens. All of it may be lost: that costs calls, and at most one key.

use std::collections::HashMap;

use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;
use secrecy::SecretString;

use super::rules::{
    decide::Made,
    events::{key_kept, key_not_revoked},
    judge::{Remembered, has_finalizer, revocable},
    ledger::Ledger,
    mark::Mark,
    record::Key,
    spec::Fingerprint,
};
use crate::{
    api::EdgeToken,
    cluster::{object_key::ObjectKey, transition::Transition},
    rules::credentials::Credentials,
};

/// What is remembered of each object.
#[derive(Debug, Default)]
pub struct Memory(Mutex<HashMap<ObjectKey, Held>>);

/// What is remembered of one object, as it is held until its next visit. Most have nothing of what only a visit in trouble leaves
/// behind, and its room would be a third of what an object takes.
#[derive(Clone, Debug)]
enum Held {
    AtRest(Box<AtRest>),
    All(Box<Memories>),
}

/// What is remembered of an object at rest. The fields are those of [`Memories`] and [`Remembered`], and marks are their numbers.
#[derive(Clone, Debug)]
struct AtRest {
    uid: Box<str>,
    key: Option<Box<KeyAtRest>>,
    creates_from: Option<Timestamp>,
    last_survey: Option<Timestamp>,
    credentials: Option<Box<Credentials>>,
    recorded: Box<[u64]>,
    revokes: bool,
}

/// The key of an object at rest. The fields are those of [`Key`] and [`Made`].
#[derive(Clone, Debug)]
struct KeyAtRest {
    value: SecretString,
    mark: u64,
    created_at: Timestamp,
    rotate_request: Option<Box<str>>,
    fingerprint: Fingerprint,
}

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

impl Held {
    fn hold(memories: Memories) -> Self {
        AtRest::hold(&memories).map_or_else(
            || Self::All(Box::new(memories)),
            |at_rest| Self::AtRest(Box::new(at_rest)),
        )
    }

    fn uid(&self) -> Option<&str> {
        match self {
            Self::AtRest(held) => Some(&held.uid),
            Self::All(held) => held.uid.as_deref(),
        }
    }

    fn recall(self) -> Memories {
        match self {
            Self::AtRest(held) => held.recall(),
            Self::All(held) => *held,
        }
    }
}

impl AtRest {
    /// `None` where more is remembered.
    fn hold(memories: &Memories) -> Option<Self> {
        let Memories {
            uid: Some(uid),
            remembered:
                Remembered {
                    key,
                    made: None,
                    creates_from,
                    unknown_creations: 0,
                    last_survey,
                    tried_request: None,
                    rests_until: None,
                    probes_from: None,
                },
            credentials,
            read: None,
            refused_at: None,
            recorded,
            revoked,
            revokes,
            untold,
        } = memories
        else {
            return None;
        };
        let mut marks = recorded.iter().chain(key.iter().map(|key| &key.made.mark));
        let is_at_rest =
            revoked.is_empty() && untold.is_empty() && marks.all(|mark| mark.is_for(uid));
        is_at_rest.then(|| Self {
            uid: uid.as_str().into(),
            key: key.as_ref().map(|key| Box::new(KeyAtRest::hold(key))),
            creates_from: *creates_from,
            last_survey: *last_survey,
            credentials: credentials.clone().map(Into::into),
            recorded: recorded.iter().map(Mark::number).collect(),
            revokes: *revokes,
        })
    }

    fn recall(self) -> Memories {
        let mark = |number| Mark::new(&self.uid, number);
        Memories {
            remembered: Remembered {
                key: self.key.map(|key| key.recall(&self.uid)),
                creates_from: self.creates_from,
                last_survey: self.last_survey,
                ..Remembered::default()
            },
            credentials: self.credentials.map(|credentials| *credentials),
            recorded: self.recorded.iter().copied().map(mark).collect(),
            revokes: self.revokes,
            uid: Some(self.uid.into()),
            ..Memories::default()
        }
    }
}

impl KeyAtRest {
    fn hold(key: &Key) -> Self {
        Self {
            value: key.value.clone(),
            mark: key.made.mark.number(),
            created_at: key.made.created_at,
            rotate_request: key.made.rotate_request.as_deref().map(Into::into),
            fingerprint: key.fingerprint,
        }
    }

    fn recall(self, uid: &str) -> Key {
        Key {
            value: self.value,
            made: Made {
                mark: Mark::new(uid, self.mark),
                created_at: self.created_at,
                rotate_request: self.rotate_request.map(Into::into),
            },
            fingerprint: self.fingerprint,
        }
    }
}

impl Memory {
    /// What is remembered of an object.
    pub fn of(&self, key: &ObjectKey, uid: Option<&str>) -> Memories {
        let all = self.0.lock();
        let known = all.get(key).filter(|known| known.uid() == uid);
        known.map_or_else(
            || Memories {
                uid: uid.map(Into::into),
                ..Memories::default()
            },
            |known| known.clone().recall(),
        )
    }

    /// Remembers this of an object.
    pub fn keep(&self, key: &ObjectKey, memories: Memories) {
        self.0.lock().insert(key.clone(), Held::hold(memories));
    }

    /// Remembers which keys an object has by its status, unless more is remembered of it.
    pub fn keep_recorded(&self, key: &ObjectKey, object: &EdgeToken) {
        let uid = object.metadata.uid.as_deref();
        let known = self
            .0
            .lock()
            .get(key)
            .is_some_and(|known| known.uid() == uid);
        if known {
            return;
        }
        let ledger = Ledger::of_object(object);
        let memories = Memories {
            uid: uid.map(Into::into),
            recorded: revocable(object, &ledger).cloned().collect(),
            revokes: has_finalizer(object),
            ..Memories::default()
        };
        self.keep(key, memories);
    }

    /// What is still to be told of an object, and what there is to say of one of the same name that is gone.
    pub fn take_untold(&self, key: &ObjectKey, uid: Option<&str>) -> Vec<Transition> {
        let mut all = self.0.lock();
        match all.get_mut(key) {
            Some(known) if known.uid() == uid => match known {
                Held::AtRest(_) => Vec::new(),
                Held::All(known) => std::mem::take(&mut known.untold),
            },
            _ => {
                let gone = all.remove(key).map(Held::recall);
                gone.map(Memories::into_left).unwrap_or_default()
            }
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
        match self.0.lock().get_mut(key) {
            Some(Held::AtRest(known)) => known.last_survey = None,
            Some(Held::All(known)) => known.remembered.last_survey = None,
            None => {}
        }
    }

    /// Forgets an object that is gone, and returns what was remembered of it.
    pub fn forget(&self, key: &ObjectKey) -> Option<Memories> {
        self.0.lock().remove(key).map(Held::recall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge_token::testing::{UID, at, key_of, object};

    fn at_rest() -> Memories {
        let key = key_of(&object(), 1);
        Memories {
            uid: Some(UID.into()),
            recorded: vec![key.made.mark.clone()],
            remembered: Remembered {
                key: Some(key),
                creates_from: Some(at(60)),
                last_survey: Some(at(1)),
                ..Remembered::default()
            },
            revokes: true,
            ..Memories::default()
        }
    }

    fn in_trouble() -> Memories {
        let at_rest = at_rest();
        Memories {
            remembered: Remembered {
                made: Some(key_of(&object(), 2)),
                unknown_creations: 2,
                ..at_rest.remembered
            },
            refused_at: Some(at(2)),
            untold: vec![key_kept(&Mark::new(UID, 3))],
            ..at_rest
        }
    }

    #[test]
    fn all_that_is_kept_is_known_again() {
        let (memory, key) = (Memory::default(), ObjectKey::of(&object()));
        let of_another = Memories {
            recorded: vec![Mark::new("another", 1)],
            ..at_rest()
        };
        for kept in [at_rest(), in_trouble(), of_another, Memories::default()] {
            let uid = kept.uid.clone();
            memory.keep(&key, kept.clone());
            let known = memory.of(&key, uid.as_deref());
            assert_eq!(format!("{known:?}"), format!("{kept:?}"));
            let of_another = memory.of(&key, Some("another"));
            assert!(of_another.recorded.is_empty() && of_another.remembered.key.is_none());
        }
    }

    #[test]
    fn an_object_at_rest_takes_a_fifth_of_the_room() {
        assert!(matches!(Held::hold(at_rest()), Held::AtRest(_)));
        assert!(matches!(Held::hold(in_trouble()), Held::All(_)));
        assert!(size_of::<AtRest>() * 5 < size_of::<Memories>());
    }

    #[test]
    fn what_is_still_to_be_told_is_told_once_and_a_list_can_be_forgotten() {
        let (memory, key) = (Memory::default(), ObjectKey::of(&object()));
        for kept in [at_rest(), in_trouble()] {
            let untold = kept.untold.clone();
            memory.keep(&key, kept);
            memory.forget_survey(&key);
            let known = memory.of(&key, Some(UID));
            assert_eq!(known.remembered.last_survey, None);
            assert!(known.remembered.key.is_some());
            assert_eq!(memory.take_untold(&key, Some(UID)), untold);
            assert!(memory.take_untold(&key, Some(UID)).is_empty());
        }
        let left = memory.take_untold(&key, Some("another"));
        assert_eq!(left, [key_not_revoked(&Mark::new(UID, 1))]);
        assert!(memory.forget(&key).is_none());
    }
}
