//! Reads that are under way, so that all who want to know the same at the same time make one call.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use parking_lot::Mutex;

/// What a read answers.
pub type Answer<T> = Result<T, SharedError>;

/// The error of a call that several made together.
pub type SharedError = Arc<kube::Error>;

type Read<T> = BoxFuture<'static, Answer<T>>;

/// The reads that are under way. Each goes on for as long as anybody waits for it, whoever began it.
pub struct SharedReads<K, S, T: Clone>(Mutex<HashMap<K, Begun<S, T>>>);

/// What was known when a read began, and the read.
type Begun<S, T> = (S, WeakShared<Read<T>>);

impl<K, S, T: Clone> Default for SharedReads<K, S, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, S: PartialEq, T: Clone> SharedReads<K, S, T> {
    /// Joins the read of `key` that is under way, if it began when the same was `known` of it: then it shows all that its
    /// caller has been told of. Begins one otherwise.
    pub fn join(&self, key: K, known: S, begin: impl FnOnce() -> Read<T>) -> Shared<Read<T>> {
        let mut reads = self.0.lock();
        if let Some((when_begun, read)) = reads.get(&key)
            && *when_begun == known
            && let Some(read) = read.upgrade()
            && read.peek().is_none()
        {
            return read;
        }
        reads.retain(|_, (_, read)| read.upgrade().is_some());
        let read = begin().shared();
        // Fails only where it has ended.
        if let Some(weak) = read.downgrade() {
            reads.insert(key, (known, weak));
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures::{channel::oneshot, future::join};

    use super::*;

    /// Counts the reads that are begun, each of which answers its number once it is let go.
    #[derive(Default)]
    struct Reads {
        shared: SharedReads<&'static str, u64, u32>,
        begun: AtomicU32,
    }

    impl Reads {
        fn join(
            &self,
            key: &'static str,
            known: u64,
        ) -> (Shared<Read<u32>>, Option<oneshot::Sender<()>>) {
            let mut sender = None;
            let read = self.shared.join(key, known, || {
                let (go, gone) = oneshot::channel();
                sender = Some(go);
                let number = self.begun.fetch_add(1, Ordering::Relaxed);
                async move {
                    gone.await.map_err(|_| Arc::new(kube::Error::TlsRequired))?;
                    Ok(number)
                }
                .boxed()
            });
            (read, sender)
        }
    }

    #[tokio::test]
    async fn all_who_want_the_same_at_the_same_time_have_one_answer() {
        let reads = Reads::default();
        let (first, go) = reads.join("edge", 1);
        let (second, none) = reads.join("edge", 1);
        assert!(none.is_none());
        // Whoever began it gives up.
        drop(first);
        go.unwrap().send(()).unwrap();
        assert_eq!(second.await.unwrap(), 0);
        let (_, go) = reads.join("edge", 1);
        assert!(go.is_some(), "the one before has ended");
    }

    #[tokio::test]
    async fn who_knows_of_more_than_was_known_when_a_read_began_begins_another() {
        let reads = Reads::default();
        let (first, go_first) = reads.join("edge", 1);
        let (second, go_second) = reads.join("edge", 2);
        let (other, go_other) = reads.join("other", 1);
        for go in [go_first, go_second, go_other] {
            go.unwrap().send(()).unwrap();
        }
        let (answers, other) = join(join(first, second), other).await;
        assert_eq!(answers.0.unwrap(), 0);
        assert_eq!((answers.1.unwrap(), other.unwrap()), (1, 2));
    }

    #[tokio::test]
    async fn one_that_has_ended_is_not_joined_though_somebody_still_has_its_answer() {
        let reads = Reads::default();
        let (first, go) = reads.join("edge", 1);
        drop(go);
        assert!(first.clone().await.is_err());
        let (_second, go) = reads.join("edge", 1);
        assert!(go.is_some());
        drop(first);
    }

    #[tokio::test]
    async fn nothing_is_kept_of_those_that_nobody_waits_for() {
        let reads = Reads::default();
        for key in ["one", "two", "three"] {
            drop(reads.join(key, 1));
        }
        let (_read, _go) = reads.join("four", 1);
        assert_eq!(reads.shared.0.lock().len(), 1);
    }
}
