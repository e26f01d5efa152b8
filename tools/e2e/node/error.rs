//! What can go wrong with a node: one variant for each action that can fail.

use std::{io, path::PathBuf};

use kit::{control_plane, process};

/// The result of an action on a node.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with a node.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something is missing that a node needs.
    #[error("a real node can't run here: {0}")]
    Need(String),
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
    /// A program could not be started.
    #[error("cannot run {program}")]
    Run {
        /// The program.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// A program failed.
    #[error("`{command}` failed: {stderr}")]
    Failed {
        /// The program and its arguments.
        command: String,
        /// What it said.
        stderr: String,
    },
    /// The control plane failed.
    #[error(transparent)]
    ControlPlane(#[from] control_plane::Error),
    /// A child process could not be handled.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// A process of the node ended by itself.
    #[error("{name} ended with exit code {code}; the end of its log:\n{tail}")]
    Ended {
        /// The process.
        name: String,
        /// Its exit code.
        code: i32,
        /// The last lines of its log.
        tail: String,
    },
    /// Something was not ready in time.
    #[error("{what} is not ready after {seconds} s; the end of the log:\n{tail}")]
    NotReady {
        /// What.
        what: &'static str,
        /// How long it had.
        seconds: u64,
        /// The last lines of the log.
        tail: String,
    },
}

impl Error {
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
