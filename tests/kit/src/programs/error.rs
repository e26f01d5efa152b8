//! What can go wrong with finding and building programs.

use std::{fmt, io, path::PathBuf};

use edge_credential_operator::operator::error_chain::chain;

/// The result of looking for programs.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with finding and building programs.
///
/// `Debug` prints the messages of the error and its causes, since that's what a test that fails on `unwrap` or `?` shows.
#[derive(thiserror::Error)]
pub enum Error {
    /// `KUBEBUILDER_ASSETS` names a folder without a program that it must have.
    #[error(
        "KUBEBUILDER_ASSETS is set, but {} does not exist; \
         it must be a folder with etcd, kube-apiserver and kubectl, or not be set", path.display()
    )]
    MissingAsset {
        /// Where the program should be.
        path: PathBuf,
    },
    /// Programs have to be built, and there is no Go to build them with.
    #[error(
        "the local control plane and its tests need {programs}, and building takes Go, which is not installed: \
         install Go 1.26 or later, or set KUBEBUILDER_ASSETS to a folder with these and \
         etcd, kube-apiserver and kubectl"
    )]
    NoGo {
        /// The programs that are missing.
        programs: String,
    },
    /// Go could not be started.
    #[error("cannot run Go")]
    RunGo(#[source] io::Error),
    /// Go could not build a program.
    #[error("cannot build {program} with Go; the end of {}:\n{tail}", log.display())]
    Build {
        /// The program.
        program: &'static str,
        /// The file with all of Go's output.
        log: PathBuf,
        /// Its last lines.
        tail: String,
    },
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

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&chain(self))
    }
}
