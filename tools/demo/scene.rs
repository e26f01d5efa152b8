//! What the story needs before it can begin: the control plane, the stand-in for Sitecore's services, the resource
//! definition, the operator's account, and a namespace with client credentials.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use edge_credential_operator::api::EdgeToken;
use k8s_openapi::api::core::v1::Secret;
use kit::{
    control_plane::ControlPlane,
    harness::CHART,
    operator,
    sitecore::{Api as SitecoreApi, Sitecore},
    time_line::{Mark, TimeLine},
};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::json;

use crate::Result;

/// The team's namespace.
pub const NAMESPACE: &str = "storefront";

/// The EdgeCredential, and the Secret that the operator makes for it.
pub const NAME: &str = "edge-admin";

/// The EdgeToken, and the Secret that the operator makes for it.
pub const KEY_NAME: &str = "edge-key";

/// The Secret with the client credentials.
pub const CREDENTIALS: &str = "edge-client";

/// The release, which gives the chart's objects their name, and the operator's namespace.
const OPERATOR: &str = "edge-credential-operator";

/// How long tokens live: long enough to be watched, short enough to wait for. Sitecore's live for 24 hours.
pub const LIFETIME: Duration = Duration::from_secs(30);

const CLIENT_ID: &str = "demo-client";
const CLIENT_SECRET: &str = "demo-secret";

/// The client of another environment, and the Secret with its credentials: what the workload does with keys of its own is none of
/// the EdgeToken's business.
const KEY_CLIENT_ID: &str = "demo-key-client";
const KEY_CREDENTIALS: &str = "edge-key-client";

/// The stage and the props.
pub struct Scene {
    /// Ends first: whoever is still calling is refused.
    pub sitecore: Sitecore,
    /// Ends last, and its folder with it.
    pub control_plane: ControlPlane,
    /// The operator's program.
    pub program: PathBuf,
    /// The kubeconfig of the operator's service account.
    pub operator_kubeconfig: PathBuf,
    /// A client that may do anything.
    pub client: Client,
    /// Calls the operator's health check and Sitecore's stand-in.
    pub http: reqwest::Client,
}

impl Scene {
    /// Sets everything up, and tells so. If the control plane has to be built first, that takes minutes.
    pub async fn set_up(line: &TimeLine) -> Result<Scene> {
        let program = operator::program()?;
        line.say(
            Mark::Plain,
            "Control plane",
            "etcd, kube-apiserver and kube-controller-manager are starting on this machine…",
        );
        let start = Instant::now();
        let control_plane = ControlPlane::start().await?;
        let client = control_plane.admin_client().await?;
        let version = client.apiserver_version().await?.git_version;
        let text = format!(
            "ready after {:.1} s: Kubernetes {version} with RBAC, without nodes",
            start.elapsed().as_secs_f64()
        );
        line.say(Mark::Good, "Control plane", &text);

        let sitecore = Sitecore::start()?;
        sitecore.add_client(CLIENT_ID, CLIENT_SECRET);
        sitecore.set_lifetime(CLIENT_ID, LIFETIME);
        sitecore.add_client(KEY_CLIENT_ID, CLIENT_SECRET);
        let text = format!(
            "for Sitecore's token endpoint, Token, Admin and Delivery API listens on {}",
            sitecore.url()
        );
        line.say(Mark::Good, "Stand-in", &text);

        control_plane.install(Path::new(CHART), OPERATOR).await?;
        line.say(
            Mark::Good,
            "CRD",
            "applied and established, with the operator's ServiceAccount and RBAC: all as the Helm chart renders them",
        );
        prepare_namespace(&control_plane).await?;
        let text = format!("{NAMESPACE} created, with client credentials in Secret {CREDENTIALS}");
        line.say(Mark::Good, "Namespace", &text);
        let operator_kubeconfig = control_plane
            .service_account_kubeconfig(OPERATOR, OPERATOR)
            .await?;
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(5))
            .build()?;
        Ok(Scene {
            sitecore,
            control_plane,
            program,
            operator_kubeconfig,
            client,
            http,
        })
    }

    /// Token requests so far.
    pub fn requests(&self) -> u64 {
        self.sitecore.requests(CLIENT_ID)
    }

    /// The Secrets of the namespace.
    pub fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// The EdgeCredentials of the namespace.
    pub fn edge_credentials(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), NAMESPACE, &resource())
    }

    /// The EdgeTokens of the namespace.
    pub fn edge_tokens(&self) -> Api<EdgeToken> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// The EdgeToken to be created.
    pub fn edge_token(&self) -> Result<EdgeToken> {
        let spec = serde_json::from_value(json!({
            "credentialsSecretRef": {"name": KEY_CREDENTIALS},
            "tokenRequest": {"url": self.sitecore.token_url()},
            "tokenAPI": {"url": self.api_url(SitecoreApi::Token)},
            "deliveryURL": self.api_url(SitecoreApi::Delivery),
        }))?;
        Ok(EdgeToken::new(KEY_NAME, spec))
    }

    /// Where one of Sitecore's APIs is.
    pub fn api_url(&self, api: SitecoreApi) -> String {
        format!("{}{}", self.sitecore.url(), api.path())
    }

    /// The EdgeCredential to be created.
    pub fn edge_credential(&self) -> DynamicObject {
        DynamicObject::new(NAME, &resource()).data(json!({
            "spec": {
                "credentialsSecretRef": {"name": CREDENTIALS},
                "tokenRequest": {"url": self.sitecore.token_url()},
            },
        }))
    }
}

fn resource() -> ApiResource {
    let kind = GroupVersionKind::gvk("edgecredentials.io", "v1alpha1", "EdgeCredential");
    ApiResource::from_gvk(&kind)
}

async fn prepare_namespace(control_plane: &ControlPlane) -> Result<()> {
    let manifests = format!(
        "apiVersion: v1
kind: Namespace
metadata: {{name: {NAMESPACE}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: {CREDENTIALS}, namespace: {NAMESPACE}}}
stringData: {{client_id: {CLIENT_ID}, client_secret: {CLIENT_SECRET}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: {KEY_CREDENTIALS}, namespace: {NAMESPACE}}}
stringData: {{client_id: {KEY_CLIENT_ID}, client_secret: {CLIENT_SECRET}}}
"
    );
    control_plane.apply(&manifests).await?;
    Ok(())
}
