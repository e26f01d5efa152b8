//! Where the time comes from.

use std::{fmt, sync::Arc, time::Duration};

use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

/// Tells the wall-clock time. Given to what needs it, so that a test can run days in milliseconds.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The machine's own clock.
    pub fn system() -> Self {
        Self::from_fn(Timestamp::now)
    }

    /// A clock that asks `now`.
    pub fn from_fn(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }

    /// What this clock and the monotonic one show now.
    pub fn moment(&self) -> Moment {
        Moment {
            wall: self.now(),
            monotonic: Instant::now(),
        }
    }
}

/// Both clocks at one moment. The wall clock can be set; the monotonic one stands still while the machine is suspended.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The wall clock.
    pub wall: Timestamp,
    /// The clock that timers wait on.
    pub monotonic: Instant,
}

impl Moment {
    /// How much time went by until `later`: what the clock says that saw more of it.
    pub fn elapsed(&self, later: &Self) -> Duration {
        let by_wall = later.wall.duration_since(self.wall);
        let by_wall = Duration::try_from(by_wall).unwrap_or_default();
        by_wall.max(later.monotonic.duration_since(self.monotonic))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
