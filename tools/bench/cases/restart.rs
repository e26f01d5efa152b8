//! Restarts.

use k8s_openapi::jiff::Timestamp;

use crate::{
    Bench, Result,
    report::{Found, Measured},
    scene::{PATIENCE, SILENCE, Scene},
};

pub async fn measure(bench: &Bench, measured: &mut Measured) -> Result<()> {
    for count in bench.settings.sizes() {
        let (mut scene, _) = Scene::with_ready(bench, count).await?;
        let requests = scene.endpoint.requests();
        let mut found = measured.of(format!("{count} valid tokens"));
        restart(&mut scene, &mut found).await?;
        let requests = scene.endpoint.requests() - requests;
        found.figure("token requests", requests as f64, "");
    }
    Ok(())
}

/// Restarts the operator, and adds what it did until it was quiet.
pub async fn restart(scene: &mut Scene, found: &mut Found<'_>) -> Result<()> {
    scene.operator.stop().await?;
    scene.calls.take()?;
    let begin = Timestamp::now();
    let ready = scene.operator.start().await?;
    let calls = scene.calls.until_quiet(SILENCE, PATIENCE).await?;
    let last = calls.last.unwrap_or(begin).duration_since(begin);
    found.figure("until ready", ready.as_secs_f64(), "s");
    found.figure("last call", last.as_secs_f64(), "s");
    found.calls(&calls);
    found.figure("CPU", scene.cpu()?, "s");
    found.memory(scene.memory().await?);
    Ok(())
}
