//! Everything that goes wrong, at random moments.

use std::{convert::Infallible, time::Duration};

use fastrand::Rng;
use kit::sitecore::{RetryAfter, Scenario};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::{
    Result,
    history::{Span, now},
    scene::{Object, Scene, credentials_patch, edge_credential},
};

/// From one thing that happens to a process to the next.
const BETWEEN_OUTAGES: std::ops::Range<u64> = 45..105;

/// How long a process stays away, in milliseconds.
const AWAY: std::ops::Range<u64> = 0..3000;

/// From one outage of the token endpoint to the next, in seconds.
const BETWEEN_ENDPOINT_OUTAGES: std::ops::Range<u64> = 60..360;

/// How long the token endpoint stays away, in seconds.
const ENDPOINT_AWAY: std::ops::RangeInclusive<u64> = 60..=180;

/// How long tenants misbehave, and are calm before it, in seconds.
const MISBEHAVIOUR: std::ops::Range<u64> = 60..180;

/// From one thing that a tenant does that misbehaves to the next, in milliseconds.
const BETWEEN_MISDEEDS: std::ops::Range<u64> = 50..350;

/// From one thing that happens to an object to the next, in milliseconds.
const BETWEEN_CHANGES: std::ops::Range<u64> = 500..2500;

/// How long a change may take while the API server is there.
const CALL: Duration = Duration::from_secs(10);

/// How long the identity provider accepts a client's old secret.
const OVERLAP: Duration = Duration::from_mins(10);

/// Kills the one operator, restarts the API server, or both at once, until `end`.
pub async fn of_processes(scene: &Scene, seed: u64, end: Instant) -> Result<Infallible> {
    let mut random = Rng::with_seed(seed.wrapping_add(1));
    loop {
        pause(Duration::from_secs(random.u64(BETWEEN_OUTAGES)), end).await;
        let away = Duration::from_millis(random.u64(AWAY));
        match random.u8(0..5) {
            0 | 1 => kill(scene, away).await?,
            2 | 3 => restart_api_server(scene, away).await?,
            _ => {
                let between = Duration::from_millis(random.u64(AWAY));
                tokio::try_join!(restart_api_server(scene, away), async {
                    sleep(between).await;
                    kill(scene, away).await
                })?;
            }
        }
    }
}

async fn kill(scene: &Scene, away: Duration) -> Result<()> {
    let mut operator = scene.killed.lock().await;
    scene.history.lock().kills.push(Span::begin());
    operator.kill()?;
    sleep(away).await;
    operator.start().await?;
    if let Some(kill) = scene.history.lock().kills.last_mut() {
        kill.end = now();
    }
    Ok(())
}

async fn restart_api_server(scene: &Scene, away: Duration) -> Result<()> {
    scene.history.lock().outages.push(Span::begin());
    scene.control_plane.stop_api_server()?;
    sleep(away).await;
    scene.control_plane.start_api_server().await?;
    if let Some(outage) = scene.history.lock().outages.last_mut() {
        outage.end = now();
    }
    Ok(())
}

/// Has the token endpoint give no tokens to anybody for some minutes, again and again, until `end`.
pub async fn of_endpoint(scene: &Scene, seed: u64, end: Instant) -> Result<Infallible> {
    let mut random = Rng::with_seed(seed.wrapping_add(4));
    loop {
        pause(
            Duration::from_secs(random.u64(BETWEEN_ENDPOINT_OUTAGES)),
            end,
        )
        .await;
        let away = Duration::from_secs(random.u64(ENDPOINT_AWAY));
        // None of these issues a token and then loses it.
        let scenario = match random.u8(0..4) {
            0 => Scenario::Hang,
            1 => Scenario::Reset,
            2 => Scenario::Html { status: 500 },
            _ => Scenario::Unavailable(RetryAfter::None),
        };
        scene.history.lock().endpoint_outages.push(Span::begin());
        scene.sitecore.set_scenario_for_all(scenario);
        sleep_until(end.min(Instant::now() + away)).await;
        scene.sitecore.set_scenario_for_all(Scenario::Normal);
        if let Some(outage) = scene.history.lock().endpoint_outages.last_mut() {
            outage.end = now();
        }
    }
}

/// Has tenants be calm and misbehave by turns, for the same time each, until `end`.
pub async fn of_tenants(scene: &Scene, seed: u64, end: Instant) -> Result<Infallible> {
    let mut random = Rng::with_seed(seed.wrapping_add(5));
    loop {
        let spell = Duration::from_secs(random.u64(MISBEHAVIOUR));
        pause(spell, end).await;
        scene.history.lock().misbehaviours.push(Span::begin());
        let until = end.min(Instant::now() + spell);
        let _ = timeout_at(until, misbehave(scene, &mut random)).await;
        for object in &scene.unruly {
            scene.sitecore.forget_scenario(&object.name);
        }
        if let Some(misbehaviour) = scene.history.lock().misbehaviours.last_mut() {
            misbehaviour.end = now();
        }
    }
}

/// Makes requests fail and hang, and changes, deletes and creates objects without end, whatever comes of it.
async fn misbehave(scene: &Scene, random: &mut Rng) -> Infallible {
    loop {
        sleep(Duration::from_millis(random.u64(BETWEEN_MISDEEDS))).await;
        let object = &scene.unruly[random.usize(..scene.unruly.len())];
        let (sitecore, id) = (&scene.sitecore, &object.name);
        let number = random.u8(0..10);
        let patch = match random.u8(0..8) {
            0 => {
                sitecore.set_scenario(id, Scenario::Html { status: 500 });
                continue;
            }
            1 => {
                sitecore.set_scenario(id, Scenario::Hang);
                continue;
            }
            2 => {
                sitecore.forget_scenario(id);
                continue;
            }
            3 => {
                let _ = timeout(CALL, delete_or_create(scene, object)).await;
                continue;
            }
            4 | 5 => {
                let annotation =
                    json!({"edgecredentials.io/renew-requested-at": number.to_string()});
                json!({"metadata": {"annotations": annotation}})
            }
            _ => {
                let url = format!("{}?number={number}", sitecore.token_url());
                json!({"spec": {"tokenRequest": {"url": url}}})
            }
        };
        let objects = scene.edge_credentials(object.namespace);
        let params = PatchParams::default();
        let patch = Patch::Merge(&patch);
        let _ = timeout(CALL, objects.patch(&object.name, &params, &patch)).await;
    }
}

async fn delete_or_create(scene: &Scene, object: &Object) -> kube::Result<()> {
    let objects = scene.edge_credentials(object.namespace);
    if objects.get_opt(&object.name).await?.is_some() {
        let params = DeleteParams::default();
        return objects.delete(&object.name, &params).await.map(drop);
    }
    let edge_credential = edge_credential(object, &scene.sitecore);
    let params = PostParams::default();
    objects.create(&params, &edge_credential).await.map(drop)
}

/// Rotates client secrets, asks for renewals and damages targets, until `end`.
pub async fn of_objects(scene: &Scene, seed: u64, end: Instant) -> Result<Infallible> {
    let mut random = Rng::with_seed(seed.wrapping_add(2));
    for change in 1_u64.. {
        pause(Duration::from_millis(random.u64(BETWEEN_CHANGES)), end).await;
        let index = random.usize(..scene.objects.len());
        let object = &scene.objects[index];
        match random.u8(0..10) {
            0..3 => rotate(scene, index, object, change).await,
            3 => ask_for_renewal(scene, index, object, change).await,
            _ => damage(scene, index, object, &mut random).await,
        }
    }
    std::future::pending().await
}

/// Waits so long, and for ever where that is beyond the end.
pub async fn pause(pause: Duration, end: Instant) {
    let until = Instant::now() + pause;
    if until > end {
        return std::future::pending().await;
    }
    sleep_until(until).await;
}

async fn rotate(scene: &Scene, index: usize, object: &Object, change: u64) {
    let secret = format!("secret-{change}");
    scene.sitecore.rotate_secret(&object.name, &secret, OVERLAP);
    scene.history.lock().objects[index]
        .rotations
        .push(Span::begin());
    let patch = credentials_patch(&object.name, &secret);
    let name = object.credentials();
    until_done(async || {
        let secrets = scene.secrets(object.namespace);
        let patch = Patch::Merge(&patch);
        let patched = secrets.patch(&name, &PatchParams::default(), &patch).await;
        patched.map(drop)
    })
    .await;
    if let Some(rotation) = scene.history.lock().objects[index].rotations.last_mut() {
        rotation.end = now();
    }
}

async fn ask_for_renewal(scene: &Scene, index: usize, object: &Object, change: u64) {
    scene.history.lock().objects[index]
        .renewals_asked
        .push(Span::begin());
    let annotations = json!({"edgecredentials.io/renew-requested-at": change.to_string()});
    let patch = json!({"metadata": {"annotations": annotations}});
    until_done(async || {
        let objects = scene.edge_credentials(object.namespace);
        let patch = Patch::Merge(&patch);
        let patched = objects
            .patch(&object.name, &PatchParams::default(), &patch)
            .await;
        patched.map(drop)
    })
    .await;
    if let Some(asked) = scene.history.lock().objects[index]
        .renewals_asked
        .last_mut()
    {
        asked.end = now();
    }
}

/// Does it until the API server has answered that it's done.
async fn until_done(call: impl AsyncFn() -> kube::Result<()>) {
    while !matches!(timeout(CALL, call()).await, Ok(Ok(()))) {
        sleep(Duration::from_millis(500)).await;
    }
}

/// Damages a target, once: whether it was is for the reader to see.
async fn damage(scene: &Scene, index: usize, object: &Object, random: &mut Rng) {
    let secrets = scene.secrets(object.namespace);
    let kind = random.u8(0..5);
    {
        let mut history = scene.history.lock();
        let object = &mut history.objects[index];
        object.damages.push(now());
        if kind < 4 {
            object.losses.push(now());
        }
    }
    let patch: Value = match kind {
        0 => {
            let _ = timeout(CALL, secrets.delete(&object.name, &DeleteParams::default())).await;
            return;
        }
        1 => json!({"data": null}),
        2 => json!({"data": {"access_token": "b29wcw=="}}),
        3 => json!({"metadata": {"annotations": null}}),
        _ => json!({"metadata": {"labels": null}}),
    };
    let params = PatchParams::default();
    let patch = Patch::Merge(&patch);
    let _ = timeout(CALL, secrets.patch(&object.name, &params, &patch)).await;
}
