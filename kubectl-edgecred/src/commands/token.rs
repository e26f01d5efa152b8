//! `token`: the token itself, for `$(…)`.

use std::io::{IsTerminal, Write};

use clap::Args;
use clap_complete::ArgValueCandidates;
use secrecy::ExposeSecret;

use super::completion::object_names;
use crate::{cluster::access::Cluster, error::Error, exit::Exit, stored::valid_token};

/// The command line.
#[derive(Args, Debug)]
pub struct TokenArgs {
    /// The EdgeCredential.
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(object_names))]
    pub name: String,

    /// Print it on a terminal too, where it stays on the screen and in its history.
    #[arg(long)]
    pub show_token: bool,
}

/// Prints the token: to a pipe, or where it was asked for.
pub async fn run(cluster: &Cluster, args: &TokenArgs) -> Result<Exit, Error> {
    if std::io::stdout().is_terminal() && !args.show_token {
        return Err(Error::refused(
            "the token would stay on the screen",
            "Use it as $(kubectl edgecred token NAME), or call an API with `kubectl edgecred call`. --show-token prints it all the same.",
        ));
    }
    let (_, proven) = valid_token(cluster, &args.name).await?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", proven.token.access_token.expose_secret())?;
    Ok(Exit::Well)
}
