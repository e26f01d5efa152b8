//! One new object after the other, while nothing else happens. Other cases measure the same beside something.

use std::{
    slice,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use crate::{
    Bench, Result,
    report::Measured,
    scene::{PATIENCE, SILENCE, Scene},
    statistics::{percentile, sorted_milliseconds},
    template::Order,
};

/// So long after its Secret an object's status and Event are written, and not measured with the next object.
const PAUSE: Duration = Duration::from_millis(50);

/// How many pay for connections first.
const WARM: usize = 10;

pub async fn measure(bench: &Bench, measured: &mut Measured) -> Result<()> {
    let mut scene = Scene::set_up(bench).await?;
    let orders = scene.orders("new", WARM + 100);
    scene.create_credentials(&orders).await?;
    scene.operator.start().await?;
    scene.calls.until_quiet(SILENCE, PATIENCE).await?;
    let (warm, counted) = orders.split_at(WARM);
    one_by_one(&scene, warm, || true).await?;
    let before = scene.endpoint.requests();
    let times = sorted_milliseconds(one_by_one(&scene, counted, || true).await?);
    let requests = scene.endpoint.requests() - before;
    measured.of("one object to its Secret").samples(&times);
    measured
        .of("one object to its Secret")
        .figure("token requests", requests as f64, "");
    measured.line("latency", "idle", distribution(&times));
    Ok(())
}

/// Creates objects whose credentials are there, each when the one before is ready, as long as `go_on` says so, and returns
/// how long each took.
pub async fn one_by_one(
    scene: &Scene,
    orders: &[Order],
    go_on: impl Fn() -> bool,
) -> Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(orders.len());
    for order in orders.iter().take_while(|_| go_on()) {
        let order = slice::from_ref(order);
        let start = scene.create(order).await?;
        let ready = scene.all_ready(order).await?;
        times.extend(ready.iter().map(|at: &Instant| at.duration_since(start)));
        sleep(PAUSE).await;
    }
    Ok(times)
}

/// For each share of the samples the time that so many do not exceed.
pub fn distribution(sorted: &[f64]) -> Vec<(f64, f64)> {
    let shares = (0..=100).map(f64::from);
    shares
        .map(|share| (share, percentile(sorted, share / 100.0)))
        .collect()
}
