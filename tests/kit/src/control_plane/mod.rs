//! A real Kubernetes control plane on loopback: etcd, kube-apiserver and the controllers that own objects and delete
//! namespaces. By default there are no nodes, so nothing runs in it.
//!
//! - [`ControlPlane::start`] starts one, in 4 to 10 seconds; [`shared`] gives the one that all tests of a process share.
//! - Every control plane has its own folder, ports, certificate authority and keys. Permissions (RBAC) are enforced, and
//!   all requests are in the [audit log](ControlPlane::audit_events).
//! - Nothing outlives this process, however it ends: no server, and no file unless something failed.
//! - Nothing is read from or written to the user's home, except by Go where it builds the programs.
//!
//! Where the programs come from is told in [`programs`](crate::programs); without them, and without Go to build them, starting fails.
//!
//! Beware of one thing that is slow: the garbage collector looks for new kinds of objects every 30 seconds, so what is
//! owned by a custom resource is collected only that long after its definition was created, or after
//! [`ControlPlane::restart_controller_manager`].

pub mod chart;

mod audit;
mod certificates;
mod error;
mod etcd;
mod kubeconfig;
mod port;
mod run_folder;
mod server;
mod shared;
mod tools;

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use http::Request;
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use k8s_openapi::jiff::Timestamp;
use kube::{Api, api::PostParams};

pub use self::{
    audit::AuditEvent,
    error::{Error, Result},
    port::free as free_port,
    run_folder::RunFolder,
    server::Server,
    shared::shared,
};
use self::{kubeconfig::User, server::Setup};
use crate::{process::GuardedProcess, programs::Binaries};

/// How long a server may take until it's ready: many times what an idle machine needs.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// How often to look whether it is.
const POLL: Duration = Duration::from_millis(50);

/// The lifetime of a service account's token. Longer than any test, benchmark or demo.
const TOKEN_SECONDS: i64 = 24 * 3600;

/// A running control plane. Dropping it kills its servers and removes its folder; if the thread is panicking, the folder
/// stays and its path is printed.
#[derive(Debug)]
pub struct ControlPlane {
    // In the order in which they are to be killed, and the folder last.
    controller_manager: Slot,
    api_server: Slot,
    etcd: Slot,
    api_server_starts: Mutex<Vec<RangeInclusive<Timestamp>>>,
    setup: Setup,
    binaries: Binaries,
    folder: RunFolder,
}

/// What a control plane is to be like. By default it has no node.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// For a node that will join: then there are controllers for pods, and the node's kubeconfigs are in the folder.
    pub node: Option<NodeOptions>,
    /// Where to make its folder: by default in the project's cache.
    pub parent: Option<PathBuf>,
    /// How often the API server has etcd forget what was: by default every 5 minutes.
    pub compaction_interval: Option<Duration>,
}

/// A node that will join, and where it finds what it needs.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// Its name.
    pub name: String,
    /// Where the API server listens. An interface must have the address.
    pub api_server: IpAddr,
    /// The ranges of the Services' addresses, such as `10.0.0.0/24`: at most one of each family. The first is that of the
    /// Service `kubernetes`, and must be of the API server's family.
    pub services: Vec<String>,
}

/// A server, unless it was stopped. Tests share a control plane, hence the lock.
type Slot = Mutex<Option<GuardedProcess>>;

impl ControlPlane {
    /// Starts a control plane and waits until it's ready. If the programs have to be built first, that takes minutes.
    pub async fn start() -> Result<ControlPlane> {
        ControlPlane::start_with(&Options::default()).await
    }

    /// Starts one with these options.
    pub async fn start_with(options: &Options) -> Result<ControlPlane> {
        let binaries = tokio::task::spawn_blocking(Binaries::locate).await??;
        // Between choosing a port and listening on it, another process may take it.
        let mut attempts = 3;
        loop {
            attempts -= 1;
            match ControlPlane::try_start(&binaries, options).await {
                Err(error) if attempts > 0 && error.is_port_taken() => {}
                result => return result,
            }
        }
    }

    async fn try_start(binaries: &Binaries, options: &Options) -> Result<ControlPlane> {
        let folder = match &options.parent {
            Some(parent) => RunFolder::create_in(parent)?,
            None => RunFolder::create()?,
        };
        let setup = Setup::write(&folder, options)?;
        let control_plane = ControlPlane {
            controller_manager: Slot::default(),
            api_server: Slot::default(),
            etcd: Slot::default(),
            api_server_starts: Mutex::default(),
            setup,
            binaries: binaries.clone(),
            folder,
        };
        match control_plane.start_servers().await {
            Ok(()) => Ok(control_plane),
            Err(error) if error.is_port_taken() => Err(error),
            Err(error) => {
                control_plane.folder.keep();
                Err(Error::Start {
                    folder: control_plane.folder.path().to_owned(),
                    source: Box::new(error),
                })
            }
        }
    }

    async fn start_servers(&self) -> Result<()> {
        // kube-apiserver takes longer to come to its first question than etcd to be able to answer it.
        self.spawn(Server::Etcd)?;
        self.spawn(Server::ApiServer)?;
        self.wait_until_ready(Server::ApiServer).await?;
        // The controller manager gives up if it finds no API server.
        self.spawn(Server::ControllerManager)?;
        self.wait_until_ready(Server::ControllerManager).await
    }

    fn spawn(&self, server: Server) -> Result<()> {
        let mut slot = self.slot(server);
        if slot.is_some() {
            let server = server.name();
            return Err(Error::Running { server });
        }
        let mut command = self.setup.command(server, &self.binaries);
        if let Some(lifeline) = self.folder.lifeline()? {
            command = command.lifeline(lifeline);
        }
        *slot = Some(command.spawn()?);
        Ok(())
    }

    /// Waits until the API server says that it's ready, or until the controller manager has done a first piece of work.
    async fn wait_until_ready(&self, server: Server) -> Result<()> {
        let client = self.admin_client().await?;
        let start = Instant::now();
        loop {
            // One request may hang: the server may be paused, or still starting.
            let probe = tokio::time::timeout(Duration::from_secs(2), is_ready(server, &client));
            if matches!(probe.await, Ok(true)) {
                return Ok(());
            }
            self.check_running(Server::Etcd)?;
            self.check_running(server)?;
            if start.elapsed() > START_TIMEOUT {
                let log = self.setup.log(server.name());
                return Err(Error::NotReady {
                    server: server.name().to_owned(),
                    seconds: START_TIMEOUT.as_secs(),
                    tail: crate::process::tail(&log, 20),
                    log,
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Fails if a server has ended by itself.
    fn check_running(&self, server: Server) -> Result<()> {
        let mut slot = self.slot(server);
        let process = slot.as_mut().ok_or(Error::NotRunning {
            server: server.name(),
        })?;
        match process.try_wait()? {
            None => Ok(()),
            Some(code) => Err(Error::Ended {
                server: server.name().to_owned(),
                code,
                log: process.log().to_owned(),
                tail: process.log_tail(20),
            }),
        }
    }

    fn slot(&self, server: Server) -> MutexGuard<'_, Option<GuardedProcess>> {
        let slot = match server {
            Server::Etcd => &self.etcd,
            Server::ApiServer => &self.api_server,
            Server::ControllerManager => &self.controller_manager,
        };
        // One test's panic is no reason for the others to fail.
        slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The programs in use.
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// The folder of this control plane, which goes when it goes. Files for a test, such as the log of an operator, can
    /// be put here.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Keeps the folder when the control plane goes, for a look at the logs.
    pub fn keep_folder(&self) {
        self.folder.keep();
    }

    /// A kubeconfig that may do anything.
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.setup.admin_kubeconfig()
    }

    /// A client that may do anything, for the runtime that calls this.
    pub async fn admin_client(&self) -> Result<kube::Client> {
        self.client(&self.admin_kubeconfig()).await
    }

    /// A client for a kubeconfig, for the runtime that calls this.
    pub async fn client(&self, kubeconfig: &Path) -> Result<kube::Client> {
        kubeconfig::client(kubeconfig).await
    }

    /// Writes a kubeconfig for a service account that exists, with a token that is good for a day. It may do what RBAC
    /// lets it, so this is what to run the operator with.
    pub async fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                expiration_seconds: Some(TOKEN_SECONDS),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let client = self.admin_client().await?;
        let answer = Api::<ServiceAccount>::namespaced(client, namespace)
            .create_token_request(name, &PostParams::default(), &request)
            .await
            .map_err(|source| Error::Api {
                action: format!("request a token for service account {namespace}/{name}"),
                source: Box::new(source),
            })?;
        let token = answer
            .status
            .and_then(|status| status.token)
            .unwrap_or_default();
        let content = self.setup.kubeconfig(&User::Token(&token), namespace);
        // No name of an object has an underscore in it.
        let file = format!("{namespace}_{name}.kubeconfig");
        self.folder.write(&file, &content)
    }

    /// Writes a copy of a kubeconfig that names another server, such as a proxy before the API server.
    pub fn kubeconfig_with_server(
        &self,
        kubeconfig: &Path,
        server: &str,
        name: &str,
    ) -> Result<PathBuf> {
        let content = fs::read_to_string(kubeconfig).map_err(Error::file("read", kubeconfig))?;
        let content = content.replace(&self.api_server_url(), server);
        self.folder.write(&format!("{name}.kubeconfig"), &content)
    }

    /// Where the API server listens.
    pub fn api_server_address(&self) -> SocketAddr {
        self.setup.api_server_address()
    }

    /// The API server's URL, without a slash at the end.
    pub fn api_server_url(&self) -> String {
        self.setup.api_server_url()
    }

    /// The certificate authority that the API server's certificate is from, in PEM.
    pub fn authority_pem(&self) -> &str {
        self.setup.authority_pem()
    }

    /// The log file of a server of this name, for one that belongs to the control plane's node.
    pub fn log(&self, name: &str) -> PathBuf {
        self.setup.log(name)
    }

    /// The audit log.
    pub fn audit_log(&self) -> PathBuf {
        self.setup.audit_log()
    }

    /// Every request so far, in the order in which they were answered.
    pub fn audit_events(&self) -> Result<Vec<AuditEvent>> {
        self.audit_events_with("")
    }

    /// Those of one user. Many tests share a log, and only what is asked for is taken to pieces.
    pub fn audit_events_of(&self, user: &str) -> Result<Vec<AuditEvent>> {
        let mut events = self.audit_events_with(user)?;
        events.retain(|event| event.user == user);
        Ok(events)
    }

    fn audit_events_with(&self, text: &str) -> Result<Vec<AuditEvent>> {
        let path = self.audit_log();
        let log = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
        audit::parse(&log, text)
    }

    /// Kills the API server, as a crash would. Connections break, and new ones are refused.
    pub fn stop_api_server(&self) -> Result<()> {
        self.stop(Server::ApiServer)
    }

    /// Starts the API server again, on the same port, and waits until it's ready.
    pub async fn start_api_server(&self) -> Result<()> {
        let start = Timestamp::now();
        self.spawn(Server::ApiServer)?;
        self.wait_until_ready(Server::ApiServer).await?;
        let mut starts = self.api_server_starts();
        starts.push(start..=Timestamp::now());
        Ok(())
    }

    /// Whether the API server had been started again at this time and was not ready yet. Then it already answers, and
    /// refuses what the roles allow that it has not read yet.
    pub fn api_server_was_starting(&self, at: Timestamp) -> bool {
        let starts = self.api_server_starts();
        starts.iter().any(|start| start.contains(&at))
    }

    fn api_server_starts(&self) -> MutexGuard<'_, Vec<RangeInclusive<Timestamp>>> {
        let starts = self.api_server_starts.lock();
        starts.unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills the API server, starts it again, and waits until it's ready.
    pub async fn restart_api_server(&self) -> Result<()> {
        self.stop_api_server()?;
        self.start_api_server().await
    }

    /// Kills the controller manager and starts it again. It looks for all kinds of objects when it starts, so this makes
    /// it collect those whose definition has just been created.
    pub fn restart_controller_manager(&self) -> Result<()> {
        self.stop(Server::ControllerManager)?;
        self.spawn(Server::ControllerManager)
    }

    /// Freezes a server: connections stay open and new ones are accepted by the kernel, but nobody answers.
    pub fn pause(&self, server: Server) -> Result<()> {
        self.signal(server, "STOP")
    }

    /// Lets a frozen server go on.
    pub fn resume(&self, server: Server) -> Result<()> {
        self.signal(server, "CONT")
    }

    fn stop(&self, server: Server) -> Result<()> {
        let process = self.slot(server).take();
        let mut process = process.ok_or(Error::NotRunning {
            server: server.name(),
        })?;
        Ok(process.kill()?)
    }

    fn signal(&self, server: Server, signal: &str) -> Result<()> {
        let mut slot = self.slot(server);
        let process = slot.as_mut().ok_or(Error::NotRunning {
            server: server.name(),
        })?;
        Ok(process.signal(signal)?)
    }
}

async fn is_ready(server: Server, client: &kube::Client) -> bool {
    match server {
        Server::Etcd | Server::ApiServer => {
            let Ok(request) = Request::get("/readyz").body(Vec::new()) else {
                return false;
            };
            client.request_text(request).await.is_ok()
        }
        Server::ControllerManager => Api::<ServiceAccount>::namespaced(client.clone(), "default")
            .get("default")
            .await
            .is_ok(),
    }
}
