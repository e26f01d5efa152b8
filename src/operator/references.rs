//! Which EdgeCredentials have to do with a Secret: an index, so that a Secret's change costs no scan of all of them.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::api::EdgeCredential;

/// Maps a Secret to the EdgeCredentials that name it, as credentials or as target. An EdgeCredential is entered
/// before its Secrets are read, so no change of theirs is missed.
#[derive(Debug, Default)]
pub struct SecretReferences(Mutex<Index>);

#[derive(Debug, Default)]
struct Index {
    objects: HashMap<Key, BTreeSet<String>>,
    secrets: HashMap<Key, BTreeSet<String>>,
}

/// Namespace and name.
type Key = (String, String);

impl SecretReferences {
    /// Enters the Secrets of an EdgeCredential, in place of those entered earlier.
    pub fn enter(&self, object: &EdgeCredential) {
        let (Some(namespace), Some(name)) = (&object.metadata.namespace, &object.metadata.name)
        else {
            return;
        };
        let secrets = BTreeSet::from([
            object.spec.credentials_secret_ref.name.clone(),
            object.target_name().to_owned(),
        ]);
        let mut index = self.lock();
        if index.objects.get(&(namespace.clone(), name.clone())) == Some(&secrets) {
            return;
        }
        index.remove(namespace, name);
        for secret in &secrets {
            index
                .secrets
                .entry((namespace.clone(), secret.clone()))
                .or_default()
                .insert(name.clone());
        }
        index
            .objects
            .insert((namespace.clone(), name.clone()), secrets);
    }

    /// Forgets an EdgeCredential that is gone.
    pub fn remove(&self, namespace: &str, name: &str) {
        self.lock().remove(namespace, name);
    }

    /// The names of the EdgeCredentials that name a Secret of their namespace.
    pub fn of_secret(&self, namespace: &str, secret: &str) -> Vec<String> {
        self.lock()
            .secrets
            .get(&(namespace.to_owned(), secret.to_owned()))
            .map(|names| names.iter().cloned().collect())
            .unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    fn remove(&mut self, namespace: &str, name: &str) {
        let secrets = self
            .objects
            .remove(&(namespace.to_owned(), name.to_owned()));
        for secret in secrets.into_iter().flatten() {
            let key = (namespace.to_owned(), secret);
            if let Some(names) = self.secrets.get_mut(&key) {
                names.remove(name);
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
        assert_eq!(references.of_secret("shop", "client"), ["one", "two"]);
        assert_eq!(references.of_secret("shop", "two"), ["two"]);
        assert!(references.of_secret("other", "client").is_empty());
    }

    #[test]
    fn a_changed_or_removed_object_leaves_nothing_behind() {
        let references = SecretReferences::default();
        references.enter(&object("one", "client"));
        references.enter(&object("one", "other-client"));
        assert!(references.of_secret("shop", "client").is_empty());
        references.remove("shop", "one");
        assert!(references.lock().secrets.is_empty() && references.lock().objects.is_empty());
    }
}
