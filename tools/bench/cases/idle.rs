//! Idleness, and changes that change nothing.

use std::time::Duration;

use kube::{
    Api,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use serde_json::json;
use tokio::time::sleep;

use crate::{
    Bench, Result,
    report::{Found, Measured},
    scene::{PATIENCE, SILENCE, Scene},
};

pub async fn measure(bench: &Bench, measured: &mut Measured) -> Result<()> {
    let count = bench.settings.objects;
    let (mut scene, orders) = Scene::with_ready(bench, count).await?;
    // Whatever follows the first sync is not counted.
    sleep(SILENCE * 2).await;
    let requests = scene.endpoint.requests();
    let mut found = idle(bench, &mut scene, measured, &format!("{count} objects")).await?;
    let requests = scene.endpoint.requests() - requests;
    found.figure("token requests", requests as f64, "");

    let order = orders.first().ok_or("there are no objects")?;
    let template = &bench.subject.template;
    let mut labelled = vec![(
        "a label on an object, which is all that an echo is".to_owned(),
        template.kind().clone(),
        order.name.clone(),
    )];
    for (kind, object) in template.credentials(order)? {
        let name = object.metadata.name.unwrap_or_default();
        let what = format!("a label on a {} with credentials of one object", kind.kind);
        labelled.push((what, kind, name));
    }
    if let Some(name) = bench.subject.ready.secret(order) {
        let kind = ApiResource::erase::<k8s_openapi::api::core::v1::Secret>(&());
        labelled.push(("a label on a target".to_owned(), kind, name));
    }
    for (what, kind, name) in labelled {
        let patch = json!({"metadata": {"labels": {"example.com/bench": "touched"}}});
        Api::<DynamicObject>::namespaced_with(scene.client.clone(), &order.namespace, &kind)
            .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
            .await?;
        measured
            .of(&what)
            .calls(&scene.calls.until_quiet(SILENCE, PATIENCE).await?);
    }
    let calls = scene.relist().await?;
    measured
        .of(format!("a relist with {count} objects"))
        .calls(&calls);
    Ok(())
}

/// Lets a while pass, and adds what the operator did in it.
pub async fn idle<'a>(
    bench: &Bench,
    scene: &mut Scene,
    measured: &'a mut Measured,
    objects: &str,
) -> Result<Found<'a>> {
    let time = bench
        .settings
        .pick(Duration::from_mins(15), Duration::from_mins(1));
    bench.say(format!("idle for {} s", time.as_secs()));
    scene.calls.take()?;
    let cpu = scene.cpu()?;
    sleep(time).await;
    let mut found = measured.of(format!("{} s idle with {objects}", time.as_secs()));
    found.calls(&scene.calls.take()?);
    found.figure("CPU", scene.cpu()? - cpu, "s");
    Ok(found)
}
