//! An index of the objects of a kind by the Secrets that they name, so that a Secret's change costs no scan of all objects.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::cluster::{object_key::ObjectKey, secret_index::SecretHash};

/// Maps a Secret to the objects that name it, as credentials or as target. An object is entered
/// before its Secrets are read, so no change of theirs is missed.
#[derive(Debug, Default)]
pub struct SecretReferences(Mutex<Index>);

#[derive(Debug, Default)]
struct Index {
    objects: HashMap<ObjectKey, Box<[SecretHash]>>,
    secrets: HashMap<SecretHash, Vec<ObjectKey>>,
}

impl SecretReferences {
    /// Enters the Secrets of an object, in place of those entered earlier.
    pub fn enter(&self, key: &ObjectKey, secrets: impl Iterator<Item = SecretHash>) {
        let secrets: Box<[_]> = secrets.collect();
        let mut index = self.0.lock();
        if index.objects.get(key) == Some(&secrets) {
            return;
        }
        index.remove(key);
        for secret in &secrets {
            let objects = index.secrets.entry(*secret);
            // Most are named by one object, and a vector that grows has room for four.
            let objects = objects.or_insert_with(|| Vec::with_capacity(1));
            objects.push(key.clone());
        }
        index.objects.insert(key.clone(), secrets);
    }

    /// Forgets an object that is gone.
    pub fn remove(&self, object: &ObjectKey) {
        self.0.lock().remove(object);
    }

    /// Whether any object names a Secret.
    pub fn has(&self, secret: SecretHash) -> bool {
        self.0.lock().secrets.contains_key(&secret)
    }

    /// The objects that name a Secret.
    pub fn of_secret(&self, secret: SecretHash) -> Vec<ObjectKey> {
        let index = self.0.lock();
        index.secrets.get(&secret).cloned().unwrap_or_default()
    }
}

impl Index {
    fn remove(&mut self, object: &ObjectKey) {
        for secret in self.objects.remove(object).unwrap_or_default() {
            if let Some(names) = self.secrets.get_mut(&secret) {
                names.retain(|name| name != object);
                if names.is_empty() {
                    self.secrets.remove(&secret);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::EdgeCredential;
    use crate::cluster::secret_index::SecretIndex;

    fn enter(index: &SecretIndex, references: &SecretReferences, name: &str, credentials: &str) {
        let secrets = [credentials, name].map(|secret| index.hash("shop", secret));
        references.enter(
            &ObjectKey::new::<EdgeCredential>("shop", name),
            secrets.into_iter(),
        );
    }

    /// The names of the objects that name a Secret.
    fn names(
        index: &SecretIndex,
        references: &SecretReferences,
        namespace: &str,
        secret: &str,
    ) -> Vec<String> {
        let objects = references.of_secret(index.hash(namespace, secret));
        objects.iter().map(|object| object.name.clone()).collect()
    }

    #[test]
    fn a_secret_leads_to_all_that_name_it_in_its_namespace() {
        let (index, references) = (SecretIndex::default(), SecretReferences::default());
        enter(&index, &references, "one", "client");
        enter(&index, &references, "two", "client");
        let names = |namespace, secret| names(&index, &references, namespace, secret);
        assert_eq!(names("shop", "client"), ["one", "two"]);
        assert_eq!(names("shop", "two"), ["two"]);
        assert!(names("other", "client").is_empty());
    }

    #[test]
    fn a_changed_or_removed_object_leaves_nothing_behind() {
        let (index, references) = (SecretIndex::default(), SecretReferences::default());
        enter(&index, &references, "one", "client");
        enter(&index, &references, "one", "other-client");
        assert!(names(&index, &references, "shop", "client").is_empty());
        references.remove(&ObjectKey::new::<EdgeCredential>("shop", "one"));
        assert!(references.0.lock().secrets.is_empty() && references.0.lock().objects.is_empty());
    }
}
