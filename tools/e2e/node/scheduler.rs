//! The scheduler, which gives a pod its node. There is only one, but a pod that asks for more than it has must wait.

use std::path::Path;

use super::error::Result;
use kit::{control_plane::ControlPlane, process::GuardedProcess};

/// Starts it.
pub(super) fn start(control_plane: &ControlPlane, program: &Path) -> Result<GuardedProcess> {
    let log = control_plane.log("kube-scheduler");
    let command = GuardedProcess::command("kube-scheduler", program, log)
        .arg(format!(
            "--kubeconfig={}",
            control_plane
                .folder()
                .join("scheduler.kubeconfig")
                .display()
        ))
        // Nobody asks it anything.
        .args(["--leader-elect=false", "--secure-port=0"]);
    Ok(command.spawn()?)
}
