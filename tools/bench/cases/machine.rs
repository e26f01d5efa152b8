//! The machine's own limit.

use std::time::Instant;

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::{
    Bench, Result,
    report::Measured,
    scene::{Scene, WRITERS},
};

pub async fn measure(bench: &Bench, measured: &mut Measured) -> Result<()> {
    let scene = Scene::set_up(bench).await?;
    let count = bench.settings.pick(5_000, 1_000);
    let orders = scene.orders("bare", count);

    let start = Instant::now();
    stream::iter(&orders)
        .map(async |order| {
            let data = [("access_token", 1_331), ("scope", 36), ("expires_at", 20)];
            let data = data.map(|(key, size)| (key.to_owned(), ByteString(vec![b'x'; size])));
            let secret = Secret {
                metadata: ObjectMeta {
                    name: Some(order.name.clone()),
                    ..ObjectMeta::default()
                },
                data: Some(data.into()),
                ..Secret::default()
            };
            let api = Api::<Secret>::namespaced(scene.client.clone(), &order.namespace);
            api.create(&PostParams::default(), &secret).await
        })
        .buffer_unordered(WRITERS)
        .try_for_each(|_| std::future::ready(Ok(())))
        .await?;
    let per_second = count as f64 / start.elapsed().as_secs_f64();
    measured.of("bare client").figure(
        "creates of a Secret like a target",
        per_second,
        "per second",
    );

    if !bench.subject.is_own() {
        return Ok(());
    }
    let start = scene.create(&orders).await?;
    let per_second = count as f64 / start.elapsed().as_secs_f64();
    measured
        .of("bare client")
        .figure("creates of an EdgeCredential", per_second, "per second");
    let status = status();
    let start = Instant::now();
    stream::iter(&orders)
        .map(async |order| {
            let api = scene.objects(&order.namespace);
            let patch = Patch::Merge(&status);
            api.patch_status(&order.name, &PatchParams::default(), &patch)
                .await
        })
        .buffer_unordered(WRITERS)
        .try_for_each(|_| std::future::ready(Ok(())))
        .await?;
    let per_second = count as f64 / start.elapsed().as_secs_f64();
    measured.of("bare client").figure(
        "status patches of an EdgeCredential",
        per_second,
        "per second",
    );
    Ok(())
}

/// The status of one that is ready.
fn status() -> serde_json::Value {
    let time = "2026-01-01T00:00:00Z";
    let condition = |name: &str, status: &str| {
        json!({
            "type": name, "status": status, "reason": "TokenValid", "observedGeneration": 1,
            "message": "The token expires at 2026-01-02T00:00:00Z.", "lastTransitionTime": time,
        })
    };
    json!({"status": {
        "observedGeneration": 1,
        "conditions": [
            condition("Ready", "True"),
            condition("Reconciling", "False"),
            condition("Stalled", "False"),
        ],
        "token": {
            "issuedAt": time, "expiresAt": time, "renewAt": time,
            "audience": "https://api.sitecorecloud.io", "scope": "edge.admin:manage edge.token:manage",
            "tenantID": "tenant-1", "organizationID": "org-1",
        },
    }})
}
