//! A scene for each test: namespaces and a stand-in for Sitecore of its own, and the operator, installed with the chart.
//!
//! Everything here panics where something goes wrong: then the control plane's folder stays for a look, with all logs.

mod edge_tokens;
mod namespace;
mod operator;
mod scene;

pub use edge_tokens::edge_token_condition;
pub use namespace::{CLIENT, CREDENTIALS, Namespace, SECRET, condition, credentials, proof, text};
pub use operator::Operator;
pub use scene::{CHART, Scene, Setup, assert_nothing_was_refused, crd_is_served, deployed};

use std::time::{Duration, Instant};

/// Many times what anything takes on a machine with other things to do. For what has no limit in time of its own: only a
/// test that fails waits so long.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// What the operator does at once it does because a watch told of a change, and not because a wait was over: what failed
/// is tried again after 5 s. It promises a second, and needs some 30 ms; the rest is for a machine that is busy.
pub const AT_ONCE: Duration = Duration::from_secs(4);

/// How often to look.
const POLL: Duration = Duration::from_millis(20);

/// Waits until `look` finds something; `None` if it doesn't in time.
pub async fn find<T>(limit: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look().await {
            return Some(found);
        }
        if start.elapsed() > limit {
            return None;
        }
        tokio::time::sleep(POLL).await;
    }
}
