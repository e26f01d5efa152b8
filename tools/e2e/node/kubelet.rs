//! The kubelet.

use std::{fs, path::Path};

use serde_json::json;

use super::{
    NAME, containerd,
    error::{Error, Result},
    network,
    sandbox::Sandbox,
};
use kit::{control_plane::ControlPlane, process::GuardedProcess};

/// How often it looks whether a pod's volumes are as they should be, and with it how long a mounted Secret takes to
/// change: 3 to 7 seconds instead of up to a minute and a half, so that tokens of a minute can be renewed in time.
const SYNC_FREQUENCY: &str = "5s";

const CONFIG: &str = "/run/kit/kubelet.json";
const RESOLVER: &str = "/run/kit/resolv.conf";

/// Starts it. It isn't ready yet.
pub(super) fn start(
    control_plane: &ControlPlane,
    program: &Path,
    sandbox: &Sandbox,
) -> Result<GuardedProcess> {
    let name_server = sandbox.network().first_outside();
    let resolver = format!("nameserver {name_server}\n");
    fs::write(RESOLVER, resolver).map_err(Error::file("write", RESOLVER))?;
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": control_plane.folder().join("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "clusterDNS": [name_server],
        "clusterDomain": "cluster.local",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", sandbox.cgroup()),
        "containerRuntimeEndpoint": format!("unix://{}", containerd::SOCKET),
        "failCgroupV1": false,
        "failSwapOn": false,
        // A full disk of this machine is no reason to evict pods or to remove images that cannot be pulled again.
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "podLogsDir": "/run/kit/pod-logs",
        "resolvConf": RESOLVER,
        "syncFrequency": SYNC_FREQUENCY,
        "volumePluginDir": "/run/kit/volume-plugins",
    });
    fs::write(CONFIG, config.to_string()).map_err(Error::file("write", CONFIG))?;
    let kubeconfig = control_plane.folder().join("kubelet.kubeconfig");
    let command = network::process_on_node("kubelet", program, control_plane.log("kubelet"))
        .args(["--config", CONFIG])
        .arg(format!("--kubeconfig={}", kubeconfig.display()))
        .arg(format!("--hostname-override={NAME}"))
        .arg(format!("--node-ip={}", sandbox.network().node()));
    Ok(command.spawn()?)
}
