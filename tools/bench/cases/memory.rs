//! Memory by the number of objects.

use crate::{Bench, Result, report::Measured, scene::Scene, vitals};

pub async fn measure(bench: &Bench, measured: &mut Measured) -> Result<()> {
    let mut scene = Scene::set_up(bench).await?;
    let most = bench.settings.objects;
    let orders = scene.orders("edge", most);
    let mut sizes = vec![0, most.min(1_000), most / 2, most];
    sizes.sort_unstable();
    sizes.dedup();
    scene.operator.start().await?;
    let mut there = 0;
    let mut lines = [Vec::new(), Vec::new(), Vec::new()];
    let mut empty = None;
    for size in sizes {
        scene
            .fill(bench, orders.get(there..size).unwrap_or_default(), |_| ())
            .await?;
        there = size;
        let name = format!("{size} objects");
        let mut found = measured.of(&name);
        found.memory(scene.memory().await?);
        vitals::forget_peak(scene.operator.pid()?)?;
        let calls = scene.relist().await?;
        let memory = scene.memory().await?;
        let name = format!("{name}, after a relist");
        let mut found = measured.of(&name);
        found.memory(memory);
        found.figure("lists", calls.lists() as f64, "");
        let values = [memory.anonymous, memory.resident, memory.peak];
        for (line, value) in lines.iter_mut().zip(values) {
            line.push((size as f64, value));
        }
        let empty = *empty.get_or_insert(memory.anonymous);
        if size > 0 {
            let each = (memory.anonymous - empty) * 1024.0 / size as f64;
            found.figure("anonymous, for each object", each, "KiB");
        }
    }
    let names = [
        "anonymous, after a relist",
        "resident, after a relist",
        "peak in a relist",
    ];
    for (name, line) in names.into_iter().zip(lines) {
        measured.line("memory", name, line);
    }
    Ok(())
}
