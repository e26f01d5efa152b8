//! Which Secrets there are, and in which versions, as far as a watch shows and calls have answered.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    mem,
    time::Duration,
};

use k8s_openapi::api::core::v1::Secret;
use parking_lot::Mutex;
use serde::{Deserialize, Deserializer};
use tokio::time::Instant;

use super::{object_key::ObjectKey, shared_reads::SharedReads};
use crate::api::credentials::SecretVersion;

/// For how long it is remembered when a Secret was changed. The API server itself forgets after 5 to 10 minutes what was before.
const CHANGED_FOR: Duration = Duration::from_mins(10);

/// A Secret as a watch shows it: everything else that its metadata has is skipped as it comes.
#[derive(Clone, Debug)]
pub struct SeenSecret {
    pub key: ObjectKey,
    pub version: SecretVersion,
    /// Whether its label says that this operator made it.
    pub is_ours: bool,
}

/// Marks a Secret as made by this operator, for people and for selectors.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "edge-credential-operator");

impl<'de> Deserialize<'de> for SeenSecret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Object {
            metadata: Metadata,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Metadata {
            namespace: String,
            name: String,
            uid: String,
            resource_version: String,
            #[serde(default)]
            labels: Option<HashMap<String, String>>,
        }
        let Object { metadata } = Object::deserialize(from)?;
        let labels = metadata.labels.unwrap_or_default();
        let (label, ours) = MANAGED_BY;
        Ok(Self {
            is_ours: labels.get(label).is_some_and(|value| value == ours),
            key: ObjectKey::new::<Secret>(metadata.namespace, metadata.name),
            version: SecretVersion {
                uid: metadata.uid,
                resource_version: metadata.resource_version,
            },
        })
    }
}

/// Stands for the namespace and the name of a Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SecretHash(u64);

/// The Secrets of each watched namespace, or of all. It decides what need not be read, and never what is requested: a token
/// is only asked for on what a call answered, or where there was none before.
#[derive(Default)]
pub struct SecretIndex {
    /// With random keys, so that nobody can make names whose hashes are equal.
    hasher: RandomState,
    /// By namespace; the empty one has all of them.
    scopes: Mutex<HashMap<String, Scope>>,
    /// The reads that are under way.
    pub reads: SharedReads<SecretHash, Known, Option<Secret>>,
}

/// The Secrets of one watch.
struct Scope {
    /// Whether the watch can be relied on: it has listed, and has not been failing for long.
    is_reliable: Box<dyn Fn() -> bool + Send + Sync>,
    entries: HashMap<SecretHash, Entry>,
    /// The entries of a list that has not ended.
    listing: HashMap<SecretHash, Entry>,
    /// What calls answered that the watch has not shown yet.
    answers: HashMap<SecretHash, Entry>,
    /// When Secrets were as they were before others changed or deleted them.
    before: HashMap<SecretHash, Before>,
    /// The newest version that the watch has shown.
    version: u64,
}

/// One version of a Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    /// A hash of the uid.
    uid: u64,
    version: u64,
}

/// Stands for what is known of a Secret at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known(Option<Entry>);

/// The versions of the API server's store at which a Secret was as it was before the first and before the last change by others.
#[derive(Clone, Copy, Debug)]
struct Before {
    first: u64,
    last: u64,
    /// When the last one was seen.
    seen: Instant,
}

/// What a list that has ended means.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Relisted {
    /// The Secrets that are not as they were in the list before.
    pub changed: Vec<SecretHash>,
    /// Whether the store of the API server was put back to an earlier state: what was remembered by its versions means nothing.
    pub is_restored: bool,
}

impl SecretIndex {
    /// Adds the Secrets of a namespace, or of all, that a watch shows.
    pub fn add_scope(
        &self,
        namespace: Option<&str>,
        is_reliable: impl Fn() -> bool + Send + Sync + 'static,
    ) {
        let scope = Scope {
            is_reliable: Box::new(is_reliable),
            entries: HashMap::new(),
            listing: HashMap::new(),
            answers: HashMap::new(),
            before: HashMap::new(),
            version: 0,
        };
        let namespace = namespace.unwrap_or_default().to_owned();
        self.scopes.lock().insert(namespace, scope);
    }

    /// What stands for a Secret here.
    pub fn hash(&self, namespace: &str, name: &str) -> SecretHash {
        SecretHash(self.hasher.hash_one((namespace, name)))
    }

    /// A list begins. Up to `version` the watch has shown all changes.
    pub fn begin_list(&self, scope: Option<&str>, version: u64) {
        self.with(scope, |scope| {
            scope.listing = HashMap::new();
            scope.version = scope.version.max(version);
        });
    }

    /// A list has this Secret.
    pub fn list(&self, scope: Option<&str>, secret: &SeenSecret) {
        let Some((hash, entry)) = self.entry_of(secret) else {
            return;
        };
        self.with(scope, |scope| scope.listing.insert(hash, entry));
    }

    /// A list has ended that is as new as `version`.
    pub fn end_list(&self, scope: Option<&str>, version: u64) -> Relisted {
        self.with(scope, |scope| scope.end_list(version))
            .unwrap_or_default()
    }

    /// A Secret was created or changed; `is_named` where anybody may want to know what it was before.
    pub fn apply(&self, scope: Option<&str>, secret: &SeenSecret, is_named: bool) {
        let Some((hash, entry)) = self.entry_of(secret) else {
            return;
        };
        self.with(scope, |scope| {
            let is_news = scope.saw(hash, entry);
            let existed = scope.entries.insert(hash, entry).is_some();
            if is_named && is_news && existed {
                scope.remember([(hash, entry.version.saturating_sub(1))]);
            }
        });
    }

    /// A Secret was deleted; `is_named` where anybody may want to know what it was.
    pub fn delete(&self, scope: Option<&str>, secret: &SeenSecret, is_named: bool) {
        let Some((hash, entry)) = self.entry_of(secret) else {
            return;
        };
        self.with(scope, |scope| {
            scope.saw(hash, entry);
            scope.entries.remove(&hash);
            if is_named {
                // A deletion has a version of its own.
                scope.remember([(hash, entry.version.saturating_sub(1))]);
            }
        });
    }

    /// A call answered with this version of a Secret.
    pub fn note(&self, namespace: &str, name: &str, version: &SecretVersion) {
        let hash = self.hash(namespace, name);
        let Some(entry) = self.entry(version) else {
            return;
        };
        self.with(Some(namespace), |scope| {
            let is_newer = |known: Entry| known.version < entry.version;
            if entry.version > scope.version && scope.find(hash).is_none_or(is_newer) {
                scope.answers.insert(hash, entry);
            }
        });
    }

    /// This process wrote this version of a Secret: what it was before is of no interest any more.
    pub fn note_written(&self, namespace: &str, name: &str, version: &SecretVersion) {
        self.note(namespace, name, version);
        let hash = self.hash(namespace, name);
        self.with(Some(namespace), |scope| scope.before.remove(&hash));
    }

    /// Whether a Secret is certain to be in this version, or not to be there where that is `None`.
    pub fn is_current(&self, namespace: &str, name: &str, version: Option<&SecretVersion>) -> bool {
        let hash = self.hash(namespace, name);
        let entry = match version.map(|version| self.entry(version)) {
            None => None,
            Some(Some(entry)) => Some(entry),
            Some(None) => return false,
        };
        let is_current = |scope: &mut Scope| (scope.is_reliable)() && scope.find(hash) == entry;
        self.with(Some(namespace), is_current).unwrap_or(false)
    }

    /// Stands for what is known of a Secret, and is another with each event that tells of it. `None` where no watch does.
    pub fn known(&self, namespace: &str, name: &str) -> Option<Known> {
        let hash = self.hash(namespace, name);
        self.with(Some(namespace), |scope| Known(scope.find(hash)))
    }

    /// Whether there is a watch of the Secrets of a namespace.
    pub fn covers(&self, namespace: &str) -> bool {
        self.with(Some(namespace), |_| ()).is_some()
    }

    /// Whether what the watch of the Secrets of a namespace shows can be relied on.
    pub fn is_reliable(&self, namespace: &str) -> bool {
        let is_reliable = self.with(Some(namespace), |scope| (scope.is_reliable)());
        is_reliable.unwrap_or(false)
    }

    /// The versions of the API server's store at which a Secret may be as it was before others changed or deleted it, the
    /// likeliest first.
    pub fn versions_before(&self, namespace: &str, name: &str) -> Vec<u64> {
        let hash = self.hash(namespace, name);
        let versions = self.with(Some(namespace), |scope| {
            let before = scope.before.get(&hash);
            let answered = scope.answers.get(&hash).map(|answer| answer.version);
            // The watch has not shown the change yet.
            let shown = scope.entries.contains_key(&hash).then_some(scope.version);
            let versions = [
                before.map(|before| before.last),
                before.map(|before| before.first),
                answered,
                shown,
            ];
            let mut versions: Vec<_> = versions.into_iter().flatten().collect();
            versions.dedup();
            versions
        });
        versions.unwrap_or_default()
    }

    /// Acts on the scope that has the Secrets of a namespace.
    fn with<T>(&self, namespace: Option<&str>, act: impl FnOnce(&mut Scope) -> T) -> Option<T> {
        let mut scopes = self.scopes.lock();
        let namespace = namespace.filter(|namespace| scopes.contains_key(*namespace));
        scopes.get_mut(namespace.unwrap_or_default()).map(act)
    }

    fn entry_of(&self, secret: &SeenSecret) -> Option<(SecretHash, Entry)> {
        let SeenSecret { key, version, .. } = secret;
        Some((self.hash(&key.namespace, &key.name), self.entry(version)?))
    }

    fn entry(&self, version: &SecretVersion) -> Option<Entry> {
        Some(Entry {
            uid: self.hasher.hash_one(&version.uid),
            version: version.resource_version.parse().ok()?,
        })
    }
}

impl Scope {
    fn find(&self, hash: SecretHash) -> Option<Entry> {
        self.answers
            .get(&hash)
            .or_else(|| self.entries.get(&hash))
            .copied()
    }

    /// The watch has shown a Secret in a version, and everything that came before. Returns whether no call had answered with that
    /// version or a later one.
    fn saw(&mut self, hash: SecretHash, entry: Entry) -> bool {
        self.version = self.version.max(entry.version);
        let answered = self.answers.get(&hash).map(|answer| answer.version);
        if answered.is_some_and(|answered| answered <= entry.version) {
            self.answers.remove(&hash);
        }
        answered.is_none_or(|answered| answered < entry.version)
    }

    fn end_list(&mut self, version: u64) -> Relisted {
        let listed = mem::take(&mut self.listing);
        let is_restored = version < self.version;
        let (later, answers): (HashMap<_, _>, HashMap<_, _>) = mem::take(&mut self.answers)
            .into_iter()
            .partition(|(_, answer)| !is_restored && answer.version > version);
        self.answers = later;
        let known_until = mem::replace(&mut self.version, version);
        let shown = mem::replace(&mut self.entries, listed);
        let listed = &self.entries;
        let unshown = listed.keys().chain(answers.keys());
        let unshown: HashSet<_> = unshown.filter(|hash| !shown.contains_key(hash)).collect();
        let is_other = |known: &Entry, hash: &SecretHash| listed.get(hash) != Some(known);
        // Also where a call has answered with it: that was for one object, and several may name it.
        let is_changed = |hash: &&SecretHash| {
            shown.get(hash) != listed.get(hash)
                || answers
                    .get(hash)
                    .is_some_and(|answer| is_other(answer, hash))
        };
        let all = shown.keys().chain(unshown);
        let changed: Vec<_> = all.filter(is_changed).copied().collect();
        // What a call answered came after all that the watch had shown.
        let known = |hash| match answers.get(hash) {
            Some(answer) => Some((answer, answer.version)),
            None => Some((shown.get(hash)?, known_until)),
        };
        let lost = changed.iter().filter_map(|hash| {
            let (entry, version) = known(hash)?;
            is_other(entry, hash).then_some((*hash, version))
        });
        let lost: Vec<_> = lost.collect();
        if is_restored {
            self.before.clear();
        } else {
            self.remember(lost);
        }
        Relisted {
            changed,
            is_restored,
        }
    }

    /// These Secrets were at these versions as they are not any longer.
    fn remember(&mut self, secrets: impl IntoIterator<Item = (SecretHash, u64)>) {
        let seen = Instant::now();
        self.before
            .retain(|_, before| seen.duration_since(before.seen) < CHANGED_FOR);
        for (secret, version) in secrets {
            let first = self
                .before
                .get(&secret)
                .map_or(version, |before| before.first);
            let before = Before {
                first,
                last: version,
                seen,
            };
            self.before.insert(secret, before);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(uid: u64, version: u64) -> SecretVersion {
        SecretVersion {
            uid: format!("uid-{uid}"),
            resource_version: version.to_string(),
        }
    }

    fn seen(name: &str, uid: u64, number: u64) -> SeenSecret {
        SeenSecret {
            key: ObjectKey::new::<Secret>("shop", name),
            version: version(uid, number),
            is_ours: false,
        }
    }

    /// An index whose watch has listed one Secret in version 1, when the newest version of all was 5.
    fn listed() -> SecretIndex {
        let index = SecretIndex::default();
        index.add_scope(None, || true);
        index.begin_list(None, 0);
        index.list(None, &seen("edge", 1, 1));
        index.end_list(None, 5);
        index
    }

    fn is(index: &SecretIndex, name: &str, of: Option<(u64, u64)>) -> bool {
        let of = of.map(|(uid, number)| version(uid, number));
        index.is_current("shop", name, of.as_ref())
    }

    #[test]
    fn a_secret_is_current_in_the_very_version_that_was_seen_last() {
        let index = listed();
        assert!(is(&index, "edge", Some((1, 1))));
        assert!(is(&index, "other", None));
        for other in [None, Some((1, 2)), Some((2, 1))] {
            assert!(!is(&index, "edge", other), "{other:?}");
        }
        index.apply(None, &seen("edge", 1, 6), true);
        assert!(is(&index, "edge", Some((1, 6))) && !is(&index, "edge", Some((1, 1))));
        index.delete(None, &seen("edge", 1, 7), true);
        assert!(is(&index, "edge", None) && !is(&index, "edge", Some((1, 6))));
    }

    #[test]
    fn what_a_call_answered_counts_until_the_watch_shows_it() {
        let index = listed();
        index.note("shop", "edge", &version(1, 8));
        assert!(is(&index, "edge", Some((1, 8))));
        // What comes late is no news.
        index.apply(None, &seen("edge", 1, 6), true);
        assert!(is(&index, "edge", Some((1, 8))));
        index.delete(None, &seen("edge", 1, 9), true);
        assert!(is(&index, "edge", None));
        // An answer that comes later than what happened after it.
        index.note("shop", "edge", &version(1, 8));
        assert!(is(&index, "edge", None));
    }

    #[test]
    fn an_answer_that_is_newer_than_a_list_outlives_it_and_an_older_one_does_not() {
        let index = listed();
        index.note("shop", "edge", &version(1, 8));
        index.note("shop", "other", &version(2, 20));
        index.begin_list(None, 0);
        index.end_list(None, 10);
        assert!(is(&index, "edge", None));
        assert!(is(&index, "other", Some((2, 20))));
    }

    #[test]
    fn a_list_tells_what_is_not_as_it_was() {
        let index = listed();
        index.apply(None, &seen("gone", 2, 6), true);
        index.apply(None, &seen("same", 3, 7), true);
        index.begin_list(None, 0);
        for secret in [seen("edge", 1, 8), seen("same", 3, 7), seen("new", 4, 9)] {
            index.list(None, &secret);
        }
        let Relisted {
            changed,
            is_restored,
        } = index.end_list(None, 9);
        let expected = ["edge", "gone", "new"].map(|name| index.hash("shop", name));
        assert_eq!(changed.len(), 3);
        assert!(expected.iter().all(|hash| changed.contains(hash)) && !is_restored);
    }

    #[test]
    fn a_list_tells_also_of_what_only_a_call_answered_before() {
        let index = listed();
        // One of several objects that name it has read it.
        index.note("shop", "edge", &version(1, 8));
        index.note_written("shop", "gone", &version(2, 9));
        index.begin_list(None, 0);
        index.list(None, &seen("edge", 1, 8));
        let changed = index.end_list(None, 10).changed;
        let expected = ["edge", "gone"].map(|name| index.hash("shop", name));
        assert_eq!(changed.len(), 2);
        assert!(expected.iter().all(|hash| changed.contains(hash)));
    }

    #[test]
    fn what_was_lost_before_a_list_was_there_as_it_was_answered_last_or_else_as_it_was_shown() {
        let index = listed();
        index.apply(None, &seen("same", 1, 6), true);
        index.apply(None, &seen("changed", 2, 7), true);
        index.note_written("shop", "edge", &version(1, 20));
        index.note_written("shop", "made", &version(3, 22));
        index.note("shop", "same", &version(1, 24));
        index.begin_list(None, 10);
        index.list(None, &seen("same", 1, 24));
        index.list(None, &seen("changed", 2, 26));
        index.end_list(None, 30);
        let before = |name| index.versions_before("shop", name);
        assert_eq!((before("edge"), before("made")), (vec![20], vec![22]));
        assert_eq!(before("changed"), [10, 30]);
        assert_eq!(before("same"), [30], "not shown yet, if it was changed");
    }

    #[test]
    fn after_the_store_was_put_back_nothing_that_was_answered_before_counts() {
        let index = listed();
        index.note("shop", "edge", &version(1, 100));
        index.apply(None, &seen("other", 2, 90), true);
        index.begin_list(None, 0);
        index.list(None, &seen("edge", 1, 1));
        assert!(index.end_list(None, 50).is_restored);
        assert!(is(&index, "edge", Some((1, 1))));
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_known_for_some_minutes_when_a_secret_was_as_it_was_before_others_changed_it() {
        let index = listed();
        let before = |name| index.versions_before("shop", name);
        assert_eq!(before("edge"), [5], "not shown yet, if it was changed");
        assert!(before("other").is_empty());
        index.apply(None, &seen("edge", 1, 8), true);
        index.apply(None, &seen("edge", 1, 10), true);
        index.delete(None, &seen("edge", 1, 12), true);
        assert_eq!(before("edge"), [11, 7]);
        // Its own write ends that, also once the watch shows it.
        index.note_written("shop", "edge", &version(2, 14));
        assert_eq!(before("edge"), [14]);
        index.apply(None, &seen("edge", 2, 14), true);
        assert_eq!(before("edge"), [14]);
        index.delete(None, &seen("edge", 2, 20), true);
        assert_eq!(before("edge"), [19]);
        // What nobody names, and what is long ago.
        index.apply(None, &seen("other", 3, 21), false);
        index.delete(None, &seen("other", 3, 22), false);
        assert!(before("other").is_empty());
        tokio::time::advance(CHANGED_FOR).await;
        index.apply(None, &seen("another", 4, 23), true);
        index.delete(None, &seen("another", 4, 24), true);
        assert!(before("edge").is_empty());
        // In a gap of the watch, of which it had shown all until 30.
        index.apply(None, &seen("other", 3, 25), true);
        index.begin_list(None, 30);
        index.end_list(None, 40);
        assert_eq!(before("other"), [30]);
    }

    #[test]
    fn a_watch_that_cannot_be_relied_on_says_nothing() {
        let index = SecretIndex::default();
        index.add_scope(Some("shop"), || false);
        assert!(!is(&index, "edge", None));
        assert!(!index.is_current("elsewhere", "edge", None), "not watched");
    }

    /// What may happen to one Secret, and to what is known of it.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Write,
        Delete,
        /// The watch shows so many of the changes that it has not shown.
        Show(usize),
        /// A call answers with what is there.
        Answer,
        /// The watch begins anew with a list, as new as all that happened.
        List,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            Just(Step::Write),
            Just(Step::Delete),
            (0..4_usize).prop_map(Step::Show),
            Just(Step::Answer),
            Just(Step::List),
        ];
        prop::collection::vec(step, 0..60)
    }

    proptest! {
        /// Whatever is shown late, or was answered earlier than it is shown: what a call has answered is never taken for
        /// something older, and once the watch has shown everything, what is there is what is current.
        #[test]
        fn nothing_older_than_an_answer_is_taken_for_current(steps in steps()) {
            let index = SecretIndex::default();
            index.add_scope(None, || true);
            index.end_list(None, 1);
            let mut now: Option<(u64, u64)> = None;
            let mut changes = Vec::new();
            let (mut shown, mut revision, mut uid) = (0, 1, 0);
            // All states that there were, and the newest one that was answered or shown.
            let mut history = vec![None];
            let mut known = 0;
            for step in steps {
                match step {
                    Step::Write | Step::Delete if matches!(step, Step::Write) || now.is_some() => {
                        revision += 1;
                        let before = now;
                        now = match (step, before) {
                            (Step::Delete, _) => None,
                            (_, Some((uid, _))) => Some((uid, revision)),
                            _ => {
                                uid += 1;
                                Some((uid, revision))
                            }
                        };
                        changes.push((now, before.map(|(uid, _)| (uid, revision)), history.len()));
                        history.push(now);
                    }
                    Step::Write | Step::Delete => {}
                    Step::Show(count) => for _ in 0..count {
                        let Some((after, deleted, at)) = changes.get(shown).copied() else { break };
                        shown += 1;
                        match (after, deleted) {
                            (Some((uid, number)), _) => index.apply(None, &seen("edge", uid, number), true),
                            (None, Some((uid, number))) => index.delete(None, &seen("edge", uid, number), true),
                            (None, None) => {}
                        }
                        known = known.max(at);
                    },
                    Step::Answer => if let Some((uid, number)) = now {
                        index.note("shop", "edge", &version(uid, number));
                        known = history.len() - 1;
                    },
                    Step::List => {
                        index.begin_list(None, 0);
                        if let Some((uid, number)) = now {
                            index.list(None, &seen("edge", uid, number));
                        }
                        index.end_list(None, revision);
                        shown = changes.len();
                        known = history.len() - 1;
                    }
                }
                let current = history.iter().rposition(|state| is(&index, "edge", *state));
                prop_assert!(current.is_some_and(|at| at >= known), "{current:?}, known {known}");
                for state in history[..known].iter().filter(|state| **state != history[known]) {
                    prop_assert!(state.is_none() || !is(&index, "edge", *state), "{state:?}");
                }
                if shown == changes.len() {
                    prop_assert!(is(&index, "edge", now));
                }
            }
        }
    }
}
