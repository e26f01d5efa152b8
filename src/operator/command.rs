//! The commands of the program: `run`, `crd` and `check`.

use std::{error::Error, io, process::ExitCode, time::Duration};

use clap::Parser;
use kube::{Client, Config, CustomResourceExt};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
};

use super::flags::{Cli, Command, Settings};
use super::{check::check, error_chain::chain, run::run, telemetry};
use crate::{
    api::{EdgeCredential, EdgeToken},
    http::proxy::check_proxies,
};

/// How many threads work. There is little to compute, and each thread takes memory.
const WORKERS: usize = 2;

/// Parses the command line and carries the command out. What goes wrong is printed with all its causes.
pub fn execute() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Crd => print_definitions(),
        Command::Run(settings) => start(&settings),
        Command::Check { url, patience } => ask(&url, patience),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("edge-credential-operator: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn print_definitions() -> Result<(), Box<dyn Error>> {
    let edge_credentials = serde_saphyr::to_string(&EdgeCredential::crd())?;
    let edge_tokens = serde_saphyr::to_string(&EdgeToken::crd())?;
    print!("{edge_credentials}---\n{edge_tokens}");
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn ask(url: &str, patience: u16) -> Result<(), Box<dyn Error>> {
    Ok(check(url, Duration::from_secs(patience.into())).await?)
}

fn start(settings: &Settings) -> Result<(), Box<dyn Error>> {
    runtime()?.block_on(operate(settings))
}

/// The same whatever the node has.
fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
}

async fn operate(settings: &Settings) -> Result<(), Box<dyn Error>> {
    telemetry::start(settings.log_format);
    let mut terminate = signal(SignalKind::terminate())?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    check_proxies(|name| Some(std::env::var_os(name)?.to_string_lossy().into_owned()))?;
    let mut config = Config::infer().await?;
    // HTTPS_PROXY is for token endpoints: an API server is reached directly.
    config.proxy_url = None;
    run(Client::try_from(config)?, settings, shutdown).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What tokio takes for the number of cores is read from the environment, and so this test runs itself in a process of
    /// its own.
    #[test]
    fn there_are_two_worker_threads_whatever_the_node_has() {
        const CORES: &str = "TOKIO_WORKER_THREADS";
        if std::env::var_os(CORES).is_some() {
            assert_eq!(runtime().unwrap().metrics().num_workers(), 2);
            return;
        }
        let name = "operator::command::tests::there_are_two_worker_threads_whatever_the_node_has";
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env(CORES, "64")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}
