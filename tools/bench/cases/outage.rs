//! Outages of the token endpoint.

use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::sleep;

use crate::{
    Bench, Result,
    endpoint::{Answer, Behaviour},
    report::Measured,
    scene::{NAMESPACES, PATIENCE, SILENCE, Scene, namespace},
    statistics::sorted,
    template::Order,
};

/// How far apart retries may be: an outage ends at any time of one.
const PHASES: f64 = 8.0;

/// How long after one outage the next one begins. They overlap, as hardly anything is done in one, but none ends while
/// another does.
const STAGGER: Duration = Duration::from_secs(30);

pub async fn measure(bench: &Bench, measured: &mut Measured) -> Result<()> {
    let outage = bench
        .settings
        .pick(Duration::from_mins(2), Duration::from_secs(20));
    let starts = bench.settings.pick(20, 2);
    let seconds = outage.as_secs();

    let outages = stream::iter(0..starts).map(async |start| {
        sleep(STAGGER * start).await;
        bench.say(format!("outage {} of {starts}", start + 1));
        let mut scene = Scene::set_up(bench).await?;
        let mut orders = scene.orders("outage", 200);
        for order in &mut orders {
            order.namespace = namespace(0);
        }
        once(&mut scene, &orders, outage).await
    });
    let outages = outages.buffer_unordered(starts as usize);
    let (requests, recoveries): (Vec<_>, Vec<_>) = outages.try_collect().await?;
    let (requests, recoveries) = (sorted(requests), sorted(recoveries));
    let name = format!("{starts} times {seconds} s, 200 new objects of one namespace");
    let mut found = measured.of(&name);
    found.percentiles("token requests meanwhile", &requests, "");
    found.percentiles("end to all ready", &recoveries, "s");

    let count = bench.settings.objects.min(1_000);
    bench.say(format!("an outage with {count} objects"));
    let mut scene = Scene::set_up(bench).await?;
    let orders = scene.orders("outage", count);
    let (asked, recovered) = once(&mut scene, &orders, outage).await?;
    let name = format!("once {seconds} s, {count} new objects of {NAMESPACES} namespaces");
    let mut found = measured.of(&name);
    found.figure("token requests meanwhile", asked, "");
    found.figure("end to all ready", recovered, "s");
    Ok(())
}

/// Starts the operator, has an outage, and returns how many token requests came while it lasted and how many seconds after
/// its end all objects were ready.
async fn once(scene: &mut Scene, orders: &[Order], outage: Duration) -> Result<(f64, f64)> {
    scene.create_credentials(orders).await?;
    scene.operator.start().await?;
    scene.calls.until_quiet(SILENCE, PATIENCE).await?;
    let before = scene.endpoint.requests();
    scene.endpoint.set(Behaviour {
        answer: Answer::Unavailable,
        ..Behaviour::default()
    });
    let begin = scene.create(orders).await?;
    let phase = Duration::from_secs_f64(fastrand::f64() * PHASES);
    sleep((outage + phase).saturating_sub(begin.elapsed())).await;
    let asked = scene.endpoint.requests() - before;
    scene.endpoint.set(Behaviour::default());
    let end = Instant::now();
    let ready = scene.all_ready(orders).await?;
    let last = ready.iter().max().copied().unwrap_or(end);
    Ok((asked as f64, last.duration_since(end).as_secs_f64()))
}
