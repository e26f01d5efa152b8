//! What takes long says so, on stderr and where that is a terminal.

use std::{future::Future, time::Duration};

use indicatif::ProgressBar;

/// What is done sooner says nothing.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often the picture changes.
const TICK: Duration = Duration::from_millis(120);

/// Waits for something, and says what for if it takes over a second.
pub async fn during<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    if let Ok(done) = tokio::time::timeout(PATIENCE, &mut work).await {
        return done;
    }
    let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
    spinner.enable_steady_tick(TICK);
    let done = work.await;
    spinner.finish_and_clear();
    done
}
