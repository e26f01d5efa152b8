//! `token`: the token or the key itself, for `$(…)`.

use std::io::{IsTerminal, Write};

use clap::Args;
use clap_complete::ArgValueCandidates;
use secrecy::ExposeSecret;

use super::completion::object_names;
use crate::{
    cluster::access::Cluster,
    error::Error,
    exit::Exit,
    kind::Kind,
    name::Entered,
    stored::{usable_key, valid_token},
};

/// The command line.
#[derive(Args, Debug)]
pub struct TokenArgs {
    /// NAME for the token of an EdgeCredential, edgetoken/NAME for the key of an EdgeToken.
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(object_names))]
    pub name: Entered,

    /// Print it on a terminal too, where it stays on the screen and in its history.
    #[arg(long)]
    pub show_token: bool,
}

/// Prints it: to a pipe, or where it was asked for.
pub async fn run(cluster: &Cluster, args: &TokenArgs) -> Result<Exit, Error> {
    if std::io::stdout().is_terminal() && !args.show_token {
        return Err(Error::refused(
            "the token would stay on the screen",
            "Use it as $(kubectl edgecred token NAME), or call an API with `kubectl edgecred call`. --show-token prints it all the same.",
        ));
    }
    let object = args.name.of_any_kind();
    let secret = match object.kind {
        Kind::EdgeCredential => {
            valid_token(cluster, &object.name)
                .await?
                .1
                .token
                .access_token
        }
        Kind::EdgeToken => usable_key(cluster, &object.name).await?.1,
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", secret.expose_secret())?;
    Ok(Exit::Well)
}
