//! A wave of renewals.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use kube::{
    Api, ResourceExt,
    api::{DynamicObject, ListParams},
};
use serde_json::Value;
use tokio::time::sleep;

use crate::{
    Bench, Result,
    endpoint::Behaviour,
    report::Measured,
    scene::{PATIENCE, SILENCE, Scene},
    statistics::sorted,
    vitals,
};

/// How often to look whether all were renewed.
const POLL: Duration = Duration::from_millis(500);

/// The operator spreads renewals over this share of the tokens' lifetime.
const SPREAD: u32 = 20;

pub async fn measure(bench: &Bench, measured: &mut Measured) -> Result<()> {
    let count = bench.settings.objects;
    let window = bench
        .settings
        .pick(Duration::from_mins(5), Duration::from_secs(30));
    let mut scene = Scene::set_up(bench).await?;
    scene.endpoint.set(Behaviour {
        lifetime: window * SPREAD,
        ..Behaviour::default()
    });
    let orders = scene.orders("edge", count);
    scene.operator.start().await?;
    scene.fill(bench, &orders, renew_early).await?;
    let due = renewals(&scene).await?;
    bench.say("waiting for the renewals");
    if let Some(first) = due.values().min() {
        sleep_until(*first).await;
    }

    scene.calls.take()?;
    let pid = scene.operator.pid()?;
    let (cpu, requests) = (scene.cpu()?, scene.endpoint.requests());
    vitals::forget_peak(pid)?;
    let limit = SystemTime::now() + window + PATIENCE;
    while scene.endpoint.renewed() < count {
        if SystemTime::now() > limit {
            let renewed = scene.endpoint.renewed();
            return Err(format!("only {renewed} of {count} were renewed").into());
        }
        sleep(POLL).await;
    }
    let calls = scene.calls.until_quiet(SILENCE, PATIENCE).await?;
    let renewed: Vec<_> = orders
        .iter()
        .filter_map(|order| {
            let at = scene.endpoint.times(&order.client).get(1).copied()?;
            Some((at, due.get(&order.name).copied()?))
        })
        .collect();
    let late = sorted(renewed.iter().map(|(at, due)| {
        let late = at.duration_since(*due).unwrap_or_default();
        late.as_secs_f64()
    }));
    let first = renewed.iter().map(|(at, _)| *at).min();
    let last = renewed.iter().map(|(at, _)| *at).max();
    let took = first
        .zip(last)
        .map(|(first, last)| last.duration_since(first));
    let took = took.transpose()?.unwrap_or_default().as_secs_f64();

    let name = format!("{count} renewals");
    let mut found = measured.of(&name);
    found.figure("first to last request", took, "s");
    let requests = scene.endpoint.requests() - requests;
    found.figure("token requests", requests as f64, "");
    found.percentiles("requested after they were due", &late, "s");
    let per_renewal = calls.work() as f64 / count as f64;
    found.figure("calls for each", per_renewal, "");
    found.calls(&calls);
    found.figure("CPU", scene.cpu()? - cpu, "s");
    found.memory(vitals::memory(pid)?);
    Ok(())
}

/// Has an object's token renewed when a tenth of its lifetime is over.
pub fn renew_early(object: &mut Value) {
    object["spec"]["renewBeforePercentage"] = 90.into();
}

/// When each object's token is to be renewed, by the object's name.
pub async fn renewals(scene: &Scene) -> Result<HashMap<String, SystemTime>> {
    let kind = scene.subject.template.kind();
    let objects = Api::<DynamicObject>::all_with(scene.client.clone(), kind);
    let objects = objects.list(&ListParams::default()).await?;
    objects
        .into_iter()
        .filter_map(|object| {
            let at = object.data["status"]["token"]["renewAt"].as_str()?;
            Some((object.name_any(), at.to_owned()))
        })
        .map(|(name, at)| {
            let at: k8s_openapi::jiff::Timestamp = at.parse()?;
            Ok((name, at.into()))
        })
        .collect()
}

/// Waits until this time.
pub async fn sleep_until(at: SystemTime) {
    sleep(at.duration_since(SystemTime::now()).unwrap_or_default()).await;
}
