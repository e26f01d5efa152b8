//! Asking a running operator whether it serves the cluster: for `helm test`, in an image that has no other program.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(3);

/// How long to wait before asking again: a pod that has just been started may not reach a Service yet.
const INTERVAL: Duration = Duration::from_secs(1);

/// Why the operator does not count as serving the cluster.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// No client could be made.
    #[error("no HTTP client could be made")]
    Client(#[source] reqwest::Error),
    /// There was no answer.
    #[error("{url} does not answer")]
    NoAnswer {
        /// What was asked.
        url: String,
        /// The last attempt's error.
        source: reqwest::Error,
    },
    /// The operator answered that it is not ready.
    #[error("{url} answers {status}: the operator does not serve the cluster")]
    NotReady {
        /// What was asked.
        url: String,
        /// The last answer.
        status: reqwest::StatusCode,
    },
}

/// Asks `url` until it answers 200, for as long as `patience`; then fails with the last answer.
pub async fn check(url: &str, patience: Duration) -> Result<(), CheckError> {
    let client = reqwest::Client::builder()
        // A proxy is for token endpoints.
        .no_proxy()
        .timeout(TIMEOUT)
        .build()
        .map_err(CheckError::Client)?;
    let start = Instant::now();
    loop {
        let url = url.to_owned();
        let error = match client.get(&url).send().await {
            Ok(answer) if answer.status() == reqwest::StatusCode::OK => return Ok(()),
            Ok(answer) => CheckError::NotReady {
                url,
                status: answer.status(),
            },
            Err(source) => CheckError::NoAnswer {
                url,
                source: source.without_url(),
            },
        };
        if start.elapsed() + INTERVAL > patience {
            return Err(error);
        }
        sleep(INTERVAL).await;
    }
}
