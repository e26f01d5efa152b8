//! Where the programs of the control plane, of a node and of tests come from.
//!
//! The first of these that has a program is taken:
//!
//! 1. the folder in the environment variable `KUBEBUILDER_ASSETS`, the convention of envtest: it must have `etcd`,
//!    `kube-apiserver` and `kubectl`, and may have `kube-controller-manager`, `helm`, `kube-scheduler`,
//!    `kube-proxy`, `kubelet`, `kube-network-policies` and `kstatus`;
//! 2. the project's cache, `.cache/controlplane/`;
//! 3. a build with Go into that cache, from the pinned modules of `tests/kit/controlplane/`.

mod build;
mod error;
mod program;

use std::{env, ffi::OsString, path::PathBuf};

pub use self::error::{Error, Result};
use self::{build::Builder, program::Program};
use crate::workspace;

/// The programs that a control plane is made of and used with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    /// etcd.
    pub etcd: PathBuf,
    /// kube-apiserver.
    pub kube_apiserver: PathBuf,
    /// kube-controller-manager.
    pub kube_controller_manager: PathBuf,
    /// kubectl.
    pub kubectl: PathBuf,
    /// helm.
    pub helm: PathBuf,
}

impl Binaries {
    /// Finds the programs, and builds those that are missing, which takes minutes and reports its progress on standard
    /// error. Blocks.
    pub fn locate() -> Result<Binaries> {
        Locator::from_env().locate()
    }
}

/// The programs that a node needs besides. They are built only where they are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeBinaries {
    /// kube-scheduler.
    pub kube_scheduler: PathBuf,
    /// kube-proxy.
    pub kube_proxy: PathBuf,
    /// kubelet.
    pub kubelet: PathBuf,
    /// kube-network-policies.
    pub kube_network_policies: PathBuf,
}

impl NodeBinaries {
    /// As [`Binaries::locate`].
    pub fn locate() -> Result<NodeBinaries> {
        let locator = Locator::from_env();
        locator.provide(&Program::NODE)?;
        Ok(NodeBinaries {
            kube_scheduler: locator.path(Program::KubeScheduler)?,
            kube_proxy: locator.path(Program::KubeProxy)?,
            kubelet: locator.path(Program::Kubelet)?,
            kube_network_policies: locator.path(Program::NetworkPolicies)?,
        })
    }
}

/// Finds kstatus as a program, and builds it if it is missing, as [`Binaries::locate`] does.
pub fn locate_kstatus() -> Result<PathBuf> {
    let locator = Locator::from_env();
    locator.provide(&[Program::Kstatus])?;
    locator.path(Program::Kstatus)
}

/// Where to look for programs, and what to build them with.
#[derive(Debug)]
struct Locator {
    /// `KUBEBUILDER_ASSETS`.
    assets: Option<PathBuf>,
    builder: Builder,
}

/// Where a program is, or what to do about it.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Found(PathBuf),
    ToBuild(PathBuf),
    MissingAsset(PathBuf),
}

impl Locator {
    fn from_env() -> Locator {
        Locator {
            // Set but empty is how a shell says "not set".
            assets: env::var_os("KUBEBUILDER_ASSETS")
                .filter(|value| !value.is_empty())
                .map(PathBuf::from),
            builder: Builder {
                go: OsString::from("go"),
                cache: workspace().join(".cache/controlplane"),
                say: build::say,
            },
        }
    }

    fn locate(&self) -> Result<Binaries> {
        self.provide(&Program::CONTROL_PLANE)?;
        Ok(Binaries {
            etcd: self.path(Program::Etcd)?,
            kube_apiserver: self.path(Program::KubeApiserver)?,
            kube_controller_manager: self.path(Program::KubeControllerManager)?,
            kubectl: self.path(Program::Kubectl)?,
            helm: self.path(Program::Helm)?,
        })
    }

    /// Builds those of the programs that are missing.
    fn provide(&self, programs: &[Program]) -> Result<()> {
        let mut missing = Vec::new();
        for &program in programs {
            match self.place(program) {
                Place::Found(_) => {}
                Place::ToBuild(_) => missing.push(program),
                Place::MissingAsset(path) => return Err(Error::MissingAsset { path }),
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        self.builder.build(&missing)
    }

    fn path(&self, program: Program) -> Result<PathBuf> {
        match self.place(program) {
            Place::Found(path) | Place::ToBuild(path) | Place::MissingAsset(path) => {
                // A program may be started in another directory.
                std::path::absolute(&path).map_err(Error::file("find", path))
            }
        }
    }

    fn place(&self, program: Program) -> Place {
        if let Some(assets) = &self.assets {
            let path = assets.join(program.name());
            if path.is_file() {
                return Place::Found(path);
            }
            if program.is_required_asset() {
                return Place::MissingAsset(path);
            }
        }
        let path = program.path_in(&self.builder.cache);
        if path.is_file() {
            Place::Found(path)
        } else {
            Place::ToBuild(path)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    /// Stands in for Go: writes a file where `-o` says.
    const FAKE_GO: &str = r#"#!/bin/sh
if [ "$1" = version ]; then echo "go version go1.26.0 linux/amd64"; exit; fi
while [ "$1" != -o ]; do shift; done
echo "built $3" > "$2"
"#;

    struct Fixture {
        dir: TempDir,
        locator: Locator,
    }

    fn fixture() -> Fixture {
        let dir = TempDir::new().unwrap();
        let locator = Locator {
            assets: None,
            builder: Builder {
                go: dir.path().join("no-such-go").into(),
                cache: dir.path().join("cache"),
                say: |_| {},
            },
        };
        Fixture { dir, locator }
    }

    impl Fixture {
        fn with_go(mut self, script: &str) -> Fixture {
            let go = self.dir.path().join("go");
            crate::script::write(&go, script).unwrap();
            self.locator.builder.go = go.into();
            self
        }

        fn with_assets(mut self, programs: &[Program]) -> Fixture {
            let assets = self.dir.path().join("assets");
            fs::create_dir(&assets).unwrap();
            for program in programs {
                fs::write(assets.join(program.name()), "").unwrap();
            }
            self.locator.assets = Some(assets);
            self
        }

        fn with_cached(self, programs: &[Program]) -> Fixture {
            for program in programs {
                let path = program.path_in(&self.locator.builder.cache);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "").unwrap();
            }
            self
        }
    }

    const ENVTEST: [Program; 3] = [Program::Etcd, Program::KubeApiserver, Program::Kubectl];

    #[test]
    fn assets_win_over_the_cache() {
        let f = fixture()
            .with_assets(&ENVTEST)
            .with_cached(&Program::CONTROL_PLANE);
        let binaries = f.locator.locate().unwrap();
        let assets = f.dir.path().join("assets");
        assert_eq!(binaries.etcd, assets.join("etcd"));
        assert_eq!(binaries.kube_apiserver, assets.join("kube-apiserver"));
        assert_eq!(binaries.kubectl, assets.join("kubectl"));
        assert_eq!(
            binaries.kube_controller_manager,
            Program::KubeControllerManager.path_in(&f.locator.builder.cache)
        );
        assert_eq!(
            binaries.helm,
            Program::Helm.path_in(&f.locator.builder.cache)
        );
    }

    #[test]
    fn assets_with_everything_need_neither_cache_nor_go() {
        let f = fixture().with_assets(&Program::CONTROL_PLANE);
        let binaries = f.locator.locate().unwrap();
        assert_eq!(binaries.helm, f.dir.path().join("assets/helm"));
        assert!(!f.locator.builder.cache.exists());
    }

    #[test]
    fn assets_without_an_api_server_are_an_error_even_if_it_is_cached() {
        let f = fixture()
            .with_assets(&[Program::Etcd, Program::Kubectl])
            .with_cached(&Program::CONTROL_PLANE);
        let message = f.locator.locate().unwrap_err().to_string();
        assert!(message.contains("KUBEBUILDER_ASSETS"), "{message}");
        assert!(message.contains("assets/kube-apiserver"), "{message}");
    }

    #[test]
    fn a_full_cache_needs_no_go() {
        let f = fixture().with_cached(&Program::CONTROL_PLANE);
        let binaries = f.locator.locate().unwrap();
        assert_eq!(
            binaries.etcd,
            Program::Etcd.path_in(&f.locator.builder.cache)
        );
    }

    #[test]
    fn without_go_the_error_says_what_to_install_or_set() {
        let f = fixture().with_cached(&[Program::Etcd]);
        let message = f.locator.locate().unwrap_err().to_string();
        assert!(message.contains("kube-apiserver"), "{message}");
        assert!(!message.contains("need etcd"), "{message}");
        assert!(message.contains("install Go 1.26"), "{message}");
        assert!(message.contains("KUBEBUILDER_ASSETS"), "{message}");
    }

    #[test]
    fn what_assets_may_lack_is_built() {
        let f = fixture().with_assets(&ENVTEST).with_go(FAKE_GO);
        let binaries = f.locator.locate().unwrap();
        let helm = fs::read_to_string(&binaries.helm).unwrap();
        assert_eq!(helm, "built helm.sh/helm/v4/cmd/helm\n");
        assert!(!Program::Etcd.path_in(&f.locator.builder.cache).exists());
    }

    #[test]
    fn only_what_is_missing_is_built() {
        let f = fixture().with_cached(&[Program::Etcd]).with_go(FAKE_GO);
        let binaries = f.locator.locate().unwrap();
        assert_eq!(fs::read_to_string(&binaries.etcd).unwrap(), "");
        let kubectl = fs::read_to_string(&binaries.kubectl).unwrap();
        assert_eq!(kubectl, "built k8s.io/kubernetes/cmd/kubectl\n");
    }

    #[test]
    fn a_failed_build_shows_what_go_said_and_leaves_no_program() {
        let broken =
            "#!/bin/sh\n[ \"$1\" = version ] && exit\necho missing go.sum entry >&2\nexit 1\n";
        let f = fixture().with_go(broken);
        let message = f.locator.locate().unwrap_err().to_string();
        assert!(message.contains("cannot build etcd"), "{message}");
        assert!(message.contains("missing go.sum entry"), "{message}");
        assert!(!Program::Etcd.path_in(&f.locator.builder.cache).exists());
    }
}
