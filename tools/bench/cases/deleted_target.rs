//! Deleted Secrets.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, api::DeleteParams};
use tokio::time::sleep;

use crate::{
    Bench, Result, cases::new_object::distribution, report::Measured, scene::Scene,
    statistics::sorted_milliseconds, template::Order,
};

/// How many are deleted each time.
const COUNT: usize = 20;

/// An operator that has not given it back by then does not.
const LIMIT: Duration = Duration::from_secs(60);

/// How long to wait before the next one.
const PAUSE: Duration = Duration::from_millis(200);

pub async fn measure(bench: &Bench, measured: &mut Measured) -> Result<()> {
    let (mut scene, orders) = Scene::with_ready(bench, COUNT * 2).await?;
    let (running, restarted) = orders.split_at(COUNT);
    delete(&scene, running, measured, "while it runs").await?;
    scene.operator.stop().await?;
    scene.operator.start().await?;
    delete(&scene, restarted, measured, "right after a restart").await
}

async fn delete(
    scene: &Scene,
    orders: &[Order],
    measured: &mut Measured,
    when: &str,
) -> Result<()> {
    let ready = &scene.subject.ready;
    let requests = scene.endpoint.requests();
    let mut times = Vec::with_capacity(orders.len());
    for order in orders {
        let name = ready.secret(order).ok_or("readiness names no Secret")?;
        let key = ready.key(order);
        let arrival = scene
            .arrivals
            .get(&key)
            .ok_or("the Secret was never seen")?;
        let secrets = Api::<Secret>::namespaced(scene.client.clone(), &order.namespace);
        let start = Instant::now();
        secrets.delete(&name, &DeleteParams::default()).await?;
        let back = scene.arrivals.other_than(&key, &arrival.uid, LIMIT).await?;
        times.push(back.duration_since(start));
        sleep(PAUSE).await;
    }
    let times = sorted_milliseconds(times);
    let requests = scene.endpoint.requests() - requests;
    let name = format!("deleted to back, {when}");
    measured.of(&name).samples(&times);
    measured
        .of(&name)
        .figure("token requests", requests as f64, "");
    measured.line("latency", name, distribution(&times));
    Ok(())
}
