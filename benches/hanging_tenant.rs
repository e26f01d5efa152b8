//! How long a new EdgeCredential waits for its Secret: alone, and beside a tenant with very many objects whose token endpoint
//! takes requests and never answers. `make bench` runs it.
//!
//! Before, beside and after are measured in one run, so that what the machine does otherwise shows as a difference between
//! the first and the last.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Secret;
use kit::sitecore::{Scenario, Sitecore};
use kube::api::{DeleteParams, ListParams};
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};

use kit::harness::{CLIENT, Namespace, PATIENCE, SECRET, Setup};

/// How many objects are measured each time, one after the other.
const MEASURED: usize = 100;

/// How many objects the tenant has whose endpoint hangs.
const HANGING: usize = 300;

/// When each Secret was seen.
type Arrivals = Arc<Mutex<HashMap<String, Instant>>>;

#[tokio::main]
async fn main() {
    let hanging = Sitecore::start().unwrap();
    hanging.add_client(CLIENT, SECRET);
    hanging.set_scenario_for_all(Scenario::Hang);
    let setup = Setup {
        namespaces: 2,
        origins: vec![hanging.url().to_owned()],
        values: vec![("log.filter", "info".to_owned())],
        ..Setup::default()
    };
    let scene = setup.scene("bench").await;
    let (shop, tenant) = (&scene.namespaces[0], &scene.namespaces[1]);
    for namespace in [shop, tenant] {
        namespace.create_credentials().await;
    }
    let arrivals = watch(scene.client.clone(), &shop.name);
    // The first ones pay for connections.
    measure(shop, &scene.sitecore, &arrivals, "warm", 10).await;

    let before = measure(shop, &scene.sitecore, &arrivals, "before", MEASURED).await;
    for number in 0..HANGING {
        let mut object = tenant.edge_credential(&format!("hanging-{number}"));
        object.spec.token_request.url = hanging.token_url();
        object.spec.token_request.audience = format!("https://hanging-{number}.example");
        tenant.create_object(&object).await;
    }
    tenant
        .until(PATIENCE, "the endpoint hangs", async || {
            (hanging.total_requests() >= 4).then_some(())
        })
        .await;
    let beside = measure(shop, &scene.sitecore, &arrivals, "beside", MEASURED).await;
    let asked = hanging.total_requests();
    let (params, everything) = (DeleteParams::default(), ListParams::default());
    let deletion = tenant.objects.delete_collection(&params, &everything);
    deletion.await.unwrap();
    let after = measure(shop, &scene.sitecore, &arrivals, "after", MEASURED).await;

    println!("time from an EdgeCredential to its Secret, {MEASURED} one after the other, in ms");
    println!("{:<44} median    p95    max", "");
    for (what, times) in [
        ("alone".to_owned(), &before),
        (
            format!("beside {HANGING} of a tenant that hangs ({asked} asked)"),
            &beside,
        ),
        ("alone again".to_owned(), &after),
    ] {
        let at =
            |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        println!(
            "{what:<44} {:6.1} {:6.1} {:6.1}",
            at(0.5),
            at(0.95),
            at(1.0)
        );
    }
    let alone = (before[MEASURED / 2] + after[MEASURED / 2]) / 2;
    let ratio = beside[MEASURED / 2].as_secs_f64() / alone.as_secs_f64();
    println!("ratio of the medians, beside to alone: {ratio:.2}");
}

/// Creates so many EdgeCredentials, each when the one before has its Secret, and returns how long each took, sorted.
async fn measure(
    shop: &Namespace,
    sitecore: &Sitecore,
    arrivals: &Arrivals,
    name: &str,
    count: usize,
) -> Vec<Duration> {
    let mut times = Vec::with_capacity(count);
    for number in 0..count {
        let name = format!("{name}-{number}");
        let mut object = shop.edge_credential(&name);
        // Another audience, so that each needs a token of its own.
        object.spec.token_request.audience = format!("https://{name}.example");
        sitecore.allow_audience(CLIENT, &object.spec.token_request.audience);
        let start = Instant::now();
        shop.create_object(&object).await;
        let arrived = shop.until(PATIENCE, "its Secret is there", async || {
            let arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
            arrivals.get(&name).copied()
        });
        times.push(arrived.await.duration_since(start));
        // Its status and its Event are not measured with the next one.
        shop.ready(&name).await;
    }
    times.sort_unstable();
    times
}

/// Notes when each Secret of a namespace appears.
fn watch(client: kube::Client, namespace: &str) -> Arrivals {
    let arrivals = Arrivals::default();
    let seen = arrivals.clone();
    let secrets: Api<PartialObjectMeta<Secret>> = Api::namespaced(client, namespace);
    let changes = watcher(secrets, watcher::Config::default())
        .applied_objects()
        .try_for_each(move |secret| {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.entry(secret.name_any()).or_insert_with(Instant::now);
            futures::future::ready(Ok(()))
        });
    tokio::spawn(changes);
    arrivals
}
