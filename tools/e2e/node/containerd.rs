//! The container runtime, as Debian has it. Its files are in memory.

use std::{fs, path::Path, process::Stdio};

use tokio::{
    process::Command,
    time::{Instant, sleep},
};

use super::{
    POLL, START_TIMEOUT,
    error::{Error, Result},
    needs, network, sandbox,
};
use kit::{
    control_plane::ControlPlane,
    process::{self, GuardedProcess},
};

/// Where it listens: short, since the path of a socket has at most 107 characters.
pub(super) const SOCKET: &str = "/run/containerd/containerd.sock";

const CONFIG: &str = "/run/kit/containerd.toml";

/// Starts it. It isn't ready yet.
pub(super) fn start(control_plane: &ControlPlane, sandbox_image: &str) -> Result<GuardedProcess> {
    let plugins = needs::plugins().unwrap_or(Path::new("/opt/cni/bin"));
    let config = config(plugins, sandbox_image);
    fs::write(CONFIG, config).map_err(Error::file("write", CONFIG))?;
    let log = control_plane.log("containerd");
    let command = network::process_on_node("containerd", "containerd", log);
    Ok(command.args(["--config", CONFIG]).spawn()?)
}

fn config(plugins: &Path, sandbox_image: &str) -> String {
    let plugins = plugins.display();
    let network = network::FOLDER;
    format!(
        r#"version = 2
root = "/run/kit/containerd"
state = "/run/containerd"

[grpc]
address = "{SOCKET}"

[plugins."io.containerd.internal.v1.opt"]
path = "/run/kit/opt"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{sandbox_image}"
# Root in a container or a small machine may lack the capability to lower it, and then no pod starts.
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{network}"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"#
    )
}

/// Waits until it answers.
pub(super) async fn wait(control_plane: &ControlPlane) -> Result<()> {
    let start = Instant::now();
    loop {
        match ctr(&["version"]).await {
            Ok(_) => return Ok(()),
            Err(_) if start.elapsed() < START_TIMEOUT => sleep(POLL).await,
            Err(_) => {
                return Err(Error::NotReady {
                    what: "containerd",
                    seconds: START_TIMEOUT.as_secs(),
                    tail: process::tail(&control_plane.log("containerd"), 20),
                });
            }
        }
    }
}

/// Brings an image in.
pub(super) async fn import(archive: &Path, name: &str) -> Result<()> {
    let archive = archive.to_string_lossy();
    ctr(&["images", "import", "--base-name", name, &archive]).await?;
    Ok(())
}

async fn ctr(args: &[&str]) -> Result<String> {
    // The kubelet's images are in a namespace of this name.
    let args = [&["--address", SOCKET, "--namespace", "k8s.io"], args].concat();
    let result = Command::new("ctr")
        .args(&args)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await;
    sandbox::output("ctr", &args, result)
}
