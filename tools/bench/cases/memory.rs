//! Memory by the number of objects.

use crate::{
    Bench, Result,
    report::Measured,
    scene::Scene,
    vitals::{self, Memory},
};

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
    let mut without = None;
    for size in sizes {
        scene
            .fill(bench, orders.get(there..size).unwrap_or_default(), |_| ())
            .await?;
        there = size;
        let name = format!("{size} objects");
        let both = add_memory(&mut scene, measured, &name, size, without).await?;
        without = without.or(Some(both));
        let [_, memory] = both;
        let values = [memory.anonymous, memory.resident, memory.peak];
        for (line, value) in lines.iter_mut().zip(values) {
            line.push((size as f64, value));
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

/// Adds the operator's memory with so many objects, as it is and after a relist, and what of it each takes where it was measured
/// without any. Returns both.
pub async fn add_memory(
    scene: &mut Scene,
    measured: &mut Measured,
    name: &str,
    objects: usize,
    without: Option<[Memory; 2]>,
) -> Result<[Memory; 2]> {
    let before = scene.memory().await?;
    let mut found = measured.of(name);
    found.memory(before);
    if let Some([without, _]) = without {
        found.memory_for_each(before, without, objects);
    }
    vitals::forget_peak(scene.operator.pid()?)?;
    let calls = scene.relist().await?;
    let after = scene.memory().await?;
    let mut found = measured.of(format!("{name}, after a relist"));
    found.memory(after);
    found.figure("lists", calls.lists() as f64, "");
    if let Some([_, without]) = without {
        found.memory_for_each(after, without, objects);
    }
    Ok([before, after])
}
