//! Which targets are being worked on: two new objects that name one target must not both request a token for it.

use std::collections::HashSet;

use parking_lot::Mutex;

use super::object_key::ObjectKey;

/// The targets that somebody looks at or writes just now. Once a target is written, its owner is in it.
#[derive(Debug, Default)]
pub struct TargetLocks(Mutex<HashSet<ObjectKey>>);

/// The sole right to make a target. Given back when dropped.
#[derive(Debug)]
pub struct TargetLock<'a> {
    locks: &'a TargetLocks,
    target: ObjectKey,
}

impl TargetLocks {
    /// Locks a target, if nobody else has. To be taken before the target is looked at: what is seen then stays so until
    /// the lock is given back.
    pub fn try_lock(&self, target: ObjectKey) -> Option<TargetLock<'_>> {
        let free = self.0.lock().insert(target.clone());
        // Not `then_some`: a lock that was never taken would be dropped, and so give back the other's.
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
    use super::*;

    #[test]
    fn a_target_is_locked_once_until_it_is_given_back() {
        let locks = TargetLocks::default();
        let edge = || ObjectKey::new("shop", "edge");
        let lock = locks.try_lock(edge());
        assert!(lock.is_some());
        for _ in 0..2 {
            assert!(locks.try_lock(edge()).is_none());
        }
        assert!(locks.try_lock(ObjectKey::new("shop", "other")).is_some());
        assert!(
            locks
                .try_lock(ObjectKey::new("elsewhere", "edge"))
                .is_some()
        );
        drop(lock);
        assert!(locks.try_lock(edge()).is_some());
    }
}
