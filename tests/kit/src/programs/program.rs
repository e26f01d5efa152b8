//! The programs of the control plane, of a node and of tests, and how each is built.
//!
//! The versions and checksums are in the `go.mod` and `go.sum` files of `tests/kit/controlplane/`, and nowhere else.
//! Building is plain `go build` of published modules, because etcd, Kubernetes and Helm publish no programs in a package
//! registry. kstatus and kube-network-policies are libraries, which a `main.go` beside their `go.mod` makes programs of.
//! Facts about the recipe:
//!
//! - Kubernetes' programs learn their version from the linker. Without it they call themselves `v0.0.0-master`, and
//!   kube-apiserver reports that to clients.
//! - kube-apiserver needs 2.4 GB of memory at the peak of its build.
//! - `CGO_ENABLED=0` everywhere: no C compiler is needed, and the programs run on any Linux.

use std::path::{Path, PathBuf};

use crate::workspace;

/// A program of the control plane, of a node or of tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    Etcd,
    KubeApiserver,
    KubeControllerManager,
    Kubectl,
    Helm,
    KubeScheduler,
    KubeProxy,
    Kubelet,
    NetworkPolicies,
    Kstatus,
}

/// A folder of `tests/kit/controlplane/`: one Go module that names one version of one project.
struct Recipe {
    folder: &'static str,
    module: &'static str,
    go_mod: &'static str,
    /// What building from it downloads, measured with an empty module cache: the module zips that the programs need.
    download_megabytes: u32,
}

const KUBERNETES: Recipe = Recipe {
    folder: "kubernetes",
    module: "k8s.io/kubernetes",
    go_mod: include_str!("../../controlplane/kubernetes/go.mod"),
    download_megabytes: 90,
};

const ETCD: Recipe = Recipe {
    folder: "etcd",
    module: "go.etcd.io/etcd/server/v3",
    go_mod: include_str!("../../controlplane/etcd/go.mod"),
    download_megabytes: 30,
};

const HELM: Recipe = Recipe {
    folder: "helm",
    module: "helm.sh/helm/v4",
    go_mod: include_str!("../../controlplane/helm/go.mod"),
    download_megabytes: 75,
};

const NETWORK_POLICIES: Recipe = Recipe {
    folder: "network-policies",
    module: "sigs.k8s.io/kube-network-policies",
    go_mod: include_str!("../../controlplane/network-policies/go.mod"),
    download_megabytes: 52,
};

const KSTATUS: Recipe = Recipe {
    folder: "kstatus",
    module: "sigs.k8s.io/cli-utils",
    go_mod: include_str!("../../controlplane/kstatus/go.mod"),
    download_megabytes: 20,
};

impl Program {
    /// Those of the control plane, in the order in which they are built: what fails fast comes first.
    pub(super) const CONTROL_PLANE: [Program; 5] = [
        Program::Etcd,
        Program::Kubectl,
        Program::KubeApiserver,
        Program::KubeControllerManager,
        Program::Helm,
    ];

    /// Those that a node needs besides.
    pub(super) const NODE: [Program; 4] = [
        Program::KubeScheduler,
        Program::KubeProxy,
        Program::Kubelet,
        Program::NetworkPolicies,
    ];

    /// The name of its file.
    pub(super) fn name(self) -> &'static str {
        match self {
            Program::Etcd => "etcd",
            Program::KubeApiserver => "kube-apiserver",
            Program::KubeControllerManager => "kube-controller-manager",
            Program::Kubectl => "kubectl",
            Program::Helm => "helm",
            Program::KubeScheduler => "kube-scheduler",
            Program::KubeProxy => "kube-proxy",
            Program::Kubelet => "kubelet",
            Program::NetworkPolicies => "kube-network-policies",
            Program::Kstatus => "kstatus",
        }
    }

    /// Whether every folder that `KUBEBUILDER_ASSETS` may name has it. The other programs are not part of the envtest
    /// convention, so they may be built beside such a folder.
    pub(super) fn is_required_asset(self) -> bool {
        match self {
            Program::Etcd | Program::KubeApiserver | Program::Kubectl => true,
            Program::KubeControllerManager
            | Program::Helm
            | Program::KubeScheduler
            | Program::KubeProxy
            | Program::Kubelet
            | Program::NetworkPolicies
            | Program::Kstatus => false,
        }
    }

    /// The Go package of the program.
    pub(super) fn package(self) -> &'static str {
        match self {
            Program::Etcd => "go.etcd.io/etcd/server/v3",
            Program::KubeApiserver => "k8s.io/kubernetes/cmd/kube-apiserver",
            Program::KubeControllerManager => "k8s.io/kubernetes/cmd/kube-controller-manager",
            Program::Kubectl => "k8s.io/kubernetes/cmd/kubectl",
            Program::Helm => "helm.sh/helm/v4/cmd/helm",
            Program::KubeScheduler => "k8s.io/kubernetes/cmd/kube-scheduler",
            Program::KubeProxy => "k8s.io/kubernetes/cmd/kube-proxy",
            Program::Kubelet => "k8s.io/kubernetes/cmd/kubelet",
            Program::NetworkPolicies | Program::Kstatus => ".",
        }
    }

    /// The version that its `go.mod` names, such as `v1.37.2`.
    pub(super) fn version(self) -> &'static str {
        let recipe = self.recipe();
        required_version(recipe.go_mod, recipe.module).unwrap_or("unknown")
    }

    /// The folder with its `go.mod`.
    pub(super) fn recipe_folder(self) -> PathBuf {
        workspace()
            .join("tests/kit/controlplane")
            .join(self.recipe().folder)
    }

    /// Where its file is in the cache: a folder for each version, so that a new version is built and an old one is not
    /// mistaken for it.
    pub(super) fn path_in(self, cache: &Path) -> PathBuf {
        let folder = format!("{}-{}", self.recipe().folder, self.version());
        cache.join(folder).join(self.name())
    }

    /// What `go build` passes to the linker: no symbol tables, and the version.
    pub(super) fn link_flags(self) -> String {
        let version = self.version();
        match self {
            Program::Etcd | Program::NetworkPolicies | Program::Kstatus => "-s -w".to_owned(),
            Program::Helm => {
                format!("-s -w -X helm.sh/helm/v4/internal/version.version={version}")
            }
            Program::KubeApiserver
            | Program::KubeControllerManager
            | Program::Kubectl
            | Program::KubeScheduler
            | Program::KubeProxy
            | Program::Kubelet => {
                let mut numbers = version.trim_start_matches('v').split('.');
                let major = numbers.next().unwrap_or_default();
                let minor = numbers.next().unwrap_or_default();
                // The first is for `/version` and `--version`, the second for the User-Agent of their requests.
                [
                    "k8s.io/component-base/version",
                    "k8s.io/client-go/pkg/version",
                ]
                .into_iter()
                .fold("-s -w".to_owned(), |flags, package| {
                    format!(
                        "{flags} -X {package}.gitVersion={version} -X {package}.gitMajor={major} \
                             -X {package}.gitMinor={minor} -X {package}.gitTreeState=clean"
                    )
                })
            }
        }
    }

    /// How long it takes to build on two cores, after those before it in
    /// [`CONTROL_PLANE`](Self::CONTROL_PLANE) and [`NODE`](Self::NODE): they share packages.
    pub(super) fn expected_seconds(self) -> u32 {
        match self {
            Program::Etcd => 50,
            Program::Kubectl => 80,
            Program::KubeApiserver => 290,
            Program::KubeControllerManager => 100,
            Program::Helm => 90,
            Program::KubeScheduler => 50,
            Program::KubeProxy => 20,
            Program::Kubelet => 90,
            Program::NetworkPolicies => 30,
            Program::Kstatus => 30,
        }
    }

    fn recipe(self) -> &'static Recipe {
        match self {
            Program::Etcd => &ETCD,
            Program::Helm => &HELM,
            Program::NetworkPolicies => &NETWORK_POLICIES,
            Program::Kstatus => &KSTATUS,
            Program::KubeApiserver
            | Program::KubeControllerManager
            | Program::Kubectl
            | Program::KubeScheduler
            | Program::KubeProxy
            | Program::Kubelet => &KUBERNETES,
        }
    }
}

/// What building `programs` downloads at most: nothing of it where Go has the modules already.
pub(super) fn download_megabytes(programs: &[Program]) -> u32 {
    [&ETCD, &KUBERNETES, &HELM, &NETWORK_POLICIES, &KSTATUS]
        .into_iter()
        .filter(|recipe| programs.iter().any(|p| p.recipe().folder == recipe.folder))
        .map(|recipe| recipe.download_megabytes)
        .sum()
}

/// How long building `programs` takes on two cores, in whole minutes.
pub(super) fn expected_minutes(programs: &[Program]) -> u32 {
    let seconds: u32 = programs.iter().map(|p| p.expected_seconds()).sum();
    seconds.div_ceil(60)
}

/// The version that a `go.mod` requires of `module`.
fn required_version<'a>(go_mod: &'a str, module: &str) -> Option<&'a str> {
    go_mod.lines().find_map(|line| {
        let line = line.trim();
        let mut words = line
            .strip_prefix("require ")
            .unwrap_or(line)
            .split_whitespace();
        (words.next() == Some(module))
            .then(|| words.next())
            .flatten()
            .filter(|version| version.starts_with('v'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_go_mod() {
        let go_mod = "module m\ntool example.org/a/cmd/x\nrequire (\n\texample.org/ab v0.1.0\n\texample.org/a v1.2.3 // indirect\n)\nreplace example.org/c => example.org/c v9.0.0";
        assert_eq!(required_version(go_mod, "example.org/a"), Some("v1.2.3"));
        assert_eq!(required_version(go_mod, "example.org/ab"), Some("v0.1.0"));
        assert_eq!(required_version(go_mod, "example.org/c"), None);
        let one = "require example.org/a v1.0.0";
        assert_eq!(required_version(one, "example.org/a"), Some("v1.0.0"));
    }

    #[test]
    fn every_program_has_a_version() {
        for program in [
            &Program::CONTROL_PLANE[..],
            &Program::NODE,
            &[Program::Kstatus],
        ]
        .concat()
        {
            assert!(program.version().starts_with('v'), "{}", program.name());
        }
    }

    #[test]
    fn kubernetes_programs_are_told_their_version() {
        let flags = Program::KubeApiserver.link_flags();
        let version = Program::KubeApiserver.version();
        assert!(flags.contains(&format!("component-base/version.gitVersion={version} ")));
        assert!(flags.contains("component-base/version.gitMajor=1 "));
    }

    #[test]
    fn a_version_has_its_own_folder_in_the_cache() {
        let path = Program::Etcd.path_in(Path::new("cache"));
        let folder = format!("etcd-{}", Program::Etcd.version());
        assert_eq!(path, Path::new("cache").join(folder).join("etcd"));
    }

    #[test]
    fn a_download_is_counted_once_for_each_module() {
        let one = download_megabytes(&[Program::Kubectl]);
        assert_eq!(
            one,
            download_megabytes(&[Program::Kubectl, Program::KubeApiserver])
        );
        assert!(one < download_megabytes(&Program::CONTROL_PLANE));
        assert_eq!(download_megabytes(&[]), 0);
    }
}
