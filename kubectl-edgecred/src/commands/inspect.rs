//! `inspect`: what is in the target, and whether it is as it should be. The token itself, or the key, is shown by `token` alone.

mod key;
mod report;
mod signature;
mod token;

use clap::Args;
use clap_complete::ArgValueCandidates;
use edge_credential_operator::http::origin::{Origin, SITECORE_API_ORIGINS};

use super::completion::object_names;
use crate::{
    cluster::access::Cluster, error::Error, exit::Exit, kind::Kind, name::Entered,
    output::format::FormatArgs,
};

/// The command line.
#[derive(Args, Debug)]
pub struct InspectArgs {
    /// NAME for an EdgeCredential, edgetoken/NAME for an EdgeToken.
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(object_names))]
    pub name: Entered,

    /// Check more: the signature of a token, with the keys that the token endpoint publishes; or a key, with the smallest query of the
    /// Delivery API.
    #[arg(long)]
    pub verify: bool,

    /// An origin that --verify may send a key to; give it several times for several. By default Sitecore's.
    #[arg(long = "allowed-api-origin", value_name = "ORIGIN", value_delimiter = ',', default_values = SITECORE_API_ORIGINS)]
    pub api_origins: Vec<Origin>,

    /// How to print.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// Shows what is in the target, and checks it.
pub async fn run(cluster: &Cluster, args: &InspectArgs) -> Result<Exit, Error> {
    let object = args.name.of_any_kind();
    let name = &object.name;
    match object.kind {
        Kind::EdgeCredential => token::inspect(cluster, name, args.verify)
            .await?
            .print(args.format),
        Kind::EdgeToken => {
            let origins = args.verify.then_some(&*args.api_origins);
            key::inspect(cluster, name, origins)
                .await?
                .print(args.format)
        }
    }
}
