//! The proxy passes on what it's given, and does to a call what it's told to.

use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kit::{
    control_plane::{ControlPlane, shared},
    proxy::{ApiServer, Call, Fault, Injected, Proxy},
    sitecore::Sitecore,
};
use kube::{
    Api,
    api::{
        DeleteParams, ListParams, ObjectMeta, PostParams, VersionMatch, WatchEvent, WatchParams,
    },
};
use serde_json::Value;
use tokio::time::{sleep, timeout};

const ID: &str = "client-1";
const SECRET: &str = "s3cret";
const TOKEN_REQUEST: &str = "POST /oauth/token";

/// Long enough for what takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);

struct Fixture {
    control_plane: &'static ControlPlane,
    sitecore: Sitecore,
    proxy: Proxy,
}

impl Fixture {
    async fn new() -> Self {
        let control_plane = shared().await.unwrap();
        let sitecore = Sitecore::start().unwrap();
        sitecore.add_client(ID, SECRET);
        let api_server = ApiServer::of(control_plane).unwrap();
        let proxy = Proxy::start(&api_server, sitecore.url(), "error text").await;
        Self {
            control_plane,
            sitecore,
            proxy: proxy.unwrap(),
        }
    }

    /// Asks for a token: the status and the answer, or nothing.
    async fn ask(&self) -> Option<(u16, Value)> {
        let answer = self.send().await.ok()?;
        Some((answer.status().as_u16(), answer.json().await.ok()?))
    }

    /// Asks for a token.
    async fn send(&self) -> reqwest::Result<reqwest::Response> {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", ID),
            ("client_secret", SECRET),
            ("audience", kit::sitecore::AUDIENCE),
        ];
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.post(self.proxy.token_url()).form(&form);
        request.send().await
    }

    fn inject(&self, ordinal: usize, fault: Fault) -> Injected {
        let what = TOKEN_REQUEST.to_owned();
        self.proxy.inject(Call { what, ordinal }, fault)
    }

    /// What is in the namespace `default`, through the proxy, with the rights of the namespace's garbage collector: any
    /// token will do that the API server itself has given.
    async fn config_maps(&self) -> Api<ConfigMap> {
        let (namespace, account) = ("kube-system", "generic-garbage-collector");
        let kubeconfig = async {
            loop {
                let control_plane = self.control_plane;
                let made = control_plane.service_account_kubeconfig(namespace, account);
                match made.await {
                    Ok(kubeconfig) => return kubeconfig,
                    // The account is made when its controller starts, after the one that the control plane waits for.
                    Err(_) => sleep(Duration::from_millis(50)).await,
                }
            }
        };
        let kubeconfig = timeout(PATIENCE, kubeconfig).await.unwrap();
        let kubeconfig = self
            .control_plane
            .kubeconfig_with_server(&kubeconfig, self.proxy.api_url(), "proxied")
            .unwrap();
        let client = self.control_plane.client(&kubeconfig).await.unwrap();
        Api::namespaced(client, "default")
    }
}

#[tokio::test]
async fn a_fault_happens_to_its_call_and_to_no_other() {
    let fixture = Fixture::new().await;
    // The status that is seen, and the requests that arrive at the server.
    for (fault, status, arrived) in [
        (Fault::Answer(500), Some(500), 2),
        (Fault::Answer(409), Some(409), 2),
        (Fault::AskToWait(7), Some(429), 2),
        (Fault::CutOff, None, 3),
        (Fault::Reset, None, 2),
        (Fault::ResetAfter, None, 3),
    ] {
        let before = fixture.sitecore.requests(ID);
        fixture.proxy.record_anew();
        let injected = fixture.inject(2, fault);
        assert_eq!(fixture.ask().await.map(|answer| answer.0), Some(200));
        let struck = fixture.ask().await;
        assert_eq!(struck.as_ref().map(|answer| answer.0), status, "{fault:?}");
        if let Some((_, body)) = struck {
            assert_eq!(body["error_description"], "error text");
        }
        timeout(PATIENCE, injected.over()).await.unwrap();
        assert_eq!(fixture.ask().await.map(|answer| answer.0), Some(200));
        assert_eq!(fixture.sitecore.requests(ID) - before, arrived, "{fault:?}");
        assert_eq!(fixture.proxy.count(TOKEN_REQUEST), 3);
    }

    for (fault, arrived) in [(Fault::Silence, 0), (Fault::SilenceAfter, 1)] {
        let before = fixture.sitecore.requests(ID);
        fixture.proxy.record_anew();
        let injected = fixture.inject(1, fault);
        {
            let asking = fixture.ask();
            tokio::pin!(asking);
            tokio::select! {
                answer = &mut asking => panic!("{answer:?}"),
                () = injected.struck() => {}
            }
            let answer = timeout(Duration::from_millis(200), asking).await;
            assert!(answer.is_err(), "{answer:?}");
        }
        // The client has given up.
        timeout(PATIENCE, injected.over()).await.unwrap();
        assert_eq!(fixture.sitecore.requests(ID) - before, arrived, "{fault:?}");
    }
}

#[tokio::test]
async fn several_faults_wait_for_their_calls_side_by_side() {
    let fixture = Fixture::new().await;
    let cut = fixture.inject(2, Fault::CutOff);
    let limited = fixture.inject(1, Fault::AskToWait(7));

    let answer = fixture.send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 429);
    assert_eq!(answer.headers()["retry-after"], "7");
    timeout(PATIENCE, limited.over()).await.unwrap();
    let waits = timeout(Duration::from_millis(200), cut.struck()).await;
    assert!(waits.is_err(), "it did not happen yet");

    let answer = fixture.send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    assert!(answer.bytes().await.is_err(), "half of it is missing");
    timeout(PATIENCE, cut.over()).await.unwrap();
    assert_eq!(fixture.ask().await.map(|answer| answer.0), Some(200));
}

#[tokio::test]
async fn a_stale_list_shows_an_earlier_state_and_a_watch_goes_on_from_there() {
    let fixture = Fixture::new().await;
    let admin: Api<ConfigMap> = Api::namespaced(
        fixture.control_plane.admin_client().await.unwrap(),
        "default",
    );
    let proxied = fixture.config_maps().await;
    let config_map = ConfigMap {
        metadata: ObjectMeta {
            name: Some("proxied".to_owned()),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    };
    let everything = ListParams::default();
    let version = admin
        .list(&everything)
        .await
        .unwrap()
        .metadata
        .resource_version;
    let version = version.unwrap();
    admin
        .create(&PostParams::default(), &config_map)
        .await
        .unwrap();

    fixture.proxy.serve_stale("configmaps", &version);
    assert!(!fixture.proxy.served_stale());
    let stale = proxied.list(&everything).await.unwrap();
    assert!(fixture.proxy.served_stale());
    assert_eq!(stale.metadata.resource_version.as_ref(), Some(&version));
    let shows = |list: kube::core::ObjectList<ConfigMap>| {
        list.into_iter()
            .any(|item| item.metadata.name.as_deref() == Some("proxied"))
    };
    assert!(!shows(stale));
    assert!(shows(proxied.list(&everything).await.unwrap()));

    let watch = proxied
        .watch(&WatchParams::default(), &version)
        .await
        .unwrap();
    let events = watch.filter_map(async |event| match event.unwrap() {
        WatchEvent::Added(added) => added.metadata.name,
        _ => None,
    });
    tokio::pin!(events);
    let added = timeout(PATIENCE, events.next()).await.unwrap();
    assert_eq!(added.as_deref(), Some("proxied"));

    let calls: Vec<_> = fixture.proxy.calls().iter().map(Call::to_string).collect();
    assert_eq!(calls, ["LIST configmaps #1", "LIST configmaps #2"]);
    admin
        .delete("proxied", &DeleteParams::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_history_that_is_refused_is_gone_and_nothing_else_is() {
    let fixture = Fixture::new().await;
    let proxied = fixture.config_maps().await;
    let everything = ListParams::default();
    let version = proxied.list(&everything).await.unwrap();
    let version = version.metadata.resource_version.unwrap();
    let exactly = ListParams {
        version_match: Some(VersionMatch::Exact),
        ..ListParams::default().at(&version)
    };
    proxied.list(&exactly).await.unwrap();
    fixture.proxy.refuse_history();
    let refused = proxied.list(&exactly).await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 410));
    proxied.list(&everything).await.unwrap();
    assert_eq!(fixture.proxy.count("LIST configmaps"), 4);
}
