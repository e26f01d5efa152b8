//! One control plane for all tests of a process.

use std::panic;

use tokio::sync::OnceCell;

use super::{ControlPlane, Error, run_folder};

/// The control plane that all tests of this process share, started by the first that asks for it.
///
/// It's gone when the process ends, its folder too, unless a test panicked: then the folder stays and its path is
/// printed. (A test that expects a panic keeps it as well; there is no telling the two apart.)
///
/// Tests run side by side, each with a runtime of its own, so:
///
/// - make a client in each test, with [`ControlPlane::admin_client`];
/// - use a namespace of your own in each test;
/// - stop, pause or restart only the servers of a control plane of your own.
///
/// If it cannot be started, every test is told why, and none tries again.
pub async fn shared() -> Result<&'static ControlPlane, &'static Error> {
    static SHARED: OnceCell<Result<ControlPlane, Error>> = OnceCell::const_new();
    SHARED
        .get_or_init(|| async {
            let control_plane = ControlPlane::start().await?;
            keep_on_panic(&control_plane);
            Ok(control_plane)
        })
        .await
        .as_ref()
}

/// A static is never dropped, so nothing but the panic itself tells that a test failed.
fn keep_on_panic(control_plane: &ControlPlane) {
    let folder = control_plane.folder().to_owned();
    let previous = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        run_folder::keep(&folder);
        previous(info);
        eprintln!("kept for a look at the logs: {}", folder.display());
    }));
}
