//! Which EdgeCredentials have to do with a Secret: an index, so that a Secret's change costs no scan of all of them.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{api::EdgeCredential, cluster::object_key::ObjectKey};

/// Maps a Secret to the EdgeCredentials that name it, as credentials or as target. An EdgeCredential is entered
/// before its Secrets are read, so no change of theirs is missed.
#[derive(Debug, Default)]
pub struct SecretReferences(Mutex<Index>);

#[derive(Debug, Default)]
struct Index {
    objects: HashMap<ObjectKey, BTreeSet<String>>,
    secrets: HashMap<ObjectKey, BTreeSet<String>>,
}

impl SecretReferences {
    /// Enters the Secrets of an EdgeCredential, in place of those entered earlier.
    pub fn enter(&self, object: &EdgeCredential) {
        let key = ObjectKey::of(object);
        let secrets = BTreeSet::from([
            object.spec.credentials_secret_ref.name.clone(),
            object.target_name().to_owned(),
        ]);
        let mut index = self.lock();
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

    /// Forgets an EdgeCredential that is gone.
    pub fn remove(&self, object: &ObjectKey) {
        self.lock().remove(object);
    }

    /// The names of the EdgeCredentials that name a Secret of their namespace.
    pub fn of_secret(&self, secret: &ObjectKey) -> Vec<String> {
        self.lock()
            .secrets
            .get(secret)
            .map(|names| names.iter().cloned().collect())
            .unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn object(name: &str, credentials: &str) -> EdgeCredential {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "edgecredentials.io/v1alpha1",
            "kind": "EdgeCredential",
            "metadata": {"namespace": "shop", "name": name},
            "spec": {"credentialsSecretRef": {"name": credentials}},
        }))
        .unwrap()
    }

    #[test]
    fn a_secret_leads_to_all_that_name_it_in_its_namespace() {
        let references = SecretReferences::default();
        references.enter(&object("one", "client"));
        references.enter(&object("two", "client"));
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
        references.enter(&object("one", "client"));
        references.enter(&object("one", "other-client"));
        assert!(
            references
                .of_secret(&ObjectKey::new("shop", "client"))
                .is_empty()
        );
        references.remove(&ObjectKey::new("shop", "one"));
        assert!(references.lock().secrets.is_empty() && references.lock().objects.is_empty());
    }
}
