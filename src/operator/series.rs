//! What metrics of several kinds have in common: labels, and the series of each object.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};

use crate::cluster::object_key::ObjectKey;

/// The outcome of a request or a reconciliation without a problem.
pub const SUCCESS: &str = "Success";

/// Which object a series is of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ObjectLabels {
    namespace: String,
    name: String,
}

/// Writes a gauge of each object that has a value for it.
pub fn encode_gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (ObjectKey, i64)>,
) -> Result<(), fmt::Error> {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (object, value) in values {
        let labels = ObjectLabels {
            namespace: object.namespace,
            name: object.name,
        };
        ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}
