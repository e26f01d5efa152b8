//! What a run has to itself: a namespace, a stand-in for Sitecore's services, a proxy before it and the API server, and an operator.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::events::v1::Event;
use kit::control_plane::ControlPlane;
use kit::harness::{Namespace, SECRET, Scene, Setup};
use kit::operator::Operator;
use kit::proxy::{ApiServer, Injected, Proxy};
use kit::sitecore::Sitecore;
use kube::{Api, Client};
use tokio::time::timeout;

use crate::injection::{Fate, Injection};

/// How long one step of a run may take. The longest waits of the operator are 15 s for a call and 5 s before the next
/// attempt, and of an EdgeToken a minute between two keys; the rest is for a busy machine.
pub const LIMIT: Duration = Duration::from_secs(150);

/// How long no call may come until the operator counts as idle.
pub const QUIET: Duration = Duration::from_millis(200);

/// How many visits there may be until one changes nothing.
pub const VISITS: usize = 3;

/// How often to look at objects while the operator is idle.
const POLL: Duration = Duration::from_secs(1);

/// Text of the servers that no one may ever see.
pub const SERVER_TEXT: &str = "faults-server-text";

/// The tenant of all clients. It is meant to be seen.
pub const TENANT: &str = "tenant";

/// What all runs share.
pub struct Lab {
    client: Client,
    control_plane: &'static ControlPlane,
    api_server: ApiServer,
    /// The rights that the chart gives the operator.
    kubeconfig: PathBuf,
    /// For the operator's probes.
    http: reqwest::Client,
    /// What its namespaces are named after.
    name: &'static str,
    runs: AtomicUsize,
}

impl Lab {
    /// Installs the chart, once for all runs. It lives as long as this process.
    pub async fn new(name: &'static str) -> &'static Self {
        let setup = Setup {
            cluster_wide: true,
            start: false,
            ..Setup::default()
        };
        let scene: &'static Scene = Box::leak(Box::new(setup.scene(name).await));
        let account: Vec<_> = scene.operator.user.rsplit(':').take(2).collect();
        let kubeconfig = scene
            .control_plane
            .service_account_kubeconfig(account[1], account[0])
            .await
            .unwrap();
        let lab = Self {
            client: scene.client.clone(),
            control_plane: &scene.control_plane,
            api_server: ApiServer::of(&scene.control_plane).unwrap(),
            kubeconfig,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            name,
            runs: AtomicUsize::new(0),
        };
        Box::leak(Box::new(lab))
    }

    /// Makes a namespace with a Secret that belongs to nobody and the credentials of the usual client, a stand-in that knows these
    /// clients, and an operator that does not run yet.
    pub async fn set_stage(&self, clients: &[&str]) -> Stage {
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-run-{number}", self.name);
        let log = self.control_plane.folder().join(format!("{name}.log"));

        let sitecore = Sitecore::start().unwrap();
        sitecore.set_error_text(SERVER_TEXT);
        for id in clients {
            sitecore.add_client(id, SECRET);
            // By default it holds the client id.
            sitecore.configure(id, |client| client.tenant_id = Some(TENANT.to_owned()));
        }
        let proxy = Proxy::start(&self.api_server, sitecore.url(), SERVER_TEXT).await;
        let proxy = proxy.unwrap();
        let namespace = Namespace::create(
            self.client.clone(),
            name.clone(),
            proxy.token_origin().to_owned(),
            log.clone(),
        )
        .await;
        namespace.create_credentials().await;
        namespace
            .create_secret("unrelated", &[("password", "not to be touched")])
            .await;
        let kubeconfig = self
            .control_plane
            .kubeconfig_with_server(&self.kubeconfig, proxy.api_url(), &name)
            .unwrap();
        let program = env!("CARGO_BIN_EXE_edge-credential-operator").into();
        let authority = self.control_plane.folder().join("ca.crt");
        let http = self.http.clone();
        let operator = Operator::new(program, kubeconfig, proxy.token_origin(), log.clone(), http)
            .arg(format!("--allowed-api-origin={}", proxy.token_origin()))
            .arg(format!("--namespace={name}"))
            .env("RUST_LOG", "trace")
            // One certificate instead of the system's, for which a start would take twice as long.
            .env("SSL_CERT_FILE", authority.to_string_lossy());
        Stage {
            operator,
            log,
            events: Api::namespaced(self.client.clone(), &name),
            namespace,
            proxy,
            sitecore,
        }
    }
}

/// What a run has to itself.
pub struct Stage {
    // Killed first.
    pub operator: Operator,
    pub log: PathBuf,
    pub namespace: Namespace,
    pub events: Api<Event>,
    pub proxy: Proxy,
    pub sitecore: Sitecore,
}

impl Stage {
    /// Does what belongs to a fault that has happened to its call, and waits until the call has ended. The kind of the objects, and
    /// a version from before the change, are for a list that is stale.
    pub async fn go_on(&mut self, injection: &Injection, injected: &Injected, stale: (&str, &str)) {
        if injection.fate.crashes() {
            // Dead already, where something was changed while it was.
            let _ = self.operator.kill();
        }
        if injection.fate == Fate::StaleList {
            self.proxy.serve_stale(stale.0, stale.1);
        }
        if injection.fate.crashes() {
            self.operator.start().await.unwrap();
        }
        let over = timeout(LIMIT, injected.over()).await;
        assert!(over.is_ok(), "{} has no end", injection.call);
        if injection.fate == Fate::StaleList {
            self.until("the stale list was asked for", async || {
                self.proxy.served_stale().then_some(())
            })
            .await;
        }
    }

    /// Waits until `look` finds something, with no call under way. It looks only where calls have been made, or time has
    /// passed: so many runs would otherwise keep the API server busy with their looking.
    pub async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let mut last: Option<(usize, Instant)> = None;
        self.namespace
            .until(LIMIT, what, async || {
                self.proxy.quiet(QUIET).await;
                let calls = self.proxy.calls().len();
                if last.is_some_and(|(seen, at)| seen == calls && at.elapsed() < POLL) {
                    return None;
                }
                last = Some((calls, Instant::now()));
                look().await
            })
            .await
    }
}
