//! Shows the whole way as users have it: the operator's image, installed by its Helm chart, run by a real kubelet with
//! containerd under the restricted Pod Security Standard, with network policies enforced; and a workload that mounts the
//! target Secret, and is never refused while tokens are renewed. All of it with dual stack, and again with IPv6 only.
//!
//! It tells a time line and ends with a summary; the exit code is 0 only if all went well. It takes root on Linux, and
//! says so where it can't run. However it ends, nothing of it is left, except its logs after a failure.

mod node;
mod operator;
mod policy;
mod scene;
mod story;
mod workload;

use std::{env, error::Error, path::Path, process::ExitCode, thread};

use edge_credential_operator::operator::error_chain::chain;
use futures::{FutureExt, future::BoxFuture, future::Shared};
use kit::{
    programs::{Binaries, NodeBinaries},
    signals::{self, INTERRUPTED},
    time_line::{Mark, TimeLine},
};
use tokio::{runtime::Runtime, sync::oneshot};

use self::{
    node::{
        needs,
        network::Network,
        sandbox::{self, Sandbox},
    },
    scene::Scene,
    story::Story,
};

/// The result of anything here. What went wrong is only ever shown to a person.
type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// Completes when it's to end.
type Stop = Shared<BoxFuture<'static, ()>>;

/// What `make image` makes.
const IMAGE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../target/image/edge-credential-operator.tar"
);

fn main() -> ExitCode {
    let result = match sandbox::enter() {
        Ok(Some(sandbox)) => inside(&sandbox),
        Ok(None) => outside(),
        Err(error) => Err(error.into()),
    };
    result.unwrap_or_else(|error| {
        eprintln!("e2e: {}", chain(error.as_ref()));
        ExitCode::FAILURE
    })
}

/// Sees that everything is there, and starts this program again in a sandbox, once for each network. An argument names one
/// that is to be the only one. With the argument `check`, it only looks for what the machine has to have: `make e2e` does
/// that before it builds the image.
fn outside() -> Result<ExitCode> {
    let networks = match env::args().nth(1).as_deref() {
        None => Network::ALL.to_vec(),
        Some("check") => Vec::new(),
        Some(name) => {
            vec![Network::named(name).ok_or("the argument must be check, dual-stack or ipv6")?]
        }
    };
    needs::check()?;
    if networks.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    if !Path::new(IMAGE).is_file() {
        return Err(format!("{IMAGE} is missing: run `make image`").into());
    }
    // In the sandbox there's no network to build them.
    Binaries::locate()?;
    NodeBinaries::locate()?;
    let runtime = Runtime::new()?;
    for network in networks {
        println!("Network: {}", network.title());
        let status = runtime.block_on(async {
            Ok::<_, Box<dyn Error + Send + Sync>>(sandbox::run(network, signals::stop()?).await?)
        })?;
        println!("No process, mount, address or control group of it is left.");
        if !status.success() {
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            return Ok(code.map_or(ExitCode::FAILURE, ExitCode::from));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn inside(sandbox: &Sandbox) -> Result<ExitCode> {
    let line = TimeLine::start();
    let runtime = Runtime::new()?;
    let code = match runtime.block_on(e2e(&line, sandbox)) {
        Ok(code) => code,
        Err(error) => {
            line.say(Mark::Bad, "Failed", &chain(error.as_ref()));
            ExitCode::FAILURE
        }
    };
    // Does not wait for what was interrupted.
    runtime.shutdown_background();
    Ok(code)
}

/// Everything that it starts ends with it.
async fn e2e(line: &TimeLine, sandbox: &Sandbox) -> Result<ExitCode> {
    let stop = stop()?;
    let mut scene = tokio::select! {
        scene = Scene::set_up(line, sandbox) => scene?,
        () = stop.clone() => return Ok(interrupted(line)),
    };
    let good = tokio::select! {
        good = Story::new(line, &mut scene).run() => good,
        () = stop => return Ok(interrupted(line)),
    };
    if good {
        return Ok(ExitCode::SUCCESS);
    }
    scene.node.control_plane.keep_folder();
    Ok(ExitCode::FAILURE)
}

fn interrupted(line: &TimeLine) -> ExitCode {
    line.say(Mark::Bad, "Interrupted", "before the end");
    ExitCode::from(INTERRUPTED)
}

/// Completes at a signal, or when the program outside wants the end or is gone.
fn stop() -> Result<Stop> {
    let (gone, is_gone) = oneshot::channel();
    thread::Builder::new()
        .name("outside".to_owned())
        .spawn(move || {
            sandbox::wait_for_end();
            // Nobody may be waiting any more.
            let _ = gone.send(());
        })?;
    let signals = signals::stop()?;
    let stop = async move {
        tokio::select! {
            () = signals => {}
            _ = is_gone => {}
        }
    };
    Ok(stop.boxed().shared())
}
