//! Tenants whose token requests hang or take long, at another endpoint or at the same one. Before, beside and after are
//! measured, so that what the machine does otherwise shows as a difference between the first and the last.

use std::time::{Duration, Instant};

use kube::api::{DeleteParams, ListParams};
use serde_json::Value;
use tokio::time::sleep;

use crate::{
    Bench, Result,
    cases::new_object::one_by_one,
    endpoint::{Answer, Behaviour},
    report::Measured,
    scene::{PATIENCE, SILENCE, Scene, namespace},
    statistics::{percentile, sorted_milliseconds},
    template::Order,
};

/// How many objects the tenant has.
const BESIDE: usize = 300;

/// The client of the tenant.
const OTHER: &str = "tenant-client";

/// What the tenant does whose objects are beside.
struct Tenant {
    name: &'static str,
    /// Whether it uses the endpoint of the objects that are measured.
    same_endpoint: bool,
    /// Whether all of its objects ask for the same token.
    equal_inputs: bool,
    behaviour: Behaviour,
}

pub async fn measure(bench: &Bench, measured: &mut Measured) -> Result<()> {
    let tenant = |name, same_endpoint, equal_inputs, behaviour| Tenant {
        name,
        same_endpoint,
        equal_inputs,
        behaviour,
    };
    let hang = Behaviour {
        answer: Answer::Nothing,
        ..Behaviour::default()
    };
    let slow = Behaviour {
        delay: Duration::from_secs(8),
        ..Behaviour::default()
    };
    let tenants = [
        tenant("another endpoint, which hangs", false, false, hang),
        tenant("the same endpoint, which hangs for it", true, false, hang),
        tenant("another one, which hangs, equal inputs", false, true, hang),
        tenant("the same endpoint, answers after 8 s", true, false, slow),
    ];
    let mut scene = Scene::set_up(bench).await?;
    scene.operator.start().await?;
    // The first ones pay for connections.
    shop(&mut scene, "warm", 10).await?;
    let samples = bench.settings.pick(100, 30);
    let mut alone = shop(&mut scene, "alone", samples).await?;
    measured.of("alone").samples(&alone);
    for (number, tenant) in tenants.iter().enumerate() {
        bench.say(tenant.name);
        let asked = fill(&scene, tenant, number).await?;
        let beside = shop(&mut scene, &format!("beside-{number}"), samples).await?;
        let objects = scene.objects(&namespace(1 + number));
        let (params, everything) = (DeleteParams::default(), ListParams::default());
        objects.delete_collection(&params, &everything).await?;
        let after = shop(&mut scene, &format!("after-{number}"), samples).await?;
        let name = format!("beside {BESIDE} at {}", tenant.name);
        let mut found = measured.of(&name);
        found.samples(&beside);
        let both = f64::midpoint(percentile(&alone, 0.5), percentile(&after, 0.5));
        let ratio = percentile(&beside, 0.5) / both;
        found.figure("p50, as a multiple of alone", ratio, "");
        found.figure("its token requests before", asked, "");
        measured
            .of(format!("alone, after {}", tenant.name))
            .samples(&after);
        alone = after;
    }
    Ok(())
}

/// Creates the objects of a tenant, and waits until its requests are under way.
async fn fill(scene: &Scene, tenant: &Tenant, number: usize) -> Result<f64> {
    let endpoint = if tenant.same_endpoint {
        &scene.endpoint
    } else {
        &scene.elsewhere
    };
    endpoint.set_for(OTHER, tenant.behaviour);
    let orders: Vec<_> = (0..BESIDE)
        .map(|index| Order {
            namespace: namespace(1 + number),
            name: format!("tenant-{number}-{index}"),
            client: OTHER.to_owned(),
            token_url: endpoint.token_url(),
        })
        .collect();
    scene.create_credentials(&orders).await?;
    let before = endpoint.requests();
    let own_audience = |object: &mut Value| {
        if !tenant.equal_inputs {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let audience = format!("https://{name}.example");
            object["spec"]["tokenRequest"]["audience"] = audience.into();
        }
    };
    scene.create_edited(&orders, own_audience).await?;
    let start = Instant::now();
    while endpoint.requests() == before {
        if start.elapsed() > PATIENCE {
            return Err("the tenant's requests are not under way".into());
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok((endpoint.requests() - before) as f64)
}

/// Creates objects of the tenant that is measured, one by one, and returns how long each took in milliseconds, in order.
async fn shop(scene: &mut Scene, name: &str, count: usize) -> Result<Vec<f64>> {
    let mut orders = scene.orders(name, count);
    for order in &mut orders {
        order.namespace = namespace(0);
    }
    scene.create_credentials(&orders).await?;
    scene
        .calls
        .until_quiet(SILENCE, Duration::from_secs(10))
        .await?;
    Ok(sorted_milliseconds(
        one_by_one(scene, &orders, || true).await?,
    ))
}
