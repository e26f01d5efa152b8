//! The commands, a file for each.

pub mod call;
pub mod completion;
pub mod doctor;
pub mod end_overlap;
pub mod events;
pub mod explain;
pub mod init;
pub mod inspect;
pub mod renew;
pub mod rotate;
pub mod status;
pub mod suspend;
pub mod test;
pub mod token;
pub mod tree;
pub mod validate;

use clap::Args;
use clap_complete::ArgValueCandidates;
use edge_credential_operator::api::{EdgeCredential, EdgeToken};

use self::completion::object_names;
use crate::{
    cli::{Cli, Command},
    cluster::access::Cluster,
    error::Error,
    exit::Exit,
    kind::Object,
    name::{Entered, ObjectName},
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
        Command::Rotate(args) => rotate::run(&access.connect().await?, &args).await,
        Command::EndOverlap(args) => end_overlap::run(&access.connect().await?, &args).await,
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

/// Which objects of a namespace are meant.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub struct Selection {
    /// NAME for an EdgeCredential, edgetoken/NAME for an EdgeToken.
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(object_names))]
    pub names: Vec<Entered>,

    /// Those with these labels.
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub selector: Option<String>,

    /// All of the namespace.
    #[arg(long)]
    pub all: bool,
}

impl Selection {
    /// Those that are meant, of either kind; at least one.
    pub async fn of_any_kind(&self, cluster: &Cluster) -> Result<Vec<ObjectName>, Error> {
        if !self.names.is_empty() {
            return Ok(self.names.iter().map(Entered::of_any_kind).collect());
        }
        let (scope, selector) = (cluster.scope(false), self.selector.as_deref());
        let credentials = cluster.list::<EdgeCredential>(&scope, selector).await?;
        let keys = cluster
            .list_if_served::<EdgeToken>(&scope, selector)
            .await?;
        at_least_one(
            credentials.names().chain(keys.names()).collect(),
            "object",
            cluster,
        )
    }

    /// The names of those that are meant, of one kind; at least one.
    pub async fn of<K: Object>(&self, cluster: &Cluster) -> Result<Vec<String>, Error> {
        if !self.names.is_empty() {
            let names = self.names.iter().map(|name| name.of(K::KIND));
            return names.map(|name| name.map(Into::into)).collect();
        }
        let scope = cluster.scope(false);
        let found = cluster.list::<K>(&scope, self.selector.as_deref()).await?;
        let names = found.names().map(|name| name.name);
        at_least_one(names.collect(), K::KIND.as_str(), cluster)
    }
}

fn at_least_one<T>(names: Vec<T>, what: &str, cluster: &Cluster) -> Result<Vec<T>, Error> {
    if names.is_empty() {
        return Err(Error::refused(
            format!("no {what} in namespace \"{}\" is meant", cluster.namespace),
            "Look with `kubectl edgecred status -A`, and name the namespace with -n.",
        ));
    }
    Ok(names)
}
