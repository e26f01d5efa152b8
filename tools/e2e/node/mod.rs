//! A real node: kubelet with containerd, kube-proxy, kube-network-policies, and the scheduler, for a control plane on this
//! machine.
//!
//! It takes root on Linux, and the programs that [`needs::check`] looks for. Everything runs in namespaces of its own,
//! see [`sandbox`]: addresses, mounts and processes of the machine are neither seen nor touched, and all is gone with
//! the sandbox. Images cannot be pulled: [`Node::import`] brings them in.
//!
//! What it lacks of a node as a cluster has it:
//!
//! - There's no cluster DNS. [`dns`] answers in its place, with the names that it's given, and that of a Service is none
//!   unless it's given.
//! - What a pod sends before the API server knows its address is not yet subject to network policies.

pub mod dns;
pub mod image;
pub mod needs;
pub mod network;
pub mod sandbox;

mod containerd;
mod error;
mod kubelet;
mod policies;
mod scheduler;
mod services;

use std::{path::Path, time::Duration};

use k8s_openapi::api::core::v1::Node as Resource;
use kube::Api;
use tokio::time::{Instant, sleep};

pub use self::error::{Error, Result};
use self::sandbox::Sandbox;
use kit::{
    control_plane::{self, ControlPlane, NodeOptions, Options},
    process::GuardedProcess,
    programs::NodeBinaries,
};

/// Its name.
pub const NAME: &str = "node";

/// How long each step of the start may take: many times what an idle machine needs.
const START_TIMEOUT: Duration = Duration::from_secs(120);

const POLL: Duration = Duration::from_millis(100);

/// A running node, and its control plane. Both end when it's dropped.
#[derive(Debug)]
pub struct Node {
    // In the order in which they are to be killed.
    kubelet: GuardedProcess,
    proxy: GuardedProcess,
    policies: GuardedProcess,
    scheduler: GuardedProcess,
    containerd: GuardedProcess,
    /// Its control plane.
    pub control_plane: ControlPlane,
}

impl Node {
    /// Starts a control plane and a node, and waits until pods can run on it. `sandbox_image` holds the namespaces of
    /// each pod; it has to be imported before the first one.
    pub async fn start(sandbox: &Sandbox, sandbox_image: &str) -> Result<Node> {
        let binaries = tokio::task::spawn_blocking(NodeBinaries::locate)
            .await
            .map_err(control_plane::Error::from)?
            .map_err(control_plane::Error::from)?;
        let control_plane = ControlPlane::start_with(&Options {
            node: Some(NodeOptions {
                name: NAME.to_owned(),
                api_server: sandbox.network().first_outside(),
                services: sandbox.network().services(),
            }),
            parent: Some(sandbox.folder().to_owned()),
            ..Options::default()
        })
        .await?;
        match Node::join(sandbox, sandbox_image, &binaries, control_plane).await {
            Ok(node) => Ok(node),
            Err((error, control_plane)) => {
                control_plane.keep_folder();
                Err(error)
            }
        }
    }

    async fn join(
        sandbox: &Sandbox,
        sandbox_image: &str,
        binaries: &NodeBinaries,
        control_plane: ControlPlane,
    ) -> std::result::Result<Node, (Error, ControlPlane)> {
        let start = async {
            network::write(sandbox)?;
            let containerd = containerd::start(&control_plane, sandbox_image)?;
            containerd::wait(&control_plane).await?;
            let scheduler = scheduler::start(&control_plane, &binaries.kube_scheduler)?;
            let network = sandbox.network();
            let proxy = services::start(&control_plane, &binaries.kube_proxy, network)?;
            let policies =
                policies::start(&control_plane, &binaries.kube_network_policies, network)?;
            let kubelet = kubelet::start(&control_plane, &binaries.kubelet, sandbox)?;
            Ok((containerd, scheduler, proxy, policies, kubelet))
        };
        let (containerd, scheduler, proxy, policies, kubelet) = match start.await {
            Ok(started) => started,
            Err(error) => return Err((error, control_plane)),
        };
        let mut node = Node {
            kubelet,
            proxy,
            policies,
            scheduler,
            containerd,
            control_plane,
        };
        match node.wait_until_ready().await {
            Ok(()) => Ok(node),
            Err(error) => Err((error, node.control_plane)),
        }
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let client = self.control_plane.admin_client().await?;
        let nodes = Api::<Resource>::all(client);
        let start = Instant::now();
        // An API server that is busy is asked again.
        while !matches!(nodes.get_opt(NAME).await, Ok(Some(node)) if takes_pods(&node)) {
            self.check()?;
            if start.elapsed() > START_TIMEOUT {
                return Err(Error::NotReady {
                    what: "the node",
                    seconds: START_TIMEOUT.as_secs(),
                    tail: self.kubelet.log_tail(20),
                });
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Fails if one of its processes has ended by itself.
    pub fn check(&mut self) -> Result<()> {
        for process in [
            &mut self.kubelet,
            &mut self.proxy,
            &mut self.policies,
            &mut self.scheduler,
            &mut self.containerd,
        ] {
            if let Some(code) = process.try_wait()? {
                return Err(Error::Ended {
                    name: process.name().to_owned(),
                    code,
                    tail: process.log_tail(20),
                });
            }
        }
        Ok(())
    }

    /// Brings an image into the node, from an OCI archive whose only name is a tag: it becomes `NAME:TAG`.
    pub async fn import(&self, archive: &Path, name: &str) -> Result<()> {
        containerd::import(archive, name).await
    }
}

/// Whether it's ready, and no longer marked as one that isn't.
fn takes_pods(node: &Resource) -> bool {
    let ready = node
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let tainted = node
        .spec
        .iter()
        .flat_map(|spec| spec.taints.iter().flatten())
        .any(|taint| taint.effect != "PreferNoSchedule");
    ready && !tainted
}
