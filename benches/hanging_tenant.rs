//! How long a new EdgeCredential waits for its Secret: alone, and beside a tenant with very many objects whose requests hang
//! or take long, at another endpoint or at the same one. `make bench` runs it.
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

/// How many objects the tenant has.
const BESIDE: usize = 300;

/// When each Secret was seen.
type Arrivals = Arc<Mutex<HashMap<String, Instant>>>;

/// What the tenant does whose objects are beside.
struct Tenant {
    name: &'static str,
    /// Whether it uses the endpoint of the objects that are measured.
    same_endpoint: bool,
    /// Whether all of its objects ask for the same token.
    equal_inputs: bool,
    scenario: Scenario,
}

/// The client of the tenant.
const OTHER: &str = "tenant-client";

#[tokio::main]
async fn main() {
    let tenant = |name, same_endpoint, equal_inputs, scenario| Tenant {
        name,
        same_endpoint,
        equal_inputs,
        scenario,
    };
    let slow = Scenario::Delay(Duration::from_secs(8));
    let hang = || Scenario::Hang;
    let tenants = [
        tenant("another endpoint, which hangs", false, false, hang()),
        tenant("the same endpoint, which hangs for it", true, false, hang()),
        tenant(
            "another one, which hangs, equal inputs",
            false,
            true,
            hang(),
        ),
        tenant("the same endpoint, answers after 8 s", true, false, slow),
    ];
    let elsewhere = Sitecore::start().unwrap();
    elsewhere.add_client(OTHER, SECRET);
    let setup = Setup {
        namespaces: 1 + tenants.len(),
        origins: vec![elsewhere.url().to_owned()],
        values: vec![("log.filter", "info".to_owned())],
        ..Setup::default()
    };
    let scene = setup.scene("bench").await;
    scene.sitecore.add_client(OTHER, SECRET);
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    let arrivals = watch(scene.client.clone(), &shop.name);
    // The first ones pay for connections.
    measure(shop, &scene.sitecore, &arrivals, "warm", 10).await;
    println!("time from an EdgeCredential to its Secret, {MEASURED} one after the other, in ms");
    println!("{:<60} median    p95    max  ratio", "");
    let mut alone = measure(shop, &scene.sitecore, &arrivals, "alone", MEASURED).await;
    print("alone", &alone, None);
    for (number, tenant) in tenants.iter().enumerate() {
        let endpoint = if tenant.same_endpoint {
            &scene.sitecore
        } else {
            &elsewhere
        };
        let namespace = &scene.namespaces[1 + number];
        let asked_before = endpoint.requests(OTHER);
        fill(namespace, endpoint, tenant).await;
        let prefix = format!("beside-{number}");
        let beside = measure(shop, &scene.sitecore, &arrivals, &prefix, MEASURED).await;
        let asked = endpoint.requests(OTHER) - asked_before;
        let (params, everything) = (DeleteParams::default(), ListParams::default());
        let deletion = namespace.objects.delete_collection(&params, &everything);
        deletion.await.unwrap();
        let prefix = format!("after-{number}");
        let after = measure(shop, &scene.sitecore, &arrivals, &prefix, MEASURED).await;
        let both = (alone[MEASURED / 2] + after[MEASURED / 2]) / 2;
        let ratio = beside[MEASURED / 2].as_secs_f64() / both.as_secs_f64();
        let what = format!("beside {BESIDE} at {} ({asked} asked)", tenant.name);
        print(&what, &beside, Some(ratio));
        print("alone again", &after, None);
        alone = after;
    }
}

fn print(what: &str, times: &[Duration], ratio: Option<f64>) {
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:6.2}"));
    println!(
        "{what:<60} {:6.1} {:6.1} {:6.1} {ratio}",
        at(0.5),
        at(0.95),
        at(1.0)
    );
}

/// Creates the objects of a tenant, and waits until its requests are under way.
async fn fill(namespace: &Namespace, endpoint: &Sitecore, tenant: &Tenant) {
    let credentials = [("client_id", OTHER), ("client_secret", SECRET)];
    let name = namespace
        .edge_credential("any")
        .spec
        .credentials_secret_ref
        .name;
    namespace.create_secret(&name, &credentials).await;
    endpoint.set_scenario(OTHER, tenant.scenario.clone());
    let asked = endpoint.requests(OTHER);
    for number in 0..BESIDE {
        let mut object = namespace.edge_credential(&format!("tenant-{number}"));
        object.spec.token_request.url = endpoint.token_url();
        if !tenant.equal_inputs {
            let audience = format!("https://{}-{number}.example", namespace.name);
            endpoint.allow_audience(OTHER, &audience);
            object.spec.token_request.audience = audience;
        }
        namespace.create_object(&object).await;
    }
    namespace
        .until(
            PATIENCE,
            "the tenant's requests are under way",
            async || (endpoint.requests(OTHER) > asked).then_some(()),
        )
        .await;
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
