//! Whether the API server knows a kind at all: its CustomResourceDefinition can be deleted, and come back.

use std::{sync::Arc, time::Duration};

use kube::{Api, Resource, api::ListParams};
use serde::de::DeserializeOwned;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

/// How often to ask again while it does not.
pub const INTERVAL: Duration = Duration::from_secs(10);

/// How long the API server may take for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Whether the CustomResourceDefinition is missing, as far as is known. All clones share one state.
#[derive(Clone, Debug)]
pub struct CrdPresence {
    kind: String,
    is_optional: bool,
    missing: Arc<watch::Sender<bool>>,
}

impl CrdPresence {
    /// Takes the definition of a kind to be there, until a watch says otherwise.
    pub fn of<K: Resource<DynamicType = ()>>() -> Self {
        Self {
            kind: K::kind(&()).into_owned(),
            is_optional: false,
            missing: Arc::new(watch::Sender::new(false)),
        }
    }

    /// As [`of`](Self::of), of a kind that need not be there: whoever does not install its definition does not want it.
    pub fn of_optional<K: Resource<DynamicType = ()>>() -> Self {
        Self {
            is_optional: true,
            ..Self::of::<K>()
        }
    }

    /// Whether it need not be there.
    pub fn is_optional(&self) -> bool {
        self.is_optional
    }

    /// Whether it is missing.
    pub fn is_missing(&self) -> bool {
        *self.missing.borrow()
    }

    /// The API server answered a watch that it does not know the kind.
    pub fn went_missing(&self) {
        if self.missing.send_replace(true) {
            return;
        }
        if self.is_optional {
            tracing::info!(
                "the CustomResourceDefinition of {}s is not installed: they are not served until it is",
                self.kind
            );
        } else {
            tracing::error!(
                "the CustomResourceDefinition of {}s is missing: nothing is done until it is installed",
                self.kind
            );
        }
    }

    /// Looks for it whenever it is missing. Never ends.
    pub async fn look_for<K>(&self, objects: Api<K>)
    where
        K: Clone + std::fmt::Debug + DeserializeOwned,
    {
        let mut missing = self.missing.subscribe();
        let one = ListParams::default().limit(1);
        // Fails only where there is no sender, and `self` is one.
        while missing.wait_for(|missing| *missing).await.is_ok() {
            sleep(INTERVAL).await;
            let answer = timeout(TIMEOUT, objects.list_metadata(&one)).await;
            if matches!(answer, Ok(Ok(_))) && self.missing.send_replace(false) {
                tracing::info!(
                    "the CustomResourceDefinition of {}s is there again",
                    self.kind
                );
            }
        }
    }
}
