//! Builds the programs of the local control plane and of its tests, or runs one until Ctrl-C.

use std::{process::ExitCode, time::Instant};

use clap::{Parser, Subcommand};
use kit::{
    control_plane::{ControlPlane, Error},
    programs::{Binaries, locate_kstatus},
    signals,
};

/// A local Kubernetes control plane: etcd, kube-apiserver, kube-controller-manager, kubectl and helm. Its tests use kstatus
/// too.
///
/// The programs are taken from the folder in KUBEBUILDER_ASSETS, else from the project's cache, else they are built with
/// Go.
#[derive(Parser)]
#[command(name = "controlplane")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Find the programs, build those that are missing, and print where they are.
    Build,
    /// Run a control plane until Ctrl-C, and print how to reach it.
    Run,
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Build => build(),
        Command::Run => run().await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:?}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), Error> {
    let binaries = Binaries::locate()?;
    let kstatus = locate_kstatus()?;
    for path in [
        binaries.etcd,
        binaries.kube_apiserver,
        binaries.kube_controller_manager,
        binaries.kubectl,
        binaries.helm,
        kstatus,
    ] {
        println!("{}", path.display());
    }
    Ok(())
}

async fn run() -> Result<(), Error> {
    let stop = signals::stop().expect("SIGINT and SIGTERM can be caught");
    tokio::pin!(stop);

    let start = Instant::now();
    let control_plane = tokio::select! {
        result = ControlPlane::start() => result?,
        () = &mut stop => return Ok(()),
    };
    println!(
        "export KUBECONFIG={}",
        control_plane.admin_kubeconfig().display()
    );
    println!("# kubectl: {}", control_plane.binaries().kubectl.display());
    println!("# logs: {}", control_plane.folder().join("logs").display());
    println!(
        "# ready after {:.1} s; stop it with Ctrl-C",
        start.elapsed().as_secs_f64()
    );
    stop.await;
    Ok(())
}
