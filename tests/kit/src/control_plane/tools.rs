//! kubectl, helm and kstatus, which read and write nothing outside of the folders given to them.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Output, Stdio},
};

use serde::Deserialize;
use tokio::{io::AsyncWriteExt, process::Command};

use super::{
    ControlPlane, START_TIMEOUT,
    error::{Error, Result},
};
use crate::programs::{self, Binaries};

impl ControlPlane {
    /// kubectl as administrator, with no arguments yet.
    pub fn kubectl_command(&self) -> Command {
        let mut command = Command::new(&self.binaries().kubectl);
        command
            .env("KUBECONFIG", self.admin_kubeconfig())
            .env("KUBECACHEDIR", self.folder().join("kubectl-cache"))
            // Aliases and defaults from the user's home.
            .env("KUBERC", "off")
            .kill_on_drop(true);
        command
    }

    /// Runs kubectl as administrator, and returns what it printed. If it fails, the error says what it said.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String> {
        let mut command = self.kubectl_command();
        command.args(args).stdin(Stdio::null());
        let result = command.output().await;
        check("kubectl", args, result)
    }

    /// Applies manifests: server side, in YAML, any number of them. A conflict is decided in their favour.
    pub async fn apply(&self, yaml: &str) -> Result<String> {
        let args = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        let mut command = self.kubectl_command();
        command.args(args);
        check("kubectl", &args, feed(command, yaml).await)
    }

    /// What kstatus makes of all objects of a kind in a namespace, as they are stored: its status and its message, by the
    /// object's name. If kstatus has to be built first, that takes a minute.
    pub async fn kstatus(
        &self,
        namespace: &str,
        kind: &str,
    ) -> Result<BTreeMap<String, (String, String)>> {
        let program = tokio::task::spawn_blocking(programs::locate_kstatus).await??;
        let get = ["get", kind, "--namespace", namespace, "--output", "json"];
        let objects = self.kubectl(&get).await?;
        let result = feed(Command::new(program), &objects).await;
        let told = check("kstatus", &[], result)?;
        let judgements: Vec<Judgement> =
            serde_json::from_str(&told).map_err(|source| Error::RunTool {
                tool: "kstatus",
                source: source.into(),
            })?;
        Ok(judgements
            .into_iter()
            .map(|told| (told.name, (told.status, told.message)))
            .collect())
    }

    /// Waits until the API server serves the kinds of all CustomResourceDefinitions.
    pub async fn wait_for_definitions(&self) -> Result<()> {
        let timeout = format!("--timeout={}s", START_TIMEOUT.as_secs());
        let wait = [
            "wait",
            "--for=condition=Established",
            "crd",
            "--all",
            &timeout,
        ];
        self.kubectl(&wait).await.map(drop)
    }

    /// Runs Helm as administrator, and returns what it printed. If it fails, the error says what it said.
    pub async fn helm(&self, args: &[&str]) -> Result<String> {
        let mut command = self.helm_command();
        command.args(args).stdin(Stdio::null());
        let result = command.output().await;
        check("helm", args, result)
    }

    /// Helm as administrator, with no arguments yet.
    pub fn helm_command(&self) -> Command {
        let mut command = Command::from(helm(self.binaries(), self.folder()));
        command
            .env("KUBECONFIG", self.admin_kubeconfig())
            .env("KUBECACHEDIR", self.folder().join("kubectl-cache"))
            .kill_on_drop(true);
        command
    }
}

/// What kstatus prints of an object.
#[derive(Deserialize)]
struct Judgement {
    name: String,
    status: String,
    message: String,
}

/// Runs a command that reads all of `input` before it prints anything: otherwise this could block for good.
async fn feed(mut command: Command, input: &str) -> std::io::Result<Output> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // If it ends early, what it said is more interesting than the broken pipe.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    child.wait_with_output().await
}

/// Helm with its homes in `folder`, and without a cluster.
pub(super) fn helm(binaries: &Binaries, folder: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(&binaries.helm);
    command
        .env("HELM_CACHE_HOME", folder.join("helm/cache"))
        .env("HELM_CONFIG_HOME", folder.join("helm/config"))
        .env("HELM_DATA_HOME", folder.join("helm/data"))
        .env_remove("KUBECONFIG");
    // Each of these overrides one of the above, or adds to the arguments.
    for key in std::env::vars_os().map(|(key, _)| key) {
        let name = key.to_string_lossy();
        if name.starts_with("HELM_") && !name.ends_with("_HOME") {
            command.env_remove(&key);
        }
    }
    command
}

/// What a tool printed, or what it said about why it failed.
pub(super) fn check(
    tool: &'static str,
    args: &[&str],
    result: std::io::Result<Output>,
) -> Result<String> {
    let output = result.map_err(|source| Error::RunTool { tool, source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::Tool {
        command: format!("{tool} {}", args.join(" ")),
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}
