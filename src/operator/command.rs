//! The commands of the program: `run`, `crd` and `check`.

use std::{error::Error, process::ExitCode, time::Duration};

use clap::Parser;
use kube::{Client, Config, CustomResourceExt};
use tokio::signal::unix::{SignalKind, signal};

use super::{check::check, error_chain::chain, run::run, telemetry};
use crate::{
    api::EdgeCredential,
    config::{Cli, Command, Settings},
    oauth::proxy::check_proxies,
};

/// Parses the command line and carries the command out. What goes wrong is printed with all its causes.
pub fn execute() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Crd => print_crd(),
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

fn print_crd() -> Result<(), Box<dyn Error>> {
    print!("{}", serde_saphyr::to_string(&EdgeCredential::crd())?);
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn ask(url: &str, patience: u16) -> Result<(), Box<dyn Error>> {
    Ok(check(url, Duration::from_secs(patience.into())).await?)
}

#[tokio::main]
async fn start(settings: &Settings) -> Result<(), Box<dyn Error>> {
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
