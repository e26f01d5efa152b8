//! Proxies from the environment: they are for token endpoints, and for nothing else.

use kit::sitecore::Sitecore;

use kit::harness::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_is_asked_for_token_endpoints_only_and_not_for_those_that_need_none() {
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
    let setup = Setup {
        values: values.collect(),
        origins: vec!["http://auth.example".to_owned(), direct_origin.clone()],
        ..Setup::default()
    };
    let scene = setup.scene("proxy").await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    for (name, origin) in [("far", "http://auth.example"), ("near", &direct_origin)] {
        let mut object = shop.edge_credential(name);
        object.spec.token_request.url = format!("{origin}/oauth/token");
        shop.create_object(&object).await;
        shop.ready(name).await;
    }
    assert_eq!((proxy.requests(CLIENT), direct.requests(CLIENT)), (1, 1));
}
