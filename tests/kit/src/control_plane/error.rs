//! What can go wrong with a control plane: one variant for each action that can fail.

use std::{fmt, io, path::PathBuf};

use edge_credential_operator::operator::error_chain::chain;

use crate::{process, programs};

/// The result of an action on a control plane.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with a control plane.
///
/// `Debug` prints the messages of the error and its causes, since that's what a test that fails on `unwrap` or `?` shows.
#[derive(thiserror::Error)]
pub enum Error {
    /// A program was not found and could not be built.
    #[error(transparent)]
    Programs(#[from] programs::Error),
    /// A file or folder could not be written or read.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was to be done.
        action: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The runtime was shut down while the programs were looked for or built.
    #[error("interrupted")]
    Interrupted(#[from] tokio::task::JoinError),
    /// No free port was found.
    #[error("no free port on 127.0.0.1")]
    NoPort,
    /// A certificate could not be made.
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// A child process failed.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// A server ended before it was ready.
    #[error("{server} ended with exit code {code} before it was ready; the end of {}:\n{tail}", log.display())]
    Ended {
        /// The server.
        server: String,
        /// Its exit code.
        code: i32,
        /// The file with everything it printed.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// A server was not ready in time.
    #[error("{server} is not ready after {seconds} s; the end of {}:\n{tail}", log.display())]
    NotReady {
        /// The server.
        server: String,
        /// How long it had.
        seconds: u64,
        /// The file with everything it printed.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// A server was to be stopped, paused or resumed that does not run.
    #[error("{server} does not run")]
    NotRunning {
        /// The server.
        server: &'static str,
    },
    /// A server was to be started that runs.
    #[error("{server} runs already")]
    Running {
        /// The server.
        server: &'static str,
    },
    /// The control plane did not start. Its folder was kept.
    #[error("the local control plane did not start; its logs are in {}", folder.display())]
    Start {
        /// The folder with the logs.
        folder: PathBuf,
        /// Why it did not.
        source: Box<Error>,
    },
    /// A kubeconfig could not be used.
    #[error("cannot use {}", path.display())]
    Kubeconfig {
        /// The kubeconfig.
        path: PathBuf,
        /// Why not.
        source: kube::config::KubeconfigError,
    },
    /// The API server refused a request, or did not answer.
    #[error("cannot {action}")]
    Api {
        /// What was to be done.
        action: String,
        /// Why not.
        source: Box<kube::Error>,
    },
    /// etcd refused a request, or did not answer.
    #[error("cannot {action} in etcd")]
    Etcd {
        /// What was to be done.
        action: String,
        /// Why not.
        source: reqwest::Error,
    },
    /// A command line tool could not be started.
    #[error("cannot run {tool}")]
    RunTool {
        /// The tool.
        tool: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A command line tool failed.
    #[error("`{command}` failed: {stderr}")]
    Tool {
        /// The tool and its arguments.
        command: String,
        /// What it said.
        stderr: String,
    },
    /// A line of the audit log is not an audit event.
    #[error("cannot read line {line} of the audit log")]
    Audit {
        /// The line's number, from 1.
        line: usize,
        /// Why not.
        source: serde_json::Error,
    },
}

impl Error {
    /// Whether a server found its port taken.
    pub(super) fn is_port_taken(&self) -> bool {
        matches!(self, Error::Ended { tail, .. } if tail.contains("address already in use"))
    }

    /// For `map_err` on anything done with a file.
    pub(super) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::File {
            action,
            path,
            source,
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&chain(self))
    }
}
