//! The folder of one control plane: its data, keys, logs and kubeconfigs.
//!
//! It's removed once the control plane is gone, however this process ends, except when something failed, since then
//! somebody wants to read the logs. As with [`crate::process`], destructors are no help when a process is killed, and a
//! control plane shared by all tests of a process is in a static, which is never dropped. So a small shell does it: it
//! waits for the end of a pipe whose writing ends are held by this process and by the guards of the servers, and then
//! removes the folder.

use std::{
    fs,
    io::{self, PipeWriter},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use super::error::{Error, Result};
use crate::workspace;

/// A file of this name in the folder keeps it.
const KEEP: &str = "keep";

/// `$1` is the folder, `$2` the file that keeps it.
const CLEANER: &str = r#"
trap : HUP INT TERM
cat >/dev/null
[ -e "$1/$2" ] || rm -rf -- "$1"
"#;

/// A folder that goes with this value, or with this process.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// `None` once it's being dropped.
    lifeline: Option<PipeWriter>,
    cleaner: Child,
}

impl RunFolder {
    /// Makes a folder that only this user can read.
    pub fn create() -> Result<RunFolder> {
        let parent = workspace().join(".cache/run");
        fs::create_dir_all(&parent).map_err(Error::file("create", &parent))?;
        let parent = parent
            .canonicalize()
            .map_err(Error::file("find", &parent))?;
        RunFolder::create_in(&parent)
    }

    /// Makes one in this folder.
    pub(super) fn create_in(parent: &Path) -> Result<RunFolder> {
        let path = tempfile::Builder::new()
            .prefix("control-plane-")
            .tempdir_in(parent)
            .map_err(Error::file("create a folder in", parent))?
            .keep();
        let (reader, lifeline) = io::pipe().map_err(Error::file("watch", &path))?;
        let cleaner = Command::new("/bin/sh")
            .args(["-c", CLEANER, "cleaner"])
            .arg(&path)
            .arg(KEEP)
            .stdin(reader)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Out of the reach of Ctrl-C in a terminal.
            .process_group(0)
            .spawn()
            .map_err(Error::file("watch", &path))?;
        Ok(RunFolder {
            path,
            lifeline: Some(lifeline),
            cleaner,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file that only this user can read: the folder lets nobody else in.
    pub(super) fn write(&self, name: &str, content: &str) -> Result<PathBuf> {
        let path = self.join(name);
        fs::write(&path, content).map_err(Error::file("write", &path))?;
        Ok(path)
    }

    /// The folder stays until every copy of this is closed.
    pub(super) fn lifeline(&self) -> Result<Option<PipeWriter>> {
        self.lifeline
            .as_ref()
            .map(|lifeline| {
                lifeline
                    .try_clone()
                    .map_err(Error::file("watch", &self.path))
            })
            .transpose()
    }

    /// Lets the folder stay for good.
    pub fn keep(&self) {
        keep(&self.path);
    }
}

/// Lets the folder at `path` stay for good.
pub(super) fn keep(path: &Path) {
    // If even this fails, the logs are lost, which is no reason to hide the failure that they are about.
    let _ = fs::write(path.join(KEEP), "");
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        if thread::panicking() {
            self.keep();
        }
        if self.join(KEEP).exists() {
            eprintln!("kept for a look at the logs: {}", self.path.display());
        }
        drop(self.lifeline.take());
        let _ = self.cleaner.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_folder_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        let folder = RunFolder::create_in(parent.path()).unwrap();
        folder.write("file", "content").unwrap();
        drop(folder);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_kept_folder_stays() {
        let parent = tempfile::tempdir().unwrap();
        let folder = RunFolder::create_in(parent.path()).unwrap();
        let file = folder.write("file", "content").unwrap();
        folder.keep();
        drop(folder);
        assert!(file.exists());
    }

    #[test]
    fn a_panic_keeps_the_folder() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().to_owned();
        let result = thread::spawn(move || {
            let _folder = RunFolder::create_in(&path).unwrap();
            panic!("this panic is part of the test");
        })
        .join();
        assert!(result.is_err());
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    }
}
