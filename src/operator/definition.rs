//! Whether the API server knows EdgeCredentials at all: their CustomResourceDefinition can be deleted, and come back.

use std::{sync::Arc, time::Duration};

use kube::{Api, api::ListParams};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::watched::Watched;

/// How often to look while it does not.
pub const INTERVAL: Duration = Duration::from_secs(10);

/// How long the API server may take for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Whether the CustomResourceDefinition is missing, as far as is known. Clones are the same.
#[derive(Clone, Debug)]
pub struct CrdPresence(Arc<watch::Sender<bool>>);

impl Default for CrdPresence {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl CrdPresence {
    /// Whether it is missing.
    pub fn is_missing(&self) -> bool {
        *self.0.borrow()
    }

    /// A watch was told that there is no such kind.
    pub fn went_missing(&self) {
        if !self.0.send_replace(true) {
            tracing::error!(
                "the CustomResourceDefinition of EdgeCredentials is missing: nothing is done until it is installed"
            );
        }
    }

    /// Looks for it whenever it is missing. Never ends.
    pub async fn look_for(&self, objects: Api<Watched>) {
        let mut missing = self.0.subscribe();
        let one = ListParams::default().limit(1);
        // Fails only where there is no sender, and `self` is one.
        while missing.wait_for(|missing| *missing).await.is_ok() {
            sleep(INTERVAL).await;
            let answer = timeout(TIMEOUT, objects.list_metadata(&one)).await;
            if matches!(answer, Ok(Ok(_))) && self.0.send_replace(false) {
                tracing::info!("the CustomResourceDefinition of EdgeCredentials is there again");
            }
        }
    }
}
