//! kube-proxy, which lets a Service's address lead to its pods.

use std::{fs, path::Path};

use serde_json::json;

use super::{
    NAME,
    error::{Error, Result},
    network::{self, Network},
};
use kit::{control_plane::ControlPlane, process::GuardedProcess};

const CONFIG: &str = "/run/kit/proxy.json";

/// Starts it.
pub(super) fn start(
    control_plane: &ControlPlane,
    program: &Path,
    network: Network,
) -> Result<GuardedProcess> {
    let config = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": control_plane.folder().join("proxy.kubeconfig")},
        "clusterCIDR": network.pods(),
        // The kernel's limits are the whole machine's.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpCloseWaitTimeout": "0s",
            "tcpEstablishedTimeout": "0s",
        },
        "hostnameOverride": NAME,
        "mode": "iptables",
    });
    fs::write(CONFIG, config.to_string()).map_err(Error::file("write", CONFIG))?;
    let log = control_plane.log("kube-proxy");
    let command = network::process_on_node("kube-proxy", program, log).args(["--config", CONFIG]);
    Ok(command.spawn()?)
}
