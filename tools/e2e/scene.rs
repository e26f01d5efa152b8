//! What the story needs before it can begin: the node with its images, the stand-in for Sitecore's services behind TLS,
//! a name server, and three namespaces.

use std::{
    net::{Ipv6Addr, SocketAddr},
    path::Path,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::{Pod, Secret};
use kit::{
    sitecore::{Api as SitecoreApi, Certificate, Sitecore, TlsFront},
    time_line::{Mark, TimeLine},
};
use kube::{Api, Client};
use serde_json::json;

use crate::{
    IMAGE, Result,
    node::{Node, dns::NameServer, image, network::Network, sandbox::Sandbox},
};

/// The team's namespace.
pub const NAMESPACE: &str = "storefront";

/// The release, its namespace, and what its chart calls everything.
pub const OPERATOR: &str = "edge-credential-operator";

/// The namespace of who reads the operator's metrics.
pub const MONITORING: &str = "monitoring";

/// The EdgeCredential, and the Secret that the operator makes for it.
pub const NAME: &str = "edge-admin";

/// The EdgeToken, the Secret that the operator makes for it, and its client.
pub const KEY: &str = "edge-key";

/// The name of the operator's image in the node, without its tag.
pub const REPOSITORY: &str = "registry.test/edge-credential-operator";

/// The ConfigMap with the token endpoint's certificate authority.
pub const AUTHORITY: &str = "token-endpoint-ca";

/// How long tokens live: as short as leaves time for the kubelet to bring a new one into the pod. Sitecore's live for
/// 24 hours.
pub const LIFETIME: Duration = Duration::from_secs(60);

/// The token endpoint's host, which is to be found by its name.
pub const HOST: &str = "auth.sitecore.test";
/// Where it listens, and where Sitecore's APIs do.
pub const TOKEN_PORT: u16 = 8443;
pub const API_PORT: u16 = 8080;

/// Where the name server listens, and where it does besides, as nobody expects.
pub const DNS_PORT: u16 = 53;
pub const ODD_DNS_PORT: u16 = 5300;

/// The stage and the props.
pub struct Scene {
    /// The token endpoint, as the operator reaches it.
    pub token_endpoint: TlsFront,
    /// The stand-in.
    pub sitecore: Sitecore,
    /// Knows where the token endpoint is, and what it's told besides.
    pub names: NameServer,
    /// Which addresses there are.
    pub network: Network,
    /// A client that may do anything.
    pub client: Client,
    /// Ends last, and its folder with it.
    pub node: Node,
}

impl Scene {
    /// Sets everything up, and tells so.
    pub async fn set_up(line: &TimeLine, sandbox: &Sandbox) -> Result<Scene> {
        line.say(
            Mark::Plain,
            "Node",
            "etcd, kube-apiserver, kube-controller-manager, kube-scheduler, containerd, kubelet, kube-proxy and\n\
             kube-network-policies are starting…",
        );
        let start = Instant::now();
        let node = Node::start(sandbox, image::TOOLS).await?;
        let client = node.control_plane.admin_client().await?;
        let version = client.apiserver_version().await?.git_version;
        let network = sandbox.network();
        let text = format!(
            "ready after {:.1} s: Kubernetes {version}, {}, in network, mount and process namespaces of its own",
            start.elapsed().as_secs_f64(),
            network.title()
        );
        line.say(Mark::Good, "Node", &text);

        import(&node, sandbox).await?;
        let text = format!(
            "the operator's, as `make image` made it: {:.1} MB; and one with busybox for the workload",
            megabytes(Path::new(IMAGE))?
        );
        line.say(Mark::Good, "Images", &text);

        let any = |port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let sitecore = Sitecore::start_on(any(API_PORT))?;
        let token_endpoint =
            TlsFront::start_on(any(TOKEN_PORT), &sitecore, Certificate::Named(HOST))?;
        let names = NameServer::start(network.first_outside(), &[DNS_PORT, ODD_DNS_PORT])?;
        names.add(HOST, network.outside());

        let scene = Scene {
            token_endpoint,
            sitecore,
            names,
            network,
            client,
            node,
        };
        let text = format!(
            "for Sitecore's token endpoint at {}, and for its APIs at {}",
            scene.token_endpoint.url(),
            scene.apis()
        );
        line.say(Mark::Good, "Stand-in", &text);
        scene.prepare_namespaces().await?;
        let text = format!(
            "{OPERATOR}, {NAMESPACE} and {MONITORING} enforce the restricted Pod Security Standard"
        );
        line.say(Mark::Good, "Namespaces", &text);
        Ok(scene)
    }

    async fn prepare_namespaces(&self) -> Result<()> {
        let authority = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": AUTHORITY, "namespace": OPERATOR},
            "data": {"ca.crt": self.token_endpoint.authority()},
        });
        let manifests = format!(
            "{}---\n{}---\n{}---\n{authority}\n",
            namespace(OPERATOR),
            namespace(NAMESPACE),
            namespace(MONITORING)
        );
        self.node.control_plane.apply(&manifests).await?;
        // What they enforce is worth a look: a pod that may run as root must be refused.
        let any = [
            "run",
            "any",
            "--namespace",
            NAMESPACE,
            "--image",
            image::TOOLS,
            "--dry-run=server",
        ];
        match self.node.control_plane.kubectl(&any).await {
            Ok(_) => Err("a pod that may run as root was not refused".into()),
            Err(error)
                if error
                    .to_string()
                    .contains("violates PodSecurity \"restricted") =>
            {
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Adds a client to the stand-in, and its credentials to the cluster.
    async fn create_credentials(&self, name: &str) -> Result<()> {
        let secret = format!("{name}-secret");
        self.sitecore.add_client(name, &secret);
        self.sitecore.set_lifetime(name, LIFETIME);
        let manifest = format!(
            "apiVersion: v1
kind: Secret
metadata: {{name: {name}-client, namespace: {NAMESPACE}}}
stringData: {{client_id: {name}, client_secret: {secret}}}
"
        );
        self.node.control_plane.apply(&manifest).await?;
        Ok(())
    }

    /// Creates the EdgeToken, with a client of its own.
    pub async fn create_edge_token(&self) -> Result<()> {
        self.create_credentials(KEY).await?;
        let manifest = format!(
            "apiVersion: edgecredentials.io/v1alpha1
kind: EdgeToken
metadata: {{name: {KEY}, namespace: {NAMESPACE}}}
spec:
  credentialsSecretRef: {{name: {KEY}-client}}
  tokenRequest: {{url: {}}}
  tokenAPI: {{url: \"{apis}{}\"}}
  deliveryURL: \"{apis}{}\"
",
            self.token_endpoint.token_url(),
            SitecoreApi::Token.path(),
            SitecoreApi::Delivery.path(),
            apis = self.apis()
        );
        self.node.control_plane.apply(&manifest).await?;
        Ok(())
    }

    /// Creates an EdgeCredential, with a client of its own.
    pub async fn create_edge_credential(&self, name: &str) -> Result<()> {
        self.create_credentials(name).await?;
        let manifest = format!(
            "apiVersion: edgecredentials.io/v1alpha1
kind: EdgeCredential
metadata: {{name: {name}, namespace: {NAMESPACE}}}
spec:
  credentialsSecretRef: {{name: {name}-client}}
  tokenRequest: {{url: {}}}
",
            self.token_endpoint.token_url()
        );
        self.node.control_plane.apply(&manifest).await?;
        Ok(())
    }

    /// The origin of Sitecore's APIs, as pods reach them.
    pub fn apis(&self) -> String {
        let address = SocketAddr::new(self.network.first_outside(), API_PORT);
        format!("http://{address}")
    }

    /// The Secrets of the team.
    pub fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// The pods of a namespace.
    pub fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

async fn import(node: &Node, sandbox: &Sandbox) -> Result<()> {
    let folder = sandbox.folder().to_owned();
    let archive = folder.join("tools.tar");
    let tools = archive.clone();
    let name = tokio::task::spawn_blocking(move || image::build_tools(&folder, &tools)).await??;
    node.import(&archive, name).await?;
    // The tag in the archive is the version, which is the chart's default.
    node.import(Path::new(IMAGE), REPOSITORY).await?;
    Ok(())
}

fn namespace(name: &str) -> String {
    format!(
        "apiVersion: v1
kind: Namespace
metadata:
  name: {name}
  labels: {{pod-security.kubernetes.io/enforce: restricted}}
"
    )
}

fn megabytes(file: &Path) -> Result<f64> {
    Ok(file.metadata()?.len() as f64 / 1e6)
}
