//! Locks on targets, so that of two new objects that name the same target only one requests a token for it.

use std::collections::HashSet;

use parking_lot::Mutex;

use super::object_key::ObjectKey;

/// The targets that a reconciliation reads or writes at the moment. Once a target exists, its ownerReference does the same.
#[derive(Debug, Default)]
pub struct TargetLocks(Mutex<HashSet<ObjectKey>>);

/// The sole right to create a target. It ends when this is dropped.
#[derive(Debug)]
pub struct TargetLock<'a> {
    locks: &'a TargetLocks,
    target: ObjectKey,
}

impl TargetLocks {
    /// Locks a target, unless it is locked. The lock is to be taken before the target is read: then no other object creates the
    /// target between the read and the write.
    pub fn try_lock(&self, target: ObjectKey) -> Option<TargetLock<'_>> {
        let free = self.0.lock().insert(target.clone());
        // Not `then_some`: it would make a lock in any case, and dropping that would end the other holder's lock.
        free.then(|| TargetLock {
            locks: self,
            target,
        })
    }
}

impl Drop for TargetLock<'_> {
    fn drop(&mut self) {
        self.locks.0.lock().remove(&self.target);
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Secret;

    use super::*;

    #[test]
    fn a_target_is_locked_once_until_it_is_given_back() {
        let locks = TargetLocks::default();
        let edge = || ObjectKey::new::<Secret>("shop", "edge");
        let lock = locks.try_lock(edge());
        assert!(lock.is_some());
        for _ in 0..2 {
            assert!(locks.try_lock(edge()).is_none());
        }
        assert!(
            locks
                .try_lock(ObjectKey::new::<Secret>("shop", "other"))
                .is_some()
        );
        assert!(
            locks
                .try_lock(ObjectKey::new::<Secret>("elsewhere", "edge"))
                .is_some()
        );
        drop(lock);
        assert!(locks.try_lock(edge()).is_some());
    }
}
