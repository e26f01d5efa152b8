//! The operator that is measured, as a file describes it: how it's installed and started, what its objects look like, and
//! when one of them is ready. This project's own is described in the same way, in `subjects/`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use kit::{
    control_plane::{ControlPlane, free_port},
    process::GuardedProcess,
};
use serde::Deserialize;
use tokio::time::sleep;

use crate::{
    Result,
    ready::Ready,
    settings::Settings,
    template::{Template, fill},
};

/// How long it may take until it's ready: many times what any of them needs.
const START: Duration = Duration::from_secs(180);

/// How often to ask whether it is.
const POLL: Duration = Duration::from_millis(2);

/// Who calls the API server for an operator that brings no ServiceAccount: it may do anything.
const ACCOUNT: &str = "apiVersion: v1
kind: Namespace
metadata: {name: bench-subject}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: subject, namespace: bench-subject}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: bench-subject}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects:
- {kind: ServiceAccount, name: subject, namespace: bench-subject}
";

/// What the file says. Paths in it are relative to it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    /// What it's called.
    name: String,
    /// A chart, of which all is installed but what pods need, in a namespace of the operator's name.
    #[serde(default)]
    chart: Option<PathBuf>,
    /// Manifests to apply.
    #[serde(default)]
    manifests: Vec<PathBuf>,
    /// The ServiceAccount it runs as, `NAMESPACE/NAME`, if those bring one.
    #[serde(default)]
    account: Option<String>,
    /// The program and its arguments. `{origins}` are those of token endpoints, and of Sitecore's APIs where a case has them, with
    /// commas in between, `{port}` is a free port, `{program}` the release build of this project's operator.
    command: Vec<String>,
    /// What is in its environment beside `KUBECONFIG` and `PATH`.
    #[serde(default)]
    environment: BTreeMap<String, String>,
    /// The file with what is created for each object, the credentials first and the object last.
    template: PathBuf,
    /// When an object is ready, see [`Ready`].
    ready: String,
    /// What answers 200 once the operator is ready. `{port}` is the one of the command.
    probe: String,
    /// Where its metrics are, if they are measured.
    #[serde(default)]
    metrics: Option<String>,
}

/// An operator that can be measured.
#[derive(Clone, Debug)]
pub struct Subject {
    description: Description,
    folder: PathBuf,
    program: PathBuf,
    /// What is created for each object.
    pub template: Template,
    /// When an object is ready.
    pub ready: Ready,
}

impl Subject {
    /// The one that the settings name: by default this project's.
    pub fn load(settings: &Settings) -> Result<Subject> {
        let own = kit::workspace().join(OWN);
        let file = settings.subject.as_deref().unwrap_or(&own);
        let description: Description = serde_json::from_str(&read(file)?)
            .map_err(|error| format!("{}: {error}", file.display()))?;
        let folder = file.parent().unwrap_or(Path::new(".")).to_owned();
        Ok(Subject {
            template: Template::parse(&read(&folder.join(&description.template))?)?,
            ready: description.ready.parse()?,
            program: match &settings.program {
                Some(program) => program.clone(),
                None => release_build()?,
            },
            description,
            folder,
        })
    }

    /// What it's called.
    pub fn name(&self) -> &str {
        &self.description.name
    }

    /// Whether it's this project's operator, for cases that need its spec or its metrics.
    pub fn is_own(&self) -> bool {
        self.name() == "edge-credential-operator"
    }

    /// Its program.
    pub fn program(&self) -> PathBuf {
        let program = self.description.command.first();
        self.fill(program.map_or("", String::as_str), &[]).into()
    }

    /// Installs it, and returns how to start it.
    pub async fn install(&self, control_plane: &ControlPlane, origins: &str) -> Result<Process> {
        if let Some(chart) = &self.description.chart {
            control_plane
                .install(&self.folder.join(chart), self.name())
                .await?;
        }
        for manifest in &self.description.manifests {
            control_plane
                .apply(&read(&self.folder.join(manifest))?)
                .await?;
        }
        control_plane.wait_for_definitions().await?;
        let account = match &self.description.account {
            Some(account) => account,
            None => {
                control_plane.apply(ACCOUNT).await?;
                "bench-subject/subject"
            }
        };
        let (namespace, name) = account
            .split_once('/')
            .ok_or_else(|| format!("account {account} is not NAMESPACE/NAME"))?;
        Ok(Process {
            subject: self.clone(),
            origins: origins.to_owned(),
            kubeconfig: control_plane
                .service_account_kubeconfig(namespace, name)
                .await?,
            user: format!("system:serviceaccount:{namespace}:{name}"),
            log: control_plane.folder().join("logs/subject.log"),
            http: reqwest::Client::builder()
                .no_proxy()
                .timeout(Duration::from_secs(30))
                .build()?,
            running: None,
        })
    }

    fn fill(&self, text: &str, variables: &[(&str, &str)]) -> String {
        let program = self.program.to_string_lossy();
        fill(text, &[&[("program", &*program)], variables].concat())
    }
}

/// The description of this project's operator.
const OWN: &str = "tools/bench/subjects/edge-credential-operator.json";

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// `target/release`, where cargo puts the operator: this program is in `target/debug` or beside it.
fn release_build() -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    let target = this
        .ancestors()
        .nth(2)
        .ok_or("this program has no folder")?;
    Ok(target.join("release/edge-credential-operator"))
}

/// The operator as a process, which can be ended and started again. It's killed when dropped.
pub struct Process {
    /// Its user, as the audit log has it.
    pub user: String,
    subject: Subject,
    origins: String,
    kubeconfig: PathBuf,
    log: PathBuf,
    http: reqwest::Client,
    running: Option<(GuardedProcess, String)>,
}

impl Process {
    /// Starts it and waits until it's ready. Returns how long that took.
    pub async fn start(&mut self) -> Result<Duration> {
        let start = Instant::now();
        let port = free_port()?.to_string();
        let variables = [("origins", &*self.origins), ("port", &*port)];
        let description = &self.subject.description;
        let mut words = description
            .command
            .iter()
            .map(|word| self.subject.fill(word, &variables));
        let program = words.next().ok_or("the command is empty")?;
        let mut command = GuardedProcess::command(self.subject.name(), program, &self.log)
            .args(words)
            .env_clear()
            .env("KUBECONFIG", &self.kubeconfig)
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        for (name, value) in &description.environment {
            command = command.env(name, value);
        }
        let process = command.spawn()?;
        let (process, port) = self.running.insert((process, port));
        let probe = fill(&description.probe, &[("port", &**port)]);
        while start.elapsed() < START {
            if let Some(code) = process.try_wait()? {
                let tail = process.log_tail(15);
                return Err(format!("it ended with exit code {code}:\n{tail}").into());
            }
            let answer = self.http.get(&probe).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(start.elapsed());
            }
            sleep(POLL).await;
        }
        let tail = process.log_tail(15);
        Err(format!("it is not ready after {START:?}:\n{tail}").into())
    }

    /// Asks it to end, and waits until it has.
    pub async fn stop(&mut self) -> Result<()> {
        let (mut process, _) = self.running.take().ok_or("the operator does not run")?;
        process.signal("TERM")?;
        tokio::time::timeout(START, process.wait()).await??;
        Ok(())
    }

    /// Its process id.
    pub fn pid(&self) -> Result<u32> {
        let (process, _) = self.running.as_ref().ok_or("the operator does not run")?;
        Ok(process.pid())
    }

    /// Its metrics, and how long they took.
    pub async fn metrics(&self) -> Result<(String, Duration)> {
        let (_, port) = self.running.as_ref().ok_or("the operator does not run")?;
        let metrics = self.subject.description.metrics.as_ref();
        let url = metrics.ok_or("the description names no metrics")?;
        let start = Instant::now();
        let request = self.http.get(fill(url, &[("port", port)]));
        let text = request.send().await?.error_for_status()?.text().await?;
        Ok((text, start.elapsed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_projects_operator_is_described_like_any_other() {
        let file = kit::workspace().join(OWN);
        let text = read(&file).unwrap();
        let description: Description = serde_json::from_str(&text).unwrap();
        let folder = file.parent().unwrap();
        assert!(folder.join(description.chart.unwrap()).is_dir());
        Template::parse(&read(&folder.join(description.template)).unwrap()).unwrap();
        description.ready.parse::<Ready>().unwrap();
        let image = read(&kit::workspace().join("Containerfile")).unwrap();
        assert!(!description.environment.is_empty());
        for (name, value) in description.environment {
            let setting = format!("{name}={value}");
            assert!(image.contains(&setting), "the image has {setting} too");
        }
    }

    #[test]
    fn a_field_that_is_misspelt_is_told() {
        let text = r#"{"name": "x", "comand": []}"#;
        let error = serde_json::from_str::<Description>(text).unwrap_err();
        assert!(error.to_string().contains("comand"));
    }
}
