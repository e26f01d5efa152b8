//! Whole objects, or only their metadata.

use serde_json::{Value, json};

/// What of an object an answer shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    Whole,
    /// `PartialObjectMetadata` of `meta.k8s.io/v1`.
    Metadata,
}

impl View {
    /// The first form in an `Accept` header decides, as for the API server when it knows the form.
    pub fn accepted(accept: &str) -> Self {
        let first = accept.split(',').next().unwrap_or_default();
        let partial = first.split(';').map(str::trim).any(|p| {
            matches!(
                p,
                "as=PartialObjectMetadata" | "as=PartialObjectMetadataList"
            )
        });
        if partial { Self::Metadata } else { Self::Whole }
    }

    pub fn of(self, object: &Value) -> Value {
        match self {
            Self::Whole => object.clone(),
            Self::Metadata => json!({
                "apiVersion": "meta.k8s.io/v1",
                "kind": "PartialObjectMetadata",
                "metadata": object["metadata"],
            }),
        }
    }
}
