//! Scrapes.

use crate::{
    Bench, Result, report::Measured, scene::Scene, statistics::sorted_milliseconds, vitals,
};

pub async fn measure(bench: &Bench, measured: &mut Measured) -> Result<()> {
    let count = bench.settings.objects;
    let (scene, _) = Scene::with_ready(bench, count).await?;
    let pid = scene.operator.pid()?;
    let (mut times, mut more, mut size) = (Vec::new(), 0.0, 0);
    for _ in 0..10 {
        let before = scene.memory().await?;
        vitals::forget_peak(pid)?;
        let (text, time) = scene.operator.metrics().await?;
        times.push(time);
        size = text.len();
        more = f64::max(more, vitals::memory(pid)?.peak - before.resident);
    }
    let name = format!("/metrics with {count} objects");
    let mut found = measured.of(&name);
    found.samples(&sorted_milliseconds(times));
    found.figure("more memory at the peak", more, "MiB");
    found.figure("size", size as f64 / 1024.0, "KiB");
    Ok(())
}
