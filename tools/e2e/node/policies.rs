//! Network policies, which kube-network-policies enforces: it judges the first packet of each connection that the node
//! passes on.

use std::path::Path;

use super::{
    NAME,
    error::Result,
    network::{self, Family, Network},
    sandbox::command,
};
use kit::{control_plane::ControlPlane, process::GuardedProcess};

/// Starts it. No pod gets a connection before it's there.
pub(super) fn start(
    control_plane: &ControlPlane,
    program: &Path,
    network: Network,
) -> Result<GuardedProcess> {
    for family in network.families() {
        for rule in rules(family) {
            network::command_on_node(family.iptables, &rule)?;
        }
    }
    let log = control_plane.log("kube-network-policies");
    let kubeconfig = control_plane.folder().join("network-policies.kubeconfig");
    let command = network::process_on_node("kube-network-policies", program, log)
        .arg(format!("--kubeconfig={}", kubeconfig.display()))
        .arg(format!("--hostname-override={NAME}"));
    Ok(command.spawn()?)
}

/// Fails if this kernel cannot queue what is to be judged.
pub(super) fn check() -> Result<()> {
    for family in Network::DualStack.families() {
        for rule in rules(family) {
            let rule = [&["--net", family.iptables], &rule[..]].concat();
            command("unshare", &rule)?;
        }
    }
    Ok(())
}

/// What queues each first packet. kube-network-policies does so itself where nftables can, which takes CONFIG_NFT_QUEUE, and
/// not every kernel has that. Where both rules are there, a packet is judged twice, in the same way.
fn rules(family: &Family) -> Vec<Vec<&'static str>> {
    // The kubelet's probes: Kubernetes lets them through, whatever policies say.
    let mut rules = vec!["--match owner --uid-owner 0 --jump ACCEPT"];
    rules.extend(family.neighbours);
    rules.extend([
        "--match conntrack --ctstate ESTABLISHED,RELATED --jump ACCEPT",
        "--jump NFQUEUE --queue-num 100",
    ]);
    rules
        .into_iter()
        .map(|rule| {
            let words = rule.split_whitespace();
            ["--table", "mangle", "--append", "POSTROUTING"]
                .into_iter()
                .chain(words)
                .collect()
        })
        .collect()
}
