//! The network of the node. It has a network namespace of its own; what it finds outside, such as the API server and the
//! name server, is in the sandbox's, across a link. So whatever goes out of a pod passes the filters of the node, as it
//! does in a cluster where these are on other machines.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

use serde_json::json;

use super::{
    error::{Error, Result},
    sandbox::{Sandbox, command},
};
use kit::process::{GuardedCommand, GuardedProcess};

/// The folder with the configuration for pods.
pub(super) const FOLDER: &str = "/run/kit/network";

/// The node's network namespace.
const NAMESPACE: &str = "node";

/// Which addresses pods have, and all that they reach. The loopback device has those of both families in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// IPv4 and IPv6; IPv4 comes first, as in most clusters of that kind.
    DualStack,
    /// IPv6 alone.
    Ipv6,
}

/// One family of addresses: where everything is in it.
#[derive(Debug)]
pub(super) struct Family {
    outside: IpAddr,
    node: IpAddr,
    /// What follows an address of the link between these two, for `ip address add`.
    link: &'static str,
    pods: &'static str,
    services: &'static str,
    everywhere: &'static str,
    /// The program that sets filters for it.
    pub(super) iptables: &'static str,
    /// The rule that lets neighbour discovery through, which IPv6 does with packets of its own.
    pub(super) neighbours: Option<&'static str>,
}

const IPV4: Family = Family {
    outside: IpAddr::V4(Ipv4Addr::new(10, 2, 0, 1)),
    node: IpAddr::V4(Ipv4Addr::new(10, 2, 0, 2)),
    link: "/24",
    pods: "10.1.0.0/24",
    services: "10.0.0.0/24",
    everywhere: "0.0.0.0/0",
    iptables: "iptables",
    neighbours: None,
};

const IPV6: Family = Family {
    outside: IpAddr::V6(Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 1)),
    node: IpAddr::V6(Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 2)),
    // Usable at once: nobody else can have the address.
    link: "/64 nodad",
    pods: "fd00:1::/64",
    services: "fd00::/112",
    everywhere: "::/0",
    iptables: "ip6tables",
    neighbours: Some("--protocol ipv6-icmp --jump ACCEPT"),
};

impl Network {
    /// Each of them.
    pub const ALL: [Network; 2] = [Network::DualStack, Network::Ipv6];

    /// Its name, for command lines.
    pub fn name(self) -> &'static str {
        match self {
            Network::DualStack => "dual-stack",
            Network::Ipv6 => "ipv6",
        }
    }

    /// Its name, for people.
    pub fn title(self) -> &'static str {
        match self {
            Network::DualStack => "dual stack",
            Network::Ipv6 => "IPv6 only",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Network> {
        Network::ALL
            .into_iter()
            .find(|network| network.name() == name)
    }

    /// Where the node's pods reach what listens in the sandbox: an address of each family. The API server has the first.
    pub fn outside(self) -> Vec<IpAddr> {
        self.each(|family| family.outside)
    }

    /// The first of these addresses.
    pub fn first_outside(self) -> IpAddr {
        match self {
            Network::DualStack => IPV4.outside,
            Network::Ipv6 => IPV6.outside,
        }
    }

    /// The ranges of the Services' addresses.
    pub(super) fn services(self) -> Vec<String> {
        self.each(|family| family.services.to_owned())
    }

    /// The ranges of the pods' addresses, with commas between them.
    pub(super) fn pods(self) -> String {
        self.each(|family| family.pods).join(",")
    }

    /// The node's addresses, with commas between them.
    pub(super) fn node(self) -> String {
        self.each(|family| family.node.to_string()).join(",")
    }

    pub(super) fn families(self) -> &'static [&'static Family] {
        match self {
            Network::DualStack => &[&IPV4, &IPV6],
            Network::Ipv6 => &[&IPV6],
        }
    }

    fn each<T>(self, value: impl Fn(&Family) -> T) -> Vec<T> {
        self.families().iter().map(|family| value(family)).collect()
    }
}

/// Makes the node's namespace and the link to it.
pub(super) fn set_up(network: Network) -> Result<()> {
    ip("link set lo up")?;
    ip(&format!("netns add {NAMESPACE}"))?;
    ip(&format!(
        "link add outside type veth peer name uplink netns {NAMESPACE}"
    ))?;
    ip("link set outside up")?;
    ip(&format!("-netns {NAMESPACE} link set lo up"))?;
    ip(&format!("-netns {NAMESPACE} link set uplink up"))?;
    for family in network.families() {
        let Family {
            outside,
            node,
            link,
            pods,
            everywhere,
            ..
        } = family;
        ip(&format!("address add {outside}{link} dev outside"))?;
        ip(&format!("route add {pods} via {node}"))?;
        ip(&format!(
            "-netns {NAMESPACE} address add {node}{link} dev uplink"
        ))?;
        ip(&format!(
            "-netns {NAMESPACE} route add {everywhere} via {outside}"
        ))?;
    }
    Ok(())
}

fn ip(arguments: &str) -> Result<()> {
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    command("ip", &arguments)?;
    Ok(())
}

/// Runs a program in the node's namespace to its end, and returns what it printed.
pub(super) fn command_on_node(program: &str, arguments: &[&str]) -> Result<String> {
    let namespace = namespace();
    command("nsenter", &[&[&*namespace, program], arguments].concat())
}

/// Prepares a program that runs in the node's namespace.
pub(super) fn process_on_node(
    name: &str,
    program: impl AsRef<Path>,
    log: PathBuf,
) -> GuardedCommand {
    // Not `ip netns exec`, which mounts another /sys, without the control groups.
    GuardedProcess::command(name, "nsenter", log)
        .arg(namespace())
        .arg(program.as_ref())
}

fn namespace() -> String {
    format!("--net=/run/netns/{NAMESPACE}")
}

/// Writes the configuration for pods. Each has a link of its own to the node, which passes on what is for others.
pub(super) fn write(sandbox: &Sandbox) -> Result<()> {
    let network = sandbox.network();
    let file = PathBuf::from(FOLDER).join("pods.conflist");
    let config = json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [{
            "type": "ptp",
            "ipam": {
                "type": "host-local",
                "dataDir": sandbox.scratch().join("kit/addresses"),
                "ranges": network.each(|family| json!([{"subnet": family.pods}])),
                "routes": network.each(|family| json!({"dst": family.everywhere})),
            },
        }],
    });
    fs::create_dir_all(FOLDER).map_err(Error::file("create", FOLDER))?;
    fs::write(&file, config.to_string()).map_err(Error::file("write", file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_network_is_found_by_its_name() {
        for network in Network::ALL {
            assert_eq!(Network::named(network.name()), Some(network));
        }
        assert_eq!(Network::named("ipv4"), None);
    }

    #[test]
    fn with_ipv6_alone_nothing_has_an_address_of_ipv4() {
        let network = Network::Ipv6;
        assert!(network.outside().iter().all(IpAddr::is_ipv6));
        for addresses in [network.node(), network.pods(), network.services().join(",")] {
            assert!(!addresses.contains('.'), "{addresses}");
        }
    }

    #[test]
    fn the_api_server_has_the_first_address_outside() {
        for network in Network::ALL {
            assert_eq!(network.outside().first(), Some(&network.first_outside()));
        }
    }
}
