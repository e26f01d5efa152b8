//! Which cluster, as whom and in which namespace: kubectl's flags, and the files that kubectl reads.

use std::{env, path::PathBuf, time::Duration};

use clap::{Args, builder::ValueHint};
use http::Uri;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use tokio::time::Instant;

use crate::output::progress::during;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The flags that kubectl has for every command. Not among them are those for passwords and tokens: a command line is seen by
/// every process of a machine.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Cluster")]
pub struct AccessArgs {
    /// Read this kubeconfig instead of that of KUBECONFIG or ~/.kube/config.
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub kubeconfig: Option<PathBuf>,

    /// Use this context of the kubeconfig.
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,

    /// Use this cluster of the kubeconfig.
    #[arg(long, global = true, value_name = "NAME")]
    pub cluster: Option<String>,

    /// Use this user of the kubeconfig.
    #[arg(long, global = true, value_name = "NAME")]
    pub user: Option<String>,

    /// Look here instead of in the namespace of the context.
    #[arg(short, long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,

    /// Use the API server at this URL.
    #[arg(short, long, global = true, value_name = "URL")]
    pub server: Option<String>,

    /// Act as this user.
    #[arg(long = "as", global = true, value_name = "USER")]
    pub as_user: Option<String>,

    /// Act as one of this group; give it several times for several.
    #[arg(long, global = true, value_name = "GROUP")]
    pub as_group: Vec<String>,

    /// Expect this name in the API server's certificate.
    #[arg(long, global = true, value_name = "NAME")]
    pub tls_server_name: Option<String>,

    /// Do not check the API server's certificate: whoever answers then gets what is sent.
    #[arg(long, global = true)]
    pub insecure_skip_tls_verify: bool,

    /// Wait for so long for each answer of the API server, such as 30s or 1m.
    #[arg(long, global = true, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub request_timeout: Timeout,
}

/// How long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout(pub Duration);

impl Timeout {
    /// When it is over, if it begins now. A day is as good as no limit.
    pub fn deadline(self) -> Instant {
        Instant::now() + self.0.min(Duration::from_secs(86_400))
    }
}

impl Default for Timeout {
    fn default() -> Self {
        Self(Duration::from_secs(30))
    }
}

/// A duration as Go writes it, or kubectl's plain number of seconds; 0 for no limit.
pub fn duration(text: &str) -> Result<Timeout, &'static str> {
    const WRONG: &str = "not a duration such as 30s or 1m30s";
    if let Ok(seconds) = text.parse() {
        return Ok(Timeout(match seconds {
            0 => Duration::MAX,
            seconds => Duration::from_secs(seconds),
        }));
    }
    let duration: k8s_openapi::jiff::SignedDuration = text.parse().map_err(|_| WRONG)?;
    duration.try_into().map(Timeout).map_err(|_| WRONG)
}

/// A cluster that can be asked.
pub struct Cluster {
    /// Asks as the user of the kubeconfig.
    pub client: Client,
    /// The namespace that is meant where none is named.
    pub namespace: String,
    /// Which cluster this is, to say it where something is not as expected.
    pub place: Place,
    /// How long to wait for an answer.
    pub timeout: Duration,
}

/// Which cluster is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The context of the kubeconfig; none inside a pod.
    pub context: Option<String>,
    /// The API server's URL.
    pub server: String,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.context {
            Some(context) => write!(f, "context \"{context}\", {}", self.server),
            None => write!(f, "{}", self.server),
        }
    }
}

/// Why there is no cluster to ask.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// There is no kubeconfig, and this is no pod.
    #[error(
        "there is no kubeconfig\n  Log in to the cluster, which writes ~/.kube/config, or name a file with --kubeconfig or KUBECONFIG."
    )]
    NoKubeconfig,
    /// A file cannot be read, or is no kubeconfig.
    #[error(
        "the kubeconfig cannot be read\n  See whether `kubectl config view` can read it; if not, its error names the place."
    )]
    Unreadable,
    /// Nothing says which context is meant.
    #[error(
        "the kubeconfig names no current context\n  Choose one with --context or `kubectl config use-context`. There are: {0}."
    )]
    NoCurrentContext(String),
    /// The kubeconfig does not have the context.
    #[error("the kubeconfig has no context \"{name}\"\n  There are: {there}.")]
    NoContext {
        /// The name that was given.
        name: String,
        /// Those that are there.
        there: String,
    },
    /// The context names a cluster or user that is not there, or cannot be used.
    #[error(
        "the context cannot be used: its cluster or user is missing in the kubeconfig, or a file that they name cannot be read\n  See `kubectl config view --minify`."
    )]
    Incomplete,
    /// `--server` is no URL.
    #[error("--server is not a URL\n  Write it as https://host:port.")]
    NotAUrl,
    /// The program that the kubeconfig names for the login failed.
    #[error(
        "the login failed: {program}\n  Log in again, as you did the first time (for example `aws sso login`, `az login`, `gcloud auth login`)."
    )]
    Login {
        /// What became of the program.
        program: String,
    },
}

impl AccessArgs {
    /// Finds the cluster, and logs in where the kubeconfig names a program for it.
    pub async fn connect(&self) -> Result<Cluster, AccessError> {
        let (mut config, context) = self.read().await?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        // Each call has a deadline; a watch may be silent.
        config.read_timeout = None;
        if let Some(url) = &self.server {
            config.cluster_url = url.parse::<Uri>().map_err(|_| AccessError::NotAUrl)?;
        }
        if let Some(name) = &self.tls_server_name {
            config.tls_server_name = Some(name.clone());
        }
        config.accept_invalid_certs |= self.insecure_skip_tls_verify;
        if let Some(user) = &self.as_user {
            config.auth_info.impersonate = Some(user.clone());
            config.auth_info.impersonate_groups = Some(self.as_group.clone());
        }
        let namespace = self.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        let place = Place {
            context,
            server: config
                .cluster_url
                .to_string()
                .trim_end_matches('/')
                .to_owned(),
        };
        let client = during("logging in", async { Client::try_from(config) }).await;
        Ok(Cluster {
            client: client.map_err(|error| explain_login(&error))?,
            namespace,
            place,
            timeout: self.request_timeout.0,
        })
    }

    async fn read(&self) -> Result<(Config, Option<String>), AccessError> {
        let kubeconfig = match &self.kubeconfig {
            Some(path) => Kubeconfig::read_from(path),
            None => Kubeconfig::read(),
        };
        let kubeconfig = match kubeconfig {
            Ok(kubeconfig) => kubeconfig,
            Err(error) => {
                // As kubectl does: in a pod, its ServiceAccount.
                let in_a_pod = self.kubeconfig.is_none() && env::var_os("KUBECONFIG").is_none();
                return match Config::incluster() {
                    Ok(config) if in_a_pod => Ok((config, None)),
                    _ => Err(explain_kubeconfig(&error)),
                };
            }
        };
        let there: Vec<_> = kubeconfig
            .contexts
            .iter()
            .map(|context| context.name.clone())
            .collect();
        let there = || match there.as_slice() {
            [] => "none".to_owned(),
            names => names.join(", "),
        };
        let context = self.context.clone().or(kubeconfig.current_context.clone());
        let context = context.filter(|context| !context.is_empty());
        let name = context.ok_or_else(|| AccessError::NoCurrentContext(there()))?;
        if !kubeconfig
            .contexts
            .iter()
            .any(|context| context.name == name)
        {
            return Err(AccessError::NoContext {
                name,
                there: there(),
            });
        }
        let options = KubeConfigOptions {
            context: Some(name.clone()),
            cluster: self.cluster.clone(),
            user: self.user.clone(),
        };
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        let config = config.map_err(|_| AccessError::Incomplete)?;
        Ok((config, Some(name)))
    }
}

fn explain_kubeconfig(error: &KubeconfigError) -> AccessError {
    match error {
        KubeconfigError::FindPath => AccessError::NoKubeconfig,
        KubeconfigError::ReadConfig(source, _) if source.kind() == std::io::ErrorKind::NotFound => {
            AccessError::NoKubeconfig
        }
        _ => AccessError::Unreadable,
    }
}

/// What became of the login. The output of the program is not shown: it may have a token in it.
fn explain_login(error: &kube::Error) -> AccessError {
    use kube::client::AuthError;
    let program = match error {
        kube::Error::Auth(AuthError::AuthExecStart(_)) => {
            "the program that the kubeconfig names for it is not installed, or cannot be started"
                .into()
        }
        kube::Error::Auth(AuthError::AuthExecRun { cmd, out }) => {
            let program = cmd.split_whitespace().next().unwrap_or_default();
            format!("`{program}` ended with {}", out.status)
        }
        kube::Error::Auth(_) => "what the kubeconfig has for it cannot be used".into(),
        _ => return AccessError::Incomplete,
    };
    AccessError::Login { program }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_what_kubectl_takes_for_one() {
        assert_eq!(duration("30s"), Ok(Timeout(Duration::from_secs(30))));
        assert_eq!(duration("1m30s"), Ok(Timeout(Duration::from_secs(90))));
        assert_eq!(duration("5"), Ok(Timeout(Duration::from_secs(5))));
        assert_eq!(duration("0"), Ok(Timeout(Duration::MAX)));
        for wrong in ["", "-1s", "soon"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
