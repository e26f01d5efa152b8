//! `make demo` takes a way that the machine has the programs for, and where it fails it leaves no cluster. That the commands do
//! what they should is seen in tests/cluster/try_it.rs.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output},
};

use kit::script;
use tempfile::TempDir;

/// What scripts find on each machine.
const USUAL: [&str; 9] = [
    "bash", "cat", "date", "dirname", "env", "grep", "mkdir", "rm", "sed",
];

/// In place of a program: writes down how it was called, and fails where it is to.
const PROGRAM: &str = r#"#!/bin/sh
call="${0##*/} $*"
echo "${KIND_EXPERIMENTAL_PROVIDER:+$KIND_EXPERIMENTAL_PROVIDER: }$call" >> "$CALLS"
case "$call" in
$FAILING) exit 1 ;;
"kind get clusters") echo "$CLUSTERS" ;;
esac
"#;

const LOCAL: [&str; 2] = [
    "cargo build --bin edge-credential-operator",
    "cargo run -p tools --bin demo",
];

const CREATE: &str = "kind create cluster --name edge-demo --wait 3m";
const DELETE: &str = "kind delete cluster --name edge-demo";

/// A machine, and the source tree on it as far as the demo needs it.
struct Machine {
    folder: TempDir,
    /// Calls that fail, as a pattern of the shell.
    failing: &'static str,
    /// The kind clusters that are there.
    clusters: &'static str,
}

impl Machine {
    fn new(system: &str, programs: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let (bin, demo) = (folder.path().join("bin"), folder.path().join("tools/demo"));
        fs::create_dir_all(&bin).unwrap();
        fs::create_dir_all(&demo).unwrap();
        for name in ["demo.sh", "kind.sh"] {
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/demo");
            let text = fs::read_to_string(source.join(name)).unwrap();
            script::write(&demo.join(name), &text).unwrap();
        }
        let path = std::env::var("PATH").unwrap();
        for usual in USUAL {
            let mut found = std::env::split_paths(&path).map(|folder| folder.join(usual));
            let found = found.find(|path| path.is_file()).expect(usual);
            symlink(found, bin.join(usual)).unwrap();
        }
        for program in programs {
            script::write(&bin.join(program), PROGRAM).unwrap();
        }
        let uname = format!("#!/bin/sh\necho {system}\n");
        script::write(&bin.join("uname"), &uname).unwrap();
        Self {
            folder,
            failing: "",
            clusters: "",
        }
    }

    /// What comes of the demo, and which programs it called.
    fn demo(&self) -> (Output, Vec<String>) {
        let calls = self.folder.path().join("calls");
        let output = Command::new(self.folder.path().join("tools/demo/demo.sh"))
            .env_clear()
            .env("PATH", self.folder.path().join("bin"))
            .env("CALLS", &calls)
            .env("FAILING", self.failing)
            .env("CLUSTERS", self.clusters)
            .output()
            .unwrap();
        let calls = fs::read_to_string(calls).unwrap_or_default();
        (output, calls.lines().map(str::to_owned).collect())
    }
}

#[test]
fn with_go_on_linux_it_is_local_also_where_kind_is_there() {
    let programs = ["cargo", "go", "kind", "kubectl", "helm", "docker"];
    let machine = Machine::new("Linux", &programs);
    let (output, calls) = machine.demo();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(calls, LOCAL);
}

#[test]
fn with_the_control_plane_built_it_is_local_without_go() {
    let machine = Machine::new("Linux", &["cargo", "kind", "kubectl", "helm"]);
    let built = machine
        .folder
        .path()
        .join(".cache/controlplane/kubernetes-v1");
    fs::create_dir_all(&built).unwrap();
    fs::write(built.join("kube-apiserver"), "").unwrap();
    assert_eq!(machine.demo().1, LOCAL);
}

#[test]
fn without_go_it_is_in_a_kind_cluster_with_images_that_were_built_before() {
    let programs = ["cargo", "kind", "kubectl", "helm", "docker"];
    let (_, calls) = Machine::new("Linux", &programs).demo();
    let build = "docker build --build-arg PROGRAM=built --tag";
    let load = "kind load image-archive";
    let expected = [
        "docker info".to_owned(),
        "kind get clusters".to_owned(),
        format!("{build} localhost/edge-credential-operator:demo --file Containerfile ."),
        format!("{build} localhost/sitecore-stand-in:demo --file tests/kit/Containerfile ."),
        CREATE.to_owned(),
    ];
    assert_eq!(calls[..5], expected);
    let loaded = calls.iter().filter(|call| call.starts_with(load));
    assert_eq!(loaded.count(), 2, "{calls:#?}");
    let installed = calls.iter().find(|call| call.starts_with("helm "));
    let origin = "--set allowedTokenOrigins={http://sitecore-stand-in.edge-try.svc}";
    assert!(installed.unwrap().ends_with(origin), "{calls:#?}");
}

#[test]
fn on_a_mac_it_is_in_a_kind_cluster_also_where_go_is_there() {
    let programs = ["cargo", "go", "kind", "kubectl", "helm", "docker"];
    let (_, calls) = Machine::new("Darwin", &programs).demo();
    assert!(calls.iter().any(|call| call == CREATE), "{calls:#?}");
}

#[test]
fn kind_is_told_of_podman_where_docker_is_not_there_or_does_not_answer() {
    for (docker, failing) in [(None, ""), (Some("docker"), "docker *")] {
        let programs = ["kind", "kubectl", "helm", "podman"].into_iter();
        let programs: Vec<_> = programs.chain(docker).collect();
        let mut machine = Machine::new("Linux", &programs);
        machine.failing = failing;
        let (_, calls) = machine.demo();
        let create = format!("podman: {CREATE}");
        assert!(calls.contains(&create), "{calls:#?}");
        let built = calls.iter().filter(|call| call.contains("podman build "));
        assert_eq!(built.count(), 2, "{calls:#?}");
    }
}

#[test]
fn a_cluster_in_which_something_failed_is_deleted() {
    let mut machine = Machine::new("Linux", &["kind", "kubectl", "helm", "docker"]);
    machine.failing = "helm *";
    let (output, calls) = machine.demo();
    assert!(!output.status.success());
    assert!(calls.iter().any(|call| call == CREATE), "{calls:#?}");
    assert_eq!(calls.last().unwrap(), DELETE);
}

#[test]
fn a_cluster_that_was_there_before_is_left_alone() {
    let mut machine = Machine::new("Linux", &["kind", "kubectl", "helm", "docker"]);
    machine.clusters = "other\nedge-demo";
    let (output, calls) = machine.demo();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains(DELETE), "{error}");
    assert_eq!(calls, ["docker info", "kind get clusters"]);
}

#[test]
fn without_go_and_without_kind_it_says_what_to_install() {
    let machine = Machine::new("Linux", &["cargo", "docker", "kubectl"]);
    let (output, calls) = machine.demo();
    assert!(!output.status.success());
    assert_eq!(calls, [""; 0]);
    let error = String::from_utf8(output.stderr).unwrap();
    for needed in ["kind", "Helm", "Podman", "Rust", "Go 1.26"] {
        assert!(error.contains(needed), "{error}");
    }
}
