//! The operator's process.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::control_plane::free_port;
use crate::operator::program;
use crate::process::GuardedProcess;

use super::{PATIENCE, find};

/// The operator, as the chart's Deployment would run it: its arguments, its environment, its ServiceAccount. Killed when
/// dropped.
pub struct Operator {
    /// The user of its ServiceAccount, as the audit log names it.
    pub user: String,
    name: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
    log: PathBuf,
    http: reqwest::Client,
    running: Option<Running>,
}

struct Running {
    process: GuardedProcess,
    url: String,
}

impl Operator {
    /// Another pod of the same Deployment, not yet running.
    pub fn replica(&self) -> Self {
        Self {
            user: self.user.clone(),
            name: format!("another one beside {}", self.name),
            args: self.args.clone(),
            env: self.env.clone(),
            log: self.log.with_extension("replica.log"),
            http: self.http.clone(),
            running: None,
        }
    }

    pub(super) fn new(
        name: &str,
        user: String,
        args: Vec<String>,
        env: Vec<(String, String)>,
        log: PathBuf,
    ) -> Self {
        Self {
            user,
            name: format!("the operator of {name}"),
            args,
            env,
            log,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            running: None,
        }
    }

    /// Adds arguments and environment variables to those of the Deployment.
    pub fn add(
        &mut self,
        args: impl IntoIterator<Item = String>,
        env: impl IntoIterator<Item = (String, String)>,
    ) {
        self.args.extend(args);
        self.env.extend(env);
    }

    /// Starts the program, and waits until it says that it's ready.
    pub async fn start(&mut self) {
        self.spawn();
        let ready = find(PATIENCE, async || self.is_ready().await.then_some(())).await;
        assert!(
            ready.is_some(),
            "{} is not ready: {:?}\n{}",
            self.name,
            self.get("/readyz").await,
            self.log_tail()
        );
    }

    /// Starts the program, and waits for nothing.
    pub fn spawn(&mut self) {
        assert!(self.running.is_none(), "{} runs already", self.name);
        // Another port each time: nobody else can have taken it meanwhile.
        let address = format!("127.0.0.1:{}", free_port().unwrap());
        let mut command = GuardedProcess::command(&self.name, program().unwrap(), &self.log)
            // A proxy that is set for this machine is none of the operator's.
            .env_clear()
            .args(&self.args)
            .arg(format!("--listen={address}"));
        for (key, value) in &self.env {
            command = command.env(key, value);
        }
        self.running = Some(Running {
            process: command.spawn().unwrap(),
            url: format!("http://{address}"),
        });
    }

    /// Kills it, as a crash of its node would.
    pub fn kill(&mut self) {
        let mut running = self.running.take().expect("the operator runs");
        running.process.kill().unwrap();
    }

    /// Asks it to end (SIGTERM), waits until it has, and returns its exit code and how long that took.
    pub async fn terminate(&mut self) -> (i32, Duration) {
        let start = Instant::now();
        self.process().signal("TERM").unwrap();
        (self.exit_code().await, start.elapsed())
    }

    /// Waits until it has ended, and returns its exit code.
    pub async fn exit_code(&mut self) -> i32 {
        let mut running = self.running.take().expect("the operator runs");
        let code = tokio::time::timeout(PATIENCE, running.process.wait());
        code.await.expect("the operator ends").unwrap()
    }

    /// Its process: for signals, and to see whether it still runs.
    pub fn process(&mut self) -> &mut GuardedProcess {
        &mut self.running.as_mut().expect("the operator runs").process
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.running.as_ref().expect("the operator runs").url
    }

    /// Gets a path such as `/metrics`: the status, and the text.
    pub async fn get(&self, path: &str) -> reqwest::Result<(u16, String)> {
        let answer = self
            .http
            .get(format!("{}{path}", self.url()))
            .send()
            .await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    async fn is_ready(&self) -> bool {
        matches!(self.get("/readyz").await, Ok((200, _)))
    }

    /// Whether it has always ended its work before it ended itself.
    pub fn finished_in_time(&self) -> bool {
        !self.log().contains("some work did not end in time")
    }

    /// Everything it has printed, in all its lives.
    pub fn log(&self) -> String {
        read(&self.log)
    }

    /// Its last lines.
    pub fn log_tail(&self) -> String {
        tail(&self.log)
    }
}

pub(super) fn tail(log: &Path) -> String {
    let text = read(log);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}

fn read(log: &Path) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
