//! Calls of the Kubernetes API: each within a deadline, few at a time, and changes only while this process leads.

use std::{sync::Arc, time::Duration};

use kube::Client;
use tokio::{sync::Semaphore, time::timeout};

use super::leadership::{Leadership, NotLeading};

/// How long one call of the Kubernetes API may take, repetitions by the client included. The client itself sets no
/// limit to how long an answer may take, and one call to an API server that hangs would block an object for ever.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// How many calls are made at a time, unless `--concurrency` says otherwise.
pub const CONCURRENCY: &str = "16";

/// The way to the Kubernetes API. All clones share the places.
#[derive(Clone)]
pub struct Calls {
    client: Client,
    leadership: Leadership,
    /// Limits calls rather than objects: one that waits for a token endpoint must not keep others waiting.
    places: Arc<Semaphore>,
    concurrency: usize,
}

impl Calls {
    /// Calls through `client`, at most `concurrency` at a time.
    pub fn new(client: Client, leadership: Leadership, concurrency: usize) -> Self {
        Self {
            client,
            leadership,
            places: Arc::new(Semaphore::new(concurrency)),
            concurrency,
        }
    }

    /// The client, for an `Api` whose calls are then made by [`read`](Self::read) and [`write`](Self::write).
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Fails where this process does not lead: then it must not request, write or publish anything.
    pub fn check_leadership(&self) -> Result<(), NotLeading> {
        self.leadership.check()
    }

    /// A version of the API server's store at which the process before this one still acted, if one is known.
    pub fn taken_over_at(&self) -> Option<u64> {
        self.leadership.taken_over_at()
    }

    /// Whether more than a quarter of the calls that may be made at a time are being made: what can wait waits.
    pub fn is_busy(&self) -> bool {
        let made = self
            .concurrency
            .saturating_sub(self.places.available_permits());
        made * 4 > self.concurrency
    }

    /// Makes a call, within its deadline, as soon as fewer than `concurrency` others are being made.
    pub fn read<T>(
        &self,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> impl Future<Output = Result<T, kube::Error>> {
        let call = within_deadline(call);
        async {
            // The semaphore is never closed.
            let _place = self.places.acquire().await;
            call.await
        }
    }

    /// As [`read`](Self::read), for a call that changes something: made only if this process leads right then.
    pub fn write<T>(
        &self,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> impl Future<Output = Result<Result<T, kube::Error>, NotLeading>> {
        let call = within_deadline(call);
        async {
            let _place = self.places.acquire().await;
            self.leadership.check()?;
            Ok(call.await)
        }
    }
}

/// A call that fails where it takes too long from when it is waited for. It is in a box, so that it takes room once in all that
/// waits for it, rather than once in each of them.
fn within_deadline<T>(
    call: impl Future<Output = Result<T, kube::Error>>,
) -> impl Future<Output = Result<T, kube::Error>> {
    let call = Box::pin(call);
    async {
        let result = timeout(CALL_TIMEOUT, call).await;
        result.unwrap_or_else(|elapsed| Err(kube::Error::Service(elapsed.into())))
    }
}
