//! Events.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use crate::{
    Bench, Result,
    report::Measured,
    scene::{PATIENCE, SILENCE, Scene},
};

/// Who publishes no Event for so long has none left.
const NO_MORE: Duration = Duration::from_secs(30);

pub async fn measure(bench: &Bench, measured: &mut Measured) -> Result<()> {
    let count = bench.settings.objects.min(bench.settings.pick(1_000, 200));
    let mut scene = Scene::set_up(bench).await?;
    let orders = scene.orders("edge", count);
    scene.create_credentials(&orders).await?;
    scene.operator.start().await?;
    scene.calls.until_quiet(SILENCE, PATIENCE).await?;
    let begin = Timestamp::now();
    scene.create(&orders).await?;
    scene.all_ready(&orders).await?;
    bench.say("waiting for the last Event");
    let calls = scene.calls.until_no_events(NO_MORE, PATIENCE).await?;
    let last = calls.last_event.unwrap_or(begin).duration_since(begin);
    let mut found = measured.of(format!("{count} objects"));
    found.figure("first created to last Event", last.as_secs_f64(), "s");
    found.figure("calls for Events", calls.events() as f64, "");
    Ok(())
}
