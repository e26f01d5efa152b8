//! Images for pods of tests, built without a registry.

use std::{fs, path::Path};

use super::{
    error::{Error, Result},
    needs,
    sandbox::command,
};

/// The image's name in the node.
pub const TOOLS: &str = "docker.io/library/kit-tools:1";

const NAME: &str = "docker.io/library/kit-tools";
const TAG: &str = "1";

/// busybox with names for what it can do. As the image of each pod's sandbox it only has to stay.
const CONTAINERFILE: &str = r#"FROM scratch
COPY busybox /bin/
COPY bin/ /bin/
USER 65532:65532
CMD ["/bin/sleep", "infinity"]
"#;

const APPLETS: [&str; 6] = ["cat", "cut", "sh", "sha256sum", "sleep", "wget"];

/// Builds an image with a shell and a few tools, and returns its name for [`Node::import`](super::Node::import).
/// Blocks, for a few seconds.
pub fn build_tools(folder: &Path, archive: &Path) -> Result<&'static str> {
    let context = folder.join("tools");
    let bin = context.join("bin");
    fs::create_dir_all(&bin).map_err(Error::file("create", &bin))?;
    let busybox = needs::busybox().ok_or_else(|| Error::Need("busybox is missing".to_owned()))?;
    let copy = context.join("busybox");
    fs::copy(&busybox, copy).map_err(Error::file("copy", busybox))?;
    for applet in APPLETS {
        let link = bin.join(applet);
        std::os::unix::fs::symlink("busybox", &link).map_err(Error::file("create", link))?;
    }
    let containerfile = context.join("Containerfile");
    fs::write(&containerfile, CONTAINERFILE).map_err(Error::file("write", &containerfile))?;
    let store = folder.join("store");
    command(
        "buildah",
        &[
            "--root",
            &store.to_string_lossy(),
            "--runroot",
            &store.join("run").to_string_lossy(),
            "--storage-driver=vfs",
            "build",
            "--tag",
            &format!("oci-archive:{}:{TAG}", archive.display()),
            &context.to_string_lossy(),
        ],
    )?;
    Ok(NAME)
}
