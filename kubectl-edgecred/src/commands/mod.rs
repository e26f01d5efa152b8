//! The commands, a file for each.

pub mod call;
pub mod completion;
pub mod doctor;
pub mod events;
pub mod explain;
pub mod init;
pub mod inspect;
pub mod renew;
pub mod status;
pub mod suspend;
pub mod test;
pub mod token;
pub mod tree;
pub mod validate;

use clap::Args;
use clap_complete::ArgValueCandidates;

use self::completion::object_names;
use crate::{
    cli::{Cli, Command},
    cluster::{access::Cluster, objects::Scope},
    error::Error,
    exit::Exit,
};

/// Carries a command out.
pub async fn carry_out(cli: Cli) -> Result<Exit, Error> {
    let access = &cli.access;
    match cli.command {
        Command::Status(args) => status::run(&access.connect().await?, &args).await,
        Command::Tree(args) => tree::run(&access.connect().await?, &args).await,
        Command::Inspect(args) => inspect::run(&access.connect().await?, &args).await,
        Command::Events(args) => events::run(&access.connect().await?, &args).await,
        Command::Renew(args) => renew::run(&access.connect().await?, &args).await,
        Command::Suspend(args) => suspend::suspend(&access.connect().await?, &args).await,
        Command::Resume(args) => suspend::resume(&access.connect().await?, &args).await,
        Command::Call(args) => call::run(&access.connect().await?, &args).await,
        Command::Token(args) => token::run(&access.connect().await?, &args).await,
        Command::Test(args) => test::run(access, &args).await,
        Command::Validate(args) => validate::run(access, &args),
        Command::Init(args) => init::run(&access.connect().await?, &args).await,
        Command::Explain(args) => explain::run(&args),
        Command::Doctor(args) => doctor::run(&access.connect().await?, &args).await,
        Command::Completion(args) => completion::run(&args),
        Command::Complete(args) => completion::complete_words(args),
    }
}

/// Which EdgeCredentials of a namespace are meant.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub struct Selection {
    /// The EdgeCredentials.
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(object_names))]
    pub names: Vec<String>,

    /// Those with these labels.
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub selector: Option<String>,

    /// All of the namespace.
    #[arg(long)]
    pub all: bool,
}

impl Selection {
    /// The names of those that are meant, at least one.
    pub async fn resolve(&self, cluster: &Cluster) -> Result<Vec<String>, Error> {
        if !self.names.is_empty() {
            return Ok(self.names.clone());
        }
        let scope = Scope::Namespace(cluster.namespace.clone());
        let found = cluster
            .edge_credentials(&scope, self.selector.as_deref())
            .await?;
        let names = found
            .objects
            .into_iter()
            .filter_map(|object| object.metadata.name);
        let names: Vec<_> = names.collect();
        if names.is_empty() {
            return Err(Error::refused(
                format!(
                    "no EdgeCredential in namespace \"{}\" is meant",
                    cluster.namespace
                ),
                "Look with `kubectl edgecred status -A`, and name the namespace with -n.",
            ));
        }
        Ok(names)
    }
}
