//! Reads and writes the lease, as the [`election`](super::election) decides.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, api::PostParams};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::{
    election::{Election, Loss, Step},
    timings::{JITTER_FACTOR, Timings},
};
use crate::{
    clock::Clock,
    cluster::{leadership::Leadership, write::FIELD_MANAGER},
};

/// How long to try to release the lease. Where that fails, the next leader only waits until the lease expires.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long to wait before another attempt to release the lease, where one of our own writes was still under way.
const RELEASE_PAUSE: Duration = Duration::from_millis(100);

/// This process led, and must not act any longer. It ends, since nothing else stops the writes and requests that it has
/// begun.
#[derive(Debug, thiserror::Error)]
pub enum LostLease {
    /// No renewal succeeded in time.
    #[error("the lease {lease} could not be renewed in time: somebody else may lead by now")]
    NotRenewed {
        /// Namespace and name.
        lease: String,
    },
    /// Another holder stands in the lease.
    #[error("the lease {lease} was taken by somebody else")]
    Taken {
        /// Namespace and name.
        lease: String,
    },
}

/// A process that wants to lead.
pub struct Candidate {
    leases: Api<Lease>,
    /// Namespace and name, for people.
    lease: String,
    name: String,
    election: Election,
    timings: Timings,
    leadership: Leadership,
    clock: Clock,
    /// Whether what was written last is still known to be what is there. If not, the lease is read first.
    current: bool,
    /// The problem that was logged last, so that it is logged once.
    failure: Option<Failure>,
}

impl Candidate {
    /// A candidate for a lease, whose identity is `host` and something random: a lease that another process of the same
    /// host name holds is not ours.
    pub fn new(
        client: Client,
        namespace: &str,
        name: &str,
        host: &str,
        timings: Timings,
        clock: Clock,
    ) -> Self {
        let me = format!("{host}_{:016x}", random());
        Self {
            leases: Api::namespaced(client, namespace),
            lease: format!("{namespace}/{name}"),
            name: name.to_owned(),
            election: Election::new(name.to_owned(), me, timings),
            timings,
            leadership: Leadership::elected(clock.clone(), timings.renew_deadline()),
            clock,
            current: false,
            failure: None,
        }
    }

    /// Whether this process leads: renewed with the lease.
    pub fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// Waits until this process leads. `standing_by` is called whenever another process was seen to lead.
    pub async fn acquire(&mut self, standing_by: impl Fn()) {
        let mut leader = None;
        loop {
            self.attempt().await;
            let wait = match self.election.step(now()) {
                // Where the process was stopped meanwhile, the lease is lost at once, which `hold` finds out.
                Step::Renew | Step::Lost(_) => break,
                Step::Wait(wait) => {
                    let holder = self.election.holder().map(str::to_owned);
                    if leader != holder {
                        tracing::info!(lease = self.lease, holder, "standing by");
                        leader = holder;
                    }
                    standing_by();
                    wait
                }
                Step::Acquire => self.timings.retry_period(),
            };
            sleep(jittered(wait)).await;
        }
        tracing::info!(lease = self.lease, "leading");
    }

    /// Renews the lease, and returns as soon as this process must not act on it any longer. To be called while leading.
    pub async fn hold(&mut self) -> LostLease {
        let retry_period = self.timings.retry_period();
        let mut next = Instant::now() + jittered(retry_period);
        let loss = loop {
            match (self.election.step(now()), self.election.deadline()) {
                (Step::Lost(loss), _) => break loss,
                (_, None) => break Loss::NotRenewed,
                (_, Some(deadline)) => {
                    let attempt = async {
                        sleep_until(next).await;
                        next = Instant::now() + jittered(retry_period);
                        self.attempt().await;
                    };
                    // Where the call does not end in time, the next step says that the lease is lost.
                    let _ = timeout_at(deadline.into(), attempt).await;
                }
            }
        };
        self.leadership.end();
        let lease = self.lease.clone();
        match loss {
            Loss::NotRenewed => LostLease::NotRenewed { lease },
            Loss::Taken => LostLease::Taken { lease },
        }
    }

    /// Stops leading, and clears the holder so that another process can lead at once. Where that does not succeed within a
    /// second, the lease expires.
    pub async fn release(mut self) {
        self.leadership.end();
        let released = timeout(RELEASE_TIMEOUT, async {
            while self.try_release().await.is_err() {
                sleep(RELEASE_PAUSE).await;
            }
        });
        if released.await.is_err() {
            tracing::warn!(lease = self.lease, "the lease could not be given back");
        }
    }

    /// One attempt to find out who leads, and to lead. The next attempt repeats what failed.
    async fn attempt(&mut self) {
        let failure = self.try_to_lead().await.err();
        if let Some(failure) = &failure {
            let lease = &self.lease;
            if self.failure.as_ref() == Some(failure) {
                tracing::debug!(lease, "{failure}");
            } else {
                tracing::warn!(lease, "{failure}");
            }
        }
        self.failure = failure;
    }

    async fn try_to_lead(&mut self) -> Result<(), Failure> {
        if !self.current {
            self.look().await?;
        }
        match self.claim_if_due().await {
            // Another process was faster, or people edited or deleted the lease: it is read again at once, and not in two
            // seconds.
            Err(failure) if failure.is_conflict() => {
                self.look().await?;
                self.claim_if_due().await
            }
            result => result,
        }
    }

    async fn claim_if_due(&mut self) -> Result<(), Failure> {
        match self.election.step(now()) {
            Step::Acquire | Step::Renew => self.claim().await,
            Step::Wait(_) | Step::Lost(_) => Ok(()),
        }
    }

    async fn look(&mut self) -> Result<(), Failure> {
        let lease = self
            .call(Action::Get, self.leases.get_opt(&self.name))
            .await?;
        self.election.saw(lease, now());
        Ok(())
    }

    async fn claim(&mut self) -> Result<(), Failure> {
        // Without an answer, the lease may have been written or not.
        self.current = false;
        let began = self.clock.moment();
        let claim = self.election.claim(began.wall);
        let found = claim.metadata.resource_version.as_ref();
        if let Some(Ok(version)) = found.map(|version| version.parse())
            && !self.leadership.may_act()
        {
            self.leadership.take_over(version);
        }
        let written = if claim.metadata.resource_version.is_none() {
            self.call(Action::Create, self.leases.create(&params(), &claim))
                .await?
        } else {
            self.replace(&claim).await?
        };
        let began_at = began.monotonic.into_std();
        self.election.wrote(written, began_at, now());
        self.leadership.renew(began);
        self.current = true;
        Ok(())
    }

    /// Replaces the very lease that was read or written last: uid and resourceVersion are in it.
    async fn replace(&self, lease: &Lease) -> Result<Lease, Failure> {
        let params = params();
        let replaced = self.leases.replace(&self.name, &params, lease);
        self.call(Action::Update, replaced).await
    }

    /// Waits for a call, within its deadline.
    async fn call<T>(
        &self,
        action: Action,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Failure> {
        let status = match timeout(self.timings.call_timeout(), call).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(kube::Error::Api(status))) => Some(status.code),
            Ok(Err(_)) | Err(_) => None,
        };
        Err(Failure { action, status })
    }

    async fn try_release(&mut self) -> Result<(), Failure> {
        self.look().await?;
        if let Some(lease) = self.election.release(self.clock.now()) {
            self.replace(&lease).await?;
            tracing::info!(lease = self.lease, "given back");
        }
        Ok(())
    }
}

fn params() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.into()),
        ..PostParams::default()
    }
}

/// A call that failed. The text has nothing that the API server said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Failure {
    action: Action,
    /// The HTTP status; `None` where nothing was answered.
    status: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Get,
    Create,
    Update,
}

impl Failure {
    /// Whether the lease is another than the one that was seen, or was created by somebody else.
    fn is_conflict(&self) -> bool {
        self.status == Some(409)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = match self.action {
            Action::Get => "read (get leases)",
            Action::Create => "created (create leases)",
            Action::Update => "renewed (update leases)",
        };
        write!(f, "the lease cannot be {action}: the API server ")?;
        match self.status {
            Some(code) => write!(f, "answered HTTP {code}"),
            None => f.write_str("did not answer"),
        }
    }
}

/// The monotonic clock: tokio's, which a test can stop.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

fn jittered(wait: Duration) -> Duration {
    let part = f64::from(u32::try_from(random() >> 32).unwrap_or_default()) / f64::from(u32::MAX);
    wait.mul_f64(1.0 + (JITTER_FACTOR - 1.0) * part)
}

/// Random enough to tell processes apart: std seeds each map's hasher from the system.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}
