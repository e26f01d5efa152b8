//! The network of pods: a bridge, and an address for each pod. Pods reach what listens on the node's address.

use std::{fs, path::PathBuf};

use serde_json::json;

use super::{
    error::{Error, Result},
    sandbox::Sandbox,
};

/// The folder with the configuration.
pub(super) const FOLDER: &str = "/run/kit/network";

/// The addresses of pods.
pub(super) const PODS: &str = "10.1.0.0/24";

/// Writes the configuration.
pub(super) fn write(sandbox: &Sandbox) -> Result<()> {
    let file = PathBuf::from(FOLDER).join("pods.conflist");
    let config = json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [{
            "type": "bridge",
            "bridge": "pods",
            // The bridge has an address of its own, so that the kubelet reaches pods and they reach the node.
            "isGateway": true,
            "ipam": {
                "type": "host-local",
                "dataDir": sandbox.scratch().join("kit/addresses"),
                "ranges": [[{"subnet": PODS}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    });
    fs::create_dir_all(FOLDER).map_err(Error::file("create", FOLDER))?;
    fs::write(&file, config.to_string()).map_err(Error::file("write", file))
}
