//! The command line, and the environment in its place.

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use k8s_openapi::jiff::SignedDuration;

use super::lease::timings::{LEASE_DURATION, RENEW_DEADLINE, RETRY_PERIOD};
use crate::{
    cluster::calls::CONCURRENCY,
    http::origin::{Origin, SITECORE_API_ORIGINS, SITECORE_ORIGINS},
};

/// Keeps Sitecore Experience Edge tokens valid in Kubernetes Secrets.
#[derive(Parser, Debug)]
#[command(name = "edge-credential-operator", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Watch EdgeCredentials and EdgeTokens and keep what they ask for, until SIGTERM or Ctrl-C.
    Run(Box<Settings>),
    /// Print the CustomResourceDefinitions in YAML.
    Crd,
    /// Ask a running operator whether it serves the cluster: exit code 0 if it does. `helm test` does this.
    Check {
        /// The URL of its /readyz.
        #[arg(
            long,
            value_name = "URL",
            default_value = "http://127.0.0.1:8080/readyz"
        )]
        url: String,
        /// For how many seconds to ask again while it does not.
        #[arg(long, value_name = "SECONDS", default_value_t = 30)]
        patience: u16,
    },
}

/// What an administrator sets. Each flag can also be given as the environment variable that its help names.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    /// Watch this namespace; give it several times for several. Without it, all namespaces are watched.
    #[arg(
        long = "namespace",
        value_name = "NAMESPACE",
        env = "EDGE_CREDENTIAL_NAMESPACE",
        value_delimiter = ',',
        value_parser = namespace,
        help_heading = "What to watch"
    )]
    pub namespaces: Vec<String>,

    /// Watch only EdgeCredentials and EdgeTokens with these labels, in the syntax of kubectl --selector.
    #[arg(
        long,
        value_name = "LABELS",
        env = "EDGE_CREDENTIAL_SELECTOR",
        help_heading = "What to watch"
    )]
    pub selector: Option<String>,

    /// Watch the metadata of Secrets, to act within a second when one changes. Without it the operator needs neither
    /// list nor watch on Secrets, and looks every 5 minutes.
    #[arg(
        long,
        value_name = "true|false",
        env = "EDGE_CREDENTIAL_WATCH_SECRETS",
        default_value_t = true,
        action = ArgAction::Set,
        help_heading = "What to watch"
    )]
    pub watch_secrets: bool,

    /// Send client secrets to this origin (scheme://host or scheme://host:port); give it several times for several.
    /// Replaces the default list, Sitecore's published origins. An http origin works only if it is listed here.
    #[arg(
        long = "allowed-token-origin",
        value_name = "ORIGIN",
        env = "EDGE_CREDENTIAL_ALLOWED_TOKEN_ORIGIN",
        value_delimiter = ',',
        default_values = SITECORE_ORIGINS,
        help_heading = "Token endpoint"
    )]
    pub allowed_token_origins: Vec<Origin>,

    /// Send JSON Web Tokens and Edge tokens to this origin of Sitecore's APIs; give it several times for several. Replaces the
    /// default list, Sitecore's published origins.
    #[arg(
        long = "allowed-api-origin",
        value_name = "ORIGIN",
        env = "EDGE_CREDENTIAL_ALLOWED_API_ORIGIN",
        value_delimiter = ',',
        default_values = SITECORE_API_ORIGINS,
        help_heading = "Sitecore's APIs"
    )]
    pub allowed_api_origins: Vec<Origin>,

    /// Trust the CA certificates in this PEM file for token endpoints and Sitecore's APIs, beside those of the system. Read again
    /// when it changes.
    #[arg(
        long,
        value_name = "PEM",
        env = "EDGE_CREDENTIAL_TOKEN_CA_FILE",
        help_heading = "Token endpoint"
    )]
    pub token_ca_file: Option<PathBuf>,

    /// Reach token endpoints and Sitecore's APIs by the proxy whose URL, which may have a password, is in this file, instead of
    /// that of HTTPS_PROXY. Read again when it changes.
    #[arg(
        long,
        value_name = "FILE",
        env = "EDGE_CREDENTIAL_TOKEN_PROXY_FILE",
        help_heading = "Token endpoint"
    )]
    pub token_proxy_file: Option<PathBuf>,

    /// Have at most so many token requests in flight to one endpoint, and four times as many, up to 16, right after an outage.
    #[arg(
        long,
        value_name = "N",
        env = "EDGE_CREDENTIAL_REQUESTS_PER_ENDPOINT",
        default_value = "4",
        help_heading = "Token endpoint"
    )]
    pub requests_per_endpoint: NonZeroUsize,

    /// Make at most so many calls of the Kubernetes API at a time, watches and events not counted.
    #[arg(
        long,
        value_name = "N",
        env = "EDGE_CREDENTIAL_CONCURRENCY",
        default_value = CONCURRENCY,
        help_heading = "Process"
    )]
    pub concurrency: std::num::NonZeroU16,

    /// Reconcile only while holding a Lease, so that of several replicas one leads and the others stand by. A leader that cannot
    /// renew the Lease within --renew-deadline exits with an error; without election the process never exits for that.
    #[arg(
        long,
        value_name = "true|false",
        env = "EDGE_CREDENTIAL_LEADER_ELECTION",
        default_value_t = false,
        action = ArgAction::Set,
        help_heading = "Leader election"
    )]
    pub leader_election: bool,

    /// The namespace of the Lease. Without it, the one that the operator's pod runs in.
    #[arg(
        long,
        value_name = "NAMESPACE",
        env = "EDGE_CREDENTIAL_LEASE_NAMESPACE",
        value_parser = namespace,
        help_heading = "Leader election"
    )]
    pub lease_namespace: Option<String>,

    /// The name of the Lease. Operators that serve the same objects need the same one.
    #[arg(
        long,
        value_name = "NAME",
        env = "EDGE_CREDENTIAL_LEASE_NAME",
        default_value = "edge-credential-operator",
        value_parser = lease_name,
        help_heading = "Leader election"
    )]
    pub lease_name: String,

    /// Have the others wait for so long after the holder's last renewal before they take the Lease. In whole seconds, and
    /// longer than --renew-deadline.
    #[arg(
        long,
        value_name = "DURATION",
        env = "EDGE_CREDENTIAL_LEASE_DURATION",
        default_value = LEASE_DURATION,
        value_parser = duration,
        help_heading = "Leader election"
    )]
    pub lease_duration: Duration,

    /// Exit where the Lease could not be renewed for so long. Longer than 1.2 times --retry-period.
    #[arg(
        long,
        value_name = "DURATION",
        env = "EDGE_CREDENTIAL_RENEW_DEADLINE",
        default_value = RENEW_DEADLINE,
        value_parser = duration,
        help_heading = "Leader election"
    )]
    pub renew_deadline: Duration,

    /// Renew the Lease, or look who holds it, every so often.
    #[arg(
        long,
        value_name = "DURATION",
        env = "EDGE_CREDENTIAL_RETRY_PERIOD",
        default_value = RETRY_PERIOD,
        value_parser = duration,
        help_heading = "Leader election"
    )]
    pub retry_period: Duration,

    /// Serve /livez, /readyz and /metrics here; without IPv6, [::] is 0.0.0.0.
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "EDGE_CREDENTIAL_LISTEN",
        default_value = "[::]:8080",
        help_heading = "Process"
    )]
    pub listen: SocketAddr,

    /// Serve metrics with the namespace and the name of each EdgeCredential and EdgeToken.
    #[arg(
        long,
        value_name = "true|false",
        env = "EDGE_CREDENTIAL_PER_OBJECT_METRICS",
        default_value_t = true,
        action = ArgAction::Set,
        help_heading = "Process"
    )]
    pub per_object_metrics: bool,

    /// How log lines look. What is logged is set by RUST_LOG, by default "info".
    #[arg(
        long,
        value_name = "FORMAT",
        env = "EDGE_CREDENTIAL_LOG_FORMAT",
        default_value = "text",
        help_heading = "Process"
    )]
    pub log_format: LogFormat,
}

/// A namespace's name (RFC 1123). An empty one is refused: it would mean all namespaces to the API server.
fn namespace(text: &str) -> Result<String, &'static str> {
    is_name(text, 63, "-")
        .then(|| text.to_owned())
        .ok_or("not the name of a namespace")
}

/// A Lease's name (RFC 1123). It becomes part of a URL.
fn lease_name(text: &str) -> Result<String, &'static str> {
    is_name(text, 253, "-.")
        .then(|| text.to_owned())
        .ok_or("not the name of a Lease")
}

/// A duration as Go writes it, such as `15s` or `1m30s`.
fn duration(text: &str) -> Result<Duration, &'static str> {
    const WRONG: &str = "not a duration such as 15s or 1m30s";
    let duration: SignedDuration = text.parse().map_err(|_| WRONG)?;
    duration.try_into().map_err(|_| WRONG)
}

/// Whether a text has only lower-case letters, digits and these marks, and no mark at its ends.
fn is_name(text: &str, longest: usize, marks: &str) -> bool {
    let is_mark = |c| marks.contains(c);
    (1..=longest).contains(&text.len())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || is_mark(c))
        && !text.starts_with(is_mark)
        && !text.ends_with(is_mark)
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(arguments: &[&str]) -> Result<Settings, clap::Error> {
        let command = ["edge-credential-operator", "run"];
        let cli = Cli::try_parse_from(command.iter().chain(arguments))?;
        match cli.command {
            Command::Run(settings) => Ok(*settings),
            Command::Crd | Command::Check { .. } => unreachable!("it says run"),
        }
    }

    fn namespaces(arguments: &[&str]) -> Result<Vec<String>, clap::Error> {
        Ok(settings(arguments)?.namespaces)
    }

    #[test]
    fn namespaces_are_given_one_by_one_or_with_commas() {
        assert_eq!(namespaces(&[]).unwrap(), [""; 0]);
        let several = ["--namespace=a,b", "--namespace", "c-1"];
        assert_eq!(namespaces(&several).unwrap(), ["a", "b", "c-1"]);
    }

    #[test]
    fn an_empty_namespace_is_refused_and_does_not_mean_all() {
        for argument in [
            "--namespace=",
            "--namespace=a,,b",
            "--namespace=*",
            "--namespace=A",
        ] {
            assert!(namespaces(&[argument]).is_err(), "{argument}");
        }
    }

    #[test]
    fn leaders_are_elected_only_where_that_is_asked_for() {
        let lease = |arguments: &[&str]| {
            let settings = settings(arguments)?;
            let Settings {
                leader_election: elected,
                lease_namespace: namespace,
                lease_name: name,
                ..
            } = settings;
            Ok::<_, clap::Error>((elected, namespace, name))
        };
        let default = "edge-credential-operator".to_owned();
        assert_eq!(lease(&[]).unwrap(), (false, None, default));
        let arguments = [
            "--leader-election=true",
            "--lease-namespace=ops",
            "--lease-name=edge.shard-1",
        ];
        let expected = (true, Some("ops".to_owned()), "edge.shard-1".to_owned());
        assert_eq!(lease(&arguments).unwrap(), expected);
        for argument in ["--lease-name=", "--lease-name=a/b", "--lease-name=.a"] {
            assert!(lease(&[argument]).is_err(), "{argument}");
        }
    }

    #[test]
    fn the_timings_of_the_lease_are_durations_as_go_writes_them() {
        let timings = |arguments: &[&str]| {
            let settings = settings(arguments)?;
            let Settings {
                lease_duration,
                renew_deadline,
                retry_period,
                ..
            } = settings;
            Ok::<_, clap::Error>([lease_duration, renew_deadline, retry_period])
        };
        let default = [15, 10, 2].map(Duration::from_secs);
        assert_eq!(timings(&[]).unwrap(), default);
        let arguments = [
            "--lease-duration=1m30s",
            "--renew-deadline=1m",
            "--retry-period=500ms",
        ];
        let expected = [90_000, 60_000, 500].map(Duration::from_millis);
        assert_eq!(timings(&arguments).unwrap(), expected);
        for argument in [
            "--lease-duration=15",
            "--lease-duration=",
            "--renew-deadline=-10s",
            "--retry-period=soon",
            "--retry-period=1e400s",
        ] {
            assert!(timings(&[argument]).is_err(), "{argument}");
        }
    }
}
