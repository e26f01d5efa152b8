//! The three servers of a control plane: their files and command lines.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Options, audit,
    certificates::{Authority, SigningKey},
    error::{Error, Result},
    kubeconfig::{self, User},
    port,
    run_folder::RunFolder,
};
use crate::process::{GuardedCommand, GuardedProcess};
use crate::programs::Binaries;

/// A server of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// etcd.
    Etcd,
    /// kube-apiserver.
    ApiServer,
    /// kube-controller-manager.
    ControllerManager,
}

impl Server {
    pub(super) fn name(self) -> &'static str {
        match self {
            Server::Etcd => "etcd",
            Server::ApiServer => "kube-apiserver",
            Server::ControllerManager => "kube-controller-manager",
        }
    }
}

/// What the controller manager does: owned objects go with their owner, namespaces can be deleted, each namespace has its
/// default ServiceAccount and the certificate authority's ConfigMap, and `view`, `edit` and `admin` have the rights that
/// are aggregated to them.
const CONTROLLERS: [&str; 5] = [
    "clusterrole-aggregation-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "serviceaccount-controller",
    "root-ca-certificate-publisher-controller",
];

/// What else it does where there is a node: make pods, and tell when the node is ready for them.
const CONTROLLERS_FOR_PODS: [&str; 6] = [
    "deployment-controller",
    "disruption-controller",
    "endpointslice-controller",
    "job-controller",
    "node-lifecycle-controller",
    "replicaset-controller",
];

/// The range that Services get their addresses from, unless a node has it otherwise.
const SERVICES: &str = "10.0.0.0/24";

/// The API server's port where a node joins.
const API_PORT: u16 = 6443;

/// Where the servers listen, and where their files are.
#[derive(Debug)]
pub(super) struct Setup {
    api_server: SocketAddr,
    /// The ranges of the Services' addresses, with commas between them.
    services: String,
    /// Whether a node may join.
    node: bool,
    compaction_interval: Option<Duration>,
    etcd_port: u16,
    folder: PathBuf,
    authority_pem: String,
}

impl Setup {
    /// Chooses ports and writes the files that the servers need, and those of this node.
    pub(super) fn write(folder: &RunFolder, options: &Options) -> Result<Setup> {
        let node = options.node.as_ref();
        let authority = Authority::new()?;
        let (api_server, services) = match node {
            Some(node) => ((node.api_server, API_PORT).into(), node.services.join(",")),
            None => (
                (Ipv4Addr::LOCALHOST, port::free()?).into(),
                SERVICES.to_owned(),
            ),
        };
        let setup = Setup {
            api_server,
            services,
            node: node.is_some(),
            compaction_interval: options.compaction_interval,
            etcd_port: port::free()?,
            folder: folder.path().to_owned(),
            authority_pem: authority.pem().to_owned(),
        };

        let api_address = api_server.ip().to_string();
        let mut hosts = vec![&*api_address, "localhost", "kubernetes.default.svc"];
        let service = kubernetes_service(&setup.services).map(|address| address.to_string());
        hosts.extend(service.as_deref());
        let server = authority.server("kube-apiserver", &hosts)?;
        let tokens = SigningKey::new()?;
        let admin = authority.client("admin", Some("system:masters"))?;
        let manager = authority.client("system:kube-controller-manager", None)?;
        let kubeconfig = |identity| setup.kubeconfig(&User::Certificate(identity), "default");
        for (name, content) in [
            ("ca.crt", authority.pem()),
            ("apiserver.crt", &server.certificate),
            ("apiserver.key", &server.key),
            ("service-account.key", &tokens.private),
            ("service-account.pub", &tokens.public),
            ("audit-policy.yaml", audit::POLICY),
            ("admin.kubeconfig", &kubeconfig(&admin)),
            ("controller-manager.kubeconfig", &kubeconfig(&manager)),
        ] {
            folder.write(name, content)?;
        }
        if let Some(node) = node {
            let scheduler = authority.client("system:kube-scheduler", None)?;
            let proxy = authority.client("system:kube-proxy", None)?;
            let policies = authority.client("kube-network-policies", Some("system:masters"))?;
            // The name and the group are what the Node authorizer and NodeRestriction go by.
            let user = format!("system:node:{}", node.name);
            let kubelet = authority.client(&user, Some("system:nodes"))?;
            // For logs: the API server has to show the kubelet who it is.
            let caller = authority.client("kube-apiserver", Some("system:masters"))?;
            for (name, content) in [
                ("scheduler.kubeconfig", &kubeconfig(&scheduler)),
                ("proxy.kubeconfig", &kubeconfig(&proxy)),
                ("network-policies.kubeconfig", &kubeconfig(&policies)),
                ("kubelet.kubeconfig", &kubeconfig(&kubelet)),
                ("kubelet-client.crt", &caller.certificate),
                ("kubelet-client.key", &caller.key),
            ] {
                folder.write(name, content)?;
            }
        }
        let logs = folder.join("logs");
        fs::create_dir(&logs).map_err(Error::file("create", &logs))?;
        Ok(setup)
    }

    /// A kubeconfig for this control plane.
    pub(super) fn kubeconfig(&self, user: &User<'_>, namespace: &str) -> String {
        let server = self.api_server_url();
        kubeconfig::render(&server, &self.authority_pem, user, namespace)
    }

    pub(super) fn api_server_address(&self) -> SocketAddr {
        self.api_server
    }

    pub(super) fn api_server_url(&self) -> String {
        format!("https://{}", self.api_server)
    }

    pub(super) fn authority_pem(&self) -> &str {
        &self.authority_pem
    }

    pub(super) fn admin_kubeconfig(&self) -> PathBuf {
        self.folder.join("admin.kubeconfig")
    }

    pub(super) fn audit_log(&self) -> PathBuf {
        self.log("audit")
    }

    /// The log file of this name.
    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.folder.join("logs").join(format!("{name}.log"))
    }

    /// The command that starts a server.
    pub(super) fn command(&self, server: Server, binaries: &Binaries) -> GuardedCommand {
        let (program, args) = match server {
            Server::Etcd => (&binaries.etcd, self.etcd_args()),
            Server::ApiServer => (&binaries.kube_apiserver, self.api_server_args()),
            Server::ControllerManager => (
                &binaries.kube_controller_manager,
                self.controller_manager_args(),
            ),
        };
        GuardedProcess::command(server.name(), program, self.log(server.name()))
            .args(args)
            .current_dir(&self.folder)
    }

    fn etcd_args(&self) -> Vec<String> {
        let url = self.etcd_url();
        vec![
            flag("--data-dir", self.file("etcd")),
            format!("--listen-client-urls={url}"),
            format!("--advertise-client-urls={url}"),
            // It has no peers, but insists on listening for them: on any port.
            "--listen-peer-urls=http://127.0.0.1:0".to_owned(),
            // The data need not survive a power cut, and syncing is most of the time a start takes.
            "--unsafe-no-fsync".to_owned(),
        ]
    }

    fn api_server_args(&self) -> Vec<String> {
        let mut args = vec![
            format!("--etcd-servers={}", self.etcd_url()),
            format!("--bind-address={}", self.api_server.ip()),
            format!("--secure-port={}", self.api_server.port()),
            flag("--cert-dir", self.file("certificates")),
            flag("--tls-cert-file", self.file("apiserver.crt")),
            flag("--tls-private-key-file", self.file("apiserver.key")),
            flag("--client-ca-file", self.file("ca.crt")),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            flag(
                "--service-account-key-file",
                self.file("service-account.pub"),
            ),
            flag(
                "--service-account-signing-key-file",
                self.file("service-account.key"),
            ),
            "--authorization-mode=Node,RBAC".to_owned(),
            format!("--service-cluster-ip-range={}", self.services),
            flag("--audit-policy-file", self.file("audit-policy.yaml")),
            flag("--audit-log-path", self.audit_log()),
            // In megabytes. A log that is rotated in the middle of a test loses the events before.
            "--audit-log-maxsize=100000".to_owned(),
        ];
        if let Some(interval) = self.compaction_interval {
            args.push(format!(
                "--etcd-compaction-interval={}s",
                interval.as_secs()
            ));
        }
        if self.node {
            args.extend([
                // As the endpoint of the Service `kubernetes`, to which kube-proxy leads pods.
                format!("--advertise-address={}", self.api_server.ip()),
                "--enable-admission-plugins=NodeRestriction".to_owned(),
                flag(
                    "--kubelet-client-certificate",
                    self.file("kubelet-client.crt"),
                ),
                flag("--kubelet-client-key", self.file("kubelet-client.key")),
                // Nobody knows the node's name.
                "--kubelet-preferred-address-types=InternalIP".to_owned(),
            ]);
        } else {
            args.extend([
                // Since 1.37 an address in the loopback range is refused as the one to advertise, and without one it's
                // taken from the default route, which a sandbox may not have. So: an address for documentation
                // (RFC 5737), and no reconciler that would publish it.
                "--advertise-address=192.0.2.1".to_owned(),
                "--endpoint-reconciler-type=none".to_owned(),
            ]);
        }
        args
    }

    fn controller_manager_args(&self) -> Vec<String> {
        let mut controllers = CONTROLLERS.to_vec();
        if self.node {
            controllers.extend(CONTROLLERS_FOR_PODS);
        }
        vec![
            flag("--kubeconfig", self.file("controller-manager.kubeconfig")),
            format!("--controllers={}", controllers.join(",")),
            // Each controller under its own name in the audit log, with its own permissions.
            "--use-service-account-credentials=true".to_owned(),
            flag("--root-ca-file", self.file("ca.crt")),
            // There is only one, and nobody asks it anything.
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
        ]
    }

    pub(super) fn etcd_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.etcd_port)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// The address of the Service `kubernetes`, by which pods call the API server: the first of the first range.
fn kubernetes_service(services: &str) -> Option<IpAddr> {
    let (network, _) = services.split(',').next()?.split_once('/')?;
    Some(match network.parse().ok()? {
        IpAddr::V4(network) => Ipv4Addr::from_bits(network.to_bits() + 1).into(),
        IpAddr::V6(network) => Ipv6Addr::from_bits(network.to_bits() + 1).into(),
    })
}

fn flag(name: &str, path: impl AsRef<Path>) -> String {
    format!("{name}={}", path.as_ref().display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup() -> Setup {
        Setup {
            api_server: (Ipv4Addr::LOCALHOST, 20_001).into(),
            services: SERVICES.to_owned(),
            node: false,
            compaction_interval: None,
            etcd_port: 20_002,
            folder: PathBuf::from("/run-folder"),
            authority_pem: "CA".to_owned(),
        }
    }

    #[test]
    fn the_servers_listen_on_loopback_only() {
        let etcd = setup().etcd_args();
        assert!(etcd.contains(&"--listen-client-urls=http://127.0.0.1:20002".to_owned()));
        let api_server = setup().api_server_args();
        assert!(api_server.contains(&"--bind-address=127.0.0.1".to_owned()));
        assert!(api_server.contains(&"--secure-port=20001".to_owned()));
    }

    #[test]
    fn a_node_finds_the_api_server_where_pods_look_for_it() {
        let setup = Setup {
            api_server: ("fd00:2::1".parse::<IpAddr>().unwrap(), API_PORT).into(),
            services: "fd00::/112,10.0.0.0/24".to_owned(),
            node: true,
            ..setup()
        };
        assert_eq!(setup.api_server_url(), "https://[fd00:2::1]:6443");
        let args = setup.api_server_args();
        assert!(args.contains(&"--bind-address=fd00:2::1".to_owned()));
        assert!(args.contains(&"--advertise-address=fd00:2::1".to_owned()));
        assert!(args.contains(&"--secure-port=6443".to_owned()));
        assert!(args.contains(&"--service-cluster-ip-range=fd00::/112,10.0.0.0/24".to_owned()));
        assert!(args.contains(&"--enable-admission-plugins=NodeRestriction".to_owned()));
    }

    #[test]
    fn the_service_of_the_api_server_has_the_first_address_of_the_first_range() {
        let first = |services| kubernetes_service(services).map(|address| address.to_string());
        assert_eq!(first("10.0.0.0/24").as_deref(), Some("10.0.0.1"));
        assert_eq!(first("fd00::/112,10.0.0.0/24").as_deref(), Some("fd00::1"));
        assert_eq!(first("10.0.0.0"), None);
    }

    #[test]
    fn permissions_are_enforced() {
        let args = setup().api_server_args();
        assert!(args.contains(&"--authorization-mode=Node,RBAC".to_owned()));
    }

    #[test]
    fn every_file_is_in_the_run_folder() {
        let setup = setup();
        let all = [
            setup.etcd_args(),
            setup.api_server_args(),
            setup.controller_manager_args(),
        ]
        .concat();
        for arg in all.iter().filter(|arg| arg.contains("=/")) {
            assert!(arg.contains("=/run-folder/"), "{arg}");
        }
    }
}
