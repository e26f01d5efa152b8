//! EdgeTokens beside the EdgeCredentials. A workload of each uses its key every second, and takes it anew before the overlap is
//! over: it may never be refused. At the end Sitecore has exactly the live keys that the statuses know.

use std::{
    convert::Infallible,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use edge_credential_operator::api::{
    EdgeToken,
    edge_token::{END_OVERLAP_REQUESTED_AT, ROTATE_REQUESTED_AT, RetirementCause},
};
use fastrand::Rng;
use k8s_openapi::api::core::v1::Secret;
use kit::sitecore::{ApiFailure, Sitecore};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::{Result, disturbances::pause, scene::Scene};

/// How many EdgeTokens there are: by turns of each operator.
const KEYS: usize = 6;

/// How long a former key works.
const OVERLAP: &str = "5m";

/// How old a key may get that a workload has read: less than an overlap, by what a read may take while the API server is away.
const TAKEN_ANEW: Duration = Duration::from_secs(200);

/// From one thing that happens to an EdgeToken to the next, in seconds.
const BETWEEN_CHANGES: std::ops::Range<u64> = 5..25;

/// How calls of the Token API fail. What is asked for a key makes it all the same: one of which nothing is known would put the
/// next rotation off for a quarter of an hour.
const FAILURES: [(&str, ApiFailure); 6] = [
    ("GET /api/apikey/v1", ApiFailure::Status(503)),
    ("GET /api/apikey/v1", ApiFailure::Hang),
    ("POST /api/apikey/v1", ApiFailure::ActThenStatus(500)),
    ("POST /api/apikey/v1", ApiFailure::LoseAnswer),
    ("PUT /api/apikey/v1/revokebyhash/{hash}", ApiFailure::Reset),
    (
        "PUT /api/apikey/v1/revokebyhash/{hash}",
        ApiFailure::LoseAnswer,
    ),
];

/// How long a rotation may take whose overlap is to be ended.
const ROTATED: Duration = Duration::from_secs(120);

/// How long a call may take.
const CALL: Duration = Duration::from_secs(10);

/// The EdgeTokens, and what came of them.
pub struct Keys {
    objects: Vec<Object>,
    figures: Mutex<Figures>,
    http: reqwest::Client,
}

/// An EdgeToken, and the key that its workload has.
struct Object {
    namespace: &'static str,
    name: String,
    held: tokio::sync::Mutex<Option<(String, Instant)>>,
}

/// What came of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Queries of the workloads.
    pub uses: u64,
    /// Those that were refused.
    pub refused: u64,
    /// Rotations that were asked for.
    pub rotations: u64,
    /// Overlaps that were ended after the workload was restarted.
    pub ended: u64,
    /// Targets that were deleted or damaged.
    pub damages: u64,
    /// Calls of the Token API that were made to fail.
    pub failures: u64,
}

/// How the keys stand at the end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    /// Keys that were ever made.
    pub made: usize,
    /// Those that work.
    pub live: usize,
    /// Those that work and that no status knows.
    pub unknown: u64,
    /// Those that a status says to work and that do not.
    pub missing: u64,
}

impl Keys {
    /// Creates the EdgeTokens, with the credentials of clients of their own.
    pub async fn create(
        namespaces: impl Iterator<Item = &'static str> + Clone,
        client: &Client,
        sitecore: &Sitecore,
    ) -> Result<Self> {
        let objects: Vec<_> = namespaces
            .cycle()
            .take(KEYS)
            .enumerate()
            .map(|(number, namespace)| Object {
                namespace,
                name: format!("key-{number}"),
                held: tokio::sync::Mutex::default(),
            })
            .collect();
        for object in &objects {
            object.create(client, sitecore).await?;
        }
        Ok(Self {
            objects,
            figures: Mutex::default(),
            http: reqwest::Client::builder()
                .no_proxy()
                .timeout(CALL)
                .build()?,
        })
    }

    /// What came of them so far.
    pub fn figures(&self) -> Figures {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Figures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the Delivery API refuses a key.
    async fn is_refused(&self, key: &str, sitecore: &Sitecore) -> bool {
        let url = format!("{}/api/graphql/v1", sitecore.url());
        let query = self.http.post(url).header("sc_apikey", key);
        let query = query.json(&json!({"query": "{__typename}"}));
        let answer = query.send().await;
        answer.is_ok_and(|answer| answer.status() == StatusCode::UNAUTHORIZED)
    }
}

impl Object {
    async fn create(&self, client: &Client, sitecore: &Sitecore) -> Result<()> {
        let Self {
            namespace, name, ..
        } = self;
        let credentials = format!("{name}-client");
        sitecore.add_client(name, "secret");
        let secret: Secret = serde_json::from_value(json!({
            "metadata": {"name": credentials},
            "stringData": {"client_id": name, "client_secret": "secret"},
        }))?;
        let params = PostParams::default();
        let secrets = Api::namespaced(client.clone(), namespace);
        secrets.create(&params, &secret).await?;
        let origin = sitecore.url();
        let object = serde_json::from_value(json!({
            "apiVersion": "edgecredentials.io/v1alpha1",
            "kind": "EdgeToken",
            "metadata": {"name": name},
            "spec": {
                "credentialsSecretRef": {"name": credentials},
                "tokenRequest": {"url": sitecore.token_url()},
                "tokenAPI": {"url": format!("{origin}/api/apikey/v1")},
                "deliveryURL": format!("{origin}/api/graphql/v1"),
                "rotation": {"overlap": OVERLAP},
            },
        }))?;
        let objects: Api<EdgeToken> = Api::namespaced(client.clone(), namespace);
        objects.create(&params, &object).await?;
        Ok(())
    }

    fn objects(&self, scene: &Scene) -> Api<EdgeToken> {
        Api::namespaced(scene.client.clone(), self.namespace)
    }

    /// The key in the target, if it can be read now.
    async fn key(&self, scene: &Scene) -> Option<String> {
        let secrets = scene.secrets(self.namespace);
        let secret = timeout(CALL, secrets.get_opt(&self.name)).await;
        let data = secret.ok()?.ok()??.data?;
        String::from_utf8(data.get("SITECORE_API_KEY")?.0.clone()).ok()
    }

    /// Whether the API server took the change.
    async fn patch(&self, scene: &Scene, patch: &Value) -> bool {
        let objects = self.objects(scene);
        let params = PatchParams::default();
        let patch = Patch::Merge(patch);
        let patched = timeout(CALL, objects.patch(&self.name, &params, &patch)).await;
        matches!(patched, Ok(Ok(_)))
    }

    async fn ask(&self, scene: &Scene, annotation: &str, value: u64) -> bool {
        let annotations = json!({annotation: value.to_string()});
        self.patch(scene, &json!({"metadata": {"annotations": annotations}}))
            .await
    }
}

/// Waits until all EdgeTokens have a key.
pub async fn all_have_keys(scene: &Scene) {
    for object in &scene.keys.objects {
        while object.key(scene).await.is_none() {
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Uses all keys, each second.
pub async fn use_all(scene: &Scene) -> Result<Infallible> {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        for object in &scene.keys.objects {
            let mut held = object.held.lock().await;
            let is_old = |(_, at): &(String, Instant)| at.elapsed() >= TAKEN_ANEW;
            if held.as_ref().is_none_or(is_old) {
                let asked_at = Instant::now();
                if let Some(key) = object.key(scene).await {
                    *held = Some((key, asked_at));
                }
            }
            let Some((key, _)) = held.as_ref() else {
                continue;
            };
            let is_refused = scene.keys.is_refused(key, &scene.sitecore).await;
            let mut figures = scene.keys.lock();
            figures.uses += 1;
            figures.refused += u64::from(is_refused);
        }
    }
}

/// Asks for rotations, ends overlaps, damages targets and has the Token API fail, until `end`.
pub async fn disturb(scene: &Scene, seed: u64, end: Instant) -> Result<Infallible> {
    let mut random = Rng::with_seed(seed.wrapping_add(6));
    for change in 1_u64.. {
        pause(Duration::from_secs(random.u64(BETWEEN_CHANGES)), end).await;
        let objects = &scene.keys.objects;
        let object = &objects[random.usize(..objects.len())];
        match random.u8(0..10) {
            0..3 => {
                object.ask(scene, ROTATE_REQUESTED_AT, change).await;
                scene.keys.lock().rotations += 1;
            }
            3 | 4 => replace(scene, object, change).await,
            5..8 => damage(scene, object, &mut random).await,
            _ => {
                let (route, failure) = FAILURES[random.usize(..FAILURES.len())].clone();
                let calls = random.u64(1..4);
                scene.sitecore.fail_route(route, calls, failure);
                scene.keys.lock().failures += calls;
            }
        }
    }
    std::future::pending().await
}

/// As after a leak: another key, a workload that is restarted, and the end of the overlap.
async fn replace(scene: &Scene, object: &Object, change: u64) {
    let Some(former) = object.key(scene).await else {
        return;
    };
    if !object.ask(scene, ROTATE_REQUESTED_AT, change).await {
        return;
    }
    scene.keys.lock().rotations += 1;
    let start = Instant::now();
    let present = loop {
        match object.key(scene).await {
            Some(key) if key != former => break key,
            _ if start.elapsed() > ROTATED => return,
            _ => sleep(Duration::from_millis(500)).await,
        }
    };
    *object.held.lock().await = Some((present, Instant::now()));
    object.ask(scene, END_OVERLAP_REQUESTED_AT, change).await;
    scene.keys.lock().ended += 1;
}

/// Damages a target. The key in it is not touched: a workload would use what it finds.
async fn damage(scene: &Scene, object: &Object, random: &mut Rng) {
    let secrets = scene.secrets(object.namespace);
    let patch = match random.u8(0..3) {
        0 => {
            let _ = timeout(CALL, secrets.delete(&object.name, &DeleteParams::default())).await;
            None
        }
        1 => Some(json!({"metadata": {"annotations": null}})),
        _ => Some(json!({"metadata": {"labels": null}})),
    };
    if let Some(patch) = patch {
        let params = PatchParams::default();
        let patch = Patch::Merge(&patch);
        let _ = timeout(CALL, secrets.patch(&object.name, &params, &patch)).await;
    }
    scene.keys.lock().damages += 1;
}

/// Compares what Sitecore has with what the statuses know.
pub async fn count(scene: &Scene) -> Result<Count> {
    let mut used = Vec::new();
    let mut unused = Vec::new();
    for object in &scene.keys.objects {
        let status = object.objects(scene).get(&object.name).await?.status;
        let status = status.unwrap_or_default();
        used.extend(status.token.into_iter().map(|token| token.mark));
        unused.extend(status.pending.into_iter().map(|pending| pending.mark));
        for retired in status.retired {
            match retired.cause {
                RetirementCause::Discarded => unused.push(retired.mark),
                // One whose overlap was ended may be revoked already.
                RetirementCause::OverlapEnded => unused.push(retired.mark),
                RetirementCause::Replaced => used.push(retired.mark),
            }
        }
    }
    let keys = scene.sitecore.keys();
    let live: Vec<_> = keys.iter().filter(|key| !key.is_revoked).collect();
    let is_of = |label: &str, marks: &[String]| marks.iter().any(|mark| label.starts_with(mark));
    let unknown = live
        .iter()
        .filter(|key| !is_of(&key.label, &used) && !is_of(&key.label, &unused));
    let missing = used
        .iter()
        .filter(|mark| !live.iter().any(|key| key.label.starts_with(*mark)));
    Ok(Count {
        made: keys.len(),
        live: live.len(),
        unknown: unknown.count() as u64,
        missing: missing.count() as u64,
    })
}
