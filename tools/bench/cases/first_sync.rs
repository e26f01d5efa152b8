//! The first sync of many objects.

use std::time::Duration;

use serde_json::Value;

use crate::{
    Bench, Result,
    endpoint::Behaviour,
    report::{Found, Measured},
    scene::{PATIENCE, SILENCE, Scene},
    statistics::{sorted, thin},
    template::Order,
};

/// What the objects have, and how fast the endpoint is.
#[derive(Clone, Copy)]
struct Variant {
    count: usize,
    equal: bool,
    delay: u64,
}

pub async fn measure(bench: &Bench, measured: &mut Measured) -> Result<()> {
    for count in bench.settings.sizes() {
        for equal in [false, true] {
            // With four requests in flight, ten thousand of 200 ms each take more than eight minutes, which says nothing more.
            let delays = if equal || count <= 1_000 {
                &[5, 200][..]
            } else {
                &[5]
            };
            for &delay in delays {
                let variant = Variant {
                    count,
                    equal,
                    delay,
                };
                sync(bench, measured, variant).await?;
            }
        }
    }
    Ok(())
}

async fn sync(bench: &Bench, measured: &mut Measured, variant: Variant) -> Result<()> {
    let Variant {
        count,
        equal,
        delay,
    } = variant;
    let inputs = if equal { "equal" } else { "distinct" };
    let name = format!("{count} objects, {inputs} inputs, endpoint at {delay} ms");
    bench.say(&name);
    let mut scene = Scene::set_up(bench).await?;
    scene.endpoint.set(Behaviour {
        delay: Duration::from_millis(delay),
        ..Behaviour::default()
    });
    let mut orders = scene.orders("edge", count);
    if equal {
        for order in &mut orders {
            order.client = "one-client-for-all".to_owned();
        }
    }
    scene.create_credentials(&orders).await?;
    scene.operator.start().await?;
    scene.calls.until_quiet(SILENCE, PATIENCE).await?;

    let mut found = measured.of(&name);
    let after = create_all(&mut scene, &orders, |_| (), &mut found).await?;
    let requests = scene.endpoint.requests() as f64;
    found.figure("token requests", requests, "");
    found.memory(scene.memory().await?);
    if delay > 5 {
        // So long that beside it nothing of the others could be seen.
        return Ok(());
    }
    let points = after
        .iter()
        .enumerate()
        .map(|(index, at)| (*at, (index + 1) as f64));
    let line = format!("{count} objects, {inputs} inputs");
    measured.line("first-sync", line, thin(&points.collect::<Vec<_>>(), 100));
    Ok(())
}

/// Creates objects whose credentials are there, each changed before, and adds how long it took until all had their Secret, and what
/// was called until all was quiet. Returns after how many seconds each had it, in order.
pub async fn create_all(
    scene: &mut Scene,
    orders: &[Order],
    edit: impl Fn(&mut Value),
    found: &mut Found<'_>,
) -> Result<Vec<f64>> {
    let cpu = scene.cpu()?;
    let start = scene.create_edited(orders, edit).await?;
    let created = start.elapsed();
    let ready = scene.all_ready(orders).await?;
    let after = ready
        .iter()
        .map(|at| at.duration_since(start).as_secs_f64());
    let after = sorted(after);
    let calls = scene.calls.until_quiet(SILENCE, PATIENCE).await?;
    found.figure("all created", created.as_secs_f64(), "s");
    let last = after.last().copied().unwrap_or_default();
    found.figure("first created to last Secret", last, "s");
    found.figure("CPU", scene.cpu()? - cpu, "s");
    let per_object = calls.work() as f64 / orders.len() as f64;
    found.figure("calls for each object", per_object, "");
    found.calls(&calls);
    Ok(after)
}
