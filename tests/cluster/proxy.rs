//! Proxies from the environment: they are for Sitecore's services, and for nothing else.

use kit::sitecore::{Api, Sitecore};

use kit::harness::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_is_asked_for_sitecores_services_only_and_not_for_those_that_need_none() {
    // Answers for any host, as a proxy would with what the host says.
    let proxy = Sitecore::start().unwrap();
    proxy.add_client(CLIENT, SECRET);
    let direct = Sitecore::start().unwrap();
    direct.add_client(CLIENT, SECRET);
    let direct_origin = direct.url().replace("127.0.0.1", "localhost");
    let variables = [
        ("HTTP_PROXY", proxy.url()),
        // An API server that were reached through this one could not be reached.
        ("HTTPS_PROXY", "http://127.0.0.1:1"),
        ("NO_PROXY", "localhost"),
    ];
    let names = [
        ["extraEnv[0].name", "extraEnv[0].value"],
        ["extraEnv[1].name", "extraEnv[1].value"],
        ["extraEnv[2].name", "extraEnv[2].value"],
    ];
    let values = names
        .iter()
        .zip(variables)
        .flat_map(|([name, value], (variable, is))| {
            [(*name, variable.to_owned()), (*value, is.to_owned())]
        });
    let origins = ["http://auth.example", &*direct_origin];
    let allowed = ("allowedAPIOrigins", format!("{{{}}}", origins.join(",")));
    let setup = Setup {
        values: values.chain([allowed]).collect(),
        origins: origins.map(str::to_owned).into(),
        ..Setup::default()
    };
    let scene = setup.scene("proxy").await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    for (name, origin) in ["far", "near"].into_iter().zip(origins) {
        let mut object = shop.edge_credential(name);
        object.spec.token_request.url = format!("{origin}/oauth/token");
        shop.create_object(&object).await;
        shop.ready(name).await;

        let name = format!("{name}-key");
        shop.create_edge_token(&shop.edge_token_at(&name, origin))
            .await;
        shop.edge_token_ready(&name).await;
    }
    for asked in [&proxy, &direct] {
        let calls = asked.calls();
        let calls = [Api::Token, Api::Delivery].map(|api| calls.ok(api));
        // The JSON Web Token is the one of the EdgeCredential.
        assert_eq!((asked.requests(CLIENT), calls), (1, [2, 1]));
    }
}
