//! What a kubelet does for a mounted Secret, since the control plane has no node and hence no kubelet.
//!
//! As a kubelet does it: each version of the Secret gets a folder of its own, and one rename of the symbolic link `..data`
//! swaps all files at once; when the Secret is deleted, the files stay. Unlike a kubelet, which takes up to a minute and a
//! half, it's done at once: tokens that live 30 seconds would not survive the wait.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use futures::{StreamExt, pin_mut};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api,
    runtime::{WatchStreamExt, watcher::watch_object},
};
use tokio::sync::watch;

/// The link that all files go through. The kubelet's names, so that what reads a mounted Secret finds what it expects.
const DATA: &str = "..data";
const NEW_DATA: &str = "..data_tmp";

/// The key that holds the token.
pub const TOKEN_KEY: &str = "access_token";

/// What was seen of the Secret.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The Secret's uid, while it exists. A Secret that was deleted and made again has another one.
    pub uid: Option<String>,
    /// The token it held last.
    pub token: Option<String>,
    /// How many tokens it has held so far, one after the other.
    pub tokens: u64,
}

/// A Secret in a folder.
pub struct Volume {
    folder: PathBuf,
    seen: watch::Sender<Seen>,
}

impl Volume {
    /// A volume that will be mounted at `folder`. Nothing is there yet: a pod waits for its Secrets.
    pub fn new(folder: impl Into<PathBuf>) -> Volume {
        Volume {
            folder: folder.into(),
            seen: watch::Sender::default(),
        }
    }

    /// Where it is mounted.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Follows what is seen.
    pub fn follow(&self) -> watch::Receiver<Seen> {
        self.seen.subscribe()
    }

    /// Follows the Secret for good. Returns only where a file cannot be written.
    pub async fn run(&self, secrets: Api<Secret>, name: &str) -> io::Error {
        let changes = watch_object(secrets, name).default_backoff();
        pin_mut!(changes);
        loop {
            // A watch that breaks is begun anew, so an error is no reason to stop.
            let Some(Ok(secret)) = changes.next().await else {
                continue;
            };
            let Some(secret) = secret else {
                self.seen.send_modify(|seen| seen.uid = None);
                continue;
            };
            let data = secret.data.unwrap_or_default();
            if let Err(error) = self.write(&data) {
                return error;
            }
            self.saw(secret.metadata.uid, &data);
        }
    }

    fn saw(&self, uid: Option<String>, data: &BTreeMap<String, ByteString>) {
        let token = data
            .get(TOKEN_KEY)
            .map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned());
        self.seen.send_modify(|seen| {
            seen.uid = uid;
            if token.is_some() && seen.token != token {
                seen.token = token;
                seen.tokens += 1;
            }
        });
    }

    fn write(&self, data: &BTreeMap<String, ByteString>) -> io::Result<()> {
        if self.holds(data) {
            return Ok(());
        }
        let since_1970 = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let version = format!("..{}", since_1970.as_nanos());
        let folder = self.folder.join(&version);
        fs::create_dir_all(&folder)?;
        for (key, value) in data {
            fs::write(folder.join(key), &value.0)?;
        }
        let old = fs::read_link(self.folder.join(DATA)).ok();
        let new = self.folder.join(NEW_DATA);
        let _ = fs::remove_file(&new);
        symlink(&version, &new)?;
        fs::rename(&new, self.folder.join(DATA))?;
        for key in data.keys() {
            let file = self.folder.join(key);
            if file.symlink_metadata().is_err() {
                symlink(Path::new(DATA).join(key), file)?;
            }
        }
        if let Some(old) = old {
            fs::remove_dir_all(self.folder.join(old))?;
        }
        Ok(())
    }

    fn holds(&self, data: &BTreeMap<String, ByteString>) -> bool {
        !data.is_empty()
            && data.iter().all(|(key, value)| {
                fs::read(self.folder.join(key)).is_ok_and(|content| content == value.0)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(token: &str) -> BTreeMap<String, ByteString> {
        [(TOKEN_KEY.to_owned(), ByteString(token.into()))].into()
    }

    #[test]
    fn a_new_version_replaces_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let volume = Volume::new(folder.path());
        for token in ["one", "two", "two"] {
            volume.write(&data(token)).unwrap();
            let file = fs::read_to_string(folder.path().join(TOKEN_KEY)).unwrap();
            assert_eq!(file, token);
        }
        // The link to the file, ..data, and the folder that it leads to.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn the_same_token_in_another_secret_is_no_new_token() {
        let volume = Volume::new("unused");
        volume.saw(Some("a".to_owned()), &data("one"));
        volume.saw(Some("b".to_owned()), &data("one"));
        volume.saw(Some("b".to_owned()), &data("two"));
        let seen = volume.follow().borrow().clone();
        assert_eq!((seen.uid.as_deref(), seen.tokens), (Some("b"), 2));
    }
}
