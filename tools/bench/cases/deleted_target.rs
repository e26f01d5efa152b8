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
    let (mut scene, orders) = Scene::with_ready(bench, COUNT * 3).await?;
    let (running, orders) = orders.split_at(COUNT);
    let (restarted, stopped) = orders.split_at(COUNT);

    let before = scene.endpoint.requests();
    let times = one_by_one(&scene, running).await?;
    let requests = scene.endpoint.requests() - before;
    tell(measured, "deleted to back, while it runs", times, requests);

    scene.operator.stop().await?;
    scene.operator.start().await?;
    let before = scene.endpoint.requests();
    let times = one_by_one(&scene, restarted).await?;
    let requests = scene.endpoint.requests() - before;
    let name = "deleted to back, right after a restart";
    tell(measured, name, times, requests);

    scene.operator.stop().await?;
    let before = scene.endpoint.requests();
    let mut deleted = Vec::with_capacity(COUNT);
    for order in stopped {
        deleted.push((order, delete(&scene, order).await?));
    }
    let start = Instant::now();
    scene.operator.start().await?;
    let mut times = Vec::with_capacity(COUNT);
    for (order, uid) in deleted {
        times.push(back(&scene, order, &uid).await?.duration_since(start));
    }
    let requests = scene.endpoint.requests() - before;
    let name = "deleted while none ran, from its start to back";
    tell(measured, name, times, requests);
    Ok(())
}

/// Deletes Secrets, each when the one before is back, and returns how long each took.
async fn one_by_one(scene: &Scene, orders: &[Order]) -> Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(orders.len());
    for order in orders {
        let start = Instant::now();
        let uid = delete(scene, order).await?;
        times.push(back(scene, order, &uid).await?.duration_since(start));
        sleep(PAUSE).await;
    }
    Ok(times)
}

/// Deletes an object's Secret, and returns its uid.
async fn delete(scene: &Scene, order: &Order) -> Result<String> {
    let ready = &scene.subject.ready;
    let name = ready.secret(order).ok_or("readiness names no Secret")?;
    let arrival = scene.arrivals.get(&ready.key(order));
    let uid = arrival.ok_or("the Secret was never seen")?.uid;
    let secrets = Api::<Secret>::namespaced(scene.client.clone(), &order.namespace);
    secrets.delete(&name, &DeleteParams::default()).await?;
    Ok(uid)
}

/// When a Secret with another uid was seen in its place.
async fn back(scene: &Scene, order: &Order, uid: &str) -> Result<Instant> {
    let key = scene.subject.ready.key(order);
    scene.arrivals.other_than(&key, uid, LIMIT).await
}

fn tell(measured: &mut Measured, name: &str, times: Vec<Duration>, requests: u64) {
    let times = sorted_milliseconds(times);
    let mut found = measured.of(name);
    found.samples(&times);
    found.figure("token requests", requests as f64, "");
    measured.line("latency", name, distribution(&times));
}
