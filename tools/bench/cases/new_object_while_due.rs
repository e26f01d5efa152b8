//! New objects right after a start at which all renewals are due.

use std::time::Duration;

use crate::{
    Bench, Result,
    cases::{
        new_object::{distribution, one_by_one},
        wave::{self, renew_early, sleep_until},
    },
    endpoint::Behaviour,
    report::Measured,
    scene::Scene,
    statistics::sorted_milliseconds,
};

pub async fn measure(bench: &Bench, measured: &mut Measured) -> Result<()> {
    let count = bench.settings.objects;
    let mut scene = Scene::set_up(bench).await?;
    // The first tokens are renewed when a tenth of this is over, and the last ones expire long after that.
    let lifetime = bench
        .settings
        .pick(Duration::from_mins(60), Duration::from_mins(10));
    scene.endpoint.set(Behaviour {
        lifetime,
        ..Behaviour::default()
    });
    let orders = scene.orders("due", count);
    let new = scene.orders("new", 100);
    scene.create_credentials(&new).await?;
    scene.operator.start().await?;
    scene.fill(bench, &orders, renew_early).await?;
    let due = wave::renewals(&scene).await?;
    scene.operator.stop().await?;
    bench.say("waiting until all are due");
    if let Some(last) = due.values().max() {
        sleep_until(*last).await;
    }

    let asked = scene.endpoint.renewed();
    scene.operator.start().await?;
    let times = one_by_one(&scene, &new, || scene.endpoint.renewed() < count).await?;
    let renewed = scene.endpoint.renewed() - asked;
    let times = sorted_milliseconds(times);
    let name = format!("one object to its Secret, {count} renewals due");
    let mut found = measured.of(&name);
    found.samples(&times);
    found.figure("renewals requested meanwhile", renewed as f64, "");
    let line = format!("while {count} renewals are due");
    measured.line("latency", line, distribution(&times));
    Ok(())
}
