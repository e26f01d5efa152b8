//! The operator as a process, which can be killed and started again.

use std::{
    env, fs, io,
    path::PathBuf,
    time::{Duration, Instant},
};

use reqwest::Client;

use crate::{
    control_plane::{self, free_port},
    process::{self, GuardedProcess},
};

/// How long it may take until it's ready: many times what it needs, beside many others that start.
const START_TIMEOUT: Duration = Duration::from_secs(180);

const POLL: Duration = Duration::from_millis(20);

/// What can go wrong with the operator's process.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder of this program is not known.
    #[error("cannot tell where this program is")]
    Place(#[source] io::Error),
    /// The operator has not been built.
    #[error("{} is missing: run `cargo build --bin edge-credential-operator`", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// No port for its probes.
    #[error(transparent)]
    Port(#[from] control_plane::Error),
    /// The process could not be handled.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// It ended before it was ready.
    #[error("the operator ended with exit code {code}")]
    Ended {
        /// Its exit code.
        code: i32,
    },
    /// It was not ready in time.
    #[error("the operator is not ready after {seconds} s")]
    NotReady {
        /// How long it had.
        seconds: u64,
    },
    /// It was to be killed and does not run.
    #[error("the operator does not run")]
    NotRunning,
}

/// The result of anything done with the operator.
pub type Result<T> = std::result::Result<T, Error>;

/// How to start it, and the process while it runs. Killed when dropped.
#[derive(Debug)]
pub struct Operator {
    program: PathBuf,
    kubeconfig: PathBuf,
    origin: String,
    args: Vec<String>,
    envs: Vec<(String, String)>,
    log: PathBuf,
    http: Client,
    process: Option<GuardedProcess>,
}

/// The operator, where cargo says its tests and benchmarks find it, or beside this program, or, for the tests of another package,
/// where cargo puts programs.
pub fn program() -> Result<PathBuf> {
    if let Some(path) = env::var_os("CARGO_BIN_EXE_edge-credential-operator") {
        return Ok(path.into());
    }
    let this = env::current_exe().map_err(Error::Place)?;
    let mut folders = this.ancestors().skip(1).take(2);
    let path = this.with_file_name("edge-credential-operator");
    folders
        .find_map(|folder| {
            Some(folder.join("edge-credential-operator")).filter(|path| path.is_file())
        })
        .ok_or(Error::Missing { path })
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
            args: Vec::new(),
            envs: Vec::new(),
            log,
            http,
            process: None,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Operator {
        self.args.push(arg.into());
        self
    }

    /// Sets an environment variable: it inherits none.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl Into<String>) -> Operator {
        self.envs.push((key.to_owned(), value.into()));
        self
    }

    /// Starts it and waits until it's ready. Returns how long that took.
    pub async fn start(&mut self) -> Result<Duration> {
        let start = Instant::now();
        let listen = format!("127.0.0.1:{}", free_port()?);
        let mut command = GuardedProcess::command("the operator", &self.program, &self.log)
            .arg("run")
            .args(["--allowed-token-origin", &self.origin])
            .args(["--listen", &listen])
            .args(&self.args)
            // As in a pod: nothing of the user's environment, such as a proxy, takes part.
            .env_clear()
            .env("KUBECONFIG", &self.kubeconfig);
        for (key, value) in &self.envs {
            command = command.env(key, value);
        }
        let process = self.process.insert(command.spawn()?);
        let ready = format!("http://{listen}/readyz");
        while start.elapsed() < START_TIMEOUT {
            if let Some(code) = process.try_wait()? {
                return Err(Error::Ended { code });
            }
            let answer = self.http.get(&ready).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(start.elapsed());
            }
            tokio::time::sleep(POLL).await;
        }
        let seconds = START_TIMEOUT.as_secs();
        Err(Error::NotReady { seconds })
    }

    /// Kills it with SIGKILL, so that it can finish nothing. Returns its process id.
    pub fn kill(&mut self) -> Result<u32> {
        let mut process = self.process.take().ok_or(Error::NotRunning)?;
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
