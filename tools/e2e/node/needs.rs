//! What a real node needs of the machine, and how to get it.

use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{
    error::{Error, Result},
    policies,
};

/// Each program, and the Debian package that has it.
const PROGRAMS: [(&str, &str); 11] = [
    ("containerd", "containerd"),
    ("containerd-shim-runc-v2", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("buildah", "buildah"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("ip6tables", "iptables"),
    ("mount", "mount"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
];

/// Where the network plugins are: as Debian has them, and as everybody else does.
const PLUGINS: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];

/// Those that are used.
const USED_PLUGINS: [&str; 3] = ["host-local", "loopback", "ptp"];

/// Fails with the first thing that is missing and what to do about it.
pub fn check() -> Result<()> {
    if env::consts::OS != "linux" {
        return Err(need("it takes Linux"));
    }
    if !is_root() {
        return Err(need(
            "it takes root: for containers, and for network and mounts of its own",
        ));
    }
    let mut packages: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, _)| find(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    packages.dedup();
    if plugins().is_none() {
        packages.push("containernetworking-plugins");
    }
    if busybox().is_none() {
        packages.push("busybox-static");
    }
    if !packages.is_empty() {
        return Err(need(format!(
            "programs are missing: apt-get install --no-install-recommends {} (no service of them has to run)",
            packages.join(" ")
        )));
    }
    if !Path::new("/proc/net/if_inet6").exists() {
        return Err(need(
            "the kernel has no IPv6: it was built without, or is told not to use it (ipv6.disable=1)",
        ));
    }
    policies::check().map_err(|error| {
        need(format!(
            "network policies can't be enforced, which takes IPv4 and IPv6 rules that queue packets \
             (CONFIG_NETFILTER_XT_TARGET_NFQUEUE, and the matches conntrack and owner): {error}"
        ))
    })
}

fn need(what: impl Into<String>) -> Error {
    Error::Need(what.into())
}

fn is_root() -> bool {
    // The owner of this process.
    fs::metadata("/proc/self").is_ok_and(|folder| folder.uid() == 0)
}

/// The folder with the network plugins.
pub(super) fn plugins() -> Option<&'static Path> {
    PLUGINS.map(Path::new).into_iter().find(|folder| {
        USED_PLUGINS
            .iter()
            .all(|plugin| folder.join(plugin).is_file())
    })
}

/// A shell, `wget` and more in one program that needs no library.
pub fn busybox() -> Option<PathBuf> {
    find("busybox").filter(|program| is_static(program))
}

/// Whether a program names no loader: then it has none to be loaded by.
fn is_static(program: &Path) -> bool {
    let bytes = fs::read(program).unwrap_or_default();
    let loader = b"/ld-";
    let header = &bytes[..bytes.len().min(4096)];
    !header.is_empty() && !header.windows(loader.len()).any(|bytes| bytes == loader)
}

fn find(program: &str) -> Option<PathBuf> {
    folders()
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

/// `PATH` for all programs of a node. Root's own may lack the folders where Debian has runc and ip.
pub(super) fn path() -> OsString {
    env::join_paths(folders()).unwrap_or_default()
}

fn folders() -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = env::split_paths(&path).collect();
    folders
        .into_iter()
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_a_loader_is_not_static() {
        // A shell is there on every machine, and cargo's programs are linked dynamically.
        assert!(find("sh").is_some());
        assert!(!is_static(&env::current_exe().unwrap()));
        assert!(!is_static(Path::new("/no/such/program")));
    }

    #[test]
    fn a_program_that_does_not_exist_is_not_found() {
        assert!(find("no-such-program").is_none());
    }
}
