//! Notices that the wall clock and the timers disagree: the machine was suspended, or its clock was corrected.

use std::time::Duration;

use futures::{Stream, stream::unfold};
use k8s_openapi::jiff::SignedDuration;
use tokio::{
    sync::mpsc::{self, Sender},
    time::sleep,
};

use crate::clock::{Clock, Moment};

/// How often to compare.
const INTERVAL: Duration = Duration::from_secs(10);

/// How far the two may be apart: more than NTP adjusts a clock by in steady operation, less than matters to a token.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(5);

/// An item for each jump. Timers wait on the monotonic clock, tokens expire by the wall clock: after a jump every
/// object has to be reconciled.
///
/// A task of its own compares the clocks until the stream is dropped, so that the controller is woken by jumps only and
/// not by each comparison.
pub fn watch_jumps(clock: Clock) -> impl Stream<Item = ()> + Send + Sync {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(compare(clock, sender));
    unfold(receiver, async |mut receiver| {
        receiver.recv().await?;
        Some(((), receiver))
    })
}

async fn compare(clock: Clock, jumps: Sender<()>) {
    let mut last = clock.moment();
    while !jumps.is_closed() {
        sleep(INTERVAL).await;
        let now = clock.moment();
        let drift = drift(&last, &now);
        last = now;
        if drift > TOLERANCE {
            tracing::info!(
                seconds = drift.as_secs(),
                "the clock jumped: everything is looked at again"
            );
            // Where the last jump has not been taken from the channel yet, one pass over all objects is enough for both.
            let _ = jumps.try_send(());
        }
    }
}

/// How far the wall clock and the monotonic clock drifted apart between two moments, in either direction.
fn drift(from: &Moment, to: &Moment) -> SignedDuration {
    let elapsed = to.monotonic.duration_since(from.monotonic);
    let elapsed = SignedDuration::try_from(elapsed).unwrap_or(SignedDuration::MAX);
    let passed = to.wall.duration_since(from.wall);
    passed.saturating_sub(elapsed).abs()
}
