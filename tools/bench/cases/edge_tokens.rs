//! EdgeTokens. The stand-in of the tests answers for Sitecore: it makes, lists and takes keys as the services do, and believes no
//! token that it did not sign.

use kit::sitecore::{Api, CallCounts, Scenario, Sitecore};
use serde_json::Value;

use crate::{
    Bench, Result,
    cases::{first_sync::create_all, idle::idle, memory::add_memory, restart::restart},
    endpoint::Behaviour,
    report::{Found, Measured},
    scene::{PATIENCE, SILENCE, Scene},
    template::{CLIENT_SECRET, Template},
};

/// What is created for each EdgeToken.
const TEMPLATE: &str = include_str!("../subjects/edge-token.yaml");

pub async fn measure(bench: &Bench, measured: &mut Measured) -> Result<()> {
    let count = bench.settings.objects;
    let sitecore = Sitecore::start()?;
    sitecore.set_scenario_for_all(Scenario::Delay(Behaviour::default().delay));
    let mut subject = bench.subject.clone();
    subject.template = Template::parse(TEMPLATE)?;
    let mut scene = Scene::set_up_for(subject, &[sitecore.url()]).await?;
    let mut orders = scene.orders("key", count);
    for order in &mut orders {
        order.token_url = sitecore.token_url();
        sitecore.add_client(&order.client, CLIENT_SECRET);
    }
    scene.operator.start().await?;
    scene.calls.until_quiet(SILENCE, PATIENCE).await?;
    let without = add_memory(&mut scene, measured, "0 EdgeTokens", 0, None).await?;

    let name = format!("{count} EdgeTokens");
    bench.say(format!("creating {name}"));
    scene.create_credentials(&orders).await?;
    scene.calls.until_quiet(SILENCE, PATIENCE).await?;
    let use_stand_in = |object: &mut Value| call_apis_at(object, sitecore.url());
    let before = sitecore.calls();
    let mut found = measured.of(format!("{name}, new"));
    create_all(&mut scene, &orders, use_stand_in, &mut found).await?;
    let calls = add_calls(&mut found, &sitecore, &before);
    let per_object = calls as f64 / count as f64;
    found.figure("calls at Sitecore for each object", per_object, "");
    add_memory(&mut scene, measured, &name, count, Some(without)).await?;

    // Those of the new keys are no part of idleness.
    scene.calls.until_no_events(SILENCE, PATIENCE).await?;
    let before = sitecore.calls();
    let mut found = idle(bench, &mut scene, measured, &name).await?;
    add_calls(&mut found, &sitecore, &before);

    let before = sitecore.calls();
    let mut found = measured.of(format!("a restart with {name}"));
    restart(&mut scene, &mut found).await?;
    add_calls(&mut found, &sitecore, &before);
    Ok(())
}

/// Has an EdgeToken use the APIs at this origin.
fn call_apis_at(object: &mut Value, origin: &str) {
    let url = |api: Api| format!("{origin}{}", api.path());
    object["spec"]["tokenAPI"]["url"] = url(Api::Token).into();
    object["spec"]["deliveryURL"] = url(Api::Delivery).into();
}

/// Adds the calls at Sitecore since an earlier count, all and by route and status. Returns how many there were.
fn add_calls(found: &mut Found<'_>, sitecore: &Sitecore, before: &CallCounts) -> u64 {
    let calls = sitecore.calls().since(before);
    let all = calls.iter().map(|(_, _, count)| count).sum::<u64>();
    found.figure("calls at Sitecore", all as f64, "");
    for (route, status, count) in calls.iter() {
        found.figure(format!("{route}, {status}"), count as f64, "");
    }
    all
}

#[cfg(test)]
mod tests {
    use edge_credential_operator::api::EdgeTokenSpec;

    use super::*;
    use crate::template::Order;

    #[test]
    fn an_edge_token_goes_to_the_stand_in_with_all_that_it_asks() {
        let origin = "http://127.0.0.1:1";
        let order = Order {
            namespace: "tenant-1".into(),
            name: "key-1".into(),
            client: "client-1".into(),
            token_url: format!("{origin}/oauth/token"),
        };
        let template = Template::parse(TEMPLATE).unwrap();
        assert_eq!(template.kind().plural, "edgetokens");
        let object = template.object(&order, |object| call_apis_at(object, origin));
        let spec = object.unwrap().data["spec"].take();
        let spec: EdgeTokenSpec = serde_json::from_value(spec).unwrap();
        let token_api = spec.token_api.unwrap().url;
        for url in [spec.token_request.url, token_api, spec.delivery_url] {
            assert!(url.starts_with(origin), "{url}");
        }
        let (_, credentials) = &template.credentials(&order).unwrap()[0];
        let name = credentials.metadata.name.as_deref();
        assert_eq!(name, Some(&*spec.credentials_secret_ref.name));
    }
}
