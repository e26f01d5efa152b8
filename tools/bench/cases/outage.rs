//! Outages of the token endpoint.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};
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

pub async fn measure(bench: &Bench, measured: &mut Measured) -> Result<()> {
    let mut scene = Scene::set_up(bench).await?;
    let outage = bench
        .settings
        .pick(Duration::from_mins(2), Duration::from_secs(20));
    let starts = bench.settings.pick(20, 2);
    let seconds = outage.as_secs();

    let (mut requests, mut recoveries) = (Vec::new(), Vec::new());
    for start in 0..starts {
        bench.say(format!("outage {} of {starts}", start + 1));
        let mut orders = scene.orders(&format!("outage-{start}"), 200);
        for order in &mut orders {
            order.namespace = namespace(0);
        }
        let (asked, recovered) = once(&mut scene, &orders, outage).await?;
        requests.push(asked);
        recoveries.push(recovered);
    }
    let (requests, recoveries) = (sorted(requests), sorted(recoveries));
    let name = format!("{starts} times {seconds} s, 200 new objects of one namespace");
    let mut found = measured.of(&name);
    found.percentiles("token requests meanwhile", &requests, "");
    found.percentiles("end to all ready", &recoveries, "s");

    let count = bench.settings.objects.min(1_000);
    bench.say(format!("an outage with {count} objects"));
    let orders = scene.orders("outage-of-many", count);
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

    scene.operator.stop().await?;
    let (params, everything) = (DeleteParams::default(), ListParams::default());
    for number in 0..NAMESPACES {
        let namespace = namespace(number);
        let objects = scene.objects(&namespace);
        objects.delete_collection(&params, &everything).await?;
        let secrets = Api::<Secret>::namespaced(scene.client.clone(), &namespace);
        secrets.delete_collection(&params, &everything).await?;
    }
    Ok((asked as f64, last.duration_since(end).as_secs_f64()))
}
