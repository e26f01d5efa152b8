//! What metrics of several kinds have in common: labels, and the series of each object.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};

use crate::cluster::object_key::ObjectKey;

/// The outcome of a request or a reconciliation without a problem.
pub const SUCCESS: &str = "Success";

/// Writes a gauge of each object that has a value for it.
pub fn encode_gauge<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (&'a ObjectKey, i64)>,
) -> Result<(), fmt::Error> {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (object, value) in values {
        let labels = [
            ("namespace", object.namespace.as_str()),
            ("name", object.name.as_str()),
        ];
        ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}
