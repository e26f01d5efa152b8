//! Restarts.

use k8s_openapi::jiff::Timestamp;

use crate::{
    Bench, Result,
    report::Measured,
    scene::{PATIENCE, SILENCE, Scene},
};

pub async fn measure(bench: &Bench, measured: &mut Measured) -> Result<()> {
    for count in bench.settings.sizes() {
        let (mut scene, _) = Scene::with_ready(bench, count).await?;
        scene.operator.stop().await?;
        scene.calls.take()?;
        let requests = scene.endpoint.requests();
        let begin = Timestamp::now();
        let ready = scene.operator.start().await?;
        let calls = scene.calls.until_quiet(SILENCE, PATIENCE).await?;
        let last = calls.last.unwrap_or(begin).duration_since(begin);
        let name = format!("{count} valid tokens");
        measured
            .of(&name)
            .figure("until ready", ready.as_secs_f64(), "s");
        measured
            .of(&name)
            .figure("last call", last.as_secs_f64(), "s");
        measured.of(&name).calls(&calls);
        let requests = scene.endpoint.requests() - requests;
        measured
            .of(&name)
            .figure("token requests", requests as f64, "");
        measured.of(&name).figure("CPU", scene.cpu()?, "s");
        measured.of(&name).memory(scene.memory().await?);
    }
    Ok(())
}
