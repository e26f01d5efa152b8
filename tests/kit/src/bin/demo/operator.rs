//! The operator as a process, which can be killed and started again.

use std::{
    env, fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use kit::{control_plane::free_port, process::GuardedProcess};
use reqwest::Client;

use crate::Result;

/// How long it may take until it's ready: many times what it needs.
const START_TIMEOUT: Duration = Duration::from_secs(30);

const POLL: Duration = Duration::from_millis(20);

/// How to start it, and the process while it runs.
pub struct Operator {
    program: PathBuf,
    kubeconfig: PathBuf,
    origin: String,
    log: PathBuf,
    http: Client,
    process: Option<GuardedProcess>,
}

/// Where cargo puts the operator: beside this program.
pub fn program() -> Result<PathBuf> {
    let program = env::current_exe()?.with_file_name("edge-credential-operator");
    if program.is_file() {
        return Ok(program);
    }
    Err(format!(
        "{} is missing: run `make demo`, which builds it, or `cargo build --bin edge-credential-operator`",
        program.display()
    )
    .into())
}

impl Operator {
    /// An operator with the rights of this kubeconfig, which may send client secrets to this origin. It's not running yet.
    pub fn new(
        program: PathBuf,
        kubeconfig: PathBuf,
        origin: &str,
        log: PathBuf,
        http: Client,
    ) -> Operator {
        Operator {
            program,
            kubeconfig,
            origin: origin.to_owned(),
            log,
            http,
            process: None,
        }
    }

    /// Starts it and waits until it's ready. Returns how long that took.
    pub async fn start(&mut self) -> Result<Duration> {
        let start = Instant::now();
        let listen = format!("127.0.0.1:{}", free_port()?);
        let process = GuardedProcess::command("the operator", &self.program, &self.log)
            .arg("run")
            .args(["--allowed-token-origin", &self.origin])
            .args(["--listen", &listen])
            // As in a pod: nothing of the user's environment, such as a proxy, takes part.
            .env_clear()
            .env("KUBECONFIG", &self.kubeconfig)
            .spawn()?;
        let process = self.process.insert(process);
        let ready = format!("http://{listen}/readyz");
        while start.elapsed() < START_TIMEOUT {
            if let Some(code) = process.try_wait()? {
                return Err(format!("the operator ended with exit code {code}").into());
            }
            let answer = self.http.get(&ready).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(start.elapsed());
            }
            tokio::time::sleep(POLL).await;
        }
        let seconds = START_TIMEOUT.as_secs();
        Err(format!("the operator is not ready after {seconds} s").into())
    }

    /// Kills it with SIGKILL, so that it can finish nothing. Returns its process id.
    pub fn kill(&mut self) -> Result<u32> {
        let mut process = self.process.take().ok_or("the operator does not run")?;
        process.kill()?;
        Ok(process.pid())
    }

    /// Its process id.
    pub fn pid(&self) -> Option<u32> {
        Some(self.process.as_ref()?.pid())
    }

    /// Its exit code, if it has ended by itself.
    pub fn ended(&mut self) -> Option<i32> {
        self.process.as_mut()?.try_wait().ok()?
    }

    /// The last lines of its log, from all its lives.
    pub fn log_tail(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}
