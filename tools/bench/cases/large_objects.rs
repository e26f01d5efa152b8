//! Memory with large objects.

use serde_json::{Value, json};

use crate::{Bench, Result, cases::memory::add_memory, report::Measured, scene::Scene};

pub async fn measure(bench: &Bench, measured: &mut Measured) -> Result<()> {
    let count = bench.settings.objects;
    let mut scene = Scene::set_up(bench).await?;
    let orders = scene.orders("edge", count);
    scene.operator.start().await?;
    scene.fill(bench, &orders, enlarge).await?;
    let name = format!("{count} objects of 60 KB");
    add_memory(&mut scene, measured, &name, count, None).await?;
    Ok(())
}

/// Fills what a tenant may fill: the parameters of the request and the target's annotations as far as they go, and the rest
/// of 60 KB in an annotation.
fn enlarge(object: &mut Value) {
    let text = |size: usize| "x".repeat(size);
    object["metadata"]["annotations"]["example.com/notes"] = text(52_000).into();
    object["spec"]["tokenRequest"]["extraParameters"] =
        json!({"a": text(1_000), "b": text(1_000), "c": text(1_000), "d": text(900)});
    object["spec"]["target"]["annotations"]["example.com/notes"] = text(3_900).into();
}
