//! An index of the objects of a kind by the Secrets that they name, so that a Secret's change costs no scan of all objects.

use std::collections::{BTreeSet, HashMap};

use parking_lot::Mutex;

use crate::cluster::object_key::ObjectKey;

/// Maps a Secret to the objects that name it, as credentials or as target. An object is entered
/// before its Secrets are read, so no change of theirs is missed.
#[derive(Debug, Default)]
pub struct SecretReferences(Mutex<Index>);

#[derive(Debug, Default)]
struct Index {
    objects: HashMap<ObjectKey, BTreeSet<String>>,
    secrets: HashMap<ObjectKey, BTreeSet<String>>,
}

impl SecretReferences {
    /// Enters the Secrets of an object, in place of those entered earlier.
    pub fn enter(&self, key: ObjectKey, secrets: BTreeSet<String>) {
        let mut index = self.0.lock();
        if index.objects.get(&key) == Some(&secrets) {
            return;
        }
        index.remove(&key);
        for secret in &secrets {
            index
                .secrets
                .entry(ObjectKey::new(&key.namespace, secret))
                .or_default()
                .insert(key.name.clone());
        }
        index.objects.insert(key, secrets);
    }

    /// Forgets an object that is gone.
    pub fn remove(&self, object: &ObjectKey) {
        self.0.lock().remove(object);
    }

    /// The names of the objects that name a Secret of their namespace.
    pub fn of_secret(&self, secret: &ObjectKey) -> Vec<String> {
        self.0
            .lock()
            .secrets
            .get(secret)
            .map(|names| names.iter().cloned().collect())
            .unwrap_or_default()
    }
}

impl Index {
    fn remove(&mut self, object: &ObjectKey) {
        let secrets = self.objects.remove(object);
        for secret in secrets.into_iter().flatten() {
            let key = ObjectKey::new(&object.namespace, secret);
            if let Some(names) = self.secrets.get_mut(&key) {
                names.remove(&object.name);
                if names.is_empty() {
                    self.secrets.remove(&key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(references: &SecretReferences, name: &str, credentials: &str) {
        let secrets = [credentials.to_owned(), name.to_owned()];
        references.enter(ObjectKey::new("shop", name), secrets.into());
    }

    #[test]
    fn a_secret_leads_to_all_that_name_it_in_its_namespace() {
        let references = SecretReferences::default();
        enter(&references, "one", "client");
        enter(&references, "two", "client");
        assert_eq!(
            references.of_secret(&ObjectKey::new("shop", "client")),
            ["one", "two"]
        );
        assert_eq!(
            references.of_secret(&ObjectKey::new("shop", "two")),
            ["two"]
        );
        assert!(
            references
                .of_secret(&ObjectKey::new("other", "client"))
                .is_empty()
        );
    }

    #[test]
    fn a_changed_or_removed_object_leaves_nothing_behind() {
        let references = SecretReferences::default();
        enter(&references, "one", "client");
        enter(&references, "one", "other-client");
        assert!(
            references
                .of_secret(&ObjectKey::new("shop", "client"))
                .is_empty()
        );
        references.remove(&ObjectKey::new("shop", "one"));
        assert!(references.0.lock().secrets.is_empty() && references.0.lock().objects.is_empty());
    }
}
