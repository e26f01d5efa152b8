//! The operator's pod, as the node and the kernel see it.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use k8s_openapi::api::core::v1::Pod;

use crate::{Result, scene::OPERATOR};

/// What the kernel counts time in, for programs to see: on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process of the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    pid: u32,
}

/// What it takes of memory, in MiB.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// In memory, all of it.
    pub resident: f64,
    /// Of that: its own, and not a part of a file.
    pub anonymous: f64,
    /// What its control group is charged for, with the cache of files: what counts against the limit.
    pub charged: f64,
}

impl Process {
    /// The one that runs, if there is one. Processes outside of the sandbox are not seen.
    pub fn find() -> Option<Process> {
        fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let program = fs::read_link(entry.path().join("exe")).ok()?;
            program.ends_with(OPERATOR).then_some(Process { pid })
        })
    }

    /// Its number.
    pub fn pid(self) -> u32 {
        self.pid
    }

    /// When it was started, to a hundredth of a second.
    pub fn started(self) -> Result<SystemTime> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        // The second field is the program's name, in parentheses, and may hold anything; the 22nd is the time.
        let ticks: f64 = stat
            .rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().nth(19))
            .ok_or("the kernel does not tell when a process started")?
            .parse()?;
        let uptime = fs::read_to_string("/proc/uptime")?;
        let uptime: f64 = uptime
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .parse()?;
        let age = (uptime - ticks / TICKS_PER_SECOND).max(0.0);
        Ok(SystemTime::now() - Duration::from_secs_f64(age))
    }

    /// What it takes of memory.
    pub fn memory(self) -> Result<Memory> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let field = |name: &str| -> Result<f64> {
            let kibibytes: f64 = status
                .lines()
                .find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB"))
                .ok_or_else(|| format!("the kernel does not tell {name}"))?
                .parse()?;
            Ok(kibibytes / 1024.0)
        };
        Ok(Memory {
            resident: field("VmRSS:")?,
            anonymous: field("RssAnon:")?,
            charged: self.charged()?,
        })
    }

    fn charged(self) -> Result<f64> {
        let groups = fs::read_to_string(format!("/proc/{}/cgroup", self.pid))?;
        let file = charge_file(&groups).ok_or("the process is in no control group for memory")?;
        let bytes: f64 = fs::read_to_string(file)?.trim().parse()?;
        Ok(bytes / 1024.0 / 1024.0)
    }
}

/// Where the kernel says what the control group takes: with version 1 of control groups, or with version 2.
fn charge_file(groups: &str) -> Option<PathBuf> {
    let path = |line: &str, prefix: &str| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        (controllers == prefix).then(|| path.trim_start_matches('/').to_owned())
    };
    let root = Path::new("/sys/fs/cgroup");
    let v1 = groups.lines().find_map(|line| path(line, "memory"));
    if let Some(path) = v1 {
        return Some(root.join("memory").join(path).join("memory.usage_in_bytes"));
    }
    let v2 = groups.lines().find_map(|line| path(line, ""))?;
    Some(root.join(v2).join("memory.current"))
}

/// The time since this moment, in seconds.
pub fn seconds_between(from: SystemTime, to: SystemTime) -> f64 {
    let since_1970 = |time: SystemTime| {
        time.duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs_f64()
    };
    since_1970(to) - since_1970(from)
}

/// Whether a pod is ready.
pub fn is_ready(pod: &Pod) -> bool {
    pod.status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// How often the containers of a pod were started again.
pub fn restarts(pod: &Pod) -> i32 {
    pod.status
        .iter()
        .flat_map(|status| status.container_statuses.iter().flatten())
        .map(|container| container.restart_count)
        .sum()
}

/// A pod's addresses, one of each family.
pub fn addresses(pod: &Pod) -> Vec<IpAddr> {
    pod.status
        .iter()
        .flat_map(|status| status.pod_ips.iter().flatten())
        .filter_map(|address| address.ip.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_charge_of_a_group_is_found_in_both_versions() {
        let v1 = "5:memory:/kit/pod/1\n4:cpu,cpuacct:/kit/pod/1\n0::/kit/pod/1\n";
        let file = charge_file(v1).unwrap();
        assert_eq!(
            file,
            Path::new("/sys/fs/cgroup/memory/kit/pod/1/memory.usage_in_bytes")
        );
        let file = charge_file("0::/kit/pod/1\n").unwrap();
        assert_eq!(file, Path::new("/sys/fs/cgroup/kit/pod/1/memory.current"));
    }
}
