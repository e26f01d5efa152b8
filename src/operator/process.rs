//! `process_*` metrics, with the names that every Prometheus client uses.

use std::fmt;

use procfs::{WithCurrentSystemInfo, process::Process};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

/// Reads `/proc` at scrape time.
#[derive(Debug)]
pub struct ProcessCollector;

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Ok((process, stat)) = Process::myself().and_then(|process| {
            let stat = process.stat()?;
            Ok((process, stat))
        }) else {
            return Ok(());
        };
        let ticks = procfs::ticks_per_second() as f64;
        let cpu = ConstCounter::new((stat.utime + stat.stime) as f64 / ticks);
        cpu.encode(encoder.encode_descriptor(
            "process_cpu_seconds",
            "CPU time spent, in seconds.",
            None,
            MetricType::Counter,
        )?)?;
        let started =
            procfs::boot_time_secs().map(|boot| boot as f64 + stat.starttime as f64 / ticks);
        let gauges = [
            (
                "process_resident_memory_bytes",
                "Resident memory, in bytes.",
                Some(stat.rss_bytes().get() as f64),
            ),
            (
                "process_virtual_memory_bytes",
                "Virtual memory, in bytes.",
                Some(stat.vsize as f64),
            ),
            (
                "process_open_fds",
                "Open file descriptors.",
                process.fd_count().ok().map(|count| count as f64),
            ),
            (
                "process_start_time_seconds",
                "When the process started, in seconds since 1970.",
                started.ok(),
            ),
        ];
        for (name, help, value) in gauges {
            if let Some(value) = value {
                ConstGauge::new(value).encode(encoder.encode_descriptor(
                    name,
                    help,
                    None,
                    MetricType::Gauge,
                )?)?;
            }
        }
        Ok(())
    }
}
