//! Secrets as they were, from the history that the API server keeps for some minutes.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use tokio::time::sleep;

use super::{errors::is_refusal, secrets::Secrets, shared_reads::Answer};

/// How often the API server is asked that does not answer.
const TRIES: usize = 3;

/// The time between.
const PAUSE: Duration = Duration::from_secs(1);

/// Reads a Secret as it was, if it was there. `None` where that is not known any more, may not be read, or is not answered.
pub async fn read_at(secrets: &Secrets<'_>, name: &str, version: u64) -> Option<Option<Secret>> {
    for attempt in 1..=TRIES {
        match secrets.read_at(name, version).await {
            Ok(found) => return Some(found),
            Err(error) if is_refusal(&error) => return None,
            Err(_) if attempt == TRIES => {}
            Err(_) => sleep(PAUSE).await,
        }
    }
    None
}

/// What is found in a Secret as it is or, where that has it no longer, as it was. `None` where it may not be read.
pub async fn find_now_or_before<T>(
    secrets: &Secrets<'_>,
    name: &str,
    find: impl Fn(&Secret) -> Option<T>,
) -> Answer<Option<T>> {
    match secrets.read_with_others(name).await {
        Ok(secret) => {
            if let Some(found) = secret.as_ref().and_then(&find) {
                return Ok(Some(found));
            }
        }
        Err(error) if is_refusal(&error) => return Ok(None),
        Err(error) => return Err(error),
    }
    for version in secrets.versions_before(name, None) {
        // What is older than a history that is gone is gone too.
        let Some(secret) = read_at(secrets, name, version).await else {
            return Ok(None);
        };
        if let Some(found) = secret.as_ref().and_then(&find) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
