//! Starts.

use std::fs;

use crate::{Bench, Result, report::Measured, scene::Scene, statistics::sorted_milliseconds};

pub async fn measure(bench: &Bench, measured: &mut Measured) -> Result<()> {
    let mut scene = Scene::set_up(bench).await?;
    let mut times = Vec::new();
    for _ in 0..bench.settings.pick(20, 5) {
        times.push(scene.operator.start().await?);
        scene.operator.stop().await?;
    }
    measured
        .of("start to ready")
        .samples(&sorted_milliseconds(times));
    if let Ok(program) = fs::metadata(bench.subject.program()) {
        let size = program.len() as f64 / f64::from(1024 * 1024);
        measured.of("program").figure("size", size, "MiB");
    }
    Ok(())
}
