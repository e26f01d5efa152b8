//! What the operator that is never killed takes: memory and descriptors, as the kernel counts them.

use std::{convert::Infallible, fs, io, time::Duration};

use tokio::time::interval;

use crate::{
    Result,
    history::{Vitals, now},
    scene::Scene,
};

/// How often to measure.
const EVERY: Duration = Duration::from_secs(5);

/// Measures until the operator is gone.
pub async fn watch(scene: &Scene) -> Result<Infallible> {
    let pid = scene.steady.lock().await.pid();
    let pid = pid.ok_or("the operator does not run")?;
    let mut ticks = interval(EVERY);
    loop {
        ticks.tick().await;
        let vitals = measure(pid)?;
        scene.history.lock().vitals.push(vitals);
    }
}

fn measure(pid: u32) -> Result<Vitals> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kibibytes: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .and_then(|value| value.trim().strip_suffix(" kB"))
        .ok_or_else(|| io::Error::other("the kernel does not tell RssAnon"))?
        .parse()?;
    Ok(Vitals {
        at: now(),
        memory: kibibytes / 1024.0,
        descriptors: fs::read_dir(format!("/proc/{pid}/fd"))?.count() as f64,
    })
}
