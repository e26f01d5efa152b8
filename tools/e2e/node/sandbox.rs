//! Namespaces in which everything of a node runs, so that nothing of it can be left behind.
//!
//! [`run`] starts this program a second time, as the first process of a PID namespace: when that one ends, however it
//! ends, the kernel kills all others, containers too. With them go the network namespace with its addresses and the mount
//! namespace with its mounts; what the node writes outside of its folder lies in memory that is mounted there. What is left
//! are empty control groups, and folders that were made to be mounted on. A small shell removes them, even if this process
//! is killed; see [`kit::process`] for why destructors don't do.

use std::{
    env, fs,
    io::{self, Read},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{
    error::{Error, Result},
    needs,
    network::{self, Network},
};
use kit::control_plane::RunFolder;

/// Tells the second one of this program what it is: its value is the folder.
const FOLDER: &str = "KIT_SANDBOX";

/// The control group of all pods.
const CGROUP: &str = "KIT_SANDBOX_CGROUP";

/// The name of its network.
const NETWORK: &str = "KIT_SANDBOX_NETWORK";

/// What a node writes at fixed places. The first is there on every machine.
const MOUNTED: [&str; 4] = [
    "/run",
    "/var/lib/cni",
    "/var/lib/kubelet",
    "/var/log/containers",
];

/// Settings of the kernel that a kubelet insists on and would change for the whole machine. It finds them as it wants them.
const KERNEL: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// `$1` is the control group, the rest are folders. A process takes a moment to leave its group.
const CLEANER: &str = r#"
trap : HUP INT TERM
cat >/dev/null
group=$1
shift
try=0
while [ "$try" -lt 300 ]; do
  left=
  for top in /sys/fs/cgroup/"$group" /sys/fs/cgroup/*/"$group"; do
    [ -d "$top" ] || continue
    find "$top" -depth -type d -exec rmdir {} ';' 2>/dev/null
    [ ! -d "$top" ] || left=1
  done
  [ -n "$left" ] || break
  try=$((try + 1))
  sleep 0.1
done
for folder; do rmdir "$folder"; done
"#;

/// How long everything may take to end by itself.
const END_TIMEOUT: Duration = Duration::from_secs(30);

const POLL: Duration = Duration::from_millis(50);

/// What the second one of this program knows of its sandbox.
#[derive(Debug)]
pub struct Sandbox {
    folder: PathBuf,
    cgroup: String,
    network: Network,
}

impl Sandbox {
    /// Where files may be written that are worth a look after a failure.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where files may be written that are worth nothing after the end.
    pub(super) fn scratch(&self) -> &'static Path {
        Path::new("/run")
    }

    /// Which addresses there are.
    pub fn network(&self) -> Network {
        self.network
    }

    /// The control group that all pods go into.
    pub(super) fn cgroup(&self) -> &str {
        &self.cgroup
    }
}

/// Runs this program a second time in namespaces of its own, until it ends or `stop` completes. There, [`enter`] returns
/// something.
pub async fn run(network: Network, stop: impl Future<Output = ()>) -> Result<ExitStatus> {
    let folder = RunFolder::create()?;
    let group = format!("kit-node-{}", std::process::id());
    let cleaner = Cleaner::start(&group)?;
    let program = env::current_exe().map_err(Error::file("find", "this program"))?;
    let mut child = Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child"])
        .arg("--mount-proc")
        .arg(program)
        .env(FOLDER, folder.path())
        .env(CGROUP, &group)
        .env(NETWORK, network.name())
        .env("PATH", needs::path())
        // Its end tells the second one to stop, however this one ends.
        .stdin(Stdio::piped())
        // Ctrl-C in a terminal goes to the whole foreground group. This process passes it on.
        .process_group(0)
        .spawn()
        .map_err(|source| Error::Run {
            program: "unshare".to_owned(),
            source,
        })?;
    let status = tokio::select! {
        status = wait(&mut child) => Some(status?),
        () = stop => None,
    };
    drop(child.stdin.take());
    let status = match status {
        Some(status) => status,
        None => end(&mut child).await?,
    };
    drop(cleaner);
    // After Ctrl-C the logs are of no interest.
    if !status.success() && status.code() != Some(130) {
        folder.keep();
    }
    Ok(status)
}

async fn wait(child: &mut Child) -> Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait().map_err(wait_error)? {
            return Ok(status);
        }
        sleep(POLL).await;
    }
}

/// Gives it time to end by itself.
async fn end(child: &mut Child) -> Result<ExitStatus> {
    let start = Instant::now();
    while start.elapsed() < END_TIMEOUT {
        if let Some(status) = child.try_wait().map_err(wait_error)? {
            return Ok(status);
        }
        sleep(POLL).await;
    }
    child.kill().map_err(wait_error)?;
    child.wait().map_err(wait_error)
}

fn wait_error(source: io::Error) -> Error {
    Error::Run {
        program: "unshare".to_owned(),
        source,
    }
}

/// Makes what [`CLEANER`] removes.
struct Cleaner {
    shell: Child,
}

impl Cleaner {
    fn start(group: &str) -> Result<Cleaner> {
        let missing: Vec<&str> = MOUNTED
            .into_iter()
            .filter(|folder| !Path::new(folder).exists())
            .collect();
        let shell = Command::new("/bin/sh")
            .args(["-c", CLEANER, "cleaner", group])
            .args(&missing)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Out of the reach of Ctrl-C in a terminal.
            .process_group(0)
            .spawn()
            .map_err(|source| Error::Run {
                program: "/bin/sh".to_owned(),
                source,
            })?;
        let cleaner = Cleaner { shell };
        for folder in missing {
            fs::create_dir(folder).map_err(Error::file("create", folder))?;
        }
        let mounts =
            fs::read_to_string("/proc/mounts").map_err(Error::file("read", "/proc/mounts"))?;
        for hierarchy in cgroup_hierarchies(&mounts) {
            let folder = Path::new(hierarchy).join(group);
            fs::create_dir(&folder).map_err(Error::file("create", folder))?;
        }
        Ok(cleaner)
    }
}

impl Drop for Cleaner {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// Where control groups are mounted: one place with version 2, several with version 1.
fn cgroup_hierarchies(mounts: &str) -> Vec<&str> {
    mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (_, folder, kind) = (words.next()?, words.next()?, words.next()?);
            matches!(kind, "cgroup" | "cgroup2").then_some(folder)
        })
        .collect()
}

/// The sandbox, if [`run`] started this process: with its mounts and addresses in place.
pub fn enter() -> Result<Option<Sandbox>> {
    let network = env::var(NETWORK)
        .ok()
        .and_then(|name| Network::named(&name));
    let (Some(folder), Ok(cgroup), Some(network)) =
        (env::var_os(FOLDER), env::var(CGROUP), network)
    else {
        return Ok(None);
    };
    let sandbox = Sandbox {
        folder: folder.into(),
        cgroup,
        network,
    };
    for folder in MOUNTED {
        command("mount", &["-t", "tmpfs", "-o", "mode=755", "tmpfs", folder])?;
    }
    let settings = sandbox.scratch().join("kernel");
    fs::create_dir(&settings).map_err(Error::file("create", &settings))?;
    for (name, value) in KERNEL {
        let file = settings.join(name.replace('/', "."));
        fs::write(&file, value).map_err(Error::file("write", &file))?;
        let setting = format!("/proc/sys/{name}");
        command("mount", &["--bind", &file.to_string_lossy(), &setting])?;
    }
    network::set_up(network)?;
    Ok(Some(sandbox))
}

/// Waits until the first one of this program wants the end, or is gone. Blocks.
pub fn wait_for_end() {
    let mut nothing = [0];
    while matches!(io::stdin().read(&mut nothing), Ok(1..)) {}
}

/// Runs a program to its end, and returns what it printed.
pub(super) fn command(program: &str, args: &[&str]) -> Result<String> {
    let result = Command::new(program)
        .args(args)
        .env("PATH", needs::path())
        .stdin(Stdio::null())
        .output();
    output(program, args, result)
}

/// What a program printed, or what it said about why it failed.
pub(super) fn output(program: &str, args: &[&str], result: io::Result<Output>) -> Result<String> {
    let output = result.map_err(|source| Error::Run {
        program: program.to_owned(),
        source,
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::Failed {
        command: format!("{program} {}", args.join(" ")),
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_groups_of_both_versions_are_found() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                      cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let folders = cgroup_hierarchies(mounts);
        assert_eq!(folders, ["/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified"]);
    }
}
