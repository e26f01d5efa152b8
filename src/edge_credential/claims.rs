//! Which targets are being worked on: two new EdgeCredentials that name one target must not both request a token for it.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::api::EdgeCredential;

/// The targets that somebody looks at or writes just now. Once a target is written, its owner is in it.
#[derive(Debug, Default)]
pub struct Claims(Mutex<HashSet<Key>>);

/// Namespace and name of the target.
type Key = (String, String);

/// The sole right to make a target. Given back when dropped.
#[derive(Debug)]
pub struct Claim<'a> {
    claims: &'a Claims,
    key: Key,
}

impl Claims {
    /// Claims the target of an object, if no other object has. To be taken before the target is looked at: what is seen
    /// then stays so until the claim is given back.
    pub fn take(&self, object: &EdgeCredential) -> Option<Claim<'_>> {
        let namespace = object.metadata.namespace.clone().unwrap_or_default();
        let key = (namespace, object.target_name().to_owned());
        let taken = self.lock().insert(key.clone());
        // Not `then_some`: a claim that was never made would be dropped, and so give back the other's.
        taken.then(|| Claim { claims: self, key })
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Key>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.claims.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::edge_credential::testing::{object, object_with};

    #[test]
    fn a_target_is_claimed_once_until_it_is_given_back() {
        let claims = Claims::default();
        let claim = claims.take(&object());
        assert!(claim.is_some());
        for _ in 0..2 {
            assert!(claims.take(&object()).is_none());
        }
        let other_target = object_with(json!({"target": {"name": "other"}}));
        assert!(claims.take(&other_target).is_some());
        let mut other_namespace = object();
        other_namespace.metadata.namespace = Some("elsewhere".into());
        assert!(claims.take(&other_namespace).is_some());
        drop(claim);
        assert!(claims.take(&object()).is_some());
    }
}
