//! The labels that several metrics have.

use prometheus_client::encoding::EncodeLabelSet;

/// The outcome of a request or a reconciliation without a problem.
pub const SUCCESS: &str = "Success";

/// Which object a series is of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ObjectLabels {
    pub namespace: String,
    pub name: String,
}
