//! What can go wrong with a command. Each text says what happened, and what to do next.

use std::{io, path::PathBuf};

use crate::{
    cluster::{access::AccessError, errors::CallError},
    exit::Exit,
};

/// A command that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster cannot be asked: what says where it is, or who asks, cannot be used.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The API server did not do what it was asked.
    #[error(transparent)]
    Call(Box<CallError>),
    /// The command refuses, before anything was done.
    #[error("{what}\n  {next}")]
    Refused {
        /// What is in the way.
        what: String,
        /// What to do.
        next: String,
    },
    /// The command line does not fit what it names.
    #[error("{what}\n  {next}")]
    Usage {
        /// What does not fit.
        what: String,
        /// What to do.
        next: String,
    },
    /// A file cannot be read or written.
    #[error("{} cannot be {action}: {source}\n  Give another path, or correct its permissions.", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was to be done with it, such as `read`.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A question on the terminal was not answered.
    #[error(
        "no answer\n  Enter the command on a terminal, or give the answers as flags: --help names them."
    )]
    Unanswered,
    /// The HTTP client cannot be made.
    #[error(
        "no HTTP client can be made here\n  Look at the certificates of this machine, and at HTTPS_PROXY."
    )]
    HttpClient,
    /// An API did not answer.
    #[error(
        "{host} did not answer: {cause}\n  Look at the connection, at HTTPS_PROXY, and at the status of the service."
    )]
    NoAnswer {
        /// The host that was asked.
        host: String,
        /// What happened, out of a fixed list.
        cause: String,
    },
    /// What a command prints cannot be made or written.
    #[error("the output cannot be written: {0}\n  Look at where it goes.")]
    Output(#[from] io::Error),
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        Self::Call(Box::new(error))
    }
}

impl Error {
    /// A refusal: what is in the way, and what to do.
    pub fn refused(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::Refused {
            what: what.into(),
            next: next.into(),
        }
    }

    /// A command line that does not fit what it names: why, and what to do.
    pub fn usage(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::Usage {
            what: what.into(),
            next: next.into(),
        }
    }

    /// Whether nobody reads any longer what is written.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            _ if self.is_broken_pipe() => Exit::Well,
            Self::Usage { .. } => Exit::Usage,
            _ => Exit::Failed,
        }
    }
}
